//! Recording of key usage on Postgres.

use diesel::{
    Connection as _, QueryResult, RunQueryDsl as _,
    connection::SimpleConnection as _,
    sql_query,
    sql_types::{Array, BigInt, Nullable, Text, Timestamptz},
};

use super::{Connection, queries::stored_count};
use crate::key_usage::KeyUsage;

/// Key usage is not important enough to wait for a disk flush or a standby. The lock timeout is
/// shorter than the default `deadlock_timeout` of 1 second. So in a deadlock, the statement that
/// records usage fails first, before the change or deletion of a key could fail.
const SETTINGS: &str = "\
    SET LOCAL synchronous_commit = off; \
    SET LOCAL lock_timeout = '500ms'; \
    SET LOCAL statement_timeout = '10s'";

/// Writes the rows in the order of their ids, so that two processes do not deadlock. Skips usage of
/// deleted keys.
const RECORD: &str = "\
    INSERT INTO api_key_usage (key_id, last_used_at, last_used_ip, use_count) \
    SELECT key_id, last_used_at, last_used_ip, use_count \
      FROM unnest($1, $2, $3, $4) AS new (key_id, last_used_at, last_used_ip, use_count) \
     WHERE EXISTS (SELECT FROM api_keys WHERE id = new.key_id) \
     ORDER BY key_id \
    ON CONFLICT (key_id) DO UPDATE SET \
        use_count = api_key_usage.use_count + excluded.use_count, \
        last_used_ip = CASE WHEN excluded.last_used_at >= api_key_usage.last_used_at \
                            THEN excluded.last_used_ip ELSE api_key_usage.last_used_ip END, \
        last_used_at = greatest(excluded.last_used_at, api_key_usage.last_used_at)";

/// Adds all of this usage, or nothing if a statement fails.
pub(crate) fn record(connection: &mut Connection, uses: &[KeyUsage]) -> QueryResult<()> {
    let key_ids: Vec<_> = uses.iter().map(|uses| uses.key_id).collect();
    let times: Vec<_> = uses.iter().map(|uses| uses.last_used_at).collect();
    let addresses: Vec<_> =
        uses.iter().map(|uses| uses.last_used_ip.map(|address| address.to_string())).collect();
    let counts: Vec<_> = uses.iter().map(stored_count).collect();
    connection.transaction(|connection| {
        connection.batch_execute(SETTINGS)?;
        sql_query(RECORD)
            .bind::<Array<BigInt>, _>(key_ids)
            .bind::<Array<Timestamptz>, _>(times)
            .bind::<Array<Nullable<Text>>, _>(addresses)
            .bind::<Array<BigInt>, _>(counts)
            .execute(connection)
            .map(drop)
    })
}
