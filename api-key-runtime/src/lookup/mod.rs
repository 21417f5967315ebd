//! Look-ups: requests queue a key's digests, and threads of our own ask the store for many at once.
//!
//! The store is never called on a worker of actix-web, so a frozen database holds these threads and nothing else. A request waits for
//! its answer up to the deadline. It joins a look-up that is still queued, never one that was already sent: what was read before the
//! request began may be older than a revocation that was complete by then.

mod queue;

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use actix_web::rt::time::timeout;
use futures_channel::oneshot;

use self::queue::{Batch, Full, Queue};
use crate::{
    Digest, Error, KeyRecord, KeyStore, StoreError,
    key::{Digester, Digests},
    known_key::KnownKey,
    once::OncePerHour,
    verdict::Reason,
};

/// Threads that ask the store: one, and one more for while that one is stuck. More were measured to be slower.
const THREADS: usize = 2;
/// How long a thread may be at its batch before another one takes the next.
const SPARE_AFTER: Duration = Duration::from_millis(25);
/// Stuck threads that are replaced by new ones; past that the rest of the queue waits for them.
const MAX_ABANDONED: usize = 8;

/// What a look-up found: the record, or that there is none.
type Answer = Result<Option<Arc<KnownKey>>, Reason>;

/// The queue of look-ups and its threads, which end when this is dropped.
pub(crate) struct Lookups {
    shared: Arc<Shared>,
    deadline: Duration,
}

struct Shared {
    store: Arc<dyn KeyStore>,
    digester: Digester,
    state: Mutex<State>,
    /// Signalled when there is work, and when it is time to end.
    wake: Condvar,
    /// So that an outage is logged when it begins and ends, not per request.
    failing: AtomicBool,
    logged: OncePerHour<i64>,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// Threads at work on a batch, and since when.
    running: HashMap<ThreadNumber, Instant>,
    abandoned: Vec<ThreadNumber>,
    started: ThreadNumber,
    ended: bool,
}

type ThreadNumber = usize;

impl fmt::Debug for Lookups {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Lookups")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Lookups {
    pub(crate) fn start(
        store: Arc<dyn KeyStore>,
        digester: Digester,
        deadline: Duration,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            store,
            digester,
            state: Mutex::default(),
            wake: Condvar::new(),
            failing: AtomicBool::new(false),
            logged: OncePerHour::new(),
        });
        let lookups = Self { shared, deadline };
        for _ in 0..THREADS {
            lookups.shared.start_thread(&mut lookups.shared.lock())?;
        }
        Ok(lookups)
    }

    /// The record with one of these digests, as it stood after this call began.
    pub(crate) async fn find(&self, digests: Digests) -> Answer {
        let receiver = match self.shared.enqueue(digests) {
            Err(Reason::Overloaded) => {
                self.replace_stuck_threads();
                return Err(Reason::Overloaded);
            }
            queued => queued?,
        };
        match timeout(self.deadline, receiver).await {
            Ok(Ok(answer)) => answer,
            // The thread ended without an answer, which it does only at shut-down.
            Ok(Err(_)) => Err(Reason::Unavailable),
            Err(_) => {
                self.replace_stuck_threads();
                Err(Reason::TooLate)
            }
        }
    }

    /// Whoever is refused because nobody answers sees to it that somebody does.
    fn replace_stuck_threads(&self) {
        let longer_than = self.deadline.saturating_mul(2);
        let (replaced, failed) = self.shared.replace_stuck_threads(longer_than);
        for _ in 0..replaced {
            log::warn!(
                "a look-up has been stuck for {longer_than:?}, another thread takes its place"
            );
        }
        if let Some(error) = failed {
            log::error!("{error}");
        }
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = true;
        state.queue.clear();
        drop(state);
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock; should it all the same, the state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(&self, digests: Digests) -> Result<oneshot::Receiver<Answer>, Reason> {
        let mut state = self.lock();
        if state.ended {
            return Err(Reason::Unavailable);
        }
        let receiver = state
            .queue
            .push(digests)
            .map_err(|Full| Reason::Overloaded)?;
        drop(state);
        self.wake.notify_all();
        Ok(receiver)
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) -> Result<(), Error> {
        let number = state.started;
        let shared = Arc::clone(self);
        thread::Builder::new()
            .name(format!("app-key-lookup-{number}"))
            .spawn(move || shared.work(number))
            .map_err(|source| Error::system("cannot start a look-up thread", source))?;
        state.started = number.saturating_add(1);
        Ok(())
    }

    /// A thread's life: batch after batch, until the end or until it was given up.
    fn work(&self, number: ThreadNumber) {
        while let Some(batch) = self.next_batch(number) {
            self.answer(batch);
            let mut state = self.lock();
            state.running.remove(&number);
            if let Some(index) = state
                .abandoned
                .iter()
                .position(|&abandoned| abandoned == number)
            {
                state.abandoned.swap_remove(index);
                return;
            }
        }
    }

    /// Waits until there is work and no other thread is about to take it.
    fn next_batch(&self, number: ThreadNumber) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            if state.ended {
                return None;
            }
            let busy_for = state.running.values().map(Instant::elapsed).min();
            state = match busy_for {
                _ if state.queue.is_empty() => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(busy_for) if busy_for < SPARE_AFTER => {
                    let patience = SPARE_AFTER.saturating_sub(busy_for);
                    self.wake
                        .wait_timeout(state, patience)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                _ => {
                    let batch = state.queue.take_batch();
                    if batch.is_empty() {
                        continue;
                    }
                    state.running.insert(number, Instant::now());
                    return Some(batch);
                }
            };
        }
    }

    fn answer(&self, batch: Batch) {
        let digests: Vec<Digest> = batch
            .iter()
            .flat_map(|(digests, _)| digests.iter())
            .collect();
        // A panic in a store is a store that cannot tell; the thread goes on, and no lock is held here.
        let found = catch_unwind(AssertUnwindSafe(|| self.store.find(&digests)))
            .unwrap_or_else(|_| Err(StoreError::new("the store panicked")));
        self.log_change_of_state(found.as_ref().err());
        let records = found.map(|records| self.by_digest(records));
        for (digests, waiting) in batch {
            let answer = match &records {
                Ok(records) => self.record_of(&digests, records),
                Err(_) => Err(Reason::Unavailable),
            };
            for sender in waiting {
                // Who no longer waits needs no answer.
                let _ = sender.send(answer.clone());
            }
        }
    }

    /// The records by their digests. Two for one digest are no answer for that key: one of them may be revoked.
    fn by_digest(&self, records: Vec<KeyRecord>) -> HashMap<Digest, Option<Arc<KnownKey>>> {
        let mut by_digest = HashMap::with_capacity(records.len());
        for record in records {
            let id = record.id;
            if !record.allowed_ips.is_readable() && self.logged.is_due(id) {
                log::error!(
                    "the column allowed_ips of key {id} cannot be read, so the key is refused everywhere: {:?}",
                    record.allowed_ips.as_str()
                );
            }
            let digest = record.digest;
            if by_digest
                .insert(digest, Some(Arc::new(KnownKey::new(record))))
                .is_some()
            {
                by_digest.insert(digest, None);
                if self.logged.is_due(id) {
                    log::error!(
                        "the store answered two records for the digest of key {id}, so the key is refused"
                    );
                }
            }
        }
        by_digest
    }

    /// The record under the current digest, else under the previous one; one digested in another way than it claims is none.
    fn record_of(
        &self,
        digests: &Digests,
        records: &HashMap<Digest, Option<Arc<KnownKey>>>,
    ) -> Answer {
        for found in digests.iter().filter_map(|digest| records.get(&digest)) {
            let Some(known) = found else {
                return Err(Reason::Unavailable);
            };
            let record = &known.record;
            if self
                .digester
                .made(digests, &record.digest, &record.digest_key)
            {
                return Ok(Some(Arc::clone(known)));
            }
            if self.logged.is_due(record.id) {
                log::error!(
                    "key {} says that it was digested by {}, which is not how its digest was made, so the key is refused",
                    record.id,
                    record.digest_key
                );
            }
        }
        Ok(None)
    }

    fn log_change_of_state(&self, error: Option<&StoreError>) {
        let was_failing = self.failing.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !was_failing => {
                log::error!(
                    "keys cannot be looked up, callers get 503 until they can be again: {error}"
                );
            }
            Some(error) => log::debug!("keys still cannot be looked up: {error}"),
            None if was_failing => log::info!("keys can be looked up again"),
            None => {}
        }
    }

    /// Gives up threads that have been at one batch for longer than this, and starts others, up to a bound; how many it replaced.
    fn replace_stuck_threads(self: &Arc<Self>, longer_than: Duration) -> (usize, Option<Error>) {
        let mut state = self.lock();
        let is_stuck = |(number, since): &(&ThreadNumber, &Instant)| {
            since.elapsed() > longer_than && !state.abandoned.contains(number)
        };
        let stuck: Vec<ThreadNumber> = state
            .running
            .iter()
            .filter(is_stuck)
            .map(|(&number, _)| number)
            .collect();
        let mut replaced = 0_usize;
        for number in stuck {
            if state.ended || state.abandoned.len() >= MAX_ABANDONED {
                break;
            }
            if let Err(error) = self.start_thread(&mut state) {
                return (replaced, Some(error));
            }
            state.abandoned.push(number);
            replaced = replaced.saturating_add(1);
        }
        (replaced, None)
    }
}
