//! The listing of keys: filters, pages, and the handling of rows that cannot be decoded.
//!
//! `postgres/mod.rs` and `sqlite/mod.rs` include this file, as they include `queries.rs`.

use chrono::{DateTime, Utc};
use diesel::{
    dsl::{exists, not},
    expression::IntoSql as _,
    prelude::*,
    result::Error::DeserializationError,
    sql_types::Text,
};

use super::{
    Connection,
    queries::{KeyRow, log_unreadable, own_row, records},
    schema::{api_key_usage, api_keys},
};
use crate::{
    allowed_ips::AllowedIps,
    clock::{earlier, later},
    key_record::{KeyRecord, KeyState},
    list_keys::ListKeys,
    store::Queries as _,
};

/// Lists one page of keys, oldest first.
pub(super) fn list(
    connection: &mut Connection,
    wanted: &ListKeys,
    now: DateTime<Utc>,
) -> QueryResult<Vec<KeyRecord>> {
    let rows = selected(wanted, now).select(KeyRow::as_select()).load(connection);
    match rows.and_then(records) {
        Err(DeserializationError(_)) => list_one_by_one(connection, wanted.clone(), now),
        records => records,
    }
}

/// Selects the rows of a page, oldest first. The filter by state matches [`KeyRecord::state`].
fn selected(
    wanted: &ListKeys,
    now: DateTime<Utc>,
) -> api_keys::BoxedQuery<'_, <Connection as diesel::Connection>::Backend> {
    let mut rows = api_keys::table.filter(own_row()).order(api_keys::id).into_boxed();
    if let Some(owner) = &wanted.owner {
        rows = rows.filter(api_keys::owner.eq(owner));
    }
    if let Some(state) = wanted.state {
        rows = match state {
            KeyState::Revoked => rows.filter(api_keys::revoked_at.is_not_null()),
            _ => rows.filter(api_keys::revoked_at.is_null()),
        };
        rows = match state {
            KeyState::Revoked => rows,
            KeyState::Disabled => rows.filter(api_keys::disabled_at.is_not_null()),
            _ => rows.filter(api_keys::disabled_at.is_null()),
        };
        rows = match state {
            KeyState::Revoked | KeyState::Disabled => rows,
            KeyState::Expired => rows.filter(api_keys::expires_at.le(now)),
            KeyState::Active => {
                rows.filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
            }
        };
    }
    if let Some(wanted) = &wanted.allowed_ips {
        // A list allows any address only if `0.0.0.0` is its single entry.
        if *wanted == AllowedIps::any() {
            rows = rows.filter(api_keys::allowed_ips.eq(wanted.as_str()));
        } else {
            for entry in wanted.as_str().split(' ') {
                let padded = " ".into_sql::<Text>().concat(api_keys::allowed_ips).concat(" ");
                // The parser rejects characters that are special in a LIKE pattern.
                rows = rows.filter(padded.like(format!("% {entry} %")));
            }
        }
    }
    if wanted.never_expires {
        rows = rows.filter(api_keys::expires_at.is_null());
    }
    if let Some(time) = wanted.expires_within {
        rows = rows
            .filter(api_keys::expires_at.gt(now).and(api_keys::expires_at.le(later(now, time))));
    }
    if let Some(time) = wanted.unused_for {
        let since = earlier(now, time);
        let is_used = api_key_usage::table.filter(
            api_key_usage::key_id.eq(api_keys::id).and(api_key_usage::last_used_at.gt(since)),
        );
        rows = rows.filter(api_keys::created_at.le(since).and(not(exists(is_used))));
    }
    if let Some(id) = wanted.after_id {
        rows = rows.filter(api_keys::id.gt(id));
    }
    match wanted.limit {
        Some(limit) => rows.limit(limit.into()),
        None => rows,
    }
}

/// Reads these keys one by one. A row that cannot be decoded is logged and skipped, so that all
/// other keys are still found. The constraints of the table should exclude such rows.
fn one_by_one(connection: &mut Connection, ids: Vec<i64>) -> QueryResult<Vec<KeyRecord>> {
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        match connection.get(id) {
            Ok(record) => records.extend(record),
            Err(DeserializationError(error)) => log_unreadable(id, &*error),
            Err(error) => return Err(error),
        }
    }
    Ok(records)
}

/// Lists keys one by one and skips rows that cannot be decoded. Continues until the page is full or
/// no key is left: the caller takes an empty page as the end of the list.
fn list_one_by_one(
    connection: &mut Connection,
    mut wanted: ListKeys,
    now: DateTime<Utc>,
) -> QueryResult<Vec<KeyRecord>> {
    let mut records = Vec::new();
    loop {
        let ids: Vec<i64> = selected(&wanted, now).select(api_keys::id).load(connection)?;
        wanted.after_id = ids.last().copied();
        let is_last = ids.is_empty() || wanted.limit.is_none();
        let found = one_by_one(connection, ids)?;
        wanted.limit = wanted
            .limit
            .map(|limit| limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX)));
        records.extend(found);
        if is_last || wanted.limit == Some(0) {
            return Ok(records);
        }
    }
}
