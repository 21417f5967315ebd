//! The acceptance suite, which every store must pass.

use std::{sync::mpsc, thread, time::Instant};

use api_key_runtime::{
    admin::{KeyRecord, ListKeys, NewKey},
    store::{DieselStore, KeyStore},
    test_util::{MemoryStore, StoreFactory, acceptance_suite},
};
use chrono::{DateTime, Utc};

use crate::{
    support::{Database, TEST_TIMEOUT, database_test, hex},
    tables::role_with_the_documented_grants,
};

struct InDatabase<'a> {
    database: &'a Database,
    store: DieselStore,
}

impl StoreFactory for InDatabase<'_> {
    fn store(&self) -> &dyn KeyStore {
        &self.store
    }

    fn insert(&self, record: &KeyRecord) -> i64 {
        let digest = self.database.literal(&hex(record.digest.as_bytes()));
        let time = |time: Option<DateTime<Utc>>| {
            time.map_or_else(
                || "NULL".to_owned(),
                |time| format!("'{}'", time.format("%Y-%m-%d %H:%M:%S%.6f+00:00")),
            )
        };
        let owner =
            record.owner.as_ref().map_or_else(|| "NULL".to_owned(), |owner| format!("'{owner}'"));
        let values = format!(
            "{digest}, '{}', '{}', '{}', {owner}, '{}', '{}', {}, {}, {}",
            record.digest_algorithm,
            record.hint,
            record.name,
            record.allowed_ips,
            record.scopes,
            time(Some(record.created_at)),
            time(record.expires_at),
            time(record.disabled_at)
        );
        self.database
            .execute(&format!(
                "INSERT INTO api_keys (digest, digest_algorithm, hint, name, owner, allowed_ips, scopes, created_at, expires_at, disabled_at) VALUES ({values})"
            ))
            .unwrap();
        self.database.texts("SELECT cast(max(id) AS text) FROM api_keys").remove(0).parse().unwrap()
    }

    fn revoke(&self, id: i64, at: DateTime<Utc>) {
        self.database
            .execute(&format!(
                "UPDATE api_keys SET revoked_at = '{}' WHERE id = {id}",
                at.format("%Y-%m-%d %H:%M:%S%.6f+00:00")
            ))
            .unwrap();
    }
}

// A7, E6
database_test!(the_store_over_diesel_passes_the_acceptance_suite, |database: Database| {
    let store = DieselStore::open(database.migrate().url()).unwrap();
    acceptance_suite(&InDatabase { database: &database, store });
});

// E9
#[test]
fn the_documented_grants_pass_the_acceptance_suite() {
    let database = Database::postgres();
    let role = role_with_the_documented_grants(database.migrate());
    let store = DieselStore::open(&role).unwrap();
    acceptance_suite(&InDatabase { database: &database, store });
    let name = database.url().rsplit_once('/').unwrap().1;
    database.execute(&format!("DROP OWNED BY role_{name}; DROP ROLE role_{name}")).unwrap();
}

// E13
database_test!(the_first_keys_of_a_table_may_be_issued_at_the_same_time, |database: Database| {
    let admin = database.admin();
    let start = std::sync::Barrier::new(8);
    let new = api_key_runtime::admin::NewKey::new("first").allow_any();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                admin.issue(&new).unwrap();
            });
        }
    });
    assert_eq!(admin.list(&ListKeys::new()).unwrap().len(), 8);
});

struct InMemory(MemoryStore);

impl StoreFactory for InMemory {
    fn store(&self) -> &dyn KeyStore {
        &self.0
    }

    fn insert(&self, record: &KeyRecord) -> i64 {
        self.0.put(record.clone())
    }

    fn revoke(&self, id: i64, at: DateTime<Utc>) {
        self.0.change(id, |record| record.revoked_at = Some(at));
    }
}

#[test]
fn the_store_in_memory_passes_the_acceptance_suite() {
    acceptance_suite(&InMemory(MemoryStore::default()));
}

// E13
database_test!(admin_changes_take_effect_and_revocation_is_final, |database: Database| {
    let admin = database.admin();
    let (_, id) = database.issue("0.0.0.0");
    let disabled = admin.disable(id).unwrap();
    assert!(disabled.disabled_at.is_some());
    assert_eq!(
        admin.disable(id).unwrap().disabled_at,
        disabled.disabled_at,
        "disabling twice changes nothing"
    );
    assert_eq!(admin.enable(id).unwrap().disabled_at, None);
    assert_eq!(admin.enable(id).unwrap().disabled_at, None);
    let revoked = admin.revoke(id).unwrap();
    assert!(revoked.revoked_at.is_some());
    assert_eq!(
        admin.revoke(id).unwrap().revoked_at,
        revoked.revoked_at,
        "revoking twice changes nothing"
    );
    assert!(admin.enable(id).unwrap_err().is_conflict());
    assert!(admin.disable(id).unwrap_err().is_conflict());
    for unknown in [0, -1, id + 1, i64::MAX] {
        assert!(admin.revoke(unknown).unwrap_err().is_not_found());
        assert!(admin.disable(unknown).unwrap_err().is_not_found());
        assert!(admin.enable(unknown).unwrap_err().is_not_found());
        assert!(admin.get(unknown).unwrap_err().is_not_found());
    }
    assert_eq!(admin.list(&ListKeys::new()).unwrap().len(), 1);
});

// E13
#[test]
fn a_change_on_postgres_is_durable_despite_server_defaults() {
    let database = Database::postgres();
    let (_, id) = database.issue("0.0.0.0");
    database
        .execute(
            "CREATE TABLE seen (setting text); \
             CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$; \
             CREATE TRIGGER see AFTER INSERT OR UPDATE ON api_keys FOR EACH ROW EXECUTE FUNCTION see(); \
             DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$",
        )
        .unwrap();
    let admin = database.admin();
    admin.disable(id).unwrap();
    admin.enable(id).unwrap();
    admin.revoke(id).unwrap();
    database.issue("0.0.0.0");
    assert_eq!(database.texts("SELECT setting FROM seen"), ["on", "on", "on", "on"]);
}

// E13
#[test]
fn a_revocation_does_not_wait_for_changes_of_other_keys() {
    use diesel::{Connection as _, PgConnection, connection::SimpleConnection as _};
    let database = Database::postgres();
    let (_, id) = database.issue("0.0.0.0");
    let (_, other) = database.issue("0.0.0.0");
    // An uncommitted transaction that inserts 100 keys and changes another key.
    let mut open = PgConnection::establish(database.url()).unwrap();
    open.batch_execute(&format!(
        "BEGIN; \
         INSERT INTO api_keys (digest, digest_algorithm, hint, name, allowed_ips) \
         SELECT sha256(n::text::bytea), 'sha256', 'h', 'n', '0.0.0.0' FROM generate_series(1, 100) n; \
         UPDATE api_keys SET name = 'other' WHERE id = {other}"
    ))
    .unwrap();
    let admin = database.admin();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(admin.revoke(id).map(|record| record.revoked_at)));
    let revoked = receiver
        .recv_timeout(TEST_TIMEOUT)
        .expect("the revocation waited for another key's transaction");
    assert!(revoked.unwrap().is_some());
    open.batch_execute("ROLLBACK").unwrap();
}

// F10
#[test]
fn a_change_that_waits_for_a_lock_names_its_holder() {
    use diesel::{Connection as _, PgConnection, connection::SimpleConnection as _};
    let database = Database::postgres();
    let (_, id) = database.issue("0.0.0.0");
    let mut open = PgConnection::establish(database.url()).unwrap();
    for lock in [
        format!("SELECT 1 FROM api_keys WHERE id = {id} FOR UPDATE"),
        "LOCK TABLE api_keys IN SHARE MODE".to_owned(),
    ] {
        open.batch_execute(&format!("SET application_name = 'import'; BEGIN; {lock}")).unwrap();
        let began = Instant::now();
        let error = database.admin().revoke(id).unwrap_err().to_string();
        assert!(began.elapsed() < TEST_TIMEOUT, "{:?}", began.elapsed());
        assert!(error.contains("(import), idle in transaction since"), "{error}");
        assert!(error.contains("pg_terminate_backend"), "{error}");
        open.batch_execute("ROLLBACK").unwrap();
    }
    let name = database.name();
    let lock = format!("SELECT 1 FROM api_keys WHERE id = {id} FOR UPDATE");
    open.batch_execute(&format!("BEGIN; {lock}; PREPARE TRANSACTION '{name}'")).unwrap();
    let error = database.admin().revoke(id).unwrap_err().to_string();
    open.batch_execute(&format!("ROLLBACK PREPARED '{name}'")).unwrap();
    let advice = "end it with ROLLBACK PREPARED or COMMIT PREPARED";
    assert!(error.contains(advice) && !error.contains("pg_terminate_backend"), "{error}");
    assert!(database.admin().revoke(id).is_ok());
}

// E13
database_test!(a_change_that_a_trigger_prevents_is_an_error, |database: Database| {
    let (_, id) = database.issue("0.0.0.0");
    let admin = database.admin();
    database
        .execute(if database.is_postgres() {
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE TRIGGER keep BEFORE UPDATE ON api_keys FOR EACH ROW EXECUTE FUNCTION keep()"
        } else {
            "CREATE TRIGGER keep BEFORE UPDATE ON api_keys BEGIN SELECT RAISE(IGNORE); END"
        })
        .unwrap();
    for error in [admin.revoke(id).unwrap_err(), admin.disable(id).unwrap_err()] {
        assert!(error.is_conflict() && error.to_string().contains("a trigger or rule"), "{error}");
    }
});

// F10
#[test]
fn a_change_of_a_locked_sqlite_file_fails_with_advice() {
    use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
    let database = Database::sqlite();
    let (_, id) = database.issue("0.0.0.0");
    let mut other = SqliteConnection::establish(database.url()).unwrap();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    let error = database.admin().revoke(id).unwrap_err().to_string();
    assert!(
        error.contains("another program has been writing") && error.contains("fuser"),
        "{error}"
    );
}

// E13, F10
database_test!(many_changes_at_once_wait_for_each_other_and_none_fails, |database: Database| {
    let admin = database.admin();
    admin.revoke(database.issue("0.0.0.0").1).unwrap();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let (_, id) = database.issue("0.0.0.0");
                    admin.disable(id).unwrap();
                    admin.enable(id).unwrap();
                    admin.revoke(id).unwrap();
                }
            });
        }
    });
    let records = admin.list(&ListKeys::new()).unwrap();
    assert_eq!(records.len(), 61);
    assert!(records.iter().all(|record| record.revoked_at.is_some()));
});

// E13
database_test!(a_change_that_fails_leaves_nothing_half_done, |database: Database| {
    let admin = database.admin();
    database
            .execute(if database.is_postgres() {
                "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room'; END $$; \
                 CREATE TRIGGER fail AFTER INSERT ON api_keys EXECUTE FUNCTION fail()"
            } else {
                "CREATE TRIGGER fail AFTER INSERT ON api_keys BEGIN SELECT RAISE(ABORT, 'no room'); END"
            })
            .unwrap();
    let before = database.texts("SELECT coalesce(digest_algorithm, 'none') FROM api_key_meta");
    let error = admin.issue(&NewKey::new("test").allow_any()).unwrap_err();
    assert!(error.is_database() && error.to_string().contains("nothing was changed"), "{error}");
    assert!(database.rows().is_empty());
    assert_eq!(
        database.texts("SELECT coalesce(digest_algorithm, 'none') FROM api_key_meta"),
        before,
        "a key that does not exist has set the digest algorithm"
    );
});

// E13
#[test]
fn an_unanswered_commit_has_an_unknown_outcome() {
    let database = Database::postgres();
    let (_, id) = database.issue("0.0.0.0");
    let admin = database.admin();
    let at_the_end = |what: &str| {
        database
            .execute(&format!(
                "CREATE OR REPLACE FUNCTION at_the_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {what}; RETURN NULL; END $$; \
                 DROP TRIGGER IF EXISTS at_the_end ON api_keys; \
                 CREATE CONSTRAINT TRIGGER at_the_end AFTER UPDATE ON api_keys DEFERRABLE INITIALLY DEFERRED \
                     FOR EACH ROW EXECUTE FUNCTION at_the_end()"
            ))
            .unwrap();
        admin.disable(id).unwrap_err().to_string()
    };
    let error = at_the_end("PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5)");
    assert!(
        error.contains("may or may not have been saved") && !error.contains("nothing was changed"),
        "{error}"
    );
    let error = at_the_end("RAISE check_violation");
    assert!(error.contains("nothing was changed"), "{error}");
}
