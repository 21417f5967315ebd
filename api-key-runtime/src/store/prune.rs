//! The queries of pruning. Both databases use these queries; `OWN_ROW`, `SKIP_LOCKED` and the type
//! of times differ.
//!
//! `postgres/mod.rs` and `sqlite/mod.rs` include this file, as they include `queries.rs`.

use chrono::{DateTime, Utc};
use diesel::{
    QueryResult, RunQueryDsl as _,
    prelude::QueryableByName,
    result::Error::DeserializationError,
    sql_query,
    sql_types::{BigInt, Binary, Nullable},
};

use super::{Connection, OWN_ROW, SKIP_LOCKED, Timestamp};
use crate::{
    error::Error,
    key::KeyDigest,
    prune::{Due, Pruned},
    store::TransactionError,
};

/// The maximum number of keys in one transaction. If a statement deletes more keys, the triggers on
/// Postgres log no digests, and every service drops its whole cache.
const MAX_KEYS: usize = 64;
/// The maximum number of events in one transaction.
const MAX_EVENTS: usize = 1000;

/// The condition for keys to delete. SQLite treats `$1` as a name, and numbers the names by their
/// first occurrence. So `$1`, `$2` and `$3` must occur in this order.
const IS_DUE: &str = "(expires_at <= $1 OR revoked_at <= $2)";

#[derive(QueryableByName)]
struct DueKey {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Binary)]
    digest: Vec<u8>,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

impl Count {
    fn get(self) -> u64 {
        u64::try_from(self.count).unwrap_or(0)
    }
}

/// Counts the rows to delete.
pub(super) fn count_due(connection: &mut Connection, due: &Due) -> QueryResult<Pruned> {
    let keys: Count =
        sql_query(format!("SELECT count(*) AS count FROM api_keys WHERE {OWN_ROW} AND {IS_DUE}"))
            .bind::<Nullable<Timestamp>, _>(due.expired)
            .bind::<Nullable<Timestamp>, _>(due.revoked)
            .get_result(connection)?;
    let events: Count =
        sql_query("SELECT count(*) AS count FROM api_key_events WHERE happened_at <= $1")
            .bind::<Nullable<Timestamp>, _>(due.events)
            .get_result(connection)?;
    Ok(Pruned { keys: keys.get(), events: events.get() })
}

/// Deletes the first due keys with an id above `after`, and records that they were pruned. Returns
/// their ids and digests, or an empty list if no due key is left.
///
/// Skips keys that another transaction has locked, to avoid waiting for that transaction or a
/// deadlock with it. A transaction that records usage of a key being deleted waits until this
/// transaction ends.
pub(super) fn prune_keys(
    connection: &mut Connection,
    due: &Due,
    after: i64,
) -> Result<Vec<(i64, KeyDigest)>, TransactionError> {
    let keys: Vec<DueKey> = sql_query(format!(
        "SELECT id, digest FROM api_keys WHERE {OWN_ROW} AND {IS_DUE} AND id > $3 \
         ORDER BY id LIMIT {MAX_KEYS}{SKIP_LOCKED}"
    ))
    .bind::<Nullable<Timestamp>, _>(due.expired)
    .bind::<Nullable<Timestamp>, _>(due.revoked)
    .bind::<BigInt, _>(after)
    .load(connection)?;
    let keys: Vec<(i64, KeyDigest)> = keys.iter().map(with_digest).collect::<QueryResult<_>>()?;
    if keys.is_empty() {
        return Ok(keys);
    }
    // The ids are numbers, so they can be part of the text. SQLite cannot bind a list.
    let ids: Vec<String> = keys.iter().map(|(id, _)| id.to_string()).collect();
    let selected = format!("FROM api_keys WHERE {OWN_ROW} AND id IN ({})", ids.join(", "));
    sql_query(format!("INSERT INTO api_key_pruned (key_id, digest) SELECT id, digest {selected}"))
        .execute(connection)?;
    let deleted = sql_query(format!("DELETE {selected}")).execute(connection)?;
    if deleted != keys.len() {
        return Err(Error::conflict(format!(
            "no key was pruned: a trigger or rule of api_keys kept some of the keys {}; drop that \
             trigger or rule",
            ids.join(", ")
        ))
        .into());
    }
    Ok(keys)
}

/// Deletes a batch of due events, and returns their number. Returns 0 if no due event is left.
pub(super) fn prune_events(
    connection: &mut Connection,
    until: DateTime<Utc>,
) -> Result<usize, TransactionError> {
    Ok(sql_query(format!(
        "DELETE FROM api_key_events WHERE id IN ( \
             SELECT id FROM api_key_events WHERE happened_at <= $1 \
              ORDER BY happened_at LIMIT {MAX_EVENTS}{SKIP_LOCKED})"
    ))
    .bind::<Timestamp, _>(until)
    .execute(connection)?)
}

fn with_digest(key: &DueKey) -> QueryResult<(i64, KeyDigest)> {
    let digest = <[u8; 32]>::try_from(key.digest.as_slice());
    let digest = digest.map_err(|source| DeserializationError(source.into()))?;
    Ok((key.id, KeyDigest::from_bytes(digest)))
}
