//! The conditions, the order and the limit for listing keys.

use std::time::Duration;

use crate::{
    allowed_ips::AllowedIps,
    error::Error,
    key_record::{KeyRecord, KeyState},
    key_usage::KeyUsage,
};

/// The selection for [`Admin::list`](crate::admin::Admin::list). The default selects all keys,
/// oldest first.
///
/// A key is selected if all conditions are met. The database evaluates the conditions, the order
/// and the limit. To show a page at a time, pass the last id of each page to
/// [`after_id`](Self::after_id), until a page is empty. To read a long list in one pass, use
/// [`Admin::pages`](crate::admin::Admin::pages).
///
/// ```
/// use std::time::Duration;
///
/// use api_key_runtime::{Error, admin::{Admin, KeyState, ListKeys}};
///
/// const DAY: Duration = Duration::from_secs(24 * 60 * 60);
///
/// fn print_forgotten_keys(admin: &Admin) -> Result<(), Error> {
///     let mut wanted = ListKeys::new().state(KeyState::Active).unused_for(90 * DAY).limit(100);
///     loop {
///         let page = admin.list(&wanted)?;
///         let Some(last) = page.last() else { return Ok(()) };
///         wanted = wanted.after_id(last.id);
///         for record in &page {
///             println!("{} {}", record.id, record.name);
///         }
///     }
/// }
/// ```
#[doc(alias = "page")]
#[doc(alias = "pagination")]
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is listed until it is passed to Admin::list"]
#[non_exhaustive]
pub struct ListKeys {
    /// The owner of the selected keys. `None` selects all keys, including keys without an owner.
    pub owner: Option<String>,
    /// The state of the selected keys. `None` selects the keys in every state.
    pub state: Option<KeyState>,
    /// The entries that the IP allow list of each selected key contains. `None` does not restrict
    /// the IP allow list.
    pub allowed_ips: Option<AllowedIps>,
    /// Whether only keys that never expire are selected.
    pub never_expires: bool,
    /// The time within which the selected keys expire. `None` does not restrict the expiry.
    pub expires_within: Option<Duration>,
    /// The time for which the selected keys were not used. `None` selects used and unused keys.
    pub unused_for: Option<Duration>,
    /// The selected keys have higher ids than this id. `None` selects all ids.
    pub after_id: Option<i64>,
    /// The maximum number of selected keys. `None` sets no limit.
    pub limit: Option<u32>,
}

impl ListKeys {
    /// Returns the selection of all keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Selects the keys of this owner. By default, all keys are selected, including keys without an
    /// owner.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Selects the keys that are in this state when they are listed. Defaults to every state.
    pub fn state(mut self, state: KeyState) -> Self {
        self.state = Some(state);
        self
    }

    /// Selects the keys whose IP allow list contains this entry, such as `10.0.0.0/8`. The entry is
    /// compared as text: `10.0.0.1` does not select a key with `10.0.0.0/8`. The text `0.0.0.0`
    /// selects the keys that may be used from any address. With several entries, separated by
    /// spaces, the IP allow list must contain each entry. By default, the IP allow list is not
    /// restricted.
    ///
    /// # Errors
    /// Returns an error if the text is not a list of IP addresses and CIDR blocks.
    pub fn allowed_ips(mut self, entries: impl AsRef<str>) -> Result<Self, Error> {
        self.allowed_ips = Some(entries.as_ref().parse()?);
        Ok(self)
    }

    /// Selects the keys that never expire. By default, the expiry is not restricted.
    pub fn never_expires(mut self) -> Self {
        self.never_expires = true;
        self
    }

    /// Selects the keys that have not expired yet, but expire within this time. By default, the
    /// expiry is not restricted.
    pub fn expires_within(mut self, time: Duration) -> Self {
        self.expires_within = Some(time);
        self
    }

    /// Selects the keys that were not used for this time. A key that was never used is selected if
    /// it was issued longer ago than this time. By default, used and unused keys are selected.
    pub fn unused_for(mut self, time: Duration) -> Self {
        self.unused_for = Some(time);
        self
    }

    /// Selects the keys with a higher id than `id`, for the next page. Defaults to all ids.
    pub fn after_id(mut self, id: i64) -> Self {
        self.after_id = Some(id);
        self
    }

    /// Sets the maximum number of returned keys. Defaults to no limit.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// A key and its usage, as [`Admin::pages`](crate::admin::Admin::pages) returns them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListedKey {
    /// The record of the key.
    pub record: KeyRecord,
    /// The usage of the key, or `None` if the key was never used.
    pub usage: Option<KeyUsage>,
}
