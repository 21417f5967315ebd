//! Every interleaving of a change, a feed, two look-ups and requests, driven through the real
//! [`Cache`]: no request gets in that began more than the bound after the change was complete, and
//! none after this process refused the key as revoked. The wrong neighbours of the rule are
//! explored in the same way, and each shows how it lets somebody in.

mod world;

use std::{
    collections::{HashSet, VecDeque},
    rc::Rc,
};

use self::world::{Change, Feed, LookUp, Node, Path, Request, Told, World, is_over};
use super::{Cache, Cached, ReadStamp};
use crate::{
    allowed_ips::AllowedIps, clock::MonotonicTime, key::KeyDigest, key_record::KeyRecord,
    store::Changed,
};

/// The bound, in ticks. Of what is older than that it makes no difference how old it is, so that
/// there are finitely many states, however long it goes on.
const BOUND: u64 = 1;

const DIGEST: KeyDigest = KeyDigest::from_bytes([7; 32]);

fn at(tick: u64) -> MonotonicTime {
    MonotonicTime::from_nanos(tick * 1_000_000_000)
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
    HandedOutAsItWasKept,
}

struct Model {
    change: Change,
    wrong: Option<Wrong>,
    /// Look-ups that may be under way at the same time.
    look_ups: usize,
    /// Whether the feed may say "everything" at any time.
    everything: bool,
}

impl Model {
    fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    /// Explores everything; the number of states, or how somebody got in.
    fn explore(&self) -> Result<usize, String> {
        let mut seen = HashSet::new();
        // The oldest first, so that a way in is a shortest one.
        let start = (World::START, Rc::new(Cache::small()), Path::default());
        let mut open = VecDeque::from([start]);
        let mut next: Vec<Node> = Vec::new();
        while let Some((world, cache, path)) = open.pop_front() {
            if !seen.insert(cache.print(&world)) {
                continue;
            }
            self.steps(&world, &cache, &path, &mut next)?;
            open.extend(next.drain(..));
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
        let tick = world.tick + 1;
        let later = World { tick, ..*world };
        go(next, "tick", later, Rc::clone(cache));
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
        if !self.change.is_here() {
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
            (false, done) if done == backwards => {
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
        let apply = |cache: &Cache, told: Told| {
            cache.apply(&match told {
                Told::Nothing => Changed::Keys(Vec::new()),
                Told::Key => Changed::Keys(vec![DIGEST]),
                Told::Everything => Changed::Everything,
            });
        };
        let renew = |cache: &Cache, taken: u64| {
            let late = self.is(Wrong::LeaseStampedOnArrival);
            cache.renew(at(if late { world.tick } else { taken }));
        };
        match world.feed {
            Feed::Idle => {
                after.feed = Feed::Taken(world.tick);
                go("feed takes the time", after, Rc::clone(cache));
            }
            Feed::Taken(taken) => {
                after.told = world.over;
                let changed = world.over != world.told;
                let told = if changed { Told::Key } else { Told::Nothing };
                for told in [told].into_iter().chain(self.everything.then_some(Told::Everything)) {
                    after.feed = Feed::Read { taken, told };
                    go("feed reads", after, Rc::clone(cache));
                }
                if self.is(Wrong::FeedFromAServerBehind) {
                    let told = Told::Nothing;
                    after.feed = Feed::Read { taken, told };
                    after.told = world.told;
                    go("feed reads what is behind", after, Rc::clone(cache));
                }
            }
            Feed::Read { taken, told } => {
                let cache = cache.fork();
                if self.is(Wrong::RenewedBeforeApplied) {
                    renew(&cache, taken);
                } else {
                    apply(&cache, told);
                }
                after.feed = Feed::HalfDone { taken, told };
                go("feed does the first half", after, Rc::new(cache));
            }
            Feed::HalfDone { taken, told } => {
                let cache = cache.fork();
                if self.is(Wrong::RenewedBeforeApplied) {
                    apply(&cache, told);
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
                after.look_ups[number] = LookUp::Sent(cache.stamp(at(world.tick)));
                if world.request == Request::Waiting(None) {
                    after.request = Request::Waiting(Some((number, true)));
                }
                go("look-up sent", after, Rc::clone(cache));
            }
            LookUp::Sent(stamp) => {
                let over = world.over;
                after.look_ups[number] = LookUp::Read { stamp, over };
                go("look-up reads", after, Rc::clone(cache));
                if self.is(Wrong::LookUpsFromAServerBehind) && over {
                    let over = false;
                    after.look_ups[number] = LookUp::Read { stamp, over };
                    go("look-up reads what is behind", after, Rc::clone(cache));
                }
            }
            LookUp::Read { stamp, over } => {
                let cache = Rc::new(cache.fork());
                let now = at(world.tick);
                let stamp = if self.is(Wrong::GenerationReadOnArrival) {
                    let ReadStamp { generation, .. } = cache.stamp(now);
                    ReadStamp { generation, ..stamp }
                } else {
                    stamp
                };
                let record = record(self.change, over);
                let found = cache.fill(stamp, vec![(DIGEST, Some(record))], now);
                let over = found[&DIGEST].as_deref().is_some_and(is_over);
                let held = self.is(Wrong::HandedOutAsItWasKept)
                    && cache.permit(stamp, now).still_holds(&DIGEST);
                after.look_ups[number] = LookUp::Kept { stamp, over, held };
                go("look-up is kept", after, cache);
            }
            LookUp::Kept { stamp, over, held } => {
                after.look_ups[number] = LookUp::Idle;
                if let Request::Waiting(Some((joined, is_early))) = world.request
                    && joined == number
                {
                    let holds = if self.is(Wrong::HandedOutAsItWasKept) {
                        held
                    } else {
                        cache.permit(stamp, at(world.tick)).still_holds(&DIGEST)
                    };
                    let is_final = over && self.change.is_final();
                    if holds || is_early || is_final || self.is(Wrong::LateJoinersAnsweredUnchecked)
                    {
                        self.answer(&mut after, over, path)?;
                    } else {
                        after.request = Request::Waiting(None);
                    }
                }
                let cache = Rc::clone(cache);
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
            Request::None if let Some(done) = world.done => {
                after.request = Request::Begun;
                // One of the same tick as the change may have begun before it.
                after.is_late = world.tick > done + self.bound();
                after.refused_before = world.refused;
                go("request", after);
            }
            Request::Begun if self.is(Wrong::ProbedBeforeTheLease) => {
                let now = at(world.tick);
                after.request = match cache.view_at(now, now).get(&DIGEST) {
                    Cached::Hit(key) => Request::Probed { over: is_over(&key) },
                    _ => Request::Waiting(None),
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
                    after.request = Request::Waiting(None);
                }
                go("request reads the lease", after);
            }
            Request::LeaseRead(lease) => {
                let mut probe_at = |tick: u64| {
                    let mut after = *world;
                    match cache.view_at(lease, at(tick)).get(&DIGEST) {
                        Cached::Hit(key) => self.answer(&mut after, is_over(&key), path)?,
                        _ => after.request = Request::Waiting(None),
                    }
                    go("request probes", after);
                    Ok::<(), String>(())
                };
                probe_at(world.tick)?;
                if self.is(Wrong::ClockReadEarlier) {
                    probe_at(world.tick.saturating_sub(2))?;
                }
            }
            Request::Waiting(None) => {
                // Whichever is under way may be joined.
                for (number, look_up) in world.look_ups.iter().enumerate() {
                    if *look_up != LookUp::Idle {
                        after.request = Request::Waiting(Some((number, false)));
                        go("request joins", after);
                    }
                }
            }
            Request::None | Request::Waiting(Some(_)) => {}
        }
        Ok(())
    }

    /// What must hold of every answer.
    fn answer(&self, world: &mut World, over: bool, path: &Path) -> Result<(), String> {
        let (is_late, refused_before) = (world.is_late, world.refused_before);
        (world.request, world.is_late, world.refused_before) = (Request::None, false, false);
        if over {
            world.refused |= self.change.is_final();
            return Ok(());
        }
        if is_late || refused_before {
            return Err(format!(
                "let in at {}, late: {is_late}, refused before: {refused_before}: {}",
                world.tick,
                path.steps()
            ));
        }
        Ok(())
    }

    /// How long after the change was complete a request may begin and get in.
    fn bound(&self) -> u64 {
        if self.change.is_here() { 0 } else { BOUND }
    }
}

fn record(change: Change, over: bool) -> KeyRecord {
    let mut record = KeyRecord::new(1, DIGEST, AllowedIps::any());
    let then = over.then_some(record.created_at);
    if change.is_final() {
        record.revoked_at = then;
    } else {
        record.disabled_at = then;
    }
    record
}

/// Explores all that there is, which takes some minutes more:
/// `TEST_WHOLE_MODEL=1 cargo test -p api-key-runtime --lib cache::model`.
const EVERYTHING: Option<&str> = option_env!("TEST_WHOLE_MODEL");

// E1, E3, E4, E7
#[test]
#[allow(clippy::print_stdout, reason = "how much was explored")]
fn no_interleaving_lets_in_what_is_over() {
    for change in [
        Change::RevokedElsewhere,
        Change::DisabledElsewhere,
        Change::RevokedHere,
        Change::DisabledHere,
    ] {
        for (look_ups, everything) in [(1, true), (2, false)] {
            // Minutes, for what two look-ups add where the change is not seen by a look-up first.
            if look_ups == 2
                && change != Change::RevokedElsewhere
                && EVERYTHING.is_none_or(|all| all != "1")
            {
                continue;
            }
            let model = Model { change, wrong: None, look_ups, everything };
            let states =
                model.explore().unwrap_or_else(|violation| panic!("{change:?}: {violation}"));
            println!("{change:?}, {look_ups} look-ups: no violation in {states} states");
            assert!(states > 1000, "{states} states are hardly all");
        }
    }
}

// E1, E3, E7
#[test]
#[allow(clippy::print_stdout, reason = "how somebody gets in")]
fn each_wrong_order_lets_somebody_in() {
    use Change::{DisabledElsewhere, DisabledHere, RevokedElsewhere, RevokedHere};
    for (wrong, change) in [
        (Wrong::LeaseStampedOnArrival, RevokedElsewhere),
        (Wrong::ProbedBeforeTheLease, RevokedElsewhere),
        (Wrong::RenewedBeforeApplied, RevokedElsewhere),
        (Wrong::GenerationReadOnArrival, RevokedElsewhere),
        (Wrong::LateJoinersAnsweredUnchecked, RevokedElsewhere),
        (Wrong::ClockReadEarlier, RevokedElsewhere),
        (Wrong::LookUpsFromAServerBehind, DisabledElsewhere),
        (Wrong::FeedFromAServerBehind, RevokedElsewhere),
        (Wrong::TakenBackBeforeTheCommit, DisabledHere),
        (Wrong::HandedOutAsItWasKept, RevokedHere),
    ] {
        let model = Model { change, wrong: Some(wrong), look_ups: 1, everything: false };
        let Err(violation) = model.explore() else {
            panic!("{wrong:?} lets nobody in");
        };
        println!("{wrong:?}: {violation}");
    }
}
