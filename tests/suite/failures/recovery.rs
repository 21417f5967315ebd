//! A database that comes back is used at once, whatever had become of it and however long it was
//! away.

use std::{
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::AppKeys;

use super::routes;
use crate::support::{
    Database, OwnServer, Proxy, Server, TEST_TIMEOUT, http, refused_in_time, wait_until,
};

/// How long the database is away each time: longer than any deadline.
const AWAY: Duration = Duration::from_millis(2500);
/// The deadline of a lookup.
const DEADLINE: Duration = Duration::from_secs(1);
/// What an answer takes at most, even on a busy machine, of a service that keeps its deadline.
const ANSWERED: Duration = Duration::from_secs(10);
/// The first success after the database is back is to come within a second. A busy machine may need
/// longer, though not as long as a service that waits before it tries again.
const RECOVERY: Duration = Duration::from_secs(5);
/// As long as that where lookups are stuck, which are given up after the deadline; in this test
/// they would be for ever.
const RECOVERY_OF_THE_STUCK: Duration = Duration::from_secs(15);

/// A service, its database on a server of its own, and the path between them.
struct Scene {
    server: OwnServer,
    proxy: Proxy,
    database: Database,
    service: Server,
    /// Keys that no request came with yet: whoever presents one needs the database.
    cold: Vec<(String, i64)>,
}

impl Scene {
    fn new() -> Self {
        let server = OwnServer::start();
        let database = server.database();
        let proxy = Proxy::start(server.address());
        let keys = AppKeys::builder()
            .database_url(database.migrate().url_at(proxy.address))
            .lookup_timeout(DEADLINE)
            .build()
            .unwrap();
        Self {
            service: Server::start(keys, routes),
            cold: database.issue_many(40),
            database,
            proxy,
            server,
        }
    }

    fn status(&self, key: &str) -> u16 {
        let began = Instant::now();
        let status = http::get_with(self.service.address, "/guarded", key).status;
        let took = began.elapsed();
        assert!(took < ANSWERED, "{status} after {took:?}");
        status
    }

    fn next_cold(&mut self) -> (String, i64) {
        self.cold.pop().expect("too few keys were issued")
    }

    /// The database goes away and comes back; how long the first success took from then on.
    fn outage(&mut self, away: fn(&Self), back: fn(&Self)) -> Duration {
        self.first_success();
        away(self);
        let began = Instant::now();
        let key = self.next_cold().0;
        while began.elapsed() < AWAY {
            assert_eq!(self.status(&key), 503, "the key cannot be known");
            thread::sleep(Duration::from_millis(50));
        }
        back(self);
        let took = self.first_success();
        self.revocation_reaches_the_service();
        took
    }

    /// How long it takes until a key is accepted that needs the database.
    fn first_success(&mut self) -> Duration {
        let began = Instant::now();
        let key = self.next_cold().0;
        while self.status(&key) != 200 {
            assert!(began.elapsed() < TEST_TIMEOUT, "it did not recover");
            thread::sleep(Duration::from_millis(5));
        }
        began.elapsed()
    }

    /// Nothing is right again unless this is.
    fn revocation_reaches_the_service(&mut self) {
        let (key, id) = self.next_cold();
        wait_until("a key is accepted", || self.status(&key) == 200);
        self.database
            .execute(&format!("UPDATE api_keys SET revoked_at = now() WHERE id = {id}"))
            .unwrap();
        let revoked = Instant::now();
        refused_in_time("a revoked key", revoked, 401, || self.status(&key));
    }
}

// F3, F4
// Whether it refused connections, was frozen, was shut down or crashed.
#[test]
fn a_returning_postgres_is_used_within_a_second() {
    type Step = fn(&Scene);
    let outages: [(&str, Step, Step); 5] = [
        ("refused connections", |at| at.proxy.cut(), |at| at.proxy.pass()),
        ("stood still on its way", |at| at.proxy.hold(), |at| at.proxy.pass()),
        ("was frozen", |at| at.server.freeze(), |at| at.server.thaw()),
        ("was shut down", |at| at.server.shut_down(), |at| at.server.start_again()),
        ("crashed", |at| at.server.crash(), |at| at.server.start_again()),
    ];
    let mut scene = Scene::new();
    for (what, away, back) in outages {
        let took = scene.outage(away, back);
        println!("first success after Postgres {what}: {took:?}");
        assert!(took < RECOVERY, "{what}: {took:?}");
    }
}

// F4
#[test]
fn a_postgres_that_lost_a_process_is_used_within_a_second() {
    let mut scene = Scene::new();
    let name = scene.database.name().to_owned();
    for _ in 0..3 {
        let backends = scene.database.texts(&format!(
            "SELECT cast(pid AS text) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        ));
        scene.server.kill_process(&backends[0]);
        scene.server.wait_until_it_takes_connections();
        let took = scene.first_success();
        println!("first success after a process of Postgres was killed: {took:?}");
        assert!(took < RECOVERY, "{took:?}");
        scene.revocation_reaches_the_service();
    }
}

// F2, F3, F4
#[test]
fn silently_dead_connections_are_replaced() {
    let mut scene = Scene::new();
    scene.first_success();
    scene.proxy.swallow_existing();
    let took = scene.first_success();
    println!("first success after every connection died without a word: {took:?}");
    assert!(took < RECOVERY_OF_THE_STUCK, "{took:?}");
    scene.revocation_reaches_the_service();
    let took = scene.outage(|at| at.proxy.swallow(), |at| at.proxy.pass());
    println!("first success after a path that swallowed everything is mended: {took:?}");
    assert!(took < RECOVERY_OF_THE_STUCK, "{took:?}");
}
