//! One read of the change log.
//!
//! A statement sees exactly the transactions that had ended when its snapshot was taken, and the log has of each row the transaction that
//! wrote it. So what a reader has not seen yet is what was not visible in the snapshot of its last read and is visible now: whatever
//! order transactions end in, and however long they were open. Numbers of a sequence or times cannot tell that: a transaction that drew
//! its number early may end last. Everything is read by one statement, and so in one snapshot; the cursor is that snapshot.
//!
//! - The log has the number of the top-level transaction, and so have snapshots: savepoints make no difference.
//! - A transaction that is prepared (two-phase commit) is running until it is committed.
//! - A snapshot is of one server's history. Another start of the server, another database or other tables behind the same names, and
//!   triggers that were made or switched on since (they may have been off meanwhile): everything may have changed.
//! - Rows from another server's history, as a restored dump has them, may have numbers that this server has not reached. They would count
//!   as not seen for ever, and are left out: a row of this server that is visible has a number below the end of its snapshot.

use diesel::{
    PgConnection, QueryResult, RunQueryDsl as _,
    prelude::QueryableByName,
    sql_query,
    sql_types::{Array, BigInt, Bool, Bytea, Nullable, Text},
};

use super::cursor::Cursor;
use crate::{
    Digest,
    store::{
        ChangeCursor, Changes, Database, StoreError,
        postgres::TRIGGERS,
        schema_check::{hot_standby, require_triggers},
    },
};

/// Past that, forgetting everything is cheaper than a list.
const MAX_KEYS: usize = 1000;
/// An older cursor is of a process that slept, and what it missed may no longer be in the log. So rows stay there for longer than this
/// after their transaction has ended.
const MAX_AGE_SECONDS: i64 = 3600;

/// Which start of which server this is, which database, and which tables the names stand for.
macro_rules! server {
    () => {
        "concat_ws('/', extract(epoch FROM pg_postmaster_start_time()), \
                   (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()), \
                   to_regclass('api_keys')::oid, to_regclass('api_key_changes')::oid)"
    };
}

/// Without a cursor `$1` is null, and so is every comparison with it.
const QUERY: &str = concat!(
    "\
    SELECT pg_is_in_recovery() AS is_standby, \
           coalesce(row_security_active(to_regclass('api_key_changes')), true) AS hides_rows, \
           pg_current_snapshot()::text AS snapshot, \
           floor(extract(epoch FROM clock_timestamp()))::bigint AS read_at, \
           ",
    server!(),
    " || '/' || coalesce(triggers.versions, '') AS place, \
           triggers.names AS triggers, \
           ARRAY(SELECT digest FROM api_key_changes \
                  WHERE xid >= pg_snapshot_xmin($1::pg_snapshot) \
                    AND NOT pg_visible_in_snapshot(xid, $1::pg_snapshot) \
                    AND xid < pg_snapshot_xmax(pg_current_snapshot()) \
                  LIMIT $2) AS digests \
      FROM (SELECT coalesce(array_agg(tgname::text), '{}') AS names, \
                   string_agg(xmin::text, '.' ORDER BY tgname) AS versions \
              FROM pg_catalog.pg_trigger \
             WHERE tgrelid = to_regclass('api_keys') AND NOT tgisinternal AND tgenabled IN ('O', 'A') \
               AND tgname = ANY($3)) AS triggers"
);

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    is_standby: bool,
    #[diesel(sql_type = Bool)]
    hides_rows: bool,
    #[diesel(sql_type = Text)]
    snapshot: String,
    #[diesel(sql_type = BigInt)]
    read_at: i64,
    #[diesel(sql_type = Text)]
    place: String,
    #[diesel(sql_type = Array<Text>)]
    triggers: Vec<String>,
    #[diesel(sql_type = Array<Nullable<Bytea>>)]
    digests: Vec<Option<Vec<u8>>>,
}

/// What changed since a cursor, by one statement; without one, everything.
pub(super) fn read(
    connection: &mut PgConnection,
    database: &Database,
    since: Option<&ChangeCursor>,
) -> Result<Changes, StoreError> {
    let since = since.and_then(Cursor::parse);
    let answer: Answer = sql_query(QUERY)
        .bind::<Nullable<Text>, _>(since.as_ref().map(|since| since.snapshot))
        .bind::<BigInt, _>(
            i64::try_from(MAX_KEYS)
                .unwrap_or(i64::MAX)
                .saturating_add(1),
        )
        .bind::<Array<Text>, _>(TRIGGERS)
        .get_result(connection)
        .map_err(StoreError::new)?;
    if answer.is_standby {
        return Err(StoreError::new(hot_standby(database)));
    }
    if answer.hides_rows {
        return Err(StoreError::new(format!(
            "row-level security hides rows of api_key_changes of {database} from this role, so revocations would go unnoticed"
        )));
    }
    require_triggers(database, TRIGGERS, &answer.triggers)?;
    let now = Cursor {
        snapshot: &answer.snapshot,
        read_at: answer.read_at,
        place: &answer.place,
    };
    let cursor = now.format();
    let keys = since
        .filter(|since| is_of_the_same_history(since, &now))
        .and_then(|_| keys(&answer.digests));
    Ok(match keys {
        Some(keys) => Changes::keys(cursor, keys),
        None => Changes::everything(cursor),
    })
}

/// See [`server!`].
pub(super) fn server(connection: &mut PgConnection) -> QueryResult<String> {
    #[derive(QueryableByName)]
    struct Server {
        #[diesel(sql_type = Text)]
        server: String,
    }
    let Server { server } =
        sql_query(concat!("SELECT ", server!(), " AS server")).get_result(connection)?;
    Ok(server)
}

fn is_of_the_same_history(since: &Cursor<'_>, now: &Cursor<'_>) -> bool {
    let age = now.read_at.saturating_sub(since.read_at);
    since.place == now.place && (-MAX_AGE_SECONDS..=MAX_AGE_SECONDS).contains(&age)
}

/// The keys that are named; none where everything may have changed.
fn keys(digests: &[Option<Vec<u8>>]) -> Option<Vec<Digest>> {
    if digests.len() > MAX_KEYS {
        return None;
    }
    digests
        .iter()
        .map(|digest| digest.as_deref()?.try_into().ok().map(Digest::from_bytes))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // E7
    #[test]
    fn a_cursor_of_another_history_or_of_long_ago_is_not_gone_on_from() {
        let cursor = |read_at, place| Cursor {
            snapshot: "1:1:",
            read_at,
            place,
        };
        let is_of = |read_at, place| {
            is_of_the_same_history(&cursor(read_at, place), &cursor(10_000, "here"))
        };
        for read_at in [10_000, 10_000 - MAX_AGE_SECONDS, 10_001] {
            assert!(is_of(read_at, "here"), "{read_at}");
        }
        // By a clock that was set back as well.
        for read_at in [9_999 - MAX_AGE_SECONDS, 0, i64::MIN, i64::MAX] {
            assert!(!is_of(read_at, "here"), "{read_at}");
        }
        assert!(!is_of(10_000, "there"));
    }

    #[test]
    fn what_names_no_key_names_all() {
        let digest = |byte| Some(vec![byte; 32]);
        assert_eq!(
            keys(&[digest(1), digest(2)]).map(|keys| keys.len()),
            Some(2)
        );
        for everything in [
            vec![digest(1), None],
            vec![Some(vec![1; 31])],
            vec![digest(1); MAX_KEYS + 1],
        ] {
            assert!(keys(&everything).is_none());
        }
    }
}
