//! What happens when something breaks: nothing is open, and little else stops.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use actix_web::{HttpResponse, get, web};
use api_key_runtime::{
    AppKeys, Digest, KeyRecord, KeyStore, NewKey, StoreError, require_app_key,
    test_util::MemoryStore,
};

use crate::support::{Database, Server, database_test, fixtures, http, log};

static RAN: AtomicUsize = AtomicUsize::new(0);

#[get("/guarded")]
#[require_app_key]
async fn guarded() -> HttpResponse {
    RAN.fetch_add(1, Ordering::SeqCst);
    HttpResponse::Ok().finish()
}

#[get("/health")]
async fn health() -> HttpResponse {
    HttpResponse::Ok().finish()
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(guarded).service(health);
}

fn issue(store: &MemoryStore) -> String {
    store
        .issue(&NewKey::new("test", "0.0.0.0".parse().unwrap()))
        .unwrap()
        .secret
        .expose()
        .to_owned()
}

/// How often a store fails, and in which way.
struct Faulty {
    store: MemoryStore,
    fault: fn() -> Result<Vec<KeyRecord>, StoreError>,
    faults_left: AtomicUsize,
}

impl KeyStore for Faulty {
    fn find(&self, digests: &[Digest]) -> Result<Vec<KeyRecord>, StoreError> {
        let faulty = self
            .faults_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .is_ok();
        if faulty {
            (self.fault)()
        } else {
            self.store.find(digests)
        }
    }
}

// E12, F3
#[test]
fn an_error_is_503_and_never_remembered_as_unknown() {
    let store = MemoryStore::default();
    let key = issue(&store);
    let faulty = Faulty {
        store,
        fault: || Err(StoreError::new("away")),
        faults_left: AtomicUsize::new(2),
    };
    let server = Server::start(AppKeys::builder().store(faulty).build().unwrap(), routes);
    let statuses: Vec<u16> = (0..4)
        .map(|_| http::get_with(server.address, "/guarded", &key).status)
        .collect();
    assert_eq!(statuses, [503, 503, 200, 200]);
}

// F9
#[test]
fn a_panic_in_a_store_is_503_logged_and_the_next_request_is_fine() {
    let store = MemoryStore::default();
    let key = issue(&store);
    let faulty = Faulty {
        store,
        fault: || panic!("a bug in somebody's store"),
        faults_left: AtomicUsize::new(5),
    };
    let server = Server::start(AppKeys::builder().store(faulty).build().unwrap(), routes);
    let statuses: Vec<u16> = (0..7)
        .map(|_| http::get_with(server.address, "/guarded", &key).status)
        .collect();
    assert_eq!(
        statuses,
        [503, 503, 503, 503, 503, 200, 200],
        "the look-up thread lives on"
    );
    assert!(
        log::lines_with("the store panicked")
            .iter()
            .any(|line| line.starts_with("ERROR"))
    );
}

// F9
#[test]
fn a_store_that_answers_two_records_for_one_key_is_not_believed() {
    struct Double(MemoryStore);
    impl KeyStore for Double {
        fn find(&self, digests: &[Digest]) -> Result<Vec<KeyRecord>, StoreError> {
            let found = self.0.find(digests)?;
            Ok([found.clone(), found].concat())
        }
    }
    let store = MemoryStore::default();
    let key = issue(&store);
    let server = Server::start(
        AppKeys::builder().store(Double(store)).build().unwrap(),
        routes,
    );
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 503);
}

/// A store that answers nothing until it is let go.
#[derive(Clone)]
struct Frozen {
    store: MemoryStore,
    gate: Arc<(Mutex<bool>, Condvar)>,
    inside: Arc<AtomicUsize>,
}

impl Frozen {
    fn new(store: MemoryStore) -> Self {
        Self {
            store,
            gate: Arc::new((Mutex::new(true), Condvar::new())),
            inside: Arc::default(),
        }
    }

    fn thaw(&self) {
        *self.gate.0.lock().unwrap() = false;
        self.gate.1.notify_all();
    }
}

impl KeyStore for Frozen {
    fn find(&self, digests: &[Digest]) -> Result<Vec<KeyRecord>, StoreError> {
        self.inside.fetch_add(1, Ordering::SeqCst);
        let guard = self.gate.0.lock().unwrap();
        drop(self.gate.1.wait_while(guard, |frozen| *frozen).unwrap());
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.store.find(digests)
    }
}

// F1, F2
#[test]
fn a_frozen_store_holds_a_bounded_number_of_threads_and_nothing_else() {
    let store = Frozen::new(MemoryStore::default());
    let key = issue(&store.store);
    let keys = AppKeys::builder()
        .store(store.clone())
        .lookup_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    // One worker: anything that blocked it would block everything.
    let server = Server::start(keys, routes);
    let address = server.address;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (key, stop) = (key.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let started = Instant::now();
                    assert_eq!(http::get_with(address, "/guarded", &key).status, 503);
                    let took = started.elapsed();
                    assert!(
                        took < Duration::from_secs(2),
                        "the deadline of 100 ms held after {took:?} only"
                    );
                }
            })
        })
        .collect();
    for _ in 0..200 {
        assert_eq!(http::get(address, "/health", &[]).status, 200);
        thread::sleep(Duration::from_millis(10));
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }
    let stuck = store.inside.load(Ordering::SeqCst);
    assert!(
        (3..=10).contains(&stuck),
        "two threads, and up to eight that took their place: {stuck}"
    );
    store.thaw();
    let started = Instant::now();
    while http::get_with(address, "/guarded", &key).status != 200 {
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "it did not recover"
        );
    }
    let started = Instant::now();
    while store.inside.load(Ordering::SeqCst) > 0 {
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "threads that were given up did not end"
        );
    }
}

// E11
#[test]
fn a_request_that_is_given_up_does_not_fail_the_others() {
    let store = Frozen::new(MemoryStore::default());
    let key = issue(&store.store);
    let server = Server::start(
        AppKeys::builder().store(store.clone()).build().unwrap(),
        routes,
    );
    let address = server.address;
    // One look-up is under way and stuck; the next ones wait in the queue, joined; the first of them goes away.
    let other = fixtures::unknown();
    let first = thread::spawn(move || http::get_with(address, "/guarded", &other).status);
    while store.inside.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    let mut leader = http::Client::connect(address);
    leader.send(http::head(
        "GET",
        "/guarded",
        &[&format!("X-API-Key: {key}")],
    ));
    thread::sleep(Duration::from_millis(10));
    let followers: Vec<_> = (0..4)
        .map(|_| {
            let key = key.clone();
            thread::spawn(move || http::get_with(address, "/guarded", &key).status)
        })
        .collect();
    thread::sleep(Duration::from_millis(10));
    drop(leader);
    store.thaw();
    assert_eq!(first.join().unwrap(), 401);
    for follower in followers {
        assert_eq!(follower.join().unwrap(), 200);
    }
}

// E1
#[test]
fn a_request_begun_after_a_revocation_does_not_pass_by_an_older_look_up() {
    /// Reads the state at once, and hands it out when it is let go.
    #[derive(Clone)]
    struct Slow(Frozen);
    impl KeyStore for Slow {
        fn find(&self, digests: &[Digest]) -> Result<Vec<KeyRecord>, StoreError> {
            let read = self.0.store.find(digests)?;
            self.0.find(&[])?;
            Ok(read)
        }
    }
    let slow = Slow(Frozen::new(MemoryStore::default()));
    let issued = slow
        .0
        .store
        .issue(&NewKey::new("test", "0.0.0.0".parse().unwrap()))
        .unwrap();
    let key = issued.secret.expose().to_owned();
    let server = Server::start(
        AppKeys::builder().store(slow.clone()).build().unwrap(),
        routes,
    );
    let address = server.address;
    let before = {
        let key = key.clone();
        thread::spawn(move || http::get_with(address, "/guarded", &key).status)
    };
    while slow.0.inside.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    slow.0.store.change(issued.record.id, |record| {
        record.revoked_at = Some(fixtures::moment());
    });
    let after = thread::spawn(move || http::get_with(address, "/guarded", &key).status);
    thread::sleep(Duration::from_millis(100));
    slow.0.thaw();
    assert_eq!((before.join().unwrap(), after.join().unwrap()), (200, 401));
}

// F8
database_test!(
    start_up_refuses_missing_and_incompatible_tables,
    |database: Database| {
        let refusal = |what: &str| {
            let error = database.builder().build().expect_err(what);
            assert!(error.is_schema(), "{what}: {error}");
            error.to_string()
        };
        assert!(refusal("no tables").contains("app-key migrate"));
        database.migrate();
        database.builder().build().unwrap();
        database
            .execute("UPDATE api_key_meta SET schema_version = 3, compatible_from = 1")
            .unwrap();
        database
            .builder()
            .build()
            .expect("a newer schema that says it is compatible");
        database
            .execute("UPDATE api_key_meta SET schema_version = 3, compatible_from = 2")
            .unwrap();
        assert!(refusal("a newer schema").contains("update api-key-runtime"));
        database.execute("DELETE FROM api_key_meta").unwrap();
        assert!(refusal("an empty meta table").contains("api_key_meta"));
    }
);

// F8
database_test!(
    start_up_refuses_a_table_that_lost_a_trigger,
    |database: Database| {
        database.migrate();
        let (drop, disable) = if database.is_postgres() {
            (
                "DROP TRIGGER api_keys_log_update ON api_keys",
                Some("ALTER TABLE api_keys DISABLE TRIGGER api_keys_log_update"),
            )
        } else {
            ("DROP TRIGGER api_keys_log_update", None)
        };
        for sql in disable.into_iter().chain([drop]) {
            database.execute(sql).unwrap();
            let error = database.builder().build().unwrap_err();
            assert!(
                error.is_schema() && error.to_string().contains("api_keys_log_update"),
                "{error}"
            );
        }
    }
);

// F8
#[test]
fn start_up_without_a_database_is_a_clear_error_without_the_password() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = AppKeys::builder()
        .database_url(format!("postgres://cakes:s3cret@127.0.0.1:{closed}/cakes"))
        .build()
        .unwrap_err();
    assert!(error.is_database(), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("Postgres at 127.0.0.1:{closed}/cakes")),
        "{error}"
    );
    assert!(!error.to_string().contains("s3cret"), "{error}");
    let error = AppKeys::builder()
        .database_url("/nonexistent/keys.db")
        .build()
        .unwrap_err();
    assert!(
        error.is_schema() && error.to_string().contains("app-key migrate"),
        "{error}"
    );
    assert!(
        AppKeys::builder().build().unwrap_err().is_setting(),
        "no store is named"
    );
}

/// Passes bytes between clients and a server of Postgres until it is told to swallow them.
struct Proxy {
    address: SocketAddr,
    swallowing: Arc<AtomicBool>,
}

impl Proxy {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let swallowing = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&swallowing);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(to) else {
                    continue;
                };
                let pairs = [
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server, client),
                ];
                for (from, to) in pairs {
                    let swallowing = Arc::clone(&shared);
                    thread::spawn(move || pass(from, to, &swallowing));
                }
            }
        });
        Self {
            address,
            swallowing,
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, swallowing: &AtomicBool) {
    let mut buffer = [0; 4096];
    while let Ok(length) = io::Read::read(&mut from, &mut buffer) {
        while swallowing.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        if length == 0 || io::Write::write_all(&mut to, &buffer[..length]).is_err() {
            return;
        }
    }
}

// F1, F2, F3
#[test]
fn a_postgres_that_answers_nothing_is_503_within_the_deadline_and_health_is_200() {
    let database = Database::postgres();
    let (key, _) = database.issue("0.0.0.0");
    let (credentials, place) = database.url().split_once('@').unwrap();
    let (server, name) = place.split_once('/').unwrap();
    let proxy = Proxy::start(server.parse().unwrap());
    let keys = AppKeys::builder()
        .database_url(format!("{credentials}@{}/{name}", proxy.address))
        .lookup_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let service = Server::start(keys, routes);
    assert_eq!(
        http::get_with(service.address, "/guarded", &key).status,
        200
    );
    proxy.swallowing.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        let started = Instant::now();
        assert_eq!(
            http::get_with(service.address, "/guarded", &key).status,
            503
        );
        let took = started.elapsed();
        assert!(
            (Duration::from_millis(250)..Duration::from_secs(2)).contains(&took),
            "{took:?}"
        );
        let started = Instant::now();
        assert_eq!(http::get(service.address, "/health", &[]).status, 200);
        assert!(
            started.elapsed() < Duration::from_millis(250),
            "health waited for the database"
        );
    }
    proxy.swallowing.store(false, Ordering::SeqCst);
    let started = Instant::now();
    while http::get_with(service.address, "/guarded", &key).status != 200 {
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "it did not recover"
        );
    }
}

// F3, F4
#[test]
fn a_connection_that_was_cut_is_replaced_without_a_refusal() {
    let database = Database::postgres();
    let server = Server::start(database.keys(), routes);
    let (key, _) = database.issue("0.0.0.0");
    for _ in 0..5 {
        assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
        database.texts("SELECT cast(pg_terminate_backend(pid) AS text) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
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
    writer
        .batch_execute("BEGIN EXCLUSIVE; UPDATE api_keys SET name = 'held'")
        .unwrap();
    for _ in 0..20 {
        assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
    }
    writer.batch_execute("ROLLBACK").unwrap();
}

// E8
#[test]
fn an_sqlite_file_that_is_replaced_or_deleted_is_not_read_on() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), routes);
    // Another file, in which the same key is revoked, takes the place of one in which it is not.
    let other = Database::sqlite();
    other.migrate();
    drop(server);
    let server = Server::start(other.keys(), routes);
    let (key, id) = other.issue("0.0.0.0");
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    std::fs::copy(other.url(), format!("{}.copy", other.url())).unwrap();
    let replacement = Database::sqlite();
    std::fs::rename(format!("{}.copy", other.url()), replacement.url()).unwrap();
    replacement.admin().revoke(id).unwrap();
    replacement
        .execute("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    for leftover in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{leftover}", other.url()));
    }
    std::fs::rename(replacement.url(), other.url()).unwrap();
    assert_eq!(
        http::get_with(server.address, "/guarded", &key).status,
        401,
        "the file that was replaced is read on"
    );
    std::fs::remove_file(other.url()).unwrap();
    assert_eq!(
        http::get_with(server.address, "/guarded", &key).status,
        503,
        "the file that was deleted is read on"
    );
}

// E14
database_test!(
    a_row_that_cannot_be_decoded_refuses_its_own_key_alone,
    |database: Database| {
        let server = Server::start(database.keys(), routes);
        let keys: Vec<(String, i64)> = (0..20).map(|_| database.issue("0.0.0.0")).collect();
        let (_, bad) = keys[7];
        // What the constraints exclude, as far as a database can express it; on SQLite a text that is not UTF-8 gets past them.
        let break_it = if database.is_postgres() {
            format!(
                "ALTER TABLE api_keys DROP CONSTRAINT api_keys_expires_at_is_a_utc_time; UPDATE api_keys SET expires_at = 'infinity' WHERE id = {bad}"
            )
        } else {
            format!("UPDATE api_keys SET name = CAST(x'ff41' AS TEXT) WHERE id = {bad}")
        };
        database.execute(&break_it).unwrap();
        let statuses = thread::scope(|scope| {
            let address = server.address;
            let requests: Vec<_> = keys
                .iter()
                .map(|(key, id)| {
                    scope.spawn(move || (*id, http::get_with(address, "/guarded", key).status))
                })
                .collect();
            requests
                .into_iter()
                .map(|request| request.join().unwrap())
                .collect::<Vec<_>>()
        });
        for (id, status) in statuses {
            assert_eq!(status, if id == bad { 401 } else { 200 }, "key {id}");
        }
        assert_eq!(
            database.admin().list().unwrap().len(),
            19,
            "the others are listed"
        );
        assert!(!log::lines_with(&format!("the row of key {bad} cannot be read")).is_empty());
    }
);
