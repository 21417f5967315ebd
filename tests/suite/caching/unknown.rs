//! Tests of negative entries: unknown keys are cached as unknown, and evict no cached key.

use api_key_runtime::{
    AppKeys,
    admin::NewKey,
    store::{DieselStore, StoreError},
    test_util::MemoryStore,
};
use sha2::{Digest as _, Sha256};

use super::{routes, status};
use crate::support::{
    Database, FakeStore, Server, TEST_TIMEOUT, database_test, fixtures::unknown, hex, wait_until,
};

// E10
database_test!(an_unknown_key_is_queried_once_and_accepted_once_issued, |database: Database| {
    database.migrate();
    let store = FakeStore::over(DieselStore::open(database.url()).unwrap());
    let builder = database.builder().store(store.clone());
    let keys = builder.max_staleness(TEST_TIMEOUT).build().unwrap();
    let server = Server::start(keys.clone(), routes);
    wait_until("the feed runs", || keys.health().is_ready());
    let stranger = unknown();
    assert_eq!(status(server.address, &stranger), 401);
    let asked = store.queries();
    for _ in 0..20 {
        assert_eq!(status(server.address, &stranger), 401);
    }
    assert_eq!(store.queries(), asked, "the unknown key caused another query");
    // Another key is deleted and inserted again by plain SQL.
    let (other, id) = database.issue("0.0.0.0");
    assert_eq!(status(server.address, &other), 200);
    database.execute(&format!("DELETE FROM api_keys WHERE id = {id}")).unwrap();
    wait_until("the key is unknown", || status(server.address, &other) == 401);
    let digest = database.literal(&hex(&Sha256::digest(&other)));
    database
            .execute(&format!(
                "INSERT INTO api_keys (digest, digest_algorithm, hint, name, allowed_ips) VALUES ({digest}, 'sha256', '', 'again', '0.0.0.0')"
            ))
            .unwrap();
    wait_until("the key is accepted again", || status(server.address, &other) == 200);
});

// E10
#[test]
fn a_flood_of_unknown_keys_evicts_no_cached_key() {
    let database = Database::sqlite();
    let known: Vec<String> = (0..20).map(|_| database.issue("0.0.0.0").0).collect();
    let store = FakeStore::over(DieselStore::open(database.url()).unwrap());
    let keys = database
        .builder()
        .store(store.clone())
        .cache_capacity(64)
        .max_staleness(TEST_TIMEOUT)
        .build()
        .unwrap();
    let server = Server::start(keys.clone(), routes);
    wait_until("the feed runs", || keys.health().is_ready());
    let all_accepted = || known.iter().all(|key| status(server.address, key) == 200);
    assert!(all_accepted());
    let new = NewKey::new("flood").allow_any();
    for _ in 0..1000 {
        let stranger = keys.make_key(&new).unwrap();
        assert_eq!(status(server.address, stranger.secret.expose_secret()), 401);
    }
    let asked = store.queries();
    assert!(all_accepted());
    assert_eq!(store.queries(), asked, "a cached key was evicted");
}

// E12
#[test]
fn an_error_is_never_cached_as_unknown() {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };
    #[derive(Clone)]
    struct Failing(MemoryStore, Arc<AtomicBool>);
    impl api_key_runtime::store::KeyStore for Failing {
        fn find(
            &self,
            digests: &[api_key_runtime::store::KeyDigest],
        ) -> Result<Vec<api_key_runtime::admin::KeyRecord>, StoreError> {
            if self.1.load(Ordering::SeqCst) {
                Err(StoreError::new("it fails"))
            } else {
                self.0.find(digests)
            }
        }
    }
    let store = Failing(MemoryStore::default(), Arc::default());
    let new = NewKey::new("test").allow_any();
    let key = store.0.issue(&new).unwrap();
    let keys = AppKeys::builder().store(store.clone()).build().unwrap();
    let server = Server::start(keys, routes);
    let is = || status(server.address, key.secret.expose_secret());
    for _ in 0..3 {
        store.1.store(true, Ordering::SeqCst);
        assert_eq!(is(), 503);
        store.1.store(false, Ordering::SeqCst);
        assert_eq!(is(), 200);
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
}

// A3, B4, B5
#[test]
fn malformed_keys_cause_no_query() {
    for accept_imported in [false, true] {
        let memory = MemoryStore::default();
        let key = memory.issue(&NewKey::new("test").allow_any()).unwrap();
        let key = key.secret.expose_secret();
        let store = FakeStore::over(memory);
        let mut builder = AppKeys::builder().store(store.clone());
        if accept_imported {
            builder = builder.accept_imported_keys(true);
        }
        let server = Server::start(builder.build().unwrap(), routes);
        let changed = (0..key.len()).flat_map(|at| {
            let other = if key[at..].starts_with('x') { 'y' } else { 'x' };
            let (head, rest, tail) = (&key[..at], &key[at..], &key[at + 1..]);
            [
                format!("{head}{other}{tail}"),
                format!("{head}{tail}"),
                format!("{head}{other}{rest}"),
            ]
        });
        let odd = ["k\u{e9}", "k\tk", "k k", "k%41", "k,k"].map(str::to_owned);
        let long = [257, 100_000].map(|length| "k".repeat(length));
        for bad in changed.chain(odd).chain(long) {
            assert_eq!(status(server.address, &bad), 401, "{}", bad.escape_debug());
        }
        assert_eq!(store.queries(), 0, "imported keys accepted: {accept_imported}");
        assert_eq!(status(server.address, key), 200);
        assert_eq!(store.queries(), 1, "a valid key causes one query");
    }
}
