//! The tables on Postgres, for reading them with Diesel.

pub(crate) mod changes;
mod connect;
mod pool;
pub mod schema;
mod server;
pub(crate) mod usage;

use diesel::{
    Connection as _, RunQueryDsl as _, connection::SimpleConnection as _, dsl::sql,
    prelude::QueryableByName, sql_query, sql_types,
};

use self::server::PRIMARY;
use super::{TransactionError, migrations::migrate_postgres as migrate};

/// The connection that `queries.rs` is written against.
type Connection = diesel::PgConnection;

// The same queries, compiled once against each backend's schema: their SQL types differ, their text does not.
#[allow(clippy::duplicate_mod)]
#[path = "../queries.rs"]
pub(crate) mod queries;

pub(crate) use connect::{after_credentials, connect};
pub(crate) use pool::PostgresPool;
pub use queries::KeyRow;

/// The triggers without which the key table forgets to say what changed, or lets a revocation be undone.
pub(crate) const TRIGGERS: &[&str] = &[
    "api_keys_log_insert",
    "api_keys_log_update",
    "api_keys_log_delete",
    "api_keys_log_truncate",
    "api_keys_revocation_is_final",
];

/// Runs a change in a transaction that is durable before it is acknowledged, whatever the server's default.
fn write<T>(
    connection: &mut Connection,
    change: impl FnOnce(&mut Connection) -> Result<T, TransactionError>,
) -> Result<T, TransactionError> {
    let mut is_done = false;
    let committed = connection.transaction(|connection| {
        connection.batch_execute(
            "SELECT set_config('synchronous_commit', 'on', true) \
             WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')",
        )?;
        let changed = change(connection)?;
        is_done = true;
        Ok(changed)
    });
    committed.map_err(|error: TransactionError| if is_done { error.of_commit() } else { error })
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = sql_types::Text)]
    name: String,
}

/// Whether this server only follows another one, and may be behind it.
pub(crate) fn is_standby(connection: &mut Connection) -> diesel::QueryResult<bool> {
    diesel::select(sql::<sql_types::Bool>("pg_is_in_recovery()")).get_result(connection)
}

/// The tables there are, of those asked for, as the connection's search path finds them.
pub(crate) fn existing_tables(
    connection: &mut Connection,
    wanted: &[&str],
) -> diesel::QueryResult<Vec<String>> {
    let names = sql_query(
        "SELECT name FROM unnest($1) AS name WHERE to_regclass(quote_ident(name)) IS NOT NULL",
    )
    .bind::<sql_types::Array<sql_types::Text>, _>(wanted)
    .load::<Name>(connection)?;
    Ok(names.into_iter().map(|row| row.name).collect())
}

/// The triggers on the key table that fire for ordinary sessions.
pub(crate) fn enabled_triggers(connection: &mut Connection) -> diesel::QueryResult<Vec<String>> {
    let names = sql_query(
        "SELECT tgname::text AS name FROM pg_catalog.pg_trigger \
         WHERE tgrelid = to_regclass('api_keys') AND NOT tgisinternal AND tgenabled IN ('O', 'A')",
    )
    .load::<Name>(connection)?;
    Ok(names.into_iter().map(|row| row.name).collect())
}
