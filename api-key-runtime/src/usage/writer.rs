//! The thread that writes key usage at intervals. If the thread hangs, another thread replaces it.

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
    expiring::ExpiringKeys,
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

/// The maximum number of keys in one call to the store. A statement for this many keys is
/// efficient, and locks their rows for only a few milliseconds.
const MAX_BATCH: usize = 500;
/// The number of used keys at which a write starts before the interval ends.
const MANY: usize = MAX_KEYS / 2;
/// The maximum number of hung threads that are replaced. If one more thread hangs, usage is kept
/// for up to [`MAX_KEYS`] keys until a hung thread returns.
const MAX_ABANDONED: usize = 4;

pub(crate) struct Writer {
    store: Arc<dyn KeyStore>,
    clock: Clock,
    interval: Duration,
    workers: Workers,
    /// The keys that were used since the last write. Each key occurs once.
    used: Mutex<Vec<Arc<dyn Counted>>>,
    /// The number of uses that were dropped because too many keys were waiting.
    lost: AtomicU64,
    state: Mutex<State>,
    /// Signalled when a write is requested and when a write ends.
    changed: Condvar,
    outage: OutageLog,
    expiring: ExpiringKeys,
}

struct State {
    /// Usage that could not be written yet.
    kept: UsageBuffer,
    /// The number of dropped uses that have been logged.
    reported: u64,
    /// The last flush that was requested.
    asked: Ticket,
    /// The last flush that ended.
    done: Ticket,
    /// Whether nothing was left to write when the last flush ended.
    clean: bool,
    /// Whether the next write is the last write, because no more usage will be recorded.
    shut_down: bool,
    /// Whether the last write and the thread have ended.
    is_over: bool,
    /// The running write, and the flush that the write belongs to. An abandoned write still owns
    /// its usage. When that write returns, the usage is either recorded or kept for a retry.
    writes: Watchdog<Ticket>,
}

/// The result of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// Everything was written.
    Clean,
    /// Some usage could not be written and is kept.
    Failed,
    /// The flush did not end in time.
    Late,
}

type Ticket = u64;

/// The usage to write now.
struct Due {
    uses: Vec<KeyUsage>,
    /// The last flush that was requested before this usage was taken.
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
            outage: OutageLog::new("recording key usage"),
            expiring: ExpiringKeys::default(),
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

    /// Replaces the thread if it hangs, up to [`MAX_ABANDONED`] hung threads.
    ///
    /// # Errors
    /// Returns an error if the thread cannot be started.
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

    /// Adds a key to the list of used keys, at its first use since the last write.
    pub(super) fn enlist(&self, key: Arc<dyn Counted>) {
        let mut used = self.used();
        let waiting = used.len();
        if waiting < MAX_KEYS {
            used.push(key);
            drop(used);
        } else {
            drop(used);
            // The usage of this key is taken and dropped. Its next use counts as the first use
            // again, and the list may have room by then.
            let lost = key.usage().take().map_or(0, |taken| taken.count);
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
        if waiting == MANY {
            self.ask(false);
        }
    }

    /// Returns the number of requested flushes.
    #[cfg(test)]
    pub(super) fn asked(&self) -> u64 {
        self.lock().asked
    }

    /// Returns the number of uses that were dropped so far.
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

    /// Requests a write of all usage recorded so far, and waits for the write to end. After the
    /// last flush, the thread ends, and no more usage is written.
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

    /// Writes usage at each interval and for each requested flush, until the last write or until
    /// this thread is replaced.
    fn work(&self) {
        loop {
            let due = self.wait_until_due();
            if !due.uses.is_empty() && !self.write(due.uses, due.ticket) {
                return;
            }
            let mut state = self.lock();
            state.done = due.ticket;
            // `clean` is computed here, because the next write may already have taken the kept
            // usage when a waiter wakes.
            state.clean = state.kept.is_empty() && state.writes.abandoned() == 0;
            state.is_over = due.is_last;
            drop(state);
            self.changed.notify_all();
            if due.is_last {
                return;
            }
        }
    }

    /// Waits until it is time to write, and takes the usage to write.
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

    /// Adds the usage of all used keys to `uses`.
    fn take_used(&self, uses: &mut UsageBuffer) {
        let keys = mem::take(&mut *self.used());
        let (now, moment) = (self.clock.now(), MonotonicTime::now());
        for key in keys {
            if let Some(taken) = key.usage().take() {
                let at = to_stored(before(now, moment.since(taken.last)));
                let usage = KeyUsage::new(key.id(), at, taken.address, taken.count);
                self.expiring.used(&*key, &usage, now);
                self.keep(uses, usage);
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

    /// Writes usage in batches, and keeps the usage that cannot be written. Returns `false` if
    /// another thread took over.
    ///
    /// After one failed batch, the other batches are still written. After a second failed batch,
    /// the remaining usage is kept.
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
                format_args!("cannot record key usage; retrying, buffering up to {MAX_KEYS} keys"),
            );
            return;
        }
        self.outage.success(now, |_| "key usage is recorded again".to_owned());
        let so_far = self.lost();
        let lost = so_far.saturating_sub(mem::replace(&mut self.lock().reported, so_far));
        if lost > 0 {
            log::warn!(
                "{lost} uses of keys were dropped: more than {MAX_KEYS} keys were waiting to be \
                 recorded; check whether the database is slow or unavailable"
            );
        }
    }
}

/// Returns `now` minus `ago`, or `now` if the result is out of range.
fn before(now: DateTime<Utc>, ago: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(ago).ok().and_then(|ago| now.checked_sub_signed(ago)).unwrap_or(now)
}
