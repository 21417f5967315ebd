//! One connection to either kind of database, and the queries that run over it.

use std::{any::Any, ops::RangeInclusive};

use chrono::{DateTime, Utc};
#[cfg(feature = "postgres")]
use diesel::PgConnection;
use diesel::QueryResult;
#[cfg(feature = "sqlite")]
use diesel::SqliteConnection;

use super::{
    Database, FromPrimary, SchemaVersion, TransactionError,
    import::Imports,
    pool::{POOL_TIMEOUT, Pooled},
};
use crate::{
    error::Error,
    key::KeyDigest,
    key_event::KeyEvent,
    key_record::KeyRecord,
    key_usage::KeyUsage,
    list_keys::ListKeys,
    prune::{Due, Pruned},
};

/// A connection that [`Admin::issue_in_transaction`](crate::admin::Admin::issue_in_transaction)
/// accepts. Diesel connections to Postgres or SQLite implement this trait, also when they are
/// borrowed from an `r2d2` pool.
pub trait KeyConnection: sealed::Issue {}

#[cfg(feature = "postgres")]
impl KeyConnection for PgConnection {}
#[cfg(feature = "postgres")]
impl KeyConnection for Pooled<PgConnection> {}
#[cfg(feature = "sqlite")]
impl KeyConnection for SqliteConnection {}
#[cfg(feature = "sqlite")]
impl KeyConnection for Pooled<SqliteConnection> {}

mod sealed {
    use super::{DateTime, Error, KeyRecord, Utc};

    pub trait Issue {
        /// Returns the time by the server's clock, or `None` if there is no server.
        fn time(&mut self) -> Result<Option<DateTime<Utc>>, Error>;
        /// Inserts a new key. Uses the open transaction if there is one.
        fn issue_in_transaction(
            &mut self,
            actor: Option<&str>,
            new: &KeyRecord,
        ) -> Result<KeyRecord, Error>;
    }
}

impl<C: Held> sealed::Issue for C {
    fn time(&mut self) -> Result<Option<DateTime<Utc>>, Error> {
        let time = self.queries().time();
        time.map_err(|error| TransactionError::from(error).into_error_of_open_transaction())
    }

    fn issue_in_transaction(
        &mut self,
        actor: Option<&str>,
        new: &KeyRecord,
    ) -> Result<KeyRecord, Error> {
        let queries = self.queries();
        let mut issue = || {
            let Some(actor) = actor else { return queries.issue(new) };
            let before = queries.state_actor(Some(actor))?;
            let issued = queries.issue(new);
            // The application's own changes in this transaction may have another actor.
            let restored = queries.state_actor(before.as_deref());
            let issued = issued?;
            restored?;
            Ok(issued)
        };
        issue().map_err(TransactionError::into_error_of_open_transaction)
    }
}

/// The queries of this crate on its tables. `queries.rs` implements this trait for both kinds of
/// connection.
pub(crate) trait Queries: Any {
    /// Reads the keys with these digests from a primary. Each query checks that the server is a
    /// primary, even if the query finds no key. Behind a connection pooler, each statement may run
    /// on another server, and a standby may lack a revocation or a new key.
    fn find(&mut self, digests: &[KeyDigest]) -> QueryResult<FromPrimary<KeyRecord>>;
    /// Lists one page of keys, oldest first. A filter by state uses the states at the time `now`.
    fn list(&mut self, wanted: &ListKeys, now: DateTime<Utc>) -> QueryResult<Vec<KeyRecord>>;
    fn get(&mut self, id: i64) -> QueryResult<Option<KeyRecord>>;
    /// Returns the usage of the keys in this range of ids, ordered by key id. Leaves out keys that
    /// were never used.
    fn usage(&mut self, ids: &RangeInclusive<i64>) -> QueryResult<Vec<KeyUsage>>;
    /// Returns the usage of these keys. Leaves out keys that were never used.
    fn usage_of_keys(&mut self, ids: &[i64]) -> QueryResult<Vec<KeyUsage>>;
    /// Returns the usage of one key, or `None` if the key was never used.
    fn usage_of(&mut self, id: i64) -> QueryResult<Option<KeyUsage>>;
    /// Adds all of this usage, or nothing if a statement fails.
    fn record_usage(&mut self, usage: &[KeyUsage]) -> QueryResult<()>;

    /// Returns the newest events of a key, oldest first.
    fn events(&mut self, key_id: i64, limit: u32) -> QueryResult<Vec<KeyEvent>>;

    /// Makes a change in its own transaction, which is durable when the call returns.
    fn write(
        &mut self,
        recorded: Recorded<'_>,
        change: &mut dyn FnMut(&mut dyn Queries) -> Result<(), TransactionError>,
    ) -> Result<(), TransactionError>;
    /// Sets the actor of the next changes in the open transaction, and returns the previous actor.
    /// Has no effect outside a transaction.
    fn state_actor(&mut self, actor: Option<&str>) -> QueryResult<Option<String>>;
    /// Inserts a new key. Fails if the table's keys have another digest algorithm.
    fn issue(&mut self, new: &KeyRecord) -> Result<KeyRecord, TransactionError>;
    /// Returns a key, and locks its row until the transaction ends. Fails if no key has this id.
    fn lock(&mut self, id: i64) -> Result<KeyRecord, TransactionError>;
    /// Stores the fields that differ between two records of a key, and returns the record that the
    /// table then stores. Fails if a trigger or rule of the application has undone the change. The
    /// id, digest, digest algorithm, hint and creation time cannot change.
    fn save(
        &mut self,
        before: &KeyRecord,
        after: &KeyRecord,
    ) -> Result<KeyRecord, TransactionError>;

    /// Returns the queries of an import.
    fn imports(&mut self) -> &mut dyn Imports;
    /// Counts the keys and events that pruning would delete.
    fn count_due(&mut self, due: &Due) -> QueryResult<Pruned>;
    /// Deletes some of the due keys with an id above `after`, and records that they were pruned.
    /// Returns an empty list if no due key is left.
    fn prune_keys(
        &mut self,
        due: &Due,
        after: i64,
    ) -> Result<Vec<(i64, KeyDigest)>, TransactionError>;
    /// Deletes a batch of the events up to this time, and returns their number.
    fn prune_events(&mut self, until: DateTime<Utc>) -> Result<usize, TransactionError>;

    /// Migrates the tables to the newest version. Returns the versions of the migrations that ran.
    fn migrate(&mut self, database: &Database) -> Result<Vec<String>, TransactionError>;
    /// Returns the version of the tables, or `None` if `api_key_meta` is empty.
    fn schema_version(&mut self) -> QueryResult<Option<SchemaVersion>>;
    /// Returns whether the server is a standby, which may be behind its primary.
    fn is_standby(&mut self) -> QueryResult<bool>;
    /// Returns which of these tables exist.
    fn existing_tables(&mut self, wanted: &[&str]) -> QueryResult<Vec<String>>;
    /// Returns a schema that contains the tables although the search path does not find them there.
    fn tables_elsewhere(&mut self) -> QueryResult<Option<Elsewhere>>;
    /// Returns whether row-level security hides rows of the tables from this role.
    fn hides_rows(&mut self) -> QueryResult<bool>;
    /// Returns the names of the triggers that the tables must have. On Postgres, each name is
    /// followed by a colon and the trigger's `tgenabled` letter.
    fn required_triggers(&self) -> &'static [&'static str];
    /// Returns the triggers that the tables have, in the same form. On Postgres, the list also
    /// contains triggers and rules that may keep changes out of the log, with the prefix `foreign`.
    fn enabled_triggers(&mut self) -> QueryResult<Vec<String>>;

    /// Returns the digest algorithm of the table's keys. Returns `None` if neither a service nor a
    /// new key has set the algorithm yet.
    fn digest_algorithm(&mut self) -> QueryResult<Option<String>>;
    /// Sets the digest algorithm of the table's keys, if the algorithm is still `before`. Returns
    /// `false` otherwise.
    fn claim_digest_algorithm(&mut self, before: Option<&str>, now: &str) -> QueryResult<bool>;
    /// Counts the keys that are neither revoked nor expired and whose digest algorithm is not in
    /// this list.
    fn count_live_except(&mut self, algorithms: &[&str], now: DateTime<Utc>) -> QueryResult<i64>;

    /// Returns whether a transaction is open in which keys must not be read, such as a transaction
    /// from a raw `BEGIN` of the application. Ignores a transaction that Diesel opened, so that
    /// Diesel's test transactions work.
    fn is_within_transaction(&mut self) -> bool;
    /// Returns the time by the server's clock, or `None` if there is no server.
    fn time(&mut self) -> QueryResult<Option<DateTime<Utc>>>;
    /// Describes the holder of the lock that a change by this process waits for. Returns `None` if
    /// no change waits, and always on SQLite.
    fn lock_holder(&mut self) -> QueryResult<Option<String>>;
    /// Merges the write-ahead log of an SQLite file into the file, and empties the log. Returns
    /// `false` if another connection prevents the merge.
    fn merge_log(&mut self) -> QueryResult<bool>;
    /// Returns whether the connection is known to be unusable.
    fn is_broken(&mut self) -> bool;
}

/// Facts that the audit log records in addition to the change itself.
#[derive(Clone, Copy, Default)]
pub(crate) struct Recorded<'a> {
    /// The actor of the change, as stated by the program.
    pub(crate) actor: Option<&'a str>,
    /// The action of the event if one event is recorded for all keys.
    pub(crate) summary: Option<Summary>,
}

/// The action of an event that summarizes several keys.
#[derive(Clone, Copy)]
pub(crate) enum Summary {
    Imported,
    Pruned,
}

impl Summary {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Pruned => "pruned",
        }
    }
}

/// A schema that contains the tables, although the search path does not find them there.
pub(crate) struct Elsewhere {
    /// The quoted name of the schema.
    pub(crate) schema: String,
    /// Whether the search path names the schema, but the role may not use the schema.
    pub(crate) is_forbidden: bool,
}

/// A connection that this crate opened or that is borrowed from the application's pool.
pub(crate) type Connection = Box<dyn Held + Send>;

/// A connection, either owned or borrowed from a pool. Only a borrowed connection records that its
/// tables were checked, because its next borrower would check them again.
pub(crate) trait Held {
    fn queries(&mut self) -> &mut dyn Queries;

    /// Returns whether the connection is borrowed from a pool.
    fn is_borrowed(&self) -> bool {
        false
    }

    /// Returns whether the tables were checked during an earlier borrow of the connection.
    fn is_checked(&self) -> bool {
        false
    }

    fn set_checked(&mut self) {}
}

#[cfg(feature = "postgres")]
impl Held for PgConnection {
    fn queries(&mut self) -> &mut dyn Queries {
        self
    }
}

#[cfg(feature = "sqlite")]
impl Held for SqliteConnection {
    fn queries(&mut self) -> &mut dyn Queries {
        self
    }
}

/// Returns the connection with its concrete type, or `None` if it has another type.
pub(super) fn downcast<C: 'static>(queries: &mut dyn Queries) -> Option<&mut C> {
    (queries as &mut dyn Any).downcast_mut()
}

/// Whether a missing SQLite file is created.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

/// Connects to an existing database, or borrows a connection from the application's pool.
pub(super) fn open(database: &Database) -> Result<Connection, Error> {
    open_or(database, Missing::Refuse)
}

#[cfg_attr(
    not(feature = "sqlite"),
    expect(unused_variables, reason = "only a file can be created")
)]
pub(super) fn open_or(database: &Database, missing: Missing) -> Result<Connection, Error> {
    Ok(match database {
        #[cfg(feature = "postgres")]
        Database::Postgres(url) => Box::new(super::postgres::connect(database, url)?),
        #[cfg(feature = "sqlite")]
        Database::Sqlite(path) => Box::new(super::sqlite::connect(database, path, missing)?),
        #[cfg(feature = "postgres")]
        Database::PostgresPool(pool) => Box::new(pool.get(pool.timeout())?),
        #[cfg(feature = "sqlite")]
        Database::SqlitePool(pool) => Box::new(pool.get(pool.timeout())?),
    })
}

/// Connects like [`open`], but waits at most [`POOL_TIMEOUT`] for a pooled connection. The pool's
/// own timeout may be far longer than a request waits for the result.
pub(super) fn open_soon(database: &Database) -> Result<Connection, Error> {
    Ok(match database {
        #[cfg(feature = "postgres")]
        Database::PostgresPool(pool) => Box::new(pool.get(POOL_TIMEOUT)?),
        #[cfg(feature = "sqlite")]
        Database::SqlitePool(pool) => Box::new(pool.get(POOL_TIMEOUT)?),
        database => open(database)?,
    })
}
