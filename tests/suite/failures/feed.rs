//! Failures of the change feed's connection, which is lost, silent or blackholed while lookups
//! work.

use std::{
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::AppKeys;

use super::routes;
use crate::support::{Database, MAX_STALENESS, OwnServer, Proxy, Server, http, wait_until};

/// How long a key is presented after its revocation.
const WATCHED: Duration = Duration::from_secs(2);
/// The lookup timeout, which is long because a machine may be busy. A stuck feed is replaced after
/// twice this time.
const DEADLINE: Duration = Duration::from_secs(4);

/// A service with its own database server, behind a proxy.
struct Scene {
    server: OwnServer,
    proxy: Proxy,
    database: Database,
    keys: AppKeys,
    service: Server,
    known: Vec<(String, i64)>,
}

impl Scene {
    fn new() -> Self {
        let server = OwnServer::start();
        let database = server.database();
        let known = database.issue_many(10);
        let proxy = Proxy::start(server.address());
        let keys = AppKeys::builder()
            .database_url(database.url_at(proxy.address))
            .max_staleness(MAX_STALENESS)
            .lookup_timeout(DEADLINE)
            .build()
            .unwrap();
        let service = Server::start(keys.clone(), routes);
        let scene = Self { server, proxy, database, keys, service, known };
        scene.wait_until_ready();
        scene
    }

    fn status(&self, key: &str) -> u16 {
        http::get_with(self.service.address, "/guarded", key).status
    }

    /// Waits until the feed is up to date and returns the time this took.
    fn wait_until_ready(&self) -> Duration {
        let began = Instant::now();
        wait_until("the feed is up to date", || self.keys.health().is_ready());
        began.elapsed()
    }

    /// Returns a column of `pg_stat_activity` for the connection of the change feed.
    fn feed_activity(&self, column: &str) -> String {
        let sql = format!(
            "SELECT cast({column} AS text) FROM pg_stat_activity WHERE datname = '{}' AND query LIKE '%api_keys_%_v1%' AND pid <> pg_backend_pid()",
            self.database.name()
        );
        // The feed's connection also listens for notifications and sends them. While its last query
        // is such a statement, this search finds nothing and is repeated.
        let mut found = Vec::new();
        wait_until("one connection reads changes", || {
            found = self.database.texts(&sql);
            found.len() == 1
        });
        found.remove(0)
    }

    /// Causes a fault while a key is in use, and immediately revokes the key by SQL. Returns how
    /// long the key was still accepted.
    fn revoke_as_it_breaks(&mut self, break_it: impl Fn(&Self)) -> Duration {
        let (key, id) = self.known.pop().unwrap();
        assert_eq!(self.status(&key), 200);
        break_it(self);
        self.database
            .execute(&format!("UPDATE api_keys SET revoked_at = now() WHERE id = {id}"))
            .unwrap();
        let revoked = Instant::now();
        let mut last_accepted = Duration::ZERO;
        while revoked.elapsed() < WATCHED {
            let sent = revoked.elapsed();
            match self.status(&key) {
                200 => last_accepted = sent,
                status => assert_eq!(status, 401, "lookups still work"),
            }
            thread::sleep(Duration::from_millis(5));
        }
        last_accepted
    }

    /// Checks that a revoked key is accepted for at most `MAX_STALENESS` when only the feed breaks,
    /// and again after the feed is up to date.
    fn assert_bounded(&mut self, what: &str, break_it: impl Fn(&Self)) {
        let accepted = self.revoke_as_it_breaks(break_it);
        let ready = self.wait_until_ready();
        let afterwards = self.revoke_as_it_breaks(|_| {});
        println!(
            "{what}: a key revoked at that time was accepted for {accepted:?}; the feed was up to date {ready:?} later; a key revoked then was accepted for {afterwards:?}"
        );
        assert!(accepted <= MAX_STALENESS, "{what}: {accepted:?}");
        // A working feed reports a revocation within milliseconds, but a busy machine may take
        // longer.
        assert!(afterwards <= MAX_STALENESS, "{what}: {afterwards:?}");
        let (other, _) = self.known.pop().unwrap();
        assert_eq!(self.status(&other), 200, "{what}: other keys still work");
    }
}

// E7
#[test]
fn a_feed_with_a_lost_connection_reconnects_in_time() {
    let mut scene = Scene::new();
    scene.assert_bounded("lost", |scene| {
        let pid = scene.feed_activity("pid");
        scene.database.texts(&format!("SELECT cast(pg_terminate_backend({pid}) AS text)"));
    });
}

// E7
#[test]
fn a_feed_with_a_silent_connection_is_bounded_and_replaced() {
    let mut scene = Scene::new();
    scene.assert_bounded("silent", |scene| {
        scene.server.freeze_process(&scene.feed_activity("pid"));
    });
}

// E7
#[test]
fn a_feed_with_a_blackholed_connection_is_bounded_and_replaced() {
    let mut scene = Scene::new();
    scene.assert_bounded("blackholed", |scene| {
        let port = scene.feed_activity("client_port");
        scene.proxy.swallow_one(port.parse().unwrap());
    });
}
