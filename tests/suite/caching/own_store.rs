//! A store of the application's own that does not tell what changes.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::{
    AppKeys, FeedState, KeyDigest, KeyRecord, KeyStore, NewKey, StoreError, test_util::MemoryStore,
};

use super::{routes, status};
use crate::support::{LONG_DEADLINE, Server};

/// A store that tells nothing, counts its queries, and answers as late as it is told.
#[derive(Clone)]
struct Silent {
    store: MemoryStore,
    state: Arc<Mutex<State>>,
}

struct State {
    queries: u64,
    last_query: Instant,
    late_by: Duration,
}

impl Silent {
    fn new() -> Self {
        Self {
            store: MemoryStore::default(),
            state: Arc::new(Mutex::new(State {
                queries: 0,
                last_query: Instant::now(),
                late_by: Duration::ZERO,
            })),
        }
    }

    fn asked(&self) -> u64 {
        self.last_query().0
    }

    /// How many queries there were, and when the last one came, which was sent before.
    fn last_query(&self) -> (u64, Instant) {
        let state = self.state.lock().unwrap();
        (state.queries, state.last_query)
    }

    fn answer_late_by(&self, time: Duration) {
        self.state.lock().unwrap().late_by = time;
    }
}

impl KeyStore for Silent {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        let late_by = {
            let mut state = self.state.lock().unwrap();
            state.queries += 1;
            state.last_query = Instant::now();
            state.late_by
        };
        let found = self.store.find(digests);
        thread::sleep(late_by);
        found
    }
}

// E15
#[test]
fn a_key_is_believed_until_the_bound_after_its_query_was_sent() {
    const BOUND: Duration = Duration::from_millis(600);
    /// Late by most of the bound, which it counts for.
    const LATE: Duration = Duration::from_millis(400);
    let store = Silent::new();
    let keys = AppKeys::builder()
        .store(store.clone())
        .max_staleness(BOUND)
        .lookup_timeout(LONG_DEADLINE)
        .build()
        .unwrap();
    let server = Server::start(keys.clone(), routes);
    // Where the machine stood still for so long that nothing was believed, once more.
    let was_believed = || {
        let new = NewKey::new("test", "0.0.0.0".parse().unwrap());
        let issued = store.store.issue(&new).unwrap();
        let is = || status(server.address, issued.secret.expose_secret());
        store.answer_late_by(LATE);
        let began = Instant::now();
        assert_eq!(is(), 200);
        store.answer_late_by(Duration::ZERO);
        store.store.change(issued.record.id, |record| {
            record.revoked_at = Some(record.created_at);
        });
        let (asked, queried) = store.last_query();
        let mut last_accepted = None;
        loop {
            let sent = queried.elapsed();
            if is() != 200 {
                break;
            }
            assert_eq!(store.asked(), asked, "known, or refused");
            assert!(sent <= BOUND, "what was sent {sent:?} later was accepted");
            last_accepted = Some(sent);
            thread::sleep(Duration::from_millis(5));
        }
        let until = began.elapsed();
        println!("accepted until {last_accepted:?}, refused at {until:?}");
        assert!(until >= BOUND, "{until:?}");
        assert_eq!(store.asked(), asked + 1);
        last_accepted.is_some()
    };
    let mut tries = 0..100;
    assert!(tries.any(|_| was_believed()), "it was known for a while");
    assert_eq!(keys.health().feed(), FeedState::Unsupported);
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
        .lookup_timeout(LONG_DEADLINE)
        .build()
        .unwrap();
    let server = Server::start(keys, routes);
    for _ in 0..10 {
        assert_eq!(status(server.address, issued.secret.expose_secret()), 200);
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
    assert!(error.is_config() && error.to_string().contains("stale_if_error"), "{error}");
}
