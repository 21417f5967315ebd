//! What was read before a change, and arrives after it.

use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use api_key_runtime::{
    AppKeys, ChangeCursor, Changes, DieselStore, Digest, KeyRecord, KeyStore, StoreError,
};

use super::{routes, status};
use crate::support::{Counting, Database, Server, database_test, fixtures::holds_soon};

/// A store whose answers can be held back: what was read is handed over only when the test says so.
#[derive(Clone)]
struct Held {
    store: Arc<DieselStore>,
    gate: Arc<Gate>,
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
        }
    }

    fn close(&self) {
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
    fn find(&self, digests: &[Digest]) -> Result<Vec<KeyRecord>, StoreError> {
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
        self.store.changes(since)
    }

    fn wait_for_change(&self, at_most: Duration) {
        self.store.wait_for_change(at_most);
    }
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
        let server = Server::start(keys, routes);
        let other = database.keys();
        store.close();
        let address = server.address;
        thread::scope(|scope| {
            let early = scope.spawn(|| status(address, &key));
            store.wait_until_something_is_held();
            other.admin().unwrap().revoke(id).unwrap();
            // The feed tells of it while the read is still held.
            thread::sleep(Duration::from_millis(300));
            let late = scope.spawn(|| status(address, &key));
            thread::sleep(Duration::from_millis(100));
            store.open();
            assert_eq!(late.join().unwrap(), 401, "joined after the revocation");
            let early = early.join().unwrap();
            assert!(early == 200 || early == 401, "either is right: {early}");
        });
        for _ in 0..50 {
            assert_eq!(status(address, &key), 401, "nothing was kept of it");
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
database_test!(
    a_thousand_first_requests_of_a_key_are_one_query,
    |database: Database| {
        let (key, _) = database.issue("0.0.0.0");
        let held = Held::new(&database);
        let store = Counting::new(held.clone());
        // However long a busy machine takes to send them all.
        let patient = Duration::from_secs(20);
        let builder = database.builder().store(store.clone());
        let builder = builder.lookup_timeout(patient).max_staleness(patient);
        let keys = builder.build().unwrap();
        // The feed's first word is that anything may have changed, and who joined before it is asked for again.
        holds_soon("the feed is up to date", || keys.health().is_ready());
        let server = Server::start(keys, routes);
        held.close();
        let (address, key) = (server.address, key.as_str());
        let before = store.queries();
        thread::scope(|scope| {
            let requests: Vec<_> = (0..200)
                .map(|_| scope.spawn(move || status(address, key)))
                .collect();
            held.wait_until_something_is_held();
            thread::sleep(Duration::from_millis(200));
            held.open();
            for request in requests {
                assert_eq!(request.join().unwrap(), 200);
            }
        });
        assert_eq!(store.queries() - before, 1);
    }
);

// E11
#[test]
fn a_request_that_is_given_up_does_not_fail_the_others_that_wait_with_it() {
    use std::{io::Write as _, net::TcpStream};
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let held = Held::new(&database);
    let server = Server::start(keys_over(&database, &held), routes);
    held.close();
    let mut first = TcpStream::connect(server.address).unwrap();
    let request = format!("GET /guarded HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n\r\n");
    first.write_all(request.as_bytes()).unwrap();
    held.wait_until_something_is_held();
    let (address, key) = (server.address, key.as_str());
    thread::scope(|scope| {
        let second = scope.spawn(move || status(address, key));
        thread::sleep(Duration::from_millis(50));
        drop(first);
        thread::sleep(Duration::from_millis(50));
        held.open();
        assert_eq!(second.join().unwrap(), 200);
    });
    holds_soon("it is known", || status(address, key) == 200);
}
