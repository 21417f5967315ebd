//! The cached keys, and the rule that decides when a request may use a cached key. The cache does
//! no I/O. Except for `view`, its methods take the current time as an argument, so that a model can
//! control every step.
//!
//! The lease is the time up to which every change has been applied. While the store is available, a
//! request may use an entry only if the lease or the entry's own read is at most `max_staleness`
//! old.
//!
//! The rule requires this order of steps:
//!
//! - The feed reads the clock, *then* reads the changes, then applies the changes
//!   ([`apply`](Cache::apply)), and then publishes the clock reading as the lease
//!   ([`renew`](Cache::renew)).
//! - A lookup takes its stamp ([`stamp`](Cache::stamp)) before its query is sent. The result is
//!   cached only if the key has not changed since the stamp and the stamp is at most
//!   `max_staleness` old ([`fill`](Cache::fill)). The same condition decides whether requests that
//!   joined after the query was sent get the result. A result that shows the key as revoked is
//!   always delivered.
//! - A request reads the lease before it reads an entry ([`view`](Cache::view)).
//!
//! The module `model` explores every interleaving of these steps, and also the interleavings in
//! which one step is wrong.

mod entry;
mod generations;
#[cfg(test)]
mod model;
#[cfg(feature = "_diesel")]
pub(crate) mod process;
#[cfg(test)]
mod tests;
mod tombstones;
mod view;

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quick_cache::{OptionsBuilder, UnitWeighter, sync::DefaultLifecycle};

pub(crate) use self::{
    entry::CachedKey,
    view::{Cached, View},
};
use self::{generations::Generations, tombstones::Tombstones};
use crate::{
    clock::MonotonicTime, key::KeyDigest, key_record::KeyRecord, lock::lock, store::Changed,
};

/// The maximum number of negative entries, except during pepper rotation. A negative entry stands
/// for a digest that is not in the store. Anyone can make up unknown keys, so this limit is small.
/// Negative entries never evict cached keys.
const MAX_UNKNOWN: usize = 65_536;

/// The maximum number of shards of a map. Each shard has a lock, and every cache hit writes to the
/// lock of its shard. With many shards, threads that use different keys rarely write to the same
/// lock: see `two_threads_over_one_check` of the bench `check`.
const MAX_SHARDS: usize = 1024;

/// How long a cache entry may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The maximum time since the entry was last known to be current. Zero means that no entry may
    /// be used.
    pub(crate) max_staleness: Duration,
    /// The maximum time since the entry was last known to be current, while the store is
    /// unavailable. Zero means that no entry may be used; any other value is at least
    /// `max_staleness`.
    pub(crate) stale_if_error: Duration,
}

/// A map keyed by digest. A full map evicts rarely used entries.
type Bounded<T, B> = quick_cache::sync::Cache<KeyDigest, T, UnitWeighter, B>;

/// A hasher for digests. Uses the first eight bytes, because a digest is already a hash.
#[derive(Clone, Copy, Debug, Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// The cached keys and negative entries of one `AppKeys`.
pub(crate) struct Cache {
    /// Cached keys, hashed without a seed. Only digests from the store are kept here, and callers
    /// cannot choose these digests.
    known: Bounded<Arc<CachedKey>, BuildHasherDefault<FirstBytes>>,
    /// Negative entries: the read that did not find the digest. Hashed with a secret seed because
    /// callers choose these digests.
    unknown: Bounded<ReadStamp, RandomState>,
    /// The time up to which every change has been applied.
    lease: AtomicU64,
    /// Entries of earlier generations are stale, because everything may have changed since.
    valid_from: AtomicU64,
    /// Locked by every change, but never by a request with a cache hit.
    writer: Mutex<Writer>,
    bounds: Bounds,
}

#[derive(Clone, Debug, Default)]
struct Writer {
    generations: Generations,
    tombstones: Tombstones,
}

/// The time and generation just before a query is sent. They decide whether the result of the query
/// may be cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ReadStamp {
    pub(crate) sent: MonotonicTime,
    generation: u64,
}

/// The permission to cache the result of a query, or to give the result to requests that arrived
/// after the query was sent. No change is applied while a `FillPermit` exists.
pub(crate) struct FillPermit<'a> {
    writer: MutexGuard<'a, Writer>,
    stamp: ReadStamp,
    in_time: bool,
}

impl FillPermit<'_> {
    pub(crate) fn still_holds(&self, digest: &KeyDigest) -> bool {
        self.in_time && !self.writer.generations.changed_since(self.stamp.generation, digest)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Cache")
            .field("known", &self.known.len())
            .field("unknown", &self.unknown.len())
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// Creates an empty cache. During pepper rotation (`two_digests`), each key under the previous
    /// pepper also needs a negative entry under the current pepper. The cache then has room for at
    /// least as many negative entries as keys.
    pub(crate) fn new(bounds: Bounds, max_known: usize, two_digests: bool) -> Self {
        let max_unknown =
            if two_digests { MAX_UNKNOWN.max(max_known) } else { MAX_UNKNOWN.min(max_known) };
        Self {
            known: bounded(max_known, BuildHasherDefault::default()),
            unknown: bounded(max_unknown, RandomState::new()),
            lease: AtomicU64::new(MonotonicTime::START.as_nanos()),
            valid_from: AtomicU64::new(0),
            writer: Mutex::default(),
            bounds,
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Returns the number of cached keys and of negative entries, whether fresh or stale.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.known.len(), self.unknown.len())
    }

    // ---- requests

    /// Returns the time up to which every change has been applied.
    ///
    /// A request must read the lease before an entry. [`view`](Self::view) keeps this order.
    #[inline]
    pub(crate) fn lease(&self) -> MonotonicTime {
        // Acquire: a thread that sees the lease also sees the changes that were applied before the
        // renewal.
        MonotonicTime::from_nanos(self.lease.load(Ordering::Acquire))
    }

    /// Returns the time at which an entry was last known to be current: the time of its read or, if
    /// later, the lease. Returns `None` if everything may have changed since the read.
    #[inline]
    fn current_at(&self, read: ReadStamp, lease: MonotonicTime) -> Option<MonotonicTime> {
        let is_valid = read.generation >= self.valid_from.load(Ordering::Acquire);
        is_valid.then(|| lease.max(read.sent))
    }

    #[inline]
    fn is_fresh(&self, current_at: MonotonicTime, now: MonotonicTime) -> bool {
        // Without the check for zero, a second request within the same nanosecond would use the
        // entry.
        !self.bounds.max_staleness.is_zero() && now.since(current_at) <= self.bounds.max_staleness
    }

    /// Returns whether a key is cached, by a plain map lookup. Used by benchmarks.
    #[cfg(feature = "test-util")]
    pub(crate) fn holds(&self, digest: &KeyDigest) -> bool {
        self.known.get(digest).is_some()
    }

    /// Returns the key if its entry may be used while the store is unavailable.
    pub(crate) fn stale_if_error(
        &self,
        digest: &KeyDigest,
        now: MonotonicTime,
    ) -> Option<Arc<CachedKey>> {
        let bound = self.bounds.stale_if_error;
        let lease = self.lease();
        let key = self.known.get(digest)?;
        let at = self.current_at(key.read, lease)?;
        (!bound.is_zero() && now.since(at) <= bound).then_some(key)
    }

    // ---- lookups

    /// Returns the stamp for a query that is sent after this call.
    pub(crate) fn stamp(&self, now: MonotonicTime) -> ReadStamp {
        ReadStamp { sent: now, generation: self.writer().generations.current() }
    }

    /// Caches the result of a query, unless the result may already be outdated. Returns the result
    /// for each digest in either case.
    pub(crate) fn fill(
        &self,
        stamp: ReadStamp,
        found: Vec<(KeyDigest, Option<KeyRecord>)>,
        now: MonotonicTime,
    ) -> HashMap<KeyDigest, Option<Arc<CachedKey>>> {
        let mut permit = self.permit(stamp, now);
        let found = found.into_iter().map(|(digest, record)| {
            let had_tombstone = permit.writer.has_tombstone(&digest);
            let key = record.map(|record| {
                Arc::new(permit.writer.with_tombstone(&digest, record, now).with_read(stamp))
            });
            if permit.still_holds(&digest) {
                self.keep(digest, key.clone(), stamp);
            }
            if key.as_ref().is_some_and(|key| key.is_revoked()) {
                self.forget_unless_revoked(&digest);
                if !had_tombstone {
                    // Another result for this key may be cached but not delivered yet. From now on,
                    // that result counts as outdated.
                    permit.writer.generations.keys_changed(&[digest]);
                }
            }
            (digest, key)
        });
        found.collect()
    }

    /// Locks the cache to deliver a result to requests that joined the query. Call this method once
    /// no more requests can join, because the key may have changed since [`fill`](Self::fill).
    pub(crate) fn permit(&self, stamp: ReadStamp, now: MonotonicTime) -> FillPermit<'_> {
        let bound = self.bounds.max_staleness;
        FillPermit {
            writer: self.writer(),
            stamp,
            in_time: !bound.is_zero() && now.since(stamp.sent) <= bound,
        }
    }

    fn keep(&self, digest: KeyDigest, key: Option<Arc<CachedKey>>, stamp: ReadStamp) {
        // The cached entry may be from a read that was sent later but arrived earlier.
        let is_later =
            |there: Option<ReadStamp>| there.is_none_or(|there| there.sent <= stamp.sent);
        if !is_later(self.known.peek(&digest).map(|key| key.read))
            || !is_later(self.unknown.peek(&digest))
        {
            return;
        }
        if let Some(key) = key {
            self.unknown.remove(&digest);
            self.known.insert(digest, key);
        } else {
            self.known.remove(&digest);
            self.unknown.insert(digest, stamp);
        }
    }

    /// Drops the entry of a revoked key if the entry shows the key as not revoked. Such an entry
    /// may be from a read that was sent later but saw an older state.
    fn forget_unless_revoked(&self, digest: &KeyDigest) {
        self.known.remove_if(digest, |key| !key.is_revoked());
    }

    // ---- changes

    /// Drops the entries of changed keys. If everything may have changed, entries are marked as
    /// stale but kept: they show which keys exist, and existing keys are looked up first.
    pub(crate) fn apply(&self, changed: &Changed) {
        let mut writer = self.writer();
        match changed {
            Changed::Everything => {
                let generation = writer.generations.everything_changed();
                self.valid_from.store(generation, Ordering::Release);
            }
            Changed::Keys(digests) => {
                writer.generations.keys_changed(digests);
                for digest in digests {
                    self.known.remove(digest);
                    self.unknown.remove(digest);
                }
            }
        }
    }

    /// Renews the lease: every change that was complete at the time `taken` has been applied. Call
    /// this method after [`apply`](Self::apply), with a time that was taken before the changes were
    /// read.
    pub(crate) fn renew(&self, taken: MonotonicTime) {
        // Release: see `lease`.
        self.lease.fetch_max(taken.as_nanos(), Ordering::Release);
    }

    /// Applies a change that this process made. Runs before the call that made the change returns.
    #[cfg(any(test, feature = "_diesel"))]
    pub(crate) fn changed(&self, record: &KeyRecord, now: MonotonicTime) {
        self.apply(&Changed::Keys(vec![record.digest]));
        if record.revoked_at.is_some() {
            self.writer().tombstones.put(record.digest, now);
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        lock(&self.writer)
    }
}

impl Writer {
    fn has_tombstone(&self, digest: &KeyDigest) -> bool {
        self.tombstones.has(digest)
    }

    /// Returns the key that was read, marked as revoked if this process has seen its revocation. So
    /// neither a stale read nor a restored database revives a revoked key.
    fn with_tombstone(
        &mut self,
        digest: &KeyDigest,
        record: KeyRecord,
        now: MonotonicTime,
    ) -> CachedKey {
        let key = CachedKey::new(record);
        if key.is_revoked() {
            self.tombstones.put(*digest, now);
            return key;
        }
        if self.tombstones.has(digest) { key.revoked() } else { key }
    }
}

fn bounded<T: Clone, B: BuildHasher + Clone>(max: usize, hasher: B) -> Bounded<T, B> {
    // A full shard evicts entries although other shards have room. Each shard has room for at least
    // 128 entries, so few entries are evicted early.
    let shards = (max / 256).next_power_of_two().min(MAX_SHARDS);
    let weight = u64::try_from(max).unwrap_or(u64::MAX);
    let mut options = OptionsBuilder::new();
    options.estimated_items_capacity(max).weight_capacity(weight).shards(shards);
    let lifecycle = DefaultLifecycle::default();
    match options.build() {
        Ok(options) => Bounded::with_options(options, UnitWeighter, hasher, lifecycle),
        // Only a missing option is an error.
        Err(_) => Bounded::with(max, weight, UnitWeighter, hasher, lifecycle),
    }
}
