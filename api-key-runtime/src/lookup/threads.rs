//! The threads that ask the store: who is at work, who is stuck, who takes the next batch.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use super::{Shared, State, queue::Batch};
use crate::{
    Error, KeyDigest, StoreError,
    circuit_breaker::{Attempt, Call},
    clock::MonotonicTime,
    lock::{wait, wait_timeout},
    log,
    log_throttle::LogThrottle,
    rejection::Reason,
};

/// How long a thread may be at its batch before another one takes the next.
const SPARE_AFTER: Duration = Duration::from_millis(25);
/// Stuck threads that are replaced by new ones; past that the rest of the queue waits for them.
const MAX_ABANDONED: usize = 8;

static NOT_STARTED: LogThrottle<()> = LogThrottle::new();

type ThreadNumber = usize;

#[derive(Default)]
pub(super) struct Threads {
    /// At work on a batch.
    running: HashMap<ThreadNumber, Work>,
    abandoned: Vec<ThreadNumber>,
    started: ThreadNumber,
    /// Waiting, and will look into the queue by themselves soon.
    patient: usize,
}

struct Work {
    since: MonotonicTime,
    call: Call,
}

impl Threads {
    /// Whether what was queued just now will be seen without waking anybody.
    pub(super) fn has_waiting_thread(&self) -> bool {
        self.patient > 0 && !self.running.is_empty()
    }

    /// How long the newest running batch has been under way.
    fn busy_for(&self, now: MonotonicTime) -> Option<Duration> {
        self.running.values().map(|work| now.since(work.since)).min()
    }
}

impl Shared {
    pub(super) fn start_thread(self: &Arc<Self>, state: &mut State) -> Result<(), Error> {
        let number = state.threads.started;
        let shared = Arc::clone(self);
        thread::Builder::new()
            .name(format!("app-key-lookup-{number}"))
            .spawn(move || shared.work(number))
            .map_err(|source| Error::os("cannot start a look-up thread", source))?;
        state.threads.started = number.saturating_add(1);
        Ok(())
    }

    /// A thread's life: batch after batch, until the end or until it was given up.
    fn work(&self, number: ThreadNumber) {
        while let Some((call, batch)) = self.next_batch(number) {
            self.answer(call, batch);
            let mut state = self.lock();
            let threads = &mut state.threads;
            threads.running.remove(&number);
            if let Some(index) = threads.abandoned.iter().position(|&abandoned| abandoned == number)
            {
                threads.abandoned.swap_remove(index);
                return;
            }
        }
    }

    /// Waits until there is work and no other thread is about to take it.
    fn next_batch(&self, number: ThreadNumber) -> Option<(Call, Batch)> {
        let mut state = self.lock();
        loop {
            if state.shut_down {
                return None;
            }
            if state.queue.is_empty() {
                state = wait(&self.wake, state);
                continue;
            }
            let now = MonotonicTime::now();
            if let Some(busy_for) = state.threads.busy_for(now)
                && busy_for < SPARE_AFTER
            {
                state.threads.patient = state.threads.patient.saturating_add(1);
                let left = SPARE_AFTER.saturating_sub(busy_for);
                state = wait_timeout(&self.wake, state, left);
                state.threads.patient = state.threads.patient.saturating_sub(1);
                continue;
            }
            let batch = state.queue.take_batch(now);
            if batch.is_empty() {
                continue;
            }
            let call = self.circuit_breaker.begin(Attempt::Lookup, now);
            let work = Work { since: now, call };
            state.threads.running.insert(number, work);
            return Some((call, batch));
        }
    }

    /// Asks the store, keeps what it says, and answers everyone who waits.
    fn answer(&self, call: Call, batch: Batch) {
        let digests: Vec<KeyDigest> =
            batch.iter().flat_map(|(_, digests)| digests.iter()).collect();
        let began = MonotonicTime::now();
        let stamp = self.cache.stamp(began);
        // A panic in a store is a store that cannot tell; the thread goes on, and no lock is held here.
        let found = catch_unwind(AssertUnwindSafe(|| self.store.find(&digests)))
            .unwrap_or_else(|_| Err(StoreError::new("the store panicked")));
        let now = MonotonicTime::now();
        self.times.count(now.since(began), found.is_ok());
        self.circuit_breaker.end(call, found.as_ref().err(), now);
        match found {
            Ok(records) => {
                let found = self.keep(&batch, records, stamp, now);
                self.hand_out(batch, &found, stamp);
            }
            Err(_) => {
                for (lookup, _) in batch {
                    let finished = self.lock().queue.finish(lookup);
                    for waiter in finished.waiters {
                        waiter.answer(Err(Reason::Unavailable));
                    }
                }
            }
        }
    }

    /// Gives up threads that have been at one batch for longer than this, and starts others, up to a bound.
    pub(super) fn replace_stuck_threads(self: &Arc<Self>, longer_than: Duration) {
        let (replaced, failed) = self.try_to_replace(longer_than);
        if replaced > 0 {
            log::warn!(
                "{replaced} look-ups have been stuck for {longer_than:?}, other threads take their place"
            );
        }
        if let Some(error) = failed
            && NOT_STARTED.should_log(())
        {
            log::error!("{error}");
        }
    }

    fn try_to_replace(self: &Arc<Self>, longer_than: Duration) -> (usize, Option<Error>) {
        let mut state = self.lock();
        let now = MonotonicTime::now();
        let stuck: Vec<(ThreadNumber, Call)> = state
            .threads
            .running
            .iter()
            .filter(|(number, work)| {
                now.since(work.since) > longer_than && !state.threads.abandoned.contains(number)
            })
            .map(|(&number, work)| (number, work.call))
            .collect();
        let mut replaced = 0_usize;
        for (number, call) in stuck {
            if state.shut_down || state.threads.abandoned.len() >= MAX_ABANDONED {
                break;
            }
            if let Err(error) = self.start_thread(&mut state) {
                return (replaced, Some(error));
            }
            self.circuit_breaker.abandon(call);
            state.threads.abandoned.push(number);
            replaced = replaced.saturating_add(1);
        }
        (replaced, None)
    }
}
