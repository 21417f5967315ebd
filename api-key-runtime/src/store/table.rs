//! Administration of the key table. Each call opens a connection and checks the tables.

use std::{ops::RangeInclusive, path::Path, time::Duration};

use chrono::{DateTime, Utc};
use diesel::QueryResult;

#[cfg(feature = "sqlite")]
use super::connection::downcast;
use super::{
    Connection, Database, Queries, TransactionError,
    checked_connection::{over_live, refuse_open_transaction},
    connection::{open, open_soon},
    schema_check::check,
    slow_call::slow_call,
};
use crate::{
    clock::{Clock, MonotonicTime, to_stored},
    error::Error,
    key::KeyDigest,
    key_record::{KeyRecord, Updated},
    key_usage::KeyUsage,
    list_keys::ListKeys,
    new_key::IssuedKey,
};

/// The time after which the lock holder is determined. It is shorter than the lock timeout of a
/// change, so that the change is still waiting.
const LOOK_FOR_LOCKS_AFTER: Duration = Duration::from_secs(4);

/// The key table of a database.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    database: Database,
    /// The clock that each call sets to the database's time.
    clock: Clock,
}

/// Each change has its own transaction, and is durable when the call returns. Times come from the
/// database's clock.
impl Table {
    pub(crate) const fn new(database: Database, clock: Clock) -> Self {
        Self { database, clock }
    }

    /// Returns the time by the database's clock, computed from the last call that read that clock.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(crate) fn migrate(&self) -> Result<Vec<String>, Error> {
        super::migrate(&self.database)
    }

    /// Makes a new key and inserts its record. Returns the key, and the record that the table
    /// stores.
    pub(crate) fn issue(
        &self,
        make: impl FnOnce(DateTime<Utc>) -> Result<IssuedKey, Error>,
    ) -> Result<IssuedKey, TransactionError> {
        self.change(|queries| {
            let mut issued = make(self.now())?;
            issued.record = queries.issue(&issued.record)?;
            Ok(issued)
        })
    }

    pub(crate) fn revoke(&self, id: i64) -> Result<KeyRecord, TransactionError> {
        self.change(|queries| queries.revoke(id, to_stored(self.now())))
    }

    pub(crate) fn disable(&self, id: i64) -> Result<KeyRecord, TransactionError> {
        self.change(|queries| queries.set_disabled(id, Some(to_stored(self.now()))))
    }

    pub(crate) fn enable(&self, id: i64) -> Result<KeyRecord, TransactionError> {
        self.change(|queries| queries.set_disabled(id, None))
    }

    /// Changes a key to what `change` returns for the key as it is at this time.
    pub(crate) fn update(
        &self,
        id: i64,
        mut change: impl FnMut(&KeyRecord, DateTime<Utc>) -> Result<KeyRecord, Error>,
    ) -> Result<Updated, TransactionError> {
        self.change(|queries| queries.update(id, &mut |before| change(before, self.now())))
    }

    /// Copies an SQLite database to a new file.
    pub(crate) fn back_up(&self, to: &Path) -> Result<(), Error> {
        let database = &self.database;
        #[cfg(feature = "sqlite")]
        if let Some(connection) = downcast(self.connect()?.queries()) {
            return super::sqlite::back_up(database, connection, to);
        }
        Err(Error::config(format!(
            "cannot back up {database} to {}: it is not an SQLite file; use pg_dump",
            to.display()
        )))
    }

    /// Returns the error that reports a failed change.
    pub(crate) fn error_of(&self, failed: TransactionError) -> Error {
        failed.into_error(&self.database)
    }

    pub(crate) fn list(&self, wanted: &ListKeys) -> Result<Vec<KeyRecord>, Error> {
        self.read(self.connect()?.queries().list(wanted, self.now()))
    }

    pub(crate) fn get(&self, id: i64) -> Result<Option<KeyRecord>, Error> {
        self.read(self.connect()?.queries().get(id))
    }

    /// Returns the keys with these digests. Uses the same query as the lookups of a service.
    pub(crate) fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, Error> {
        self.read(self.connect()?.queries().find(digests)).map(|found| found.rows)
    }

    pub(crate) fn usage(&self, ids: &RangeInclusive<i64>) -> Result<Vec<KeyUsage>, Error> {
        self.read(self.connect()?.queries().usage(ids))
    }

    pub(crate) fn usage_of(&self, id: i64) -> Result<Option<KeyUsage>, Error> {
        self.read(self.connect()?.queries().usage_of(id))
    }

    /// Makes a change. If the change fails because it waited too long for a lock, the error names
    /// the lock holder.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut dyn Queries) -> Result<T, TransactionError>,
    ) -> Result<T, TransactionError> {
        let mut connection = self.connect()?;
        let find_holder = || open_soon(&self.database).ok()?.queries().lock_holder().ok()?;
        let (changed, holder) =
            slow_call(LOOK_FOR_LOCKS_AFTER, find_holder, || change(connection.queries()));
        changed.map_err(|error| error.held_up_by(&self.database, holder.flatten()))
    }

    fn read<T>(&self, read: QueryResult<T>) -> Result<T, Error> {
        read.map_err(|source| {
            Error::database(format!("cannot read the API keys of {}", self.database), source)
        })
    }

    fn connect(&self) -> Result<Connection, Error> {
        let database = &self.database;
        let ((), connection) = over_live(database, open, |connection| {
            refuse_open_transaction(database, connection)?;
            check(database, connection.queries())?;
            self.set_clock(|| self.read(connection.queries().time()))
        })?;
        Ok(connection)
    }

    /// Sets the clock to the database's time.
    pub(crate) fn set_clock(
        &self,
        read: impl FnOnce() -> Result<Option<DateTime<Utc>>, Error>,
    ) -> Result<(), Error> {
        let sent = MonotonicTime::now();
        if let Some(time) = read()? {
            self.clock.observe(sent, time, MonotonicTime::now());
        }
        Ok(())
    }
}
