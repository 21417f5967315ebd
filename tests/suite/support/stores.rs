//! Stores that look on, and that are held up.

use std::{
    collections::HashSet,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use api_key_runtime::{
    ChangeCursor, Changes, KeyDigest, KeyRecord, KeyStore, StoreError, test_util::MemoryStore,
};

use super::wait_until;

/// Counts the look-ups that reach a store, and sees how far apart its changes are read.
#[derive(Clone)]
pub(crate) struct Counting {
    store: Arc<dyn KeyStore>,
    queries: Arc<AtomicUsize>,
    reads: Arc<Mutex<Reads>>,
}

struct Reads {
    /// When the last one began that was answered.
    last: Instant,
    longest_gap: Duration,
}

impl Counting {
    pub(crate) fn new(store: impl KeyStore) -> Self {
        Self {
            store: Arc::new(store),
            queries: Arc::default(),
            reads: Arc::new(Mutex::new(Reads {
                last: Instant::now(),
                longest_gap: Duration::ZERO,
            })),
        }
    }

    pub(crate) fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }

    /// The longest time since the last call that what was read of the changes was the newest there was.
    pub(crate) fn take_longest_gap(&self) -> Duration {
        let mut reads = self.reads.lock().unwrap();
        let gap = reads.longest_gap.max(reads.last.elapsed());
        reads.longest_gap = Duration::ZERO;
        gap
    }
}

impl KeyStore for Counting {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        self.queries.fetch_add(1, Ordering::SeqCst);
        self.store.find(digests)
    }

    fn changes(&self, since: Option<&ChangeCursor>) -> Result<Option<Changes>, StoreError> {
        let began = Instant::now();
        let changes = self.store.changes(since)?;
        let mut reads = self.reads.lock().unwrap();
        reads.longest_gap = reads.longest_gap.max(reads.last.elapsed());
        reads.last = began;
        Ok(changes)
    }

    fn wait_for_change(&self, at_most: Duration) {
        self.store.wait_for_change(at_most);
    }
}

/// A store that is away.
pub(crate) struct Away;

impl KeyStore for Away {
    fn find(&self, _: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        Err(StoreError::new("the table is away"))
    }
}

/// A store that answers nothing until it is let go.
#[derive(Clone)]
pub(crate) struct Frozen {
    pub(crate) store: MemoryStore,
    gate: Arc<(Mutex<bool>, Condvar)>,
    inside: Arc<AtomicUsize>,
    threads: Arc<Mutex<HashSet<ThreadId>>>,
}

impl Frozen {
    pub(crate) fn new(store: MemoryStore) -> Self {
        Self {
            store,
            gate: Arc::new((Mutex::new(true), Condvar::new())),
            inside: Arc::default(),
            threads: Arc::default(),
        }
    }

    pub(crate) fn thaw(&self) {
        *self.gate.0.lock().unwrap() = false;
        self.gate.1.notify_all();
    }

    /// How many calls it holds.
    pub(crate) fn inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }

    #[track_caller]
    pub(crate) fn wait_until_inside(&self, calls: usize) {
        wait_until(format!("{calls} calls are held"), || self.inside() >= calls);
    }

    /// How many threads have called it since this was asked last.
    pub(crate) fn take_threads(&self) -> usize {
        std::mem::take(&mut *self.threads.lock().unwrap()).len()
    }
}

impl KeyStore for Frozen {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        self.inside.fetch_add(1, Ordering::SeqCst);
        self.threads.lock().unwrap().insert(thread::current().id());
        let guard = self.gate.0.lock().unwrap();
        drop(self.gate.1.wait_while(guard, |frozen| *frozen).unwrap());
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.store.find(digests)
    }
}
