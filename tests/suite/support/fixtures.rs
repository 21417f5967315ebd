//! The keys that the requirements speak of.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::{
    ChangeCursor, Changes, Digest, KeyRecord, KeyStore, NewKey, StoreError, test_util::TestClock,
};
use chrono::{DateTime, TimeDelta, Utc};

use super::Database;

/// One key of each kind, in a database.
pub(crate) struct Fixtures {
    /// Active, from any address.
    pub(crate) active: String,
    /// Bound to 203.0.113.7, which no test comes from.
    pub(crate) bound_elsewhere: String,
    /// Bound to 10.0.0.0/8.
    pub(crate) bound_to_network: String,
    pub(crate) revoked: String,
    pub(crate) disabled: String,
    pub(crate) expired: String,
    /// Well-formed, and in no table.
    pub(crate) unknown: String,
}

impl Fixtures {
    pub(crate) fn new(database: &Database) -> Self {
        let admin = database.admin();
        let (revoked, id) = database.issue("0.0.0.0");
        admin.revoke(id).unwrap();
        let (disabled, id) = database.issue("0.0.0.0");
        admin.disable(id).unwrap();
        Self {
            active: database.issue("0.0.0.0").0,
            bound_elsewhere: database.issue("203.0.113.7").0,
            bound_to_network: database.issue("10.0.0.0/8").0,
            revoked,
            disabled,
            expired: expired(database),
            unknown: unknown(),
        }
    }

    /// Every key that is refused on loopback with 401, with what the log calls it.
    pub(crate) fn invalid(&self) -> [(&'static str, &str); 6] {
        [
            ("revoked", &self.revoked),
            ("disabled", &self.disabled),
            ("expired", &self.expired),
            ("wrong address", &self.bound_elsewhere),
            ("wrong address", &self.bound_to_network),
            ("unknown key", &self.unknown),
        ]
    }
}

/// A key of a service whose clock was an hour ago, when it had a minute left.
fn expired(database: &Database) -> String {
    let then = Utc::now() - TimeDelta::hours(1);
    let admin = database
        .builder()
        .clock(TestClock::at(then))
        .build_admin()
        .unwrap();
    let new =
        NewKey::new("expired", "0.0.0.0".parse().unwrap()).expires_at(then + TimeDelta::minutes(1));
    admin.issue(&new).unwrap().secret.expose().to_owned()
}

/// A well-formed native key that no table has.
pub(crate) fn unknown() -> String {
    let store = api_key_runtime::test_util::MemoryStore::default();
    store
        .issue(&NewKey::new("unknown", "0.0.0.0".parse().unwrap()))
        .unwrap()
        .secret
        .expose()
        .to_owned()
}

/// The key with one character of its body changed into another letter or digit.
pub(crate) fn mistyped(key: &str) -> String {
    let (head, last) = key.split_at(key.len() - 1);
    format!("{head}{}", if last == "a" { "b" } else { "a" })
}

/// Counts the look-ups that reach a store.
#[derive(Clone)]
pub(crate) struct Counting {
    store: Arc<dyn KeyStore>,
    queries: Arc<AtomicUsize>,
}

impl Counting {
    pub(crate) fn new(store: impl KeyStore) -> Self {
        Self {
            store: Arc::new(store),
            queries: Arc::default(),
        }
    }

    pub(crate) fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }
}

impl KeyStore for Counting {
    fn find(&self, digests: &[Digest]) -> Result<Vec<KeyRecord>, StoreError> {
        self.queries.fetch_add(1, Ordering::SeqCst);
        self.store.find(digests)
    }

    fn changes(&self, since: Option<&ChangeCursor>) -> Result<Option<Changes>, StoreError> {
        self.store.changes(since)
    }

    fn wait_for_change(&self, at_most: Duration) {
        self.store.wait_for_change(at_most);
    }
}

/// How long a change by somebody else may take until every process judges by it: the bound, and a second for a busy machine.
const BOUND: Duration = Duration::from_secs(2);

/// Waits until this holds, as it must within the bound after a change.
#[track_caller]
pub(crate) fn holds_soon(what: impl fmt::Display, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < BOUND, "not within {BOUND:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A moment to set clocks to.
pub(crate) fn moment() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_900_000_000_123_456).unwrap()
}
