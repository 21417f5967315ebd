//! The store over Diesel, on either database.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Connection, Database, KeyStore, StoreError, check, claim_digest_key, database::Identity,
    on_either, usage::UsageConnection,
};
use crate::{Digest, Error, KeyRecord, KeyUse, key::Digester};

/// The key table of a Postgres or SQLite database.
///
/// [`AppKeysBuilder::database_url`](crate::AppKeysBuilder::database_url) makes one by itself; by hand it is for stores that wrap it.
/// It keeps a connection of its own for each look-up that runs at the same time, and one to record uses of keys.
#[derive(Debug)]
pub struct DieselStore {
    database: Database,
    /// Connections nobody uses at the moment. Taken out while in use, so that a stuck one holds no lock.
    idle: Mutex<Vec<Idle>>,
    usage: UsageConnection,
}

#[derive(Debug)]
pub(super) struct Idle {
    pub(super) connection: Connection,
    /// Which file or server it was opened on.
    identity: Identity,
    since: Instant,
}

/// More would only be left over from threads that were replaced.
const MAX_IDLE: usize = 2;
/// Shorter than the idle time after which firewalls and balancers forget a connection without a word.
const MAX_IDLE_TIME: Duration = Duration::from_secs(60);

impl DieselStore {
    /// Connects to a database and checks its tables, but not under which pepper its keys are.
    ///
    /// # Errors
    /// When the URL is unusable, the database away, or its tables are missing, incompatible or without their triggers.
    pub fn open(database_url: &str) -> Result<Self, Error> {
        Self::new(&Database::parse(database_url)?, |_| Ok(()))
    }

    /// Connects, checks the tables, and makes this way of digesting the table's.
    pub(crate) fn connect(database: &Database, digester: &Digester) -> Result<Self, Error> {
        Self::new(database, |connection| {
            claim_digest_key(database, connection, digester)
        })
    }

    fn new(
        database: &Database,
        prepare: impl FnOnce(&mut Connection) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut first = Idle::open(database)?;
        prepare(&mut first.connection)?;
        Ok(Self {
            database: database.clone(),
            idle: Mutex::new(vec![first]),
            usage: UsageConnection::default(),
        })
    }

    /// A connection to what the URL names now that was used lately: none to a file that was replaced or deleted meanwhile, and none
    /// that a firewall may have forgotten.
    fn take_idle(&self) -> Option<Idle> {
        let identity = self.database.identity();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.is_usable(identity));
        idle.pop()
    }

    fn put_back(&self, used: Idle) {
        let used = used.used_now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(used);
        }
    }
}

impl Idle {
    /// A new connection, whose tables are checked: a restored file may be of another release, or without its triggers.
    pub(super) fn open(database: &Database) -> Result<Self, Error> {
        let identity = database.identity();
        let mut connection = Connection::open(database)?;
        check(database, &mut connection)?;
        Ok(Self {
            connection,
            identity,
            since: Instant::now(),
        })
    }

    pub(super) fn is_usable(&self, identity: Identity) -> bool {
        self.identity == identity && self.since.elapsed() < MAX_IDLE_TIME
    }

    pub(super) fn used_now(self) -> Self {
        Self {
            since: Instant::now(),
            ..self
        }
    }
}

impl KeyStore for DieselStore {
    fn find(&self, digests: &[Digest]) -> Result<Vec<KeyRecord>, StoreError> {
        // A connection that lay idle may have died meanwhile, which is no reason to refuse anyone: ask once more over a new one.
        if let Some(mut idle) = self.take_idle() {
            match on_either!(&mut idle.connection, queries::find(digests)) {
                Ok(records) => {
                    self.put_back(idle);
                    return Ok(records);
                }
                Err(error) => {
                    log::debug!("an idle connection to {} failed: {error}", self.database);
                }
            }
        }
        let mut another = Idle::open(&self.database).map_err(StoreError::new)?;
        let records =
            on_either!(&mut another.connection, queries::find(digests)).map_err(StoreError::new)?;
        self.put_back(another);
        Ok(records)
    }

    fn record_usage(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.usage.record(&self.database, uses)
    }
}
