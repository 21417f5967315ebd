//! The change feed of Postgres.

use std::{fmt::Write as _, thread};

use api_key_runtime::{
    AppKeys,
    admin::ListKeys,
    migrations,
    store::{DieselStore, KeyDigest, KeyStore as _},
};
use diesel::{Connection as _, PgConnection, connection::SimpleConnection as _};

use super::{Reader, Seen, insert, insertion, keys, nothing};
use crate::{
    support::{Database, hex, wait_until},
    tables::role_with_the_documented_grants,
};

pub(super) fn migrated() -> Database {
    let database = Database::postgres();
    database.migrate();
    database
}

pub(super) fn session(database: &Database) -> PgConnection {
    PgConnection::establish(database.url()).unwrap()
}

/// Returns a statement that updates the key with this digest.
pub(super) fn change(database: &Database, digest: &str) -> String {
    let digest = database.literal(digest);
    format!("UPDATE api_keys SET scopes = scopes || 'x' WHERE digest = {digest}")
}

// E6
// Two transactions begin before other transactions and commit after them.
#[test]
fn a_long_transaction_is_reported_when_it_commits() {
    let database = migrated();
    let digests: Vec<String> = (1..=6).map(|number| insert(&database, number)).collect();
    let mut reader = Reader::new(&database);
    let mut early = session(&database);
    early.batch_execute(&format!("BEGIN; {}", change(&database, &digests[0]))).unwrap();
    let mut earlier_still = session(&database);
    earlier_still.batch_execute(&format!("BEGIN; {}", change(&database, &digests[1]))).unwrap();
    assert_eq!(reader.read(), nothing(), "not committed");
    for digest in &digests[2..] {
        database.execute(&change(&database, digest)).unwrap();
        assert_eq!(reader.read(), keys([digest]), "a later transaction, once");
        assert_eq!(reader.read(), nothing());
    }
    earlier_still.batch_execute("COMMIT").unwrap();
    assert_eq!(reader.read(), keys([&digests[1]]));
    assert_eq!(reader.read(), nothing());
    early.batch_execute(&format!("{}; COMMIT", change(&database, &digests[2]))).unwrap();
    assert_eq!(reader.read(), keys([&digests[0], &digests[2]]));
    assert_eq!(reader.read(), nothing());
}

// E6
#[test]
fn changes_rolled_back_to_a_savepoint_are_not_reported() {
    let database = migrated();
    let digests: Vec<String> = (1..=4).map(|number| insert(&database, number)).collect();
    let mut reader = Reader::new(&database);
    let mut session = session(&database);
    session
        .batch_execute(&format!(
            "BEGIN; SAVEPOINT a; {}; SAVEPOINT b; {}; ROLLBACK TO b; {}; RELEASE a; SAVEPOINT c",
            change(&database, &digests[0]),
            change(&database, &digests[1]),
            change(&database, &digests[2])
        ))
        .unwrap();
    assert_eq!(reader.read(), nothing());
    // Makes more subtransactions than a snapshot can list.
    let mut many = String::new();
    for number in 0..100 {
        write!(many, "SAVEPOINT s{number}; {}; ", change(&database, &digests[3])).unwrap();
    }
    session.batch_execute(&many).unwrap();
    assert_eq!(reader.read(), nothing());
    session.batch_execute("COMMIT").unwrap();
    assert_eq!(reader.read(), keys([&digests[0], &digests[2], &digests[3]]));
    assert_eq!(reader.read(), nothing());
    session.batch_execute(&format!("BEGIN; {}; ROLLBACK", change(&database, &digests[0]))).unwrap();
    assert_eq!(reader.read(), nothing(), "rolled back");
}

// E6, E9
#[test]
fn upserts_merges_cascades_and_bulk_changes_are_reported() {
    let database = migrated();
    let digest = insert(&database, 1);
    let other = format!("{:064x}", 2);
    let mut reader = Reader::new(&database);
    database
        .execute(&format!(
            "{} ON CONFLICT (digest) DO UPDATE SET scopes = 'upserted'",
            insertion(&database, &digest)
        ))
        .unwrap();
    assert_eq!(reader.read(), keys([&digest]), "an upsert that updates");
    database
        .execute(&format!(
            "{} ON CONFLICT (digest) DO UPDATE SET scopes = 'upserted'",
            insertion(&database, &other)
        ))
        .unwrap();
    assert_eq!(reader.read(), keys([&other]), "an upsert that inserts");
    let version: u32 =
        database.texts("SELECT current_setting('server_version_num')").remove(0).parse().unwrap();
    if version >= 150_000 {
        let digest = database.literal(&digest);
        database
            .execute(&format!("MERGE INTO api_keys USING (VALUES ({digest})) AS v(digest) ON api_keys.digest = v.digest WHEN MATCHED THEN DELETE"))
            .unwrap();
        assert_eq!(reader.read(), keys([&format!("{:064x}", 1)]), "a merge");
    }
    database
        .execute("CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users VALUES (1); ALTER TABLE api_keys ADD COLUMN user_id int REFERENCES users ON DELETE CASCADE; UPDATE api_keys SET user_id = 1")
        .unwrap();
    reader.read();
    database.execute("DELETE FROM users").unwrap();
    let Seen::Keys(cascaded) = reader.read() else {
        panic!("the keys of one user are reported as everything");
    };
    assert!(cascaded.contains(&other), "a cascade: {cascaded:?}");
    database
        .execute("INSERT INTO api_keys (digest, digest_algorithm, hint, name, allowed_ips) SELECT sha256(n::text::bytea), 'sha256', 'h', 'n', '0.0.0.0' FROM generate_series(1, 100000) n")
        .unwrap();
    assert_eq!(reader.read(), Seen::Everything, "100 000 at once");
    database.execute("UPDATE api_keys SET revoked_at = now()").unwrap();
    assert_eq!(reader.read(), Seen::Everything, "100 000 revoked at once");
    assert_eq!(reader.read(), nothing());
    database.execute("TRUNCATE api_keys CASCADE").unwrap();
    assert_eq!(reader.read(), Seen::Everything, "truncated");
    assert_eq!(reader.read(), nothing());
}

// E7
// COPY and replication insert rows with transaction IDs of another server. A reader's position may
// already be beyond these IDs.
#[test]
fn rows_from_another_server_are_reported_once() {
    let database = migrated();
    let digest = insert(&database, 1);
    let mut reader = Reader::new(&database);
    for number in ["3", "9000000000"] {
        let digest_literal = database.literal(&digest);
        database
            .execute(&format!(
                "INSERT INTO api_key_changes (xid, digest) VALUES ('{number}', {digest_literal})"
            ))
            .unwrap();
        assert_eq!(reader.read(), keys([&digest]), "{number}");
        assert_eq!(reader.read(), nothing());
    }
}

// E16
// Each of these statements may change the meaning of rows, but fires no trigger.
#[test]
fn a_changed_definition_means_everything_changed() {
    let database = migrated();
    insert(&database, 1);
    let mut reader = Reader::new(&database);
    for change in [
        "ALTER TABLE api_keys ALTER COLUMN expires_at TYPE timestamptz USING now() - interval '1 day'",
        "ALTER TABLE api_keys ADD COLUMN tenant text",
        "ALTER TABLE api_keys RENAME COLUMN tenant TO owner_of_key",
        "ALTER TABLE api_keys ALTER COLUMN hint DROP NOT NULL",
        "ALTER TABLE api_keys DROP COLUMN owner_of_key",
        "CREATE RULE keep AS ON DELETE TO api_keys WHERE old.id = -1 DO INSTEAD NOTHING",
        "DROP RULE keep ON api_keys",
        "CREATE TRIGGER audit AFTER UPDATE ON api_keys FOR EACH ROW WHEN (false) EXECUTE FUNCTION api_keys_refuse_reviving()",
        "ALTER TABLE api_keys ENABLE ALWAYS TRIGGER audit",
        "DROP TRIGGER audit ON api_keys",
        "CREATE OR REPLACE FUNCTION api_keys_refuse_reviving() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    ] {
        database.execute(change).unwrap();
        assert_eq!(reader.read(), Seen::Everything, "{change}");
        assert_eq!(reader.read(), nothing());
    }
}

// E7
// The position and the rows of a read must come from one snapshot, even if the read pauses in
// between.
#[test]
fn a_commit_during_a_read_is_in_this_read_or_the_next() {
    let database = migrated();
    let digest = insert(&database, 1);
    let mut reader = Reader::new(&database);
    database.execute(&change(&database, &digest)).unwrap();
    assert_eq!(reader.read(), keys([&digest]));
    let mut writer = session(&database);
    writer.batch_execute("BEGIN; LOCK TABLE api_key_changes IN ACCESS EXCLUSIVE MODE").unwrap();
    // A read skips the log if no transaction has ended since the last read, so a transaction must
    // end here.
    database.execute("SELECT pg_current_xact_id()").unwrap();
    let first = thread::scope(|scope| {
        let read = scope.spawn(|| reader.read());
        wait_until("the read waits for the log", || {
            database.texts("SELECT cast(count(*) AS text) FROM pg_locks WHERE NOT granted AND relation = 'api_key_changes'::regclass") == ["1"]
        });
        writer.batch_execute(&format!("{}; COMMIT", change(&database, &digest))).unwrap();
        read.join().unwrap()
    });
    let second = reader.read();
    assert!([&first, &second].contains(&&keys([&digest])), "{first:?}, {second:?}");
    assert_eq!(reader.read(), nothing());
}

// F14
// Restore tools disable and then enable triggers. Afterwards, the triggers fire only in ordinary
// sessions, not for replicated rows.
#[test]
fn migrate_enables_triggers_as_their_migration_did() {
    let database = migrated();
    database
        .execute(
            "ALTER TABLE api_keys DISABLE TRIGGER ALL; ALTER TABLE api_keys ENABLE TRIGGER ALL; \
             ALTER TABLE api_key_changes DISABLE TRIGGER ALL; ALTER TABLE api_key_changes ENABLE TRIGGER ALL; \
             ALTER TABLE api_key_meta DISABLE TRIGGER ALL; ALTER TABLE api_key_meta ENABLE TRIGGER ALL",
        )
        .unwrap();
    let error = DieselStore::open(database.url()).err().unwrap().to_string();
    assert!(error.contains("app-key migrate"), "{error}");
    assert!(database.admin().migrate().unwrap().is_empty());
    for table in ["api_keys", "api_key_changes", "api_key_meta"] {
        database.execute(&format!("ALTER TABLE {table} DISABLE TRIGGER USER")).unwrap();
        DieselStore::open(database.url()).unwrap_err();
        database.admin().migrate().unwrap();
        DieselStore::open(database.url()).unwrap();
    }
    let letters = database.texts(
        "SELECT tgenabled::text FROM pg_trigger WHERE tgname IN ('api_key_changes_set_xid', 'api_key_meta_merge')",
    );
    assert_eq!(letters, ["A", "A"]);
    DieselStore::open(database.url()).unwrap();
}

// E16
// No trigger logs changes of an inheriting table.
#[test]
fn rows_of_an_inheriting_table_are_not_keys() {
    let database = migrated();
    let (store, digest) = (DieselStore::open(database.url()).unwrap(), "1".repeat(64));
    let wanted = [KeyDigest::from_bytes([0x11; 32])];
    database
        .execute("CREATE TABLE old_keys (LIKE api_keys INCLUDING ALL) INHERITS (api_keys)")
        .unwrap();
    database.execute(&insertion(&database, &digest).replace("api_keys", "old_keys")).unwrap();
    assert!(store.find(&wanted).unwrap().is_empty());
    let admin = database.admin();
    assert!(admin.list(&ListKeys::new()).unwrap().is_empty());
    assert!(admin.revoke(1).unwrap_err().is_not_found());
    database.execute(&insertion(&database, &digest)).unwrap();
    assert_eq!(store.find(&wanted).unwrap().len(), 1);
    database.execute("DROP TABLE old_keys; ALTER TABLE api_keys RENAME TO kept; CREATE VIEW api_keys AS TABLE kept").unwrap();
    let error = admin.get(1).unwrap_err().to_string();
    assert!(error.contains("a view or a partitioned table"), "{error}");
}

// E16
// A trigger or rule on the log may discard rows, which readers would then miss without an error.
#[test]
fn a_foreign_trigger_or_rule_of_the_log_is_an_error() {
    let database = migrated();
    let mut reader = Reader::new(&database);
    database
        .execute("CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
        .unwrap();
    for (create, drop) in [
        (
            "CREATE RULE quiet AS ON INSERT TO api_key_changes DO INSTEAD NOTHING",
            "DROP RULE quiet ON api_key_changes",
        ),
        (
            "CREATE TRIGGER quiet BEFORE INSERT ON api_key_changes FOR EACH ROW EXECUTE FUNCTION nothing()",
            "DROP TRIGGER quiet ON api_key_changes",
        ),
    ] {
        database.execute(create).unwrap();
        for error in [
            reader.try_read().unwrap_err().to_string(),
            DieselStore::open(database.url()).unwrap_err().to_string(),
        ] {
            assert!(error.contains("trigger or rule quiet"), "{error}");
        }
        database.execute(drop).unwrap();
        assert_eq!(reader.read(), Seen::Everything);
    }
    // An AFTER trigger cannot keep a row out of the log, so an audit trigger is allowed.
    database
        .execute("CREATE TRIGGER audit AFTER INSERT ON api_key_changes FOR EACH STATEMENT EXECUTE FUNCTION nothing()")
        .unwrap();
    assert_eq!(reader.read(), Seen::Everything, "the definition has changed");
    let digest = insert(&database, 1);
    assert_eq!(reader.read(), keys([&digest]));
}

// F14
#[test]
fn a_schema_may_have_any_name() {
    let database = Database::postgres();
    let schema = r#""it's ""a"" shop""#;
    database
        .execute(&format!(
            "CREATE SCHEMA {schema}; ALTER DATABASE {} SET search_path = {schema}",
            database.name()
        ))
        .unwrap();
    database.migrate();
    let mut reader = Reader::new(&database);
    let (_, id) = database.issue("0.0.0.0");
    assert_eq!(reader.read(), keys([&hex(database.admin().get(id).unwrap().digest.as_bytes())]));
}

// E14, E16
// Without this error, every valid key would be rejected as unknown.
#[test]
fn row_level_security_that_hides_keys_is_an_error() {
    let database = migrated();
    insert(&database, 1);
    let role = role_with_the_documented_grants(&database);
    let store = DieselStore::open(&role).unwrap();
    let found = || store.find(&[KeyDigest::from_bytes([0; 32])]).map(|found| found.len());
    found().unwrap();
    database.execute("ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY").unwrap();
    let mut errors = vec![found().unwrap_err().to_string()];
    errors.push(store.watch().unwrap().unwrap().changes().unwrap_err().to_string());
    errors.push(DieselStore::open(&role).err().unwrap().to_string());
    errors.push(
        AppKeys::builder()
            .database_url(&role)
            .build_admin()
            .unwrap()
            .list(&ListKeys::new())
            .unwrap_err()
            .to_string(),
    );
    for error in errors {
        assert!(error.contains("row-level security"), "{error}");
    }
    database.execute("ALTER TABLE api_keys DISABLE ROW LEVEL SECURITY").unwrap();
    found().unwrap();
    drop_role(&database);
}

// F14
#[test]
fn migrating_complete_tables_needs_only_the_right_to_read() {
    let database = migrated();
    let role = role_with_the_documented_grants(&database);
    AppKeys::builder().database_url(&role).migrate().unwrap().build().unwrap();
    drop_role(&database);
}

// F14
// If the library created a second, empty set of tables, every valid key would be unknown.
#[test]
fn tables_in_a_schema_that_is_not_found_are_named() {
    let database = Database::postgres();
    let name = database.name();
    database
        .execute(&format!(
            "CREATE SCHEMA shop; ALTER DATABASE {name} SET search_path = shop, public"
        ))
        .unwrap();
    database.migrate();
    let role = role_with_the_documented_grants(&database);
    for error in [DieselStore::open(&role).err().unwrap(), migrations::run(&role).unwrap_err()] {
        let error = error.to_string();
        assert!(error.contains("GRANT USAGE ON SCHEMA shop"), "{error}");
    }
    database.execute("GRANT USAGE ON SCHEMA shop TO PUBLIC").unwrap();
    DieselStore::open(&role).unwrap();
    database.execute(&format!("ALTER DATABASE {name} SET search_path = public")).unwrap();
    let error = DieselStore::open(&role).err().unwrap().to_string();
    assert!(error.contains("schema shop") && error.contains("search_path"), "{error}");
    drop_role(&database);
}

// E9
// A missing or disabled trigger is an error until the trigger is restored. Then everything counts
// as changed.
#[test]
fn a_missing_trigger_is_an_error_and_then_everything_changed() {
    let database = migrated();
    insert(&database, 1);
    let mut reader = Reader::new(&database);
    for (off, on) in [
        (
            "ALTER TABLE api_keys DISABLE TRIGGER api_keys_log_update",
            "ALTER TABLE api_keys ENABLE TRIGGER api_keys_log_update",
        ),
        (
            "ALTER TABLE api_keys ENABLE REPLICA TRIGGER api_keys_log_delete",
            "ALTER TABLE api_keys ENABLE TRIGGER api_keys_log_delete",
        ),
        (
            "ALTER TABLE api_keys ENABLE TRIGGER api_keys_log_replicated",
            "ALTER TABLE api_keys ENABLE REPLICA TRIGGER api_keys_log_replicated",
        ),
        (
            "ALTER TABLE api_keys ENABLE TRIGGER api_keys_log_truncate",
            "ALTER TABLE api_keys ENABLE ALWAYS TRIGGER api_keys_log_truncate",
        ),
        (
            "ALTER TABLE api_key_changes DISABLE TRIGGER api_key_changes_set_xid",
            "ALTER TABLE api_key_changes ENABLE ALWAYS TRIGGER api_key_changes_set_xid",
        ),
    ] {
        database.execute(off).unwrap();
        for _ in 0..2 {
            let error = reader.try_read().unwrap_err().to_string();
            assert!(error.contains("the trigger api_key"), "{error}");
        }
        database.execute(on).unwrap();
        assert_eq!(reader.read(), Seen::Everything);
        assert_eq!(reader.read(), nothing());
        // Disables and enables the trigger between two reads, as a data-only restore does.
        database
            .execute(&format!("BEGIN; {off}; UPDATE api_keys SET scopes = 'unseen'; {on}; COMMIT"))
            .unwrap();
        assert_eq!(reader.read(), Seen::Everything, "{off}, and on again");
        assert_eq!(reader.read(), nothing());
    }
}

// E6
#[test]
fn recreated_tables_mean_everything_changed() {
    let database = migrated();
    insert(&database, 1);
    let mut reader = Reader::new(&database);
    database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").unwrap();
    assert!(reader.try_read().is_err(), "the tables are missing");
    database.migrate();
    assert_eq!(reader.read(), Seen::Everything);
    assert_eq!(reader.read(), nothing());
}

// E9
#[test]
fn row_level_security_that_would_hide_the_log_is_an_error() {
    let database = migrated();
    let role = role_with_the_documented_grants(&database);
    let mut reader = Reader::at(&role);
    database.execute("ALTER TABLE api_key_changes ENABLE ROW LEVEL SECURITY").unwrap();
    let error = reader.try_read().unwrap_err().to_string();
    assert!(error.contains("row-level security"), "{error}");
    database.execute("ALTER TABLE api_key_changes DISABLE ROW LEVEL SECURITY").unwrap();
    assert_eq!(reader.read(), Seen::Everything);
    drop_role(&database);
}

// E9
#[test]
fn a_role_with_the_documented_grants_reads_changes() {
    let database = migrated();
    let role = role_with_the_documented_grants(&database);
    let mut reader = Reader::at(&role);
    let digests: Vec<String> = (1..=3).map(|number| insert(&database, number)).collect();
    assert_eq!(reader.read(), keys(&digests));
    let timeout = std::time::Duration::from_secs(20);
    let began = std::time::Instant::now();
    database.execute(&change(&database, &digests[0])).unwrap();
    reader.wait(timeout);
    assert!(began.elapsed() < timeout / 2);
    assert_eq!(reader.read(), keys([&digests[0]]));
    drop_role(&database);
}

fn drop_role(database: &Database) {
    let name = database.url().rsplit_once('/').unwrap().1;
    database.execute(&format!("DROP OWNED BY role_{name}; DROP ROLE role_{name}")).unwrap();
}

// E7, F5
#[test]
fn a_cut_connection_never_yields_old_changes() {
    let database = migrated();
    let digest = insert(&database, 1);
    let mut reader = Reader::new(&database);
    for _ in 0..5 {
        database.execute(&change(&database, &digest)).unwrap();
        database.end_connections();
        let answers = [reader.try_read(), reader.try_read()];
        assert!(answers.iter().flatten().any(|seen| *seen == Seen::Everything), "{answers:?}");
    }
}
