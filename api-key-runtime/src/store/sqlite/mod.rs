//! The tables on SQLite, for queries with Diesel.
//!
//! Semantic versioning does not cover [`schema`] and [`KeyRow`]: both follow the columns, and any
//! release may add a migration.

mod backup;
pub(crate) mod changes;
mod connect;
mod file;
mod import_staging;
mod location;
mod pool;
pub mod schema;
mod source_table;
pub(crate) mod usage;

use chrono::{DateTime, Utc};
use diesel::{
    RunQueryDsl as _, connection::SimpleConnection as _, prelude::QueryableByName, sql_query,
    sql_types,
};

use crate::log;

use super::{
    TransactionError,
    connection::{Elsewhere, Recorded, Summary},
    migrations::migrate_sqlite as migrate,
};

/// The SQL expression that orders events with the same time. SQLite times have only milliseconds,
/// so the order of insertion decides.
const EVENT_PLACE: &str = "rowid";

/// The SQL type of a time with a time zone.
type Timestamp = diesel::sql_types::TimestamptzSqlite;

/// The connection type that `queries.rs` uses.
type Connection = diesel::SqliteConnection;

// These files are compiled once for each kind of database. The text of the queries is the same, but
// the SQL types of the schemas differ.
#[allow(clippy::duplicate_mod)]
#[path = "../events.rs"]
mod events;
#[allow(clippy::duplicate_mod)]
#[path = "../import_queries.rs"]
mod import_queries;
#[allow(clippy::duplicate_mod)]
#[path = "../listing.rs"]
mod listing;
#[allow(clippy::duplicate_mod)]
#[path = "../prune.rs"]
mod prune;
#[allow(clippy::duplicate_mod)]
#[path = "../queries.rs"]
pub(crate) mod queries;

pub(crate) use backup::back_up;
pub(crate) use connect::{BUSY_TIMEOUT, connect};
pub(crate) use file::{FileIdentity, OpenFiles};
pub(crate) use pool::SqlitePool;
pub use queries::KeyRow;

/// The triggers that the tables must have.
pub(crate) const TRIGGERS: &[&str] = &[
    "api_keys_log_insert",
    "api_keys_log_update",
    "api_keys_log_delete",
    "api_keys_before_insert",
    "api_keys_before_update",
    "api_keys_revoked_is_not_replaced",
    "api_keys_revocation_is_final",
    "api_keys_record_insert",
    "api_keys_record_update",
    "api_keys_record_delete",
    "api_keys_refuse_pruned",
    "api_keys_refuse_pruned_update",
];

/// Accepts every row, because SQLite has no table inheritance.
const OWN_ROW: &str = "TRUE";

/// The key table.
type OwnKeys = schema::api_keys::table;

fn own_keys() -> OwnKeys {
    schema::api_keys::table
}

/// Locks nothing, because a write transaction locks the whole file.
const SKIP_LOCKED: &str = "";

/// No file is a standby or hides rows, and the identity is empty.
const PRIMARY: &str = "'f/f/'";

/// Selects the connection settings that affect a write. The columns have the names of the pragmas.
const SETTINGS: &str =
    "SELECT synchronous, timeout AS busy_timeout FROM pragma_synchronous, pragma_busy_timeout";
/// The value of `synchronous` with which a commit survives a power failure.
const FULL: i64 = 2;

/// Runs a change in a transaction that takes the write lock at once. A transaction that takes the
/// lock at its first write may fail without waiting for other writers. The change waits for other
/// writers and is durable before it is acknowledged, even if the application's connections have
/// weaker settings. The triggers record `recorded` with the change.
fn write<T>(
    connection: &mut Connection,
    recorded: Recorded<'_>,
    change: impl FnOnce(&mut Connection) -> Result<T, TransactionError>,
) -> Result<T, TransactionError> {
    let before: Settings = sql_query(SETTINGS).get_result(connection)?;
    let needed = Settings {
        synchronous: before.synchronous.max(FULL),
        busy_timeout: if before.busy_timeout == 0 {
            i64::try_from(BUSY_TIMEOUT.as_millis()).unwrap_or(i64::MAX)
        } else {
            before.busy_timeout
        },
    };
    if needed != before {
        needed.apply(connection)?;
    }
    let mut is_done = false;
    let committed = connection.immediate_transaction(|connection| {
        state(connection, recorded)?;
        let changed = change(connection)?;
        state(connection, Recorded::default())?;
        is_done = true;
        Ok(changed)
    });
    if needed != before {
        // The error is logged but not returned, because the change itself has already succeeded or
        // failed.
        if let Err(error) = before.apply(connection) {
            log::warn!(
                "cannot restore the settings of an SQLite connection of the application's pool: \
                 {error}; the connection keeps other values of synchronous and busy_timeout"
            );
        }
    }
    committed.map_err(|error: TransactionError| if is_done { error.of_commit() } else { error })
}

/// Sets what the triggers record with the next changes of the open transaction. The row in
/// `api_key_session` must not outlive the transaction.
fn state(connection: &mut Connection, recorded: Recorded<'_>) -> diesel::QueryResult<()> {
    sql_query("DELETE FROM api_key_session").execute(connection)?;
    if recorded.actor.is_some() || recorded.summary.is_some() {
        sql_query("INSERT INTO api_key_session (id, actor, summary) VALUES (1, ?, ?)")
            .bind::<sql_types::Nullable<sql_types::Text>, _>(recorded.actor)
            .bind::<sql_types::Nullable<sql_types::Text>, _>(recorded.summary.map(Summary::as_str))
            .execute(connection)?;
    }
    Ok(())
}

/// Sets the actor of the next changes in the open transaction, and returns the previous actor. Does
/// nothing outside a transaction.
fn state_actor(
    connection: &mut Connection,
    actor: Option<&str>,
) -> diesel::QueryResult<Option<String>> {
    if !is_within_transaction(connection) {
        return Ok(None);
    }
    let before = names_of(connection, "SELECT coalesce(actor, '') AS name FROM api_key_session")?;
    state(connection, Recorded { actor, summary: None })?;
    Ok(before.into_iter().next().filter(|name| !name.is_empty()))
}

/// The connection settings that affect a write. The fields have the names of the pragmas.
#[derive(Clone, Copy, PartialEq, Eq, QueryableByName)]
struct Settings {
    #[diesel(sql_type = sql_types::BigInt)]
    synchronous: i64,
    #[diesel(sql_type = sql_types::BigInt)]
    busy_timeout: i64,
}

impl Settings {
    fn apply(self, connection: &mut Connection) -> diesel::QueryResult<()> {
        let Self { synchronous, busy_timeout } = self;
        connection.batch_execute(&format!(
            "PRAGMA busy_timeout = {busy_timeout}; PRAGMA synchronous = {synchronous}"
        ))
    }
}

/// Returns the server number of every file, because SQLite has no servers.
#[allow(clippy::unnecessary_wraps, reason = "as on Postgres")]
fn server_number(_: &str) -> Option<i64> {
    Some(0)
}

/// Returns whether a transaction is open, in which case `BEGIN` fails.
fn is_within_transaction(connection: &mut Connection) -> bool {
    connection.batch_execute("BEGIN; COMMIT").is_err()
}

/// Merges the write-ahead log into the file. Waits at most a second for other connections.
fn merge_log(connection: &mut Connection) -> diesel::QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Merged {
        #[diesel(sql_type = sql_types::BigInt)]
        busy: i64,
    }
    let before: Settings = sql_query(SETTINGS).get_result(connection)?;
    Settings { busy_timeout: before.busy_timeout.min(1000), ..before }.apply(connection)?;
    let merged: diesel::QueryResult<Merged> =
        sql_query("PRAGMA wal_checkpoint(TRUNCATE)").get_result(connection);
    before.apply(connection)?;
    Ok(merged?.busy == 0)
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = sql_types::Text)]
    name: String,
}

#[allow(clippy::unnecessary_wraps, reason = "as on Postgres")]
pub(crate) fn is_standby(_: &mut Connection) -> diesel::QueryResult<bool> {
    Ok(false)
}

#[allow(clippy::unnecessary_wraps, reason = "as on Postgres")]
fn tables_elsewhere(_: &mut Connection) -> diesel::QueryResult<Option<Elsewhere>> {
    Ok(None)
}

#[allow(clippy::unnecessary_wraps, reason = "as on Postgres")]
fn hides_rows(_: &mut Connection) -> diesel::QueryResult<bool> {
    Ok(false)
}

#[allow(clippy::unnecessary_wraps, reason = "as on Postgres")]
fn time(_: &mut Connection) -> diesel::QueryResult<Option<DateTime<Utc>>> {
    Ok(None)
}

/// Returns `None`, because SQLite does not record which process holds a lock.
#[allow(clippy::unnecessary_wraps, reason = "as on Postgres")]
fn lock_holder(_: &mut Connection) -> diesel::QueryResult<Option<String>> {
    Ok(None)
}

/// Does nothing. A write transaction locks the whole file.
#[allow(clippy::unnecessary_wraps, reason = "as on Postgres")]
fn lock_row(_: &mut Connection, _id: i64) -> diesel::QueryResult<usize> {
    Ok(0)
}

/// Does nothing. The file stores the highest id together with the rows, so a restored file has
/// both.
#[allow(clippy::unnecessary_wraps, reason = "as on Postgres")]
fn mend_identity(_: &mut Connection) -> diesel::QueryResult<()> {
    Ok(())
}

/// Returns which of these tables exist.
pub(crate) fn existing_tables(
    connection: &mut Connection,
    wanted: &[&str],
) -> diesel::QueryResult<Vec<String>> {
    let mut names = names_of(connection, "SELECT name FROM sqlite_master WHERE type = 'table'")?;
    names.retain(|name| wanted.contains(&name.as_str()));
    Ok(names)
}

/// Returns the triggers on the key table.
pub(crate) fn enabled_triggers(connection: &mut Connection) -> diesel::QueryResult<Vec<String>> {
    names_of(
        connection,
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'api_keys'",
    )
}

fn names_of(connection: &mut Connection, query: &str) -> diesel::QueryResult<Vec<String>> {
    Ok(sql_query(query).load::<Name>(connection)?.into_iter().map(|row| row.name).collect())
}
