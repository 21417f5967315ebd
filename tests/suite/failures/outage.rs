//! Databases that are unavailable, frozen, disconnected, replaced or damaged.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::{
    AppKeys,
    admin::ListKeys,
    store::{DieselStore, KeyDigest, KeyStore as _},
};

use super::routes;
use crate::support::{
    Database, Proxy, Server, database_test, http, log, refused_in_time, wait_until,
};

// F1, F2, F3
#[test]
fn a_silent_postgres_is_503_within_the_deadline() {
    let database = Database::postgres();
    // Each key is used only once, so no key is cached.
    let cold = database.issue_many(7);
    let proxy = Proxy::start(database.server());
    let keys = AppKeys::builder()
        .database_url(database.url_at(proxy.address))
        .lookup_timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    let service = Server::start(keys, routes);
    let status = |(key, _): &(String, i64)| http::get_with(service.address, "/guarded", key).status;
    wait_until("a key is accepted", || status(&cold[0]) == 200);
    proxy.hold();
    for key in &cold[1..6] {
        let started = Instant::now();
        assert_eq!(status(key), 503);
        let took = started.elapsed();
        let started = Instant::now();
        // The database does not respond here, so any response shows that requests do not wait for
        // the database.
        assert_eq!(http::get(service.address, "/health", &[]).status, 200);
        println!("a key took {took:?}, health {:?}", started.elapsed());
    }
    proxy.pass();
    wait_until("the service recovers", || status(&cold[6]) == 200);
}

// K6
// A service that tried the hosts in order would wait two seconds for the first host, but a lookup
// times out after one second.
#[test]
fn a_silent_first_host_rejects_no_valid_key() {
    let database = Database::postgres();
    let cold = database.issue_many(3);
    // The system accepts connections to this port, but no program answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let hosts = format!("{},{}", silent.local_addr().unwrap(), database.server());
    let keys = AppKeys::builder().database_url(database.url_at(hosts)).build().unwrap();
    let service = Server::start(keys, routes);
    for (key, _) in &cold {
        database.end_connections();
        assert_eq!(http::get_with(service.address, "/guarded", key).status, 200);
    }
}

// F3, F4
#[test]
fn a_lost_connection_is_replaced_without_a_rejection() {
    let database = Database::postgres();
    // Without a cache, every request queries the database, and so uses the lost connection.
    let keys = database.migrate().builder().max_staleness(Duration::ZERO);
    let server = Server::start(keys.build().unwrap(), routes);
    let (key, _) = database.issue("0.0.0.0");
    for _ in 0..5 {
        assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
        database.end_connections();
    }
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
}

// F10
#[test]
fn a_writer_that_holds_an_sqlite_file_does_not_stop_reads() {
    use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
    let database = Database::sqlite();
    let server = Server::start(database.keys(), routes);
    let (key, _) = database.issue("0.0.0.0");
    let mut writer = SqliteConnection::establish(database.url()).unwrap();
    writer.batch_execute("BEGIN EXCLUSIVE; UPDATE api_keys SET name = 'held'").unwrap();
    for _ in 0..20 {
        assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
    }
    writer.batch_execute("ROLLBACK").unwrap();
}

// E8
#[test]
fn a_replaced_or_deleted_sqlite_file_is_no_longer_read() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), routes);
    let (key, id) = database.issue("0.0.0.0");
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    std::fs::copy(database.url(), format!("{}.copy", database.url())).unwrap();
    // In the replacement file, the same key is revoked.
    let replacement = Database::sqlite();
    std::fs::rename(format!("{}.copy", database.url()), replacement.url()).unwrap();
    replacement.revoke_by_sql(id);
    replacement.execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    for leftover in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{leftover}", database.url()));
    }
    let status = || http::get_with(server.address, "/guarded", &key).status;
    std::fs::rename(replacement.url(), database.url()).unwrap();
    refused_in_time("the file that was replaced", Instant::now(), 401, status);
    std::fs::remove_file(database.url()).unwrap();
    wait_until("the deleted file is no longer read", || status() == 503);
}

// E12, F3
database_test!(a_query_that_fails_is_503_and_not_an_unknown_key, |database: Database| {
    // Without a cache, every request queries the database.
    let keys = database.migrate().builder().max_staleness(Duration::ZERO).build().unwrap();
    let server = Server::start(keys.clone(), routes);
    let (key, _) = database.issue("0.0.0.0");
    let status = || http::get_with(server.address, "/guarded", &key).status;
    assert_eq!(status(), 200);
    assert!(keys.health().is_ready());
    database.execute("ALTER TABLE api_keys RENAME COLUMN hint TO other").unwrap();
    wait_until("the service is not ready while lookups fail", || {
        assert_eq!(status(), 503);
        !keys.health().is_ready()
    });
    database.execute("ALTER TABLE api_keys RENAME COLUMN other TO hint").unwrap();
    assert_eq!(status(), 200);
    assert!(keys.health().is_ready());
});

// E8, F8
#[test]
fn a_replacing_sqlite_file_without_triggers_is_503() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), routes);
    let (key, _) = database.issue("0.0.0.0");
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
    database.execute("DROP TRIGGER api_keys_log_update; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let copy = format!("{}.copy", database.url());
    std::fs::copy(database.url(), &copy).unwrap();
    for leftover in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{leftover}", database.url()));
    }
    std::fs::rename(copy, database.url()).unwrap();
    refused_in_time("a file without its triggers", Instant::now(), 503, || {
        http::get_with(server.address, "/guarded", &key).status
    });
}

// E14
database_test!(an_undecodable_row_rejects_only_its_own_key, |database: Database| {
    let server = Server::start(database.keys(), routes);
    let keys: Vec<(String, i64)> = (0..20).map(|_| database.issue("0.0.0.0")).collect();
    let (_, bad) = keys[7];
    // On Postgres, a constraint rejects this value, so the constraint is dropped first. On SQLite,
    // no constraint checks whether a text is UTF-8.
    let break_it = if database.is_postgres() {
        format!(
            "ALTER TABLE api_keys DROP CONSTRAINT api_keys_expires_at_is_a_utc_time; UPDATE api_keys SET expires_at = 'infinity' WHERE id = {bad}"
        )
    } else {
        format!("UPDATE api_keys SET name = CAST(x'ff41' AS TEXT) WHERE id = {bad}")
    };
    let records = database.admin().list(&ListKeys::new()).unwrap();
    let digests: Vec<KeyDigest> = records.iter().map(|record| record.digest).collect();
    database.execute(&break_it).unwrap();
    let store = DieselStore::open(database.url()).unwrap();
    assert_eq!(store.find(&digests).unwrap().len(), 19, "one query finds all other keys");
    let statuses = thread::scope(|scope| {
        let address = server.address;
        let requests: Vec<_> = keys
            .iter()
            .map(|(key, id)| {
                scope.spawn(move || (*id, http::get_with(address, "/guarded", key).status))
            })
            .collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect::<Vec<_>>()
    });
    for (id, status) in statuses {
        assert_eq!(status, if id == bad { 401 } else { 200 }, "key {id}");
    }
    assert_eq!(
        database.admin().list(&ListKeys::new()).unwrap().len(),
        19,
        "all other keys are listed"
    );
    assert!(!log::lines_with(&format!("the row of key {bad} cannot be read")).is_empty());
    let next = |after, limit| {
        let page = database.admin().list(&ListKeys::new().after_id(after).limit(limit)).unwrap();
        page.iter().map(|record| record.id).collect::<Vec<_>>()
    };
    let ids: Vec<i64> = keys.iter().map(|(_, id)| *id).collect();
    assert_eq!(next(ids[6], 1), [ids[8]], "no page ends at the unreadable row");
    assert_eq!(next(ids[5], 3), [ids[6], ids[8], ids[9]]);
    assert_eq!(next(ids[18], 3), [ids[19]]);
    assert_eq!(next(ids[19], 3), [] as [i64; 0]);
});
