//! The key table as it is administered: over a connection for each call, opened and its tables checked.

use chrono::{DateTime, Utc};

use super::{
    Connection, Database, TransactionError, checked_connection::over_live, on_either,
    schema_check::check,
};
use crate::{Error, KeyRecord, KeyUsage};

/// The key table of a database.
#[derive(Clone, Debug)]
pub(crate) struct Table(Database);

/// A change is a transaction of its own, durable before it is answered.
impl Table {
    pub(crate) fn new(database: Database) -> Self {
        Self(database)
    }

    pub(crate) fn migrate(&self) -> Result<Vec<String>, Error> {
        super::migrate(&self.0)
    }

    /// Inserts what this says, and answers it as it stands in the table.
    pub(crate) fn issue(&self, new: &KeyRecord) -> Result<KeyRecord, TransactionError> {
        self.change(|connection| on_either!(connection, queries::issue(new)))
    }

    pub(crate) fn revoke(
        &self,
        id: i64,
        now: DateTime<Utc>,
    ) -> Result<KeyRecord, TransactionError> {
        self.change(|connection| on_either!(connection, queries::revoke(id, now)))
    }

    /// Disables a key at this time, or enables it.
    pub(crate) fn set_disabled(
        &self,
        id: i64,
        at: Option<DateTime<Utc>>,
    ) -> Result<KeyRecord, TransactionError> {
        self.change(|connection| on_either!(connection, queries::set_disabled(id, at)))
    }

    pub(crate) fn list(&self) -> Result<Vec<KeyRecord>, Error> {
        self.read(|connection| on_either!(connection, queries::list()))
    }

    pub(crate) fn get(&self, id: i64) -> Result<Option<KeyRecord>, Error> {
        self.read(|connection| on_either!(connection, queries::get(id)))
    }

    pub(crate) fn usage(&self) -> Result<Vec<KeyUsage>, Error> {
        self.read(|connection| on_either!(connection, queries::usage()))
    }

    pub(crate) fn usage_of(&self, id: i64) -> Result<Option<KeyUsage>, Error> {
        self.read(|connection| on_either!(connection, queries::usage_of(id)))
    }

    /// Returns the error that a failed change is reported with.
    pub(crate) fn error_of(&self, failed: TransactionError) -> Error {
        failed.into_error(&self.0)
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Connection) -> Result<KeyRecord, TransactionError>,
    ) -> Result<KeyRecord, TransactionError> {
        change(&mut self.connect()?)
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&mut Connection) -> diesel::QueryResult<T>,
    ) -> Result<T, Error> {
        read(&mut self.connect()?).map_err(|source| {
            Error::database(format!("cannot read the keys of {}", self.0), source)
        })
    }

    fn connect(&self) -> Result<Connection, Error> {
        let database = &self.0;
        let ((), connection) =
            over_live(database, Connection::open, |connection| check(database, connection))?;
        Ok(connection)
    }
}
