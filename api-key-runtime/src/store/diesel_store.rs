//! The store over Diesel, for Postgres and SQLite.

use std::{sync::Arc, time::Duration};

#[cfg(feature = "postgres")]
use super::postgres;
#[cfg(feature = "sqlite")]
use super::sqlite;
use super::{
    ChangeFeed, Database, KeyStore, Queries, StoreError,
    checked_connection::{IdleConnections, Opened},
    diesel_feed::{ChangeReader, DieselFeed},
    pepper_check::claim_digest_algorithm,
    read_server::ReadServer,
    slow_call::slow_call,
};
use crate::{
    error::Error,
    key::{Digester, KeyDigest},
    key_record::KeyRecord,
    key_usage::KeyUsage,
    log,
};

/// The time after which a warning is logged if start-up still waits for the database.
const SLOW_START: Duration = Duration::from_secs(5);
/// The maximum number of idle connections for lookups: one for each of the two lookup threads.
const MAX_IDLE: usize = 2;
/// The default time after which an idle connection is closed.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Rows that were read from a primary, and the number that identifies the primary.
pub(crate) struct FromPrimary<T> {
    /// The number of the primary, or 0 for SQLite.
    pub(crate) server: i64,
    pub(crate) rows: Vec<T>,
}

/// The key table of a Postgres or SQLite database.
///
/// [`AppKeysBuilder::database_url`](crate::AppKeysBuilder::database_url) creates a `DieselStore`.
/// Create a `DieselStore` yourself to wrap it in another store. The store keeps up to two
/// connections for lookups, one connection for each change feed, and one for recording key usage.
#[derive(Debug)]
pub struct DieselStore {
    shared: Arc<Shared>,
}

/// The state shared by lookups, change feeds and usage recording.
#[derive(Debug)]
pub(super) struct Shared {
    database: Database,
    /// The database of `listen_url`, over which changes are read. If `None`, changes are read over
    /// `database`.
    listen: Option<Database>,
    /// Connections for lookups.
    idle: IdleConnections,
    /// The connection for key usage, separate so that recording usage never delays a lookup.
    usage: IdleConnections,
    pub(super) read_server: ReadServer,
    #[cfg(feature = "postgres")]
    notifications: Arc<postgres::changes::Notifications>,
}

impl DieselStore {
    /// Connects to a database and checks its tables, but not the pepper of its keys.
    ///
    /// # Errors
    /// Returns an error if the URL is invalid, or if the database is unavailable or a standby. Also
    /// returns an error if the tables are missing, incompatible, hidden by row-level security, or
    /// without their triggers.
    pub fn open(database_url: &str) -> Result<Self, Error> {
        Self::new(&Database::parse(database_url)?, None, IDLE_TIMEOUT, |_| Ok(()))
    }

    /// Connects, and checks the tables and the pepper of their keys. Records the current digest
    /// algorithm as the algorithm of the table.
    pub(crate) fn connect(
        database: &Database,
        listen: Option<&Database>,
        digester: &Digester,
        idle_timeout: Duration,
    ) -> Result<Self, Error> {
        let store = Self::new(database, listen, idle_timeout, |connection| {
            claim_digest_algorithm(database, connection, digester)
        })?;
        if listen.is_some() {
            // A change feed is opened here so that a wrong `listen_url` is reported at start-up.
            store
                .shared
                .open_reader()
                .map_err(|source| Error::database("cannot read key changes", source))?;
        }
        Ok(store)
    }

    fn new(
        database: &Database,
        listen: Option<&Database>,
        idle_timeout: Duration,
        prepare: impl FnMut(&mut dyn Queries) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let warn = || {
            log::warn!(
                "still waiting for {database}: no connection yet; check that the database is \
                 running, and that a connection pooler allows five connections for each process"
            );
        };
        let (first, _) = slow_call(SLOW_START, warn, || Opened::run(database, prepare));
        let ((), first) = first?;
        let shared = Shared {
            database: database.clone(),
            listen: listen.cloned(),
            idle: IdleConnections::new(MAX_IDLE, idle_timeout),
            usage: IdleConnections::new(1, idle_timeout),
            read_server: ReadServer::default(),
            #[cfg(feature = "postgres")]
            notifications: Arc::default(),
        };
        shared.idle.put_back(first);
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    /// Returns an error if changes are read from a server other than `server`, because revocations
    /// would be missed. After this error, the next read of changes opens a new connection, which
    /// may lead to the server that lookups use.
    fn require_changes_of(&self, server: i64) -> Result<(), StoreError> {
        if self.read_server.reads(server) {
            return Ok(());
        }
        self.read_server.give_up_other_than(server);
        Err(StoreError::new(format!(
            "key lookups and the change feed use different servers, databases or tables ({} and \
             {}), so revocations could be missed. This is expected briefly after a restart or \
             failover; if it persists, point database_url and listen_url at the same writable \
             primary",
            self.database,
            self.listen.as_ref().unwrap_or(&self.database)
        )))
    }

    /// Closes connections that were idle for too long or that read a replaced file.
    pub(super) fn close_idle(&self) {
        self.idle.close_unusable();
        self.usage.close_unusable();
    }

    pub(super) fn open_reader(&self) -> Result<Box<dyn ChangeReader>, StoreError> {
        // A connection to a replaced file may hold locks that block connections to the new file.
        self.close_idle();
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
        let found = self.idle.run(
            &self.database,
            |queries| queries.find(digests),
            |found| self.read_server.reads(found.server),
        )?;
        self.require_changes_of(found.server)?;
        Ok(found.rows)
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
        // If a connection breaks during the commit, usage is recorded again, so it may be counted
        // twice but is not lost.
        self.shared.usage.run(
            &self.shared.database,
            |queries| queries.record_usage(uses),
            |()| true,
        )
    }

    /// Closes the idle connections. First merges the write-ahead log of an SQLite file into the
    /// file, so that the file alone is complete.
    fn close(&self) -> Result<(), StoreError> {
        let Shared { database, idle, usage, .. } = &*self.shared;
        let is_merged = if database.is_postgres() {
            Ok(true)
        } else {
            usage.run(database, Queries::merge_log, |_| true)
        };
        idle.close();
        usage.close();
        if !is_merged? {
            return Err(StoreError::new(format!(
                "cannot merge the log of {database} into the file: another program reads or writes \
                 it; to copy the database, copy the file and its -wal file, or use `app-key \
                 backup`"
            )));
        }
        Ok(())
    }
}
