//! A store that counts the queries for watched keys.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use api_key_runtime::{
    admin::{KeyRecord, KeyUsage},
    store::{ChangeFeed, DieselStore, KeyDigest, KeyStore, StoreError},
};

/// The key table of a database, as a store that counts queries.
#[derive(Clone)]
pub(crate) struct Watched {
    store: Arc<DieselStore>,
    digests: Arc<Mutex<HashSet<KeyDigest>>>,
    queries: Arc<AtomicUsize>,
    delay: Duration,
}

impl Watched {
    pub(crate) fn open(database_url: &str) -> Self {
        Self {
            store: Arc::new(DieselStore::open(database_url).unwrap()),
            digests: Arc::default(),
            queries: Arc::default(),
            delay: Duration::ZERO,
        }
    }

    /// Delays every query by this time.
    pub(crate) fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Counts only the queries for these keys from now on, starting at zero.
    pub(crate) fn watch(&self, digests: impl IntoIterator<Item = KeyDigest>) {
        *self.digests.lock().unwrap() = digests.into_iter().collect();
        self.queries.store(0, Ordering::SeqCst);
    }

    /// Returns how often the database was queried for a watched key.
    pub(crate) fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }
}

impl KeyStore for Watched {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        let watched = self.digests.lock().unwrap();
        let asked = digests.iter().filter(|digest| watched.contains(digest));
        self.queries.fetch_add(asked.count(), Ordering::SeqCst);
        drop(watched);
        thread::sleep(self.delay);
        self.store.find(digests)
    }

    fn watch(&self) -> Result<Option<Box<dyn ChangeFeed>>, StoreError> {
        self.store.watch()
    }

    fn record_usage(&self, uses: &[KeyUsage]) -> Result<(), StoreError> {
        self.store.record_usage(uses)
    }
}
