//! The store over Diesel, on either database.

#[cfg(feature = "postgres")]
use std::sync::Arc;
use std::{
    sync::{Mutex, MutexGuard},
    thread,
    time::Duration,
};

#[cfg(feature = "postgres")]
use super::postgres;
#[cfg(feature = "sqlite")]
use super::sqlite;
use super::{
    ChangeCursor, Changes, Connection, Database, KeyStore, StoreError,
    change_reader::{ChangeReader, ReaderSlot},
    checked_connection::{Idle, Opened},
    on_either,
    pepper_check::claim_digest_algorithm,
    usage::UsageConnection,
};
use crate::{Error, KeyDigest, KeyRecord, KeyUsage, key::Digester, lock::lock};

/// More would only be left over from threads that were replaced.
const MAX_IDLE: usize = 2;

/// The key table of a Postgres or SQLite database.
///
/// [`AppKeysBuilder::database_url`](crate::AppKeysBuilder::database_url) makes one by itself; by hand it is for stores that wrap it.
/// It keeps a connection of its own for each look-up that runs at the same time, one for reading changes, and one to record uses of keys.
#[derive(Debug)]
pub struct DieselStore {
    database: Database,
    /// Where changes are read and listened for, if not where keys are looked up.
    listen: Option<Database>,
    /// Connections nobody uses at the moment. Taken out while in use, so that a stuck one holds no lock.
    idle: Mutex<Vec<Idle>>,
    usage: UsageConnection,
    changes: ReaderSlot,
    #[cfg(feature = "postgres")]
    notifications: Arc<postgres::changes::Notifications>,
}

impl DieselStore {
    /// Connects to a database and checks its tables, but not under which pepper its keys are.
    ///
    /// # Errors
    /// When the URL is unusable, the database away, or its tables are missing, incompatible or without their triggers.
    pub fn open(database_url: &str) -> Result<Self, Error> {
        Self::new(&Database::parse(database_url)?, None, |_| Ok(()))
    }

    /// Connects, checks the tables, and makes this way of digesting the table's.
    pub(crate) fn connect(
        database: &Database,
        listen: Option<&Database>,
        digester: &Digester,
    ) -> Result<Self, Error> {
        let store = Self::new(database, listen, |connection| {
            claim_digest_algorithm(database, connection, digester)
        })?;
        if listen.is_some() {
            // What is named wrongly is better told at the start.
            store
                .changes
                .with_reader(|| store.open_reader(), |_| Ok(()))
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
        let store = Self {
            database: database.clone(),
            listen: listen.cloned(),
            idle: Mutex::default(),
            usage: UsageConnection::default(),
            changes: ReaderSlot::default(),
            #[cfg(feature = "postgres")]
            notifications: Arc::default(),
        };
        store.put_back(first);
        Ok(store)
    }

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
        if self.changes.reads(server) {
            return Ok(());
        }
        self.changes.give_up_other_than(server);
        Err(StoreError::new(format!(
            "keys are looked up in another server, database or tables ({}) than changes of keys were read in last ({}), so revocations would \
             go unnoticed. After a restart or a switch-over this passes by itself; where it stays, name one and the same writable primary",
            self.database,
            self.listen.as_ref().unwrap_or(&self.database)
        )))
    }

    fn open_reader(&self) -> Result<Box<dyn ChangeReader>, StoreError> {
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
}

impl KeyStore for DieselStore {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        // A connection that lay idle may have died meanwhile, which is no reason to refuse anyone: ask once more over a new one.
        if let Some(mut idle) = self.take_idle() {
            match on_either!(&mut idle.connection, queries::find(digests)) {
                Ok((server, records)) if self.changes.reads(server) => {
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

    fn record_usage(&self, uses: &[KeyUsage]) -> Result<(), StoreError> {
        self.usage.record(&self.database, uses)
    }

    fn changes(&self, since: Option<&ChangeCursor>) -> Result<Option<Changes>, StoreError> {
        self.changes.with_reader(|| self.open_reader(), |reader| reader.read(since)).map(Some)
    }

    fn wait_for_change(&self, at_most: Duration) {
        match self.changes.with_open_reader(|reader| reader.wait(at_most)) {
            Ok(true) => {}
            Ok(false) => thread::sleep(at_most),
            // The next read opens another one.
            Err(error) => {
                log::debug!("the connection for changes of {} failed: {error}", self.database);
            }
        }
    }
}
