//! Recording of key usage on SQLite.

use diesel::{
    QueryResult, RunQueryDsl as _, sql_query,
    sql_types::{BigInt, Nullable, Text, TimestamptzSqlite},
    sqlite::Sqlite,
};

use super::{Connection, queries::stored_count};
use crate::key_usage::KeyUsage;

/// The maximum number of rows in one statement. SQLite binds at most 32766 values to a statement,
/// and each row has four values.
const MAX_ROWS: usize = 1000;

/// The parts of the statement before and after its values. Skips usage of deleted keys. Diesel
/// writes all times as texts in one format, so comparing the texts compares the times.
const AROUND_VALUES: [&str; 2] = [
    "WITH new (key_id, last_used_at, last_used_ip, use_count) AS (VALUES ",
    ") INSERT INTO api_key_usage (key_id, last_used_at, last_used_ip, use_count) \
    SELECT key_id, last_used_at, last_used_ip, use_count \
      FROM new \
     WHERE EXISTS (SELECT 1 FROM api_keys WHERE id = new.key_id) \
    ON CONFLICT (key_id) DO UPDATE SET \
        use_count = api_key_usage.use_count + excluded.use_count, \
        last_used_ip = CASE WHEN excluded.last_used_at >= api_key_usage.last_used_at \
                            THEN excluded.last_used_ip ELSE api_key_usage.last_used_ip END, \
        last_used_at = max(excluded.last_used_at, api_key_usage.last_used_at)",
];

/// Adds all of this usage, or nothing if a statement fails.
pub(crate) fn record(connection: &mut Connection, uses: &[KeyUsage]) -> QueryResult<()> {
    connection.immediate_transaction(|connection| {
        uses.chunks(MAX_ROWS).try_for_each(|uses| record_some(connection, uses))
    })
}

fn record_some(connection: &mut Connection, uses: &[KeyUsage]) -> QueryResult<()> {
    let [before, after] = AROUND_VALUES;
    let values = vec!["(?, ?, ?, ?)"; uses.len()].join(", ");
    let mut statement = sql_query(format!("{before}{values}{after}")).into_boxed::<Sqlite>();
    for uses in uses {
        statement = statement
            .bind::<BigInt, _>(uses.key_id)
            .bind::<TimestamptzSqlite, _>(uses.last_used_at)
            .bind::<Nullable<Text>, _>(uses.last_used_ip.map(|address| address.to_string()))
            .bind::<BigInt, _>(stored_count(uses));
    }
    statement.execute(connection).map(drop)
}
