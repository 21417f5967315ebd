//! Every interleaving of a change, a feed, two look-ups and requests, driven through the real [`Cache`]: no request gets in that began
//! more than the bound after the change was complete, and none after this process refused the key as revoked. The wrong neighbours of
//! the rule are explored in the same way, and each shows how it lets somebody in.

use std::{
    collections::HashSet,
    rc::Rc,
    sync::atomic::Ordering::{Relaxed, SeqCst},
    time::Duration,
};

use super::{Bounds, Cache, Entry, Probe, Ticket, Tombstone};
use crate::{AddressRules, Digest, KeyRecord, clock::Moment, known_key::KnownKey, store::Changed};

/// The bound, in ticks.
const BOUND: u64 = 1;
/// Generations that are explored: a feed may say "everything" as often as it likes.
const MAX_GENERATION: u64 = 2;

const DIGEST: Digest = Digest::from_bytes([7; 32]);

fn at(tick: u64) -> Moment {
    Moment::from_nanos(tick * 1_000_000_000)
}

/// One way of getting the rule wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    LeaseStampedOnArrival,
    ProbedBeforeTheLease,
    RenewedBeforeApplied,
    GenerationReadOnArrival,
    LateJoinersAnsweredUnchecked,
    ClockReadEarlier,
    LookUpsFromAServerBehind,
    FeedFromAServerBehind,
    TakenBackBeforeTheCommit,
}

/// What happens to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// By another process, and for good.
    RevokedElsewhere,
    /// By another process; it could be undone.
    DisabledElsewhere,
    /// By this very process.
    RevokedHere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Feed {
    Idle,
    Taken(u64),
    Read { taken: u64, changed: bool },
    HalfDone { taken: u64, changed: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum LookUp {
    Idle,
    Sent(Ticket),
    Read { ticket: Ticket, over: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Request {
    None,
    Begun,
    LeaseRead(Moment),
    /// Only where it is done the wrong way round: the entry was looked at first.
    Probed {
        over: bool,
    },
    Waiting {
        since: u64,
        joined: Option<usize>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct World {
    tick: u64,
    /// What the database says, and when whoever changed it was told so.
    over: bool,
    done: Option<u64>,
    /// What the feed has read so far.
    told: bool,
    /// Whether this process has taken it back already, where it changes the key itself.
    taken_back: bool,
    feed: Feed,
    look_ups: [LookUp; 2],
    request: Request,
    begun: u64,
    /// Whether this process had refused the key as revoked before the request began.
    refused: bool,
    refused_before: bool,
}

impl World {
    const START: Self = Self {
        tick: 0,
        over: false,
        done: None,
        told: false,
        taken_back: false,
        feed: Feed::Idle,
        look_ups: [LookUp::Idle; 2],
        request: Request::None,
        begun: 0,
        refused: false,
        refused_before: false,
    };
}

/// The path to a state, newest step first.
#[derive(Clone)]
struct Path(Option<Rc<(String, Path)>>);

impl Path {
    fn then(&self, step: String) -> Self {
        Self(Some(Rc::new((step, self.clone()))))
    }

    fn steps(&self) -> String {
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
type Node = (World, Rc<Cache>, Path);

/// What tells two states of the cache apart.
#[derive(PartialEq, Eq, Hash)]
struct Print(u64, u64, u64, bool, Option<(bool, Moment, u64)>, bool);

impl Cache {
    fn small() -> Self {
        let bounds = Bounds {
            max_staleness: Duration::from_secs(BOUND),
            stale_if_error: Duration::ZERO,
        };
        Self::new(bounds, 4)
    }

    /// The same, to be changed by itself.
    fn fork(&self) -> Self {
        let fork = Self::small();
        fork.lease.store(self.lease.load(Relaxed), SeqCst);
        fork.believed_from
            .store(self.believed_from.load(Relaxed), SeqCst);
        *fork.writer() = self.writer().clone();
        if let Some(Entry {
            what,
            sent,
            generation,
        }) = self.known.peek(&DIGEST)
        {
            let entry = Entry {
                what,
                sent,
                generation,
            };
            fork.known.insert(DIGEST, entry);
        }
        fork
    }

    fn print(&self) -> Print {
        let writer = self.writer();
        let entry = self.known.peek(&DIGEST);
        Print(
            self.lease.load(Relaxed),
            self.believed_from.load(Relaxed),
            writer.generations.current(),
            (0..writer.generations.current())
                .any(|generation| writer.generations.moved(generation, &DIGEST)),
            entry.map(|entry| (is_over(&entry.what), entry.sent, entry.generation)),
            writer.tombstones.get(&DIGEST) == Some(Tombstone::Revoked),
        )
    }
}

fn is_over(key: &KnownKey) -> bool {
    key.state(|| unreachable!("it has no end")) != crate::KeyState::Active
}

struct Model {
    change: Change,
    wrong: Option<Wrong>,
    /// Look-ups that may be under way at the same time, and ticks that are explored: two need fewer ticks to get into each other's way.
    look_ups: usize,
    last: u64,
}

impl Model {
    fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    /// Explores everything; the number of states, or how somebody got in.
    fn explore(&self) -> Result<usize, String> {
        let mut seen = HashSet::new();
        let mut open: Vec<Node> = vec![(World::START, Rc::new(Cache::small()), Path(None))];
        let mut next = Vec::new();
        while let Some((world, cache, path)) = open.pop() {
            if !seen.insert((world, cache.print())) {
                continue;
            }
            self.steps(&world, &cache, &path, &mut next)?;
            open.append(&mut next);
        }
        Ok(seen.len())
    }

    fn steps(
        &self,
        world: &World,
        cache: &Rc<Cache>,
        path: &Path,
        next: &mut Vec<Node>,
    ) -> Result<(), String> {
        let go = |next: &mut Vec<Node>, what: &str, world: World, cache: Rc<Cache>| {
            next.push((world, cache, path.then(format!("{what}@{}", world.tick))));
        };
        if world.tick < self.last {
            let tick = world.tick + 1;
            let later = World { tick, ..*world };
            go(next, "tick", later, Rc::clone(cache));
        }
        self.change(world, cache, &mut |what, world, cache| {
            go(next, what, world, cache);
        });
        self.feed(world, cache, &mut |what, world, cache| {
            go(next, what, world, cache);
        });
        for number in 0..self.look_ups {
            self.look_up(number, world, cache, path, &mut |what, world, cache| {
                go(next, what, world, cache);
            })?;
        }
        self.request(world, cache, path, &mut |what, world, cache| {
            go(next, what, world, cache);
        })
    }

    fn change(&self, world: &World, cache: &Rc<Cache>, go: &mut dyn FnMut(&str, World, Rc<Cache>)) {
        let mut after = *world;
        if self.change != Change::RevokedHere {
            if !world.over {
                (after.over, after.done) = (true, Some(world.tick));
                go("changed", after, Rc::clone(cache));
            }
            return;
        }
        let take_back = || {
            let cache = cache.fork();
            cache.changed(&record(self.change, true), at(world.tick));
            Rc::new(cache)
        };
        let backwards = self.is(Wrong::TakenBackBeforeTheCommit);
        match (world.over, world.taken_back) {
            (true, true) if world.done.is_none() => {
                after.done = Some(world.tick);
                go("told that it is done", after, Rc::clone(cache));
            }
            (false, taken_back) if taken_back == backwards => {
                after.over = true;
                go("committed", after, Rc::clone(cache));
            }
            (over, false) if over != backwards => {
                after.taken_back = true;
                go("taken back", after, take_back());
            }
            _ => {}
        }
    }

    fn feed(&self, world: &World, cache: &Rc<Cache>, go: &mut dyn FnMut(&str, World, Rc<Cache>)) {
        let mut after = *world;
        let apply = |cache: &Cache, changed: bool| {
            let digests = if changed { vec![DIGEST] } else { Vec::new() };
            cache.apply(&Changed::Keys(digests));
        };
        let renew = |cache: &Cache, taken: u64| {
            let late = self.is(Wrong::LeaseStampedOnArrival);
            cache.renew(at(if late { world.tick } else { taken }));
        };
        match world.feed {
            Feed::Idle => {
                after.feed = Feed::Taken(world.tick);
                go("feed takes the time", after, Rc::clone(cache));
                if cache.writer().generations.current() < MAX_GENERATION {
                    let cache = cache.fork();
                    cache.apply(&Changed::Everything);
                    go("everything", *world, Rc::new(cache));
                }
            }
            Feed::Taken(taken) => {
                let changed = world.over != world.told;
                after.feed = Feed::Read { taken, changed };
                after.told = world.over;
                go("feed reads", after, Rc::clone(cache));
                if self.is(Wrong::FeedFromAServerBehind) {
                    let changed = false;
                    after.feed = Feed::Read { taken, changed };
                    after.told = world.told;
                    go("feed reads what is behind", after, Rc::clone(cache));
                }
            }
            Feed::Read { taken, changed } => {
                let cache = cache.fork();
                if self.is(Wrong::RenewedBeforeApplied) {
                    renew(&cache, taken);
                } else {
                    apply(&cache, changed);
                }
                after.feed = Feed::HalfDone { taken, changed };
                go("feed does the first half", after, Rc::new(cache));
            }
            Feed::HalfDone { taken, changed } => {
                let cache = cache.fork();
                if self.is(Wrong::RenewedBeforeApplied) {
                    apply(&cache, changed);
                } else {
                    renew(&cache, taken);
                }
                after.feed = Feed::Idle;
                go("feed does the second half", after, Rc::new(cache));
            }
        }
    }

    fn look_up(
        &self,
        number: usize,
        world: &World,
        cache: &Rc<Cache>,
        path: &Path,
        go: &mut dyn FnMut(&str, World, Rc<Cache>),
    ) -> Result<(), String> {
        let mut after = *world;
        match world.look_ups[number] {
            // Which of two that do nothing begins is all the same.
            LookUp::Idle if number == 1 && world.look_ups[0] == LookUp::Idle => {}
            LookUp::Idle => {
                after.look_ups[number] = LookUp::Sent(cache.begin(at(world.tick)));
                if let Request::Waiting {
                    since,
                    joined: None,
                } = world.request
                {
                    let joined = Some(number);
                    after.request = Request::Waiting { since, joined };
                }
                go("look-up sent", after, Rc::clone(cache));
            }
            LookUp::Sent(ticket) => {
                let over = world.over;
                after.look_ups[number] = LookUp::Read { ticket, over };
                go("look-up reads", after, Rc::clone(cache));
                if self.is(Wrong::LookUpsFromAServerBehind) && over {
                    let over = false;
                    after.look_ups[number] = LookUp::Read { ticket, over };
                    go("look-up reads what is behind", after, Rc::clone(cache));
                }
            }
            LookUp::Read { ticket, over } => {
                let cache = Rc::new(cache.fork());
                let now = at(world.tick);
                let ticket = if self.is(Wrong::GenerationReadOnArrival) {
                    let Ticket { generation, .. } = cache.begin(now);
                    Ticket {
                        generation,
                        ..ticket
                    }
                } else {
                    ticket
                };
                let record = record(self.change, over);
                let found = cache.fill(ticket, vec![(DIGEST, Some(record))], now);
                after.look_ups[number] = LookUp::Idle;
                if let Request::Waiting { since, joined } = world.request
                    && joined == Some(number)
                {
                    let found = &found[&DIGEST];
                    let answered = found.is_current
                        || at(since) < ticket.sent
                        || self.is(Wrong::LateJoinersAnsweredUnchecked);
                    if answered {
                        let over = is_over(found.key.as_ref().unwrap());
                        self.answer(&mut after, over, path)?;
                    } else {
                        let joined = None;
                        after.request = Request::Waiting { since, joined };
                    }
                }
                go("look-up lands", after, cache);
            }
        }
        Ok(())
    }

    fn request(
        &self,
        world: &World,
        cache: &Rc<Cache>,
        path: &Path,
        go: &mut dyn FnMut(&str, World, Rc<Cache>),
    ) -> Result<(), String> {
        let mut after = *world;
        let mut go = |what: &str, world: World| go(what, world, Rc::clone(cache));
        match world.request {
            // One that began before the change was complete may be answered either way.
            Request::None if world.done.is_some() => {
                after.request = Request::Begun;
                after.begun = world.tick;
                after.refused_before = world.refused;
                go("request", after);
            }
            Request::None => {}
            Request::Begun if self.is(Wrong::ProbedBeforeTheLease) => {
                let now = at(world.tick);
                after.request = match cache.probe(&DIGEST, now, now) {
                    Probe::Known(key) => Request::Probed {
                        over: is_over(&key),
                    },
                    _ => waiting(world),
                };
                go("request probes", after);
            }
            Request::Begun => {
                after.request = Request::LeaseRead(cache.lease());
                go("request reads the lease", after);
            }
            Request::Probed { over } => {
                if at(world.tick).since(cache.lease()) <= cache.bounds.max_staleness {
                    self.answer(&mut after, over, path)?;
                } else {
                    after.request = waiting(world);
                }
                go("request reads the lease", after);
            }
            Request::LeaseRead(lease) => {
                let mut probe_at = |tick: u64| {
                    let mut after = *world;
                    match cache.probe(&DIGEST, lease, at(tick)) {
                        Probe::Known(key) => self.answer(&mut after, is_over(&key), path)?,
                        _ => after.request = waiting(world),
                    }
                    go("request probes", after);
                    Ok::<(), String>(())
                };
                probe_at(world.tick)?;
                if self.is(Wrong::ClockReadEarlier) {
                    probe_at(world.tick.saturating_sub(2))?;
                }
            }
            Request::Waiting {
                since,
                joined: None,
            } => {
                // Whichever is under way may be joined.
                for (number, look_up) in world.look_ups.iter().enumerate() {
                    if *look_up != LookUp::Idle {
                        let joined = Some(number);
                        after.request = Request::Waiting { since, joined };
                        go("request joins", after);
                    }
                }
            }
            Request::Waiting { .. } => {}
        }
        Ok(())
    }

    /// What must hold of every answer.
    fn answer(&self, world: &mut World, over: bool, path: &Path) -> Result<(), String> {
        let (begun, refused_before) = (world.begun, world.refused_before);
        (world.request, world.begun, world.refused_before) = (Request::None, 0, false);
        if over {
            world.refused |= self.change != Change::DisabledElsewhere;
            return Ok(());
        }
        let bound = match self.change {
            Change::RevokedHere => 0,
            _ => BOUND,
        };
        let done = world.done.unwrap_or(u64::MAX);
        // A request of the same tick as the change may have begun before it.
        let too_late = begun > done.saturating_add(bound);
        if too_late || refused_before {
            return Err(format!(
                "let in at {} what began at {begun}, complete at {done}, refused before: {refused_before}; {}",
                world.tick,
                path.steps()
            ));
        }
        Ok(())
    }
}

fn waiting(world: &World) -> Request {
    Request::Waiting {
        since: world.tick,
        joined: None,
    }
}

fn record(change: Change, over: bool) -> KeyRecord {
    let mut record = KeyRecord::new(1, DIGEST, AddressRules::any());
    let then = over.then_some(record.created_at);
    match change {
        Change::DisabledElsewhere => record.disabled_at = then,
        Change::RevokedElsewhere | Change::RevokedHere => record.revoked_at = then,
    }
    record
}

/// Both sizes that are explored.
const SIZES: [(usize, u64); 2] = [(1, 3), (2, 2)];

// E1, E3, E4, E7
#[test]
fn no_interleaving_lets_in_what_is_over() {
    for change in [
        Change::RevokedElsewhere,
        Change::DisabledElsewhere,
        Change::RevokedHere,
    ] {
        for (look_ups, last) in SIZES {
            let model = Model {
                change,
                wrong: None,
                look_ups,
                last,
            };
            let states = model
                .explore()
                .unwrap_or_else(|violation| panic!("{change:?}: {violation}"));
            println!("{change:?}, {look_ups} look-ups: no violation in {states} states");
            assert!(states > 1000, "{states} states are hardly all");
        }
    }
}

// E1, E3, E7
#[test]
fn each_wrong_order_lets_somebody_in() {
    use Change::{DisabledElsewhere, RevokedElsewhere, RevokedHere};
    for (wrong, change) in [
        (Wrong::LeaseStampedOnArrival, RevokedElsewhere),
        (Wrong::ProbedBeforeTheLease, RevokedElsewhere),
        (Wrong::RenewedBeforeApplied, RevokedElsewhere),
        (Wrong::GenerationReadOnArrival, RevokedElsewhere),
        (Wrong::LateJoinersAnsweredUnchecked, RevokedElsewhere),
        (Wrong::ClockReadEarlier, RevokedElsewhere),
        (Wrong::LookUpsFromAServerBehind, DisabledElsewhere),
        (Wrong::FeedFromAServerBehind, RevokedElsewhere),
        (Wrong::TakenBackBeforeTheCommit, RevokedHere),
    ] {
        let found = SIZES.into_iter().find_map(|(look_ups, last)| {
            let wrong = Some(wrong);
            let model = Model {
                change,
                wrong,
                look_ups,
                last,
            };
            model.explore().err()
        });
        let violation = found.unwrap_or_else(|| panic!("{wrong:?} lets nobody in"));
        println!("{wrong:?}: {violation}");
    }
}
