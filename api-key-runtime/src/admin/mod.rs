//! Issuing, listing and changing keys.
//!
//! [`Admin`] does in code what the command `app-key` does. Your own [`store`](crate::store) uses
//! the types of this module as well.

#[cfg(feature = "_diesel")]
mod handle;

#[cfg(feature = "_diesel")]
pub use self::handle::Admin;
pub use crate::{
    allowed_ips::AllowedIps,
    key::{KeyFormat, KeySecret},
    key_record::{KeyRecord, KeyState},
    key_usage::KeyUsage,
    new_key::{IssuedKey, NewKey},
};
#[cfg(feature = "_diesel")]
pub use crate::{list_keys::ListKeys, store::connection::KeyConnection};
