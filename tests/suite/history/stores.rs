//! Stores for the servers of a run: a slow but correct store and two faulty stores.

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

/// The maximum delay between reading keys and returning them.
const SLOWEST_FIND_MILLISECONDS: u64 = 150;
/// The time between a read of changes and its late result. This time is shorter than any bound, so
/// that a correct server uses its cache between two late results.
const CHANGES_DELAY: Duration = Duration::from_millis(250);
/// The maximum lag of the copy behind the database.
const LAG: Duration = Duration::from_secs(4);

/// Returns a store that reads at once but returns late, so that a change may happen between the
/// read and the return.
pub(super) fn slow(store: DieselStore) -> FakeStore {
    let finds = AtomicU64::new(0);
    // The first two of every four reads of changes are late. A faulty server that dates the first
    // result by its arrival, instead of by its read, would use outdated entries until the second
    // result arrives. The other two reads are prompt, so that a change is applied between the
    // lookup of its key and the caching of that lookup.
    let changes = FakeChanges::After(|number| {
        if number % 4 < 2 {
            thread::sleep(CHANGES_DELAY);
        }
    });
    FakeStore::scripted(store, changes, move |store, digests| {
        let found = store.find(digests);
        let number = finds.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(number * 71 % SLOWEST_FIND_MILLISECONDS));
        found
    })
}

/// Returns a store whose change feed reports no change after its first read.
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
