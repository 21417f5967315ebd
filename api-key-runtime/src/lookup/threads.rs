//! The threads that call the store. This module decides which thread takes the next batch, and
//! which thread is replaced because its call hangs.

use std::{sync::Arc, time::Duration};

use super::{Shared, queue::Batch};
use crate::{
    circuit_breaker::{Attempt, Call},
    clock::MonotonicTime,
    error::Error,
    key::KeyDigest,
    lock::{wait, wait_timeout},
    log,
    rejection::Reason,
    watchdog::{CallTicket, Limits, Watchdog, call_store},
};

/// How long a batch may take before another thread takes the next batch.
const SPARE_AFTER: Duration = Duration::from_millis(25);
/// The maximum number of hung threads that are replaced. If all other threads hang too, lookups
/// stay queued until one of the threads returns.
const MAX_ABANDONED: usize = 8;
/// The minimum timeout of a batch. It applies even if the timeout of requests is shorter.
const MIN_BATCH_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Threads {
    /// The running batches, each with its call to the store.
    pub(super) batches: Watchdog<Call>,
    pub(super) started: usize,
    /// The number of threads that wait with a timeout. Each of them will check the queue soon.
    waiting: usize,
}

impl Threads {
    /// Creates the state without threads. A batch has the same timeout as a request, but at least
    /// [`MIN_BATCH_TIMEOUT`].
    pub(super) fn new(lookup_timeout: Duration) -> Self {
        let timeout = lookup_timeout.max(MIN_BATCH_TIMEOUT);
        let limits = Limits { timeout, longest_timeout: timeout, max_abandoned: MAX_ABANDONED };
        Self { batches: Watchdog::new(limits), started: 0, waiting: 0 }
    }

    /// Returns whether a thread will find a new lookup without being woken.
    pub(super) fn has_waiting_thread(&self) -> bool {
        self.waiting > 0 && !self.batches.is_idle()
    }
}

impl Shared {
    /// Starts a thread and counts it.
    pub(super) fn start_thread(self: &Arc<Self>, started: &mut usize) -> Result<(), Error> {
        let shared = Arc::clone(self);
        self.workers
            .spawn(format!("app-key-lookup-{started}"), move || shared.work())
            .map_err(|source| Error::os("cannot start a lookup thread", source))?;
        *started = started.saturating_add(1);
        Ok(())
    }

    /// Looks up one batch after another, until shut-down or until this thread is replaced.
    fn work(&self) {
        while let Some((ticket, call, batch)) = self.next_batch() {
            self.answer(call, batch);
            if self.lock().threads.batches.finish(ticket).is_none() {
                return;
            }
        }
    }

    /// Waits until the queue has lookups and no running batch is younger than [`SPARE_AFTER`].
    fn next_batch(&self) -> Option<(CallTicket, Call, Batch)> {
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
            if let Some(busy_for) = state.threads.batches.newest(now)
                && busy_for < SPARE_AFTER
            {
                state.threads.waiting = state.threads.waiting.saturating_add(1);
                let left = SPARE_AFTER.saturating_sub(busy_for);
                state = wait_timeout(&self.wake, state, left);
                state.threads.waiting = state.threads.waiting.saturating_sub(1);
                continue;
            }
            let batch = state.queue.take_batch(now);
            if batch.is_empty() {
                continue;
            }
            let call = self.circuit_breaker.begin(Attempt::Lookup, now);
            let ticket = state.threads.batches.begin(now, Duration::ZERO, call);
            return Some((ticket, call, batch));
        }
    }

    /// Calls the store, caches the result, and answers the waiting requests.
    fn answer(&self, call: Call, batch: Batch) {
        let digests: Vec<KeyDigest> =
            batch.iter().flat_map(|(_, digests)| digests.iter()).collect();
        let began = MonotonicTime::now();
        let stamp = self.cache.stamp(began);
        let found = call_store(|| self.store.find(&digests));
        let now = MonotonicTime::now();
        self.times.count(now.since(began), found.is_ok());
        self.circuit_breaker.end(call, found.as_ref().err(), now);
        match found {
            Ok(records) => {
                let found = self.keep(&batch, records, stamp, now);
                self.deliver(batch, &found, stamp);
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

    /// Abandons hung batches and replaces their threads, up to [`MAX_ABANDONED`].
    pub(super) fn replace_hung_threads(self: &Arc<Self>) -> Result<(), Error> {
        let mut state = self.lock();
        if state.shut_down {
            return Ok(());
        }
        let Threads { batches, started, .. } = &mut state.threads;
        let (hung, result) =
            batches.replace_hung(MonotonicTime::now(), || self.start_thread(started));
        drop(state);
        for call in &hung {
            self.circuit_breaker.abandon(call.kept, MonotonicTime::now());
        }
        if let Some(longest) = hung.iter().map(|call| call.hung_for).max() {
            log::warn!(
                "{} lookup threads were replaced: their calls to the key store have been hanging \
                 for up to {} ms; check the database",
                hung.len(),
                longest.as_millis()
            );
        }
        result
    }
}
