//! What was read before a change, and arrives after it.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use api_key_runtime::{
    AppKeys, ChangeCursor, Changes, DieselStore, KeyDigest, KeyRecord, KeyStore, StoreError,
};

use super::{routes, status};
use crate::support::{
    CountedServer, Counting, Database, PATIENCE, Server, allow_open_files, database_test, http,
    wait_until,
};

/// A store whose answers can be held back: what was read is handed over only when the test says so.
#[derive(Clone)]
struct Held {
    store: Arc<DieselStore>,
    gate: Arc<Gate>,
    /// Whether it has told of a change since it was closed, and whether that was heeded: changes were asked for again.
    has_told: Arc<AtomicBool>,
    was_heeded: Arc<AtomicBool>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    is_closed: bool,
    held: usize,
}

impl Held {
    fn new(database: &Database) -> Self {
        Self {
            store: Arc::new(DieselStore::open(database.url()).unwrap()),
            gate: Arc::default(),
            has_told: Arc::default(),
            was_heeded: Arc::default(),
        }
    }

    fn close(&self) {
        self.has_told.store(false, Ordering::SeqCst);
        self.was_heeded.store(false, Ordering::SeqCst);
        self.gate.state.lock().unwrap().is_closed = true;
    }

    fn wait_until_something_is_held(&self) {
        let state = self.gate.state.lock().unwrap();
        let none = |state: &mut GateState| state.held == 0;
        drop(self.gate.changed.wait_while(state, none).unwrap());
    }

    fn open(&self) {
        self.gate.state.lock().unwrap().is_closed = false;
        self.gate.changed.notify_all();
    }
}

impl KeyStore for Held {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        let found = self.store.find(digests);
        let mut state = self.gate.state.lock().unwrap();
        state.held += 1;
        self.gate.changed.notify_all();
        let is_closed = |state: &mut GateState| state.is_closed;
        state = self.gate.changed.wait_while(state, is_closed).unwrap();
        state.held -= 1;
        found
    }

    fn changes(&self, since: Option<&ChangeCursor>) -> Result<Option<Changes>, StoreError> {
        if self.has_told.load(Ordering::SeqCst) {
            self.was_heeded.store(true, Ordering::SeqCst);
        }
        let changes = self.store.changes(since)?;
        let tells = |changes: &Changes| changes.digests().is_none_or(|told| !told.is_empty());
        if changes.as_ref().is_some_and(tells) {
            self.has_told.store(true, Ordering::SeqCst);
        }
        Ok(changes)
    }

    fn wait_for_change(&self, at_most: Duration) {
        self.store.wait_for_change(at_most);
    }
}

/// Sends a request with this key and does not wait for its answer.
fn send(server: &CountedServer, key: &str) -> http::Client {
    let mut client = http::Client::connect(server.address);
    let line = format!("X-API-Key: {key}");
    client.send(http::head("GET", "/guarded", &[&line]));
    client
}

fn keys_over(database: &Database, store: &Held) -> AppKeys {
    let builder = database.builder().store(store.clone());
    builder.build().unwrap()
}

// E1, E3, E4
database_test!(
    a_read_that_was_made_before_a_revocation_and_arrives_after_it_lets_nobody_in,
    |database: Database| {
        let (key, id) = database.issue("0.0.0.0");
        let store = Held::new(&database);
        let keys = keys_over(&database, &store);
        wait_until("the feed is up to date", || keys.health().is_ready());
        let server = CountedServer::start(keys, routes);
        let other = database.keys();
        store.close();
        let mut early = send(&server, &key);
        store.wait_until_something_is_held();
        other.admin().unwrap().revoke(id).unwrap();
        wait_until("the feed is told of it while the read is held", || {
            store.was_heeded.load(Ordering::SeqCst)
        });
        let mut late = send(&server, &key);
        server.wait_for(2);
        store.open();
        let late = late.read(false).unwrap().status;
        assert_eq!(late, 401, "joined after the revocation");
        let early = early.read(false).unwrap().status;
        assert!(early == 200 || early == 401, "either is right: {early}");
        for _ in 0..50 {
            assert_eq!(status(server.address, &key), 401, "nothing was kept of it");
        }
    }
);

// E4
database_test!(
    a_database_that_was_put_back_does_not_revive_what_was_seen_revoked,
    |database: Database| {
        let (key, id) = database.issue("0.0.0.0");
        let (other, _) = database.issue("0.0.0.0");
        let server = Server::start(database.keys(), routes);
        database.admin().revoke(id).unwrap();
        assert_eq!(status(server.address, &key), 401);
        // What the triggers refuse; a backup knows none.
        let without_triggers = |sql: &str| {
            if database.is_postgres() {
                format!(
                    "ALTER TABLE api_keys DISABLE TRIGGER api_keys_revocation_is_final; {sql}; \
                     ALTER TABLE api_keys ENABLE TRIGGER api_keys_revocation_is_final"
                )
            } else {
                let trigger = database
                    .texts(
                        "SELECT sql FROM sqlite_master WHERE name = 'api_keys_revocation_is_final'",
                    )
                    .remove(0);
                format!(
                    "BEGIN; DROP TRIGGER api_keys_revocation_is_final; {sql}; {trigger}; COMMIT"
                )
            }
        };
        let sql = "UPDATE api_keys SET revoked_at = NULL";
        database.execute(&without_triggers(sql)).unwrap();
        assert!(database.admin().get(id).unwrap().revoked_at.is_none());
        for _ in 0..50 {
            assert_eq!(status(server.address, &key), 401);
            thread::sleep(Duration::from_millis(30));
        }
        assert_eq!(status(server.address, &other), 200);
    }
);

// E11
database_test!(a_thousand_first_requests_of_a_key_are_one_query, |database: Database| {
    const REQUESTS: usize = 1000;
    allow_open_files(8192);
    let (key, _) = database.issue("0.0.0.0");
    let held = Held::new(&database);
    let store = Counting::new(held.clone());
    // A look-up that was sent is joined for half of the shorter one.
    let builder = database.builder().store(store.clone());
    let builder = builder.lookup_timeout(PATIENCE).max_staleness(PATIENCE);
    let keys = builder.build().unwrap();
    // The feed's first word is that anything may have changed, and who joined before it is asked for again.
    wait_until("the feed is up to date", || keys.health().is_ready());
    let server = CountedServer::start(keys, routes);
    held.close();
    let before = store.queries();
    let mut requests: Vec<_> = (0..REQUESTS).map(|_| send(&server, &key)).collect();
    server.wait_for(REQUESTS);
    held.wait_until_something_is_held();
    held.open();
    for request in &mut requests {
        assert_eq!(request.read(false).unwrap().status, 200);
    }
    assert_eq!(store.queries() - before, 1);
});

// E11
#[test]
fn a_request_that_is_given_up_does_not_fail_the_others_that_wait_with_it() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let held = Held::new(&database);
    let server = CountedServer::start(keys_over(&database, &held), routes);
    held.close();
    let first = send(&server, &key);
    held.wait_until_something_is_held();
    let mut second = send(&server, &key);
    server.wait_for(2);
    drop(first);
    // Until the server has noticed, if it does.
    thread::sleep(Duration::from_millis(100));
    held.open();
    assert_eq!(second.read(false).unwrap().status, 200);
    wait_until("it is known", || status(server.address, &key) == 200);
}
