//! A state of the model: what the database, the feed, the look-ups and the request are at, and what
//! tells two states apart.

use std::{
    rc::Rc,
    sync::atomic::Ordering::{Relaxed, SeqCst},
    time::Duration,
};

use super::{BOUND, DIGEST};
use crate::{
    cache::CachedKey,
    cache::{Bounds, Cache, Entry, ReadStamp},
    clock::MonotonicTime,
};

/// What happens to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// By another process, and for good.
    RevokedElsewhere,
    /// By another process; it could be undone.
    DisabledElsewhere,
    /// By this very process.
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
    Read { taken: u64, told: Told },
    HalfDone { taken: u64, told: Told },
}

/// What the store says in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Told {
    Nothing,
    Key,
    Everything,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LookUp {
    Idle,
    Sent(ReadStamp),
    Read {
        stamp: ReadStamp,
        over: bool,
    },
    /// In the cache, and not yet handed out.
    Kept {
        stamp: ReadStamp,
        over: bool,
        held: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Request {
    None,
    Begun,
    LeaseRead(MonotonicTime),
    /// Only where it is done the wrong way round: the entry was looked at first.
    Probed {
        over: bool,
    },
    /// For a look-up that was sent after it began to wait (`true`), or that was under way.
    Waiting(Option<(usize, bool)>),
}

#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct World {
    pub(super) tick: u64,
    /// What the database says, and when whoever changed it was told so.
    pub(super) over: bool,
    pub(super) done: Option<u64>,
    /// What the feed has read so far.
    pub(super) told: bool,
    /// Whether this process has taken it back already, where it changes the key itself.
    pub(super) taken_back: bool,
    pub(super) feed: Feed,
    pub(super) look_ups: [LookUp; 2],
    pub(super) request: Request,
    /// Whether it began more than the bound after the change was complete.
    pub(super) is_late: bool,
    /// Whether this process had refused the key as revoked before the request began.
    pub(super) refused: bool,
    pub(super) refused_before: bool,
}

impl World {
    pub(super) const START: Self = Self {
        tick: 0,
        over: false,
        done: None,
        told: false,
        taken_back: false,
        feed: Feed::Idle,
        look_ups: [LookUp::Idle; 2],
        request: Request::None,
        is_late: false,
        refused: false,
        refused_before: false,
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

/// A state to go on from, and how it was reached.
pub(super) type Node = (World, Rc<Cache>, Path);

/// What tells two states apart: of times how long ago they are, and of generations whether they are
/// the newest.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Print {
    database: (bool, Option<u64>, bool, bool),
    feed: (Option<u64>, Option<(bool, Told)>),
    /// In order, because which of two it is makes no difference.
    look_ups: [LookUpPrint; 2],
    request: RequestPrint,
    lease: u64,
    entry: Option<(bool, u64, bool)>,
    has_tombstone: bool,
}

#[derive(PartialEq, Eq, Hash)]
pub(super) struct RequestPrint {
    kind: u8,
    lease: Option<u64>,
    joined: Option<(LookUpPrint, bool)>,
    is_late: bool,
    refused: bool,
    refused_before: bool,
}

/// How long ago it was sent, whether the key has changed since, and what it read: that it is over,
/// whether it is kept, and what held then.
pub(super) type LookUpPrint = Option<(u64, bool, Option<(bool, bool, bool)>)>;

impl Cache {
    pub(super) fn small() -> Self {
        let bounds =
            Bounds { max_staleness: Duration::from_secs(BOUND), stale_if_error: Duration::ZERO };
        Self::new(bounds, 4, false)
    }

    /// The same, to be changed by itself.
    pub(super) fn fork(&self) -> Self {
        let fork = Self::small();
        fork.lease.store(self.lease.load(Relaxed), SeqCst);
        fork.believed_from.store(self.believed_from.load(Relaxed), SeqCst);
        *fork.writer() = self.writer().clone();
        if let Some(Entry { what, sent, generation }) = self.known.peek(&DIGEST) {
            let entry = Entry { what, sent, generation };
            fork.known.insert(DIGEST, entry);
        }
        fork
    }

    pub(super) fn print(&self, world: &World) -> Print {
        let age = |tick: u64| (world.tick - tick).min(BOUND + 1);
        let age_of = |moment: MonotonicTime| age(moment.as_nanos() / 1_000_000_000);
        let entry = self.known.peek(&DIGEST);
        let writer = self.writer();
        let look_up = |look_up: LookUp| {
            let print = |stamp: ReadStamp, read| {
                let moved = writer.generations.changed_since(stamp.generation, &DIGEST);
                Some((age_of(stamp.sent), moved, read))
            };
            match look_up {
                LookUp::Idle => None,
                LookUp::Sent(stamp) => print(stamp, None),
                LookUp::Read { stamp, over } => print(stamp, Some((over, false, false))),
                LookUp::Kept { stamp, over, held } => print(stamp, Some((over, true, held))),
            }
        };
        let (kind, lease, joined) = match world.request {
            Request::None => (0, None, None),
            Request::Begun => (1, None, None),
            Request::LeaseRead(lease) => (2, Some(age_of(lease)), None),
            Request::Probed { over } => (3, Some(over.into()), None),
            Request::Waiting(joined) => (4, None, joined),
        };
        let joined = joined.map(|(number, is_early)| (look_up(world.look_ups[number]), is_early));
        let mut look_ups = world.look_ups.map(look_up);
        look_ups.sort_unstable();
        Print {
            database: (world.over, world.done.map(age), world.told, world.taken_back),
            feed: match world.feed {
                Feed::Idle => (None, None),
                Feed::Taken(taken) => (Some(age(taken)), None),
                Feed::Read { taken, told } => (Some(age(taken)), Some((false, told))),
                Feed::HalfDone { taken, told } => (Some(age(taken)), Some((true, told))),
            },
            look_ups,
            request: RequestPrint {
                kind,
                lease,
                joined,
                is_late: world.is_late,
                refused: world.refused,
                refused_before: world.refused_before,
            },
            lease: age_of(self.lease()),
            entry: entry.map(|entry| {
                let believed = entry.generation >= self.believed_from.load(Relaxed);
                (is_over(&entry.what), age_of(entry.sent), believed)
            }),
            has_tombstone: writer.tombstones.has(&DIGEST),
        }
    }
}

pub(super) fn is_over(key: &CachedKey) -> bool {
    key.state(|| panic!("it has no end")) != crate::key_record::KeyState::Active
}
