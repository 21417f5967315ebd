//! The thread that reads what has changed, and is replaced when it hangs.
//!
//! A round takes the time, reads the changes, applies them, and only then publishes the time taken first: never on a notification, never
//! by the time a result arrived. The late result of a thread that was replaced changes nothing.

mod health;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

pub use self::health::{FeedState, Health};
use crate::{
    ChangeFeed, Changes, Error, KeyStore, StoreError,
    cache::Cache,
    circuit_breaker::{Attempt, Call, CircuitBreaker},
    clock::MonotonicTime,
    lock::{lock, wait_timeout_while},
    log,
    log_throttle::LogThrottle,
    outage_log::OutageLog,
};

/// Threads that hang and are replaced; past that no more are started until one comes back.
const MAX_ABANDONED: usize = 4;
/// The pause after the first failed round; it doubles up to the interval.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The bounds of the time between two rounds that nothing woke.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);
/// The least time from one round to the next, should a store wake us all the time.
const LEAST_PAUSE: Duration = Duration::from_millis(1);
/// How long a thread may hang at the least, and at the most, until it is replaced. It doubles while none completes a round: where a new
/// connection takes long, each would be replaced before it got that far.
const LEAST_ROUND_PATIENCE: Duration = Duration::from_secs(2);
const MOST_ROUND_PATIENCE: Duration = Duration::from_secs(32);
/// The longest pause between rounds while a store cannot be asked: what is cached is not believed then, and recovery waits for it.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

static NOT_STARTED: LogThrottle<()> = LogThrottle::new();

/// The feed, which ends when this is dropped.
pub(crate) struct FeedThread {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn KeyStore>,
    cache: Arc<Cache>,
    circuit_breaker: Arc<CircuitBreaker>,
    /// Between rounds, unless the store wakes us.
    interval: Duration,
    /// How long a thread may hang until it is replaced.
    patience: Duration,
    state: Mutex<State>,
    /// Signalled when it is time to end.
    ending: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The thread whose word counts; those of earlier ones were given up.
    epoch: u64,
    /// Since when it has been at what it does.
    busy_since: Option<Busy>,
    abandoned: usize,
    /// Threads that were replaced since a round was completed.
    replaced_in_vain: u32,
    /// Whether the store reports changes; `None` before the first round.
    is_supported: Option<bool>,
    failing: OutageLog,
    shut_down: bool,
}

#[derive(Debug)]
struct Busy {
    since: MonotonicTime,
    /// How long that may take without being a fault.
    allowed: Duration,
    /// The call that is under way, if it is one.
    call: Option<Call>,
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
    /// Starts the feed. Somebody has to look after its thread: see [`replace_stuck_thread`](Self::replace_stuck_thread).
    pub(crate) fn start(
        store: Arc<dyn KeyStore>,
        cache: Arc<Cache>,
        circuit_breaker: Arc<CircuitBreaker>,
        deadline: Duration,
    ) -> Result<Self, Error> {
        let max_staleness = cache.bounds().max_staleness;
        let shared = Arc::new(Shared {
            store,
            cache,
            circuit_breaker,
            interval: (max_staleness / 4).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
            patience: deadline.saturating_mul(2).max(LEAST_ROUND_PATIENCE),
            state: Mutex::default(),
            ending: Condvar::new(),
        });
        // Where nothing is cached there is nothing to drop.
        if !max_staleness.is_zero() {
            shared.start_thread(&mut shared.lock())?;
        }
        Ok(Self { shared })
    }

    /// Gives up a thread that hangs, and starts another one in its place, up to a bound.
    pub(crate) fn replace_stuck_thread(&self) {
        let replaced = self.shared.replace_if_stuck(&mut self.shared.lock());
        match replaced {
            Ok(Some(stuck_for)) => log::warn!(
                "the feed of changed keys has been stuck for {} ms, another thread takes its place",
                stuck_for.as_millis()
            ),
            Err(error) if NOT_STARTED.should_log(()) => log::error!("{error}"),
            Ok(None) | Err(_) => {}
        }
    }

    /// How fresh what is cached is.
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
        Health::new(state, age, !shared.circuit_breaker.is_away(now))
    }
}

impl Drop for FeedThread {
    fn drop(&mut self) {
        self.shared.lock().shut_down = true;
        self.shared.ending.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) -> Result<(), Error> {
        let epoch = state.epoch.saturating_add(1);
        let shared = Arc::clone(self);
        thread::Builder::new()
            .name("app-key-feed".to_owned())
            .spawn(move || shared.work(epoch))
            .map_err(|source| Error::os("cannot start the feed's thread", source))?;
        state.epoch = epoch;
        state.busy_since = None;
        Ok(())
    }

    /// Runs round after round, until the end, until the thread was replaced, or because the store reports no changes.
    fn work(&self, epoch: u64) {
        let mut feed = None;
        let mut backoff = FIRST_PAUSE;
        loop {
            match self.round(epoch, &mut feed).and_then(|()| self.wait(epoch, &mut feed)) {
                Ok(()) => backoff = FIRST_PAUSE,
                Err(Stop::Over) => return,
                Err(Stop::Failed) => {
                    if !self.pause(backoff) {
                        return;
                    }
                    backoff = backoff.saturating_mul(2).min(self.interval.min(LONGEST_PAUSE));
                }
            }
        }
    }

    /// One round, in the one order that is right.
    fn round(&self, epoch: u64, feed: &mut OpenFeed) -> Result<(), Stop> {
        let taken = MonotonicTime::now();
        let call = self.circuit_breaker.begin(Attempt::Feed, taken);
        if !self.begin(epoch, Duration::ZERO, Some(call)) {
            return Err(Stop::Over);
        }
        let answer = over_feed(feed, |feed| {
            if feed.is_none() {
                *feed = self.store.watch()?;
            }
            feed.as_mut().map(|feed| feed.changes()).transpose()
        });
        let Some((mut state, call)) = self.finish(epoch) else {
            return Err(Stop::Over);
        };
        let error = answer.as_ref().err();
        let (begins, is_over) = state.note_failure(error, MonotonicTime::now());
        let round = match &answer {
            Ok(Some(Changes { changed })) => {
                state.is_supported = Some(true);
                state.replaced_in_vain = 0;
                // Under the lock, so that one that was given up meanwhile changes nothing.
                self.cache.apply(changed);
                self.cache.renew(taken);
                Ok(())
            }
            Ok(None) => {
                state.is_supported = Some(false);
                Err(Stop::Over)
            }
            Err(_) => Err(Stop::Failed),
        };
        drop(state);
        if let Some(call) = call {
            match error {
                None => self.circuit_breaker.end(call, None, MonotonicTime::now()),
                // Look-ups may go on all the same, and say themselves if they do not.
                Some(_) => self.circuit_breaker.abandon(call),
            }
        }
        self.log(error, begins, is_over);
        round
    }

    fn log(&self, error: Option<&StoreError>, begins: bool, is_over: bool) {
        match error {
            Some(error) if begins => log::error!(
                "the changes of keys cannot be read, so each key is asked for anew after {:?}: {error}",
                self.cache.bounds().max_staleness
            ),
            Some(error) => log::debug!("the changes of keys still cannot be read: {error}"),
            None if is_over => log::info!("the changes of keys are read again"),
            None => {}
        }
    }

    /// Waits until something may have changed.
    fn wait(&self, epoch: u64, feed: &mut OpenFeed) -> Result<(), Stop> {
        if !self.begin(epoch, self.interval, None) {
            return Err(Stop::Over);
        }
        let began = MonotonicTime::now();
        let waited =
            over_feed(feed, |feed| feed.as_mut().map_or(Ok(()), |feed| feed.wait(self.interval)));
        if self.finish(epoch).is_none() {
            return Err(Stop::Over);
        }
        if let Err(error) = waited {
            // Changes can still be read over a new feed, which says so itself if it cannot.
            log::debug!("cannot wait for changes of keys: {error}");
            return Err(Stop::Failed);
        }
        thread::sleep(LEAST_PAUSE.saturating_sub(MonotonicTime::now().since(began)));
        Ok(())
    }

    /// Pauses after a failure; `false`: it is time to end.
    fn pause(&self, pause: Duration) -> bool {
        let state = self.lock();
        !wait_timeout_while(&self.ending, state, pause, |state| !state.shut_down).shut_down
    }

    /// Notes what this thread is at; `false`: it was given up, or it is time to end.
    fn begin(&self, epoch: u64, allowed: Duration, call: Option<Call>) -> bool {
        let mut state = self.lock();
        if state.epoch != epoch || state.shut_down {
            if let Some(call) = call {
                self.circuit_breaker.abandon(call);
            }
            return false;
        }
        state.busy_since = Some(Busy { since: MonotonicTime::now(), allowed, call });
        true
    }

    /// Notes that this thread is done with it; none where it was given up meanwhile.
    fn finish(&self, epoch: u64) -> Option<(MutexGuard<'_, State>, Option<Call>)> {
        let mut state = self.lock();
        if state.epoch != epoch {
            state.abandoned = state.abandoned.saturating_sub(1);
            return None;
        }
        let call = state.busy_since.take().and_then(|busy| busy.call);
        Some((state, call))
    }

    /// How long the one was stuck that was replaced, if one was.
    fn replace_if_stuck(self: &Arc<Self>, state: &mut State) -> Result<Option<Duration>, Error> {
        let now = MonotonicTime::now();
        let doubled = 1_u32.checked_shl(state.replaced_in_vain).unwrap_or(u32::MAX);
        let longest = MOST_ROUND_PATIENCE.max(self.patience);
        let patience = self.patience.saturating_mul(doubled).min(longest);
        let Some(busy) = &state.busy_since else {
            return Ok(None);
        };
        let (stuck_for, call) = (now.since(busy.since), busy.call);
        if stuck_for <= patience.saturating_add(busy.allowed) || state.abandoned >= MAX_ABANDONED {
            return Ok(None);
        }
        self.start_thread(state)?;
        state.abandoned = state.abandoned.saturating_add(1);
        state.replaced_in_vain = state.replaced_in_vain.saturating_add(1);
        if let Some(call) = call {
            self.circuit_breaker.abandon(call);
        }
        Ok(Some(stuck_for))
    }
}

impl State {
    /// Whether a failure begins with this round, and whether one is over.
    fn note_failure(&mut self, error: Option<&StoreError>, now: MonotonicTime) -> (bool, bool) {
        match error {
            Some(_) => (self.failing.failure(now), false),
            None => (false, self.failing.success(now).is_some()),
        }
    }
}

/// Why a thread does not go on to the next round at once.
enum Stop {
    Failed,
    /// The thread is no longer wanted.
    Over,
}

/// `None` before the first round, and after an error.
type OpenFeed = Option<Box<dyn ChangeFeed>>;

/// Calls a feed, or opens one. After an error or a panic the feed is dropped, because only a new one begins with "everything".
fn over_feed<T>(
    feed: &mut OpenFeed,
    call: impl FnOnce(&mut OpenFeed) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // The feed may panic while it is dropped as well.
    let result = catch_unwind(AssertUnwindSafe(|| call(feed).inspect_err(|_| drop(feed.take()))));
    result.unwrap_or_else(|_| {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(feed.take())));
        Err(StoreError::new("the store panicked"))
    })
}
