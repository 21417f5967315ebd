//! The store over Diesel, on either database.

use std::sync::{Mutex, PoisonError};

use super::{Connection, Database, KeyStore, StoreError, check, claim_digest_key, on_either};
use crate::{Digest, Error, KeyRecord, key::Digester};

/// The key table of a Postgres or SQLite database.
///
/// [`AppKeysBuilder::database_url`](crate::AppKeysBuilder::database_url) makes one by itself; by hand it is for stores that wrap it.
/// It keeps a connection of its own for each look-up that runs at the same time.
#[derive(Debug)]
pub struct DieselStore {
    database: Database,
    /// Connections nobody uses at the moment. Taken out while in use, so that a stuck one holds no lock.
    idle: Mutex<Vec<Connection>>,
}

/// More would only be left over from threads that were replaced.
const MAX_IDLE: usize = 2;

impl DieselStore {
    /// Connects to a database whose keys are digested without a pepper, and checks its tables.
    ///
    /// # Errors
    /// When the URL is unusable, the database away, its tables are missing, incompatible or without their triggers, or its keys are
    /// under a pepper.
    pub fn open(database_url: &str) -> Result<Self, Error> {
        Self::connect(&Database::parse(database_url)?, &Digester::default())
    }

    /// Connects, checks the tables, and makes this way of digesting the table's.
    pub(crate) fn connect(database: &Database, digester: &Digester) -> Result<Self, Error> {
        let mut connection = Connection::open(database)?;
        check(database, &mut connection)?;
        claim_digest_key(database, &mut connection, digester)?;
        Ok(Self {
            database: database.clone(),
            idle: Mutex::new(vec![connection]),
        })
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
