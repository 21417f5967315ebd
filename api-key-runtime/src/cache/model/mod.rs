//! A model that drives the real [`Cache`] through every interleaving of a change, a feed, two
//! lookups and requests.
//!
//! The model checks two rules. First, a request is rejected if it begins more than the bound after
//! the change was complete. The bound is `max_staleness` for a change by another process, and zero
//! for a change by this process. Second, no request is accepted after this process has rejected the
//! key as revoked. One test makes one step at a time wrong. For each wrong step, the model finds a
//! path that breaks a rule.

mod world;

use std::{
    collections::{HashSet, VecDeque},
    rc::Rc,
};

use self::world::{Change, Feed, Lookup, Node, Path, Report, Request, World, is_inactive};
use super::{Cache, Cached, ReadStamp};
use crate::{
    allowed_ips::AllowedIps, clock::MonotonicTime, key::KeyDigest, key_record::KeyRecord,
    store::Changed,
};

/// The cache's `max_staleness`, in ticks. The model does not distinguish ages beyond this bound, so
/// the number of states is finite.
const BOUND: u64 = 1;

const DIGEST: KeyDigest = KeyDigest::from_bytes([7; 32]);

fn at(tick: u64) -> MonotonicTime {
    MonotonicTime::from_nanos(tick * 1_000_000_000)
}

/// A step that the model performs wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    LeaseStampedOnArrival,
    ProbedBeforeTheLease,
    RenewedBeforeApplied,
    GenerationReadOnArrival,
    LateJoinersAnsweredUnchecked,
    ClockReadEarlier,
    LookupsFromAStaleServer,
    FeedFromAStaleServer,
    DroppedBeforeTheCommit,
    CheckedWhenCached,
}

struct Model {
    change: Change,
    wrong: Option<Wrong>,
    /// The number of lookups that may be in flight at the same time.
    lookups: usize,
    /// Whether the feed may report `Report::Everything` at any time.
    everything: bool,
}

impl Model {
    fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    /// Explores every state. Returns the number of states, or the steps by which an inactive key
    /// was accepted.
    fn explore(&self) -> Result<usize, String> {
        let mut seen = HashSet::new();
        // Breadth first, so that the reported path has the fewest steps.
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
        for number in 0..self.lookups {
            self.lookup(number, world, cache, path, &mut |what, world, cache| {
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
            if !world.inactive {
                (after.inactive, after.done) = (true, Some(world.tick));
                go("changed", after, Rc::clone(cache));
            }
            return;
        }
        let drop_entry = || {
            let cache = cache.fork();
            cache.changed(&record(self.change, true), at(world.tick));
            Rc::new(cache)
        };
        let backwards = self.is(Wrong::DroppedBeforeTheCommit);
        match (world.inactive, world.dropped) {
            (true, true) if world.done.is_none() => {
                after.done = Some(world.tick);
                go("change returns", after, Rc::clone(cache));
            }
            (false, done) if done == backwards => {
                after.inactive = true;
                go("committed", after, Rc::clone(cache));
            }
            (inactive, false) if inactive != backwards => {
                after.dropped = true;
                go("entry dropped", after, drop_entry());
            }
            _ => {}
        }
    }

    fn feed(&self, world: &World, cache: &Rc<Cache>, go: &mut dyn FnMut(&str, World, Rc<Cache>)) {
        let mut after = *world;
        let apply = |cache: &Cache, report: Report| {
            cache.apply(&match report {
                Report::Nothing => Changed::Keys(Vec::new()),
                Report::Key => Changed::Keys(vec![DIGEST]),
                Report::Everything => Changed::Everything,
            });
        };
        let renew = |cache: &Cache, taken: u64| {
            let late = self.is(Wrong::LeaseStampedOnArrival);
            cache.renew(at(if late { world.tick } else { taken }));
        };
        match world.feed {
            Feed::Idle => {
                after.feed = Feed::Taken(world.tick);
                go("feed reads the clock", after, Rc::clone(cache));
            }
            Feed::Taken(taken) => {
                after.has_read = world.inactive;
                let changed = world.inactive != world.has_read;
                let report = if changed { Report::Key } else { Report::Nothing };
                for report in
                    [report].into_iter().chain(self.everything.then_some(Report::Everything))
                {
                    after.feed = Feed::Read { taken, report };
                    go("feed reads", after, Rc::clone(cache));
                }
                if self.is(Wrong::FeedFromAStaleServer) {
                    let report = Report::Nothing;
                    after.feed = Feed::Read { taken, report };
                    after.has_read = world.has_read;
                    go("feed reads stale data", after, Rc::clone(cache));
                }
            }
            Feed::Read { taken, report } => {
                let cache = cache.fork();
                let step = if self.is(Wrong::RenewedBeforeApplied) {
                    renew(&cache, taken);
                    "feed renews the lease"
                } else {
                    apply(&cache, report);
                    "feed applies the changes"
                };
                after.feed = Feed::HalfDone { taken, report };
                go(step, after, Rc::new(cache));
            }
            Feed::HalfDone { taken, report } => {
                let cache = cache.fork();
                let step = if self.is(Wrong::RenewedBeforeApplied) {
                    apply(&cache, report);
                    "feed applies the changes"
                } else {
                    renew(&cache, taken);
                    "feed renews the lease"
                };
                after.feed = Feed::Idle;
                go(step, after, Rc::new(cache));
            }
        }
    }

    fn lookup(
        &self,
        number: usize,
        world: &World,
        cache: &Rc<Cache>,
        path: &Path,
        go: &mut dyn FnMut(&str, World, Rc<Cache>),
    ) -> Result<(), String> {
        let mut after = *world;
        match world.lookups[number] {
            // Idle lookups are equivalent, so it suffices to begin the first idle lookup.
            Lookup::Idle if number == 1 && world.lookups[0] == Lookup::Idle => {}
            Lookup::Idle => {
                after.lookups[number] = Lookup::Sent(cache.stamp(at(world.tick)));
                if world.request == Request::Waiting(None) {
                    after.request = Request::Waiting(Some((number, true)));
                }
                go("lookup sent", after, Rc::clone(cache));
            }
            Lookup::Sent(stamp) => {
                let inactive = world.inactive;
                after.lookups[number] = Lookup::Read { stamp, inactive };
                go("lookup reads", after, Rc::clone(cache));
                if self.is(Wrong::LookupsFromAStaleServer) && inactive {
                    let inactive = false;
                    after.lookups[number] = Lookup::Read { stamp, inactive };
                    go("lookup reads stale data", after, Rc::clone(cache));
                }
            }
            Lookup::Read { stamp, inactive } => {
                let cache = Rc::new(cache.fork());
                let now = at(world.tick);
                let stamp = if self.is(Wrong::GenerationReadOnArrival) {
                    let ReadStamp { generation, .. } = cache.stamp(now);
                    ReadStamp { generation, ..stamp }
                } else {
                    stamp
                };
                let record = record(self.change, inactive);
                let found = cache.fill(stamp, vec![(DIGEST, Some(record))], now);
                let inactive = found[&DIGEST].as_deref().is_some_and(is_inactive);
                let held = self.is(Wrong::CheckedWhenCached)
                    && cache.permit(stamp, now).still_holds(&DIGEST);
                after.lookups[number] = Lookup::Filled { stamp, inactive, held };
                go("lookup fills the cache", after, cache);
            }
            Lookup::Filled { stamp, inactive, held } => {
                after.lookups[number] = Lookup::Idle;
                if let Request::Waiting(Some((joined, is_early))) = world.request
                    && joined == number
                {
                    let holds = if self.is(Wrong::CheckedWhenCached) {
                        held
                    } else {
                        cache.permit(stamp, at(world.tick)).still_holds(&DIGEST)
                    };
                    let is_final = inactive && self.change.is_final();
                    if holds || is_early || is_final || self.is(Wrong::LateJoinersAnsweredUnchecked)
                    {
                        self.answer(&mut after, inactive, path)?;
                    } else {
                        after.request = Request::Waiting(None);
                    }
                }
                let cache = Rc::clone(cache);
                go("lookup is delivered", after, cache);
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
            // Requests begin only after the change is complete. An earlier request may be accepted
            // or rejected, so there is nothing to check.
            Request::None if let Some(done) = world.done => {
                after.request = Request::Begun;
                // A request in the same tick as the change may have begun before the change.
                after.is_late = world.tick > done + self.bound();
                after.rejected_before = world.rejected;
                go("request", after);
            }
            Request::Begun if self.is(Wrong::ProbedBeforeTheLease) => {
                let now = at(world.tick);
                after.request = match cache.view_at(now, now).get(&DIGEST) {
                    Cached::Hit(key) => Request::Probed { inactive: is_inactive(&key) },
                    _ => Request::Waiting(None),
                };
                go("request probes", after);
            }
            Request::Begun => {
                after.request = Request::LeaseRead(cache.lease());
                go("request reads the lease", after);
            }
            Request::Probed { inactive } => {
                if at(world.tick).since(cache.lease()) <= cache.bounds.max_staleness {
                    self.answer(&mut after, inactive, path)?;
                } else {
                    after.request = Request::Waiting(None);
                }
                go("request reads the lease", after);
            }
            Request::LeaseRead(lease) => {
                let mut probe_at = |tick: u64| {
                    let mut after = *world;
                    match cache.view_at(lease, at(tick)).get(&DIGEST) {
                        Cached::Hit(key) => self.answer(&mut after, is_inactive(&key), path)?,
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
                // The request may join any lookup in flight.
                for (number, lookup) in world.lookups.iter().enumerate() {
                    if *lookup != Lookup::Idle {
                        after.request = Request::Waiting(Some((number, false)));
                        go("request joins", after);
                    }
                }
            }
            Request::None | Request::Waiting(Some(_)) => {}
        }
        Ok(())
    }

    /// Checks an answer against the rules.
    fn answer(&self, world: &mut World, inactive: bool, path: &Path) -> Result<(), String> {
        let (is_late, rejected_before) = (world.is_late, world.rejected_before);
        (world.request, world.is_late, world.rejected_before) = (Request::None, false, false);
        if inactive {
            world.rejected |= self.change.is_final();
            return Ok(());
        }
        if is_late || rejected_before {
            return Err(format!(
                "accepted at {}, late: {is_late}, rejected before: {rejected_before}: {}",
                world.tick,
                path.steps()
            ));
        }
        Ok(())
    }

    /// Returns the bound: how long after the change was complete a request may begin and still be
    /// accepted.
    fn bound(&self) -> u64 {
        if self.change.is_here() { 0 } else { BOUND }
    }
}

fn record(change: Change, inactive: bool) -> KeyRecord {
    let mut record = KeyRecord::new(1, DIGEST, AllowedIps::any());
    let then = inactive.then_some(record.created_at);
    if change.is_final() {
        record.revoked_at = then;
    } else {
        record.disabled_at = then;
    }
    record
}

/// The variable `TEST_WHOLE_MODEL`. With the value `1`, the test explores all states, which takes
/// several minutes more: `TEST_WHOLE_MODEL=1 cargo test -p api-key-runtime --lib cache::model`.
const EVERYTHING: Option<&str> = option_env!("TEST_WHOLE_MODEL");

// E1, E3, E4, E7
#[test]
fn no_interleaving_accepts_an_inactive_key() {
    for change in [
        Change::RevokedElsewhere,
        Change::DisabledElsewhere,
        Change::RevokedHere,
        Change::DisabledHere,
    ] {
        explore_all(&Model { change, wrong: None, lookups: 1, everything: true });
    }
}

// E1, E3, E4, E7
#[test]
fn no_interleaving_of_two_lookups_accepts_an_inactive_key() {
    let mut changes = vec![Change::RevokedElsewhere];
    // The other changes take minutes to explore.
    if EVERYTHING == Some("1") {
        changes.extend([Change::DisabledElsewhere, Change::RevokedHere, Change::DisabledHere]);
    }
    for change in changes {
        explore_all(&Model { change, wrong: None, lookups: 2, everything: false });
    }
}

#[allow(clippy::print_stdout, reason = "the number of states")]
fn explore_all(model: &Model) {
    let Model { change, lookups, .. } = *model;
    let states = model.explore().unwrap_or_else(|violation| panic!("{change:?}: {violation}"));
    println!("{change:?}, {lookups} lookups: no violation in {states} states");
    assert!(states > 1000, "only {states} states");
}

// E1, E3, E7
#[test]
#[allow(clippy::print_stdout, reason = "the steps of each violation")]
fn each_wrong_order_accepts_an_inactive_key() {
    use Change::{DisabledElsewhere, DisabledHere, RevokedElsewhere, RevokedHere};
    for (wrong, change) in [
        (Wrong::LeaseStampedOnArrival, RevokedElsewhere),
        (Wrong::ProbedBeforeTheLease, RevokedElsewhere),
        (Wrong::RenewedBeforeApplied, RevokedElsewhere),
        (Wrong::GenerationReadOnArrival, RevokedElsewhere),
        (Wrong::LateJoinersAnsweredUnchecked, RevokedElsewhere),
        (Wrong::ClockReadEarlier, RevokedElsewhere),
        (Wrong::LookupsFromAStaleServer, DisabledElsewhere),
        (Wrong::FeedFromAStaleServer, RevokedElsewhere),
        (Wrong::DroppedBeforeTheCommit, DisabledHere),
        (Wrong::CheckedWhenCached, RevokedHere),
    ] {
        let model = Model { change, wrong: Some(wrong), lookups: 1, everything: false };
        let Err(violation) = model.explore() else {
            panic!("{wrong:?} violates no rule");
        };
        println!("{wrong:?}: {violation}");
    }
}
