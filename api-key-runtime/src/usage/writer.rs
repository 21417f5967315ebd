//! The thread that writes uses when it is time to, and is replaced when it hangs.

use std::{
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Counted,
    usage_buffer::{MAX_KEYS, UsageBuffer},
};
use crate::{
    clock::{Clock, MonotonicTime, to_stored},
    error::Error,
    key_usage::KeyUsage,
    lock::{lock, wait_timeout_while},
    log,
    outage_log::OutageLog,
    store::{KeyStore, StoreError},
    watchdog::{Limits, Watchdog, call_store},
    workers::Workers,
};

/// Keys that one call of the store writes: many to a statement, and few enough to hold their rows
/// for some milliseconds only.
const MAX_BATCH: usize = 500;
/// Keys that are worth writing before their time.
const MANY: usize = MAX_KEYS / 2;
/// Hung threads that are replaced; beyond that uses are kept, up to their bound, until one of them
/// returns.
const MAX_ABANDONED: usize = 4;

pub(crate) struct Writer {
    store: Arc<dyn KeyStore>,
    clock: Clock,
    interval: Duration,
    workers: Workers,
    /// Keys that were used since the last write, each once.
    used: Mutex<Vec<Arc<dyn Counted>>>,
    /// Uses that were lost because too many keys waited.
    lost: AtomicU64,
    state: Mutex<State>,
    /// Signalled when a write is asked for and when one is over.
    changed: Condvar,
    outage: OutageLog,
}

struct State {
    /// What could not be written yet.
    kept: UsageBuffer,
    /// How many lost counts the log has reported.
    reported: u64,
    /// The last flush that was asked for.
    asked: Ticket,
    /// The last flush that is over.
    done: Ticket,
    /// Whether nothing was left to write when that one was over.
    clean: bool,
    /// Nobody notes uses any more: the next write is the last one.
    shut_down: bool,
    /// That write is over, and so is the thread.
    is_over: bool,
    /// The write that is under way, with the flush it is for. An abandoned write keeps its uses:
    /// they are written once, and those that cannot be written are kept when it returns.
    writes: Watchdog<Ticket>,
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
        timeout: Duration,
        workers: Workers,
    ) -> Result<Arc<Self>, Error> {
        let limits = Limits { timeout, longest_timeout: timeout, max_abandoned: MAX_ABANDONED };
        let writer = Arc::new(Self {
            store,
            clock,
            interval,
            workers,
            used: Mutex::default(),
            lost: AtomicU64::new(0),
            state: Mutex::new(State {
                kept: UsageBuffer::default(),
                reported: 0,
                asked: 0,
                done: 0,
                clean: false,
                shut_down: false,
                is_over: false,
                writes: Watchdog::new(limits),
            }),
            changed: Condvar::new(),
            outage: OutageLog::new("recording uses of keys"),
        });
        writer.start_thread()?;
        Ok(writer)
    }

    fn start_thread(self: &Arc<Self>) -> Result<(), Error> {
        let shared = Arc::clone(self);
        self.workers
            .spawn("app-key-usage", move || shared.work())
            .map_err(|source| Error::os("cannot start the usage thread", source))
    }

    /// Starts another thread in place of one that hangs, up to a limit.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn replace_hung_thread(self: &Arc<Self>) -> Result<(), Error> {
        let now = MonotonicTime::now();
        let mut state = self.lock();
        let (hung, result) = state.writes.replace_hung(now, || self.start_thread());
        for write in &hung {
            state.done = write.kept;
            state.clean = false;
        }
        drop(state);
        for write in hung {
            self.changed.notify_all();
            let error = StoreError::new(format!("no answer within {:?}", write.hung_for));
            self.log(Err(error));
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn used(&self) -> MutexGuard<'_, Vec<Arc<dyn Counted>>> {
        lock(&self.used)
    }

    /// Puts a key on the list of those to write, for its first use since it was written.
    pub(super) fn enlist(&self, key: Arc<dyn Counted>) {
        let mut used = self.used();
        let waiting = used.len();
        if waiting < MAX_KEYS {
            used.push(key);
            drop(used);
        } else {
            drop(used);
            // Emptied, so that the key's next use is its first again and finds room, should there
            // be some by then.
            let lost = key.usage().take().map_or(0, |taken| taken.count);
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

    /// Has everything written that was noted so far. After the last time the thread ends, and
    /// nothing is written any more.
    pub(super) fn flush(&self, within: Duration, for_the_last_time: bool) -> Flush {
        let ticket = self.ask(for_the_last_time);
        let state = wait_timeout_while(&self.changed, self.lock(), within, |state| {
            state.done < ticket && !state.is_over
        });
        if state.is_over {
            let is_clean = state.clean && self.used().is_empty();
            if is_clean { Flush::Clean } else { Flush::Failed }
        } else if state.done < ticket {
            Flush::Late
        } else if state.clean {
            Flush::Clean
        } else {
            Flush::Failed
        }
    }

    /// Writes when it is time to, until the end or until the thread was replaced.
    fn work(&self) {
        loop {
            let due = self.wait_until_due();
            if !due.uses.is_empty() && !self.write(due.uses, due.ticket) {
                return;
            }
            let mut state = self.lock();
            state.done = due.ticket;
            // In one piece with that: who wakes later may find that the next write has taken what
            // is kept.
            state.clean = state.kept.is_empty() && state.writes.abandoned() == 0;
            state.is_over = due.is_last;
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
            if let Some(taken) = key.usage().take() {
                let at = to_stored(before(now, moment.since(taken.last)));
                self.keep(uses, KeyUsage::new(key.id(), at, taken.address, taken.count));
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

    /// Writes uses in batches, and keeps what cannot be written. Returns `false` if another thread
    /// took over.
    ///
    /// One batch that fails keeps no other from being written; after a second one the rest is kept.
    fn write(&self, mut uses: Vec<KeyUsage>, flush: Ticket) -> bool {
        let mut outcome = Ok(());
        while !uses.is_empty() {
            let rest = uses.split_off(MAX_BATCH.min(uses.len()));
            let batch = mem::replace(&mut uses, rest);
            let call = self.lock().writes.begin(MonotonicTime::now(), Duration::ZERO, flush);
            let written = call_store(|| self.store.record_usage(&batch));
            let mut state = self.lock();
            let is_current = state.writes.finish(call).is_some();
            if let Err(error) = written {
                self.keep_all(&mut state, batch);
                if outcome.is_err() {
                    self.keep_all(&mut state, mem::take(&mut uses));
                }
                outcome = Err(error);
            }
            if !is_current {
                self.keep_all(&mut state, uses);
                return false;
            }
        }
        self.log(outcome);
        true
    }

    fn log(&self, outcome: Result<(), StoreError>) {
        let now = MonotonicTime::now();
        if let Err(error) = outcome {
            self.outage.failure(
                now,
                &error,
                format_args!(
                    "uses of keys cannot be recorded; those of up to {MAX_KEYS} keys are kept until they can be again"
                ),
            );
            return;
        }
        self.outage.success(now, |_| "uses of keys can be recorded again".to_owned());
        let so_far = self.lost();
        let lost = so_far.saturating_sub(mem::replace(&mut self.lock().reported, so_far));
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
