//! Issuing, listing and changing keys.
//!
//! [`Admin`] offers the functions of the command `app-key` in code. Your own
//! [`store`](crate::store) also uses the types of this module.

#[cfg(feature = "_diesel")]
mod explain;
#[cfg(feature = "_diesel")]
mod handle;
#[cfg(feature = "_diesel")]
mod import;

#[cfg(feature = "_diesel")]
pub use self::handle::Admin;
pub use crate::{
    allowed_ips::AllowedIps,
    key::{FoundKey, KeyFormat, KeyScanner, KeySecret},
    key_changes::KeyChanges,
    key_record::{KeyRecord, KeyState, Updated},
    key_usage::KeyUsage,
    new_key::{IssuedKey, NewKey},
};
#[cfg(feature = "_diesel")]
pub use crate::{
    explain::{AccessRequest, Explanation, Rule, RuleResult},
    import::{ImportProgress, ImportReport, ImportedKey, SourceTable},
    key_event::KeyEvent,
    list_keys::{ListKeys, ListedKey},
    prune::{Prune, Pruned},
    rotation::Rotated,
    store::{connection::KeyConnection, key_pages::KeyPages},
};
