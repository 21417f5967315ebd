//! Pruning: keys that ended long ago are deleted, and stay deleted.

use std::{thread, time::Duration};

use api_key_runtime::{
    AppKeys,
    admin::{ListKeys, NewKey, Prune},
};

use super::{DAY, ago, expiring::routes};
use crate::support::{Database, Proxy, Server, TEST_TIMEOUT, database_test, http, wait_until};

fn old() -> Prune {
    Prune::new().expired_for(90 * DAY).revoked_for(90 * DAY)
}

/// Returns the first column of a query, which must be a number.
fn number(database: &Database, query: &str) -> usize {
    database.texts(&format!("SELECT CAST(({query}) AS text)")).remove(0).parse().unwrap()
}

fn names(database: &Database) -> Vec<String> {
    let records = database.admin().list(&ListKeys::new()).unwrap();
    records.into_iter().map(|record| record.name).collect()
}

/// Inserts this many keys that expired a year ago.
fn insert_expired(database: &Database, count: usize) {
    database.migrate().insert_keys(count);
    database.execute(&format!("UPDATE api_keys SET expires_at = {}", ago(365 * 24))).unwrap();
}

// I7
database_test!(only_keys_that_ended_long_ago_are_deleted, |database: Database| {
    let admin = database.admin().acting_as("cron").unwrap();
    let issue = |name: &str| admin.issue(&NewKey::new(name).allow_any()).unwrap().record.id;
    issue("active");
    let (long, lately) = (ago(91 * 24), ago(89 * 24));
    for (name, columns) in [
        ("expired", format!("expires_at = {long}")),
        ("expired lately", format!("expires_at = {lately}")),
        ("disabled", format!("disabled_at = {long}")),
        ("revoked", format!("revoked_at = {long}, expires_at = {lately}")),
        ("revoked lately", format!("revoked_at = {lately}")),
        ("expires later", "expires_at = '2900-01-01 00:00:00+00:00'".to_owned()),
    ] {
        database.set(issue(name), &columns);
    }
    let rotated = issue("rotated");
    let new = admin.rotate(rotated, DAY).unwrap().issued.record.id;
    database.set(rotated, &format!("expires_at = {long}"));
    let before = names(&database);
    let dry = admin.clone().dry_run().prune(&old()).unwrap();
    assert_eq!((dry.keys, dry.events), (3, 0));
    assert_eq!(names(&database), before, "a dry run deletes nothing");
    assert_eq!(admin.prune(&Prune::new()).unwrap().keys, 0, "by default nothing is deleted");
    assert_eq!(names(&database), before);

    let expired = admin.prune(&Prune::new().expired_for(90 * DAY)).unwrap();
    assert_eq!(expired.keys, 2, "an expired key and a rotated key");
    let revoked = admin.prune(&old()).unwrap();
    assert_eq!(revoked.keys, 1);
    assert_eq!(admin.prune(&old()).unwrap().keys, 0);
    assert_eq!(
        names(&database),
        ["active", "expired lately", "disabled", "revoked lately", "expires later", "rotated"]
    );
    assert_eq!(admin.get(new).unwrap().name, "rotated");
    let history = admin.history(rotated, 100).unwrap();
    let last = history.last().unwrap();
    assert_eq!((last.action.as_str(), last.actor.as_deref()), ("pruned", Some("cron")));
    assert_eq!(history[0].action, "issued", "the audit log outlives the key");
});

// I7
database_test!(a_pruned_key_is_not_revived_and_its_id_not_reused, |database: Database| {
    let keys = database.keys();
    let server = Server::start(keys, routes);
    let (key, id) = database.issue("0.0.0.0");
    assert_eq!(http::get_with(server.address, "/cake", &key).status, 200);
    database.execute("CREATE TABLE copy AS SELECT * FROM api_keys").unwrap();
    database.set(id, &format!("expires_at = {}", ago(365 * 24)));
    assert_eq!(database.admin().prune(&old()).unwrap().keys, 1);
    assert_eq!(http::get_with(server.address, "/cake", &key).status, 401);
    let insert = if database.is_postgres() { "OVERRIDING SYSTEM VALUE" } else { "" };
    let other_digest = if database.is_postgres() {
        "digest = substr(digest, 2) || substr(digest, 1, 1)"
    } else {
        "digest = CAST(substr(digest, 2) || substr(digest, 1, 1) AS BLOB)"
    };
    for (change, is_refused) in [
        ("id = id", true),
        ("id = id + 1000", true),
        (&*format!("id = id - 1000, {other_digest}"), true),
        ("id = id + 1000", false),
    ] {
        database.execute(&format!("UPDATE copy SET {change}")).unwrap();
        let inserted =
            database.execute(&format!("INSERT INTO api_keys {insert} SELECT * FROM copy"));
        match inserted {
            Err(error) => assert!(is_refused && error.contains("pruning is final"), "{error}"),
            Ok(()) => assert!(!is_refused, "{change}"),
        }
    }
    assert_eq!(http::get_with(server.address, "/cake", &key).status, 401);
    assert!(database.issue("0.0.0.0").1 > id, "the id was the highest");
});

/// I7: The change feed of the service is held up, so that only the prune itself can drop the cached
/// key.
#[test]
fn a_prune_by_this_process_applies_to_the_next_request() {
    let database = Database::postgres();
    let (key, id) = database.migrate().issue("0.0.0.0");
    let proxy = Proxy::start(database.server());
    let builder = AppKeys::builder().database_url(database.url_at(proxy.address));
    // The proxy could hold up a transaction that writes usage, which locks the row of the key.
    let builder = builder.max_staleness(TEST_TIMEOUT).usage_flush_interval(None);
    let keys = builder.build().unwrap();
    let server = Server::start(keys.clone(), routes);
    let status = || http::get_with(server.address, "/cake", &key).status;
    wait_until("the key is cached", || status() == 200 && keys.health().is_ready());
    proxy.hold();
    database.set(id, &format!("expires_at = {}", ago(365 * 24)));
    assert_eq!(status(), 200, "the service has not read the change");
    assert_eq!(database.admin().prune(&old()).unwrap().keys, 1);
    assert_eq!(status(), 503, "the key is looked up again");
    proxy.pass();
    wait_until("the key is unknown", || status() == 401);
}

// I7
database_test!(services_keep_their_cache_while_many_keys_are_pruned, |database: Database| {
    insert_expired(&database, 200);
    let everything = "SELECT count(*) FROM api_key_changes WHERE digest IS NULL";
    let before = number(&database, everything);
    assert_eq!(database.admin().prune(&old()).unwrap().keys, 200);
    assert_eq!(number(&database, everything), before, "no row that means every key");
    assert_eq!(number(&database, "SELECT count(DISTINCT digest) FROM api_key_pruned"), 200);
    let summaries = "SELECT sum(key_count) FROM api_key_events WHERE action = 'pruned'";
    assert_eq!(number(&database, summaries), 200);
    assert_eq!(number(&database, "SELECT count(*) FROM api_key_events WHERE action = 'pruned'"), 4);
});

// I7
database_test!(several_processes_may_prune_at_once, |database: Database| {
    insert_expired(&database, 1000);
    database
        .execute(&format!(
            "INSERT INTO api_key_usage (key_id, last_used_at, use_count) SELECT id, {}, 1 FROM api_keys",
            ago(366 * 24)
        ))
        .unwrap();
    let pruned: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| database.admin().prune(&old()).unwrap().keys)).collect();
        // Records usage of the same keys, like a service that was paused for a year.
        for _ in 0..20 {
            let _ = database.execute("UPDATE api_key_usage SET use_count = use_count + 1");
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let rest = database.admin().prune(&old()).unwrap().keys;
    assert_eq!(pruned.iter().sum::<u64>() + rest, 1000, "{pruned:?} {rest}");
    assert_eq!(number(&database, "SELECT count(*) FROM api_keys"), 0);
    assert_eq!(number(&database, "SELECT count(*) FROM api_key_usage"), 0);
    assert_eq!(number(&database, "SELECT count(*) FROM api_key_pruned"), 1000);
});

// I7
#[test]
fn a_locked_key_is_left_for_the_next_time() {
    use diesel::{Connection as _, connection::SimpleConnection as _};

    let database = Database::postgres();
    insert_expired(&database, 10);
    let mut other = diesel::PgConnection::establish(database.url()).unwrap();
    other.batch_execute("BEGIN; UPDATE api_keys SET expires_at = NULL WHERE id = 3").unwrap();
    other.batch_execute("SELECT FROM api_keys WHERE id = 7 FOR UPDATE").unwrap();
    let began = std::time::Instant::now();
    assert_eq!(database.admin().prune(&old()).unwrap().keys, 8);
    assert!(began.elapsed() < Duration::from_secs(4), "it did not wait for the lock");
    other.batch_execute("COMMIT").unwrap();
    assert_eq!(database.admin().prune(&old()).unwrap().keys, 1);
    assert_eq!(names(&database), ["bulk 3"], "the key that was extended");
}

// I6
#[test]
fn a_locked_event_is_left_for_the_next_time() {
    use diesel::{Connection as _, connection::SimpleConnection as _};

    let database = Database::postgres();
    database.issue_many(3);
    database
        .execute(&format!("UPDATE api_key_events SET happened_at = {}", ago(401 * 24)))
        .unwrap();
    let mut other = diesel::PgConnection::establish(database.url()).unwrap();
    other.batch_execute("BEGIN; SELECT FROM api_key_events WHERE key_id = 2 FOR UPDATE").unwrap();
    let wanted = Prune::new().events_older_than(400 * DAY);
    assert_eq!(database.admin().prune(&wanted).unwrap().events, 2);
    other.batch_execute("COMMIT").unwrap();
    assert_eq!(database.admin().prune(&wanted).unwrap().events, 1);
}

// I7
database_test!(a_prune_that_fails_deletes_no_part_of_a_transaction, |database: Database| {
    insert_expired(&database, 100);
    database
        .execute("CREATE TABLE orders (key_id bigint REFERENCES api_keys (id)); INSERT INTO orders VALUES (80)")
        .unwrap();
    let error = database.admin().prune(&old()).unwrap_err();
    assert!(error.is_database() && error.to_string().contains("after 64 keys"), "{error}");
    assert_eq!(names(&database).len(), 36);
    assert_eq!(number(&database, "SELECT count(*) FROM api_key_pruned"), 64);
    database.execute("DELETE FROM orders").unwrap();
    assert_eq!(database.admin().prune(&old()).unwrap().keys, 36);
});

// I7
database_test!(a_key_that_a_trigger_keeps_is_not_recorded_as_pruned, |database: Database| {
    insert_expired(&database, 3);
    let trigger = if database.is_postgres() {
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
         CREATE TRIGGER keep BEFORE DELETE ON api_keys FOR EACH ROW WHEN (OLD.id = 2) EXECUTE FUNCTION keep()"
    } else {
        "CREATE TRIGGER keep BEFORE DELETE ON api_keys WHEN OLD.id = 2 BEGIN SELECT RAISE(IGNORE); END"
    };
    database.execute(trigger).unwrap();
    let error = database.admin().prune(&old()).unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("drop that trigger"), "{error}");
    assert_eq!(names(&database).len(), 3);
    assert_eq!(number(&database, "SELECT count(*) FROM api_key_pruned"), 0);
});

// I6
database_test!(only_old_events_are_pruned, |database: Database| {
    database.issue_many(3);
    let events = "SELECT count(*) FROM api_key_events";
    database
        .execute(&format!(
            "UPDATE api_key_events SET happened_at = {} WHERE key_id < 3",
            ago(401 * 24)
        ))
        .unwrap();
    let many = "INSERT INTO api_key_events (action, key_id, last_key_id, happened_at) SELECT action, key_id, last_key_id, happened_at FROM api_key_events WHERE key_id < 3";
    for _ in 0..7 {
        database.execute(many).unwrap();
    }
    let stored = number(&database, events);
    let admin = database.admin();
    let wanted = Prune::new().events_older_than(400 * DAY);
    let dry = admin.clone().dry_run().prune(&wanted).unwrap();
    let pruned = admin.prune(&wanted).unwrap();
    assert_eq!((dry, pruned.keys, pruned.events), (pruned, 0, stored as u64 - 1));
    assert_eq!(number(&database, events), 1);
    assert_eq!(names(&database).len(), 3);
});
