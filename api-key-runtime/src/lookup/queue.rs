//! The look-ups that wait for a thread, and who waits for each: plain data, without threads or I/O.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use futures_channel::oneshot;

use super::Answer;
use crate::key::Digests;

/// Look-ups that one query answers.
const MAX_BATCH: usize = 256;
/// Keys that may wait for a thread; past that the answer is 503 at once.
pub(super) const MAX_QUEUED: usize = 1024;
/// Requests that may wait for one key.
const MAX_WAITING: usize = 16_384;
/// How often a full queue is searched for look-ups that nobody waits for any more.
const PURGE_EVERY: Duration = Duration::from_millis(10);

type Waiting = Vec<oneshot::Sender<Answer>>;

/// Look-ups taken together, each with those who wait for it.
pub(super) type Batch = Vec<(Digests, Waiting)>;

/// There is no room: the caller is answered 503.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Default)]
pub(super) struct Queue {
    order: VecDeque<Digests>,
    waiting: HashMap<Digests, Waiting>,
    purged: Option<Instant>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Joins the look-up of this key that is still queued, or queues a new one.
    pub(super) fn push(&mut self, digests: Digests) -> Result<oneshot::Receiver<Answer>, Full> {
        let (sender, receiver) = oneshot::channel();
        if let Some(waiting) = self.waiting.get_mut(&digests) {
            // Before it grows: those who gave up are still in it.
            if waiting.len() == waiting.capacity() {
                waiting.retain(|sender| !sender.is_canceled());
            }
            if waiting.len() >= MAX_WAITING {
                return Err(Full);
            }
            waiting.push(sender);
            return Ok(receiver);
        }
        if self.order.len() >= MAX_QUEUED {
            self.purge(Instant::now());
        }
        if self.order.len() >= MAX_QUEUED {
            return Err(Full);
        }
        self.order.push_back(digests);
        self.waiting.insert(digests, vec![sender]);
        Ok(receiver)
    }

    /// The oldest look-ups that somebody still waits for.
    pub(super) fn take_batch(&mut self) -> Batch {
        let mut batch = Batch::new();
        while batch.len() < MAX_BATCH
            && let Some(digests) = self.order.pop_front()
        {
            let mut waiting = self.waiting.remove(&digests).unwrap_or_default();
            waiting.retain(|sender| !sender.is_canceled());
            if !waiting.is_empty() {
                batch.push((digests, waiting));
            }
        }
        batch
    }

    /// Drops the look-ups that nobody waits for any more. Who waits in a queue that no thread drains gives up after the deadline.
    fn purge(&mut self, now: Instant) {
        if self
            .purged
            .is_some_and(|at| now.saturating_duration_since(at) < PURGE_EVERY)
        {
            return;
        }
        self.purged = Some(now);
        self.waiting
            .retain(|_, waiting| waiting.iter().any(|sender| !sender.is_canceled()));
        self.order
            .retain(|digests| self.waiting.contains_key(digests));
    }

    pub(super) fn clear(&mut self) {
        self.order.clear();
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Digester;

    fn digests(number: usize) -> Digests {
        Digester::default().digests(&number.to_string())
    }

    #[test]
    fn a_batch_holds_the_oldest_that_somebody_waits_for_and_each_key_once() {
        let mut queue = Queue::default();
        let kept: Vec<_> = (0..300)
            .map(|number| queue.push(digests(number)).unwrap())
            .collect();
        let joined = queue.push(digests(1)).unwrap();
        drop(queue.push(digests(1000)).unwrap());
        let batch = queue.take_batch();
        assert_eq!(batch.len(), MAX_BATCH);
        assert_eq!((batch[0].0, batch[1].1.len()), (digests(0), 2));
        assert_eq!(
            queue.take_batch().len(),
            300 - MAX_BATCH,
            "the one nobody waits for is not among them"
        );
        assert!(queue.is_empty() && queue.take_batch().is_empty());
        drop((kept, joined));
    }

    // F6
    #[test]
    fn a_full_queue_refuses_until_those_who_gave_up_are_gone() {
        let mut queue = Queue::default();
        let mut kept: Vec<_> = (0..MAX_QUEUED)
            .map(|number| queue.push(digests(number)).unwrap())
            .collect();
        assert_eq!(queue.push(digests(MAX_QUEUED)).unwrap_err(), Full);
        kept.truncate(MAX_QUEUED / 2);
        std::thread::sleep(PURGE_EVERY);
        for number in MAX_QUEUED..MAX_QUEUED * 3 / 2 {
            kept.push(queue.push(digests(number)).unwrap());
        }
        assert_eq!(
            queue.push(digests(0)).map(drop),
            Ok(()),
            "joining takes no place"
        );
    }

    // F2
    #[test]
    fn those_who_gave_up_waiting_for_one_key_take_no_memory() {
        let mut queue = Queue::default();
        let kept = queue.push(digests(0)).unwrap();
        for _ in 0..100_000 {
            drop(queue.push(digests(0)).unwrap());
        }
        assert!(queue.waiting[&digests(0)].capacity() < 16);
        let patient: Vec<_> = (0..).map_while(|_| queue.push(digests(0)).ok()).collect();
        assert!(patient.len() <= MAX_WAITING);
        drop(kept);
    }
}
