//! The life of a key between its issue and its end.

mod audit;
mod expiring;
mod import;
mod list;
mod prune;
mod rotation;
mod update;

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the SQL literal of the time this many hours ago.
fn ago(hours: i64) -> String {
    let time = chrono::Utc::now() - chrono::TimeDelta::hours(hours);
    time.format("'%Y-%m-%d %H:%M:%S%.6f+00:00'").to_string()
}
