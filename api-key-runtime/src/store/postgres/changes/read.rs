//! One read of the change log.
//!
//! A statement sees exactly the transactions that had committed when its snapshot was taken. Each
//! row of the log has the number of the transaction that wrote it. So the rows that are new to a
//! reader are visible now, but were not visible in the snapshot of its last read. Neither the order
//! in which transactions end nor their duration matters.
//!
//! Sequence numbers or times cannot give this guarantee, because a transaction may take its number
//! early and commit late. The function `api_keys_changes_since_v1` of the migrations reads
//! everything in one snapshot. That snapshot is the position from which the next read continues.
//!
//! - The log and the snapshots contain the numbers of top-level transactions, so savepoints make no
//!   difference.
//! - A prepared transaction (two-phase commit) counts as running until it is committed or rolled
//!   back.
//! - A snapshot is valid only for the history of one server. Any key may have changed if the server
//!   was restarted, or if another database or other tables are read. Any key may also have changed
//!   if a column, trigger or function was changed.
//! - If one server process crashes, Postgres ends all its other processes and recovers from the
//!   write-ahead log. Commits that had not reached the write-ahead log are lost, and their
//!   transaction numbers are used again. Later transactions with these numbers would count as seen.
//!   The server's start time does not show such a recovery, but no server process survives it. So a
//!   server process that existed at the last read and still runs proves that no recovery happened
//!   in between. If a pool replaces its connections, such a process may be missing, and the read
//!   returns "everything".
//! - Rows may be pruned before a disconnected reader has seen them. Pruning removes the oldest rows
//!   first, and keeps one row older than every snapshot of the last hour. A reader that finds a row
//!   older than its own snapshot has therefore missed no row.

use std::num::ParseIntError;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::DateTime;
use diesel::{
    PgConnection, RunQueryDsl as _,
    prelude::QueryableByName,
    sql_query,
    sql_types::{BigInt, Integer, Nullable, Text},
};

use crate::{
    key::KeyDigest,
    store::{
        Changed, Changes, Database, StoreError,
        postgres::{TRIGGERS, server::server_number},
        schema_check::{hidden_rows, hot_standby, require_triggers},
    },
};

/// The maximum number of keys in a list of changes. With more keys, dropping all cached keys is
/// cheaper. The SQL function returns at most one row more.
const MAX_KEYS: usize = 1000;

#[derive(QueryableByName)]
struct Field {
    #[diesel(sql_type = Text)]
    value: String,
}

/// The position of a reader: a snapshot, and the tables and the server that the snapshot belongs
/// to.
#[derive(Clone, Debug)]
pub(super) struct Position {
    /// The snapshot in which the changes were read, in the text format of `pg_snapshot`:
    /// `xmin:xmax:xid,xid,..`.
    snapshot: String,
    /// The time of the read by the server's clock, in microseconds since 1970.
    read_at: i64,
    /// The id of the server process that read the changes.
    process: i32,
    server: i64,
    /// A hash of the columns, triggers and functions of the tables.
    definitions: i64,
}

impl Position {
    /// Returns the result of a read: the changed keys, and the server's time.
    pub(super) fn changes(&self, changed: Changed) -> Changes {
        let read = Changes::new(changed);
        match DateTime::from_timestamp_micros(self.read_at) {
            Some(time) => read.with_time(time),
            None => read,
        }
    }

    /// Returns the hash that identifies the server, database and tables.
    pub(super) fn server(&self) -> i64 {
        self.server
    }

    /// Returns the first transaction number that had not been assigned when the snapshot was taken.
    fn end(&self) -> Option<u64> {
        self.snapshot.split(':').nth(1)?.parse().ok()
    }
}

/// Reads the changes since a position, in one statement. Without a position, returns "everything".
pub(super) fn read(
    connection: &mut PgConnection,
    database: &Database,
    schema: &str,
    since: Option<&Position>,
) -> Result<(Position, Changed), StoreError> {
    let answer = ask(connection, schema, since)?;
    answer.require_whole_log(database, since)?;
    let is_same = since.is_some_and(|since| answer.is_of_the_same_history(since));
    let Some(definitions) = answer.definitions.or_else(|| since.map(|since| since.definitions))
    else {
        return Err(StoreError::new(
            "api_keys_changes_since_v1 did not return the definitions of the tables: its \
             definition was changed; create the function again as in the migrations",
        ));
    };
    if answer.triggers.is_none() && !is_same {
        // The snapshot or the definitions have the same text as at the last read, but belong to
        // another history. The triggers are read by a second read without a position.
        return read(connection, database, schema, None);
    }
    let is_whole =
        is_same && answer.has_floor && since.is_some_and(|since| since.definitions == definitions);
    let keys = if is_whole { keys(&answer.digests) } else { None };
    let now = Position {
        snapshot: answer.snapshot,
        read_at: answer.read_at,
        process: answer.process,
        server: answer.server,
        definitions,
    };
    Ok((now, keys.map_or(Changed::Everything, Changed::Keys)))
}

fn ask(
    connection: &mut PgConnection,
    schema: &str,
    since: Option<&Position>,
) -> Result<Answer, StoreError> {
    let query =
        format!("SELECT {schema}.api_keys_changes_since_v1($1::pg_snapshot, $2, $3) AS value");
    let Field { value } = sql_query(query)
        .bind::<Nullable<Text>, _>(since.map(|since| since.snapshot.as_str()))
        .bind::<Nullable<Integer>, _>(since.map(|since| since.process))
        .bind::<Nullable<BigInt>, _>(since.map(|since| since.definitions))
        .get_result(connection)
        .map_err(StoreError::new)?;
    Answer::parse(&value).ok_or_else(|| {
        StoreError::new(
            "api_keys_changes_since_v1 returned an invalid result: its definition was changed; \
             create the function again as in the migrations",
        )
    })
}

/// The fields of the SQL function's result.
#[derive(Clone, Debug)]
struct Answer {
    snapshot: String,
    read_at: i64,
    is_standby: bool,
    hides_rows: bool,
    process: i32,
    /// `None` if the process is the process of the last read, or if the role may not see when the
    /// process began.
    process_began_at: Option<i64>,
    server: i64,
    /// The name and `tgenabled` letter of each trigger. `None` if the definitions are unchanged.
    triggers: Option<String>,
    /// `None` if no transaction has ended since the last read, so the definitions are unchanged.
    definitions: Option<i64>,
    has_floor: bool,
    /// The digests of the changed keys in base64, separated by commas. `*` means every key.
    digests: String,
}

impl Answer {
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split(';');
        let mut next = || fields.next();
        let flag = |field: &str| match field {
            "t" => Some(true),
            "f" => Some(false),
            _ => None,
        };
        let answer = Self {
            snapshot: next()?.to_owned(),
            read_at: next()?.parse().ok()?,
            is_standby: flag(next()?)?,
            hides_rows: flag(next()?)?,
            process: next()?.parse().ok()?,
            process_began_at: optional(next()?).ok()?,
            server: server_number(next()?)?,
            triggers: Some(next()?.to_owned()).filter(|triggers| !triggers.is_empty()),
            definitions: optional(next()?).ok()?,
            has_floor: flag(next()?)?,
            digests: next()?.to_owned(),
        };
        next().is_none().then_some(answer)
    }

    /// Returns an error if the log may lack changes, or if rows of the key table are hidden. If the
    /// definitions are unchanged, the read at `since` has checked the triggers.
    fn require_whole_log(
        &self,
        database: &Database,
        since: Option<&Position>,
    ) -> Result<(), StoreError> {
        if self.is_standby {
            return Err(StoreError::new(hot_standby(database)));
        }
        if self.hides_rows {
            return Err(StoreError::new(hidden_rows(database)));
        }
        let checked = since.map(|since| since.definitions);
        if self.triggers.is_none() && self.definitions.or(checked) == checked {
            return Ok(());
        }
        let triggers = self.triggers.as_deref().unwrap_or_default();
        let enabled: Vec<String> = triggers.split(',').map(str::to_owned).collect();
        require_triggers(database, TRIGGERS, &enabled).map_err(StoreError::new)
    }

    /// Returns whether this read belongs to the same history as the read that returned this
    /// position.
    fn is_of_the_same_history(&self, since: &Position) -> bool {
        let outlived_both = match self.process_began_at {
            Some(began_at) => began_at < since.read_at,
            None => since.process == self.process,
        };
        let end = self.snapshot.split(':').nth(1).and_then(|end| end.parse().ok());
        since.server == self.server
            && outlived_both
            && matches!((since.end(), end), (Some(since), Some(now)) if since <= now)
    }
}

/// Parses an optional number. An empty field is `None`; anything else must be a number.
fn optional(field: &str) -> Result<Option<i64>, ParseIntError> {
    if field.is_empty() { Ok(None) } else { field.parse().map(Some) }
}

/// Returns the listed keys, or `None` if everything may have changed.
fn keys(digests: &str) -> Option<Vec<KeyDigest>> {
    if digests.is_empty() {
        return Some(Vec::new());
    }
    if digests.split(',').count() > MAX_KEYS {
        return None;
    }
    digests.split(',').map(digest).collect()
}

fn digest(base64: &str) -> Option<KeyDigest> {
    let bytes: [u8; 32] = STANDARD.decode(base64).ok()?.try_into().ok()?;
    Some(KeyDigest::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_that_name_no_key_name_all() {
        let digest = |byte| STANDARD.encode([byte; 32]);
        assert_eq!(keys("").map(|keys| keys.len()), Some(0));
        assert_eq!(keys(&[digest(1), digest(2)].join(",")).map(|keys| keys.len()), Some(2));
        for everything in [
            format!("{},*", digest(1)),
            STANDARD.encode([1; 31]),
            vec![digest(1); MAX_KEYS + 1].join(","),
            ",".to_owned(),
        ] {
            assert!(keys(&everything).is_none(), "{everything}");
        }
    }

    const READ_AT: i64 = 1_800_000_000_000_000;
    const SERVER: &str = "0002f1/base/5/16385/16390/16399";

    fn text() -> String {
        format!("741:746:744;1800000001000000;f;f;4711;;{SERVER};api_keys_log_insert:O;16385;t;")
    }

    fn since() -> Position {
        Position {
            snapshot: "740:745:740".to_owned(),
            read_at: READ_AT,
            process: 4711,
            server: server_number(SERVER).unwrap(),
            definitions: 16385,
        }
    }

    #[test]
    fn an_answer_with_one_broken_field_is_rejected() {
        let answer = Answer::parse(&text()).unwrap();
        assert_eq!((answer.snapshot.as_str(), answer.process), ("741:746:744", 4711));
        assert_eq!((answer.process_began_at, answer.definitions), (None, Some(16385)));
        assert!(answer.has_floor && !answer.is_standby);
        let text = text();
        let fields: Vec<&str> = text.split(';').collect();
        for (position, field) in fields.iter().enumerate() {
            // These fields may contain any text.
            if ![0, 7, 10].contains(&position) {
                let mut broken = fields.clone();
                broken[position] = "x";
                assert!(Answer::parse(&broken.join(";")).is_none(), "{position}: {field}");
            }
        }
        assert!(Answer::parse(&fields[..10].join(";")).is_none());
        assert!(Answer::parse(&format!("{text};")).is_none());
    }

    /// Returns whether a read over the same connection, one second later, belongs to the same
    /// history.
    fn follows(change: impl FnOnce(&mut Answer)) -> bool {
        let mut answer = Answer::parse(&text()).unwrap();
        change(&mut answer);
        answer.is_of_the_same_history(&since())
    }

    // E7
    #[test]
    fn a_read_resumes_only_on_the_same_running_server() {
        assert!(follows(|_| {}));
        assert!(follows(|now| now.snapshot = since().snapshot));
        assert!(!follows(|now| now.server += 1), "a restart of the server");
        assert!(!follows(|now| now.snapshot = "740:744:".to_owned()), "backwards");
        assert!(!follows(|now| now.snapshot = "740".to_owned()));
    }

    // E7
    #[test]
    fn a_read_goes_on_only_over_a_process_that_outlived_both() {
        for (process, began_at, expected) in [
            (1, Some(READ_AT - 1), true),
            (1, Some(READ_AT), false),
            (4711, Some(READ_AT + 1), false),
            (4711, None, true),
            (1, None, false),
        ] {
            let is_same = follows(|now| {
                now.process = process;
                now.process_began_at = began_at;
            });
            assert_eq!(is_same, expected, "{process} {began_at:?}");
        }
    }
}
