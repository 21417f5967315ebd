//! The look-ups that wait for a thread or for the store, and who waits for each: plain data, without threads or I/O.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use futures_channel::oneshot;

use super::Answer;
use crate::{clock::Moment, key::Digests};

/// Look-ups that one query answers.
const MAX_BATCH: usize = 256;
/// Of these, at least so many are of the lane that is not preferred, where there are any.
const MIN_UNKNOWN_IN_BATCH: usize = MAX_BATCH / 4;
/// Keys that may wait for a thread; past that the answer is 503 at once.
const MAX_QUEUED: usize = 1024;
/// Of these, keys that nobody has ever seen here: anyone can make them up.
const MAX_UNKNOWN_QUEUED: usize = MAX_QUEUED / 2;
/// Requests that may wait for one key.
const MAX_WAITING: usize = 16_384;
/// How often what is full is searched for those who no longer wait.
const PURGE_EVERY: Duration = Duration::from_millis(10);

/// Whom to ask for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Keys that were in the table when they were last read, good or not.
    Known,
    /// All others.
    Unknown,
}

/// A request that waits, and when it began to.
#[derive(Debug)]
pub(super) struct Waiter {
    sender: oneshot::Sender<Answer>,
    pub(super) since: Moment,
}

impl Waiter {
    /// Who no longer waits needs no answer.
    pub(super) fn answer(self, answer: Answer) {
        let _ = self.sender.send(answer);
    }

    fn is_gone(&self) -> bool {
        self.sender.is_canceled()
    }
}

/// One look-up of one key, from when it is queued until it is answered.
#[derive(Debug)]
struct Flight {
    digests: Digests,
    lane: Lane,
    waiters: Vec<Waiter>,
    /// When its query was sent.
    sent: Option<Moment>,
    purged: Moment,
}

/// A look-up that is over: which lane it was of, and who waits for it.
pub(super) struct Landed {
    pub(super) lane: Lane,
    pub(super) waiters: Vec<Waiter>,
}

pub(super) type FlightId = u64;

/// Look-ups taken together.
pub(super) type Batch = Vec<(FlightId, Digests)>;

/// There is no room: the caller is answered 503.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug, Default)]
pub(super) struct Queue {
    flights: HashMap<FlightId, Flight>,
    next: FlightId,
    /// The newest look-up of each key.
    newest: HashMap<Digests, FlightId>,
    known: VecDeque<FlightId>,
    unknown: VecDeque<FlightId>,
    purged: Moment,
}

impl Queue {
    /// Look-ups that wait or are under way.
    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    /// Whether none waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.unknown.is_empty()
    }

    /// Joins the look-up of this key that is queued or was sent within the last `joined_for`, or queues a new one.
    pub(super) fn push(
        &mut self,
        digests: Digests,
        lane: Lane,
        now: Moment,
        joined_for: Duration,
    ) -> Result<oneshot::Receiver<Answer>, Full> {
        let (sender, receiver) = oneshot::channel();
        let waiter = Waiter { sender, since: now };
        if let Some(flight) = self.joinable(&digests, now, joined_for) {
            flight.join(waiter, now)?;
            return Ok(receiver);
        }
        if self.is_full(lane) {
            self.purge(now);
        }
        if self.is_full(lane) {
            return Err(Full);
        }
        let id = self.begin(digests, lane, vec![waiter], now);
        self.lane(lane).push_back(id);
        Ok(receiver)
    }

    fn joinable(
        &mut self,
        digests: &Digests,
        now: Moment,
        joined_for: Duration,
    ) -> Option<&mut Flight> {
        let flight = self.flights.get_mut(self.newest.get(digests)?)?;
        let is_joinable = flight.sent.is_none_or(|sent| now.since(sent) < joined_for);
        is_joinable.then_some(flight)
    }

    fn begin(
        &mut self,
        digests: Digests,
        lane: Lane,
        waiters: Vec<Waiter>,
        now: Moment,
    ) -> FlightId {
        let id = self.next;
        self.next = id.wrapping_add(1);
        self.newest.insert(digests, id);
        let flight = Flight { digests, lane, waiters, sent: None, purged: now };
        self.flights.insert(id, flight);
        id
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<FlightId> {
        match lane {
            Lane::Known => &mut self.known,
            Lane::Unknown => &mut self.unknown,
        }
    }

    fn is_full(&self, lane: Lane) -> bool {
        let unknown = self.unknown.len();
        self.known.len().saturating_add(unknown) >= MAX_QUEUED
            || lane == Lane::Unknown && unknown >= MAX_UNKNOWN_QUEUED
    }

    /// Those that are to be sent now: the oldest of each lane that somebody still waits for, known ones first.
    pub(super) fn take_batch(&mut self, now: Moment) -> Batch {
        let mut batch = Batch::new();
        let reserved = self.unknown.len().min(MIN_UNKNOWN_IN_BATCH);
        self.take(Lane::Known, MAX_BATCH.saturating_sub(reserved), now, &mut batch);
        self.take(Lane::Unknown, MAX_BATCH, now, &mut batch);
        batch
    }

    fn take(&mut self, lane: Lane, until: usize, now: Moment, batch: &mut Batch) {
        while batch.len() < until
            && let Some(id) = self.lane(lane).pop_front()
        {
            let Some(flight) = self.flights.get_mut(&id) else {
                continue;
            };
            flight.forget_the_gone(now);
            if flight.waiters.is_empty() {
                self.land(id);
                continue;
            }
            flight.sent = Some(now);
            batch.push((id, flight.digests));
        }
    }

    /// Takes out a look-up that is over, with everyone who waits for it.
    pub(super) fn land(&mut self, id: FlightId) -> Landed {
        let Some(flight) = self.flights.remove(&id) else {
            return Landed { lane: Lane::Unknown, waiters: Vec::new() };
        };
        if self.newest.get(&flight.digests) == Some(&id) {
            self.newest.remove(&flight.digests);
        }
        Landed { lane: flight.lane, waiters: flight.waiters }
    }

    /// Asks again, and first of its lane, for those who came too late for an answer that has become outdated.
    pub(super) fn again(
        &mut self,
        digests: Digests,
        lane: Lane,
        waiters: Vec<Waiter>,
        now: Moment,
    ) {
        if let Some(flight) = self.joinable(&digests, now, Duration::ZERO) {
            flight.waiters.extend(waiters);
            return;
        }
        let id = self.begin(digests, lane, waiters, now);
        self.lane(lane).push_front(id);
    }

    /// Drops the queued look-ups that nobody waits for any more. Who waits in a queue that no thread drains gives up after the deadline.
    fn purge(&mut self, now: Moment) {
        if now.since(self.purged) < PURGE_EVERY {
            return;
        }
        self.purged = now;
        let flights = &mut self.flights;
        let newest = &mut self.newest;
        let mut is_wanted = |id: &FlightId| {
            let wanted = flights
                .get(id)
                .is_some_and(|flight| flight.waiters.iter().any(|waiter| !waiter.is_gone()));
            if !wanted
                && let Some(flight) = flights.remove(id)
                && newest.get(&flight.digests) == Some(id)
            {
                newest.remove(&flight.digests);
            }
            wanted
        };
        self.known.retain(&mut is_wanted);
        self.unknown.retain(&mut is_wanted);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Flight {
    fn join(&mut self, waiter: Waiter, now: Moment) -> Result<(), Full> {
        let is_full = self.waiters.len() >= MAX_WAITING;
        // Before it grows, and now and then when it may not: those who gave up are still in it.
        if self.waiters.len() == self.waiters.capacity() && !is_full
            || is_full && now.since(self.purged) >= PURGE_EVERY
        {
            self.forget_the_gone(now);
        }
        if self.waiters.len() >= MAX_WAITING {
            return Err(Full);
        }
        self.waiters.push(waiter);
        Ok(())
    }

    fn forget_the_gone(&mut self, now: Moment) {
        self.purged = now;
        self.waiters.retain(|waiter| !waiter.is_gone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Digester;

    const JOINED_FOR: Duration = Duration::from_millis(500);

    fn digests(number: usize) -> Digests {
        Digester::default().digests(&number.to_string())
    }

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    fn push(
        queue: &mut Queue,
        number: usize,
        lane: Lane,
    ) -> Result<oneshot::Receiver<Answer>, Full> {
        queue.push(digests(number), lane, at(0), JOINED_FOR)
    }

    #[test]
    fn a_batch_holds_the_oldest_that_somebody_waits_for_and_each_key_once() {
        let mut queue = Queue::default();
        let kept: Vec<_> =
            (0..300).map(|number| push(&mut queue, number, Lane::Unknown).unwrap()).collect();
        let joined = push(&mut queue, 1, Lane::Unknown).unwrap();
        drop(push(&mut queue, 1000, Lane::Unknown).unwrap());
        let batch = queue.take_batch(at(1));
        assert_eq!((batch.len(), batch[0].1), (MAX_BATCH, digests(0)));
        assert_eq!(queue.land(batch[1].0).waiters.len(), 2);
        assert_eq!(
            queue.take_batch(at(1)).len(),
            300 - MAX_BATCH,
            "the one nobody waits for is not among them"
        );
        assert!(queue.is_empty() && queue.take_batch(at(1)).is_empty());
        drop((kept, joined));
    }

    // E11
    #[test]
    fn a_look_up_that_was_sent_is_joined_for_a_while_and_those_who_come_later_get_one_of_their_own()
    {
        let mut queue = Queue::default();
        let mut waiting = vec![push(&mut queue, 1, Lane::Unknown).unwrap()];
        let sent = queue.take_batch(at(0));
        let mut join = |queue: &mut Queue, millis| {
            waiting.push(queue.push(digests(1), Lane::Unknown, at(millis), JOINED_FOR).unwrap());
        };
        join(&mut queue, 499);
        assert!(queue.is_empty(), "joined");
        join(&mut queue, 500);
        let later = queue.take_batch(at(501));
        assert_eq!(later.len(), 1, "a new one");
        join(&mut queue, 502);
        assert_eq!(queue.land(sent[0].0).waiters.len(), 2);
        join(&mut queue, 503);
        assert_eq!(
            queue.land(later[0].0).waiters.len(),
            3,
            "that the earlier one landed leaves the later one to be joined"
        );
        assert!(queue.flights.is_empty() && queue.newest.is_empty());
    }

    // F13
    #[test]
    fn unknown_keys_take_half_of_the_queue_and_known_ones_go_first() {
        let mut queue = Queue::default();
        let mut kept = Vec::new();
        for number in 0..MAX_UNKNOWN_QUEUED {
            kept.push(push(&mut queue, number, Lane::Unknown).unwrap());
        }
        assert_eq!(push(&mut queue, 5000, Lane::Unknown).unwrap_err(), Full);
        for number in 10_000..10_000 + MAX_QUEUED - MAX_UNKNOWN_QUEUED {
            kept.push(push(&mut queue, number, Lane::Known).unwrap());
        }
        assert_eq!(push(&mut queue, 20_000, Lane::Known).unwrap_err(), Full);
        let batch = queue.take_batch(at(1));
        assert_eq!(batch[0].1, digests(10_000));
        assert_eq!(
            batch[MAX_BATCH - MIN_UNKNOWN_IN_BATCH].1,
            digests(0),
            "the others are not starved"
        );
    }

    // E1
    #[test]
    fn those_who_came_too_late_are_asked_for_again_before_others_of_their_lane() {
        let mut queue = Queue::default();
        let mut kept = vec![push(&mut queue, 1, Lane::Unknown).unwrap()];
        let sent = queue.take_batch(at(0));
        kept.push(push(&mut queue, 2, Lane::Unknown).unwrap());
        let landed = queue.land(sent[0].0);
        queue.again(digests(1), landed.lane, landed.waiters, at(1));
        kept.push(push(&mut queue, 1, Lane::Unknown).unwrap());
        let batch = queue.take_batch(at(2));
        assert_eq!((batch.len(), batch[0].1), (2, digests(1)));
        assert_eq!(queue.land(batch[0].0).waiters.len(), 2);
    }

    // F6
    #[test]
    fn a_full_queue_refuses_until_those_who_gave_up_are_gone() {
        let mut queue = Queue::default();
        let mut kept: Vec<_> =
            (0..MAX_QUEUED).map(|number| push(&mut queue, number, Lane::Known).unwrap()).collect();
        assert_eq!(push(&mut queue, MAX_QUEUED, Lane::Known).unwrap_err(), Full);
        kept.truncate(MAX_QUEUED / 2);
        for number in MAX_QUEUED..MAX_QUEUED * 3 / 2 {
            kept.push(queue.push(digests(number), Lane::Known, at(20), JOINED_FOR).unwrap());
        }
        assert!(push(&mut queue, 0, Lane::Known).is_ok(), "joining takes no place");
        assert_eq!(queue.flights.len(), MAX_QUEUED);
    }

    // F2
    #[test]
    fn those_who_gave_up_waiting_for_one_key_take_no_memory() {
        let mut queue = Queue::default();
        let kept = push(&mut queue, 0, Lane::Known).unwrap();
        for _ in 0..100_000 {
            drop(push(&mut queue, 0, Lane::Known).unwrap());
        }
        assert!(queue.flights[&0].waiters.capacity() < 16);
        let patient: Vec<_> = (0..).map_while(|_| push(&mut queue, 0, Lane::Known).ok()).collect();
        assert!(patient.len() <= MAX_WAITING);
        drop(kept);
    }
}
