//! The thread that looks after the others: it replaces those of the feed and of the look-ups that hang, and notes a silent store.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, Weak},
    thread,
    time::Duration,
};

use crate::{
    Error,
    change_feed::FeedThread,
    circuit_breaker::CircuitBreaker,
    clock::MonotonicTime,
    lock::{lock, wait_timeout_while},
    lookup::Lookups,
};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The supervisor, which ends when this is dropped.
pub(crate) struct Supervisor {
    ending: Arc<Ending>,
}

#[derive(Default)]
struct Ending {
    is_due: Mutex<bool>,
    /// Signalled when it is.
    signal: Condvar,
}

/// What it looks after. It holds up neither's end.
struct Watched {
    feed: Weak<FeedThread>,
    lookups: Weak<Lookups>,
    circuit_breaker: Arc<CircuitBreaker>,
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
        circuit_breaker: Arc<CircuitBreaker>,
    ) -> Result<Self, Error> {
        let watched = Watched {
            feed: Arc::downgrade(feed),
            lookups: Arc::downgrade(lookups),
            circuit_breaker,
        };
        let ending = Arc::<Ending>::default();
        let shared = Arc::clone(&ending);
        thread::Builder::new()
            .name("app-key-supervisor".to_owned())
            .spawn(move || shared.supervise(&watched))
            .map_err(|source| Error::os("cannot start the supervisor's thread", source))?;
        Ok(Self { ending })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        *lock(&self.ending.is_due) = true;
        self.ending.signal.notify_all();
    }
}

impl Ending {
    fn supervise(&self, watched: &Watched) {
        while !self.comes_within(LOOK_EVERY) {
            watched.look();
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
        if let Some(feed) = self.feed.upgrade() {
            feed.replace_stuck_thread();
        }
        self.circuit_breaker.check(MonotonicTime::now());
        if let Some(lookups) = self.lookups.upgrade() {
            lookups.replace_stuck_threads();
        }
    }
}
