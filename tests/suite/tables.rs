//! The tables: what their triggers log, what they refuse, and that many may migrate at once.

use std::thread;

use api_key_runtime::AppKeys;

use crate::support::{Database, database_test};

/// The digests logged since the last call, as hex, `everything` for null, oldest first.
fn logged(database: &Database) -> Vec<String> {
    let hex = if database.is_postgres() {
        "encode(digest, 'hex')"
    } else {
        "lower(hex(digest))"
    };
    let entries = database.texts(&format!("SELECT CASE WHEN digest IS NULL THEN 'everything' ELSE {hex} END FROM api_key_changes ORDER BY seq"));
    database.execute("DELETE FROM api_key_changes").unwrap();
    entries
}

fn digest_of(database: &Database, id: i64) -> String {
    let hex = if database.is_postgres() {
        "encode(digest, 'hex')"
    } else {
        "lower(hex(digest))"
    };
    database
        .texts(&format!("SELECT {hex} FROM api_keys WHERE id = {id}"))
        .remove(0)
}

// F14
database_test!(
    ten_may_migrate_a_fresh_database_at_once,
    |database: Database| {
        thread::scope(|scope| {
            let ran: Vec<_> = (0..10)
                .map(|_| scope.spawn(|| AppKeys::migrate(database.url())))
                .collect();
            let ran: Vec<usize> = ran
                .into_iter()
                .map(|thread| thread.join().unwrap().unwrap().len())
                .collect();
            assert_eq!(
                ran.iter().filter(|versions| **versions > 0).count(),
                1,
                "one of them ran the migrations: {ran:?}"
            );
        });
        database.builder().build().unwrap();
        assert!(
            AppKeys::migrate(database.url()).unwrap().is_empty(),
            "nothing is left to run"
        );
    }
);

// E6
database_test!(
    every_change_that_can_alter_a_verdict_is_logged_also_by_direct_sql,
    |database: Database| {
        let admin = database.admin();
        let (_, id) = database.issue("0.0.0.0");
        let digest = digest_of(&database, id);
        assert_eq!(logged(&database), [digest.as_str()], "issuing");
        admin.disable(id).unwrap();
        assert_eq!(logged(&database), [digest.as_str()], "disabling");
        admin.enable(id).unwrap();
        assert_eq!(logged(&database), [digest.as_str()], "enabling");
        let changes = [
            "allowed_ips = '10.0.0.1'",
            "scopes = 'a'",
            "expires_at = '2027-01-01 00:00:00+00:00'",
            "name = 'other'",
            "owner = 'me'",
            "digest_key = 'hmac-sha256:0123456789abcdef'",
            "revoked_at = '2026-01-01 00:00:00+00:00'",
        ];
        for change in changes {
            database
                .execute(&format!("UPDATE api_keys SET {change} WHERE id = {id}"))
                .unwrap();
            assert_eq!(logged(&database), [digest.as_str()], "{change}");
        }
        database
            .execute("UPDATE api_keys SET name = 'nobody' WHERE id = -1")
            .unwrap();
        assert!(
            logged(&database).is_empty(),
            "nothing changed, nothing logged"
        );
        database
            .execute(&format!("DELETE FROM api_keys WHERE id = {id}"))
            .unwrap();
        assert_eq!(logged(&database), [digest], "deleting");
    }
);

// E4
database_test!(
    the_database_refuses_to_clear_a_revocation,
    |database: Database| {
        let (_, id) = database.issue("0.0.0.0");
        database.admin().revoke(id).unwrap();
        let before = database.rows();
        for change in [
            "revoked_at = NULL",
            "revoked_at = '2030-01-01 00:00:00+00:00'",
        ] {
            let refusal = database
                .execute(&format!("UPDATE api_keys SET {change} WHERE id = {id}"))
                .unwrap_err();
            assert!(refusal.contains("revocation is final"), "{refusal}");
        }
        assert_eq!(database.rows(), before);
    }
);

// E9
#[test]
fn a_bulk_change_on_postgres_is_one_entry_for_everything() {
    let database = Database::postgres();
    database.migrate();
    let insert = |from: u32, to: u32| {
        database
            .execute(&format!(
                "INSERT INTO api_keys (digest, digest_key, hint, name, allowed_ips) \
                 SELECT sha256(n::text::bytea), 'sha256', 'h', 'n', '0.0.0.0' FROM generate_series({from}, {to}) n"
            ))
            .unwrap();
    };
    insert(1, 64);
    assert_eq!(logged(&database).len(), 64);
    insert(65, 129);
    assert_eq!(logged(&database), ["everything"]);
    database
        .execute("UPDATE api_keys SET revoked_at = now()")
        .unwrap();
    assert_eq!(logged(&database), ["everything"]);
    database.execute("TRUNCATE api_keys CASCADE").unwrap();
    assert_eq!(logged(&database), ["everything"]);
}

// E9
#[test]
fn a_replaced_row_on_sqlite_is_logged_and_a_revoked_one_is_not_replaced() {
    let database = Database::sqlite();
    let (_, id) = database.issue("0.0.0.0");
    let old = digest_of(&database, id);
    logged(&database);
    let other = "aa".repeat(32);
    let replace = |id: i64| {
        database.execute(&format!("INSERT OR REPLACE INTO api_keys (id, digest, digest_key, hint, name, allowed_ips) VALUES ({id}, x'{other}', 'sha256', 'h', 'n', '0.0.0.0')"))
    };
    replace(id).unwrap();
    let entries = logged(&database);
    assert!(
        entries.contains(&old) && entries.contains(&other),
        "{entries:?}"
    );
    database
        .execute(&format!(
            "UPDATE api_keys SET revoked_at = '2026-01-01 00:00:00+00:00' WHERE id = {id}"
        ))
        .unwrap();
    assert!(replace(id).unwrap_err().contains("revocation is final"));
}
