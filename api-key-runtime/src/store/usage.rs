//! Uses of keys in a database: over a connection of its own, so that recording them never stands in the way of a look-up.

use std::sync::{Mutex, MutexGuard};

use super::{
    Database, StoreError,
    checked_connection::{Idle, Opened},
    on_either,
};
use crate::{KeyUsage, lock::lock};

/// The connection, where it is not in use: opened when it is needed and let go when it fails.
#[derive(Debug, Default)]
pub(super) struct UsageConnection(Mutex<Option<Idle>>);

impl UsageConnection {
    /// Adds these uses, all or none. Of a connection that breaks while it commits nobody knows which: then a use may count twice, and
    /// none is lost.
    pub(super) fn record(&self, database: &Database, uses: &[KeyUsage]) -> Result<(), StoreError> {
        // Nobody else uses it, but for a write that was given up because it hung.
        let held = self.slot().take();
        if let Some(mut opened) = held.and_then(Idle::usable) {
            match on_either!(&mut opened.connection, usage::record(uses)) {
                Ok(()) => {
                    self.put_back(opened);
                    return Ok(());
                }
                // It may have died while it lay idle, or a key may have been deleted in between: once more, over a new one.
                Err(error) => log::debug!("recording uses of keys in {database} failed: {error}"),
            }
        }
        let ((), opened) = Opened::run(database, |connection| {
            on_either!(connection, usage::record(uses)).map_err(StoreError::new)
        })?;
        self.put_back(opened);
        Ok(())
    }

    /// Keeps a connection of ours; one that was borrowed goes back to its pool.
    fn put_back(&self, opened: Opened) {
        if opened.connection.is_borrowed() {
            return;
        }
        *self.slot() = Some(Idle::now(opened));
    }

    fn slot(&self) -> MutexGuard<'_, Option<Idle>> {
        lock(&self.0)
    }
}

/// The count as the tables hold it.
pub(super) fn stored_count(uses: &KeyUsage) -> i64 {
    i64::try_from(uses.count).unwrap_or(i64::MAX)
}
