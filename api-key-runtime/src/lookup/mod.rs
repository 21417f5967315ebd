//! Lookups: requests queue a key's digests, and threads of our own ask the store for many at once.
//!
//! The store is never called on a worker of actix-web, so a frozen database holds these threads and
//! nothing else. A request waits for its answer up to the deadline, and not at all while the store
//! is away and somebody is asking it already. One that came before the query was sent takes what it
//! found; who joined later takes it only if it is still current, and is asked for again otherwise.

mod deliver;
mod queue;
mod resolve;
#[cfg(test)]
mod tests;
mod threads;

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use actix_web::rt::time::timeout;
use futures_channel::oneshot;

use self::{
    deliver::Fault,
    queue::{Full, Queue},
    threads::Threads,
};
pub(crate) use self::{
    queue::Priority,
    resolve::{Resolution, resolve},
};
use crate::{
    cache::Cache,
    cache::CachedKey,
    circuit_breaker::CircuitBreaker,
    clock::MonotonicTime,
    error::Error,
    key::{Digester, Digests},
    lock::lock,
    log_throttle::LogThrottle,
    metrics::{LookupTimes, Times},
    rejection::Reason,
    store::KeyStore,
    workers::Workers,
};

/// Threads that ask the store: one, and one more for while that one is stuck. More were measured to
/// be slower.
const THREADS: usize = 2;

/// What a lookup found: the key and the digest it stands under, or that there is none.
pub(crate) type Answer = Result<Option<Arc<CachedKey>>, Reason>;

/// The queue of lookups and its threads, which end when this is dropped.
pub(crate) struct Lookups {
    shared: Arc<Shared>,
    deadline: Duration,
    /// How long a lookup that was sent is joined.
    joined_for: Duration,
}

struct Shared {
    store: Arc<dyn KeyStore>,
    digester: Digester,
    cache: Arc<Cache>,
    circuit_breaker: Arc<CircuitBreaker>,
    workers: Workers,
    state: Mutex<State>,
    /// Signalled when there is work, and when it is time to end.
    wake: Condvar,
    logged: LogThrottle<(i64, Fault)>,
    times: LookupTimes,
}

struct State {
    queue: Queue,
    threads: Threads,
    shut_down: bool,
}

impl fmt::Debug for Lookups {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lookups").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Lookups {
    pub(crate) fn start(
        store: Arc<dyn KeyStore>,
        digester: Digester,
        cache: Arc<Cache>,
        circuit_breaker: Arc<CircuitBreaker>,
        deadline: Duration,
        workers: Workers,
    ) -> Result<Self, Error> {
        // An answer older than that is worth nothing to who joined, and one that takes so long may
        // never come.
        let joined_for = cache.bounds().max_staleness.min(deadline) / 2;
        let shared = Arc::new(Shared {
            store,
            digester,
            cache,
            circuit_breaker,
            workers,
            state: Mutex::new(State {
                queue: Queue::default(),
                threads: Threads::new(deadline),
                shut_down: false,
            }),
            wake: Condvar::new(),
            logged: LogThrottle::new(),
            times: LookupTimes::default(),
        });
        let lookups = Self { shared, deadline, joined_for };
        for _ in 0..THREADS {
            lookups.shared.start_thread(&mut lookups.shared.lock().threads.started)?;
        }
        Ok(lookups)
    }

    /// The key with one of these digests, as it stood after this call began; or what is still known
    /// of it, where the store cannot be asked and the application said that this will do.
    pub(crate) async fn find(&self, digests: Digests, priority: Priority) -> Answer {
        let answer = self.ask(digests, priority).await;
        if let Err(Reason::Unavailable | Reason::Overloaded | Reason::LookupTimeout) = answer {
            let (cache, now) = (&self.shared.cache, MonotonicTime::now());
            let known = |digest| cache.stale_if_error(&digest, now);
            if let Some(found) = digests.iter().find_map(known) {
                self.shared.circuit_breaker.count_stale_accept(now);
                return Ok(Some(found));
            }
        }
        answer
    }

    async fn ask(&self, digests: Digests, priority: Priority) -> Answer {
        let now = MonotonicTime::now();
        let circuit_breaker = &self.shared.circuit_breaker;
        if circuit_breaker.should_fail_fast(now) {
            return Err(Reason::Unavailable);
        }
        let receiver = self.enqueue(digests, priority, now)?;
        match timeout(self.deadline, receiver).await {
            Ok(Ok(answer)) => answer,
            // The thread ended without an answer, which it does only at shut-down.
            Ok(Err(_)) => Err(Reason::Unavailable),
            Err(_) => Err(Reason::LookupTimeout),
        }
    }

    fn enqueue(
        &self,
        digests: Digests,
        priority: Priority,
        now: MonotonicTime,
    ) -> Result<oneshot::Receiver<Answer>, Reason> {
        let shared = &self.shared;
        let mut state = shared.lock();
        if state.shut_down {
            return Err(Reason::Unavailable);
        }
        let receiver = state
            .queue
            .push(digests, priority, now, self.joined_for)
            .map_err(|Full| Reason::Overloaded)?;
        let has_waiting_thread = state.threads.has_waiting_thread();
        drop(state);
        if !has_waiting_thread {
            shared.wake.notify_one();
        }
        Ok(receiver)
    }

    /// How long the store took so far.
    pub(crate) fn times(&self) -> Times {
        self.shared.times.times()
    }

    /// Keys that wait to be looked up or are being looked up.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Ends the threads and does not wait for them. Lookups that wait, and all that come later,
    /// find the store unavailable.
    pub(crate) fn shut_down(&self) {
        let mut state = self.shared.lock();
        state.shut_down = true;
        state.queue.clear();
        drop(state);
        self.shared.wake.notify_all();
    }

    /// Starts threads in place of those whose call to the store hangs, up to a limit.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn replace_hung_threads(&self) -> Result<(), Error> {
        self.shared.replace_hung_threads()
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}
