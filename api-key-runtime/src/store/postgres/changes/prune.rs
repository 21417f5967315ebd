//! Removes rows of the change log that every reader of the last hour has seen.

use std::time::{Duration, Instant};

use diesel::{
    Connection as _, PgConnection, QueryResult, QueryableByName, RunQueryDsl as _, sql_query,
    sql_types::BigInt,
};

use crate::log;

/// The maximum number of rows in one batch.
const MAX_ROWS: i32 = 1000;
/// How often a process prunes the change log. The SQL function keeps the rows of the last hour, and
/// lets one process prune at a time.
const INTERVAL: Duration = Duration::from_secs(600);

/// The time when this process prunes next.
#[derive(Debug, Default)]
pub(super) struct Pruning {
    /// `None` before the first call.
    next: Option<Instant>,
}

#[derive(QueryableByName)]
struct Deleted {
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

impl Pruning {
    /// Deletes a batch of old rows if the interval has passed. A failure is logged and does not
    /// affect reads of changes.
    pub(super) fn run_if_due(&mut self, connection: &mut PgConnection, schema: &str) {
        let now = Instant::now();
        let next = *self.next.get_or_insert(now);
        if now < next {
            return;
        }
        let query = format!("SELECT {schema}.api_keys_prune_v1({MAX_ROWS}) AS rows");
        // The explicit COMMIT ends the transaction here, even if the application left a transaction
        // open on a pooled connection.
        let pruned: QueryResult<Deleted> =
            connection.transaction(|connection| sql_query(query).get_result(connection));
        let has_more = match pruned {
            Ok(Deleted { rows }) => rows >= i64::from(MAX_ROWS),
            Err(error) => {
                log::debug!("cannot prune the change log: {error}; trying again later");
                false
            }
        };
        self.next = Some(if has_more { now } else { now + INTERVAL });
    }
}
