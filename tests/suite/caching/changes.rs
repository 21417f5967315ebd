//! Tests that every change reaches every process.

use std::time::{Duration, Instant};

use api_key_runtime::admin::NewKey;

use super::{routes, status};
use crate::support::{
    Database, Server, TEST_TIMEOUT, database_test, http, refused_in_time, wait_until,
};

// E1
database_test!(an_own_change_applies_to_the_next_request, |database: Database| {
    let keys = database.keys();
    let server = Server::start(keys.clone(), routes);
    let other = database.keys();
    // Changes can be made through any `AppKeys` or `Admin` of the process.
    let handles = [keys.admin().unwrap().clone(), other.admin().unwrap().clone(), database.admin()];
    let is = |key: &str| status(server.address, key);
    for admin in handles.iter().cycle().take(60) {
        let new = NewKey::new("test").allow_any();
        let issued = admin.issue(&new).unwrap();
        let (key, id) = (issued.secret.expose_secret(), issued.record.id);
        assert_eq!(is(key), 200);
        admin.disable(id).unwrap();
        assert_eq!(is(key), 401, "disabled");
        admin.enable(id).unwrap();
        assert_eq!(is(key), 200, "enabled");
        admin.revoke(id).unwrap();
        assert_eq!(is(key), 401, "revoked");
    }
});

// E1, E6
database_test!(a_change_by_another_process_is_applied, |database: Database| {
    let server = Server::start(database.keys(), routes);
    let is = |key: &str| status(server.address, key);
    for _ in 0..5 {
        let (key, id) = database.issue("0.0.0.0");
        assert_eq!(is(&key), 200);
        database.disable_by_sql(id);
        refused_in_time("disabled", Instant::now(), 401, || is(&key));
        database.enable_by_sql(id);
        wait_until("enabled", || is(&key) == 200);
        database.revoke_by_sql(id);
        refused_in_time("revoked", Instant::now(), 401, || is(&key));
    }
});

// E1
database_test!(a_change_by_another_process_wakes_this_one, |database: Database| {
    // Without a wake-up, the feed reads changes only a few times a minute. Each change is made
    // right after the previous one was seen, so a faster reaction proves a wake-up.
    const WOKEN: Duration = Duration::from_millis(500);
    let builder = database.migrate().builder().max_staleness(TEST_TIMEOUT);
    let server = Server::start(builder.build().unwrap(), routes);
    let (key, id) = database.issue("0.0.0.0");
    let is = |expected: u16| status(server.address, &key) == expected;
    wait_until("the key is accepted", || is(200));
    let mut took = Vec::new();
    for _ in 0..10 {
        let began = Instant::now();
        database.disable_by_sql(id);
        wait_until("disabled", || is(401));
        took.push(began.elapsed());
        let began = Instant::now();
        database.enable_by_sql(id);
        wait_until("enabled", || is(200));
        took.push(began.elapsed());
    }
    took.sort();
    println!(
        "seen by the other process after {:?} at least, {:?} (median), {:?} at most",
        took[0],
        took[took.len() / 2],
        took.last().unwrap()
    );
    assert!(took[0] < WOKEN, "{:?}", took[0]);
});

// E6
database_test!(every_kind_of_change_by_plain_sql_reaches_every_process, |database: Database| {
    let servers = [Server::start(database.keys(), routes), Server::start(database.keys(), routes)];
    let writes = NewKey::new("w").allow_any().scopes("cakes:write").unwrap();
    let are = |path: &str, key: &str, expected: u16| {
        servers.iter().all(|server| http::get_with(server.address, path, key).status == expected)
    };
    let past = "'2020-01-01 00:00:00+00:00'";
    for (sql, path, expected) in [
        (format!("SET revoked_at = {past}"), "/guarded", 401),
        (format!("SET disabled_at = {past}"), "/guarded", 401),
        (format!("SET expires_at = {past}"), "/guarded", 401),
        ("SET allowed_ips = '203.0.113.7'".into(), "/guarded", 401),
        ("SET scopes = 'cakes:read'".into(), "/writers", 403),
        ("SET digest = DIGEST".into(), "/guarded", 401),
        ("DELETE".into(), "/guarded", 401),
    ] {
        let (key, id) = database.issue_with(&writes);
        let other = database.literal(&format!("{:02x}", id % 256).repeat(32));
        assert!(are(path, &key, 200), "{sql}");
        let change = if sql == "DELETE" {
            format!("DELETE FROM api_keys WHERE id = {id}")
        } else {
            let set = sql.replace("DIGEST", &other);
            format!("UPDATE api_keys {set} WHERE id = {id}")
        };
        database.execute(&change).unwrap();
        let changed = Instant::now();
        for server in &servers {
            refused_in_time(&sql, changed, expected, || {
                http::get_with(server.address, path, &key).status
            });
        }
    }
    let (key, _) = database.issue_with(&writes);
    assert!(are("/guarded", &key, 200));
    let all =
        if database.is_postgres() { "TRUNCATE api_keys CASCADE" } else { "DELETE FROM api_keys" };
    database.execute(all).unwrap();
    let changed = Instant::now();
    for server in &servers {
        refused_in_time("every key is deleted", changed, 401, || status(server.address, &key));
    }
});

// E6
database_test!(a_bulk_revocation_reaches_every_cached_key, |database: Database| {
    let server = Server::start(database.keys(), routes);
    let keys: Vec<String> = (0..100).map(|_| database.issue("0.0.0.0").0).collect();
    for key in &keys {
        assert_eq!(status(server.address, key), 200);
    }
    database.execute("UPDATE api_keys SET revoked_at = '2020-01-01 00:00:00+00:00'").unwrap();
    let revoked = Instant::now();
    for key in &keys {
        refused_in_time("all are revoked", revoked, 401, || status(server.address, key));
    }
});
