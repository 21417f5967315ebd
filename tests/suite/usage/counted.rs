//! Tests of which requests count as usage, and of what is recorded.

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use actix_web::{App, HttpServer, web};
use api_key_runtime::{KeyLocation, RequireAppKey, admin::KeyUsage, test_util::TestClock};
use chrono::TimeDelta;

use super::{NEVER, SOON, TEST_TIMEOUT, count, recording, routes, usage, wait_until};
use crate::support::{Database, Fixtures, Server, database_test, fixtures, http};

// F11
database_test!(every_accepted_request_counts_once, |database: Database| {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 300;
    let keys = recording(&database, SOON).build().unwrap();
    let issued: Vec<(String, i64)> = (0..3).map(|_| database.issue("0.0.0.0")).collect();
    let in_app = keys.clone();
    let server = Server::built(move || {
        let app = move || App::new().app_data(in_app.clone()).configure(routes);
        let server = HttpServer::new(app)
            .workers(4)
            .shutdown_timeout(1)
            .disable_signals()
            .bind("127.0.0.1:0")
            .unwrap();
        (server.addrs()[0], server.run())
    });
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = http::Client::connect(server.address);
                for number in 0..REQUESTS {
                    let (key, _) = &issued[number % issued.len()];
                    let line = format!("Authorization: Bearer {key}");
                    client.send(http::head("GET", "/guarded", &[&line]));
                    assert_eq!(client.read(false).unwrap().status, 200);
                }
            });
        }
    });
    keys.flush_usage(TEST_TIMEOUT).unwrap();
    let counts: Vec<u64> = issued.iter().map(|(_, id)| count(&database, *id)).collect();
    assert_eq!(counts, [(CLIENTS * REQUESTS / 3) as u64; 3]);
    let in_all: Vec<i64> =
        (database.admin().list_usage(..).unwrap().iter()).map(|usage| usage.key_id).collect();
    assert_eq!(in_all, issued.iter().map(|(_, id)| *id).collect::<Vec<_>>());
});

// F11
database_test!(the_last_time_and_address_are_exact, |database: Database| {
    let clock = TestClock::at(fixtures::moment());
    let keys = recording(&database, NEVER)
        .clock(clock.clone())
        .trusted_proxies(["127.0.0.1"])
        .build()
        .unwrap();
    let server = Server::start(keys.clone(), routes);
    let (key, id) = database.issue("0.0.0.0");
    assert_eq!(usage(&database, id), None, "never used");
    let mut expected = 0;
    for (forwarded, address) in [
        (Some("203.0.113.7"), Some("203.0.113.7")),
        (Some("2001:db8:1:2:3:4:5:6"), Some("2001:db8:1:2:3:4:5:6")),
        (Some("2001:db8::1:6"), Some("2001:db8::1:6")),
        (Some("::ffff:203.0.113.9"), Some("203.0.113.9")),
        // The trusted proxy sends no header, so the client IP is unknown.
        (None, None),
        (Some("2001:db8::1:6"), Some("2001:db8::1:6")),
    ] {
        // A request from another address comes first, but the last address is recorded.
        let forwarded = forwarded.map(|address| format!("X-Forwarded-For: {address}"));
        let mut sent = Instant::now();
        let mut answered = sent;
        for line in [Some("X-Forwarded-For: 192.0.2.1".to_owned()), forwarded] {
            let key = format!("X-API-Key: {key}");
            let lines: Vec<&str> =
                [Some(key.as_str()), line.as_deref()].into_iter().flatten().collect();
            sent = Instant::now();
            assert_eq!(http::get(server.address, "/guarded", &lines).status, 200);
            answered = Instant::now();
        }
        // The usage is flushed later, but the time of the use must be recorded. The age of the use
        // is measured against the test clock, which stands still.
        clock.advance(Duration::from_secs(3600));
        thread::sleep(Duration::from_millis(300));
        let least = answered.elapsed();
        keys.flush_usage(TEST_TIMEOUT).unwrap();
        let most = sent.elapsed();
        expected += 2;
        let known = usage(&database, id).unwrap();
        let address = address.map(|address| address.parse::<IpAddr>().unwrap());
        assert_eq!((known.count, known.last_used_ip), (expected, address));
        let ago = (clock.now() - known.last_used_at).to_std().unwrap();
        // Recorded times have a precision of microseconds.
        let slack = Duration::from_micros(1);
        assert!(
            least <= ago + slack && ago <= most + slack,
            "{ago:?} ago is not within {least:?} and {most:?}"
        );
    }
});

// F11
// The nested guards of `/twice/guarded` count one use.
database_test!(rejected_requests_are_not_usage, |database: Database| {
    let keys = recording(&database, NEVER).build().unwrap();
    let server = Server::start(keys.clone(), routes);
    let fixtures = Fixtures::new(&database);
    let get = |path: &str, key: &str| http::get_with(server.address, path, key).status;
    for (_, key) in fixtures.invalid() {
        assert_eq!((get("/guarded", key), get("/optional", key)), (401, 401));
    }
    assert_eq!(get("/guarded", &fixtures::mistyped(&fixtures.active)), 401);
    assert_eq!(get("/scoped", &fixtures.active), 403);
    let twice = format!("X-API-Key: {}", fixtures.active);
    assert_eq!(http::get(server.address, "/guarded", &[&twice, &twice]).status, 400);
    assert_eq!(http::get(server.address, "/optional", &[]).status, 200);
    keys.flush_usage(TEST_TIMEOUT).unwrap();
    assert_eq!(database.admin().list_usage(..).unwrap(), []);

    assert_eq!(get("/optional", &fixtures.active), 200);
    assert_eq!(get("/guarded", &fixtures.active), 200);
    assert_eq!(get("/twice/guarded", &fixtures.active), 200);
    keys.flush_usage(TEST_TIMEOUT).unwrap();
    let counts: Vec<u64> =
        (database.admin().list_usage(..).unwrap().iter()).map(|usage| usage.count).collect();
    assert_eq!(counts, [3]);
});

// F11
// Guards of one key set count one use even if each guard looks up the key itself. Different key
// sets count separately.
#[test]
fn nested_guards_count_one_use() {
    let (database, other) = (Database::sqlite(), Database::sqlite());
    let keys = |database| recording(database, NEVER).max_staleness(Duration::ZERO);
    let outer = keys(&database).build().unwrap();
    let inner = keys(&other).key_locations([KeyLocation::header("X-Inner")]).build();
    let inner = inner.unwrap();
    let sets = [outer.clone(), inner.clone()];
    let server = Server::configured(move |config| {
        let [outer, inner] = sets.clone();
        let within = web::scope("/inner").app_data(inner).configure(routes);
        let twice = web::scope("").wrap(RequireAppKey::new()).service(within);
        config.app_data(outer).service(twice.configure(routes));
    });
    // Each key is the first in its table, so both have the same id.
    let ((key, id), (inner_key, inner_id)) = (database.issue("0.0.0.0"), other.issue("0.0.0.0"));
    assert_eq!(id, inner_id);
    let line = format!("X-Inner: {inner_key}");
    let bearer = format!("Authorization: Bearer {key}");
    let get = |path| http::get(server.address, path, &[&bearer, &line]).status;
    assert_eq!((get("/guarded"), get("/inner/guarded")), (200, 200));
    outer.flush_usage(TEST_TIMEOUT).unwrap();
    inner.flush_usage(TEST_TIMEOUT).unwrap();
    assert_eq!((count(&database, id), count(&other, inner_id)), (2, 1));
}

// F11
database_test!(usage_of_two_processes_adds_up, |database: Database| {
    let (key, id) = database.issue("0.0.0.0");
    let now = fixtures::moment();
    // The process with the latest use records its usage first.
    for (at, address, uses) in [
        (now, "2001:db8::7", 2),
        (now - TimeDelta::hours(1), "203.0.113.7", 3),
        (now - TimeDelta::minutes(1), "203.0.113.8", 4),
    ] {
        let keys = recording(&database, NEVER)
            .trusted_proxies(["127.0.0.1"])
            .clock(TestClock::at(at))
            .build()
            .unwrap();
        let server = Server::start(keys.clone(), routes);
        let lines = [format!("X-API-Key: {key}"), format!("X-Forwarded-For: {address}")];
        for _ in 0..uses {
            let status =
                http::get(server.address, "/guarded", &lines.each_ref().map(String::as_str)).status;
            assert_eq!(status, 200);
        }
        keys.flush_usage(TEST_TIMEOUT).unwrap();
    }
    let known = usage(&database, id).unwrap();
    assert_eq!(known.count, 9);
    assert_eq!(known.last_used_ip, "2001:db8::7".parse().ok());
    let late = now - known.last_used_at;
    assert!((TimeDelta::zero()..TimeDelta::minutes(1)).contains(&late), "{late}");
});

// F11
database_test!(concurrent_processes_lose_no_usage, |database: Database| {
    use api_key_runtime::store::{DieselStore, KeyStore as _};
    const ROUNDS: u64 = 10;
    database.migrate();
    let ids: Vec<i64> = (0..40).map(|_| database.issue("0.0.0.0").1).collect();
    let now = fixtures::moment();
    thread::scope(|scope| {
        for process in 0..4_u8 {
            let (ids, database) = (&ids, &database);
            scope.spawn(move || {
                let store = DieselStore::open(database.url()).unwrap();
                let address = Some(IpAddr::from([203, 0, 113, process]));
                for round in 0..ROUNDS {
                    let at = now + TimeDelta::seconds(i64::try_from(round).unwrap());
                    let uses: Vec<KeyUsage> =
                        (ids.iter()).map(|id| KeyUsage::new(*id, at, address, 1)).collect();
                    store.record_usage(&uses).unwrap();
                }
            });
        }
    });
    let known = database.admin().list_usage(..).unwrap();
    assert_eq!(known.len(), ids.len());
    for usage in known {
        assert_eq!(usage.count, 4 * ROUNDS);
        assert_eq!(usage.last_used_at, now + TimeDelta::seconds(9));
    }
});

// F11, E6
database_test!(recording_usage_changes_neither_key_nor_change_log, |database: Database| {
    let keys = recording(&database, NEVER).build().unwrap();
    let server = Server::start(keys.clone(), routes);
    let (key, id) = database.issue("0.0.0.0");
    let state = || {
        // On Postgres, the state includes the last transaction that wrote the row.
        let version = if database.is_postgres() { "cast(xmin as text)" } else { "'-'" };
        (
            database.rows(),
            database.texts(&format!("SELECT {version} FROM api_keys")),
            database.texts("SELECT cast(count(*) as text) FROM api_key_changes"),
        )
    };
    let before = state();
    for round in 1..=3 {
        assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
        keys.flush_usage(TEST_TIMEOUT).unwrap();
        assert_eq!(count(&database, id), round);
    }
    assert_eq!(state(), before);
});

// F11
database_test!(usage_is_flushed_at_its_interval_or_never, |database: Database| {
    let (key, id) = database.issue("0.0.0.0");
    let keys = recording(&database, SOON).build().unwrap();
    let server = Server::start(keys, routes);
    for round in 1..=3 {
        assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
        wait_until("the usage is recorded", || count(&database, id) == round);
    }
    drop(server);

    let keys = recording(&database, None).build().unwrap();
    let server = Server::start(keys.clone(), routes);
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
    keys.flush_usage(TEST_TIMEOUT).unwrap();
    drop((server, keys));
    assert_eq!(count(&database, id), 3);
});

// F11
database_test!(dropping_the_last_handle_records_the_remaining_usage, |database: Database| {
    let (key, id) = database.issue("0.0.0.0");
    let server = Server::start(recording(&database, NEVER).build().unwrap(), routes);
    for _ in 0..5 {
        assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
    }
    assert_eq!(count(&database, id), 0);
    let began = Instant::now();
    drop(server);
    wait_until("the last usage is recorded", || count(&database, id) == 5);
    assert!(began.elapsed() < TEST_TIMEOUT);
});
