//! Which keys are listed.

use crate::key_record::KeyState;

/// The selection that [`Admin::list`](crate::admin::Admin::list) returns: all keys by default,
/// oldest first.
///
/// The database selects, sorts and limits, so that one page of a million keys costs what the page
/// costs. To read page by page, pass the last id of each page to [`after_id`](Self::after_id),
/// until a page is empty.
///
/// ```
/// use api_key_runtime::admin::{KeyState, ListKeys};
///
/// let first_page = ListKeys::new().owner("user 17").state(KeyState::Active).limit(100);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is listed until it is given to Admin::list"]
#[non_exhaustive]
pub struct ListKeys {
    /// Keys of this owner only.
    pub owner: Option<String>,
    /// Keys in this state only.
    pub state: Option<KeyState>,
    /// Keys with a higher id only.
    pub after_id: Option<i64>,
    /// The most keys to return.
    pub limit: Option<u32>,
}

impl ListKeys {
    /// Returns the selection of all keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Selects the keys of this owner. Defaults to every owner, and keys without one.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Selects the keys that are in this state when they are listed. Defaults to every state.
    pub fn state(mut self, state: KeyState) -> Self {
        self.state = Some(state);
        self
    }

    /// Selects the keys with a higher id than this: the next page. Defaults to all ids.
    pub fn after_id(mut self, id: i64) -> Self {
        self.after_id = Some(id);
        self
    }

    /// Sets the most keys to return. Defaults to no limit.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }
}
