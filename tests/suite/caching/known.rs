//! Tests that a cached key needs no query, and is still checked on every request.

use std::{
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::{admin::NewKey, health::FeedState, store::DieselStore, test_util::TestClock};
use chrono::{TimeDelta, Utc};

use super::{routes, status};
use crate::support::{
    Database, FakeStore, OwnServer, Server, TEST_TIMEOUT, database_test, fixtures::moment, http,
    log, wait_until,
};

// E7
database_test!(a_used_key_stays_cached_beyond_the_bound_without_queries, |database: Database| {
    let (key, _) = database.issue("0.0.0.0");
    let store = FakeStore::over(DieselStore::open(database.url()).unwrap());
    let bound = Duration::from_millis(800);
    let keys = database.builder().store(store.clone()).max_staleness(bound).build().unwrap();
    let server = Server::start(keys.clone(), routes);
    let began = Instant::now();
    loop {
        wait_until("the feed runs", || keys.health().feed() == FeedState::Fresh);
        assert_eq!(status(server.address, &key), 200);
        store.take_longest_gap();
        let asked = store.queries();
        for _ in 0..20 {
            thread::sleep(bound / 8);
            assert_eq!(status(server.address, &key), 200);
        }
        let (queries, health) = (store.queries(), keys.health());
        let gap = store.take_longest_gap();
        // If the machine paused for longer than the bound, the lease expired, so another query is
        // correct.
        if gap < bound {
            assert_eq!(queries, asked, "a query although the feed renewed the lease");
            assert!(health.is_ready(), "{health}");
            assert!(health.staleness().unwrap() < bound);
            break;
        }
        println!("the changes were read {gap:?} apart: trying again");
        assert!(began.elapsed() < TEST_TIMEOUT, "the changes are not read");
    }
});

// C14
database_test!(the_client_ip_is_checked_on_every_request_cached_or_not, |database: Database| {
    let (here, _) = database.issue("127.0.0.1");
    let (elsewhere, _) = database.issue("203.0.113.7");
    let keys = database.builder().trusted_proxies(["127.0.0.1"]).build().unwrap();
    let server = Server::start(keys, routes);
    let from = |key: &str, address: &str| {
        let headers = [format!("X-API-Key: {key}"), format!("X-Forwarded-For: {address}")];
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        http::get(server.address, "/guarded", &headers).status
    };
    for _ in 0..3 {
        assert_eq!(from(&elsewhere, "203.0.113.7"), 200);
        assert_eq!(from(&elsewhere, "203.0.113.8"), 401);
        assert_eq!(from(&here, "203.0.113.7"), 401);
    }
});

// D1
database_test!(scopes_are_checked_on_every_request_cached_or_not, |database: Database| {
    let may_write = NewKey::new("w").allow_any().scopes("cakes:write").unwrap();
    let ((reader, _), (writer, _)) = (database.issue("0.0.0.0"), database.issue_with(&may_write));
    let server = Server::start(database.keys(), routes);
    for _ in 0..3 {
        for (key, path, expected) in
            [(&reader, "/guarded", 200), (&reader, "/writers", 403), (&writer, "/writers", 200)]
        {
            assert_eq!(http::get_with(server.address, path, key).status, expected);
        }
    }
});

// E5, F12
// The clock of a virtual machine may be wrong for a moment after the machine resumes.
database_test!(a_temporary_wrong_clock_has_no_lasting_effect, |database: Database| {
    database.migrate();
    let clock = TestClock::at(moment() - TimeDelta::days(1));
    let store = FakeStore::over(DieselStore::open(database.url()).unwrap());
    let admin = database.builder().clock(clock.clone()).build_admin().unwrap();
    let ending = admin.issue(&NewKey::new("ending").allow_any().expires_at(moment())).unwrap();
    let endless = admin.issue(&NewKey::new("endless").allow_any()).unwrap();
    let keys = database
        .builder()
        .clock(clock.clone())
        .store(store.clone())
        .max_staleness(TEST_TIMEOUT)
        .build()
        .unwrap();
    let server = Server::start(keys.clone(), routes);
    wait_until("the feed runs", || keys.health().feed() == FeedState::Fresh);
    let ending_is = || status(server.address, ending.secret.expose_secret());
    let endless_is = || status(server.address, endless.secret.expose_secret());
    assert_eq!((ending_is(), endless_is()), (200, 200));
    let asked = store.queries();
    clock.set(moment() + TimeDelta::days(3650));
    assert_eq!((ending_is(), endless_is()), (401, 200));
    assert_eq!(store.queries(), asked, "both keys stayed cached");
    clock.set(moment() - TimeDelta::days(1));
    assert_eq!((ending_is(), endless_is()), (200, 200));
    assert_eq!(store.queries(), asked);
});

// F12
// Expiry follows the clock of the database, so that all processes agree.
#[test]
fn keys_expire_by_the_clock_of_postgres() {
    log::install();
    let postgres = OwnServer::start();
    let database = postgres.database();
    database
        .execute(
            "ALTER FUNCTION pg_catalog.clock_timestamp() RENAME TO local_timestamp; \
             CREATE TABLE public.ahead AS SELECT interval '0' AS of_local; \
             CREATE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS \
                 'SELECT pg_catalog.local_timestamp() + of_local FROM public.ahead'",
        )
        .unwrap();
    let keys = database.keys();
    let server = Server::start(keys.clone(), routes);
    wait_until("the feed runs", || keys.health().feed() == FeedState::Fresh);
    let in_half_an_hour = Utc::now() + TimeDelta::minutes(30);
    let (ended, _) =
        database.issue_with(&NewKey::new("ended").allow_any().expires_at(in_half_an_hour));
    assert_eq!(status(server.address, &ended), 200);
    database.execute("UPDATE ahead SET of_local = '1 hour'").unwrap();
    wait_until("the database is an hour ahead", || status(server.address, &ended) == 401);
    database.execute("UPDATE ahead SET of_local = '-1 hour'").unwrap();
    wait_until("the new clock is applied", || status(server.address, &ended) == 200);
    let half_an_hour_ago = Utc::now() - TimeDelta::minutes(30);
    database.execute(&format!("UPDATE api_keys SET expires_at = '{half_an_hour_ago}'")).unwrap();
    assert_eq!(status(server.address, &ended), 200);
    assert!(log::lines_with("keys expire by the database's clock").len() == 1);
}
