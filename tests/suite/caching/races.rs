//! Tests of lookups that read before a change and return after the change, and of shared lookups.

use std::{thread, time::Duration};

use api_key_runtime::{AppKeys, store::DieselStore};

use super::{routes, status};
use crate::support::{
    CountedServer, Database, FakeStore, Server, TEST_TIMEOUT, allow_open_files, database_test,
    http, wait_until,
};

/// Returns a store that delays the results of lookups while it is held.
fn fake_over(database: &Database) -> FakeStore {
    FakeStore::over(DieselStore::open(database.url()).unwrap())
}

/// Sends a request with this key and does not wait for its response.
fn send(server: &CountedServer, key: &str) -> http::Client {
    let mut client = http::Client::connect(server.address);
    let line = format!("X-API-Key: {key}");
    client.send(http::head("GET", "/guarded", &[&line]));
    client
}

fn keys_over(database: &Database, store: &FakeStore) -> AppKeys {
    let builder = database.builder().store(store.clone());
    builder.build().unwrap()
}

// E1, E3, E4
database_test!(a_read_that_predates_a_revocation_accepts_no_request, |database: Database| {
    let (key, id) = database.issue("0.0.0.0");
    let store = fake_over(&database);
    let keys = keys_over(&database, &store);
    wait_until("the feed is up to date", || keys.health().is_ready());
    let server = CountedServer::start(keys, routes);
    store.hold();
    let mut early = send(&server, &key);
    store.wait_until_inside(1);
    database.revoke_by_sql(id);
    wait_until("the feed applies the change while the read is held", || {
        store.has_applied_a_change()
    });
    let mut late = send(&server, &key);
    server.wait_for(2);
    store.release();
    let late = late.read(false).unwrap().status;
    assert_eq!(late, 401, "a request after the revocation joined the earlier read");
    let early = early.read(false).unwrap().status;
    assert!(early == 200 || early == 401, "both 200 and 401 are correct: {early}");
    for _ in 0..50 {
        assert_eq!(status(server.address, &key), 401, "the outdated record was cached");
    }
});

// E4
database_test!(a_restored_database_does_not_revive_a_revoked_key, |database: Database| {
    let (key, id) = database.issue("0.0.0.0");
    let (other, _) = database.issue("0.0.0.0");
    let server = Server::start(database.keys(), routes);
    database.admin().revoke(id).unwrap();
    assert_eq!(status(server.address, &key), 401);
    // The triggers reject an UPDATE that clears `revoked_at`. A restored backup bypasses the
    // triggers.
    let without_triggers = |sql: &str| {
        if database.is_postgres() {
            format!(
                "ALTER TABLE api_keys DISABLE TRIGGER api_keys_revocation_is_final; {sql}; \
                     ALTER TABLE api_keys ENABLE TRIGGER api_keys_revocation_is_final"
            )
        } else {
            let trigger = database
                .texts("SELECT sql FROM sqlite_master WHERE name = 'api_keys_revocation_is_final'")
                .remove(0);
            format!("BEGIN; DROP TRIGGER api_keys_revocation_is_final; {sql}; {trigger}; COMMIT")
        }
    };
    let sql = "UPDATE api_keys SET revoked_at = NULL";
    database.execute(&without_triggers(sql)).unwrap();
    assert!(database.admin().get(id).unwrap().revoked_at.is_none());
    for _ in 0..50 {
        assert_eq!(status(server.address, &key), 401);
        thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(status(server.address, &other), 200);
});

// E11
database_test!(a_thousand_first_requests_of_a_key_are_one_query, |database: Database| {
    const REQUESTS: usize = 1000;
    allow_open_files(8192);
    let (key, _) = database.issue("0.0.0.0");
    let held = fake_over(&database);
    let store = FakeStore::over(held.clone());
    // Further requests join a running lookup only during the first half of the shorter of these two
    // times.
    let builder = database.builder().store(store.clone());
    let builder = builder.lookup_timeout(TEST_TIMEOUT).max_staleness(TEST_TIMEOUT);
    let keys = builder.build().unwrap();
    // The first change report counts as a change of everything, so lookups that started earlier are
    // repeated.
    wait_until("the feed is up to date", || keys.health().is_ready());
    let server = CountedServer::start(keys, routes);
    held.hold();
    let before = store.queries();
    let mut requests: Vec<_> = (0..REQUESTS).map(|_| send(&server, &key)).collect();
    server.wait_for(REQUESTS);
    held.wait_until_inside(1);
    held.release();
    for request in &mut requests {
        assert_eq!(request.read(false).unwrap().status, 200);
    }
    assert_eq!(store.queries() - before, 1);
});

// E11
#[test]
fn a_dropped_request_does_not_fail_those_that_wait_with_it() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let held = fake_over(&database);
    let server = CountedServer::start(keys_over(&database, &held), routes);
    held.hold();
    let first = send(&server, &key);
    held.wait_until_inside(1);
    let mut second = send(&server, &key);
    server.wait_for(2);
    drop(first);
    // Gives the server time to notice the closed connection.
    thread::sleep(Duration::from_millis(100));
    held.release();
    assert_eq!(second.read(false).unwrap().status, 200);
    wait_until("the key is accepted", || status(server.address, &key) == 200);
}
