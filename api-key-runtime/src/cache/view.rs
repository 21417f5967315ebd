//! The view that one request has of the cache. Freshness depends on the order in which a view reads
//! the lease, the clock and the entries.

use std::sync::Arc;

use super::{Cache, CachedKey};
use crate::{clock::MonotonicTime, key::KeyDigest};

/// The cache as one request sees it. A view reads the lease first, then the clock, then entries.
///
/// A view that reads the clock or an entry before the lease may accept a revoked key, as
/// `cache::model` shows. The feed may drop the entry after it was read, and then renew the lease.
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
    /// A digest that is not in the store. The negative entry is fresh.
    NegativeHit,
    /// A key whose entry is stale. The key was in the store at its last read, so it is looked up
    /// before unknown keys. During an outage, `stale_if_error` may allow the use of the entry.
    Stale,
    /// No entry, or a stale negative entry.
    Miss,
}

impl Cache {
    /// Opens a view. Call this method once per request, after the request arrived.
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
        let is_fresh =
            |read| cache.current_at(read, lease).is_some_and(|at| cache.is_fresh(at, now));
        if let Some(key) = cache.known.get(digest) {
            return if is_fresh(key.read) { Cached::Hit(key) } else { Cached::Stale };
        }
        match cache.unknown.get(digest) {
            Some(read) if is_fresh(read) => Cached::NegativeHit,
            _ => Cached::Miss,
        }
    }
}
