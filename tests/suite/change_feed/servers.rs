//! Tests with Postgres URLs that lead to several servers, with replication and restarts, and with
//! unusual roles and schemas.

use std::time::{Duration, Instant};

use api_key_runtime::store::{DieselStore, KeyStore as _};

use super::{Reader, Seen, insert, keys, nothing};
use crate::support::{Database, OwnServer, Proxy, hex, wait_until};

fn migrated() -> Database {
    let database = Database::postgres();
    database.migrate();
    database
}

/// Returns the digest of a key that is not in the table.
fn unknown() -> api_key_runtime::store::KeyDigest {
    api_key_runtime::store::KeyDigest::from_bytes([7; 32])
}

// E7, E9
// Lookups fail while changes are read from another server.
#[test]
fn keys_and_changes_must_come_from_one_server() {
    let servers = [(); 2].map(|()| OwnServer::start());
    let database = servers[0].database();
    database.migrate();
    servers[1].database_named(database.name()).migrate();
    let proxy = Proxy::start(servers[0].address());
    let mut reader = Reader::at(&database.url_at(proxy.address));
    let find = |reader: &Reader| reader.store.find(&[unknown()]);
    find(&reader).unwrap();
    proxy.lead_to(servers[1].address());
    find(&reader).expect("existing connections still lead to the first server");
    // Ends the store's connection for lookups, but not the connection of its feed.
    database.texts(
        "SELECT cast(pg_terminate_backend(pid) AS text) FROM pg_stat_activity \
          WHERE datname = current_database() AND pid <> pg_backend_pid() AND query NOT LIKE '%api_keys_%_v1%'",
    );
    let error = find(&reader).unwrap_err().to_string();
    assert!(error.contains("different servers"), "{error}");
    assert!(find(&reader).is_err(), "no changes were read since");
    assert_eq!(reader.read(), Seen::Everything, "the first read from the other server");
    find(&reader).unwrap();
    assert_eq!(reader.read(), nothing());
}

// E7
#[test]
fn a_rewritten_table_is_on_the_same_server() {
    let database = migrated();
    let mut reader = Reader::at(database.url());
    let _ = reader.read();
    // The table gets another file.
    database.execute("VACUUM FULL api_keys").unwrap();
    reader.store.find(&[unknown()]).expect("no other server");
}

// E6, E17, F14
// Two databases of one server stand for two servers. Keys move from one database to the other by
// logical replication, with and without the change log in the publication.
#[test]
fn keys_that_are_replicated_can_be_revoked_on_the_next_server() {
    for published in
        ["api_keys, api_key_usage, api_key_meta, api_key_changes", "api_keys, api_key_meta"]
    {
        let server = OwnServer::start();
        let (old, new) = (server.database(), server.database());
        old.migrate();
        new.migrate();
        let before: Vec<String> = (1..=3).map(|number| insert(&old, number)).collect();
        let slot = format!("slot_{}", new.name());
        old.execute(&format!("CREATE PUBLICATION keys FOR TABLE {published}")).unwrap();
        // Within one server, a CREATE SUBSCRIPTION that also creates the slot would wait for its
        // own transaction. So the slot is created first.
        old.texts(&format!(
            "SELECT slot_name::text FROM pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        ));
        new.execute(&format!(
            "CREATE SUBSCRIPTION {slot} CONNECTION '{}' PUBLICATION keys WITH (create_slot = false, slot_name = '{slot}')",
            old.url()
        ))
        .unwrap();
        let count = |sql: &str| new.texts(&format!("SELECT cast(count(*) AS text) FROM {sql}"));
        let synchronized = "pg_subscription_rel WHERE srsubstate <> 'r'";
        wait_until("the tables are copied", || {
            count(synchronized) == ["0"] && count("api_keys") == ["3"]
        });
        let mut reader = Reader::new(&new);
        old.execute("UPDATE api_keys SET revoked_at = now() WHERE id = 1").unwrap();
        wait_until("the revocation is replicated", || {
            count("api_keys WHERE revoked_at IS NOT NULL") == ["1"]
        });
        assert_eq!(reader.read(), keys([&before[0]]), "{published}");
        new.execute(&format!("ALTER SUBSCRIPTION {slot} DISABLE")).unwrap();
        // From here on, the new database replaces the old database.
        let revoked = new.admin().revoke(2).unwrap();
        assert_eq!(reader.read(), keys([&hex(revoked.digest.as_bytes())]), "{published}");
        assert_eq!(new.issue("0.0.0.0").1, 4, "{published}");
        assert_eq!(count("api_keys"), ["4"]);
        new.execute(&format!(
            "ALTER SUBSCRIPTION {slot} SET (slot_name = NONE); DROP SUBSCRIPTION {slot}"
        ))
        .unwrap();
    }
}

// E7, F4
#[test]
fn after_a_restart_lookups_wait_for_the_first_changes() {
    let server = OwnServer::start();
    let database = server.database();
    database.migrate();
    let mut reader = Reader::new(&database);
    reader.store.find(&[unknown()]).unwrap();
    server.shut_down();
    server.start_again();
    assert!(reader.store.find(&[unknown()]).is_err());
    assert_eq!(reader.read(), Seen::Everything);
    reader.store.find(&[unknown()]).unwrap();
}

// E9
#[test]
fn a_standby_is_an_error_and_not_an_empty_table() {
    let database = migrated();
    // Replaces the built-in `pg_is_in_recovery`, so that the server seems to become a standby while
    // a connection is open. A pooler can cause this by connecting to another server.
    database
        .execute(
            "CREATE TABLE pretended (is_standby bool); INSERT INTO pretended VALUES (false); \
             ALTER FUNCTION pg_catalog.pg_is_in_recovery() RENAME TO pg_was_in_recovery; \
             CREATE FUNCTION pg_catalog.pg_is_in_recovery() RETURNS bool LANGUAGE sql STABLE AS 'SELECT is_standby FROM public.pretended'",
        )
        .unwrap();
    let store = DieselStore::open(database.url()).unwrap();
    assert!(store.find(&[unknown()]).unwrap().is_empty());
    database.execute("UPDATE pretended SET is_standby = true").unwrap();
    let error = store.find(&[unknown()]).unwrap_err().to_string();
    assert!(error.contains("hot standby"), "{error}");
}

// E7, E9
// The new connection may lead to a server that has restarted.
#[test]
fn a_new_pooled_connection_reports_everything_changed() {
    let database = migrated();
    let digest = insert(&database, 1);
    let mut reader = Reader::at(&database.pooled_url());
    assert_eq!(reader.read(), nothing());
    let change = "UPDATE api_keys SET scopes = scopes || 'x'";
    database.execute(change).unwrap();
    assert_eq!(reader.read(), keys([&digest]));
    // A server ends all connections if one of its processes crashes. The pooler reconnects without
    // notifying its client.
    database.end_connections();
    database.execute(change).unwrap();
    let seen = reader.try_read().or_else(|_| reader.try_read()).unwrap();
    assert_eq!(seen, Seen::Everything);
    assert_eq!(reader.read(), nothing());
}

// E9
// The option `role` switches to a role that may not see when its server process began. The next
// read then recognizes the process by its ID.
#[test]
fn a_switched_role_still_reads_changes() {
    let database = migrated();
    let name = database.name();
    database
        .execute(&format!(
            "CREATE ROLE group_{name}; GRANT SELECT ON api_keys, api_key_changes, api_key_meta TO group_{name}; \
             CREATE ROLE login_{name} LOGIN IN ROLE group_{name} NOINHERIT"
        ))
        .unwrap();
    let (_, place) = database.url().split_once('@').unwrap();
    let url = format!("postgres://login_{name}@{place}?options=-crole%3Dgroup_{name}");
    let mut reader = Reader::at(&url);
    let digest = insert(&database, 1);
    assert_eq!(reader.read(), keys([&digest]));
    assert_eq!(reader.read(), nothing());
    database
        .execute(&format!("DROP OWNED BY group_{name}; DROP ROLE login_{name}, group_{name}"))
        .unwrap();
}

// E9
#[test]
fn keys_and_log_in_different_schemas_are_an_error() {
    let database = migrated();
    let store = DieselStore::open(database.url()).unwrap();
    database
        .execute(&format!(
            "CREATE SCHEMA earlier; CREATE TABLE earlier.api_key_changes (LIKE public.api_key_changes); \
             ALTER DATABASE {} SET search_path = earlier, public",
            database.name()
        ))
        .unwrap();
    let changes = || store.watch().unwrap().unwrap().changes();
    let error = changes().unwrap_err().to_string();
    assert!(error.contains("two schemas"), "{error}");
    database
        .execute(&format!("ALTER DATABASE {} SET search_path = public", database.name()))
        .unwrap();
    let _ = changes().unwrap();
}

// E1
#[test]
fn blocked_new_connections_do_not_delay_the_feed() {
    // The feed opens another connection to check that notifications arrive. Here, this attempt
    // times out after two seconds. One fast reader proves that reads do not wait for the attempt.
    // Other readers may be slow on a busy machine.
    const CONNECTING: Duration = Duration::from_millis(1500);
    let database = migrated();
    let proxy = Proxy::start(database.server());
    let mut number = 0;
    let mut times = (0..5).map(|_| {
        let mut reader = Reader::at(&database.url_at(proxy.address));
        proxy.swallow_new();
        let mut took = Duration::ZERO;
        for _ in 0..5 {
            number += 1;
            let began = Instant::now();
            reader.wait(Duration::from_millis(10));
            took += began.elapsed();
            let digest = insert(&database, number);
            let began = Instant::now();
            assert_eq!(reader.read(), keys([&digest]));
            took += began.elapsed();
        }
        proxy.pass();
        println!("five changes were waited for and read in {took:?}");
        took
    });
    assert!(times.any(|took| took < CONNECTING), "every reader waited for the connection attempt");
}
