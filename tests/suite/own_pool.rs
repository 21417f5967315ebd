//! Keys over the application's own pool: each lookup borrows a connection and returns it at once.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use api_key_runtime::{
    AppKeys, AppKeysBuilder,
    admin::{ListKeys, NewKey},
    migrations,
};
use diesel::{
    PgConnection, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _,
    prelude::QueryableByName,
    r2d2::{ConnectionManager, CustomizeConnection, Pool},
    sql_query, sql_types,
};

use crate::support::{
    Database, LONG_DEADLINE, Server, TEST_TIMEOUT, database_test, guarded_routes, http, log,
    programs, refused_in_time, wait_until,
};

#[derive(Clone)]
enum AnyPool {
    Postgres(Pool<ConnectionManager<PgConnection>>),
    Sqlite(Pool<ConnectionManager<SqliteConnection>>),
}

impl AnyPool {
    /// Returns a pool of this many connections, as an application creates it.
    fn new(database: &Database, size: u32) -> Self {
        Self::with_timeout(database, size, TEST_TIMEOUT)
    }

    fn with_timeout(database: &Database, size: u32, timeout: Duration) -> Self {
        let url = database.url();
        if database.is_postgres() {
            let builder = Pool::builder().max_size(size).connection_timeout(timeout);
            Self::Postgres(builder.build(ConnectionManager::new(url)).unwrap())
        } else {
            let builder = Pool::builder().max_size(size).connection_timeout(timeout);
            Self::Sqlite(builder.build(ConnectionManager::new(url)).unwrap())
        }
    }

    fn builder(&self) -> AppKeysBuilder {
        match self.clone() {
            Self::Postgres(pool) => AppKeys::builder().postgres_pool(pool),
            Self::Sqlite(pool) => AppKeys::builder().sqlite_pool(pool),
        }
    }

    /// Runs statements on one connection and returns it to the pool in the resulting state.
    fn leave(&self, sql: &str) {
        match self {
            Self::Postgres(pool) => pool.get().unwrap().batch_execute(sql).unwrap(),
            Self::Sqlite(pool) => pool.get().unwrap().batch_execute(sql).unwrap(),
        }
    }

    /// Runs a query of the application itself.
    fn count_of_users(&self) -> i64 {
        #[derive(QueryableByName)]
        struct Count {
            #[diesel(sql_type = sql_types::BigInt)]
            users: i64,
        }
        let query = sql_query("SELECT count(*) AS users FROM users");
        let count: Count = match self {
            Self::Postgres(pool) => query.get_result(&mut pool.get().unwrap()).unwrap(),
            Self::Sqlite(pool) => query.get_result(&mut pool.get().unwrap()).unwrap(),
        };
        count.users
    }
}

// F14
database_test!(a_pool_of_one_serves_the_application_and_lookups, |database: Database| {
    let pool = {
        database.migrate();
        database
            .execute("CREATE TABLE users (name TEXT); INSERT INTO users VALUES ('ada')")
            .unwrap();
        AnyPool::new(&database, 1)
    };
    let builder = pool.builder().lookup_timeout(TEST_TIMEOUT);
    let server = Server::start(builder.build().unwrap(), guarded_routes);
    let keys: Vec<(String, i64)> = (0..20).map(|_| database.issue("0.0.0.0")).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..200 {
                assert_eq!(pool.count_of_users(), 1);
                // r2d2 gives a returned connection to the thread that asks first, not to the thread
                // that waits longest. The pause lets the waiting thread get the connection.
                thread::sleep(Duration::from_millis(1));
            }
        });
        for (key, _) in &keys {
            assert_eq!(http::get_with(server.address, "/guarded", key).status, 200);
        }
    });
    assert_eq!(pool.count_of_users(), 1, "nothing holds the connection");
    let (key, id) = &keys[0];
    database
        .execute(&format!(
            "UPDATE api_keys SET disabled_at = '2026-01-01 00:00:00+00:00' WHERE id = {id}"
        ))
        .unwrap();
    refused_in_time("a disabled key", Instant::now(), 401, || {
        http::get_with(server.address, "/guarded", key).status
    });
});

// E14
// A handler returned a connection to the pool after BEGIN. Such a connection reads old or
// uncommitted data.
database_test!(a_connection_within_a_transaction_is_not_used, |database: Database| {
    database.migrate();
    let begins: &[&str] = if database.is_postgres() {
        &[
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM api_keys",
            "BEGIN; UPDATE api_key_usage SET use_count = 0; SELECT pg_current_xact_id()",
        ]
    } else {
        &["BEGIN; SELECT count(*) FROM api_keys"]
    };
    for begin in begins {
        // With another connection in the pool, the service still works. With only this connection,
        // it answers 503.
        for (size, expected) in [(2, 401), (1, 503)] {
            let (key, id) = database.issue("0.0.0.0");
            let pool = AnyPool::new(&database, size);
            let server = Server::start(pool.builder().build().unwrap(), guarded_routes);
            let status = || http::get_with(server.address, "/guarded", &key).status;
            assert_eq!(status(), 200);
            pool.leave(begin);
            thread::sleep(Duration::from_millis(50));
            database
                .execute(&format!(
                    "UPDATE api_keys SET revoked_at = '2026-01-01 00:00:00+00:00' WHERE id = {id}"
                ))
                .unwrap();
            refused_in_time(begin, Instant::now(), expected, status);
            if size == 1 {
                pool.leave("ROLLBACK");
                wait_until("the revocation is effective", || status() == 401);
            }
        }
    }
});

// F14
database_test!(administration_works_over_a_pool_of_one_connection, |database: Database| {
    database.migrate();
    let pool = AnyPool::new(&database, 1);
    let keys = pool.builder().build().unwrap();
    for admin in [keys.admin().unwrap().clone(), pool.builder().build_admin().unwrap()] {
        let new = NewKey::new("test").allow_any();
        let id = admin.issue(&new).unwrap().record.id;
        assert!(admin.disable(id).unwrap().disabled_at.is_some());
        assert!(admin.enable(id).unwrap().disabled_at.is_none());
        assert!(admin.revoke(id).unwrap().revoked_at.is_some());
        assert!(admin.get(id).is_ok());
        assert!(admin.list(&ListKeys::new()).unwrap().iter().any(|record| record.id == id));
        assert!(admin.migrate().unwrap().is_empty(), "nothing left to run");
    }
});

// F8
database_test!(startup_rejects_a_pool_without_the_tables, |database: Database| {
    database.execute("CREATE TABLE users (name TEXT)").unwrap();
    let pool = AnyPool::new(&database, 1);
    let error = pool.builder().build().unwrap_err();
    assert!(error.is_schema(), "{error}");
    pool.builder().build_admin().unwrap().migrate().unwrap();
    pool.builder().build().unwrap();
});

// F4, F5
#[test]
fn dead_pooled_connections_reject_no_request() {
    let database = Database::postgres();
    database.migrate();
    let pool = match AnyPool::new(&database, 4) {
        AnyPool::Postgres(pool) => pool,
        AnyPool::Sqlite(_) => unreachable!(),
    };
    assert!(pool.test_on_check_out(), "r2d2's default");
    let unchecked = Pool::builder()
        .max_size(4)
        .test_on_check_out(false)
        .connection_timeout(Duration::from_secs(1))
        .build(ConnectionManager::<PgConnection>::new(database.url()))
        .unwrap();
    for pool in [pool, unchecked] {
        let keys = AppKeys::builder()
            .postgres_pool(pool.clone())
            .max_staleness(Duration::ZERO)
            .lookup_timeout(LONG_DEADLINE)
            .build()
            .unwrap();
        let server = Server::start(keys, guarded_routes);
        let (key, _) = database.issue("0.0.0.0");
        for _ in 0..5 {
            assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
            database.end_connections();
        }
        assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
    }
}

// F4
database_test!(startup_warns_of_a_pool_timeout_above_the_lookup_timeout, |database: Database| {
    database.migrate();
    let timeout = if database.is_postgres() {
        Duration::from_millis(7001)
    } else {
        Duration::from_millis(7002)
    };
    log::install();
    AnyPool::with_timeout(&database, 1, Duration::from_secs(1)).builder().build().unwrap();
    let warnings = || log::lines_with(&format!("pool is {timeout:?}"));
    assert!(warnings().is_empty());
    AnyPool::with_timeout(&database, 1, timeout).builder().build().unwrap();
    assert_eq!(warnings().len(), 1, "{:?}", warnings());
});

// F10
#[test]
fn a_pool_of_in_memory_databases_is_rejected() {
    let pool = Pool::builder()
        .max_size(1)
        .build(ConnectionManager::<SqliteConnection>::new(":memory:"))
        .unwrap();
    let error = AppKeys::builder().sqlite_pool(pool).build().unwrap_err();
    assert!(error.is_config(), "{error}");
}

// E13, F10
#[test]
fn a_change_over_an_sqlite_pool_restores_the_connection() {
    #[derive(Debug)]
    struct Careless;
    impl CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for Careless {
        fn on_acquire(&self, connection: &mut SqliteConnection) -> Result<(), diesel::r2d2::Error> {
            sql_query("PRAGMA synchronous = OFF").execute(connection)?;
            Ok(())
        }
    }
    #[derive(QueryableByName, Debug, PartialEq)]
    struct Settings {
        #[diesel(sql_type = sql_types::BigInt)]
        synchronous: i64,
        #[diesel(sql_type = sql_types::BigInt)]
        timeout: i64,
    }
    let database = Database::sqlite();
    database.migrate();
    // The trigger records the settings of the transaction that changes a key.
    database
        .execute(
            "CREATE TABLE seen (synchronous INTEGER, timeout INTEGER); \
             CREATE TRIGGER see AFTER INSERT ON api_keys BEGIN \
                 INSERT INTO seen SELECT synchronous, timeout FROM pragma_synchronous, pragma_busy_timeout; \
             END",
        )
        .unwrap();
    let pool = Pool::builder()
        .max_size(1)
        .connection_timeout(Duration::from_secs(1))
        .connection_customizer(Box::new(Careless))
        .build(ConnectionManager::<SqliteConnection>::new(database.url()))
        .unwrap();
    log::install();
    let admin = AppKeys::builder().sqlite_pool(pool.clone()).build_admin().unwrap();
    assert!(!log::lines_with("have no busy_timeout").is_empty());
    let held = {
        let mut writer =
            <SqliteConnection as diesel::Connection>::establish(database.url()).unwrap();
        sql_query("BEGIN IMMEDIATE").execute(&mut writer).unwrap();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            sql_query("COMMIT").execute(&mut writer).unwrap();
        })
    };
    admin.issue(&NewKey::new("test").allow_any()).expect("issuing waits for another writer");
    held.join().unwrap();
    let mut connection = pool.get().unwrap();
    let seen: Settings =
        sql_query("SELECT synchronous, timeout FROM seen").get_result(&mut connection).unwrap();
    assert_eq!((seen.synchronous, seen.timeout), (2, 5000));
    let after: Settings =
        sql_query("SELECT synchronous, timeout FROM pragma_synchronous, pragma_busy_timeout")
            .get_result(&mut connection)
            .unwrap();
    assert_eq!((after.synchronous, after.timeout), (0, 0));
}

// E8
#[test]
fn an_sqlite_file_that_is_replaced_under_a_pool_is_503() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let pool = AnyPool::new(&database, 2);
    let server = Server::start(pool.builder().build().unwrap(), guarded_routes);
    let status = || http::get_with(server.address, "/guarded", &key).status;
    wait_until("the key is accepted", || status() == 200);
    let copy = format!("{}.copy", database.url());
    database.execute(&format!("VACUUM INTO '{copy}'")).unwrap();
    fs::rename(copy, database.url()).unwrap();
    refused_in_time("a file that was replaced", Instant::now(), 503, status);
    assert_eq!(status(), 503);
}

// E8: When this process closes a file after reading it, the system releases SQLite's locks on that
// file. The next program that closes the database then removes its `-wal` file.
#[test]
fn an_sqlite_log_that_is_lost_under_a_pool_is_503() {
    let database = Database::sqlite();
    let (key, id) = database.issue("0.0.0.0");
    let pool = AnyPool::new(&database, 2);
    let server = Server::start(pool.builder().build().unwrap(), guarded_routes);
    let status = || http::get_with(server.address, "/guarded", &key).status;
    wait_until("the key is accepted", || status() == 200);
    for file in ["", "-shm"] {
        fs::read(format!("{}{file}", database.url())).unwrap();
    }
    assert_eq!(status(), 200);
    let (_, other) = database.issue("0.0.0.0");
    for id in [other, id] {
        let mut outside = programs::command(programs::app_key());
        outside.args(["revoke", "--yes", &id.to_string()]).env("DATABASE_URL", database.url());
        let revoked = outside.output().unwrap();
        assert!(revoked.status.success(), "{revoked:?}");
    }
    refused_in_time("a revoked key", Instant::now(), 503, status);
    assert_eq!(status(), 503);
}

/// Checks that notifications report changes. Each change is made right after the previous change
/// was seen, so polling would report it about a second later.
fn sees_changes_by_notification(keys: AppKeys, database: &Database) {
    const WOKEN: Duration = Duration::from_millis(500);
    let server = Server::start(keys, guarded_routes);
    let (key, id) = database.issue("0.0.0.0");
    let is = |expected| http::get_with(server.address, "/guarded", &key).status == expected;
    wait_until("the key is accepted", || is(200));
    let mut took = Vec::new();
    for _ in 0..10 {
        for (disabled_at, expected) in [("now()", 401), ("NULL", 200)] {
            let began = Instant::now();
            let set = format!("UPDATE api_keys SET disabled_at = {disabled_at} WHERE id = {id}");
            database.execute(&set).unwrap();
            wait_until("a change is seen", || is(expected));
            took.push(began.elapsed());
        }
    }
    println!("changes were seen after {took:?}");
    assert!(took.iter().min().unwrap() < &WOKEN, "{took:?}");
}

// E1
#[test]
fn a_listen_url_beside_a_pool_delivers_changes_at_once() {
    let database = Database::postgres();
    database.migrate();
    let pool = AnyPool::new(&database, 1).builder();
    let pooler = AppKeys::builder().database_url(database.pooled_url());
    for builder in [pool, pooler] {
        let keys = builder
            .listen_url(database.url())
            .max_staleness(TEST_TIMEOUT)
            .lookup_timeout(LONG_DEADLINE)
            .build()
            .unwrap();
        sees_changes_by_notification(keys, &database);
    }
}

// E6
#[test]
fn a_listen_url_to_another_database_is_an_error() {
    let (database, other) = (Database::postgres(), Database::postgres());
    database.migrate();
    other.migrate();
    for builder in [AnyPool::new(&database, 1).builder(), database.builder()] {
        let error = builder.listen_url(other.url()).build().unwrap_err();
        assert!(error.is_database() && error.to_string().contains("another database"), "{error}");
    }
    // The same database, but with key tables in another schema that lookups do not use.
    database
        .execute("CREATE SCHEMA elsewhere; CREATE ROLE elsewhere_role LOGIN; GRANT ALL ON SCHEMA elsewhere TO elsewhere_role; ALTER ROLE elsewhere_role SET search_path = elsewhere")
        .unwrap();
    let elsewhere = database.url().replace("postgres@", "elsewhere_role@");
    migrations::run(&elsewhere).unwrap();
    let error = database.builder().listen_url(elsewhere).build().unwrap_err();
    assert!(error.to_string().contains("another database"), "{error}");
    database
        .execute(
            "DROP SCHEMA elsewhere CASCADE; DROP OWNED BY elsewhere_role; DROP ROLE elsewhere_role",
        )
        .unwrap();
}

#[test]
fn a_listen_url_is_rejected_unless_the_keys_are_in_postgres() {
    let database = Database::postgres();
    database.migrate();
    let file = Database::sqlite();
    file.migrate();
    for builder in [
        file.builder().listen_url(database.url()),
        database.builder().listen_url(file.url()),
        AppKeys::builder()
            .store(api_key_runtime::test_util::MemoryStore::default())
            .listen_url(database.url()),
    ] {
        let error = builder.build().unwrap_err();
        assert!(error.is_config(), "{error}");
    }
}

// F8
#[test]
fn a_pool_with_an_invalid_url_hides_the_password() {
    let pool = Pool::builder()
        .max_size(1)
        .connection_timeout(Duration::from_millis(200))
        .build_unchecked(ConnectionManager::<PgConnection>::new("postgres://u:s3%zzcret@h/d"));
    let error = AppKeys::builder().postgres_pool(pool).build().unwrap_err();
    let message = error.to_string();
    assert!(error.is_database(), "{message}");
    assert!(!message.contains("s3") && !message.contains("cret"), "{message}");
}
