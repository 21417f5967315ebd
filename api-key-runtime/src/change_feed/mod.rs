//! The thread that reads key changes. If the thread hangs, another thread replaces it.
//!
//! A round reads the clock, then reads and applies the changes, and then publishes the clock
//! reading as the lease. The lease never depends on a notification or on the time when a result
//! arrived. The late result of a replaced thread is discarded.

mod health;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};

pub use self::health::{FeedState, Health};
use crate::{
    cache::Cache,
    circuit_breaker::{Attempt, Call, CircuitBreaker},
    clock::{Clock, MonotonicTime},
    error::Error,
    lock::{lock, wait_timeout_while},
    log,
    log_throttle::LogThrottle,
    outage_log::OutageLog,
    store::{ChangeFeed, Changed, Changes, KeyStore, StoreError},
    watchdog::{CallTicket, Limits, Watchdog, call_store},
    workers::Workers,
};

/// The difference between the local clock and the store's clock above which a warning is logged.
const MAX_DIFFERENCE: TimeDelta = TimeDelta::seconds(5);
static DIFFERENCE: LogThrottle<()> = LogThrottle::new();

/// The maximum number of hung threads. At this limit, no further thread is started until a hung
/// thread returns.
const MAX_ABANDONED: usize = 4;
/// The pause after the first failed round. Each further failure doubles the pause, up to the
/// shorter of the interval and [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The bounds of the time between two rounds if the store does not wake the thread.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
/// The longest duration of one call that waits for changes. The thread can end only between two
/// calls.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The minimum time between rounds, in case a store wakes the thread continuously.
const LEAST_PAUSE: Duration = Duration::from_millis(1);
/// The bounds of the time after which a thread counts as hung.
const MIN_ROUND_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_ROUND_TIMEOUT: Duration = Duration::from_secs(32);
/// The longest pause after a failed round. A longer pause would delay the first round after an
/// outage, which renews the lease.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The handle of the feed's thread. Dropping the handle ends the thread.
pub(crate) struct FeedThread {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn KeyStore>,
    cache: Arc<Cache>,
    circuit_breaker: Arc<CircuitBreaker>,
    /// The clock that each round sets to the store's time.
    clock: Clock,
    workers: Workers,
    /// The time between rounds, unless the store wakes the thread earlier.
    interval: Duration,
    state: Mutex<State>,
    outage: OutageLog,
    /// Logs repeated failures to wait for changes. A single failure is usually a lost connection,
    /// which the next round replaces.
    wait_outage: OutageLog,
    /// Signalled when the thread must end.
    ending: Condvar,
}

#[derive(Debug)]
struct State {
    /// The running call of the thread, stored with the circuit breaker's [`Call`] during a round.
    calls: Watchdog<Option<Call>>,
    /// Whether the store reports changes; `None` before the first round.
    is_supported: Option<bool>,
    shut_down: bool,
}

impl fmt::Debug for FeedThread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FeedThread")
            .field("interval", &self.shared.interval)
            .finish_non_exhaustive()
    }
}

impl FeedThread {
    /// Starts the thread. The owner calls [`replace_hung_thread`](Self::replace_hung_thread) at
    /// regular intervals.
    pub(crate) fn start(
        store: Arc<dyn KeyStore>,
        cache: Arc<Cache>,
        circuit_breaker: Arc<CircuitBreaker>,
        deadline: Duration,
        clock: Clock,
        workers: Workers,
    ) -> Result<Self, Error> {
        let max_staleness = cache.bounds().max_staleness;
        let limits = Limits {
            timeout: deadline.saturating_mul(2).max(MIN_ROUND_TIMEOUT),
            longest_timeout: MAX_ROUND_TIMEOUT,
            max_abandoned: MAX_ABANDONED,
        };
        let shared = Arc::new(Shared {
            store,
            cache,
            circuit_breaker,
            clock,
            workers,
            interval: (max_staleness / 4).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
            state: Mutex::new(State {
                calls: Watchdog::new(limits),
                is_supported: None,
                shut_down: false,
            }),
            outage: OutageLog::new("reading key changes"),
            wait_outage: OutageLog::new("waiting for key changes"),
            ending: Condvar::new(),
        });
        // Without caching, there are no entries to drop, so the thread is not needed.
        if !max_staleness.is_zero() {
            shared.start_thread()?;
        }
        Ok(Self { shared })
    }

    /// Replaces the thread if it hangs, up to [`MAX_ABANDONED`] hung threads.
    ///
    /// # Errors
    /// Returns an error if the thread cannot be started.
    pub(crate) fn replace_hung_thread(&self) -> Result<(), Error> {
        let shared = &self.shared;
        let (hung, result) =
            shared.lock().calls.replace_hung(MonotonicTime::now(), || shared.start_thread());
        for call in hung {
            if let Some(call) = call.kept {
                shared.circuit_breaker.abandon(call, MonotonicTime::now());
            }
            log::warn!(
                "the thread of the change feed was replaced: its call to the key store has been \
                 hanging for {} ms; check the database",
                call.hung_for.as_millis()
            );
        }
        result
    }

    /// Ends the thread without waiting for it. The thread may still be waiting for changes.
    pub(crate) fn shut_down(&self) {
        self.shared.lock().shut_down = true;
        self.shared.ending.notify_all();
    }

    /// Returns the health of the feed and the store.
    pub(crate) fn health(&self, now: MonotonicTime) -> Health {
        let shared = &self.shared;
        let lease = shared.cache.lease();
        let age = (lease != MonotonicTime::START).then(|| now.since(lease));
        let is_supported = shared.lock().is_supported;
        let state = match (is_supported, age) {
            _ if shared.cache.bounds().max_staleness.is_zero() => FeedState::Unsupported,
            (Some(false), _) => FeedState::Unsupported,
            (_, Some(age)) if age <= shared.cache.bounds().max_staleness => FeedState::Fresh,
            (_, Some(_)) => FeedState::Stale,
            (_, None) => FeedState::Starting,
        };
        Health::new(state, age, !shared.circuit_breaker.is_unavailable(now))
    }
}

impl Drop for FeedThread {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn start_thread(self: &Arc<Self>) -> Result<(), Error> {
        let shared = Arc::clone(self);
        self.workers
            .spawn("app-key-feed", move || shared.work())
            .map_err(|source| Error::os("cannot start the feed's thread", source))
    }

    /// Runs round after round until shut-down, until the thread is replaced, or until the store
    /// reports that it has no feed.
    fn work(&self) {
        let mut feed = None;
        let mut last_pause: Option<Duration> = None;
        loop {
            // The pause is reset only if the wait succeeds too. Otherwise new feeds would be opened
            // in quick succession, and each new feed makes every cache entry stale.
            let failed_before = last_pause.is_some();
            match self.round(&mut feed).and_then(|()| self.wait(&mut feed, failed_before)) {
                Ok(()) => last_pause = None,
                Err(Stop::Over) => return,
                Err(Stop::Failed) => {
                    let longest = self.interval.min(LONGEST_PAUSE);
                    let pause =
                        last_pause.map_or(FIRST_PAUSE, |last| last.saturating_mul(2).min(longest));
                    if !self.pause(pause) {
                        return;
                    }
                    last_pause = Some(pause);
                }
            }
        }
    }

    /// Runs one round. The order of its steps matters; see the module's documentation.
    fn round(&self, feed: &mut OpenFeed) -> Result<(), Stop> {
        let taken = MonotonicTime::now();
        let call = self.circuit_breaker.begin(Attempt::Feed, taken);
        let Some(ticket) = self.begin(taken, Duration::ZERO, Some(call)) else {
            self.circuit_breaker.abandon(call, taken);
            return Err(Stop::Over);
        };
        let is_new = feed.is_none();
        let answer = over_feed(feed, |feed| {
            if feed.is_none() {
                *feed = self.store.watch()?;
            }
            feed.as_mut().map(|feed| feed.changes()).transpose()
        });
        let mut state = self.finish(ticket)?;
        match &answer {
            Ok(Some(Changes { changed, time })) => {
                state.is_supported = Some(true);
                state.calls.succeeded();
                // The lock is held, so that a thread that has been replaced cannot apply its
                // result. A new feed cannot report what changed before the feed was opened, so its
                // first result always counts as "everything".
                self.cache.apply(if is_new { &Changed::Everything } else { changed });
                self.cache.renew(taken);
                if let Some(time) = *time {
                    self.clock.observe(taken, time, MonotonicTime::now());
                }
            }
            Ok(None) => state.is_supported = Some(false),
            Err(_) => {}
        }
        drop(state);
        let now = MonotonicTime::now();
        self.note(call, answer.as_ref().err(), now);
        match answer {
            Ok(Some(changes)) => {
                if let Some(time) = changes.time {
                    warn_of_difference(time, now.since(taken));
                }
                Ok(())
            }
            Ok(None) => Err(Stop::Over),
            Err(_) => Err(Stop::Failed),
        }
    }

    fn note(&self, call: Call, error: Option<&StoreError>, now: MonotonicTime) {
        if let Some(error) = error {
            // The circuit breaker does not count this failure: lookups may still succeed, and
            // lookups report their own failures.
            self.circuit_breaker.abandon(call, now);
            let max_staleness = self.cache.bounds().max_staleness;
            self.outage.failure(
                now,
                error,
                format_args!(
                    "cannot read key changes; cached keys are re-read after {max_staleness:?} \
                     instead"
                ),
            );
        } else {
            self.circuit_breaker.end(call, None, now);
            self.outage.success(now, |_| "key changes are read again".to_owned());
        }
    }

    /// Waits until keys may have changed, or until the interval is over. Logs a failure only if the
    /// last attempt failed too.
    fn wait(&self, feed: &mut OpenFeed, failed_before: bool) -> Result<(), Stop> {
        let mut left = with_jitter(self.interval);
        loop {
            let at_most = left.min(LONGEST_WAIT);
            let waited_for = self.wait_once(feed, at_most, failed_before)?;
            left = left.saturating_sub(at_most);
            if left.is_zero() || waited_for < at_most {
                return Ok(());
            }
        }
    }

    /// Makes one call that waits for changes, and returns its duration.
    fn wait_once(
        &self,
        feed: &mut OpenFeed,
        at_most: Duration,
        failed_before: bool,
    ) -> Result<Duration, Stop> {
        let began = MonotonicTime::now();
        let ticket = self.begin(began, at_most, None).ok_or(Stop::Over)?;
        let waited =
            over_feed(feed, |feed| feed.as_mut().map_or(Ok(()), |feed| feed.wait(at_most)));
        drop(self.finish(ticket)?);
        let now = MonotonicTime::now();
        if let Err(error) = waited {
            if failed_before {
                self.wait_outage.failure(
                    now,
                    &error,
                    format_args!(
                        "waiting for key changes keeps failing, so cached keys are re-read more \
                         often"
                    ),
                );
            }
            return Err(Stop::Failed);
        }
        self.wait_outage.success(now, |_| "waiting for key changes works again".to_owned());
        thread::sleep(LEAST_PAUSE.saturating_sub(now.since(began)));
        Ok(now.since(began))
    }

    /// Pauses after a failure. Returns `false` if the thread must end.
    fn pause(&self, pause: Duration) -> bool {
        let state = self.lock();
        !wait_timeout_while(&self.ending, state, pause, |state| !state.shut_down).shut_down
    }

    /// Registers a call of this thread. Returns `None` if the thread must end.
    fn begin(
        &self,
        now: MonotonicTime,
        expected: Duration,
        call: Option<Call>,
    ) -> Option<CallTicket> {
        let mut state = self.lock();
        (!state.shut_down).then(|| state.calls.begin(now, expected, call))
    }

    /// Ends a call, and returns the lock for applying its result. Returns an error if the thread
    /// was replaced.
    fn finish(&self, ticket: CallTicket) -> Result<MutexGuard<'_, State>, Stop> {
        let mut state = self.lock();
        state.calls.finish(ticket).ok_or(Stop::Over)?;
        Ok(state)
    }
}

/// Returns the interval shortened by a random amount of up to an eighth. Without jitter, processes
/// that start together would always read the log at the same time.
fn with_jitter(interval: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) % 1024;
    interval.saturating_sub(interval / 8 / 1024 * u32::try_from(random).unwrap_or_default())
}

/// Logs a warning, at most once an hour, if the local clock and the store's clock differ. `took` is
/// the longest time that may have passed since the store reported `time`.
fn warn_of_difference(time: DateTime<Utc>, took: Duration) {
    let local = Utc::now();
    let allowed = MAX_DIFFERENCE + TimeDelta::from_std(took).unwrap_or_default();
    if (local - time).abs() > allowed && DIFFERENCE.should_log(()) {
        log::warn!(
            "the clocks of this machine ({local}) and of the database ({time}) differ: keys expire \
             by the database's clock; correct the wrong clock"
        );
    }
}

/// The reason why a thread pauses or ends instead of starting the next round.
enum Stop {
    Failed,
    /// The thread must end.
    Over,
}

/// The open feed, or `None` before the first round and after an error.
type OpenFeed = Option<Box<dyn ChangeFeed>>;

/// Runs a call that uses or opens the feed. After an error or a panic the feed is dropped, so that
/// the next result, from a new feed, counts as "everything".
fn over_feed<T>(
    feed: &mut OpenFeed,
    call: impl FnOnce(&mut OpenFeed) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    call_store(|| call(feed)).inspect_err(|_| {
        // Dropping a feed may panic, too.
        let _ = call_store(|| {
            drop(feed.take());
            Ok(())
        });
    })
}
