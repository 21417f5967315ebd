//! Stores that fail, panic, answer late or not at all, and look-ups that wait for them.

use std::{
    collections::HashSet,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use api_key_runtime::{
    AppKeys, Digest, KeyRecord, KeyStore, NewKey, StoreError, test_util::MemoryStore,
};

use super::routes;
use crate::support::{Database, Server, database_test, fixtures, http, log};

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
    // 512 of which nothing is known may wait, and two threads are at one or a few each: some of these are too many.
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
        statuses.iter().all(|status| matches!(status, 401 | 503)) && (1..1200).contains(&refused),
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
    let keys = AppKeys::builder()
        .store(slow.clone())
        .max_staleness(Duration::ZERO)
        .build()
        .unwrap();
    let server = Server::start(keys, routes);
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
    assert_eq!(after.join().unwrap(), 401);
    // What began before may go either way: by now the process may have seen that the key is revoked.
    assert!(matches!(before.join().unwrap(), 200 | 401));
}

// E1, E6
database_test!(
    where_nothing_is_cached_a_change_is_in_force_for_the_next_request,
    |database: Database| {
        database.migrate();
        let builder = database.builder().max_staleness(Duration::ZERO);
        let keys = builder.build().unwrap();
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
