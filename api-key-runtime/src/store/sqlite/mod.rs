//! The tables on SQLite, for reading them with Diesel.

pub(crate) mod changes;
mod file;
pub mod schema;
pub(crate) mod usage;

use diesel::{RunQueryDsl as _, prelude::QueryableByName, sql_query, sql_types};

use super::Aborted;

/// The connection that `queries.rs` is written against.
type Connection = diesel::SqliteConnection;

// The same queries, compiled once against each backend's schema: their SQL types differ, their text does not.
#[allow(clippy::duplicate_mod)]
#[path = "../queries.rs"]
pub(crate) mod queries;

pub(crate) use file::{FileIdentity, OpenFiles};
pub use queries::KeyRow;

/// Runs a change in a transaction that takes the write lock at once: one that turned into a write later would fail without waiting.
fn write<T>(
    connection: &mut Connection,
    change: impl FnOnce(&mut Connection) -> Result<T, Aborted>,
) -> Result<T, Aborted> {
    connection.immediate_transaction(change)
}

/// The triggers without which the key table forgets to say what changed, or lets a revocation be undone.
pub(crate) const TRIGGERS: &[&str] = &[
    "api_keys_log_insert",
    "api_keys_log_update",
    "api_keys_log_delete",
    "api_keys_before_insert",
    "api_keys_before_update",
    "api_keys_revoked_is_not_replaced",
    "api_keys_revocation_is_final",
];

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = sql_types::Text)]
    name: String,
}

/// A file follows nobody.
#[allow(clippy::unnecessary_wraps, reason = "as on Postgres")]
pub(crate) fn is_standby(_: &mut Connection) -> diesel::QueryResult<bool> {
    Ok(false)
}

/// The tables there are, of those asked for.
pub(crate) fn existing_tables(
    connection: &mut Connection,
    wanted: &[&str],
) -> diesel::QueryResult<Vec<String>> {
    let mut names = names_of(
        connection,
        "SELECT name FROM sqlite_master WHERE type = 'table'",
    )?;
    names.retain(|name| wanted.contains(&name.as_str()));
    Ok(names)
}

/// The triggers on the key table.
pub(crate) fn enabled_triggers(connection: &mut Connection) -> diesel::QueryResult<Vec<String>> {
    names_of(
        connection,
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'api_keys'",
    )
}

fn names_of(connection: &mut Connection, query: &str) -> diesel::QueryResult<Vec<String>> {
    Ok(sql_query(query)
        .load::<Name>(connection)?
        .into_iter()
        .map(|row| row.name)
        .collect())
}
