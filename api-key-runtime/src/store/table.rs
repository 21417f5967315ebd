//! The key table as it is administered. Each call opens a connection and checks the tables.

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
    error::Error, key::KeyDigest, key_record::KeyRecord, key_usage::KeyUsage, list_keys::ListKeys,
};

/// Less than a change waits for a lock, so that the holder is found while the change still waits.
const LOOK_FOR_LOCKS_AFTER: Duration = Duration::from_secs(4);

/// The key table of a database.
#[derive(Clone, Debug)]
pub(crate) struct Table(Database);

/// Each change is a transaction of its own, and durable when the call returns.
impl Table {
    pub(crate) fn new(database: Database) -> Self {
        Self(database)
    }

    pub(crate) fn migrate(&self) -> Result<Vec<String>, Error> {
        super::migrate(&self.0)
    }

    /// Inserts a new key and returns it as it stands in the table.
    pub(crate) fn issue(&self, new: &KeyRecord) -> Result<KeyRecord, TransactionError> {
        self.change(|queries| queries.issue(new))
    }

    pub(crate) fn revoke(
        &self,
        id: i64,
        now: DateTime<Utc>,
    ) -> Result<KeyRecord, TransactionError> {
        self.change(|queries| queries.revoke(id, now))
    }

    /// Disables a key at this time, or enables it.
    pub(crate) fn set_disabled(
        &self,
        id: i64,
        at: Option<DateTime<Utc>>,
    ) -> Result<KeyRecord, TransactionError> {
        self.change(|queries| queries.set_disabled(id, at))
    }

    /// Copies an SQLite database to a new file.
    pub(crate) fn back_up(&self, to: &Path) -> Result<(), Error> {
        let database = &self.0;
        #[cfg(feature = "sqlite")]
        if let Some(connection) = downcast(self.connect()?.queries()) {
            return super::sqlite::back_up(database, connection, to);
        }
        Err(Error::config(format!(
            "{database} is not an SQLite file: back a Postgres up to {} by pg_dump",
            to.display()
        )))
    }

    /// Returns the error that a failed change is reported with.
    pub(crate) fn error_of(&self, failed: TransactionError) -> Error {
        failed.into_error(&self.0)
    }

    pub(crate) fn list(
        &self,
        wanted: &ListKeys,
        now: DateTime<Utc>,
    ) -> Result<Vec<KeyRecord>, Error> {
        self.read(self.connect()?.queries().list(wanted, now))
    }

    pub(crate) fn get(&self, id: i64) -> Result<Option<KeyRecord>, Error> {
        self.read(self.connect()?.queries().get(id))
    }

    /// Returns the keys with these digests, as the service's lookups do.
    pub(crate) fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, Error> {
        self.read(self.connect()?.queries().find(digests)).map(|found| found.rows)
    }

    pub(crate) fn usage(&self, ids: &RangeInclusive<i64>) -> Result<Vec<KeyUsage>, Error> {
        self.read(self.connect()?.queries().usage(ids))
    }

    pub(crate) fn usage_of(&self, id: i64) -> Result<Option<KeyUsage>, Error> {
        self.read(self.connect()?.queries().usage_of(id))
    }

    /// Returns the time by the clock of a Postgres.
    pub(crate) fn time(&self) -> Result<Option<DateTime<Utc>>, Error> {
        if !self.0.is_postgres() {
            return Ok(None);
        }
        self.read(self.connect()?.queries().time())
    }

    /// Makes a change. If a lock keeps it waiting until it fails, the error names who holds the lock.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut dyn Queries) -> Result<T, TransactionError>,
    ) -> Result<T, TransactionError> {
        let mut connection = self.connect()?;
        let find_holder = || open_soon(&self.0).ok()?.queries().lock_holder().ok()?;
        let (changed, holder) =
            slow_call(LOOK_FOR_LOCKS_AFTER, find_holder, || change(connection.queries()));
        changed.map_err(|error| error.held_up_by(&self.0, holder.flatten()))
    }

    fn read<T>(&self, read: QueryResult<T>) -> Result<T, Error> {
        read.map_err(|source| {
            Error::database(format!("cannot read the keys of {}", self.0), source)
        })
    }

    fn connect(&self) -> Result<Connection, Error> {
        let database = &self.0;
        let ((), connection) = over_live(database, open, |connection| {
            refuse_open_transaction(database, connection)?;
            check(database, connection.queries())
        })?;
        Ok(connection)
    }
}
