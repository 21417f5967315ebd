//! The threads that write uses: one that waits until it is time, and one for each write, so that a stuck one stops nothing.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    KeyUsage,
    usage_buffer::{MAX_KEYS, UsageBuffer},
};
use crate::{
    Error, KeyStore, StoreError,
    cache::CachedKey,
    clock::{Clock, MonotonicTime, to_stored},
    lock::{lock, wait_timeout_while},
    log,
};

/// Keys that one call of the store writes: many to a statement, and few enough to hold their rows for some milliseconds only.
const MAX_BATCH: usize = 500;
/// Keys that are worth writing before their time.
const MANY: usize = MAX_KEYS / 2;
/// Writes that may be stuck at the same time; past that uses are kept, up to their bound, until one of them returns.
const MAX_ABANDONED: usize = 4;

pub(super) struct Writer {
    store: Arc<dyn KeyStore>,
    clock: Clock,
    interval: Duration,
    /// How long a write is waited for.
    stuck_after: Duration,
    /// Keys that were used since the last write, each once. They are held here whatever becomes of them in a cache.
    used: Mutex<Vec<Arc<CachedKey>>>,
    /// Uses that were lost because too many keys waited.
    lost: AtomicU64,
    state: Mutex<State>,
    /// Signalled when a write is asked for and when one is over.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What could not be written yet.
    kept: UsageBuffer,
    /// So that an outage is logged when it begins and ends, not every few seconds.
    failing: bool,
    /// How many lost ones the log was told of.
    told: u64,
    /// The last flush that was asked for.
    asked: Ticket,
    /// The last flush that is over.
    done: Ticket,
    /// Whether nothing was left to write when that one was over.
    clean: bool,
    /// Nobody notes uses any more: the next write is the last one.
    shut_down: bool,
    /// The last write that was begun.
    begun: WriteNumber,
    /// The write that is waited for, if one is.
    waited_for: Option<WriteNumber>,
    /// What it is to write, until its thread takes it.
    handed_over: Vec<KeyUsage>,
    /// Why it failed, once it has.
    failure: Option<StoreError>,
    /// Writes that are no longer waited for. What they write is written once, and what they cannot is kept when they return.
    abandoned: usize,
}

/// How it went to write everything there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// All is written.
    Clean,
    /// Some of it could not be, and is kept.
    Failed,
    /// It was not over in time.
    Late,
}

type Ticket = u64;
type WriteNumber = u64;

/// What there is to write when it is time to.
struct Due {
    uses: Vec<KeyUsage>,
    /// Up to which flush was asked for by then.
    ticket: Ticket,
    is_last: bool,
}

impl Writer {
    pub(super) fn start(
        store: Arc<dyn KeyStore>,
        clock: Clock,
        interval: Duration,
        stuck_after: Duration,
    ) -> Result<(Arc<Self>, JoinHandle<()>), Error> {
        let writer = Arc::new(Self {
            store,
            clock,
            interval,
            stuck_after,
            used: Mutex::default(),
            lost: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let shared = Arc::clone(&writer);
        let thread = thread::Builder::new()
            .name("app-key-usage".to_owned())
            .spawn(move || shared.work())
            .map_err(|source| Error::os("cannot start the usage thread", source))?;
        Ok((writer, thread))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn used(&self) -> MutexGuard<'_, Vec<Arc<CachedKey>>> {
        lock(&self.used)
    }

    /// Puts a key on the list of those to write, for its first use since it was written.
    pub(super) fn enlist(&self, key: &Arc<CachedKey>) {
        let mut used = self.used();
        let waiting = used.len();
        if waiting < MAX_KEYS {
            used.push(Arc::clone(key));
            drop(used);
        } else {
            drop(used);
            // Emptied, so that the key's next use is its first again and finds room, should there be some by then.
            let lost = key.usage.take().map_or(0, |taken| taken.count);
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
        if waiting == MANY {
            self.ask(false);
        }
    }

    /// Flushes that were asked for.
    #[cfg(test)]
    pub(super) fn asked(&self) -> u64 {
        self.lock().asked
    }

    /// Uses that were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn ask(&self, for_the_last_time: bool) -> Ticket {
        let mut state = self.lock();
        state.asked = state.asked.saturating_add(1);
        state.shut_down |= for_the_last_time;
        let ticket = state.asked;
        drop(state);
        self.changed.notify_all();
        ticket
    }

    /// Has everything written that was noted so far. After the last time the thread ends.
    pub(super) fn flush(&self, within: Duration, for_the_last_time: bool) -> Flush {
        let ticket = self.ask(for_the_last_time);
        let state =
            wait_timeout_while(&self.changed, self.lock(), within, |state| state.done < ticket);
        if state.done < ticket {
            Flush::Late
        } else if state.clean {
            Flush::Clean
        } else {
            Flush::Failed
        }
    }

    fn work(self: &Arc<Self>) {
        loop {
            let due = self.wait_until_due();
            if !due.uses.is_empty() {
                let outcome = self.write(due.uses);
                self.log(outcome);
            }
            let mut state = self.lock();
            state.done = due.ticket;
            // In one piece with that: who wakes later may find that the next write has taken what is kept.
            state.clean = state.kept.is_empty() && state.abandoned == 0;
            drop(state);
            self.changed.notify_all();
            if due.is_last {
                return;
            }
        }
    }

    /// Waits until it is time to write, and takes what there is to be written.
    fn wait_until_due(&self) -> Due {
        let mut state = wait_timeout_while(&self.changed, self.lock(), self.interval, |state| {
            state.asked == state.done
        });
        let mut uses = mem::take(&mut state.kept);
        let (ticket, is_last) = (state.asked, state.shut_down);
        drop(state);
        self.take_used(&mut uses);
        Due { uses: uses.into_ordered(), ticket, is_last }
    }

    /// Adds what the keys on the list were used for.
    fn take_used(&self, uses: &mut UsageBuffer) {
        let keys = mem::take(&mut *self.used());
        let (now, moment) = (self.clock.now(), MonotonicTime::now());
        for key in keys {
            if let Some(taken) = key.usage.take() {
                let at = to_stored(before(now, moment.since(taken.last)));
                self.keep(uses, KeyUsage::new(key.id, at, taken.address, taken.count));
            }
        }
    }

    fn keep(&self, uses: &mut UsageBuffer, more: KeyUsage) {
        self.lost.fetch_add(uses.add(more), Ordering::Relaxed);
    }

    fn keep_all(&self, state: &mut State, uses: Vec<KeyUsage>) {
        for more in uses {
            self.keep(&mut state.kept, more);
        }
    }

    /// Writes uses on a thread of their own and waits for it, but not for ever: a store may hang on a connection that died unnoticed.
    fn write(self: &Arc<Self>, uses: Vec<KeyUsage>) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.abandoned >= MAX_ABANDONED {
            self.keep_all(&mut state, uses);
            return Err(StoreError::new("the writes before it are stuck"));
        }
        state.begun = state.begun.wrapping_add(1);
        let number = state.begun;
        state.waited_for = Some(number);
        state.handed_over = uses;
        drop(state);
        let writer = Arc::clone(self);
        let started = thread::Builder::new()
            .name("app-key-usage-w".to_owned())
            .spawn(move || writer.write_and_report(number));
        let mut state = self.lock();
        let thread = match started {
            Ok(thread) => thread,
            Err(error) => {
                state.waited_for = None;
                let uses = mem::take(&mut state.handed_over);
                self.keep_all(&mut state, uses);
                return Err(StoreError::new(error));
            }
        };
        let is_under_way = |state: &mut State| state.waited_for == Some(number);
        state = wait_timeout_while(&self.changed, state, self.stuck_after, is_under_way);
        if is_under_way(&mut state) {
            state.waited_for = None;
            state.abandoned = state.abandoned.saturating_add(1);
            let not_begun = mem::take(&mut state.handed_over);
            self.keep_all(&mut state, not_begun);
            let patience = self.stuck_after;
            return Err(StoreError::new(format!("no answer within {patience:?}")));
        }
        let failure = state.failure.take();
        drop(state);
        // It has nothing left to do but to let go of the store.
        let _ = thread.join();
        failure.map_or(Ok(()), Err)
    }

    fn write_and_report(&self, number: WriteNumber) {
        let mut state = self.lock();
        if state.waited_for == Some(number) {
            let uses = mem::take(&mut state.handed_over);
            drop(state);
            let (kept, failure) = self.write_in_batches(uses);
            state = self.lock();
            self.keep_all(&mut state, kept);
            if state.waited_for == Some(number) {
                state.waited_for = None;
                state.failure = failure;
                drop(state);
                self.changed.notify_all();
                return;
            }
        }
        state.abandoned = state.abandoned.saturating_sub(1);
    }

    /// What could not be written, and why. One batch that fails keeps no other; a second one is reason enough to stop.
    fn write_in_batches(&self, mut uses: Vec<KeyUsage>) -> (Vec<KeyUsage>, Option<StoreError>) {
        let mut kept = Vec::new();
        let mut failure = None;
        while !uses.is_empty() {
            let rest = uses.split_off(MAX_BATCH.min(uses.len()));
            let batch = mem::replace(&mut uses, rest);
            // A panic in a store is a store that cannot write; no lock is held here.
            let written = catch_unwind(AssertUnwindSafe(|| self.store.record_usage(&batch)))
                .unwrap_or_else(|_| Err(StoreError::new("the store panicked")));
            if let Err(error) = written {
                kept.extend(batch);
                if failure.is_some() {
                    kept.append(&mut uses);
                }
                failure = Some(error);
            }
        }
        (kept, failure)
    }

    fn log(&self, outcome: Result<(), StoreError>) {
        let mut state = self.lock();
        let was_failing = mem::replace(&mut state.failing, outcome.is_err());
        let lost = if outcome.is_ok() {
            let so_far = self.lost();
            so_far.saturating_sub(mem::replace(&mut state.told, so_far))
        } else {
            0
        };
        drop(state);
        match outcome {
            Err(error) if !was_failing => log::error!(
                "uses of keys cannot be recorded; those of up to {MAX_KEYS} keys are kept until they can be again: {error}"
            ),
            Err(error) => log::debug!("uses of keys still cannot be recorded: {error}"),
            Ok(()) if was_failing => log::info!("uses of keys can be recorded again"),
            Ok(()) => {}
        }
        if lost > 0 {
            log::warn!(
                "{lost} uses of keys were lost: those of more than {MAX_KEYS} keys waited to be recorded"
            );
        }
    }
}

/// The time of day that it was when a monotonic time stood this much lower.
fn before(now: DateTime<Utc>, ago: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(ago).ok().and_then(|ago| now.checked_sub_signed(ago)).unwrap_or(now)
}
