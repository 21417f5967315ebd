//! What happens when something breaks: nothing is open, and little else stops.

use std::{
    collections::HashSet,
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, ThreadId},
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
    threads: Arc<Mutex<HashSet<ThreadId>>>,
}

impl Frozen {
    fn new(store: MemoryStore) -> Self {
        Self {
            store,
            gate: Arc::new((Mutex::new(true), Condvar::new())),
            inside: Arc::default(),
            threads: Arc::default(),
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
        self.threads.lock().unwrap().insert(thread::current().id());
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
    // They are not only idle but gone: any thread there is would take its share of these.
    store.threads.lock().unwrap().clear();
    for _ in 0..200 {
        assert_eq!(http::get_with(address, "/guarded", &key).status, 200);
    }
    let threads = store.threads.lock().unwrap().len();
    assert!(threads <= 2, "{threads} threads go on, two are enough");
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

// E11
#[test]
fn a_request_whose_time_is_up_does_not_fail_those_who_joined_it() {
    let store = Frozen::new(MemoryStore::default());
    let key = issue(&store.store);
    let keys = AppKeys::builder()
        .store(store.clone())
        .lookup_timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    let server = Server::start(keys, routes);
    let ask = |key: &str| {
        let mut client = http::Client::connect(server.address);
        let line = format!("X-API-Key: {key}");
        client.send(http::head("GET", "/guarded", &[&line]));
        client
    };
    // Both threads are at a look-up that is stuck, so that the next one waits in the queue and can be joined.
    let mut stuck: Vec<http::Client> = Vec::new();
    for number in 1..=2 {
        stuck.push(ask(&fixtures::unknown()));
        while store.inside.load(Ordering::SeqCst) < number {
            thread::yield_now();
        }
    }
    let mut leader = ask(&key);
    thread::sleep(Duration::from_secs(1));
    let mut followers: Vec<http::Client> = (0..4).map(|_| ask(&key)).collect();
    assert_eq!(leader.read(false).unwrap().status, 503, "its time is up");
    store.thaw();
    for follower in &mut followers {
        assert_eq!(follower.read(false).unwrap().status, 200);
    }
}

// E11
#[test]
fn a_thousand_first_requests_of_a_key_are_asked_once_and_take_one_place_in_the_queue() {
    /// Keeps what was asked for.
    #[derive(Clone)]
    struct Asked(Frozen, Arc<Mutex<Vec<Digest>>>);
    impl KeyStore for Asked {
        fn find(&self, digests: &[Digest]) -> Result<Vec<KeyRecord>, StoreError> {
            self.1.lock().unwrap().extend_from_slice(digests);
            self.0.find(digests)
        }
    }
    const REQUESTS: usize = 1100;
    let store = Asked(Frozen::new(MemoryStore::default()), Arc::default());
    let issued = store
        .0
        .store
        .issue(&NewKey::new("test", "0.0.0.0".parse().unwrap()))
        .unwrap();
    let key = issued.secret.expose();
    let keys = AppKeys::builder()
        .store(store.clone())
        .lookup_timeout(Duration::from_secs(8))
        .build()
        .unwrap();
    let server = Server::start(keys, routes);
    // Both threads are at a look-up that is stuck; whatever comes now waits in the queue.
    let mut stuck: Vec<http::Client> = Vec::new();
    for number in 1..=2 {
        let mut client = http::Client::connect(server.address);
        let line = format!("X-API-Key: {}", fixtures::unknown());
        client.send(http::head("GET", "/guarded", &[&line]));
        while store.0.inside.load(Ordering::SeqCst) < number {
            thread::yield_now();
        }
        stuck.push(client);
    }
    let request = http::head("GET", "/guarded", &[&format!("X-API-Key: {key}")]);
    let mut waiting: Vec<http::Client> = (0..REQUESTS)
        .map(|_| {
            let mut client = http::Client::connect(server.address);
            client.send(&request);
            client
        })
        .collect();
    // The one worker has read them all once it answers this.
    assert_eq!(http::get(server.address, "/health", &[]).status, 200);
    thread::sleep(Duration::from_millis(200));
    store.0.thaw();
    for client in &mut waiting {
        assert_eq!(client.read(false).unwrap().status, 200);
    }
    for client in &mut stuck {
        assert_eq!(client.read(false).unwrap().status, 401);
    }
    let asked = store.1.lock().unwrap();
    let times = asked
        .iter()
        .filter(|asked| **asked == issued.record.digest)
        .count();
    assert_eq!(times, 1, "asked {times} times for {REQUESTS} requests");
}

// D1, F2
#[test]
fn a_full_queue_is_503_at_once_and_recovers() {
    let store = Frozen::new(MemoryStore::default());
    let key = issue(&store.store);
    let keys = AppKeys::builder()
        .store(store.clone())
        .lookup_timeout(Duration::from_secs(8))
        .build()
        .unwrap();
    let server = Server::start(keys, routes);
    // 1024 may wait, and two threads are at one or a few each: some of these are too many.
    let mut clients: Vec<http::Client> = (0..1700)
        .map(|_| {
            let mut client = http::Client::connect(server.address);
            let line = format!("X-API-Key: {}", fixtures::unknown());
            client.send(http::head("GET", "/guarded", &[&line]));
            client
        })
        .collect();
    let began = Instant::now();
    let refusal = http::get_with(server.address, "/guarded", &key);
    assert_eq!(
        (refusal.status, refusal.header("retry-after")),
        (503, Some("1"))
    );
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "it waited for the deadline: {:?}",
        began.elapsed()
    );
    assert!(!log::lines_with("look-up queue full").is_empty());
    store.thaw();
    let statuses: Vec<u16> = clients
        .iter_mut()
        .map(|client| client.read(false).unwrap().status)
        .collect();
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert!(
        statuses.iter().all(|status| matches!(status, 401 | 503)) && (1..700).contains(&refused),
        "{refused} of 1700 were too many"
    );
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
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

// E1, E6
database_test!(
    a_change_is_in_force_for_the_next_request,
    |database: Database| {
        let keys = database.keys();
        let admin = keys.admin().unwrap();
        let server = Server::start(keys.clone(), routes);
        let status = |key: &str| http::get_with(server.address, "/guarded", key).status;
        let sql = |set: &str, id: i64| {
            database
                .execute(&format!("UPDATE api_keys SET {set} WHERE id = {id}"))
                .unwrap();
        };
        let (key, id) = database.issue("0.0.0.0");
        for _ in 0..3 {
            assert_eq!(status(&key), 200);
            admin.disable(id).unwrap();
            assert_eq!(status(&key), 401, "disabled");
            admin.enable(id).unwrap();
            assert_eq!(status(&key), 200, "enabled");
        }
        for (set, back) in [
            ("allowed_ips = '203.0.113.7'", "allowed_ips = '0.0.0.0'"),
            (
                "expires_at = '2001-01-01 00:00:00+00:00'",
                "expires_at = NULL",
            ),
            (
                "disabled_at = '2001-01-01 00:00:00+00:00'",
                "disabled_at = NULL",
            ),
        ] {
            sql(set, id);
            assert_eq!(status(&key), 401, "{set}");
            sql(back, id);
            assert_eq!(status(&key), 200, "{back}");
        }
        admin.revoke(id).unwrap();
        assert_eq!(status(&key), 401, "revoked");
        let (other, other_id) = database.issue("0.0.0.0");
        assert_eq!(status(&other), 200);
        sql("revoked_at = '2001-01-01 00:00:00+00:00'", other_id);
        assert_eq!(status(&other), 401, "revoked by SQL");
        let (deleted, deleted_id) = database.issue("0.0.0.0");
        assert_eq!(status(&deleted), 200);
        database
            .execute(&format!("DELETE FROM api_keys WHERE id = {deleted_id}"))
            .unwrap();
        assert_eq!(status(&deleted), 401, "deleted");
    }
);

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
    administration_refuses_missing_and_incompatible_tables,
    |database: Database| {
        if !database.is_postgres() {
            // There is a file, and nothing in it.
            std::fs::write(database.url(), "").unwrap();
        }
        let admin = database.builder().build_admin().unwrap();
        let new = NewKey::new("test", "0.0.0.0".parse().unwrap());
        let all_refuse = |what: &str| {
            let errors = [
                admin.issue(&new).map(drop),
                admin.list().map(drop),
                admin.get(1).map(drop),
                admin.revoke(1).map(drop),
                admin.disable(1).map(drop),
                admin.enable(1).map(drop),
            ];
            for error in errors {
                let error = error.expect_err(what);
                assert!(error.is_schema(), "{what}: {error}");
            }
        };
        all_refuse("no tables");
        database.migrate();
        admin.issue(&new).unwrap();
        database
            .execute("UPDATE api_key_meta SET schema_version = 3, compatible_from = 2")
            .unwrap();
        all_refuse("a newer schema");
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
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) swallowing: Arc<AtomicBool>,
    /// Whether the server is gone: connections are cut and new ones refused.
    pub(crate) gone: Arc<AtomicBool>,
}

impl Proxy {
    pub(crate) fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let swallowing = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&swallowing);
        let gone = Arc::<AtomicBool>::default();
        let is_gone = Arc::clone(&gone);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if is_gone.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(to) else {
                    continue;
                };
                let pairs = [
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server, client),
                ];
                for (from, to) in pairs {
                    let (swallowing, gone) = (Arc::clone(&shared), Arc::clone(&is_gone));
                    thread::spawn(move || pass(from, to, &swallowing, &gone));
                }
            }
        });
        Self {
            address,
            swallowing,
            gone,
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, swallowing: &AtomicBool, gone: &AtomicBool) {
    let mut buffer = [0; 4096];
    while let Ok(length) = io::Read::read(&mut from, &mut buffer) {
        if gone.load(Ordering::SeqCst) {
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
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
fn a_postgres_that_is_gone_for_a_while_is_503_and_200_within_a_second_of_its_return() {
    let database = Database::postgres();
    let (key, _) = database.issue("0.0.0.0");
    let (credentials, place) = database.url().split_once('@').unwrap();
    let (server, name) = place.split_once('/').unwrap();
    let proxy = Proxy::start(server.parse().unwrap());
    let keys = AppKeys::builder()
        .database_url(format!("{credentials}@{}/{name}", proxy.address))
        .build()
        .unwrap();
    let service = Server::start(keys, routes);
    let status = || http::get_with(service.address, "/guarded", &key).status;
    assert_eq!(status(), 200);
    proxy.gone.store(true, Ordering::SeqCst);
    let away = Instant::now();
    while away.elapsed() < Duration::from_secs(4) {
        let started = Instant::now();
        assert_eq!(status(), 503);
        assert!(
            started.elapsed() < Duration::from_millis(1500),
            "the deadline of a second did not hold: {:?}",
            started.elapsed()
        );
        thread::sleep(Duration::from_millis(50));
    }
    proxy.gone.store(false, Ordering::SeqCst);
    let back = Instant::now();
    while status() != 200 {
        assert!(
            back.elapsed() < Duration::from_secs(1),
            "no success within a second"
        );
        thread::sleep(Duration::from_millis(20));
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

// E12, F3
database_test!(
    a_query_that_fails_is_503_and_not_an_unknown_key,
    |database: Database| {
        let server = Server::start(database.keys(), routes);
        let (key, _) = database.issue("0.0.0.0");
        let status = || http::get_with(server.address, "/guarded", &key).status;
        assert_eq!(status(), 200);
        database
            .execute("ALTER TABLE api_keys RENAME COLUMN hint TO other")
            .unwrap();
        assert_eq!([status(), status()], [503, 503]);
        database
            .execute("ALTER TABLE api_keys RENAME COLUMN other TO hint")
            .unwrap();
        assert_eq!(status(), 200);
    }
);

// E8, F8
#[test]
fn an_sqlite_file_without_its_triggers_that_takes_the_place_of_another_is_503() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), routes);
    let (key, _) = database.issue("0.0.0.0");
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200);
    database
        .execute("DROP TRIGGER api_keys_log_update; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    let copy = format!("{}.copy", database.url());
    std::fs::copy(database.url(), &copy).unwrap();
    for leftover in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{leftover}", database.url()));
    }
    std::fs::rename(copy, database.url()).unwrap();
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 503);
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
