//! The queue of lookups, with the requests that wait for each lookup. The queue is plain data,
//! without threads or I/O.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use futures_channel::oneshot;

use super::Answer;
use crate::{clock::MonotonicTime, key::Digests};

/// The maximum number of lookups that one query answers.
const MAX_BATCH: usize = 256;
/// The number of lookups in a batch that are reserved for unknown keys, if unknown keys wait.
const MIN_UNKNOWN_IN_BATCH: usize = MAX_BATCH / 4;
/// The number of keys that may wait for a thread. If the queue is full, the lookup of a further key
/// fails at once.
const MAX_QUEUED: usize = 1024;
/// The number of unknown keys that may wait. This limit is lower than [`MAX_QUEUED`], because
/// anyone can make up unknown keys.
const MAX_UNKNOWN_QUEUED: usize = MAX_QUEUED / 2;
/// The number of requests that may wait for one key.
const MAX_WAITING: usize = 16_384;
/// The minimum interval between searches of a full queue for requests that no longer wait.
const PURGE_EVERY: Duration = Duration::from_millis(10);

/// The priority of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Keys that were in the store at their last lookup, whether they were accepted or not.
    Known,
    /// All other keys.
    Unknown,
}

/// A waiting request, and the time when its wait began.
#[derive(Debug)]
pub(super) struct Waiter {
    sender: oneshot::Sender<Answer>,
    pub(super) since: MonotonicTime,
}

impl Waiter {
    /// Sends the answer, unless the request no longer waits.
    pub(super) fn answer(self, answer: Answer) {
        let _ = self.sender.send(answer);
    }

    fn is_gone(&self) -> bool {
        self.sender.is_canceled()
    }
}

/// A lookup of one key. It begins when the key is queued and ends when its requests are answered.
#[derive(Debug)]
struct Lookup {
    digests: Digests,
    priority: Priority,
    waiters: Vec<Waiter>,
    /// The time when the query was sent.
    sent: Option<MonotonicTime>,
    purged: MonotonicTime,
}

/// A finished lookup: its priority, and the requests that wait for it.
pub(super) struct Finished {
    pub(super) priority: Priority,
    pub(super) waiters: Vec<Waiter>,
}

pub(super) type LookupId = u64;

/// The lookups that one query answers.
pub(super) type Batch = Vec<(LookupId, Digests)>;

/// The error if the queue is full, or if too many requests wait for one key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug, Default)]
pub(super) struct Queue {
    lookups: HashMap<LookupId, Lookup>,
    next: LookupId,
    /// The newest lookup of each key.
    newest: HashMap<Digests, LookupId>,
    known: VecDeque<LookupId>,
    unknown: VecDeque<LookupId>,
    purged: MonotonicTime,
}

impl Queue {
    /// Returns the number of lookups that wait or are running.
    pub(super) fn len(&self) -> usize {
        self.lookups.len()
    }

    /// Returns whether no lookup waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.unknown.is_empty()
    }

    /// Joins a lookup of this key that is queued or was sent within the last `joined_for`. If there
    /// is no such lookup, queues a new lookup.
    pub(super) fn push(
        &mut self,
        digests: Digests,
        priority: Priority,
        now: MonotonicTime,
        joined_for: Duration,
    ) -> Result<oneshot::Receiver<Answer>, Full> {
        let (sender, receiver) = oneshot::channel();
        let waiter = Waiter { sender, since: now };
        if let Some(lookup) = self.joinable(&digests, now, joined_for) {
            lookup.join(waiter, now)?;
            return Ok(receiver);
        }
        if self.is_full(priority) {
            self.purge(now);
        }
        if self.is_full(priority) {
            return Err(Full);
        }
        let id = self.begin(digests, priority, vec![waiter], now);
        self.priority(priority).push_back(id);
        Ok(receiver)
    }

    fn joinable(
        &mut self,
        digests: &Digests,
        now: MonotonicTime,
        joined_for: Duration,
    ) -> Option<&mut Lookup> {
        let lookup = self.lookups.get_mut(self.newest.get(digests)?)?;
        let is_joinable = lookup.sent.is_none_or(|sent| now.since(sent) < joined_for);
        is_joinable.then_some(lookup)
    }

    fn begin(
        &mut self,
        digests: Digests,
        priority: Priority,
        waiters: Vec<Waiter>,
        now: MonotonicTime,
    ) -> LookupId {
        let id = self.next;
        self.next = id.wrapping_add(1);
        self.newest.insert(digests, id);
        let lookup = Lookup { digests, priority, waiters, sent: None, purged: now };
        self.lookups.insert(id, lookup);
        id
    }

    fn priority(&mut self, priority: Priority) -> &mut VecDeque<LookupId> {
        match priority {
            Priority::Known => &mut self.known,
            Priority::Unknown => &mut self.unknown,
        }
    }

    fn is_full(&self, priority: Priority) -> bool {
        let unknown = self.unknown.len();
        self.known.len().saturating_add(unknown) >= MAX_QUEUED
            || priority == Priority::Unknown && unknown >= MAX_UNKNOWN_QUEUED
    }

    /// Takes the next batch, known keys first. For each priority, takes the oldest lookups that
    /// requests still wait for.
    pub(super) fn take_batch(&mut self, now: MonotonicTime) -> Batch {
        let mut batch = Batch::new();
        let reserved = self.unknown.len().min(MIN_UNKNOWN_IN_BATCH);
        self.take(Priority::Known, MAX_BATCH.saturating_sub(reserved), now, &mut batch);
        self.take(Priority::Unknown, MAX_BATCH, now, &mut batch);
        batch
    }

    fn take(&mut self, priority: Priority, until: usize, now: MonotonicTime, batch: &mut Batch) {
        while batch.len() < until
            && let Some(id) = self.priority(priority).pop_front()
        {
            let Some(lookup) = self.lookups.get_mut(&id) else {
                continue;
            };
            lookup.drop_cancelled(now);
            if lookup.waiters.is_empty() {
                self.finish(id);
                continue;
            }
            lookup.sent = Some(now);
            batch.push((id, lookup.digests));
        }
    }

    /// Removes a finished lookup, and returns the requests that wait for it.
    pub(super) fn finish(&mut self, id: LookupId) -> Finished {
        let Some(lookup) = self.lookups.remove(&id) else {
            return Finished { priority: Priority::Unknown, waiters: Vec::new() };
        };
        if self.newest.get(&lookup.digests) == Some(&id) {
            self.newest.remove(&lookup.digests);
        }
        Finished { priority: lookup.priority, waiters: lookup.waiters }
    }

    /// Queues a key again, because the waiters joined the finished lookup too late to use its
    /// result. The key goes to the front of its priority, unless it is already queued.
    pub(super) fn requeue(
        &mut self,
        digests: Digests,
        priority: Priority,
        waiters: Vec<Waiter>,
        now: MonotonicTime,
    ) {
        if let Some(lookup) = self.joinable(&digests, now, Duration::ZERO) {
            lookup.waiters.extend(waiters);
            return;
        }
        let id = self.begin(digests, priority, waiters, now);
        self.priority(priority).push_front(id);
    }

    /// Drops the queued lookups that no request waits for any longer. Such lookups remain if no
    /// thread takes them before the deadline of their requests.
    fn purge(&mut self, now: MonotonicTime) {
        if now.since(self.purged) < PURGE_EVERY {
            return;
        }
        self.purged = now;
        let lookups = &mut self.lookups;
        let newest = &mut self.newest;
        let mut is_wanted = |id: &LookupId| {
            let wanted = lookups
                .get(id)
                .is_some_and(|lookup| lookup.waiters.iter().any(|waiter| !waiter.is_gone()));
            if !wanted
                && let Some(lookup) = lookups.remove(id)
                && newest.get(&lookup.digests) == Some(id)
            {
                newest.remove(&lookup.digests);
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

impl Lookup {
    fn join(&mut self, waiter: Waiter, now: MonotonicTime) -> Result<(), Full> {
        let is_full = self.waiters.len() >= MAX_WAITING;
        // Removes requests that gave up, before the list grows and at intervals while the list is
        // full.
        if self.waiters.len() == self.waiters.capacity() && !is_full
            || is_full && now.since(self.purged) >= PURGE_EVERY
        {
            self.drop_cancelled(now);
        }
        if self.waiters.len() >= MAX_WAITING {
            return Err(Full);
        }
        self.waiters.push(waiter);
        Ok(())
    }

    fn drop_cancelled(&mut self, now: MonotonicTime) {
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

    fn at(millis: u64) -> MonotonicTime {
        MonotonicTime::from_nanos(millis * 1_000_000)
    }

    fn push(
        queue: &mut Queue,
        number: usize,
        priority: Priority,
    ) -> Result<oneshot::Receiver<Answer>, Full> {
        queue.push(digests(number), priority, at(0), JOINED_FOR)
    }

    #[test]
    fn a_batch_holds_the_oldest_awaited_keys_once_each() {
        let mut queue = Queue::default();
        let kept: Vec<_> =
            (0..300).map(|number| push(&mut queue, number, Priority::Unknown).unwrap()).collect();
        let joined = push(&mut queue, 1, Priority::Unknown).unwrap();
        drop(push(&mut queue, 1000, Priority::Unknown).unwrap());
        let batch = queue.take_batch(at(1));
        assert_eq!((batch.len(), batch[0].1), (MAX_BATCH, digests(0)));
        assert_eq!(queue.finish(batch[1].0).waiters.len(), 2);
        assert_eq!(
            queue.take_batch(at(1)).len(),
            300 - MAX_BATCH,
            "a lookup without waiting requests is not sent"
        );
        assert!(queue.is_empty() && queue.take_batch(at(1)).is_empty());
        drop((kept, joined));
    }

    // E11
    // A later request begins a new lookup.
    #[test]
    fn a_sent_lookup_is_joined_only_for_a_while() {
        let mut queue = Queue::default();
        let mut waiting = vec![push(&mut queue, 1, Priority::Unknown).unwrap()];
        let sent = queue.take_batch(at(0));
        let mut join = |queue: &mut Queue, millis| {
            waiting
                .push(queue.push(digests(1), Priority::Unknown, at(millis), JOINED_FOR).unwrap());
        };
        join(&mut queue, 499);
        assert!(queue.is_empty(), "joined");
        join(&mut queue, 500);
        let later = queue.take_batch(at(501));
        assert_eq!(later.len(), 1, "a new lookup");
        join(&mut queue, 502);
        assert_eq!(queue.finish(sent[0].0).waiters.len(), 2);
        join(&mut queue, 503);
        assert_eq!(
            queue.finish(later[0].0).waiters.len(),
            3,
            "the later lookup can be joined after the earlier one finished"
        );
        assert!(queue.lookups.is_empty() && queue.newest.is_empty());
    }

    // F13
    #[test]
    fn unknown_keys_take_half_of_the_queue_and_known_ones_go_first() {
        let mut queue = Queue::default();
        let mut kept = Vec::new();
        for number in 0..MAX_UNKNOWN_QUEUED {
            kept.push(push(&mut queue, number, Priority::Unknown).unwrap());
        }
        assert_eq!(push(&mut queue, 5000, Priority::Unknown).unwrap_err(), Full);
        for number in 10_000..10_000 + MAX_QUEUED - MAX_UNKNOWN_QUEUED {
            kept.push(push(&mut queue, number, Priority::Known).unwrap());
        }
        assert_eq!(push(&mut queue, 20_000, Priority::Known).unwrap_err(), Full);
        let batch = queue.take_batch(at(1));
        assert_eq!(batch[0].1, digests(10_000));
        assert_eq!(
            batch[MAX_BATCH - MIN_UNKNOWN_IN_BATCH].1,
            digests(0),
            "unknown keys are not starved"
        );
    }

    // E1
    // Keys of requests that joined too late are looked up again before other keys of the same
    // priority.
    #[test]
    fn requeued_lookups_come_first_in_their_priority() {
        let mut queue = Queue::default();
        let mut kept = vec![push(&mut queue, 1, Priority::Unknown).unwrap()];
        let sent = queue.take_batch(at(0));
        kept.push(push(&mut queue, 2, Priority::Unknown).unwrap());
        let finished = queue.finish(sent[0].0);
        queue.requeue(digests(1), finished.priority, finished.waiters, at(1));
        kept.push(push(&mut queue, 1, Priority::Unknown).unwrap());
        let batch = queue.take_batch(at(2));
        assert_eq!((batch.len(), batch[0].1), (2, digests(1)));
        assert_eq!(queue.finish(batch[0].0).waiters.len(), 2);
    }

    // F6
    #[test]
    fn a_full_queue_rejects_until_dropped_requests_are_removed() {
        let mut queue = Queue::default();
        let mut kept: Vec<_> = (0..MAX_QUEUED)
            .map(|number| push(&mut queue, number, Priority::Known).unwrap())
            .collect();
        assert_eq!(push(&mut queue, MAX_QUEUED, Priority::Known).unwrap_err(), Full);
        kept.truncate(MAX_QUEUED / 2);
        for number in MAX_QUEUED..MAX_QUEUED * 3 / 2 {
            kept.push(queue.push(digests(number), Priority::Known, at(20), JOINED_FOR).unwrap());
        }
        assert!(push(&mut queue, 0, Priority::Known).is_ok(), "joining a lookup takes no place");
        assert_eq!(queue.lookups.len(), MAX_QUEUED);
    }

    // F2
    #[test]
    fn dropped_requests_for_one_key_take_no_memory() {
        let mut queue = Queue::default();
        let kept = push(&mut queue, 0, Priority::Known).unwrap();
        for _ in 0..100_000 {
            drop(push(&mut queue, 0, Priority::Known).unwrap());
        }
        assert!(queue.lookups[&0].waiters.capacity() < 16);
        let too_many: Vec<_> =
            (0..).map_while(|_| push(&mut queue, 0, Priority::Known).ok()).collect();
        assert!(too_many.len() <= MAX_WAITING);
        drop(kept);
    }
}
