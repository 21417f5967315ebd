//! A database that becomes available again is used at once, whatever the failure was and however
//! long it lasted.

use std::{
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::AppKeys;

use super::routes;
use crate::support::{
    Database, OwnServer, Proxy, Server, TEST_TIMEOUT, http, refused_in_time, wait_until,
};

/// Duration of each outage, longer than any deadline.
const AWAY: Duration = Duration::from_millis(2500);
/// The lookup timeout.
const DEADLINE: Duration = Duration::from_secs(1);
/// Maximum time of a response on a busy machine if the service observes its deadline.
const ANSWERED: Duration = Duration::from_secs(10);
/// The first success should come within a second of recovery. A busy machine may take longer, but
/// not as long as a service that waits before it retries.
const RECOVERY: Duration = Duration::from_secs(5);
/// Maximum time to the first success after lookups were stuck. Stuck lookups never end in this
/// test, but the service abandons them after the deadline.
const RECOVERY_OF_THE_STUCK: Duration = Duration::from_secs(15);

/// A service, its own database server, and the proxy between them.
struct Scene {
    server: OwnServer,
    proxy: Proxy,
    database: Database,
    service: Server,
    /// Keys that no request has used yet, so that each needs the database.
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

    /// Makes the database unavailable for a time. Returns how long the first success took after
    /// recovery.
    fn outage(&mut self, away: fn(&Self), back: fn(&Self)) -> Duration {
        self.first_success();
        away(self);
        let began = Instant::now();
        let key = self.next_cold().0;
        while began.elapsed() < AWAY {
            assert_eq!(self.status(&key), 503, "the key is not cached");
            thread::sleep(Duration::from_millis(50));
        }
        back(self);
        let took = self.first_success();
        self.revocation_reaches_the_service();
        took
    }

    /// Waits until a key that needs the database is accepted, and returns the time this took.
    fn first_success(&mut self) -> Duration {
        let began = Instant::now();
        let key = self.next_cold().0;
        while self.status(&key) != 200 {
            assert!(began.elapsed() < TEST_TIMEOUT, "the service did not recover");
            thread::sleep(Duration::from_millis(5));
        }
        began.elapsed()
    }

    /// Checks that the change feed works again.
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
// The outage consists of refused connections, a silent proxy, a freeze, a shutdown or a crash.
#[test]
fn a_returning_postgres_is_used_within_a_second() {
    type Step = fn(&Scene);
    let outages: [(&str, Step, Step); 5] = [
        ("refused connections", |at| at.proxy.cut(), |at| at.proxy.pass()),
        ("was cut off by a silent proxy", |at| at.proxy.hold(), |at| at.proxy.pass()),
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
fn a_postgres_is_used_within_a_second_after_a_process_crash() {
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
    println!("first success after every connection died silently: {took:?}");
    assert!(took < RECOVERY_OF_THE_STUCK, "{took:?}");
    scene.revocation_reaches_the_service();
    let took = scene.outage(|at| at.proxy.swallow(), |at| at.proxy.pass());
    println!("first success after a blackholed path recovered: {took:?}");
    assert!(took < RECOVERY_OF_THE_STUCK, "{took:?}");
}
