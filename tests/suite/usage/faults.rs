//! Tests of usage and of requests while usage cannot be recorded.

use std::{
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::{
    AppKeys,
    admin::KeyUsage,
    store::{DieselStore, KeyStore as _},
};
use diesel::{Connection, PgConnection, SqliteConnection, connection::SimpleConnection as _};

use super::{NEVER, SOON, TEST_TIMEOUT, count, recording, routes, usage, wait_until};
use crate::{
    support::{Database, Proxy, Server, database_test, fixtures, http, log},
    tables::role_with_the_documented_grants,
};

const ONCE: &str = "cannot record key usage";

// F11
database_test!(an_outage_is_logged_once_loses_no_usage_and_rejects_no_key, |database: Database| {
    let keys = recording(&database, SOON).build().unwrap();
    let server = Server::start(keys.clone(), routes);
    let (key, id) = database.issue("0.0.0.0");
    let (_, idle) = database.issue("0.0.0.0");
    let use_it = || assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
    use_it();
    wait_until("the usage is recorded", || count(&database, id) == 1);
    // The error message is unique, because all tests share the log.
    let words = format!("nothing is recorded in {}", database.url());
    let (refuse, allow) = if database.is_postgres() {
        (
            format!(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{words}'; END $$; \
                     CREATE TRIGGER refuse BEFORE INSERT ON api_key_usage FOR EACH ROW EXECUTE FUNCTION refuse()"
            ),
            "DROP TRIGGER refuse ON api_key_usage",
        )
    } else {
        (
            format!(
                "CREATE TRIGGER refuse BEFORE INSERT ON api_key_usage BEGIN SELECT RAISE(ABORT, '{words}'); END"
            ),
            "DROP TRIGGER refuse",
        )
    };
    database.execute(&refuse).unwrap();
    for _ in 0..20 {
        use_it();
        thread::sleep(Duration::from_millis(10));
    }
    keys.flush_usage(Duration::from_millis(300)).unwrap_err();
    let said = log::lines_with(&words);
    let errors = said.iter().filter(|line| line.contains(ONCE));
    assert_eq!(errors.count(), 1, "{said:?}");
    assert!(said.len() > 1, "recording was not retried: {said:?}");
    database.execute(allow).unwrap();
    keys.flush_usage(TEST_TIMEOUT).unwrap();
    assert_eq!(count(&database, id), 21);
    assert_eq!(usage(&database, idle), None);
});

// F11
#[test]
fn a_temporarily_unavailable_postgres_loses_no_usage() {
    let database = Database::postgres();
    let (key, id) = database.issue("0.0.0.0");
    let proxy = Proxy::start(database.server());
    let keys = AppKeys::builder()
        .database_url(database.url_at(proxy.address))
        .usage_flush_interval(SOON)
        .build()
        .unwrap();
    let server = Server::start(keys.clone(), routes);
    let mut accepted = 0;
    for _ in 0..3 {
        wait_until("the key is accepted", || {
            http::get_with(server.address, "/guarded", &key).status == 200
        });
        accepted += 1;
        for _ in 0..10 {
            let status = http::get_with(server.address, "/guarded", &key).status;
            accepted += u64::from(status == 200);
        }
        proxy.cut();
        for _ in 0..10 {
            let status = http::get_with(server.address, "/guarded", &key).status;
            accepted += u64::from(status == 200);
            thread::sleep(Duration::from_millis(20));
        }
        proxy.pass();
        keys.flush_usage(TEST_TIMEOUT).unwrap();
    }
    assert!(accepted >= 20, "{accepted}");
    let recorded = count(&database, id);
    // A commit may succeed although its connection is lost. The usage is then written again and
    // counted twice.
    assert!(recorded >= accepted, "{recorded} of {accepted}");
}

// F11
database_test!(a_locked_table_delays_no_request_and_loses_no_usage, |database: Database| {
    fn hold<C: Connection>(database: &Database, sql: &str, run: impl FnOnce()) {
        let mut connection = C::establish(database.url()).unwrap();
        connection.batch_execute(sql).unwrap();
        run();
        connection.batch_execute("ROLLBACK").unwrap();
    }
    let keys = recording(&database, SOON).build().unwrap();
    let server = Server::start(keys.clone(), routes);
    let (key, id) = database.issue("0.0.0.0");
    let run_requests = || {
        let mut longest = Duration::ZERO;
        for _ in 0..30 {
            let began = Instant::now();
            assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
            // The table stays locked, so any response shows that requests do not wait for the lock.
            longest = longest.max(began.elapsed());
            thread::sleep(Duration::from_millis(20));
        }
        println!("the slowest request took {longest:?}");
        keys.flush_usage(Duration::from_millis(300)).unwrap_err();
    };
    if database.is_postgres() {
        hold::<PgConnection>(&database, "BEGIN; LOCK TABLE api_key_usage", run_requests);
    } else {
        hold::<SqliteConnection>(&database, "BEGIN EXCLUSIVE", run_requests);
    }
    keys.flush_usage(TEST_TIMEOUT).unwrap();
    assert_eq!(count(&database, id), 30);
});

// F11
database_test!(usage_of_a_deleted_key_does_not_block_other_usage, |database: Database| {
    let keys = recording(&database, NEVER).build().unwrap();
    let server = Server::start(keys.clone(), routes);
    let issued: Vec<(String, i64)> = (0..3).map(|_| database.issue("0.0.0.0")).collect();
    let use_them = |expected: [u16; 3]| {
        for ((key, _), expected) in issued.iter().zip(expected) {
            let status = http::get_with(server.address, "/guarded", key).status;
            assert_eq!(status, expected);
        }
    };
    let deleted = issued[1].1;
    use_them([200; 3]);
    keys.flush_usage(TEST_TIMEOUT).unwrap();
    use_them([200; 3]);
    database.execute(&format!("DELETE FROM api_keys WHERE id = {deleted}")).unwrap();
    keys.flush_usage(TEST_TIMEOUT).unwrap();
    let known: Vec<(i64, u64)> = (database.admin().list_usage(..).unwrap().iter())
        .map(|usage| (usage.key_id, usage.count))
        .collect();
    assert_eq!(known, [(issued[0].1, 2), (issued[2].1, 2)]);
});

// F11, E9
#[test]
fn usage_is_kept_until_the_missing_grant_is_given() {
    let database = Database::postgres();
    let role = role_with_the_documented_grants(database.migrate());
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    let sql = |sql: &str| database.execute(&sql.replace("ITS_ROLE", &format!("role_{name}")));
    sql("REVOKE ALL ON api_key_usage FROM ITS_ROLE").unwrap();
    let keys = AppKeys::builder().database_url(role).usage_flush_interval(SOON).build().unwrap();
    let server = Server::start(keys.clone(), routes);
    let (key, id) = database.issue("0.0.0.0");
    for _ in 0..20 {
        assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
        thread::sleep(Duration::from_millis(5));
    }
    keys.flush_usage(Duration::from_millis(200)).unwrap_err();
    let denied = "permission denied for table api_key_usage";
    assert!(log::lines_with(ONCE).iter().any(|line| line.contains(denied)));
    sql("GRANT SELECT, INSERT, UPDATE ON api_key_usage TO ITS_ROLE").unwrap();
    keys.flush_usage(TEST_TIMEOUT).unwrap();
    assert_eq!(count(&database, id), 20);
    drop((server, keys));
    sql("DROP OWNED BY ITS_ROLE; DROP ROLE ITS_ROLE").unwrap();
}

// F11
#[test]
fn dropping_keys_does_not_wait_for_a_silent_postgres() {
    let database = Database::postgres();
    let (key, id) = database.issue("0.0.0.0");
    let proxy = Proxy::start(database.server());
    let keys = AppKeys::builder()
        .database_url(database.url_at(proxy.address))
        .usage_flush_interval(NEVER)
        .build()
        .unwrap();
    let server = Server::start(keys.clone(), routes);
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
    keys.flush_usage(TEST_TIMEOUT).unwrap();
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
    drop(server);
    proxy.hold();
    let began = Instant::now();
    keys.flush_usage(Duration::from_millis(500)).unwrap_err();
    drop(keys);
    let took = began.elapsed();
    // The proxy still holds all data back, so waiting for the database would take longer.
    assert!(took < Duration::from_secs(20), "{took:?}");
    proxy.pass();
    wait_until("the pending write is recorded", || count(&database, id) == 2);
}

// F11
#[test]
fn dropping_keys_does_not_wait_for_an_sqlite_lock() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let keys = recording(&database, NEVER).build().unwrap();
    let server = Server::start(keys.clone(), routes);
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
    drop(server);
    let mut writer = SqliteConnection::establish(database.url()).unwrap();
    writer.batch_execute("BEGIN EXCLUSIVE").unwrap();
    let began = Instant::now();
    drop(keys);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
}

// F11, E13
// The lock timeout for recording usage is shorter than the `deadlock_timeout` of Postgres, so the
// flush fails before the deadlock is detected.
#[test]
fn deleting_keys_never_loses_a_deadlock_to_usage() {
    let database = Database::postgres();
    database.migrate();
    let [first, second, third] = [0, 1, 2].map(|_| database.issue("0.0.0.0").1);
    let store = DieselStore::open(database.url()).unwrap();
    let uses = [first, second, third].map(|id| KeyUsage::new(id, fixtures::moment(), None, 1));
    store.record_usage(&uses).unwrap();
    let begin = |sql: &str| {
        let mut connection = PgConnection::establish(database.url()).unwrap();
        connection.batch_execute(&format!("BEGIN; {sql}")).unwrap();
        connection
    };
    let delete = |id: i64| format!("DELETE FROM api_keys WHERE id = {id}");
    let wait_for = |waiting: &str| {
        wait_until("a transaction waits for a lock", || {
            let count = "SELECT cast(count(*) AS text) FROM pg_stat_activity \
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
            database.texts(count) == [waiting]
        });
    };
    let mut operator = begin(&delete(third));
    let lock = format!("SELECT FROM api_key_usage WHERE key_id = {second} FOR UPDATE");
    let mut other = begin(&lock);
    thread::scope(|scope| {
        // The flush has locked the row of the first key and waits for the row of the second key.
        let recording = scope.spawn(|| store.record_usage(&uses));
        wait_for("1");
        let deleting =
            scope.spawn(|| operator.batch_execute(&format!("{}; COMMIT", delete(first))));
        wait_for("2");
        // Now the flush and the operator wait for each other's rows. The operator has waited
        // longer, so without the lock timeout Postgres would cancel the operator's transaction.
        other.batch_execute("ROLLBACK").unwrap();
        deleting.join().unwrap().unwrap();
        let _ = recording.join().unwrap();
    });
    store.record_usage(&uses).unwrap();
    let known = database.admin().list_usage(..).unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].key_id, second);
}
