//! The selection of the keys that are listed.

use crate::key_record::KeyState;

/// The selection for [`Admin::list`](crate::admin::Admin::list). The default selects all keys,
/// oldest first.
///
/// The database selects, sorts and limits, so the cost of a page does not grow with the number of
/// keys. To read page by page, pass the last id of each page to [`after_id`](Self::after_id), until
/// a page is empty.
///
/// ```
/// use api_key_runtime::{Error, admin::{Admin, KeyState, ListKeys}};
///
/// fn print_active_keys(admin: &Admin) -> Result<(), Error> {
///     let mut wanted = ListKeys::new().owner("user 17").state(KeyState::Active).limit(100);
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
    /// The id that all selected ids exceed. `None` selects all ids.
    pub after_id: Option<i64>,
    /// The maximum number of selected keys. `None` sets no limit.
    pub limit: Option<u32>,
}

impl ListKeys {
    /// Returns the selection of all keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Selects the keys of this owner. By default all keys are selected, including keys without an
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

    /// Selects the keys with a higher id than `id`, as the next page needs. Defaults to all ids.
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
