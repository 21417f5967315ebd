//! On Postgres.

use std::fmt::Write as _;

use diesel::{Connection as _, PgConnection, connection::SimpleConnection as _};

use super::{Reader, Seen, insert, insertion, keys, nothing};
use crate::{support::Database, tables::role_with_the_documented_grants};

fn migrated() -> Database {
    let database = Database::postgres();
    database.migrate();
    database
}

fn session(database: &Database) -> PgConnection {
    PgConnection::establish(database.url()).unwrap()
}

/// An update of the key with this digest.
fn change(database: &Database, digest: &str) -> String {
    let digest = database.literal(digest);
    format!("UPDATE api_keys SET scopes = scopes || 'x' WHERE digest = {digest}")
}

// E6
// It began before others and commits after them.
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
        assert_eq!(reader.read(), keys([digest]), "meanwhile, once");
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
    // More than a snapshot lists of a transaction's own.
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
fn upserts_merges_cascades_truncation_and_bulk_changes_are_told() {
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
        panic!("one user's keys are not everything");
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
#[test]
fn rows_of_another_server_s_history_are_not_told_for_ever() {
    let database = migrated();
    let digest = insert(&database, 1);
    database.execute("UPDATE api_key_changes SET xid = '9000000000'").unwrap();
    let mut reader = Reader::new(&database);
    assert_eq!(reader.read(), nothing());
    database.execute(&change(&database, &digest)).unwrap();
    assert_eq!(reader.read(), keys([&digest]), "what is new is told");
    assert_eq!(reader.read(), nothing());
}

// E9
// Dropped or disabled: an error until it is back, and then everything counts as changed.
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
            "ALTER TABLE api_keys ENABLE ALWAYS TRIGGER api_keys_log_delete",
        ),
    ] {
        database.execute(off).unwrap();
        for _ in 0..2 {
            let error = reader.try_read().unwrap_err().to_string();
            assert!(error.contains("api_keys_log_"), "{error}");
        }
        database.execute(on).unwrap();
        assert_eq!(reader.read(), Seen::Everything);
        assert_eq!(reader.read(), nothing());
        // Off and on again between two reads, as a data-only restore has it.
        database
            .execute(&format!("BEGIN; {off}; UPDATE api_keys SET scopes = 'unseen'; {on}; COMMIT"))
            .unwrap();
        assert_eq!(reader.read(), Seen::Everything, "{off}, and on again");
        assert_eq!(reader.read(), nothing());
    }
}

// E8
#[test]
fn tables_that_were_made_anew_are_everything() {
    let database = migrated();
    insert(&database, 1);
    let mut reader = Reader::new(&database);
    database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").unwrap();
    assert!(reader.try_read().is_err(), "there are none");
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

// E5, F5
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
