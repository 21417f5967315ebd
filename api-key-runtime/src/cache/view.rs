//! The view that one request has of the cache. Freshness depends on the order in which a view reads
//! the lease, the clock and entries.

use std::sync::Arc;

use super::{Cache, CachedKey};
use crate::{clock::MonotonicTime, key::KeyDigest};

/// The cache as one request sees it. A view reads the lease first, then the clock, then entries.
///
/// Any other order may accept a revoked key, as `cache::model` shows. An entry that was read before
/// the lease may have been dropped by the round that renewed the lease.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    cache: &'a Cache,
    lease: MonotonicTime,
    now: MonotonicTime,
}

/// The cached state of one digest.
#[derive(Debug)]
pub(crate) enum Cached {
    /// A key whose entry is fresh.
    Hit(Arc<CachedKey>),
    /// The digest is in no table, and the entry is fresh.
    NegativeHit,
    /// A key that was in the table at its last read, whether valid or not. Such keys are looked up
    /// before unknown keys, and `stale_if_error` may allow their use during an outage.
    Stale,
    /// Not cached.
    Miss,
}

impl Cache {
    /// Opens a view. Call this function once per request, after the request arrived.
    #[inline]
    pub(crate) fn view(&self) -> View<'_> {
        let lease = self.lease();
        self.view_at(lease, MonotonicTime::now())
    }

    /// Opens a view with a lease and a time that the caller has read in this order.
    #[inline]
    pub(super) fn view_at(&self, lease: MonotonicTime, now: MonotonicTime) -> View<'_> {
        View { cache: self, lease, now }
    }
}

impl View<'_> {
    /// Returns the time at which the view was opened.
    #[inline]
    pub(crate) fn now(&self) -> MonotonicTime {
        self.now
    }

    /// Returns the cached state of a digest.
    #[inline]
    pub(crate) fn get(&self, digest: &KeyDigest) -> Cached {
        let Self { cache, lease, now } = *self;
        if let Some(entry) = cache.known.get(digest) {
            let is_fresh =
                cache.current_at(&entry, lease).is_some_and(|at| cache.is_fresh(at, now));
            return if is_fresh { Cached::Hit(entry.what) } else { Cached::Stale };
        }
        match cache.unknown.get(digest) {
            Some(entry)
                if cache.current_at(&entry, lease).is_some_and(|at| cache.is_fresh(at, now)) =>
            {
                Cached::NegativeHit
            }
            _ => Cached::Miss,
        }
    }
}
