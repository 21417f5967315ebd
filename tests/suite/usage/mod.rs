//! When each key was used last, from where and how often: recorded in passing, whatever happens to
//! the database.

mod counted;
mod faults;
mod processes;

use std::time::Duration;

use api_key_runtime::{AppKeysBuilder, admin::KeyUsage};

use crate::support::{Database, TEST_TIMEOUT, guarded_routes as routes, wait_until};

/// No use is recorded by itself within a test.
const NEVER: Duration = Duration::from_secs(3600);
/// How often uses are recorded where a test waits for it.
const SOON: Duration = Duration::from_millis(20);

/// A service that records uses this often.
fn recording(database: &Database, interval: impl Into<Option<Duration>>) -> AppKeysBuilder {
    database.migrate().builder().usage_flush_interval(interval)
}

/// What is recorded of a key.
fn usage(database: &Database, id: i64) -> Option<KeyUsage> {
    database.admin().usage(id).unwrap()
}

/// How often a key was used, as far as that is recorded.
fn count(database: &Database, id: i64) -> u64 {
    usage(database, id).map_or(0, |usage| usage.count)
}
