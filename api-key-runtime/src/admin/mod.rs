//! Issuing, listing and changing keys: the types of a key's life.
//!
//! [`Admin`] does on a database what the command `app-key` does. The types of keys are here for
//! stores of your own as well; see [`store`](crate::store).

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
