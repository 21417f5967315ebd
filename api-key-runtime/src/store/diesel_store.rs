//! The store over Diesel, on either database.

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

/// After this time a start that waits for the database is logged.
const SLOW_START: Duration = Duration::from_secs(5);
/// More would only be left over from threads that were replaced.
const MAX_IDLE: usize = 2;

/// Rows that were read from a primary.
pub(crate) struct FromPrimary<T> {
    /// The number of the server.
    pub(crate) server: i64,
    pub(crate) rows: Vec<T>,
}

/// The key table of a Postgres or SQLite database.
///
/// [`AppKeysBuilder::database_url`](crate::AppKeysBuilder::database_url) creates one; create one
/// yourself to wrap it in another store. It keeps one connection for each lookup that runs at the
/// same time, one for each change feed, and one to record key usage.
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
    /// Connections for lookups.
    idle: IdleConnections,
    /// The connection for key usage, so that recording usage never delays a lookup.
    usage: IdleConnections,
    pub(super) read_server: ReadServer,
    #[cfg(feature = "postgres")]
    notifications: Arc<postgres::changes::Notifications>,
}

impl DieselStore {
    /// Connects to a database and checks its tables, but not the pepper of its keys.
    ///
    /// # Errors
    /// When the URL is invalid, the database is unavailable, or its tables are missing,
    /// incompatible or without their triggers.
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
        prepare: impl FnMut(&mut dyn Queries) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let warn = || {
            log::warn!(
                "still waiting for {database}; where a connection pooler stands in front of it, see that it has three connections for each process"
            );
        };
        let (first, _) = slow_call(SLOW_START, warn, || Opened::run(database, prepare));
        let ((), first) = first?;
        let shared = Shared {
            database: database.clone(),
            listen: listen.cloned(),
            idle: IdleConnections::new(MAX_IDLE),
            usage: IdleConnections::new(1),
            read_server: ReadServer::default(),
            #[cfg(feature = "postgres")]
            notifications: Arc::default(),
        };
        shared.idle.put_back(first);
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    /// Refuses what another server says than the one that changes are read in: its revocations
    /// would go unnoticed. Which of the two is the right one the next read tells, over a new
    /// connection.
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
        self.idle.close_unusable();
        self.usage.close_unusable();
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
        // A connection that breaks during the commit may count usage twice; none is lost.
        self.shared.usage.run(
            &self.shared.database,
            |queries| queries.record_usage(uses),
            |()| true,
        )
    }

    /// Leaves an SQLite file that stands alone: its log is merged into it.
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
                "the log of {database} stays beside it, because another program reads or writes the file: copy both, or use `app-key backup`"
            )));
        }
        Ok(())
    }
}
