//! The thread that supervises the other threads of an `AppKeys`. The supervisor replaces threads
//! whose call to the store hangs. It logs an error if the store does not answer, and writes the
//! summaries of rejections.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, Weak},
    time::{Duration, Instant},
};

use crate::{
    change_feed::FeedThread,
    circuit_breaker::CircuitBreaker,
    clock::MonotonicTime,
    error::Error,
    lock::{lock, wait_timeout_while},
    log,
    log_throttle::LogThrottle,
    lookup::Lookups,
    rejection::RejectionLog,
    usage::{Usage, Writer},
    workers::Workers,
};

/// Throttles the errors about threads that could not be started, by the text of the error.
static NOT_STARTED: LogThrottle<String> = LogThrottle::new();

/// How often the supervisor checks the threads.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The handle of the supervisor's thread. Dropping the handle ends the thread.
pub(crate) struct Supervisor {
    ending: Arc<Ending>,
    rejection_log: RejectionLog,
}

#[derive(Default)]
struct Ending {
    is_due: Mutex<bool>,
    /// Signalled when `is_due` is set.
    signal: Condvar,
}

/// The supervised parts, which are independent of each other. The supervisor does not keep the
/// feed, the lookups or the usage writer alive.
struct Watched {
    feed: Weak<FeedThread>,
    lookups: Weak<Lookups>,
    usage: Weak<Writer>,
    circuit_breaker: Arc<CircuitBreaker>,
    rejection_log: RejectionLog,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Supervisor").finish_non_exhaustive()
    }
}

impl Supervisor {
    pub(crate) fn start(
        feed: &Arc<FeedThread>,
        lookups: &Arc<Lookups>,
        usage: Option<&Usage>,
        circuit_breaker: Arc<CircuitBreaker>,
        rejection_log: RejectionLog,
        workers: &Workers,
    ) -> Result<Self, Error> {
        let watched = Watched {
            feed: Arc::downgrade(feed),
            lookups: Arc::downgrade(lookups),
            usage: usage.map_or_else(Weak::new, |usage| Arc::downgrade(usage.writer())),
            circuit_breaker,
            rejection_log: rejection_log.clone(),
        };
        let ending = Arc::<Ending>::default();
        let shared = Arc::clone(&ending);
        workers
            .spawn("app-key-supervisor", move || shared.supervise(&watched))
            .map_err(|source| Error::os("cannot start the supervisor's thread", source))?;
        Ok(Self { ending, rejection_log })
    }

    /// Ends the thread without waiting for it.
    pub(crate) fn shut_down(&self) {
        *lock(&self.ending.is_due) = true;
        self.ending.signal.notify_all();
        // The summaries are written on the calling thread, because the process may end immediately
        // afterwards.
        self.rejection_log.summarise_all();
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl Ending {
    fn supervise(&self, watched: &Watched) {
        while !self.comes_within(LOOK_EVERY) {
            // A logger may panic. The panic must not end this thread, which replaces the other
            // threads.
            let _ = catch_unwind(AssertUnwindSafe(|| watched.look()));
        }
    }

    fn comes_within(&self, time: Duration) -> bool {
        let is_due = lock(&self.is_due);
        let is_due = wait_timeout_while(&self.signal, is_due, time, |is_due| !*is_due);
        *is_due
    }
}

impl Watched {
    fn look(&self) {
        // Hung threads are replaced first, because a logger may block the steps below.
        let results = [
            self.feed.upgrade().map(|feed| feed.replace_hung_thread()),
            self.lookups.upgrade().map(|lookups| lookups.replace_hung_threads()),
            self.usage.upgrade().map(|usage| usage.replace_hung_thread()),
        ];
        for error in results.into_iter().flatten().filter_map(Result::err) {
            if NOT_STARTED.should_log(error.to_string()) {
                log::error!("{error}");
            }
        }
        self.circuit_breaker.check(MonotonicTime::now());
        self.rejection_log.summarise(Instant::now());
    }
}
