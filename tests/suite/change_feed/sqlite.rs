//! The change feed of SQLite.

use std::fs;

use api_key_runtime::store::DieselStore;

use super::{Reader, Seen, insert, keys, nothing};
use crate::support::Database;

fn migrated() -> Database {
    let database = Database::sqlite();
    database.migrate();
    database
}

/// Copies the whole database into one file, as a backup does.
fn back_up(database: &Database) -> String {
    let copy = format!("{}.copy", database.url());
    let _ = fs::remove_file(&copy);
    database.execute(&format!("VACUUM INTO '{copy}'")).unwrap();
    copy
}

fn remove_logs(database: &Database) {
    for log in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{log}", database.url()));
    }
}

// E8
#[test]
fn a_replaced_file_is_reread_and_a_deleted_file_is_an_error() {
    let database = migrated();
    insert(&database, 1);
    let mut reader = Reader::new(&database);
    let copy = back_up(&database);
    insert(&database, 2);
    remove_logs(&database);
    fs::rename(&copy, database.url()).unwrap();
    assert_eq!(reader.read(), Seen::Everything);
    let digest = insert(&database, 3);
    assert_eq!(reader.read(), keys([&digest]), "the new file is read");
    fs::remove_file(database.url()).unwrap();
    for _ in 0..2 {
        let error = reader.try_read().unwrap_err().to_string();
        assert!(error.contains("the file does not exist"), "{error}");
    }
}

// E8
// If the library opened the new file, SQLite would apply the old file's log to it.
#[test]
fn a_replaced_file_beside_its_old_log_is_rejected() {
    let database = migrated();
    insert(&database, 1);
    let mut reader = Reader::new(&database);
    let copy = back_up(&database);
    database.execute("UPDATE api_keys SET name = 'in the log'").unwrap();
    fs::rename(&copy, database.url()).unwrap();
    for _ in 0..2 {
        let error = reader.try_read().unwrap_err().to_string();
        assert!(error.contains("was replaced while its log"), "{error}");
        let error = DieselStore::open(database.url()).unwrap_err().to_string();
        assert!(error.contains("remove the -wal and -shm files"), "{error}");
    }
    remove_logs(&database);
    assert_eq!(reader.read(), Seen::Everything);
    assert_eq!(database.texts("SELECT name FROM api_keys"), ["n"], "the new file is intact");
}

// E8
#[test]
fn a_backup_copied_over_the_file_is_detected() {
    let database = migrated();
    insert(&database, 1);
    let mut reader = Reader::new(&database);
    let copy = back_up(&database);
    insert(&database, 2);
    reader.read();
    // The file is overwritten in place, and its write-ahead log is deleted, while the reader has
    // both of them open. SQLite may report a damaged file. That error is correct too, because a
    // failed read does not renew the lease.
    remove_logs(&database);
    fs::write(database.url(), fs::read(copy).unwrap()).unwrap();
    if let Ok(seen) = reader.try_read() {
        assert_eq!(seen, Seen::Everything);
    }
}

// E8
#[test]
fn a_restored_backup_means_everything_changed() {
    let database = migrated();
    insert(&database, 1);
    let backup = back_up(&database);
    insert(&database, 2);
    let mut reader = Reader::new(&database);
    // Restores in place, as the backup API does: the file stays the same, and sequence numbers
    // continue from the last number of the backup.
    let restore = |then: &str| {
        database
            .execute(&format!(
                "ATTACH '{backup}' AS backup; BEGIN IMMEDIATE; \
                 DELETE FROM main.api_keys; DELETE FROM main.api_key_changes; \
                 INSERT INTO main.api_keys SELECT * FROM backup.api_keys; DELETE FROM main.api_key_changes; \
                 INSERT INTO main.api_key_changes SELECT * FROM backup.api_key_changes; \
                 UPDATE sqlite_sequence SET seq = (SELECT max(seq) FROM main.api_key_changes) WHERE name = 'api_key_changes'; \
                 {then} COMMIT"
            ))
            .unwrap();
    };
    restore("");
    assert_eq!(reader.read(), Seen::Everything, "fewer numbers");
    insert(&database, 3);
    reader.read();
    restore(&format!("{};", super::insertion(&database, &"4".repeat(64))));
    assert_eq!(reader.read(), Seen::Everything, "the same number, another token");
    reader.read();
    restore(&format!(
        "{}; {};",
        super::insertion(&database, &"5".repeat(64)),
        super::insertion(&database, &"6".repeat(64))
    ));
    assert_eq!(reader.read(), Seen::Everything, "more numbers");
    assert_eq!(reader.read(), nothing());
}

// E8
#[test]
fn a_log_with_pruned_rows_means_everything_changed() {
    let database = migrated();
    let prune = |rows: &str| {
        database.execute(&format!("DELETE FROM api_key_changes WHERE {rows}")).unwrap();
    };
    insert(&database, 1);
    let mut reader = Reader::new(&database);
    prune("true");
    assert_eq!(reader.read(), Seen::Everything, "the last row that was read is gone");
    assert_eq!(reader.read(), nothing(), "the log is empty");
    let digest = insert(&database, 2);
    assert_eq!(reader.read(), keys([&digest]), "the first row after an empty log");
    prune("true");
    reader.read();
    for number in 3..6 {
        insert(&database, number);
    }
    prune("seq IN (SELECT min(seq) FROM api_key_changes)");
    assert_eq!(reader.read(), Seen::Everything, "an unread row was pruned");
}

// E8
#[test]
fn a_rebuilt_table_needs_triggers_and_counts_as_changed() {
    let database = migrated();
    insert(&database, 1);
    let mut reader = Reader::new(&database);
    let triggers = database.texts(
        "SELECT sql || ';' FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'api_keys'",
    );
    let rebuild = "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; BEGIN; \
        CREATE TABLE new_keys (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE, digest_algorithm TEXT NOT NULL, \
            hint TEXT NOT NULL, name TEXT NOT NULL, owner TEXT, allowed_ips TEXT NOT NULL, scopes TEXT NOT NULL DEFAULT '', \
            created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, expires_at TIMESTAMP, disabled_at TIMESTAMP, revoked_at TIMESTAMP, replaced_by BIGINT); \
        INSERT INTO new_keys SELECT * FROM api_keys; \
        DROP TABLE api_keys; \
        ALTER TABLE new_keys RENAME TO api_keys;";
    database.execute(&format!("{rebuild} COMMIT")).unwrap();
    for _ in 0..2 {
        let error = reader.try_read().unwrap_err().to_string();
        assert!(error.contains("the trigger api_keys_"), "{error}");
    }
    database.execute(&triggers.concat()).unwrap();
    assert_eq!(reader.read(), Seen::Everything);
    database.execute(&format!("{rebuild} {} COMMIT", triggers.concat())).unwrap();
    assert_eq!(reader.read(), Seen::Everything, "rebuilt with its triggers");
    assert_eq!(reader.read(), nothing());
}

// E8
#[test]
fn a_link_to_another_file_means_everything_changed() {
    let (one, other) = (migrated(), migrated());
    insert(&one, 1);
    let link = format!("{}.link", one.url());
    std::os::unix::fs::symlink(one.url(), &link).unwrap();
    let mut reader = Reader::at(&link);
    assert_eq!(reader.read(), nothing());
    let digest = insert(&one, 2);
    assert_eq!(reader.read(), keys([&digest]));
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(other.url(), &link).unwrap();
    assert_eq!(reader.read(), Seen::Everything);
    let digest = insert(&other, 3);
    assert_eq!(reader.read(), keys([&digest]));
}
