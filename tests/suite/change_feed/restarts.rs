//! Tests with servers that restart, become a standby or are behind a pooler.

use std::time::{Duration, Instant};

use api_key_runtime::store::{DieselStore, KeyStore as _};

use super::{Reader, Seen, insert, keys, nothing};
use crate::support::{Database, OwnServer, TEST_TIMEOUT, log, wait_until};

// E7, F5
#[test]
fn a_server_restart_means_everything_changed() {
    let server = OwnServer::start();
    let database = server.database();
    database.migrate();
    let mut reader = Reader::new(&database);
    for crash in [false, true] {
        let digest = insert(&database, u32::from(crash));
        assert_eq!(reader.read(), keys([&digest]));
        if crash {
            server.crash();
        } else {
            server.shut_down();
        }
        assert!(reader.try_read().is_err(), "the server is unavailable");
        assert!(reader.try_read().is_err(), "the server is still unavailable");
        server.start_again();
        assert_eq!(reader.read(), Seen::Everything);
        assert_eq!(reader.read(), nothing());
    }
}

// E9
#[test]
fn a_standby_is_an_error_and_reports_no_changes() {
    let primary = OwnServer::start();
    let database = primary.database();
    database.migrate();
    let standby = OwnServer::standby_of(primary.address());
    let error = DieselStore::open(&database.url_at(standby.address())).unwrap_err();
    assert!(error.to_string().contains("hot standby"), "{error}");
    // If the URL lists several hosts, the primary is used even if a standby comes first.
    let hosts = format!("{},{}", standby.address(), primary.address());
    DieselStore::open(&database.url_at(hosts)).unwrap();
}

/// Behind a transaction pooler, two statements may run on two servers, and the second server may be
/// a standby. The test simulates this by replacing `pg_is_in_recovery`.
// E9
#[test]
fn a_server_that_becomes_a_standby_is_an_error() {
    let database = Database::postgres();
    database.migrate();
    database
        .execute(
            "CREATE TABLE standby AS SELECT false AS is_standby; \
             ALTER FUNCTION pg_catalog.pg_is_in_recovery() RENAME TO pg_was_in_recovery; \
             CREATE FUNCTION pg_catalog.pg_is_in_recovery() RETURNS boolean LANGUAGE sql STABLE AS 'SELECT is_standby FROM public.standby'",
        )
        .unwrap();
    let (_, id) = database.issue("0.0.0.0");
    let digest = database.admin().get(id).unwrap().digest;
    let mut reader = Reader::new(&database);
    assert_eq!(reader.store.find(&[digest]).unwrap().len(), 1);
    assert_eq!(reader.read(), nothing());
    database.execute("UPDATE standby SET is_standby = true").unwrap();
    for _ in 0..2 {
        let error = reader.try_read().unwrap_err().to_string();
        assert!(error.contains("hot standby"), "{error}");
        let error = reader.store.find(&[digest]).unwrap_err().to_string();
        assert!(error.contains("hot standby"), "{error}");
    }
    database.execute("UPDATE standby SET is_standby = false").unwrap();
    assert_eq!(reader.read(), Seen::Everything);
    assert_eq!(reader.store.find(&[digest]).unwrap().len(), 1);
}

/// Returns the log lines about missing notifications of this database, which has a unique name.
fn warnings(database: &Database) -> Vec<String> {
    log::lines_with("arrive").into_iter().filter(|line| line.contains(database.name())).collect()
}

/// Reads and waits as the library does, until the log lines of this database satisfy `is_over` or
/// the warning is overdue.
fn feed(reader: &mut Reader, database: &Database, is_over: impl Fn(&[String]) -> bool) {
    const LONG_ENOUGH: Duration = Duration::from_secs(4);
    let began = Instant::now();
    let mut until = began + LONG_ENOUGH;
    while Instant::now() < until && !is_over(&warnings(database)) {
        let turn = Instant::now();
        reader.try_read().unwrap();
        reader.wait(Duration::from_millis(100));
        // If the machine paused, the probe notification may have arrived too late, so the wait
        // starts again.
        if turn.elapsed() > Duration::from_secs(1) {
            until = Instant::now() + LONG_ENOUGH;
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "the machine pauses too often");
    }
}

// E9
// A transaction pooler delivers no notifications, which is logged once.
#[test]
fn a_pooler_delivers_changes_and_one_warning() {
    log::install();
    let database = Database::postgres();
    database.migrate();
    let mut reader = Reader::at(&database.pooled_url());
    let digest = insert(&database, 1);
    assert_eq!(reader.read(), keys([&digest]));
    assert_eq!(reader.read(), nothing());
    // Waits until notifications have been missing for long enough to cause the warning.
    wait_until("the warning is logged", || {
        feed(&mut reader, &database, |lines| !lines.is_empty());
        !warnings(&database).is_empty()
    });
    let lines = warnings(&database);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("WARN") && lines[0].contains("listen_url"), "{lines:?}");
    // A new connection does not repeat the log line.
    database.end_connections();
    let _ = reader.try_read();
    feed(&mut reader, &database, |_| false);
    let digest = insert(&database, 2);
    assert_eq!(reader.read(), keys([&digest]));
    assert_eq!(warnings(&database).len(), 1, "{:?}", warnings(&database));
}

// E9
#[test]
fn a_direct_connection_causes_no_warning() {
    log::install();
    // If the machine pauses for longer than a notification may take, the library logs a warning.
    // Then the test is repeated.
    for _ in 0..10 {
        let database = Database::postgres();
        database.migrate();
        let mut reader = Reader::new(&database);
        let began = Instant::now();
        let mut longest = Duration::ZERO;
        while began.elapsed() < Duration::from_secs(4) {
            let turn = Instant::now();
            reader.try_read().unwrap();
            reader.wait(Duration::from_millis(100));
            longest = longest.max(turn.elapsed());
        }
        if longest < Duration::from_secs(1) {
            assert!(warnings(&database).is_empty(), "{:?}", warnings(&database));
            return;
        }
        println!("the machine paused for {longest:?}");
    }
    panic!("the machine pauses too often");
}
