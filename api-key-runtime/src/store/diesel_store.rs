//! The store over Diesel, on either database.

use std::sync::{Arc, Mutex, MutexGuard};

#[cfg(feature = "postgres")]
use super::postgres;
#[cfg(feature = "sqlite")]
use super::sqlite;
use super::{
    ChangeFeed, Connection, Database, KeyStore, StoreError,
    checked_connection::{Idle, Opened},
    diesel_feed::{ChangeReader, DieselFeed},
    on_either,
    pepper_check::claim_digest_algorithm,
    read_server::ReadServer,
    usage::UsageConnection,
};
use crate::{Error, KeyDigest, KeyRecord, KeyUsage, key::Digester, lock::lock};

/// More would only be left over from threads that were replaced.
const MAX_IDLE: usize = 2;

/// The key table of a Postgres or SQLite database.
///
/// [`AppKeysBuilder::database_url`](crate::AppKeysBuilder::database_url) creates one; create one yourself to wrap it in another store.
/// It keeps one connection for each lookup that runs at the same time, one for each change feed, and one to record key usage.
#[derive(Debug)]
pub struct DieselStore {
    shared: Arc<Shared>,
}

/// What lookups and change feeds share.
#[derive(Debug)]
pub(super) struct Shared {
    database: Database,
    /// Where changes are read and listened for, if not where keys are looked up.
    listen: Option<Database>,
    /// Connections that are not in use. Taken out while in use, so that a stuck one holds no lock.
    idle: Mutex<Vec<Idle>>,
    usage: UsageConnection,
    pub(super) read_server: ReadServer,
    #[cfg(feature = "postgres")]
    notifications: Arc<postgres::changes::Notifications>,
}

impl DieselStore {
    /// Connects to a database and checks its tables, but not the pepper of its keys.
    ///
    /// # Errors
    /// When the URL is invalid, the database is unavailable, or its tables are missing, incompatible or without their triggers.
    pub fn open(database_url: &str) -> Result<Self, Error> {
        Self::new(&Database::parse(database_url)?, None, |_| Ok(()))
    }

    /// Connects, checks the tables, and records this digest algorithm as the table's.
    pub(crate) fn connect(
        database: &Database,
        listen: Option<&Database>,
        digester: &Digester,
    ) -> Result<Self, Error> {
        let store = Self::new(database, listen, |connection| {
            claim_digest_algorithm(database, connection, digester)
        })?;
        if listen.is_some() {
            // A wrong URL is better reported at the start.
            store
                .shared
                .open_reader()
                .map_err(|source| Error::database("changes of keys cannot be read", source))?;
        }
        Ok(store)
    }

    fn new(
        database: &Database,
        listen: Option<&Database>,
        prepare: impl FnMut(&mut Connection) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let ((), first) = Opened::run(database, prepare)?;
        let shared = Shared {
            database: database.clone(),
            listen: listen.cloned(),
            idle: Mutex::default(),
            usage: UsageConnection::default(),
            read_server: ReadServer::default(),
            #[cfg(feature = "postgres")]
            notifications: Arc::default(),
        };
        shared.put_back(first);
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    /// A connection to what the URL names now that was used lately: none to a file that was replaced or deleted meanwhile, and none
    /// that a firewall may have forgotten.
    fn take_idle(&self) -> Option<Opened> {
        self.usable().pop().map(|idle| idle.opened)
    }

    fn usable(&self) -> MutexGuard<'_, Vec<Idle>> {
        let mut idle = lock(&self.idle);
        idle.retain(Idle::is_usable);
        idle
    }

    /// Keeps a connection of ours; one that was borrowed goes back to its pool.
    fn put_back(&self, opened: Opened) {
        if opened.connection.is_borrowed() {
            return;
        }
        let mut idle = lock(&self.idle);
        if idle.len() < MAX_IDLE {
            idle.push(Idle::now(opened));
        }
    }

    /// Refuses what another server says than the one that changes are read in: its revocations would go unnoticed. Which of the two is
    /// the right one the next read tells, over a new connection.
    fn require_changes_of(&self, server: i64) -> Result<(), StoreError> {
        if self.read_server.reads(server) {
            return Ok(());
        }
        self.read_server.give_up_other_than(server);
        Err(StoreError::new(format!(
            "keys are looked up in another server, database or tables ({}) than changes of keys were read in last ({}), so revocations would \
             go unnoticed. After a restart or a switch-over this passes by itself; where it stays, name one and the same writable primary",
            self.database,
            self.listen.as_ref().unwrap_or(&self.database)
        )))
    }

    pub(super) fn open_reader(&self) -> Result<Box<dyn ChangeReader>, StoreError> {
        // What is open of a file that was replaced may hold a lock on the one that took its place.
        drop(self.usable());
        match self.listen.as_ref().unwrap_or(&self.database) {
            #[cfg(feature = "postgres")]
            database @ Database::Postgres(_) => {
                let mut reader = postgres::changes::Reader::open(database, &self.notifications)?;
                if self.listen.is_some() {
                    reader.require_same(&self.database)?;
                }
                Ok(Box::new(reader))
            }
            #[cfg(feature = "postgres")]
            database @ Database::PostgresPool(_) => {
                Ok(Box::new(postgres::changes::PooledReader::new(database)))
            }
            #[cfg(feature = "sqlite")]
            database @ Database::Sqlite(_) => {
                Ok(Box::new(sqlite::changes::Reader::open(database)?))
            }
            #[cfg(feature = "sqlite")]
            database @ Database::SqlitePool(_) => {
                Ok(Box::new(sqlite::changes::PooledReader::new(database)))
            }
        }
    }

    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        // A connection that lay idle may have died meanwhile, which is no reason to refuse anyone: ask once more over a new one.
        if let Some(mut idle) = self.take_idle() {
            match on_either!(&mut idle.connection, queries::find(digests)) {
                Ok((server, records)) if self.read_server.reads(server) => {
                    self.put_back(idle);
                    return Ok(records);
                }
                Ok(_) => log::debug!(
                    "an idle connection to {} leads to another server than changes are read in",
                    self.database
                ),
                Err(error) => {
                    log::debug!("an idle connection to {} failed: {error}", self.database);
                }
            }
        }
        let ((server, records), opened) = Opened::run(&self.database, |connection| {
            on_either!(connection, queries::find(digests)).map_err(StoreError::new)
        })?;
        self.require_changes_of(server)?;
        self.put_back(opened);
        Ok(records)
    }
}

impl KeyStore for DieselStore {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        self.shared.find(digests)
    }

    fn watch(&self) -> Result<Option<Box<dyn ChangeFeed>>, StoreError> {
        Ok(Some(Box::new(DieselFeed::new(Arc::clone(&self.shared)))))
    }

    fn record_usage(&self, uses: &[KeyUsage]) -> Result<(), StoreError> {
        self.shared.usage.record(&self.shared.database, uses)
    }
}
