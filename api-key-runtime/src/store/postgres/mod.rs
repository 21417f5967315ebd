//! The tables on Postgres, for queries with Diesel.
//!
//! Semantic versioning does not cover [`schema`] and [`KeyRow`]: both follow the columns, and any
//! release may add a migration.

pub(crate) mod changes;
mod connect;
mod hosts;
mod import_staging;
mod pool;
pub mod schema;
mod server;
mod source_table;
pub(crate) mod usage;

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use diesel::{
    Connection as _, OptionalExtension as _, RunQueryDsl as _, connection::SimpleConnection as _,
    dsl::sql, prelude::QueryableByName, sql_query, sql_types,
};

use self::server::{PRIMARY, server_number};
use super::{
    Database, TransactionError,
    connection::{Elsewhere, Recorded, Summary},
    migrations::migrate_postgres as migrate,
};
use crate::error::Error;

/// The application name that marks changes of this process in `pg_stat_activity`. The id of this
/// process would not suffice, because processes in different containers may have the same id.
static CHANGE: LazyLock<String> = LazyLock::new(|| {
    let mut number = [0; 8];
    // Without entropy, two processes may use the same name.
    let _ = getrandom::fill(&mut number);
    format!("app-key change {:016x}", u64::from_le_bytes(number))
});

/// The SQL expression that orders events with the same time. The expression is a constant, because
/// Postgres stores microseconds, so two events of a key hardly ever have the same time.
const EVENT_PLACE: &str = "0";

/// The SQL type of a time with a time zone.
type Timestamp = diesel::sql_types::Timestamptz;

/// The connection type that `queries.rs` uses.
type Connection = diesel::PgConnection;

/// Excludes rows of tables that inherit from `api_keys`, because no trigger logs their changes.
const OWN_ROW: &str = "api_keys.tableoid = 'api_keys'::pg_catalog.regclass";

/// The key table without the tables that inherit from it.
type OwnKeys = diesel::query_builder::Only<schema::api_keys::table>;

fn own_keys() -> OwnKeys {
    use diesel::dsl::OnlyDsl as _;
    schema::api_keys::table.only()
}

/// Locks the selected rows, and leaves out rows that another transaction has locked.
const SKIP_LOCKED: &str = " FOR UPDATE SKIP LOCKED";

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

pub(crate) use connect::{after_credentials, connect};
pub(crate) use pool::PostgresPool;
pub use queries::KeyRow;

/// The triggers that the tables must have. The letter after each name is the trigger's `tgenabled`:
/// O for ordinary sessions, R for sessions that apply replicated changes, A for all sessions.
pub(crate) const TRIGGERS: &[&str] = &[
    "api_key_changes_set_xid:A",
    "api_key_meta_merge:A",
    "api_key_pruned_mark:O",
    "api_key_usage_merge:R",
    "api_keys_log_insert:O",
    "api_keys_log_update:O",
    "api_keys_log_delete:O",
    "api_keys_log_truncate:A",
    "api_keys_log_replicated:R",
    "api_keys_keep_revocation:R",
    "api_keys_revocation_is_final:O",
    "api_keys_record_insert:O",
    "api_keys_record_update:O",
    "api_keys_record_delete:O",
    "api_keys_record_truncate:O",
    "api_keys_refuse_pruned:A",
    "api_keys_refuse_pruned_update:O",
];

/// Runs a change in a transaction. The change is durable before it is acknowledged, even if the
/// server's default for `synchronous_commit` is weaker. The change waits up to five seconds for a
/// lock, unless the connection already has a lock timeout. The triggers record `recorded` with the
/// change.
fn write<T>(
    connection: &mut Connection,
    recorded: Recorded<'_>,
    change: impl FnOnce(&mut Connection) -> Result<T, TransactionError>,
) -> Result<T, TransactionError> {
    let mut is_done = false;
    let committed = connection.transaction(|connection| {
        connection.batch_execute(
            "SELECT set_config('synchronous_commit', 'on', true) \
             WHERE pg_catalog.current_setting('synchronous_commit') IN ('off', 'local', 'remote_write'); \
             SELECT set_config('lock_timeout', '5s', true) WHERE pg_catalog.current_setting('lock_timeout') = '0'",
        )?;
        sql_query(
            "SELECT set_config('application_name', $1, true), \
                    set_config('app_key.actor', $2, true), \
                    set_config('app_key.summary', $3, true)",
        )
        .bind::<sql_types::Text, _>(&*CHANGE)
        .bind::<sql_types::Text, _>(recorded.actor.unwrap_or_default())
        .bind::<sql_types::Text, _>(recorded.summary.map_or("", Summary::as_str))
        .execute(connection)?;
        let changed = change(connection)?;
        is_done = true;
        Ok(changed)
    });
    committed.map_err(|error: TransactionError| if is_done { error.of_commit() } else { error })
}

/// Sets the actor of the next changes in the open transaction, and returns the previous actor. Has
/// no effect outside a transaction.
fn state_actor(
    connection: &mut Connection,
    actor: Option<&str>,
) -> diesel::QueryResult<Option<String>> {
    let before: Name =
        sql_query("SELECT coalesce(pg_catalog.current_setting('app_key.actor', true), '') AS name")
            .get_result(connection)?;
    sql_query("SELECT set_config('app_key.actor', $1, true)")
        .bind::<sql_types::Text, _>(actor.unwrap_or_default())
        .execute(connection)?;
    Ok(Some(before.name).filter(|name| !name.is_empty()))
}

/// Returns whether an open transaction has written rows, reads an old snapshot, or has failed.
///
/// Outside a transaction, the two timestamps may still differ by some milliseconds: one statement
/// needs several protocol messages, and each message sets `statement_timestamp()`.
fn is_within_transaction(connection: &mut Connection) -> bool {
    diesel::select(sql::<sql_types::Bool>(
        "pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL \
         OR pg_catalog.current_setting('transaction_isolation') <> 'read committed' \
            AND pg_catalog.statement_timestamp() - pg_catalog.transaction_timestamp() > interval '10 milliseconds'",
    ))
    .get_result(connection)
    .unwrap_or(true)
}

#[allow(clippy::unnecessary_wraps, reason = "as on SQLite")]
fn merge_log(_: &mut Connection) -> diesel::QueryResult<bool> {
    Ok(true)
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = sql_types::Text)]
    name: String,
}

/// Returns whether this server is a standby, which may lag behind its primary.
pub(crate) fn is_standby(connection: &mut Connection) -> diesel::QueryResult<bool> {
    diesel::select(sql::<sql_types::Bool>("pg_catalog.pg_is_in_recovery()")).get_result(connection)
}

/// Returns which of these tables the connection's search path finds. Partitioned tables and views
/// do not count, because queries read only rows of the table itself.
pub(crate) fn existing_tables(
    connection: &mut Connection,
    wanted: &[&str],
) -> diesel::QueryResult<Vec<String>> {
    let names = sql_query(
        "SELECT relname::text AS name FROM pg_catalog.pg_class \
          WHERE relkind = 'r' AND oid = ANY (ARRAY( \
              SELECT pg_catalog.to_regclass(pg_catalog.quote_ident(name)) FROM pg_catalog.unnest($1) AS name))",
    )
    .bind::<sql_types::Array<sql_types::Text>, _>(wanted)
    .load::<Name>(connection)?;
    Ok(names.into_iter().map(|row| row.name).collect())
}

/// Returns the quoted name of the schema in which the search path finds the tables.
pub(crate) fn schema_of_tables(
    connection: &mut Connection,
    database: &Database,
) -> Result<String, Error> {
    let found: Option<Name> = sql_query(
        "SELECT pg_catalog.quote_ident(n.nspname) AS name \
           FROM pg_catalog.pg_namespace AS n \
           JOIN pg_catalog.pg_class AS k ON k.relnamespace = n.oid \
           JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid \
          WHERE k.oid = pg_catalog.to_regclass('api_keys') AND c.oid = pg_catalog.to_regclass('api_key_changes') \
            AND k.relpersistence <> 't'",
    )
    .get_result(connection)
    .optional()
    .map_err(|source| Error::database(format!("cannot read the tables of {database}"), source))?;
    found.map(|schema| schema.name).ok_or_else(|| {
        Error::schema(format!(
            "api_keys and api_key_changes of {database} are in two schemas or are temporary \
             tables, so revocations would be missed. Set a search_path that finds both tables in \
             the schema of the migrations"
        ))
    })
}

fn tables_elsewhere(connection: &mut Connection) -> diesel::QueryResult<Option<Elsewhere>> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = sql_types::Text)]
        schema: String,
        #[diesel(sql_type = sql_types::Bool)]
        is_forbidden: bool,
    }
    let found: Option<Found> = sql_query(
        "SELECT pg_catalog.quote_ident(n.nspname) AS schema, \
                NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND n.nspname = ANY ( \
                    SELECT CASE word WHEN '$user' THEN current_user::text ELSE word END \
                      FROM regexp_split_to_table(pg_catalog.current_setting('search_path'), '\\s*,\\s*') AS quoted, \
                           trim(BOTH '\"' FROM quoted) AS word) AS is_forbidden \
           FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
          WHERE c.relname = 'api_key_meta' AND c.relkind = 'r' AND pg_catalog.to_regclass('api_key_meta') IS NULL \
          ORDER BY is_forbidden DESC, n.nspname LIMIT 1",
    )
    .get_result(connection)
    .optional()?;
    Ok(found.map(|Found { schema, is_forbidden }| Elsewhere { schema, is_forbidden }))
}

fn hides_rows(connection: &mut Connection) -> diesel::QueryResult<bool> {
    diesel::select(sql::<sql_types::Bool>(
        "coalesce(pg_catalog.row_security_active(pg_catalog.to_regclass('api_keys')) OR pg_catalog.row_security_active(pg_catalog.to_regclass('api_key_changes')), false)",
    ))
    .get_result(connection)
}

fn time(connection: &mut Connection) -> diesel::QueryResult<Option<DateTime<Utc>>> {
    diesel::select(sql::<sql_types::Nullable<sql_types::Timestamptz>>(
        "pg_catalog.clock_timestamp()",
    ))
    .get_result(connection)
}

/// Locks the row of a key until the transaction ends. Does not block the recording of usage, whose
/// foreign key refers to the row.
fn lock_row(connection: &mut Connection, id: i64) -> diesel::QueryResult<usize> {
    sql_query("SELECT FROM api_keys WHERE id = $1 FOR NO KEY UPDATE")
        .bind::<sql_types::BigInt, _>(id)
        .execute(connection)
}

/// Describes the holder of the lock that a change waits for, and how to end its transaction. For a
/// prepared transaction, the process id is 0.
fn lock_holder(connection: &mut Connection) -> diesel::QueryResult<Option<String>> {
    let holder: Option<Name> = sql_query(
        "SELECT CASE WHEN holding.pid = 0 \
                     THEN 'a prepared transaction holds a lock; end it with ROLLBACK PREPARED or COMMIT PREPARED, \
                           which need its gid from pg_prepared_xacts' \
                     ELSE concat('process ', holding.pid, ' of user ' || holder.usename, \
                                 ' (' || nullif(holder.application_name, '') || ')', \
                                 ', ' || holder.state || ' since ' || to_char(holder.state_change, 'YYYY-MM-DD HH24:MI:SS TZ'), \
                                 ', holds a lock; end its transaction, or terminate the process with pg_terminate_backend') \
                END AS name \
           FROM pg_catalog.pg_stat_activity AS waiting \
          CROSS JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(waiting.pid)) AS holding (pid) \
           LEFT JOIN pg_catalog.pg_stat_activity AS holder ON holder.pid = holding.pid \
          WHERE waiting.application_name = $1 AND waiting.wait_event_type = 'Lock' \
          ORDER BY holder.wait_event_type = 'Lock' NULLS FIRST, holder.xact_start \
          LIMIT 1",
    )
    .bind::<sql_types::Text, _>(&*CHANGE)
    .get_result(connection)
    .optional()?;
    Ok(holder.map(|holder| holder.name))
}

/// Moves the sequence of ids to the next free id if its next id is already taken. The sequence may
/// be behind after a restore or replication that did not include the sequence.
fn mend_identity(connection: &mut Connection) -> diesel::QueryResult<()> {
    connection.batch_execute(
        "DO $$ BEGIN EXECUTE format('SELECT %s.api_keys_mend_identity_v1()', ( \
             SELECT relnamespace::regnamespace FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass('api_keys'))); END $$",
    )
}

/// Enables each trigger as its migration does. `DISABLE TRIGGER ALL` followed by
/// `ENABLE TRIGGER ALL` enables every trigger only for ordinary sessions. Also mends the sequence
/// of ids.
pub(crate) fn repair(connection: &mut Connection) -> diesel::QueryResult<()> {
    let enabled = enabled_triggers(connection)?;
    for trigger in TRIGGERS.iter().filter(|trigger| !enabled.iter().any(|name| name == *trigger)) {
        let (name, letter) = trigger.split_once(':').unwrap_or((trigger, "O"));
        if !enabled.iter().any(|other| other.split(':').next() == Some(name)) {
            continue;
        }
        let table = ["api_key_changes", "api_key_meta", "api_key_pruned", "api_key_usage"]
            .into_iter()
            .find(|table| name.starts_with(table));
        let mode = match letter {
            "A" => "ENABLE ALWAYS",
            "R" => "ENABLE REPLICA",
            _ => "ENABLE",
        };
        connection.batch_execute(&format!(
            "ALTER TABLE {} {mode} TRIGGER {name}",
            table.unwrap_or("api_keys")
        ))?;
    }
    mend_identity(connection)
}

/// Returns the triggers of the tables, each with its `tgenabled` letter. The list includes other
/// triggers and rules that may keep changes out of the log.
pub(crate) fn enabled_triggers(connection: &mut Connection) -> diesel::QueryResult<Vec<String>> {
    let schema: Option<Name> = sql_query(
        "SELECT relnamespace::regnamespace::text AS name FROM pg_catalog.pg_class \
          WHERE oid = pg_catalog.to_regclass('api_keys')",
    )
    .get_result(connection)
    .optional()?;
    let Some(Name { name: schema }) = schema else { return Ok(Vec::new()) };
    let names = sql_query(format!("SELECT name FROM {schema}.api_keys_triggers_v1() AS name"))
        .load::<Name>(connection)?;
    Ok(names.into_iter().map(|row| row.name).collect())
}
