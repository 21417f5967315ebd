//! Closing a service: all usage is recorded, all connections are closed, and later requests are
//! rejected.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use api_key_runtime::{AppKeys, store::DieselStore};

use crate::support::{
    CountedServer, Database, FakeStore, Server, TEST_TIMEOUT, database_test, guarded_routes, http,
    wait_until,
};

fn status(server: &Server, key: &str) -> u16 {
    http::get_with(server.address, "/guarded", key).status
}

/// Returns the length of the write-ahead log of an SQLite file, or `None` without a log.
fn log_length(database: &Database) -> Option<u64> {
    fs::metadata(format!("{}-wal", database.url())).ok().map(|log| log.len())
}

/// Copies the SQLite file without its write-ahead log. Returns the revoked keys and the usage
/// counts in the copy.
fn alone(database: &Database) -> (Vec<String>, Vec<String>) {
    let copy = Database::sqlite();
    fs::copy(database.url(), copy.url()).unwrap();
    let revoked = copy.texts("SELECT CAST(id AS TEXT) FROM api_keys WHERE revoked_at IS NOT NULL");
    (revoked, copy.texts("SELECT CAST(use_count AS TEXT) FROM api_key_usage"))
}

/// Starts a service, uses one key three times and revokes another.
fn used(database: &Database) -> (AppKeys, Server, String) {
    let keys = database.keys();
    let server = Server::start(keys.clone(), guarded_routes);
    let (key, _) = database.issue("0.0.0.0");
    let (_, revoked) = database.issue("0.0.0.0");
    for _ in 0..3 {
        assert_eq!(status(&server, &key), 200);
    }
    keys.admin().unwrap().revoke(revoked).unwrap();
    (keys, server, key)
}

// F11
#[test]
fn closing_leaves_one_complete_file() {
    let database = Database::sqlite();
    let (keys, server, _) = used(&database);
    keys.close(TEST_TIMEOUT).unwrap();
    assert_eq!(log_length(&database), None);
    assert_eq!(alone(&database), (vec!["2".to_owned()], vec!["3".to_owned()]));
    keys.close(TEST_TIMEOUT).unwrap();
    drop((server, keys));
    assert_eq!(alone(&database).1, ["3"], "closed once");
}

// F11
#[test]
fn the_wal_is_empty_if_another_program_has_the_file_open() {
    let database = Database::sqlite();
    let (keys, _server, _) = used(&database);
    let other = DieselStore::open(database.url()).unwrap();
    keys.close(TEST_TIMEOUT).unwrap();
    assert_eq!(log_length(&database), Some(0));
    assert_eq!(alone(&database), (vec!["2".to_owned()], vec!["3".to_owned()]));
    drop(other);
}

// F11
#[test]
fn dropping_the_last_handle_closes() {
    let database = Database::sqlite();
    let (keys, server, _) = used(&database);
    drop(server);
    drop(keys);
    // The server's threads drop their handles a moment later.
    wait_until("it is closed", || log_length(&database).is_none());
    assert_eq!(alone(&database), (vec!["2".to_owned()], vec!["3".to_owned()]));
}

// F11
database_test!(requests_after_closing_are_answered_503, |database: Database| {
    let (keys, server, key) = used(&database);
    keys.close(TEST_TIMEOUT).unwrap();
    for _ in 0..3 {
        assert_eq!(status(&server, &key), 503, "known");
    }
    let (new, _) = database.issue("0.0.0.0");
    assert_eq!(status(&server, &new), 503, "new");
    if database.is_postgres() {
        assert_eq!(database.end_connections(), 0, "every connection is closed");
    }
});

// F11
#[test]
fn closing_times_out_and_names_the_hanging_thread() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let store = FakeStore::over(DieselStore::open(database.url()).unwrap());
    let keys = database.builder().store(store.clone()).build().unwrap();
    wait_until("the feed is up to date", || keys.health().is_ready());
    let server = CountedServer::start(keys.clone(), guarded_routes);
    store.hold();
    let mut waiting = http::Client::connect(server.address);
    waiting.send(http::head("GET", "/guarded", &[&format!("X-API-Key: {key}")]));
    store.wait_until_inside(1);
    let began = Instant::now();
    let error = keys.close(TIMEOUT).unwrap_err().to_string();
    assert!(error.contains("app-key-lookup-"), "{error}");
    assert!((TIMEOUT / 2..TIMEOUT * 10).contains(&began.elapsed()), "{:?}", began.elapsed());
    store.release();
    assert_eq!(waiting.read(false).unwrap().status, 503, "a closed service accepted a request");
    wait_until("the thread ends", || keys.close(TIMEOUT).is_ok());
    assert!(Path::new(database.url()).exists());
}
