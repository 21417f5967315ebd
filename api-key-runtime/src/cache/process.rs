//! All caches of this process. A change by one `AppKeys` is applied to every cache before the call
//! that made the change returns.

use std::sync::{Arc, Mutex, Weak};

use super::Cache;
use crate::{
    clock::MonotonicTime, key::KeyDigest, key_record::KeyRecord, lock::lock, store::Changed,
};

static CACHES: Mutex<Vec<Weak<Cache>>> = Mutex::new(Vec::new());

/// Registers a cache. Call this function before the first lookup that fills the cache.
pub(crate) fn register(cache: &Arc<Cache>) {
    let mut caches = lock(&CACHES);
    caches.retain(|other| other.strong_count() > 0);
    caches.push(Arc::downgrade(cache));
}

/// Applies a change to every cache. `own` is the cache of the `AppKeys` that made the change, or
/// `None` if the change was not made through an `AppKeys`. Only `own` keeps a tombstone for a
/// revocation, because the same key may be valid in another database. Every other cache drops its
/// entry, which costs at most one lookup.
pub(crate) fn apply_change(own: Option<&Arc<Cache>>, record: &KeyRecord, now: MonotonicTime) {
    if let Some(own) = own {
        own.changed(record, now);
    }
    let changed = Changed::Keys(vec![record.digest]);
    for other in all().iter().filter(|other| own.is_none_or(|own| !Arc::ptr_eq(own, other))) {
        other.apply(&changed);
    }
}

/// Drops these keys from every cache, because they were deleted.
pub(crate) fn apply_deletion(digests: Vec<KeyDigest>) {
    let changed = Changed::Keys(digests);
    for cache in all() {
        cache.apply(&changed);
    }
}

/// Marks every entry of every cache as stale, because anything may have changed.
pub(crate) fn apply_everything() {
    for cache in all() {
        cache.apply(&Changed::Everything);
    }
}

/// Returns strong references to the live caches, for use without the lock. Dropping the last
/// reference frees the whole cache, which must not happen while the lock is held.
fn all() -> Vec<Arc<Cache>> {
    lock(&CACHES).iter().filter_map(Weak::upgrade).collect()
}
