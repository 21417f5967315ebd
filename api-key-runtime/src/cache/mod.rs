//! The keys this process knows, and the rule by which it may believe them: without I/O, and given
//! the time, so that a model can drive it.
//!
//! A request may use an entry only while either the lease or the entry's own read is no older than
//! `max_staleness`. The lease is the moment up to which every change is known to have been applied:
//! the feed takes the time, *then* reads the changes, applies them, and only then publishes the
//! time it took first ([`apply`](Cache::apply), [`renew`](Cache::renew)). A look-up takes its stamp
//! ([`stamp`](Cache::stamp)) before its query is sent; what it read is kept, and handed to whoever
//! joined it later, only if the key has not changed since, and it is not older than the bound
//! ([`fill`](Cache::fill)). A request reads the lease before it looks at an entry
//! ([`view`](Cache::view)). The folder `model` explores every interleaving of these steps, and
//! those of their wrong neighbours.

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
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quick_cache::{DefaultHashBuilder, UnitWeighter, sync::DefaultLifecycle};

pub(crate) use self::{
    entry::CachedKey,
    view::{Cached, View},
};
use self::{generations::Generations, tombstones::Tombstones};
use crate::{
    clock::MonotonicTime, key::KeyDigest, key_record::KeyRecord, lock::lock, store::Changed,
};

/// Digests that are known to be in no table. Anyone can make them up, so they are few, and displace
/// nothing else.
const MAX_UNKNOWN: usize = 65_536;

/// How long a key may be believed without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Since it was last known to be current; zero is never.
    pub(crate) max_staleness: Duration,
    /// The same while the store is away; no shorter than the other.
    pub(crate) stale_if_error: Duration,
}

/// What is believed of a digest: the key, or that there is none, and since when.
#[derive(Clone, Debug)]
struct Entry<T> {
    what: T,
    /// When the query was sent that read it.
    sent: MonotonicTime,
    /// What had changed by then.
    generation: u64,
}

/// A map by digest, of which the least used go when it is full.
type Bounded<T, B> = quick_cache::sync::Cache<KeyDigest, Entry<T>, UnitWeighter, B>;

/// Everything this process knows of keys.
pub(crate) struct Cache {
    known: Bounded<Arc<CachedKey>, DefaultHashBuilder>,
    /// Hashed with a secret: here the digests are the caller's choice.
    unknown: Bounded<(), RandomState>,
    /// Up to when every change is known to have been applied.
    lease: AtomicU64,
    /// Entries of earlier generations are not believed.
    believed_from: AtomicU64,
    /// Held by whoever changes anything, never by a request that hits.
    writer: Mutex<Writer>,
    bounds: Bounds,
}

#[derive(Clone, Debug, Default)]
struct Writer {
    generations: Generations,
    tombstones: Tombstones,
}

/// What is noted before a query is sent, so that its answer can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReadStamp {
    pub(crate) sent: MonotonicTime,
    generation: u64,
}

/// Whether what a query found still holds for who came after it was sent. While there is one
/// nothing changes.
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
    /// Of a key under a previous pepper it has to be known as well that nothing stands under the
    /// current one: then the unknown ones get as much room as the known.
    pub(crate) fn new(bounds: Bounds, max_known: usize, two_digests: bool) -> Self {
        let max_unknown =
            if two_digests { MAX_UNKNOWN.max(max_known) } else { MAX_UNKNOWN.min(max_known) };
        Self {
            known: bounded(max_known, DefaultHashBuilder::default()),
            unknown: bounded(max_unknown, RandomState::new()),
            lease: AtomicU64::new(MonotonicTime::START.as_nanos()),
            believed_from: AtomicU64::new(0),
            writer: Mutex::default(),
            bounds,
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// How many keys are known, and how many digests to be in no table, believed or not.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.known.len(), self.unknown.len())
    }

    // ---- requests
    // ---------------------------------------------------------------------------------------------------------------

    /// Returns the moment up to which every change is known to have been applied.
    ///
    /// A request reads it through [`view`](Self::view), which keeps the order.
    #[inline]
    pub(crate) fn lease(&self) -> MonotonicTime {
        // Acquire: who sees the lease sees the drops that came before it.
        MonotonicTime::from_nanos(self.lease.load(Ordering::Acquire))
    }

    /// When an entry was last known to be current: when it was read, or when the feed last said
    /// that nothing else has changed.
    #[inline]
    fn current_at<T>(&self, entry: &Entry<T>, lease: MonotonicTime) -> Option<MonotonicTime> {
        let believed = entry.generation >= self.believed_from.load(Ordering::Acquire);
        believed.then(|| lease.max(entry.sent))
    }

    #[inline]
    fn is_fresh(&self, current_at: MonotonicTime, now: MonotonicTime) -> bool {
        // Zero is for those who want every request asked for, and not for two in the same
        // nanosecond.
        !self.bounds.max_staleness.is_zero() && now.since(current_at) <= self.bounds.max_staleness
    }

    /// One probe, with nothing around it.
    #[cfg(feature = "test-util")]
    pub(crate) fn holds(&self, digest: &KeyDigest) -> bool {
        self.known.get(digest).is_some()
    }

    /// The key, if it may still pass while the store cannot be asked.
    pub(crate) fn stale_if_error(
        &self,
        digest: &KeyDigest,
        now: MonotonicTime,
    ) -> Option<Arc<CachedKey>> {
        let bound = self.bounds.stale_if_error;
        let lease = self.lease();
        let entry = self.known.get(digest)?;
        let at = self.current_at(&entry, lease)?;
        (!bound.is_zero() && now.since(at) <= bound).then_some(entry.what)
    }

    // ---- look-ups
    // ---------------------------------------------------------------------------------------------------------------

    /// The stamp of a query that is sent after this call.
    pub(crate) fn stamp(&self, now: MonotonicTime) -> ReadStamp {
        ReadStamp { sent: now, generation: self.writer().generations.current() }
    }

    /// Keeps what a query found, unless it may be outdated already, and says of each digest what to
    /// answer.
    pub(crate) fn fill(
        &self,
        stamp: ReadStamp,
        found: Vec<(KeyDigest, Option<KeyRecord>)>,
        now: MonotonicTime,
    ) -> HashMap<KeyDigest, Option<Arc<CachedKey>>> {
        let mut permit = self.permit(stamp, now);
        let found = found.into_iter().map(|(digest, record)| {
            let had_tombstone = permit.writer.has_tombstone(&digest);
            let key =
                record.map(|record| Arc::new(permit.writer.with_tombstone(&digest, record, now)));
            if permit.still_holds(&digest) {
                self.keep(digest, key.clone(), stamp);
            }
            if key.as_ref().is_some_and(|key| key.is_revoked()) {
                self.forget_unless_revoked(&digest);
                if !had_tombstone {
                    // Another read of it may be kept already and not yet handed out.
                    permit.writer.generations.keys_changed(&[digest]);
                }
            }
            (digest, key)
        });
        found.collect()
    }

    /// Take this lock when handing an answer to requests that joined the query, once none can join
    /// any more: the key may have changed since [`fill`](Self::fill).
    pub(crate) fn permit(&self, stamp: ReadStamp, now: MonotonicTime) -> FillPermit<'_> {
        let bound = self.bounds.max_staleness;
        FillPermit {
            writer: self.writer(),
            stamp,
            in_time: !bound.is_zero() && now.since(stamp.sent) <= bound,
        }
    }

    fn keep(&self, digest: KeyDigest, key: Option<Arc<CachedKey>>, stamp: ReadStamp) {
        let ReadStamp { sent, generation } = stamp;
        // Another read of it may have been sent later and come earlier.
        let is_later = |there: Option<MonotonicTime>| there.is_none_or(|there| there <= sent);
        if !is_later(self.known.peek(&digest).map(|entry| entry.sent))
            || !is_later(self.unknown.peek(&digest).map(|entry| entry.sent))
        {
            return;
        }
        if let Some(what) = key {
            self.unknown.remove(&digest);
            let entry = Entry { what, sent, generation };
            self.known.insert(digest, entry);
        } else {
            self.known.remove(&digest);
            let entry = Entry { what: (), sent, generation };
            self.unknown.insert(digest, entry);
        }
    }

    /// Whatever else is believed of a key that is revoked, by a read that was sent later and yet
    /// came before the revocation.
    fn forget_unless_revoked(&self, digest: &KeyDigest) {
        self.known.remove_if(digest, |entry| !entry.what.is_revoked());
    }

    // ---- changes
    // ----------------------------------------------------------------------------------------------------------------

    /// Forgets what has changed. Everything is only marked: which keys there were says whom to ask
    /// for first.
    pub(crate) fn apply(&self, changed: &Changed) {
        let mut writer = self.writer();
        match changed {
            Changed::Everything => {
                let generation = writer.generations.everything_changed();
                self.believed_from.store(generation, Ordering::Release);
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

    /// Says that every change that was complete at this moment has been applied. Only after
    /// [`apply`](Self::apply), and only with a time that was taken before the changes were read.
    pub(crate) fn renew(&self, taken: MonotonicTime) {
        // Release: see `lease`.
        self.lease.fetch_max(taken.as_nanos(), Ordering::Release);
    }

    /// A change of our own, before whoever made it is told that it is done.
    #[cfg(any(test, feature = "_diesel"))]
    pub(crate) fn changed(&self, record: &KeyRecord, now: MonotonicTime) {
        self.apply(&Changed::Keys(vec![record.digest]));
        if record.revoked_at.is_some() {
            self.writer().tombstones.put(record.digest, now);
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // What is half-written by a panic is at worst a key dropped too many.
        lock(&self.writer)
    }
}

impl Writer {
    fn has_tombstone(&self, digest: &KeyDigest) -> bool {
        self.tombstones.has(digest)
    }

    /// A key as it was read, but never better than this process has seen it: a read that is behind,
    /// or a database that was put back, does not revive what was refused for good.
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
    let weight = u64::try_from(max).unwrap_or(u64::MAX);
    Bounded::with(max, weight, UnitWeighter, hasher, DefaultLifecycle::default())
}
