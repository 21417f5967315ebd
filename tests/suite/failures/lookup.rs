//! Stores that fail, panic, or answer late or not at all, and lookups that wait for them.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::{
    AppKeys,
    admin::NewKey,
    store::{KeyStore, StoreError},
    test_util::MemoryStore,
};

use super::routes;
use crate::support::{
    CountedServer, Database, FakeChanges, FakeStore, Server, TEST_TIMEOUT, allow_open_files,
    database_test, fixtures, http,
    load::{Stopping, with_key},
    log, wait_until,
};

/// The number of open files for up to 1700 connections with both ends in this process, and for
/// other tests.
const FILES: u64 = 8192;

fn issue(store: &MemoryStore) -> String {
    store.issue(&NewKey::new("test").allow_any()).unwrap().secret.expose_secret().to_owned()
}

/// Returns a store whose first `faults` lookups fail.
fn faulty(store: MemoryStore, faults: usize, fault: fn() -> StoreError) -> FakeStore {
    let left = AtomicUsize::new(faults);
    FakeStore::scripted(store, FakeChanges::Unsupported, move |store, digests| {
        let fails =
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if fails.is_ok() { Err(fault()) } else { store.find(digests) }
    })
}

// E12, F3
#[test]
fn an_error_is_503_and_never_cached_as_unknown() {
    let store = MemoryStore::default();
    let key = issue(&store);
    let faulty = faulty(store, 2, || StoreError::new("unavailable"));
    let server = Server::start(AppKeys::builder().store(faulty).build().unwrap(), routes);
    let statuses: Vec<u16> =
        (0..4).map(|_| http::get_with(server.address, "/guarded", &key).status).collect();
    assert_eq!(statuses, [503, 503, 200, 200]);
}

// F9
#[test]
fn a_store_panic_is_a_logged_503_and_lookups_still_work() {
    let store = MemoryStore::default();
    let key = issue(&store);
    let faulty = faulty(store, 5, || panic!("a bug in a custom store"));
    let server = Server::start(AppKeys::builder().store(faulty).build().unwrap(), routes);
    let statuses: Vec<u16> =
        (0..7).map(|_| http::get_with(server.address, "/guarded", &key).status).collect();
    assert_eq!(statuses, [503, 503, 503, 503, 503, 200, 200], "the lookup thread survives");
    assert!(log::lines_with("the store panicked").iter().any(|line| line.starts_with("ERROR")));
}

// F9
#[test]
fn two_records_for_one_key_are_503() {
    let store = MemoryStore::default();
    let key = issue(&store);
    let double = FakeStore::scripted(store, FakeChanges::Unsupported, |store, digests| {
        let found = store.find(digests)?;
        Ok([found.clone(), found].concat())
    });
    let server = Server::start(AppKeys::builder().store(double).build().unwrap(), routes);
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 503);
}

/// Returns the keys of a service with this store, this lookup timeout and a long `max_staleness`.
fn long_lived(store: impl KeyStore, deadline: Duration) -> AppKeys {
    let builder = AppKeys::builder().store(store).lookup_timeout(deadline);
    builder.max_staleness(TEST_TIMEOUT).build().unwrap()
}

/// Sends a request with this key and does not wait for its response.
fn send(server: &CountedServer, key: &str) -> http::Client {
    let mut client = http::Client::connect(server.address);
    client.send(with_key(key));
    client
}

/// Makes both lookup threads wait for the store. All later lookups wait in the queue.
fn hold_both_threads(server: &CountedServer, store: &FakeStore) -> Vec<http::Client> {
    let hold = |number| {
        let client = send(server, &fixtures::unknown());
        store.wait_until_inside(number);
        client
    };
    (1..=2).map(hold).collect()
}

// F1, F2
#[test]
fn a_frozen_store_blocks_a_bounded_number_of_threads() {
    let memory = MemoryStore::default();
    let key = issue(&memory);
    let store = FakeStore::held(memory);
    let keys = AppKeys::builder()
        .store(store.clone())
        .lookup_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    // There is one worker, so a blocked worker would block every request.
    let server = Server::start(keys, routes);
    let address = server.address;
    let ask = |key: &str| http::get_with(address, "/guarded", key).status;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = [(); 8].map(|()| {
            scope.spawn(|| {
                let mut longest = Duration::ZERO;
                while !stop.load(Ordering::SeqCst) {
                    let started = Instant::now();
                    // The store returns only after `release`, so any earlier response shows that
                    // the deadline works.
                    assert_eq!(ask(&key), 503);
                    longest = longest.max(started.elapsed());
                }
                longest
            })
        });
        let stopping = Stopping(&stop);
        let health = || assert_eq!(http::get(address, "/health", &[]).status, 200);
        for _ in 0..200 {
            health();
            thread::sleep(Duration::from_millis(10));
        }
        wait_until("stuck threads are replaced", || {
            health();
            store.inside() >= 3
        });
        drop(stopping);
        let longest = clients.map(|client| client.join().unwrap());
        println!("the slowest response with a timeout of 1 s took {longest:?}");
    });
    let stuck = store.inside();
    assert!(
        (3..=10).contains(&stuck),
        "expected two threads and up to eight replacements, not {stuck}"
    );
    store.release();
    wait_until("the service recovers", || ask(&key) == 200);
    wait_until("abandoned threads end", || store.inside() == 0);
    // The threads must have ended and not just be idle. Each of these keys needs a lookup, so an
    // idle thread would take some of the lookups.
    store.take_threads();
    for _ in 0..200 {
        let stranger = fixtures::unknown();
        wait_until("an unknown key is rejected", || ask(&stranger) == 401);
    }
    let threads = store.take_threads();
    assert!((1..=2).contains(&threads), "{threads} threads still run, expected at most two");
}

// E11
#[test]
fn an_abandoned_request_does_not_fail_the_others() {
    let memory = MemoryStore::default();
    let key = issue(&memory);
    let store = FakeStore::held(memory);
    let server = CountedServer::start(long_lived(store.clone(), TEST_TIMEOUT), routes);
    let mut stuck = hold_both_threads(&server, &store);
    // The next five requests wait in the queue for one lookup. The first of these requests
    // disconnects.
    let leader = send(&server, &key);
    server.wait_for(3);
    let mut followers = [(); 4].map(|()| send(&server, &key));
    server.wait_for(7);
    drop(leader);
    // Gives the server time to notice the closed connection.
    thread::sleep(Duration::from_millis(100));
    store.release();
    for client in &mut stuck {
        assert_eq!(client.read(false).unwrap().status, 401);
    }
    for follower in &mut followers {
        assert_eq!(follower.read(false).unwrap().status, 200);
    }
}

// E11
#[test]
fn a_timed_out_request_does_not_fail_those_that_joined_it() {
    /// The followers join the lookup after a third of this time. After five eighths, the store
    /// counts as unavailable, and no further request joins a lookup. The supervisor checks for
    /// stuck threads five times a second. The deadline must pass before the supervisor replaces the
    /// stuck threads, because new threads would look up the key.
    const DEADLINE: Duration = Duration::from_millis(12_100);
    let memory = MemoryStore::default();
    let key = issue(&memory);
    let store = FakeStore::held(memory);
    let server = CountedServer::start(long_lived(store.clone(), DEADLINE), routes);
    let _stuck = hold_both_threads(&server, &store);
    let mut leader = send(&server, &key);
    server.wait_for(3);
    thread::sleep(DEADLINE / 3);
    let mut followers = [(); 4].map(|()| send(&server, &key));
    server.wait_for(7);
    assert_eq!(leader.read(false).unwrap().status, 503, "the request times out");
    store.release();
    for follower in &mut followers {
        assert_eq!(follower.read(false).unwrap().status, 200);
    }
}

// E11
// All these requests together take one place in the queue.
#[test]
fn a_thousand_cold_requests_share_one_lookup() {
    const REQUESTS: usize = 1100;
    allow_open_files(FILES);
    let memory = MemoryStore::default();
    let store = FakeStore::held(memory.clone());
    let issued = memory.issue(&NewKey::new("test").allow_any()).unwrap();
    let key = issued.secret.expose_secret();
    let server = CountedServer::start(long_lived(store.clone(), TEST_TIMEOUT * 2), routes);
    let mut stuck = hold_both_threads(&server, &store);
    let mut waiting: Vec<http::Client> = (0..REQUESTS).map(|_| send(&server, key)).collect();
    server.wait_for(stuck.len() + REQUESTS);
    store.release();
    for client in &mut waiting {
        assert_eq!(client.read(false).unwrap().status, 200);
    }
    for client in &mut stuck {
        assert_eq!(client.read(false).unwrap().status, 401);
    }
    let times = store.queries_for(issued.record.digest);
    assert_eq!(times, 1, "{times} queries for {REQUESTS} requests");
}

// D1, F2
#[test]
fn a_full_queue_is_503_at_once_and_recovers() {
    const REQUESTS: usize = 1700;
    allow_open_files(FILES);
    let memory = MemoryStore::default();
    let key = issue(&memory);
    let store = FakeStore::held(memory);
    let server = CountedServer::start(long_lived(store.clone(), TEST_TIMEOUT * 2), routes);
    // Up to 512 lookups of unknown keys may wait, and each of the two threads has only a few, so
    // some of these requests do not fit.
    let mut clients: Vec<http::Client> =
        (0..REQUESTS).map(|_| send(&server, &fixtures::unknown())).collect();
    server.wait_for(REQUESTS);
    let began = Instant::now();
    let rejection = http::get_with(server.address, "/guarded", &key);
    assert_eq!((rejection.status, rejection.header("retry-after")), (503, Some("1")));
    let took = began.elapsed();
    println!("rejected after {took:?}");
    assert!(took < TEST_TIMEOUT, "the rejection waited for the timeout: {took:?}");
    assert!(!log::lines_with("lookup queue full").is_empty());
    store.release();
    let statuses: Vec<u16> =
        clients.iter_mut().map(|client| client.read(false).unwrap().status).collect();
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert!(
        statuses.iter().all(|status| matches!(status, 401 | 503)) && (1..1200).contains(&refused),
        "{refused} of {REQUESTS} got 503"
    );
    wait_until("the queue has room again", || {
        http::get_with(server.address, "/guarded", &key).status == 200
    });
}

// E1
// The older lookup was sent before the revocation, and still returns an active key.
#[test]
fn a_request_after_a_revocation_ignores_an_older_lookup() {
    let memory = MemoryStore::default();
    let slow = FakeStore::held(memory.clone());
    let issued = memory.issue(&NewKey::new("test").allow_any()).unwrap();
    let key = issued.secret.expose_secret().to_owned();
    let keys = AppKeys::builder()
        .store(slow.clone())
        .max_staleness(Duration::ZERO)
        .lookup_timeout(TEST_TIMEOUT)
        .build()
        .unwrap();
    let server = CountedServer::start(keys, routes);
    let mut before = send(&server, &key);
    slow.wait_until_inside(1);
    memory.change(issued.record.id, |record| {
        record.revoked_at = Some(fixtures::moment());
    });
    let mut after = send(&server, &key);
    server.wait_for(2);
    slow.release();
    assert_eq!(after.read(false).unwrap().status, 401);
    // The earlier request may be accepted or rejected: the process may have seen the revocation by
    // now.
    assert!(matches!(before.read(false).unwrap().status, 200 | 401));
}

// E1, E6
database_test!(without_a_cache_a_change_applies_to_the_next_request, |database: Database| {
    database.migrate();
    let builder = database.builder().max_staleness(Duration::ZERO);
    let keys = builder.build().unwrap();
    let admin = keys.admin().unwrap();
    let server = Server::start(keys.clone(), routes);
    let status = |key: &str| http::get_with(server.address, "/guarded", key).status;
    let sql = |set: &str, id: i64| {
        database.execute(&format!("UPDATE api_keys SET {set} WHERE id = {id}")).unwrap();
    };
    let (key, id) = database.issue("0.0.0.0");
    for _ in 0..3 {
        assert_eq!(status(&key), 200);
        admin.disable(id).unwrap();
        assert_eq!(status(&key), 401, "disabled");
        admin.enable(id).unwrap();
        assert_eq!(status(&key), 200, "enabled");
    }
    for (set, back) in [
        ("allowed_ips = '203.0.113.7'", "allowed_ips = '0.0.0.0'"),
        ("expires_at = '2001-01-01 00:00:00+00:00'", "expires_at = NULL"),
        ("disabled_at = '2001-01-01 00:00:00+00:00'", "disabled_at = NULL"),
    ] {
        sql(set, id);
        assert_eq!(status(&key), 401, "{set}");
        sql(back, id);
        assert_eq!(status(&key), 200, "{back}");
    }
    admin.revoke(id).unwrap();
    assert_eq!(status(&key), 401, "revoked");
    let (other, other_id) = database.issue("0.0.0.0");
    assert_eq!(status(&other), 200);
    sql("revoked_at = '2001-01-01 00:00:00+00:00'", other_id);
    assert_eq!(status(&other), 401, "revoked by SQL");
    let (deleted, deleted_id) = database.issue("0.0.0.0");
    assert_eq!(status(&deleted), 200);
    database.execute(&format!("DELETE FROM api_keys WHERE id = {deleted_id}")).unwrap();
    assert_eq!(status(&deleted), 401, "deleted");
});

// F7
database_test!(hostile_keys_do_not_count_as_store_failures, |database: Database| {
    const REQUESTS: usize = 100;
    let keys = database.keys();
    let (key, _) = database.issue("0.0.0.0");
    let server = Server::start(keys.clone(), routes);
    thread::scope(|scope| {
        for client in 0..4 {
            let key = &key;
            scope.spawn(move || {
                let mut connection = http::Client::connect(server.address);
                for number in 0..REQUESTS {
                    let hostile = match number % 4 {
                        0 => fixtures::unknown(),
                        1 => fixtures::mistyped(key),
                        2 => "x".repeat(number * 4),
                        _ => format!("'+OR+'1'='1'--{client}-{number}"),
                    };
                    let line = format!("Authorization: Bearer {hostile}");
                    connection.send(http::head("GET", "/guarded", &[&line]));
                    assert_eq!(connection.read(false).unwrap().status, 401, "{hostile}");
                }
            });
        }
    });
    assert!(keys.health().is_ready());
    assert_eq!(keys.metrics().failed_lookups(), 0);
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
});
