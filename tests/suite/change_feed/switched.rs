//! Tests with services that receive requests while their keys move to another Postgres server.

use std::{
    net::SocketAddr,
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::{AppKeys, admin::NewKey};

use super::{Reader, keys, moved::dump_into};
use crate::{
    command::{Ran, command, outcome},
    support::{
        Database, OwnServer, Proxy, Server, guarded_routes, hex, http, leaks,
        load::{Sample, Stopping, share, steady, with_key},
        refused_in_time, wait_until,
    },
};

/// The interval between requests with a valid key.
const EVERY: Duration = Duration::from_millis(50);

fn status(address: SocketAddr, key: &str) -> u16 {
    http::get_with(address, "/guarded", key).status
}

fn app_key(url: &str, line: &str) -> Ran {
    outcome(&mut command(url, line))
}

/// A key and its id.
type Key = (String, i64);

fn issue_by_command(url: &str) -> Key {
    let issued = app_key(url, "issue --json --name test --ip any").json();
    (issued["key"].as_str().unwrap().to_owned(), issued["id"].as_i64().unwrap())
}

/// Two servers, each with a database of the same name, and a service that uses the first server
/// until the switch.
struct Switch {
    servers: [OwnServer; 2],
    old: Database,
    new: Database,
    proxy: Proxy,
    /// The database URL of the service and of the command.
    url: String,
    keys: AppKeys,
    service: Server,
    good: Vec<Key>,
    revoked: Vec<Key>,
    last_revoked: Instant,
}

impl Switch {
    /// Starts a service with five keys, and a second server with an empty database.
    fn new() -> Self {
        let servers = [(); 2].map(|()| OwnServer::start());
        let old = servers[0].database();
        let new = servers[1].database_named(old.name());
        old.migrate();
        let good = old.issue_many(5);
        let proxy = Proxy::start(servers[0].address());
        let url = old.url_at(proxy.address);
        let keys = service_of(&url);
        let service = Server::start(keys.clone(), guarded_routes);
        let (revoked, last_revoked) = (Vec::new(), Instant::now());
        Self { servers, old, new, proxy, url, keys, service, good, revoked, last_revoked }
    }

    /// Sends requests with a valid key while `run` is running. `run` must not revoke that key.
    fn with_requests(&mut self, run: impl FnOnce(&mut Self)) {
        let (address, head) = (self.service.address, with_key(&self.good[0].0));
        let (stop, keys) = (AtomicBool::new(false), self.keys.clone());
        let samples = thread::scope(|scope| {
            let sender = scope.spawn(|| steady(address, EVERY, &stop, || head.clone()));
            let stopping = Stopping(&stop);
            wait_until("requests are answered", || keys.metrics().accepted() > 0);
            run(self);
            drop(stopping);
            sender.join().unwrap()
        });
        report(&samples, &keys);
    }

    /// Ends every connection through the proxy, and directs new connections to the new server.
    fn switch(&self) -> Instant {
        self.proxy.cut();
        self.proxy.lead_to(self.servers[1].address());
        self.proxy.pass();
        Instant::now()
    }

    /// Issues and revokes keys, with the library in this process and with the command in another
    /// process. Every change must succeed at the first attempt.
    fn change_keys(&mut self, stage: &str) {
        let began = Instant::now();
        let admin = AppKeys::builder().database_url(&self.url).build_admin().unwrap();
        let issue = || {
            let issued = admin.issue(&NewKey::new("test").allow_any()).unwrap();
            leaks::watch(&issued);
            (issued.secret.expose_secret().to_owned(), issued.record.id)
        };
        let issued = [issue(), issue(), issue_by_command(&self.url), issue_by_command(&self.url)];
        for key in &issued {
            wait_until_answered(self.service.address, key, 200, stage);
        }
        let [kept, revoked, also_kept, also_revoked] = issued;
        let earlier = self.good.pop().unwrap();
        assert!(admin.revoke(revoked.1).unwrap().revoked_at.is_some(), "{stage}");
        for (key, id) in [&also_revoked, &earlier] {
            app_key(&self.url, &format!("revoke {id}")).succeeded();
            self.last_revoked = Instant::now();
            refused_in_time(stage, self.last_revoked, 401, || status(self.service.address, key));
        }
        self.good.extend([kept, also_kept]);
        self.revoked.extend([revoked, also_revoked, earlier]);
        self.check_every_key(self.service.address, stage);
        println!("{stage}: keys were issued, revoked and checked in {:?}", began.elapsed());
    }

    /// Checks that every valid key is accepted, and that every revoked key is rejected in time.
    fn check_every_key(&self, service: SocketAddr, stage: &str) {
        for key in &self.good {
            wait_until_answered(service, key, 200, stage);
        }
        for (key, _) in &self.revoked {
            refused_in_time(stage, self.last_revoked, 401, || status(service, key));
        }
    }

    /// Publishes tables of the old server and subscribes the new server to these tables.
    fn replicate(&self, published: &str, copy: bool) {
        self.old.execute(&format!("CREATE PUBLICATION keys FOR {published}")).unwrap();
        self.new
            .execute(&format!(
                "CREATE SUBSCRIPTION keys CONNECTION '{}' PUBLICATION keys WITH (copy_data = {copy})",
                self.old.url()
            ))
            .unwrap();
        // Both servers already have rows in the migrations table, so copying that table fails. The
        // wait ignores that table.
        wait_until("the tables are copied", || {
            let missing = "SELECT cast(count(*) AS text) FROM pg_subscription_rel \
                 WHERE srsubstate <> 'r' AND srrelid::regclass::text LIKE 'api_key%'";
            self.new.texts(missing) == ["0"]
        });
        wait_until("changes are replicated", || {
            let streaming = "SELECT pid::text FROM pg_stat_replication \
                 WHERE application_name = 'keys' AND state = 'streaming'";
            !self.old.texts(streaming).is_empty()
        });
    }

    /// Revokes a key on the old server, and waits until a service that uses the new server rejects
    /// the key.
    fn a_revocation_arrives(&mut self, follower: &Server) {
        let key = self.good.pop().unwrap();
        wait_until_answered(follower.address, &key, 200, "before it is revoked");
        let began = Instant::now();
        self.old.revoke_by_sql(key.1);
        let revoked = format!(
            "SELECT id::text FROM api_keys WHERE id = {} AND revoked_at IS NOT NULL",
            key.1
        );
        wait_until("the row is replicated", || !self.new.texts(&revoked).is_empty());
        self.last_revoked = Instant::now();
        refused_in_time("a replicated revocation", self.last_revoked, 401, || {
            status(follower.address, &key.0)
        });
        println!("a revocation was seen on the other server after {:?}", began.elapsed());
        self.revoked.push(key);
    }

    /// Checks that the new server has each event of a revoked key once.
    fn check_audit_log(&self) {
        for (_, id) in &self.revoked {
            let actions = || {
                let events = self.new.admin().history(*id, 10).unwrap();
                events.into_iter().map(|event| event.action).collect::<Vec<_>>()
            };
            wait_until(format!("the events of key {id} are replicated"), || {
                actions() == ["issued", "revoked"]
            });
        }
    }

    fn usage_arrives(&self) {
        let use_of_one = format!(
            "INSERT INTO api_key_usage (key_id, last_used_at, use_count) VALUES ({}, now(), 3)",
            self.good[1].1
        );
        self.old.execute(&use_of_one).unwrap();
        let uses = "SELECT use_count::text FROM api_key_usage WHERE use_count = 3";
        wait_until("a use is replicated", || !self.new.texts(uses).is_empty());
    }

    /// Updates the prune position on the old server, and waits until the update is replicated.
    fn meta_arrives(&self) {
        self.old
            .execute("UPDATE api_key_meta SET prune_xmin = 1000000, prune_at = now() - interval '90 minutes'")
            .unwrap();
        let row = "SELECT digest_algorithm FROM api_key_meta WHERE prune_xmin = 1000000";
        wait_until("the row is replicated", || self.new.texts(row) == ["sha256"]);
    }

    /// Changes a key whose row is not published, and waits until the reader has read the change.
    fn a_logged_change_arrives(&self, reader: &mut Reader) {
        reader.read();
        let id = self.good[1].1;
        let digest = self.old.admin().get(id).unwrap().digest;
        self.old.set(id, "scopes = 'logged'");
        let expected = keys([&hex(digest.as_bytes())]);
        wait_until("the change is read", || reader.read() == expected);
    }
}

/// Waits until a key gets the expected status. A service that has just lost its connections may
/// return 503 for a moment, but no other wrong status.
#[track_caller]
fn wait_until_answered(service: SocketAddr, (key, id): &Key, expected: u16, stage: &str) {
    wait_until(format!("{stage}: key {id} is answered"), || {
        let status = status(service, key);
        assert!([expected, 503].contains(&status), "{stage}: key {id}: {status}");
        status == expected
    });
}

/// Returns the `AppKeys` of a service with default settings.
fn service_of(url: &str) -> AppKeys {
    AppKeys::builder().database_url(url).build().unwrap()
}

/// Prints how many requests were rejected, and why. Checks that the valid key was rejected only
/// with 503, in less than a fifth of its requests.
fn report(samples: &[Sample], keys: &AppKeys) {
    let unavailable = share("a good key", samples, 503);
    println!("all rejections: {:?}", keys.metrics().rejected().collect::<Vec<_>>());
    assert!(samples.iter().all(|sample| matches!(sample.status, 200 | 503)));
    assert!(unavailable < 0.2, "{unavailable}");
}

fn switch_to_a_subscriber(prepare: fn(&Switch), published: &str) {
    let mut switch = Switch::new();
    switch.with_requests(|switch| {
        switch.change_keys("before");
        prepare(switch);
        switch.replicate(published, true);
        switch.change_keys("while replicating");
        wait_until("every row is replicated", || switch.new.rows() == switch.old.rows());
        let follower = Server::start(service_of(switch.new.url()), guarded_routes);
        for _ in 0..3 {
            switch.a_revocation_arrives(&follower);
        }
        switch.check_every_key(follower.address, "on the new server");
        if published == "ALL TABLES" {
            switch.check_audit_log();
        }
        switch.switch();
        switch.change_keys("after the switch");
        switch.check_every_key(follower.address, "on the new server, after the switch");
        switch.servers[0].shut_down();
        switch.change_keys("after the old server ended");
    });
}

fn migrate_new(switch: &Switch) {
    switch.new.migrate();
}

// E1, E6, E17, F4, I6
#[test]
fn a_service_is_switched_by_replication_of_every_table() {
    switch_to_a_subscriber(migrate_new, "ALL TABLES");
}

// E1, E6, E17, F4
#[test]
fn a_service_is_switched_by_replication_without_the_log() {
    switch_to_a_subscriber(migrate_new, "TABLE api_keys, api_key_usage, api_key_meta");
}

// E1, E6, E17, F4
#[test]
fn a_service_is_switched_by_replication_into_a_dumped_schema() {
    switch_to_a_subscriber(
        |switch| dump_into(&switch.old, &switch.new, &["--schema-only", "--no-publications"]),
        "ALL TABLES",
    );
}

// E6, E17
#[test]
fn a_follower_sees_changes_of_each_published_table() {
    let mut switch = Switch::new();
    dump_into(&switch.old, &switch.new, &[]);
    let follower = Server::start(service_of(switch.new.url()), guarded_routes);
    let mut reader = Reader::new(&switch.new);
    for published in ["api_keys", "api_key_usage", "api_key_meta", "api_key_changes", "ALL TABLES"]
    {
        let tables = if published == "ALL TABLES" { "" } else { "TABLE " };
        switch.replicate(&format!("{tables}{published}"), false);
        let began = Instant::now();
        match published {
            "api_key_usage" => switch.usage_arrives(),
            "api_key_meta" => switch.meta_arrives(),
            "api_key_changes" => switch.a_logged_change_arrives(&mut reader),
            _ => switch.a_revocation_arrives(&follower),
        }
        println!("{published}: a change was seen after {:?}", began.elapsed());
        let issued = switch.new.issue("0.0.0.0");
        wait_until_answered(follower.address, &issued, 200, published);
        app_key(switch.new.url(), &format!("revoke {}", issued.1)).succeeded();
        refused_in_time(published, Instant::now(), 401, || status(follower.address, &issued.0));
        switch.new.execute("DROP SUBSCRIPTION keys").unwrap();
        switch.old.execute("DROP PUBLICATION keys").unwrap();
    }
}

// E4, E17
// Some changes are still made on the old server while the new server is already in use.
#[test]
fn late_changes_revive_no_key_and_stop_no_replication() {
    let mut switch = Switch::new();
    switch.new.migrate();
    switch.replicate("ALL TABLES", true);
    let (old, new) = (&switch.old, &switch.new);
    let follower = Server::start(service_of(new.url()), guarded_routes);
    let [revoked, used] = [&switch.good[1], &switch.good[2]];
    new.admin().revoke(revoked.1).unwrap();
    old.set(revoked.1, "scopes = 'late'");
    // On each server, the first use of a key inserts a row.
    let count = |database: &Database, uses: u32| {
        database
            .execute(&format!(
                "INSERT INTO api_key_usage (key_id, last_used_at, use_count) VALUES ({}, now(), {uses})",
                used.1
            ))
            .unwrap();
    };
    count(new, 2);
    count(old, 3);
    let counted = || new.texts("SELECT use_count::text FROM api_key_usage");
    wait_until("uses on both servers are added up", || counted() == ["5"]);
    assert_eq!(new.texts("SELECT scopes FROM api_keys WHERE scopes <> ''"), ["late"]);
    assert!(new.admin().get(revoked.1).unwrap().revoked_at.is_some());
    wait_until_answered(follower.address, revoked, 401, "revoked on the new server");
    switch.a_revocation_arrives(&follower);
}

/// Switches to a server with a restored dump, which lacks the changes made after the dump.
fn switch_to_a_dump(options: &[&str]) {
    let mut switch = Switch::new();
    if !options.is_empty() {
        switch.new.migrate();
    }
    switch.with_requests(|switch| {
        // If the new server already has tables, a service may already use them.
        let early = (!options.is_empty())
            .then(|| Server::start(service_of(switch.new.url()), guarded_routes));
        if let Some(early) = &early {
            wait_until_answered(early.address, &switch.good[0], 401, "before the restore");
        }
        switch.change_keys("before");
        dump_into(&switch.old, &switch.new, options);
        assert_eq!(switch.new.rows(), switch.old.rows());
        if let Some(early) = &early {
            wait_until("restored", || status(early.address, &switch.good[0].0) == 200);
        }
        // The service's own admin revokes the first key. The command revokes the other two keys.
        // Before the switch, the service rejects the second key, and receives no request with the
        // third key.
        let since: Vec<Key> = switch.good.drain(1..4).collect();
        let service = switch.service.address;
        switch.keys.admin().unwrap().revoke(since[0].1).unwrap();
        for (_, id) in &since[1..] {
            app_key(&switch.url, &format!("revoke {id}")).succeeded();
        }
        refused_in_time("revoked", Instant::now(), 401, || status(service, &since[1].0));
        let lost = issue_by_command(&switch.url);
        wait_until_answered(service, &lost, 200, "issued since the backup");

        let switched = switch.switch();
        refused_in_time("a key that the backup does not have", switched, 401, || {
            status(service, &lost.0)
        });
        let fresh = Server::start(service_of(&switch.url), guarded_routes);
        for (number, key) in since.iter().enumerate() {
            assert!(
                app_key(&switch.url, &format!("show {}", key.1)).succeeded().contains("active")
            );
            wait_until_answered(fresh.address, key, 200, "a service that has just started");
            let remembered = if number < 2 { 401 } else { 200 };
            wait_until_answered(service, key, remembered, "remembered");
        }
        // The operator revokes the keys again.
        for (key, id) in &since {
            app_key(&switch.url, &format!("revoke {id}")).succeeded();
            switch.last_revoked = Instant::now();
            for address in [service, fresh.address] {
                refused_in_time("revoked again", switch.last_revoked, 401, || status(address, key));
            }
        }
        switch.revoked.extend(since);
        switch.change_keys("after the switch");
        switch.servers[0].shut_down();
        switch.change_keys("after the old server ended");
        switch.check_every_key(fresh.address, "a service that started after the switch");
    });
}

// E4, E17
#[test]
fn a_service_is_switched_to_a_restored_dump() {
    switch_to_a_dump(&[]);
}

// E4, E17
#[test]
fn a_service_is_switched_to_restored_rows() {
    switch_to_a_dump(&["--data-only", "--exclude-table=__diesel_schema_migrations"]);
}
