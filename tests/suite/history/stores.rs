//! Stores for the servers of a history: a slow but correct one, and two that are wrong.

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
    admin::KeyRecord,
    store::{DieselStore, KeyDigest, KeyStore, StoreError},
};

use crate::support::{FakeChanges, FakeStore};

/// The maximum delay between a read and its return.
const SLOWEST_FIND_MILLISECONDS: u64 = 150;
const SLOWEST_CHANGES_MILLISECONDS: u64 = 300;
/// How far the copy lags behind.
const LAG: Duration = Duration::from_secs(4);

/// Returns a store that reads at once and returns late, so that a change may happen in between.
pub(super) fn slow(store: DieselStore) -> FakeStore {
    let finds = AtomicU64::new(0);
    // The change feed is delayed too. Otherwise no change would be applied between a read and its
    // caching.
    let changes = FakeChanges::After(|number| {
        if number.is_multiple_of(2) {
            hesitate(number / 2, SLOWEST_CHANGES_MILLISECONDS);
        }
    });
    FakeStore::scripted(store, changes, move |store, digests| {
        let found = store.find(digests);
        hesitate(finds.fetch_add(1, Ordering::Relaxed), SLOWEST_FIND_MILLISECONDS);
        found
    })
}

/// Sleeps for a varying time up to this maximum.
fn hesitate(number: u64, longest_milliseconds: u64) {
    thread::sleep(Duration::from_millis(number * 71 % longest_milliseconds));
}

/// Returns a store that always reports that nothing has changed.
pub(super) fn deaf(store: DieselStore) -> FakeStore {
    FakeStore::scripted(store, FakeChanges::None, KeyStore::find)
}

/// Returns a store that looks up keys in a lagging copy, but reports every change at once.
pub(super) fn lagging(store: DieselStore) -> FakeStore {
    let copy = Mutex::<HashMap<KeyDigest, (Instant, Option<KeyRecord>)>>::default();
    let find_one = move |store: &dyn KeyStore, digest: KeyDigest| -> Result<_, StoreError> {
        let mut copy = copy.lock().unwrap();
        if let Some((read, record)) = copy.get(&digest)
            && read.elapsed() < LAG
        {
            return Ok(record.clone());
        }
        let record = store.find(&[digest])?.pop();
        copy.insert(digest, (Instant::now(), record.clone()));
        Ok(record)
    };
    FakeStore::scripted(store, FakeChanges::Real, move |store, digests| {
        let found: Result<Vec<_>, _> =
            digests.iter().map(|digest| find_one(store, *digest)).collect();
        Ok(found?.into_iter().flatten().collect())
    })
}
