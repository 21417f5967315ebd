//! One read of the change log.
//!
//! A statement sees exactly the transactions that had ended when its snapshot was taken, and the
//! log has of each row the transaction that wrote it. So a reader has not seen the rows that were
//! not visible in the snapshot of its last read and are visible now: whatever order transactions
//! end in, and however long they were open. Numbers of a sequence or times cannot tell that: a
//! transaction that drew its number early may end last. The function `api_keys_changes_since_v1` of
//! the migrations reads everything in one snapshot, which is the position of the next read.
//!
//! - The log has the number of the top-level transaction, and so have snapshots: savepoints make no
//!   difference.
//! - A transaction that is prepared (two-phase commit) is running until it is committed.
//! - A snapshot is of one server's history. Everything may have changed after another start of the
//!   server, in another database or other tables behind the same names, and when a column, trigger
//!   or function was changed since.
//! - A server that lost a process ends all others and begins anew from its log. What was committed
//!   and had not reached the log yet is gone, and its numbers are given out again: they count as
//!   seen. That start does not show, but no process outlives it: one that is at work now and was at
//!   the last read proves that there was none in between. A pool that replaces its connections
//!   regularly costs an "everything" now and then.
//! - Rows that are pruned may be unseen by a reader that was away. Pruning goes oldest first and
//!   keeps one row below every snapshot of the last hour, so a reader that finds a row below its
//!   own snapshot has missed nothing.

use std::num::ParseIntError;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::DateTime;
use diesel::{
    PgConnection, RunQueryDsl as _,
    prelude::QueryableByName,
    sql_query,
    sql_types::{Integer, Nullable, Text},
};

use crate::{
    key::KeyDigest,
    store::{
        Changed, Changes, Database, StoreError,
        postgres::TRIGGERS,
        schema_check::{hidden_rows, hot_standby, require_triggers},
    },
};

/// Past that, forgetting everything is cheaper than a list. The function lists one more.
const MAX_KEYS: usize = 1000;

#[derive(QueryableByName)]
struct Field {
    #[diesel(sql_type = Text)]
    value: String,
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
    /// Stands for the columns, triggers and functions of the tables.
    definitions: i64,
}

impl Position {
    /// Returns what a read reports, with the server's time.
    pub(super) fn changes(&self, changed: Changed) -> Changes {
        let read = Changes::new(changed);
        match DateTime::from_timestamp_micros(self.read_at) {
            Some(time) => read.with_time(time),
            None => read,
        }
    }

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
    schema: &str,
    since: Option<&Position>,
) -> Result<(Position, Changed), StoreError> {
    let answer = ask(connection, schema, since)?;
    answer.require_whole_log(database)?;
    let is_same = since.is_some_and(|since| answer.is_of_the_same_history(since));
    let Some(definitions) = answer.definitions.or_else(|| since.map(|since| since.definitions))
    else {
        return Err(StoreError::new("the change log was read without its definitions"));
    };
    if answer.definitions.is_none() && !is_same {
        // The snapshots of two servers may be written alike.
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
    let query = format!("SELECT {schema}.api_keys_changes_since_v1($1::pg_snapshot, $2) AS value");
    let Field { value } = sql_query(query)
        .bind::<Nullable<Text>, _>(since.map(|since| since.snapshot.as_str()))
        .bind::<Nullable<Integer>, _>(since.map(|since| since.process))
        .get_result(connection)
        .map_err(StoreError::new)?;
    Answer::parse(&value).ok_or_else(|| {
        StoreError::new(
            "api_keys_changes_since_v1 answered something else than its migration makes it answer",
        )
    })
}

/// What the function answers, field by field.
#[derive(Clone, Debug)]
struct Answer {
    snapshot: String,
    read_at: i64,
    is_standby: bool,
    hides_rows: bool,
    process: i32,
    /// `None` where the process is the one of the last read, and where the role may not know.
    process_began_at: Option<i64>,
    server: i64,
    /// Name and letter of each trigger; `None` like the definitions.
    triggers: Option<String>,
    /// `None` where no transaction ended since the last read, so that they are what they were.
    definitions: Option<i64>,
    has_floor: bool,
    /// In base64, separated by commas; `*` is every key.
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
            server: next()?.parse().ok()?,
            triggers: Some(next()?.to_owned()).filter(|triggers| !triggers.is_empty()),
            definitions: optional(next()?).ok()?,
            has_floor: flag(next()?)?,
            digests: next()?.to_owned(),
        };
        next().is_none().then_some(answer)
    }

    /// Refuses where the log that was read may lack what changed, or rows of the key table are
    /// hidden.
    fn require_whole_log(&self, database: &Database) -> Result<(), StoreError> {
        if self.is_standby {
            return Err(StoreError::new(hot_standby(database)));
        }
        if self.hides_rows {
            return Err(StoreError::new(hidden_rows(database)));
        }
        match &self.triggers {
            None if self.definitions.is_none() => Ok(()),
            triggers => {
                let triggers = triggers.as_deref().unwrap_or_default();
                let enabled: Vec<String> = triggers.split(',').map(str::to_owned).collect();
                require_triggers(database, TRIGGERS, &enabled).map_err(StoreError::new)
            }
        }
    }

    /// Returns whether this goes on from what an earlier read saw.
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

/// An empty field is none; anything else must be a number.
fn optional(field: &str) -> Result<Option<i64>, ParseIntError> {
    if field.is_empty() { Ok(None) } else { field.parse().map(Some) }
}

/// The keys that are named; none where everything may have changed.
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
    const TEXT: &str = "741:746:744;1800000001000000;f;f;4711;;5;api_keys_log_insert:O;16385;t;";

    fn since() -> Position {
        Position {
            snapshot: "740:745:740".to_owned(),
            read_at: READ_AT,
            process: 4711,
            server: 5,
            definitions: 16385,
        }
    }

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        let answer = Answer::parse(TEXT).unwrap();
        assert_eq!((answer.snapshot.as_str(), answer.process), ("741:746:744", 4711));
        assert_eq!((answer.process_began_at, answer.definitions), (None, Some(16385)));
        assert!(answer.has_floor && !answer.is_standby);
        let fields: Vec<&str> = TEXT.split(';').collect();
        for (position, field) in fields.iter().enumerate() {
            // Only these may be anything.
            if ![0, 7, 10].contains(&position) {
                let mut broken = fields.clone();
                broken[position] = "x";
                assert!(Answer::parse(&broken.join(";")).is_none(), "{position}: {field}");
            }
        }
        assert!(Answer::parse(&fields[..10].join(";")).is_none());
        assert!(Answer::parse(&format!("{TEXT};")).is_none());
    }

    /// A read a second later over the same connection.
    fn follows(change: impl FnOnce(&mut Answer)) -> bool {
        let mut answer = Answer::parse(TEXT).unwrap();
        change(&mut answer);
        answer.is_of_the_same_history(&since())
    }

    // E7
    #[test]
    fn a_read_resumes_only_where_nothing_forbids_it() {
        assert!(follows(|_| {}));
        assert!(follows(|now| now.snapshot = since().snapshot));
        assert!(!follows(|now| now.server = 6), "another start of the server");
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
