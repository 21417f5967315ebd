//! One read of the change log.
//!
//! A statement sees exactly the transactions that had ended when its snapshot was taken, and the log has of each row the transaction that
//! wrote it. So what a reader has not seen yet is what was not visible in the snapshot of its last read and is visible now: whatever
//! order transactions end in, and however long they were open. Numbers of a sequence or times cannot tell that: a transaction that drew
//! its number early may end last. Everything is read by one statement, and so in one snapshot, which is
//! the position of the next read.
//!
//! - The log has the number of the top-level transaction, and so have snapshots: savepoints make no difference.
//! - A transaction that is prepared (two-phase commit) is running until it is committed.
//! - A snapshot is of one server's history. Another start of the server, another database or other tables behind the same names, and
//!   triggers that were made or switched on since (they may have been off meanwhile): everything may have changed.
//! - A server that lost a process ends all others and begins anew from its log. What was committed and had not reached the log yet is gone,
//!   and its numbers are given out again: they count as seen. That start does not show, but no process outlives it: one that is at work now
//!   and was at the last read proves that there was none in between. A pool that replaces its connections regularly costs an "everything"
//!   now and then.
//! - Rows from another server's history, as a restored dump has them, may have numbers that this server has not reached. They would count
//!   as not seen for ever, and are left out: a row of this server that is visible has a number below the end of its snapshot.

use diesel::{
    PgConnection, RunQueryDsl as _,
    prelude::QueryableByName,
    sql_query,
    sql_types::{Array, BigInt, Bool, Bytea, Integer, Nullable, Text},
};

use crate::{
    key::KeyDigest,
    store::{
        Changed, Database, StoreError,
        postgres::{TRIGGERS, server::server_number},
        schema_check::{hot_standby, require_triggers},
    },
};

/// Past that, forgetting everything is cheaper than a list.
const MAX_KEYS: usize = 1000;
/// An older position is of a process that slept, and what it missed may no longer be in the log. Nothing here deletes old rows; whoever does
/// keeps them for longer than this after their transaction has ended. Microseconds.
const MAX_AGE: i64 = 3_600_000_000;

/// Without a position `$1` is null, and so is every comparison with it. When a process began is hidden from a role that is not the one it
/// logged in as.
const QUERY: &str = concat!(
    "\
    SELECT pg_is_in_recovery() AS is_standby, \
           coalesce(row_security_active(to_regclass('api_key_changes')), true) AS hides_rows, \
           (SELECT count(DISTINCT relnamespace) = 1 AND bool_and(relpersistence <> 't') FROM pg_catalog.pg_class \
             WHERE oid IN (to_regclass('api_keys'), to_regclass('api_key_changes'))) AS is_in_one_schema, \
           pg_current_snapshot()::text AS snapshot, \
           (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS read_at, \
           pg_backend_pid() AS process, \
           (SELECT (extract(epoch FROM backend_start) * 1000000)::bigint \
              FROM pg_stat_get_activity(pg_backend_pid())) AS process_began_at, \
           ",
    server_number!(),
    " AS server, \
           coalesce(triggers.versions, '') AS trigger_versions, \
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
    #[diesel(sql_type = Bool)]
    is_in_one_schema: bool,
    #[diesel(sql_type = Text)]
    snapshot: String,
    #[diesel(sql_type = BigInt)]
    read_at: i64,
    #[diesel(sql_type = Integer)]
    process: i32,
    #[diesel(sql_type = Nullable<BigInt>)]
    process_began_at: Option<i64>,
    #[diesel(sql_type = BigInt)]
    server: i64,
    #[diesel(sql_type = Text)]
    trigger_versions: String,
    #[diesel(sql_type = Array<Text>)]
    triggers: Vec<String>,
    #[diesel(sql_type = Array<Nullable<Bytea>>)]
    digests: Vec<Option<Vec<u8>>>,
}

/// Up to where changes were read: a snapshot, and of which tables of which server.
#[derive(Clone, Debug)]
pub(super) struct Position {
    /// The snapshot that the changes were read in, as the server writes it: `xmin:xmax:xid,xid,..`.
    snapshot: String,
    /// Microseconds since 1970 by the server's clock.
    read_at: i64,
    /// The number of the server's process that read them.
    process: i32,
    server: i64,
    trigger_versions: String,
}

impl Position {
    /// Returns the number of the server, database and tables.
    pub(super) fn server(&self) -> i64 {
        self.server
    }

    /// Returns the first transaction number that was not given out yet when the snapshot was taken.
    fn end(&self) -> Option<u64> {
        self.snapshot.split(':').nth(1)?.parse().ok()
    }
}

/// Reads what changed since a position, by one statement; without a position, everything.
pub(super) fn read(
    connection: &mut PgConnection,
    database: &Database,
    since: Option<&Position>,
) -> Result<(Position, Changed), StoreError> {
    let answer: Answer = sql_query(QUERY)
        .bind::<Nullable<Text>, _>(since.map(|since| since.snapshot.as_str()))
        .bind::<BigInt, _>(i64::try_from(MAX_KEYS).unwrap_or(i64::MAX).saturating_add(1))
        .bind::<Array<Text>, _>(TRIGGERS)
        .get_result(connection)
        .map_err(StoreError::new)?;
    answer.require_whole_log(database)?;
    let now = Position {
        snapshot: answer.snapshot,
        read_at: answer.read_at,
        process: answer.process,
        server: answer.server,
        trigger_versions: answer.trigger_versions,
    };
    let keys = since
        .filter(|since| is_of_the_same_history(since, &now, answer.process_began_at))
        .and_then(|_| keys(&answer.digests));
    Ok((now, keys.map_or(Changed::Everything, Changed::Keys)))
}

impl Answer {
    /// Refuses where the log that was read may lack what changed.
    fn require_whole_log(&self, database: &Database) -> Result<(), StoreError> {
        if self.is_standby {
            return Err(StoreError::new(hot_standby(database)));
        }
        if !self.is_in_one_schema {
            return Err(StoreError::new(format!(
                "api_keys and api_key_changes of {database} are found in two schemas, or are temporary tables, so revocations would go \
                 unnoticed: set a search_path that finds both in the schema of the migrations"
            )));
        }
        if self.hides_rows {
            return Err(StoreError::new(format!(
                "row-level security hides rows of api_key_changes of {database} from this role, so revocations would go unnoticed"
            )));
        }
        require_triggers(database, TRIGGERS, &self.triggers).map_err(StoreError::new)
    }
}

/// Whether what the later read saw goes on from what the earlier one saw.
fn is_of_the_same_history(since: &Position, now: &Position, process_began_at: Option<i64>) -> bool {
    let age = now.read_at.saturating_sub(since.read_at);
    let outlived_both = match process_began_at {
        Some(began_at) => began_at < since.read_at,
        None => since.process == now.process,
    };
    since.server == now.server
        && since.trigger_versions == now.trigger_versions
        && (-MAX_AGE..=MAX_AGE).contains(&age)
        && outlived_both
        && matches!((since.end(), now.end()), (Some(since), Some(now)) if since <= now)
}

/// The keys that are named; none where everything may have changed.
fn keys(digests: &[Option<Vec<u8>>]) -> Option<Vec<KeyDigest>> {
    if digests.len() > MAX_KEYS {
        return None;
    }
    digests
        .iter()
        .map(|digest| digest.as_deref()?.try_into().ok().map(KeyDigest::from_bytes))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_key_names_all() {
        let digest = |byte| Some(vec![byte; 32]);
        assert_eq!(keys(&[digest(1), digest(2)]).map(|keys| keys.len()), Some(2));
        for everything in
            [vec![digest(1), None], vec![Some(vec![1; 31])], vec![digest(1); MAX_KEYS + 1]]
        {
            assert!(keys(&everything).is_none());
        }
    }

    const READ_AT: i64 = 1_800_000_000_000_000;
    const PROCESS: i32 = 4711;

    fn since() -> Position {
        Position {
            snapshot: "740:745:740".to_owned(),
            read_at: READ_AT,
            process: PROCESS,
            server: 5,
            trigger_versions: "16385".to_owned(),
        }
    }

    /// A read a second later over a connection that began before both.
    fn follows(change: impl FnOnce(&mut Position)) -> bool {
        let mut now =
            Position { snapshot: "741:746:".to_owned(), read_at: READ_AT + 1_000_000, ..since() };
        change(&mut now);
        is_of_the_same_history(&since(), &now, Some(READ_AT - 1))
    }

    // E7
    #[test]
    fn a_read_resumes_only_where_nothing_forbids_it() {
        assert!(follows(|_| {}));
        assert!(follows(|now| now.snapshot = since().snapshot));
        assert!(follows(|now| now.process = 1), "another one of a pool");
        assert!(!follows(|now| now.trigger_versions = "16386".to_owned()));
        assert!(!follows(|now| now.server = 6), "another start of the server");
        assert!(!follows(|now| now.snapshot = "740:744:".to_owned()), "backwards");
        assert!(!follows(|now| now.read_at += MAX_AGE));
        assert!(!follows(|now| now.read_at -= MAX_AGE + 2_000_000));
    }

    // E7
    #[test]
    fn a_read_goes_on_only_over_a_process_that_outlived_both() {
        let now = |process| Position { process, ..since() };
        for (process, began_at, expected) in [
            (1, Some(READ_AT - 1), true),
            (1, Some(READ_AT), false),
            (PROCESS, Some(READ_AT + 1), false),
            (PROCESS, None, true),
            (1, None, false),
        ] {
            assert_eq!(
                is_of_the_same_history(&since(), &now(process), began_at),
                expected,
                "{process} {began_at:?}"
            );
        }
    }
}
