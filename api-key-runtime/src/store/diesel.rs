//! The store over Diesel, on either database.

use std::sync::{Mutex, PoisonError};

use super::{Connection, Database, KeyStore, StoreError, on_either};
use crate::{Digest, KeyRecord};

/// Looks keys up over connections of its own: one for each look-up thread that asks at the same time.
#[derive(Debug)]
pub(crate) struct DieselStore {
    database: Database,
    /// Connections nobody uses at the moment. Taken out while in use, so that a stuck one holds no lock.
    idle: Mutex<Vec<Connection>>,
}

/// More would only be left over from threads that were replaced.
const MAX_IDLE: usize = 2;

impl DieselStore {
    /// A store that begins with this connection.
    pub(crate) fn new(database: Database, connection: Connection) -> Self {
        Self {
            database,
            idle: Mutex::new(vec![connection]),
        }
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }

    fn put_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }
}

impl KeyStore for DieselStore {
    fn find(&self, digests: &[Digest]) -> Result<Vec<KeyRecord>, StoreError> {
        // A connection that lay idle may have died meanwhile, which is no reason to refuse anyone: ask once more over a new one.
        if let Some(mut connection) = self.take_idle() {
            match on_either!(&mut connection, queries::find(digests)) {
                Ok(records) => {
                    self.put_back(connection);
                    return Ok(records);
                }
                Err(error) => {
                    log::debug!("an idle connection to {} failed: {error}", self.database);
                }
            }
        }
        let mut connection = Connection::open(&self.database).map_err(StoreError::new)?;
        let records =
            on_either!(&mut connection, queries::find(digests)).map_err(StoreError::new)?;
        self.put_back(connection);
        Ok(records)
    }
}
