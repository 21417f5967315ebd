//! Lookups in the store. Requests queue the digests of a key; background threads look up many keys
//! with one query. Requests for the same key share a lookup (single flight).
//!
//! The store is never called on an actix-web worker, so a hanging database blocks no worker. A
//! request waits for its answer until the deadline. While the store is unavailable and another
//! lookup is probing the store, a request does not wait at all. A request that arrived before the
//! query was sent takes the result. A request that joined later takes the result only if the result
//! is still current. Otherwise its key is looked up again.

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

/// The number of lookup threads: one thread, and a spare thread that takes over while the first
/// thread's call is slow.
const THREADS: usize = 2;

/// The result of a lookup: the key, or `None` if the store has no such key.
pub(crate) type Answer = Result<Option<Arc<CachedKey>>, Reason>;

/// The queue of lookups and its threads. The threads end when this value is dropped.
pub(crate) struct Lookups {
    shared: Arc<Shared>,
    deadline: Duration,
    /// How long requests may join a lookup after its query was sent.
    joined_for: Duration,
}

struct Shared {
    store: Arc<dyn KeyStore>,
    digester: Digester,
    cache: Arc<Cache>,
    circuit_breaker: Arc<CircuitBreaker>,
    workers: Workers,
    state: Mutex<State>,
    /// Signalled when there is work, and when the threads must end.
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
        // A request that joined later might wait without success. The result may be too old when it
        // arrives, and a lookup that has taken this long may never complete.
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

    /// Returns the key with one of these digests, in a state that is at most `max_staleness` older
    /// than this call. If the lookup fails, returns a stale cache entry if `stale_if_error` allows
    /// its use.
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
            // The queue was cleared, which happens only at shut-down.
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

    /// Returns the durations of the calls to the store so far.
    pub(crate) fn times(&self) -> Times {
        self.shared.times.times()
    }

    /// Returns the number of keys that wait for a lookup or are being looked up.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Ends the threads without waiting for them. Waiting and later lookups fail as if the store
    /// were unavailable.
    pub(crate) fn shut_down(&self) {
        let mut state = self.shared.lock();
        state.shut_down = true;
        state.queue.clear();
        drop(state);
        self.shared.wake.notify_all();
    }

    /// Replaces each thread whose call to the store hangs, up to a limit.
    ///
    /// # Errors
    /// Returns an error if a thread cannot be started.
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
