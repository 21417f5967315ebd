//! The states of the model, and their fingerprints. A state covers the database, the feed, the
//! lookups and the request.

use std::{
    rc::Rc,
    sync::atomic::Ordering::{Relaxed, SeqCst},
    time::Duration,
};

use super::{BOUND, DIGEST};
use crate::{
    cache::CachedKey,
    cache::{Bounds, Cache, ReadStamp},
    clock::MonotonicTime,
};

/// The change that is made to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A permanent change by another process.
    RevokedElsewhere,
    /// A reversible change by another process.
    DisabledElsewhere,
    /// A permanent change by this process.
    RevokedHere,
    DisabledHere,
}

impl Change {
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::RevokedElsewhere | Self::RevokedHere)
    }

    pub(super) fn is_here(self) -> bool {
        matches!(self, Self::RevokedHere | Self::DisabledHere)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Feed {
    Idle,
    Taken(u64),
    Read { taken: u64, report: Report },
    HalfDone { taken: u64, report: Report },
}

/// The changes that the store reports in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Report {
    Nothing,
    Key,
    Everything,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lookup {
    Idle,
    Sent(ReadStamp),
    Read {
        stamp: ReadStamp,
        inactive: bool,
    },
    /// The result was passed to the cache, but is not delivered to the request yet.
    Filled {
        stamp: ReadStamp,
        inactive: bool,
        held: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Request {
    None,
    Begun,
    LeaseRead(MonotonicTime),
    /// The entry was read before the lease. Occurs only if the model reads in the wrong order.
    Probed {
        inactive: bool,
    },
    /// A waiting request, and the number of its lookup, if any. The flag is `true` if the lookup
    /// was sent after the request began to wait.
    Waiting(Option<(usize, bool)>),
}

#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub(super) struct World {
    pub(super) tick: u64,
    /// Whether the key is inactive in the database.
    pub(super) inactive: bool,
    /// The time at which the call that changed the key returned.
    pub(super) done: Option<u64>,
    /// Whether the feed has read the key as inactive.
    pub(super) has_read: bool,
    /// Whether this process has dropped its cache entry because of its own change.
    pub(super) dropped: bool,
    pub(super) feed: Feed,
    pub(super) lookups: [Lookup; 2],
    pub(super) request: Request,
    /// Whether the request began more than the bound after the change was complete.
    pub(super) is_late: bool,
    /// Whether this process has rejected the key as revoked.
    pub(super) rejected: bool,
    /// Whether `rejected` was set before the request began.
    pub(super) rejected_before: bool,
}

impl World {
    pub(super) const START: Self = Self {
        tick: 0,
        inactive: false,
        done: None,
        has_read: false,
        dropped: false,
        feed: Feed::Idle,
        lookups: [Lookup::Idle; 2],
        request: Request::None,
        is_late: false,
        rejected: false,
        rejected_before: false,
    };
}

/// The path to a state, newest step first.
#[derive(Clone, Default)]
pub(super) struct Path(Option<Rc<(String, Path)>>);

impl Path {
    pub(super) fn then(&self, step: String) -> Self {
        Self(Some(Rc::new((step, self.clone()))))
    }

    pub(super) fn steps(&self) -> String {
        let mut steps = Vec::new();
        let mut path = self;
        while let Some(step) = &path.0 {
            steps.push(step.0.clone());
            path = &step.1;
        }
        steps.reverse();
        steps.join("; ")
    }
}

/// A state to explore, and the path to it.
pub(super) type Node = (World, Rc<Cache>, Path);

/// The fingerprint of a state. It contains ages instead of times and flags instead of generations,
/// so that the number of fingerprints is finite.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Print {
    database: (bool, Option<u64>, bool, bool),
    feed: (Option<u64>, Option<(bool, Report)>),
    /// Sorted, because the two lookups are interchangeable.
    lookups: [LookupPrint; 2],
    request: RequestPrint,
    lease: u64,
    entry: Option<(bool, u64, bool)>,
    has_tombstone: bool,
}

#[derive(PartialEq, Eq, Hash)]
pub(super) struct RequestPrint {
    kind: u8,
    lease: Option<u64>,
    joined: Option<(LookupPrint, bool)>,
    is_late: bool,
    rejected: bool,
    rejected_before: bool,
}

/// The age of a lookup, whether the key has changed since the lookup was sent, and the result. The
/// result has three flags: the key is inactive, the result was passed to the cache, and the permit
/// held.
pub(super) type LookupPrint = Option<(u64, bool, Option<(bool, bool, bool)>)>;

impl Cache {
    pub(super) fn small() -> Self {
        let bounds =
            Bounds { max_staleness: Duration::from_secs(BOUND), stale_if_error: Duration::ZERO };
        Self::new(bounds, 4, false)
    }

    /// Copies the cache, so that the copy can be changed independently.
    pub(super) fn fork(&self) -> Self {
        let fork = Self::small();
        fork.lease.store(self.lease.load(Relaxed), SeqCst);
        fork.valid_from.store(self.valid_from.load(Relaxed), SeqCst);
        *fork.writer() = self.writer().clone();
        if let Some(key) = self.known.peek(&DIGEST) {
            fork.known.insert(DIGEST, key);
        }
        fork
    }

    pub(super) fn print(&self, world: &World) -> Print {
        let age = |tick: u64| (world.tick - tick).min(BOUND + 1);
        let age_of = |moment: MonotonicTime| age(moment.as_nanos() / 1_000_000_000);
        let entry = self.known.peek(&DIGEST);
        let writer = self.writer();
        let lookup = |lookup: Lookup| {
            let print = |stamp: ReadStamp, read| {
                let has_changed = writer.generations.changed_since(stamp.generation, &DIGEST);
                Some((age_of(stamp.sent), has_changed, read))
            };
            match lookup {
                Lookup::Idle => None,
                Lookup::Sent(stamp) => print(stamp, None),
                Lookup::Read { stamp, inactive } => print(stamp, Some((inactive, false, false))),
                Lookup::Filled { stamp, inactive, held } => {
                    print(stamp, Some((inactive, true, held)))
                }
            }
        };
        let (kind, lease, joined) = match world.request {
            Request::None => (0, None, None),
            Request::Begun => (1, None, None),
            Request::LeaseRead(lease) => (2, Some(age_of(lease)), None),
            Request::Probed { inactive } => (3, Some(inactive.into()), None),
            Request::Waiting(joined) => (4, None, joined),
        };
        let joined = joined.map(|(number, is_early)| (lookup(world.lookups[number]), is_early));
        let mut lookups = world.lookups.map(lookup);
        lookups.sort_unstable();
        Print {
            database: (world.inactive, world.done.map(age), world.has_read, world.dropped),
            feed: match world.feed {
                Feed::Idle => (None, None),
                Feed::Taken(taken) => (Some(age(taken)), None),
                Feed::Read { taken, report } => (Some(age(taken)), Some((false, report))),
                Feed::HalfDone { taken, report } => (Some(age(taken)), Some((true, report))),
            },
            lookups,
            request: RequestPrint {
                kind,
                lease,
                joined,
                is_late: world.is_late,
                rejected: world.rejected,
                rejected_before: world.rejected_before,
            },
            lease: age_of(self.lease()),
            entry: entry.map(|key| {
                let is_valid = key.read.generation >= self.valid_from.load(Relaxed);
                (is_inactive(&key), age_of(key.read.sent), is_valid)
            }),
            has_tombstone: writer.tombstones.has(&DIGEST),
        }
    }
}

pub(super) fn is_inactive(key: &CachedKey) -> bool {
    key.state(|| panic!("the key has no expiry")) != crate::key_record::KeyState::Active
}
