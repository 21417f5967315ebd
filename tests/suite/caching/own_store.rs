//! A store of the application's own that does not tell what changes.

use std::{
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::{
    AppKeys, admin::NewKey, health::FeedState, store::KeyStore, test_util::MemoryStore,
};

use super::{routes, status};
use crate::support::{FakeChanges, FakeStore, LONG_DEADLINE, Server};

/// A store that reports no changes, and one to issue its keys with.
fn silent() -> (FakeStore, MemoryStore) {
    let memory = MemoryStore::default();
    let silent = FakeStore::scripted(memory.clone(), FakeChanges::Unsupported, KeyStore::find);
    (silent, memory)
}

// E15
#[test]
fn a_key_is_believed_until_the_bound_after_its_query_was_sent() {
    const BOUND: Duration = Duration::from_millis(600);
    /// Late by most of the bound, which it counts for.
    const LATE: Duration = Duration::from_millis(400);
    let (store, memory) = silent();
    let keys = AppKeys::builder()
        .store(store.clone())
        .max_staleness(BOUND)
        .lookup_timeout(LONG_DEADLINE)
        .build()
        .unwrap();
    let server = Server::start(keys.clone(), routes);
    // Where the machine stood still for so long that nothing was believed, once more.
    let was_believed = || {
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
            assert_eq!(store.queries(), asked, "known, or refused");
            assert!(sent <= BOUND, "what was sent {sent:?} later was accepted");
            last_accepted = Some(sent);
            thread::sleep(Duration::from_millis(5));
        }
        let until = began.elapsed();
        println!("accepted until {last_accepted:?}, refused at {until:?}");
        assert!(until >= BOUND, "{until:?}");
        assert_eq!(store.queries(), asked + 1);
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
