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
    admin::KeyRecord,
    store::{DieselStore, KeyDigest, KeyStore, StoreError},
};

use crate::support::{FakeChanges, FakeStore};

/// The longest that what was read lies before it is handed out.
const SLOWEST_FIND_MILLISECONDS: u64 = 150;
const SLOWEST_CHANGES_MILLISECONDS: u64 = 300;
/// How far the copy is behind.
const LAG: Duration = Duration::from_secs(4);

/// Reads at once and answers late, so that a change may come between the two.
pub(super) fn slow(store: DieselStore) -> FakeStore {
    let finds = AtomicU64::new(0);
    // Else a change would be applied after what was read before it, and never between reading and keeping.
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

/// Sleeps up to this long, now for shorter and now for longer.
fn hesitate(number: u64, longest_milliseconds: u64) {
    thread::sleep(Duration::from_millis(number * 71 % longest_milliseconds));
}

/// Hears of no change, and says that there was none.
pub(super) fn deaf(store: DieselStore) -> FakeStore {
    FakeStore::scripted(store, FakeChanges::None, KeyStore::find)
}

/// Looks keys up in a copy that is behind, while it hears of every change at once.
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
