//! A list of keys that is read page by page over one connection.

use std::{collections::HashMap, fmt};

use super::{Connection, table::Table};
use crate::{
    error::Error,
    list_keys::{ListKeys, ListedKey},
};

/// The maximum number of keys in a page.
const PAGE: u32 = 1000;

/// The selected keys with their usage, oldest first, in pages of at most 1000 keys.
/// [`Admin::pages`](crate::admin::Admin::pages) returns this iterator.
///
/// Each page is read separately, and shows the keys at the time of that read. No transaction is
/// open between two pages. The iterator ends after the last key and after an error.
#[must_use = "no key is read until the iterator is advanced"]
pub struct KeyPages {
    table: Table,
    connection: Connection,
    /// The selection of keys that were not read yet.
    wanted: ListKeys,
    is_over: bool,
}

impl fmt::Debug for KeyPages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeyPages").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl KeyPages {
    pub(super) fn new(table: Table, connection: Connection, wanted: ListKeys) -> Self {
        Self { table, connection, wanted, is_over: false }
    }

    fn read(&mut self) -> Result<Vec<ListedKey>, Error> {
        let limit = self.wanted.limit.map_or(PAGE, |limit| limit.min(PAGE));
        let page = ListKeys { limit: Some(limit), ..self.wanted.clone() };
        let queries = self.connection.queries();
        let records = self.table.read(queries.list(&page, self.table.now()))?;
        let ids: Vec<i64> = records.iter().map(|record| record.id).collect();
        let usage = self.table.read(queries.usage_of_keys(&ids))?;
        let mut usage: HashMap<i64, _> =
            usage.into_iter().map(|usage| (usage.key_id, usage)).collect();
        let read = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        self.is_over = read < limit || self.wanted.limit == Some(limit);
        self.wanted.after_id = ids.last().copied().or(self.wanted.after_id);
        self.wanted.limit = self.wanted.limit.map(|limit| limit.saturating_sub(read));
        let listed = records.into_iter().map(|record| {
            let usage = usage.remove(&record.id);
            ListedKey { record, usage }
        });
        Ok(listed.collect())
    }
}

/// Returns only pages with at least one key.
impl Iterator for KeyPages {
    type Item = Result<Vec<ListedKey>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        match self.read() {
            Ok(page) if page.is_empty() => None,
            Ok(page) => Some(Ok(page)),
            Err(error) => {
                self.is_over = true;
                Some(Err(error))
            }
        }
    }
}
