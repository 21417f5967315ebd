//! The query of the audit log. Both databases use this query; `EVENT_PLACE` and the type of times
//! differ.
//!
//! `postgres/mod.rs` and `sqlite/mod.rs` include this file, as they include `queries.rs`.

use chrono::{DateTime, Utc};
use diesel::{
    QueryResult, RunQueryDsl as _,
    prelude::QueryableByName,
    sql_query,
    sql_types::{BigInt, Nullable, Text},
};

use super::{Connection, EVENT_PLACE, Timestamp};
use crate::key_event::KeyEvent;

#[derive(QueryableByName)]
struct EventRow {
    #[diesel(sql_type = Timestamp)]
    happened_at: DateTime<Utc>,
    #[diesel(sql_type = Text)]
    action: String,
    #[diesel(sql_type = BigInt)]
    key_id: i64,
    #[diesel(sql_type = BigInt)]
    last_key_id: i64,
    #[diesel(sql_type = BigInt)]
    key_count: i64,
    #[diesel(sql_type = Nullable<Text>)]
    before: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    after: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    role: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    actor: Option<String>,
}

impl From<EventRow> for KeyEvent {
    fn from(row: EventRow) -> Self {
        let EventRow {
            happened_at,
            action,
            key_id,
            last_key_id,
            key_count,
            before,
            after,
            role,
            actor,
        } = row;
        Self { happened_at, action, key_id, last_key_id, key_count, before, after, role, actor }
    }
}

/// Returns the newest events of a key, oldest first. Includes summaries whose range of ids contains
/// the key.
pub(super) fn events(
    connection: &mut Connection,
    key_id: i64,
    limit: u32,
) -> QueryResult<Vec<KeyEvent>> {
    let selected = format!(
        "SELECT happened_at, action, key_id, last_key_id, key_count, CAST(before AS TEXT) AS before, \
                CAST(after AS TEXT) AS after, role, actor, {EVENT_PLACE} AS place FROM api_key_events"
    );
    // The id is a number, so it can be part of the text.
    let mut rows: Vec<EventRow> = sql_query(format!(
        "SELECT * FROM ({selected} WHERE key_id = {key_id} AND key_count = 1 \
         UNION ALL {selected} WHERE key_count <> 1 AND last_key_id >= {key_id} AND key_id <= {key_id}) AS events \
         ORDER BY happened_at DESC, place DESC LIMIT {limit}"
    ))
    .load(connection)?;
    rows.reverse();
    Ok(rows.into_iter().map(KeyEvent::from).collect())
}
