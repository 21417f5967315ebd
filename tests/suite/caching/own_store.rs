//! A store of the application's own that does not tell what changes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::{
    AppKeys, Digest, FeedState, KeyRecord, KeyStore, NewKey, StoreError, test_util::MemoryStore,
};

use super::{routes, status};
use crate::support::Server;

/// A store that tells nothing, counts its queries, and answers as late as it is told.
#[derive(Clone)]
struct Silent {
    store: MemoryStore,
    queries: Arc<AtomicU64>,
    late_by: Arc<AtomicU64>,
}

impl Silent {
    fn new() -> Self {
        Self {
            store: MemoryStore::default(),
            queries: Arc::default(),
            late_by: Arc::default(),
        }
    }

    fn asked(&self) -> u64 {
        self.queries.load(Ordering::SeqCst)
    }
}

impl KeyStore for Silent {
    fn find(&self, digests: &[Digest]) -> Result<Vec<KeyRecord>, StoreError> {
        self.queries.fetch_add(1, Ordering::SeqCst);
        let found = self.store.find(digests);
        thread::sleep(Duration::from_millis(self.late_by.load(Ordering::SeqCst)));
        found
    }
}

// E15
#[test]
fn a_key_is_believed_until_the_bound_after_its_query_was_sent() {
    const BOUND: Duration = Duration::from_millis(600);
    let store = Silent::new();
    let new = NewKey::new("test", "0.0.0.0".parse().unwrap());
    let issued = store.store.issue(&new).unwrap();
    let keys = AppKeys::builder()
        .store(store.clone())
        .max_staleness(BOUND)
        .build()
        .unwrap();
    let server = Server::start(keys.clone(), routes);
    let is = || status(server.address, issued.secret.expose());
    // The answer is late, and what it says counts from when it was asked for.
    store.late_by.store(200, Ordering::SeqCst);
    let sent_after = Instant::now();
    assert_eq!(is(), 200);
    store.late_by.store(0, Ordering::SeqCst);
    let id = issued.record.id;
    store.store.change(id, |record| {
        record.revoked_at = Some(record.created_at);
    });
    let asked = store.asked();
    let mut believed = 0;
    while is() == 200 {
        assert_eq!(store.asked(), asked, "known, or refused");
        believed += 1;
        thread::sleep(Duration::from_millis(10));
    }
    let until = sent_after.elapsed();
    assert!(believed > 0, "it was known for a while");
    assert!(
        until >= BOUND && until < BOUND + Duration::from_millis(150),
        "{until:?}"
    );
    assert_eq!(store.asked(), asked + 1);
    assert_eq!(keys.health().feed(), FeedState::Without);
    assert!(keys.health().is_ready());
}

// E15
#[test]
fn a_bound_of_zero_asks_for_every_request() {
    let store = Silent::new();
    let new = NewKey::new("test", "0.0.0.0".parse().unwrap());
    let issued = store.store.issue(&new).unwrap();
    let keys = AppKeys::builder()
        .store(store.clone())
        .max_staleness(Duration::ZERO)
        .build()
        .unwrap();
    let server = Server::start(keys, routes);
    for _ in 0..10 {
        assert_eq!(status(server.address, issued.secret.expose()), 200);
    }
    assert_eq!(store.asked(), 10);
}

// E15
#[test]
fn a_bound_for_outages_that_is_shorter_than_the_one_without_is_refused() {
    let error = AppKeys::builder()
        .store(Silent::new())
        .max_staleness(Duration::from_secs(2))
        .stale_if_error(Duration::from_secs(1))
        .build()
        .unwrap_err();
    assert!(
        error.is_setting() && error.to_string().contains("stale_if_error"),
        "{error}"
    );
}
