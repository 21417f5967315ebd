//! The caches of this process: a change that one handle makes is applied to all of them before its
//! call returns.

use std::sync::{Arc, Mutex, Weak};

use super::Cache;
use crate::{clock::MonotonicTime, key_record::KeyRecord, lock::lock, store::Changed};

static CACHES: Mutex<Vec<Weak<Cache>>> = Mutex::new(Vec::new());

/// Adds a cache, before anything is looked up for it.
pub(crate) fn register(cache: &Arc<Cache>) {
    let mut caches = lock(&CACHES);
    caches.retain(|other| other.strong_count() > 0);
    caches.push(Arc::downgrade(cache));
}

/// Applies a change to every cache. `own` is the cache of the handle that made it, if it has one: a
/// revocation is kept in mind there alone, because the same key may be good in another database. An
/// entry that is dropped without need costs one lookup.
pub(crate) fn apply_change(own: Option<&Arc<Cache>>, record: &KeyRecord, now: MonotonicTime) {
    if let Some(own) = own {
        own.changed(record, now);
    }
    let changed = Changed::Keys(vec![record.digest]);
    for other in all().iter().filter(|other| own.is_none_or(|own| !Arc::ptr_eq(own, other))) {
        other.apply(&changed);
    }
}

/// Applies to every cache that anything may have changed.
pub(crate) fn apply_everything() {
    for cache in all() {
        cache.apply(&Changed::Everything);
    }
}

/// Copied out of the lock: dropping the last handle on a cache here must not happen within it.
fn all() -> Vec<Arc<Cache>> {
    lock(&CACHES).iter().filter_map(Weak::upgrade).collect()
}
