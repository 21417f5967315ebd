//! One read of the change log.
//!
//! SQLite has one writer at a time, so the row numbers of the log are in commit order. A row has
//! not been read yet if its number is higher than the last number that was read. Each read is one
//! transaction, and so sees one state of the file. Each read checks that the log continues from the
//! last position. Any key may have changed unless all of these conditions hold:
//!
//! - The row at the last position still has the same token. After a backup is restored, the same
//!   numbers are assigned again.
//! - The log has a row for every number since the last position. This crate does not delete old
//!   rows, but other programs may delete all rows except the newest row.
//! - The files and their schema version are unchanged. A rebuilt table had no triggers for a while,
//!   or has no triggers now.

use std::fmt::Display;

use diesel::{
    Connection as _, RunQueryDsl as _, SqliteConnection,
    prelude::QueryableByName,
    sql_query,
    sql_types::{BigInt, Binary, Nullable, Text},
};

use crate::{
    key::KeyDigest,
    store::{
        Changed, Database, StoreError, TransactionError,
        schema_check::require_triggers,
        sqlite::{TRIGGERS, enabled_triggers},
    },
};

/// The maximum number of keys in a list of changes. With more keys, dropping all cached keys is
/// cheaper.
const MAX_KEYS: i64 = 1000;

/// The query for the state of the log. Without a position `?1` is -1, which is not the number of
/// any row.
const STATE: &str = "\
    SELECT (SELECT schema_version FROM pragma_schema_version) AS schema_version, \
           last.seq AS sequence, \
           coalesce((SELECT hex(token) FROM api_key_changes WHERE seq = last.seq), '') AS token, \
           coalesce((SELECT hex(token) FROM api_key_changes WHERE seq = ?1), '') AS token_since \
      FROM (SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'api_key_changes'), 0) AS seq) AS last";

#[derive(QueryableByName)]
struct State {
    #[diesel(sql_type = BigInt)]
    schema_version: i64,
    #[diesel(sql_type = BigInt)]
    sequence: i64,
    #[diesel(sql_type = Text)]
    token: String,
    #[diesel(sql_type = Text)]
    token_since: String,
}

/// The position of a reader: the last number of the log, and the token of the row with that number.
#[derive(Debug)]
pub(super) struct Position {
    /// The last number that the log has assigned.
    sequence: i64,
    /// The token of the row with this number, in hexadecimal. Empty if that row is missing.
    token: String,
    /// The files, and the version of their schema.
    place: String,
}

/// Reads the changes since a position. Without a position, returns "everything".
pub(super) fn read(
    connection: &mut SqliteConnection,
    database: &Database,
    files: &impl Display,
    since: Option<&Position>,
) -> Result<(Position, Changed), StoreError> {
    connection
        .transaction(|connection| read_within(connection, database, files, since))
        .map_err(StoreError::from)
}

fn read_within(
    connection: &mut SqliteConnection,
    database: &Database,
    files: &impl Display,
    since: Option<&Position>,
) -> Result<(Position, Changed), TransactionError> {
    let state: State = sql_query(STATE)
        .bind::<BigInt, _>(since.map_or(-1, |since| since.sequence))
        .get_result(connection)?;
    let place = format!("{files}/{}", state.schema_version);
    let now = Position { sequence: state.sequence, token: state.token, place };
    let Some(since) = since.filter(|since| since.place == now.place) else {
        require_triggers(database, TRIGGERS, &enabled_triggers(connection)?)?;
        return Ok((now, Changed::Everything));
    };
    let keys = if since.token == state.token_since {
        keys(connection, since.sequence, now.sequence)?
    } else {
        None
    };
    Ok((now, keys.map_or(Changed::Everything, Changed::Keys)))
}

/// Returns the keys in the rows with a number above `after`, up to and including `up_to`. Returns
/// `None` if everything may have changed.
fn keys(
    connection: &mut SqliteConnection,
    after: i64,
    up_to: i64,
) -> diesel::QueryResult<Option<Vec<KeyDigest>>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Nullable<Binary>)]
        digest: Option<Vec<u8>>,
    }
    let expected = up_to.saturating_sub(after);
    if expected == 0 {
        return Ok(Some(Vec::new()));
    }
    if !(1..=MAX_KEYS).contains(&expected) {
        return Ok(None);
    }
    let rows: Vec<Row> = sql_query("SELECT digest FROM api_key_changes WHERE seq > ?1")
        .bind::<BigInt, _>(after)
        .load(connection)?;
    if i64::try_from(rows.len()) != Ok(expected) {
        return Ok(None);
    }
    let digest = |row: &Row| row.digest.as_deref()?.try_into().ok().map(KeyDigest::from_bytes);
    Ok(rows.iter().map(digest).collect())
}
