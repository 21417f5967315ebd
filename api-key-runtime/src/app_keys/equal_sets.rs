//! The warning about `AppKeys` that are built twice with equal settings. If `AppKeys` are built
//! inside the closure of `HttpServer::new`, each worker has its own threads, connections and cache.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, Weak},
};

use super::AppKeysBuilder;
use crate::{lock::lock, log, log_throttle::LogThrottle, store::Database};

static LIVE: Mutex<Vec<Weak<u64>>> = Mutex::new(Vec::new());
static LOGGED: LogThrottle<u64> = LogThrottle::new();

/// A marker for a key set in use. Its number is a hash of the database and the settings.
#[derive(Debug)]
pub(super) struct LiveSet(#[expect(dead_code, reason = "counted by LIVE")] Arc<u64>);

impl LiveSet {
    /// Logs a warning, at most once an hour, if a set with the same database and settings is in
    /// use. Returns `None` for a Postgres pool, because the address of its database is not
    /// available.
    pub(super) fn new(database: &Database, settings: &AppKeysBuilder) -> Option<Self> {
        let mut hasher = DefaultHasher::new();
        database.location()?.hash(&mut hasher);
        format!("{settings:?}").hash(&mut hasher);
        let number = hasher.finish();
        let set = Arc::new(number);
        let mut live = lock(&LIVE);
        let is_equal = live.iter().filter_map(Weak::upgrade).any(|other| *other == number);
        live.retain(|other| other.strong_count() > 0);
        live.push(Arc::downgrade(&set));
        drop(live);
        if is_equal && LOGGED.should_log(number) {
            log::warn!(
                "AppKeys were built twice with equal settings for {database}: threads, connections and caches are doubled; build AppKeys once, \
                 outside the closure of HttpServer::new, and clone them into it"
            );
        }
        Some(Self(set))
    }
}
