//! Stores that a server of a history may have: one that takes its time, which is right, and two that are wrong.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::{
    ChangeCursor, Changes, DieselStore, KeyDigest, KeyRecord, KeyStore, KeyUsage, StoreError,
};

/// The longest that what was read lies before it is handed out.
const SLOWEST_FIND_MILLISECONDS: u64 = 150;
const SLOWEST_CHANGES_MILLISECONDS: u64 = 300;
/// How far the copy is behind.
const LAG: Duration = Duration::from_secs(4);

/// Reads at once and answers late, so that a change may come between the two.
pub(super) struct Slow {
    store: DieselStore,
    finds: AtomicU64,
    rounds: AtomicU64,
}

impl Slow {
    pub(super) fn new(store: DieselStore) -> Self {
        Self { store, finds: AtomicU64::new(0), rounds: AtomicU64::new(0) }
    }
}

/// Sleeps up to this long, now for shorter and now for longer.
fn hesitate(number: u64, longest_milliseconds: u64) {
    thread::sleep(Duration::from_millis(number * 71 % longest_milliseconds));
}

impl KeyStore for Slow {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        let found = self.store.find(digests);
        let number = self.finds.fetch_add(1, Ordering::Relaxed);
        hesitate(number, SLOWEST_FIND_MILLISECONDS);
        found
    }

    fn changes(&self, since: Option<&ChangeCursor>) -> Result<Option<Changes>, StoreError> {
        let changes = self.store.changes(since);
        let number = self.rounds.fetch_add(1, Ordering::Relaxed);
        // Else a change would be applied after what was read before it, and never between reading and keeping.
        if number.is_multiple_of(2) {
            hesitate(number / 2, SLOWEST_CHANGES_MILLISECONDS);
        }
        changes
    }

    fn wait_for_change(&self, at_most: Duration) {
        self.store.wait_for_change(at_most);
    }

    fn record_usage(&self, uses: &[KeyUsage]) -> Result<(), StoreError> {
        self.store.record_usage(uses)
    }
}

/// Hears of no change, and says that there was none.
pub(super) struct Deaf(pub(super) DieselStore);

impl KeyStore for Deaf {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        self.0.find(digests)
    }

    fn changes(&self, since: Option<&ChangeCursor>) -> Result<Option<Changes>, StoreError> {
        let number = |cursor: &ChangeCursor| cursor.as_str().parse::<u64>().unwrap();
        Ok(Some(match since {
            None => Changes::everything(ChangeCursor::new("0")),
            Some(cursor) => Changes::keys(ChangeCursor::new((number(cursor) + 1).to_string()), []),
        }))
    }
}

/// Looks keys up in a copy that is behind, while it hears of every change at once.
pub(super) struct Lagging {
    store: DieselStore,
    copy: Mutex<HashMap<KeyDigest, (Instant, Option<KeyRecord>)>>,
}

impl Lagging {
    pub(super) fn new(store: DieselStore) -> Self {
        Self { store, copy: Mutex::default() }
    }

    fn find_one(&self, digest: KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        let mut copy = self.copy.lock().unwrap();
        if let Some((read, record)) = copy.get(&digest)
            && read.elapsed() < LAG
        {
            return Ok(record.clone());
        }
        let record = self.store.find(&[digest])?.pop();
        copy.insert(digest, (Instant::now(), record.clone()));
        Ok(record)
    }
}

impl KeyStore for Lagging {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        let found: Result<Vec<_>, _> =
            digests.iter().map(|digest| self.find_one(*digest)).collect();
        Ok(found?.into_iter().flatten().collect())
    }

    fn changes(&self, since: Option<&ChangeCursor>) -> Result<Option<Changes>, StoreError> {
        self.store.changes(since)
    }

    fn wait_for_change(&self, at_most: Duration) {
        self.store.wait_for_change(at_most);
    }
}
