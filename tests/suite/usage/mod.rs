//! Tests of recorded usage: for each key, the time and client IP of the last use, and the use
//! count. Recording usage never delays a request, even if the database is slow or unavailable.

mod counted;
mod faults;
mod processes;

use std::time::Duration;

use api_key_runtime::{AppKeysBuilder, admin::KeyUsage};

use crate::support::{Database, TEST_TIMEOUT, guarded_routes as routes, wait_until};

/// An interval longer than any test, so that usage is recorded only when the test requests it.
const NEVER: Duration = Duration::from_secs(3600);
/// A short interval, for tests that wait until usage is recorded.
const SOON: Duration = Duration::from_millis(20);

/// Returns the builder of a service that records usage at this interval.
fn recording(database: &Database, interval: impl Into<Option<Duration>>) -> AppKeysBuilder {
    database.migrate().builder().usage_flush_interval(interval)
}

/// Returns the recorded usage of a key.
fn usage(database: &Database, id: i64) -> Option<KeyUsage> {
    database.admin().usage(id).unwrap()
}

/// Returns the recorded use count of a key.
fn count(database: &Database, id: i64) -> u64 {
    usage(database, id).map_or(0, |usage| usage.count)
}
