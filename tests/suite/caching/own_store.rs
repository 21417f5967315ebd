//! Tests with a custom store that cannot report changes.

use std::{
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::{
    AppKeys, admin::NewKey, health::FeedState, store::KeyStore, test_util::MemoryStore,
};

use super::{routes, status};
use crate::support::{FakeChanges, FakeStore, LONG_DEADLINE, Server};

/// Returns a store that cannot report changes, and the store that issues its keys.
fn silent() -> (FakeStore, MemoryStore) {
    let memory = MemoryStore::default();
    let silent = FakeStore::scripted(memory.clone(), FakeChanges::Unsupported, KeyStore::find);
    (silent, memory)
}

// E15
#[test]
fn an_entry_is_stale_max_staleness_after_its_query_was_sent() {
    const BOUND: Duration = Duration::from_millis(600);
    /// The delay of the store's response, which counts towards the staleness of the entry.
    const LATE: Duration = Duration::from_millis(400);
    let (store, memory) = silent();
    let keys = AppKeys::builder()
        .store(store.clone())
        .max_staleness(BOUND)
        .lookup_timeout(LONG_DEADLINE)
        .build()
        .unwrap();
    let server = Server::start(keys.clone(), routes);
    // If the machine paused for longer than the bound, the entry was never used. In that case, the
    // test tries again.
    let was_cached = || {
        let new = NewKey::new("test").allow_any();
        let issued = memory.issue(&new).unwrap();
        let is = || status(server.address, issued.secret.expose_secret());
        store.answer_late_by(LATE);
        let began = Instant::now();
        assert_eq!(is(), 200);
        store.answer_late_by(Duration::ZERO);
        memory.change(issued.record.id, |record| {
            record.revoked_at = Some(record.created_at);
        });
        let (asked, queried) = store.last_query();
        let mut last_accepted = None;
        loop {
            let sent = queried.elapsed();
            if is() != 200 {
                break;
            }
            assert_eq!(store.queries(), asked, "a cached key caused a query");
            assert!(sent <= BOUND, "a request sent {sent:?} after the query was accepted");
            last_accepted = Some(sent);
            thread::sleep(Duration::from_millis(5));
        }
        let until = began.elapsed();
        println!("accepted until {last_accepted:?}, rejected at {until:?}");
        assert!(until >= BOUND, "{until:?}");
        assert_eq!(store.queries(), asked + 1);
        last_accepted.is_some()
    };
    let mut tries = 0..100;
    assert!(tries.any(|_| was_cached()), "the key was never used from the cache");
    assert_eq!(keys.health().feed(), FeedState::Unsupported);
    assert!(keys.health().is_ready());
}

// E15
#[test]
fn max_staleness_of_zero_queries_on_every_request() {
    let (store, memory) = silent();
    let new = NewKey::new("test").allow_any();
    let issued = memory.issue(&new).unwrap();
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
    assert_eq!(store.queries(), 10);
}

// F3
#[test]
fn stale_if_error_below_max_staleness_is_an_error() {
    let error = AppKeys::builder()
        .store(silent().0)
        .max_staleness(Duration::from_secs(2))
        .stale_if_error(Duration::from_secs(1))
        .build()
        .unwrap_err();
    assert!(error.is_config() && error.to_string().contains("stale_if_error"), "{error}");
}
