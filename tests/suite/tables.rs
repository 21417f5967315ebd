//! The tables: which changes their triggers log, which values they reject, and concurrent
//! migrations.

use std::{sync::Barrier, thread};

use api_key_runtime::{
    AppKeys, ScopeSet,
    admin::{ListKeys, NewKey},
    migrations,
    store::{DieselStore, KeyStore as _},
};
use chrono::{DateTime, TimeDelta, Utc};
use diesel::{Connection as _, PgConnection, connection::SimpleConnection as _};

use crate::support::{Database, database_test, fixtures::moment, markdown};

/// Returns the digests logged since the last call, oldest first: as hex, or `everything` for null.
fn logged(database: &Database) -> Vec<String> {
    // On Postgres, the migration added the first row, which is left out here.
    let (hex, new) = if database.is_postgres() {
        (
            "encode(digest, 'hex')",
            "xid <> (SELECT min(xid::text::bigint)::text::xid8 FROM api_key_changes)",
        )
    } else {
        ("lower(hex(digest))", "true")
    };
    let order = if database.is_postgres() { "xid, ctid" } else { "seq" };
    let entries = database.texts(&format!(
        "SELECT CASE WHEN digest IS NULL THEN 'everything' ELSE {hex} END FROM api_key_changes WHERE {new} ORDER BY {order}"
    ));
    database.execute(&format!("DELETE FROM api_key_changes WHERE {new}")).unwrap();
    entries
}

fn digest_of(database: &Database, id: i64) -> String {
    let hex = if database.is_postgres() { "encode(digest, 'hex')" } else { "lower(hex(digest))" };
    database.texts(&format!("SELECT {hex} FROM api_keys WHERE id = {id}")).remove(0)
}

// F14
database_test!(ten_callers_may_migrate_a_fresh_database_at_once, |database: Database| {
    thread::scope(|scope| {
        let ran: Vec<_> =
            (0..10).map(|_| scope.spawn(|| migrations::run(database.url()))).collect();
        let ran: Vec<usize> =
            ran.into_iter().map(|thread| thread.join().unwrap().unwrap().len()).collect();
        assert_eq!(
            ran.iter().filter(|versions| **versions > 0).count(),
            1,
            "one of them ran the migrations: {ran:?}"
        );
    });
    database.builder().build().unwrap();
    assert!(migrations::run(database.url()).unwrap().is_empty(), "nothing is left to run");
});

// F14
database_test!(ten_callers_may_migrate_beside_other_migrations, |database: Database| {
    // The table that an application's own Diesel migrations have created.
    database
            .execute(
                "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP); \
                 INSERT INTO __diesel_schema_migrations (version) VALUES ('20260101000000')",
            )
            .unwrap();
    let start = Barrier::new(10);
    let ran: Vec<usize> = thread::scope(|scope| {
        let ran: Vec<_> = (0..10)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    migrations::run(database.url()).unwrap().len()
                })
            })
            .collect();
        ran.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ran.iter().filter(|versions| **versions > 0).count(), 1, "{ran:?}");
    database.builder().build().unwrap();
});

// E6
database_test!(every_relevant_change_is_logged_even_by_plain_sql, |database: Database| {
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
        "digest_algorithm = 'hmac-sha256:0123456789abcdef'",
        "disabled_at = '2026-01-01 00:00:00+00:00'",
    ];
    for change in changes {
        database.execute(&format!("UPDATE api_keys SET {change} WHERE id = {id}")).unwrap();
        assert_eq!(logged(&database), [digest.as_str()], "{change}");
    }
    let other = "cd".repeat(32);
    let literal =
        if database.is_postgres() { format!("'\\x{other}'") } else { format!("x'{other}'") };
    database.execute(&format!("UPDATE api_keys SET digest = {literal} WHERE id = {id}")).unwrap();
    let mut entries = logged(&database);
    entries.sort();
    let mut both = vec![digest.clone(), other.clone()];
    both.sort();
    assert_eq!(entries, both, "the old key and the new one");
    let digest = other;
    database.execute("UPDATE api_keys SET name = 'nobody' WHERE id = -1").unwrap();
    assert!(logged(&database).is_empty(), "nothing changed, nothing logged");
    database
        .execute(&format!(
            "UPDATE api_keys SET revoked_at = '2026-01-01 00:00:00+00:00' WHERE id = {id}"
        ))
        .unwrap();
    assert_eq!(logged(&database), [digest.as_str()], "revoking");
    database.execute(&format!("DELETE FROM api_keys WHERE id = {id}")).unwrap();
    assert_eq!(logged(&database), [digest.as_str()], "deleting");
    let (_, active) = database.issue("0.0.0.0");
    let digest = digest_of(&database, active);
    logged(&database);
    database.execute(&format!("DELETE FROM api_keys WHERE id = {active}")).unwrap();
    assert_eq!(logged(&database), [digest], "deleting an active one");
});

// E14
#[test]
fn times_that_sqlite_writes_itself_are_accepted() {
    let database = Database::sqlite();
    let (_, id) = database.issue("0.0.0.0");
    database
        .execute(
            "UPDATE api_keys SET expires_at = datetime('now', '+1 day'), disabled_at = datetime('now'), revoked_at = CURRENT_TIMESTAMP",
        )
        .unwrap();
    let record = database.admin().get(id).unwrap();
    let now = Utc::now();
    let is_now = |time: Option<DateTime<Utc>>| (now - time.unwrap()).abs() < TimeDelta::minutes(1);
    assert!(is_now(record.revoked_at) && is_now(record.disabled_at), "{record:?}");
    assert!(is_now(record.expires_at.map(|end| end - TimeDelta::days(1))), "{record:?}");
    for wrong in
        ["2026-11-30T10:00:00", "2026-11-30 10:00", "2026-02-30 10:00:00", "1899-01-01 00:00:00"]
    {
        assert!(
            database.execute(&format!("UPDATE api_keys SET expires_at = '{wrong}'")).is_err(),
            "{wrong}"
        );
    }
}

// E4
database_test!(the_database_refuses_to_clear_a_revocation, |database: Database| {
    let (_, id) = database.issue("0.0.0.0");
    database.admin().revoke(id).unwrap();
    let before = database.rows();
    let other = "ab".repeat(32);
    let (digest, renumber) = if database.is_postgres() {
        (format!("digest = '\\x{other}'"), "id = DEFAULT")
    } else {
        (format!("digest = x'{other}'"), "id = 4711")
    };
    // With another digest or id, the row would no longer record that this key is revoked.
    for change in [
        "revoked_at = NULL",
        "revoked_at = '2030-01-01 00:00:00+00:00'",
        "revoked_at = NULL, disabled_at = '2026-01-01 00:00:00+00:00'",
        digest.as_str(),
        renumber,
    ] {
        let rejection =
            database.execute(&format!("UPDATE api_keys SET {change} WHERE id = {id}")).unwrap_err();
        assert!(rejection.contains("revocation is final"), "{rejection}");
    }
    assert_eq!(database.rows(), before);
});

database_test!(the_table_holds_the_scopes_that_can_be_issued, |database: Database| {
    let (_, id) = database.issue("0.0.0.0");
    let every = ('\x21'..='\x7E').filter(|character| !r#""\,*"#.contains(*character));
    let every = every.collect::<String>().replace('\'', "''");
    let longest = "a".repeat(4000);
    let too_long = "a".repeat(4001);
    for (scopes, holds) in [
        ("", true),
        ("cakes:read cakes:write", true),
        (&every, true),
        (&longest, true),
        (&too_long, false),
        ("a,b", false),
        ("a *", false),
        ("cakes:*", false),
        ("a\"b", false),
        ("a\\b", false),
        ("a  b", false),
        (" a", false),
        ("\u{e9}", false),
    ] {
        assert_eq!(scopes.replace("''", "'").parse::<ScopeSet>().is_ok(), holds, "{scopes}");
        let update = format!("UPDATE api_keys SET scopes = '{scopes}' WHERE id = {id}");
        assert_eq!(database.execute(&update).is_ok(), holds, "{scopes}");
    }
});

// E9
#[test]
fn a_bulk_change_on_postgres_is_one_entry_for_everything() {
    let database = Database::postgres();
    database.migrate();
    let insert = |from: u32, to: u32| {
        database
            .execute(&format!(
                "INSERT INTO api_keys (digest, digest_algorithm, hint, name, allowed_ips) \
                 SELECT sha256(n::text::bytea), 'sha256', 'h', 'n', '0.0.0.0' FROM generate_series({from}, {to}) n"
            ))
            .unwrap();
    };
    insert(1, 64);
    assert_eq!(logged(&database).len(), 64);
    insert(65, 129);
    assert_eq!(logged(&database), ["everything"]);
    database.execute("UPDATE api_keys SET revoked_at = now()").unwrap();
    assert_eq!(logged(&database), ["everything"]);
    database.execute("TRUNCATE api_keys CASCADE").unwrap();
    assert_eq!(logged(&database), ["everything"]);
}

// E9
#[test]
fn replacing_a_row_on_sqlite_is_logged_or_rejected() {
    let database = Database::sqlite();
    let (_, id) = database.issue("0.0.0.0");
    let old = digest_of(&database, id);
    logged(&database);
    let other = "aa".repeat(32);
    let replace = |id: i64| {
        database.execute(&format!("INSERT OR REPLACE INTO api_keys (id, digest, digest_algorithm, hint, name, allowed_ips) VALUES ({id}, x'{other}', 'sha256', 'h', 'n', '0.0.0.0')"))
    };
    replace(id).unwrap();
    let entries = logged(&database);
    assert!(entries.contains(&old) && entries.contains(&other), "{entries:?}");
    database
        .execute(&format!(
            "UPDATE api_keys SET revoked_at = '2026-01-01 00:00:00+00:00' WHERE id = {id}"
        ))
        .unwrap();
    assert!(replace(id).unwrap_err().contains("revocation is final"));
    // Replaces the same row by its id alone, and by its digest alone.
    for (id, digest) in [(id, "bb".repeat(32)), (id + 100, other.clone())] {
        let rejection = database
            .execute(&format!("INSERT OR REPLACE INTO api_keys (id, digest, digest_algorithm, hint, name, allowed_ips) VALUES ({id}, x'{digest}', 'sha256', 'h', 'n', '0.0.0.0')"))
            .unwrap_err();
        assert!(rejection.contains("revocation is final"), "{rejection}");
    }
}

/// Returns the guide's statements that grant a service's role the privileges it needs.
fn documented_grants(role: &str) -> String {
    let operations = include_str!("../../api-key-runtime/guide/operations.md");
    let grants = markdown::blocks_in(operations, "sql")[0];
    assert_eq!(grants.matches("GRANT").count(), 6, "{grants}");
    grants.replace("TO service", &format!("TO {role}"))
}

/// Creates a role for one test with exactly the documented privileges, and returns the URL for it.
pub(crate) fn role_with_the_documented_grants(database: &Database) -> String {
    let (place, name) = database.url().rsplit_once('/').unwrap();
    let role = format!("role_{name}");
    database.execute(&format!("CREATE ROLE {role} LOGIN; {}", documented_grants(&role))).unwrap();
    let (scheme, rest) = place.split_once("://").unwrap();
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{role}@{host}/{name}")
}

// E9
#[test]
fn a_role_with_the_documented_grants_serves_and_administers() {
    let database = Database::postgres();
    database.migrate();
    let url = role_with_the_documented_grants(&database);
    let keys = AppKeys::builder().database_url(&url).build().unwrap();
    let admin = keys.admin().unwrap();
    let issued = admin.issue(&NewKey::new("granted").allow_any()).unwrap();
    assert_eq!(logged(&database).len(), 1, "logged for a role that may not write the log");
    let id = issued.record.id;
    admin.disable(id).unwrap();
    admin.enable(id).unwrap();
    admin.revoke(id).unwrap();
    assert_eq!(logged(&database).len(), 3);
    assert_eq!(admin.list(&ListKeys::new()).unwrap().len(), 1);
    assert_eq!(DieselStore::open(&url).unwrap().find(&[issued.record.digest]).unwrap().len(), 1);
    let as_role = |sql: &str| {
        PgConnection::establish(&url).unwrap().batch_execute(sql).map_err(|error| error.to_string())
    };
    for forbidden in [
        "DELETE FROM api_keys",
        "INSERT INTO api_key_changes DEFAULT VALUES",
        "DELETE FROM api_key_changes",
        "ALTER TABLE api_keys DISABLE TRIGGER ALL",
        "TRUNCATE api_keys CASCADE",
        "CREATE TEMPORARY TABLE own (digest bytea); CREATE TRIGGER forge AFTER TRUNCATE ON own EXECUTE FUNCTION api_keys_log_changes()",
    ] {
        assert!(as_role(forbidden).is_err(), "{forbidden}");
    }
    // A role can try to shadow the names that the triggers use, by its search path or by temporary
    // tables. The changes must still be logged.
    let (_, id) = database.issue("0.0.0.0");
    logged(&database);
    let digest = digest_of(&database, id);
    let schema = "public";
    for hostile in [
        "SET search_path = ''".to_owned(),
        "CREATE TEMPORARY TABLE api_key_changes (seq int, digest bytea); CREATE TEMPORARY TABLE old_rows (id int); CREATE TEMPORARY TABLE new_rows (id int)".to_owned(),
        "SET search_path = pg_temp, public; CREATE TEMPORARY TABLE pg_class (oid int)".to_owned(),
        "CREATE TEMPORARY TABLE pg_attribute (attrelid oid, attnum int2, attname name, attisdropped bool, attgenerated \"char\")".to_owned(),
    ] {
        as_role(&format!("{hostile}; UPDATE {schema}.api_keys SET scopes = scopes || 'x' WHERE id = {id}")).unwrap();
        assert_eq!(logged(&database), [digest.as_str()], "{hostile}");
    }
    database
        .execute(&format!(
            "DROP OWNED BY role_{0}; DROP ROLE role_{0}",
            database.url().rsplit_once('/').unwrap().1
        ))
        .unwrap();
}

// E9
#[test]
fn upserts_merges_and_cascades_on_postgres_are_logged() {
    let database = Database::postgres();
    database.migrate();
    let row = |n: u32| format!("(sha256('{n}'::bytea), 'sha256', 'h', 'n', '0.0.0.0')");
    let columns = "(digest, digest_algorithm, hint, name, allowed_ips)";
    database
        .execute(&format!("INSERT INTO api_keys {columns} VALUES {}, {}", row(1), row(2)))
        .unwrap();
    assert_eq!(logged(&database).len(), 2);
    database.execute(&format!("INSERT INTO api_keys {columns} VALUES {}, {} ON CONFLICT (digest) DO UPDATE SET scopes = 'a'", row(2), row(3))).unwrap();
    assert_eq!(logged(&database).len(), 2, "one inserted, one updated");
    database
        .execute(&format!(
            "INSERT INTO api_keys {columns} VALUES {} ON CONFLICT DO NOTHING",
            row(1)
        ))
        .unwrap();
    assert!(logged(&database).is_empty());
    let version: u32 =
        database.texts("SELECT current_setting('server_version_num')").remove(0).parse().unwrap();
    if version >= 150_000 {
        database.execute("MERGE INTO api_keys USING (VALUES ('n')) AS v(name) ON api_keys.name = v.name WHEN MATCHED THEN UPDATE SET scopes = 'merged'").unwrap();
        assert_eq!(logged(&database).len(), 3);
    }
    database
        .execute("CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users VALUES (1); ALTER TABLE api_keys ADD COLUMN user_id int REFERENCES users ON DELETE CASCADE, ADD COLUMN extra json; UPDATE api_keys SET user_id = 1, extra = '{\"a\": \"\\u0000\"}'")
        .unwrap();
    assert_eq!(logged(&database).len(), 3, "a change of the application's own column is logged");
    database.execute("UPDATE api_keys SET hint = 'other'").unwrap();
    assert!(logged(&database).is_empty(), "the hint has no effect on authorization");
    database.execute("DELETE FROM users").unwrap();
    assert_eq!(logged(&database).len(), 3, "cascaded");
    database
        .execute(&format!("INSERT INTO api_keys {columns} SELECT sha256(n::text::bytea), 'sha256', 'h', 'n', '0.0.0.0' FROM generate_series(1, 100000) n"))
        .unwrap();
    assert_eq!(logged(&database), ["everything"]);
    database.execute("UPDATE api_keys SET revoked_at = now()").unwrap();
    assert_eq!(logged(&database), ["everything"], "100 000 revoked at once");
}

// E5
database_test!(an_expiry_written_by_sql_is_exact_to_the_microsecond, |database: Database| {
    let (_, id) = database.issue("0.0.0.0");
    let admin = database.admin();
    let update = |time: &str| {
        database.execute(&format!("UPDATE api_keys SET expires_at = '{time}' WHERE id = {id}"))
    };
    let end = moment().format("%Y-%m-%d %H:%M:%S%.6f");
    if database.is_postgres() {
        let two_hours_east = moment() + TimeDelta::hours(2);
        update(&format!("{}+02:00", two_hours_east.format("%Y-%m-%d %H:%M:%S%.6f"))).unwrap();
    } else {
        // The table accepts a fraction of a second only with the zone +00:00. A time in another
        // zone could be misread.
        for other in [
            format!("{end}+02:00"),
            format!("{end}"),
            format!("{end}Z"),
            "2026-02-30 00:00:00+00:00".to_owned(),
            "soon".to_owned(),
        ] {
            assert!(update(&other).unwrap_err().contains("CHECK"), "{other}");
        }
        update(&format!("{end}+00:00")).unwrap();
    }
    assert_eq!(admin.get(id).unwrap().expires_at, Some(moment()));
    for bad in ["infinity", "-infinity", "9999-13-01 00:00:00+00:00"] {
        assert!(update(bad).is_err(), "{bad}");
    }
    assert_eq!(admin.get(id).unwrap().expires_at, Some(moment()));
});
