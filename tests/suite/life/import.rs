//! Import of keys from another system: all rows in one transaction, or none.

use std::thread;

use api_key_runtime::{
    AppKeys, Error,
    admin::{Admin, ImportProgress, ImportReport, ImportedKey, KeyState, SourceTable},
};
use diesel::{
    Connection as _, PgConnection, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _,
    dsl::sql,
    r2d2::{ConnectionManager, Pool},
    sql_types::BigInt,
};
use sha2::{Digest as _, Sha256};

use crate::{
    support::{
        Database, Server, database_test, guarded_routes, hex, http,
        recipe::{self, KEYS},
        wait_until,
    },
    tables::role_with_the_documented_grants,
};

const PEPPER: &str = "q1oJ5sVxCw0dQm3pN8yZkT2uB7hL4fEaG6iR9nXcYtM=";

fn admin(database: &Database) -> Admin {
    database.migrate().builder().accept_imported_keys(true).build_admin().unwrap()
}

/// Returns a key in the form of a UUID.
fn uuid(number: u32) -> String {
    let digest = Sha256::digest(number.to_be_bytes());
    let hex = hex(&digest);
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30])
}

fn keys(count: u32) -> impl Iterator<Item = (u64, Result<ImportedKey, Error>)> {
    (1..=count).map(|number| (u64::from(number), Ok(ImportedKey::new(uuid(number)).allow_any())))
}

/// Imports rows. Returns the number of each refused row with the reason, and the result.
fn import(
    admin: &Admin,
    rows: impl IntoIterator<Item = (u64, Result<ImportedKey, Error>)>,
) -> (Vec<(u64, String)>, Result<ImportReport, Error>) {
    let mut refused = Vec::new();
    let imported = admin.import(rows, |progress| {
        if let ImportProgress::Refused { row, reason, .. } = progress {
            refused.push((row, reason.to_owned()));
        }
    });
    (refused, imported)
}

fn events(database: &Database) -> Vec<String> {
    database.texts("SELECT action || ' ' || key_count FROM api_key_events ORDER BY happened_at")
}

// A9, I3
database_test!(an_imported_key_has_the_settings_of_its_row, |database: Database| {
    let admin = admin(&database);
    let end = "2400-01-31T12:00:00Z".parse().unwrap();
    let key = ImportedKey::new(KEYS[0])
        .name("billing")
        .allow("10.0.0.0/8")
        .unwrap()
        .scopes("cakes:read")
        .unwrap()
        .owner("ada")
        .expires_at(end);
    let digest = ImportedKey::from_sha256(Sha256::digest(KEYS[1]).into()).allow_any();
    let past =
        ImportedKey::new(KEYS[2]).allow_any().expires_at("2020-01-01T00:00:00Z".parse().unwrap());
    let report = import(&admin, [(2, Ok(key)), (3, Ok(digest)), (4, Ok(past))]).1.unwrap();
    assert_eq!((report.imported, report.existing, report.pruned), (3, 0, 0));
    let [billing, other, past] = KEYS.map(|key| admin.find_by_secret(key).unwrap().unwrap());
    assert_eq!((billing.name.as_str(), billing.hint.as_str()), ("billing", "rAdk"));
    assert_eq!((billing.owner.as_deref(), billing.expires_at), (Some("ada"), Some(end)));
    assert_eq!(
        (billing.allowed_ips.as_str(), billing.scopes.as_str()),
        ("10.0.0.0/8", "cakes:read")
    );
    assert_eq!((other.name.as_str(), other.hint.as_str()), ("imported", ""));
    assert_eq!(past.state(admin.now()), KeyState::Expired);
    assert_eq!([billing.id, other.id, past.id], [1, 2, 3], "the order is that of the rows");
});

// A9
database_test!(importing_again_changes_nothing, |database: Database| {
    let admin = admin(&database);
    assert_eq!(import(&admin, keys(100)).1.unwrap().imported, 100);
    admin.disable(7).unwrap();
    let before = (database.rows(), events(&database));
    let again = import(&admin, keys(100)).1.unwrap();
    assert_eq!((again.imported, again.existing), (0, 100));
    assert_eq!((database.rows(), events(&database)), before);
    let more = import(&admin, keys(101)).1.unwrap();
    assert_eq!((more.imported, more.existing), (1, 100));
    assert_eq!(events(&database), ["imported 100", "disabled 1", "imported 1"]);
});

// A9, I7
database_test!(revoked_and_pruned_keys_are_not_revived, |database: Database| {
    let admin = admin(&database);
    import(&admin, keys(3)).1.unwrap();
    admin.revoke(1).unwrap();
    database
        .execute("INSERT INTO api_key_pruned (key_id, digest) SELECT id, digest FROM api_keys WHERE id = 2; DELETE FROM api_keys WHERE id = 2")
        .unwrap();
    let before = database.rows();
    let again = import(&admin, keys(3)).1.unwrap();
    assert_eq!((again.imported, again.existing, again.pruned), (0, 2, 1));
    assert_eq!(database.rows(), before);
    assert!(admin.find_by_secret(&uuid(1)).unwrap().unwrap().revoked_at.is_some());
    assert!(admin.find_by_secret(&uuid(2)).unwrap().is_none());
});

// A9, I7
database_test!(a_key_under_the_previous_pepper_is_not_imported, |database: Database| {
    let plain = admin(&database);
    import(&plain, keys(3)).1.unwrap();
    plain.revoke(1).unwrap();
    let prune =
        "INSERT INTO api_key_pruned (key_id, digest) SELECT id, digest FROM api_keys WHERE id = 3";
    database.execute(&format!("{prune}; DELETE FROM api_keys WHERE id = 3")).unwrap();
    let builder = database.builder().accept_imported_keys(true).pepper(PEPPER);
    // Starting a service with the pepper changes the digest algorithm of the table.
    drop(builder.previous_pepper("none").build().unwrap());
    let builder = database.builder().accept_imported_keys(true).pepper(PEPPER);
    let admin = builder.previous_pepper("none").build_admin().unwrap();
    let again = import(&admin, keys(4)).1.unwrap();
    assert_eq!((again.imported, again.existing, again.pruned), (1, 2, 1));
    assert!(admin.find_by_secret(&uuid(1)).unwrap().unwrap().revoked_at.is_some());
    // Without the pepper of the table, nothing can be imported.
    let error = import(&plain, keys(5)).1.unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("another pepper"), "{error}");
});

// I3
database_test!(one_refused_row_refuses_all_rows, |database: Database| {
    let admin = admin(&database);
    let bad = |row, key: ImportedKey| (row, Ok(key));
    let rows = keys(5000).chain([
        bad(5001, ImportedKey::new("two words 0123456789abcdef").allow_any()),
        bad(5002, ImportedKey::new(uuid(5002))),
        (5003, ImportedKey::new(uuid(5003)).allow("10.0.0.300")),
        bad(5004, ImportedKey::new(uuid(5004)).allow_any()),
    ]);
    let (refused, imported) = import(&admin, rows);
    let rows: Vec<u64> = refused.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, [5001, 5002, 5003]);
    let error = imported.unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
    assert!(error.to_string().contains("3 of 5004 rows"), "{error}");
    assert!(database.rows().is_empty() && events(&database).is_empty());
    // The failed import left nothing behind on its connection.
    assert_eq!(import(&admin, keys(5000)).1.unwrap().imported, 5000);
});

// I3
database_test!(a_key_in_two_rows_is_refused, |database: Database| {
    let admin = admin(&database);
    let twice = |row| (row, ImportedKey::new(uuid(2)).allow("10.0.0.1"));
    let (refused, imported) = import(&admin, keys(3).chain([twice(4), twice(5)]));
    assert_eq!(refused.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [4, 5]);
    assert!(refused[0].1.contains("an earlier row has the same key"), "{refused:?}");
    assert!(imported.unwrap_err().to_string().contains("2 of 5 rows"));
    assert!(database.rows().is_empty());
});

// I3
database_test!(a_setting_that_a_key_needs_ends_the_import, |database: Database| {
    let strict = database.admin();
    let native = strict.issue(&api_key_runtime::admin::NewKey::new("n").allow_any()).unwrap();
    let native = || (1, Ok(ImportedKey::new(native.secret.expose_secret()).allow_any()));
    assert_eq!(import(&strict, [native()]).1.unwrap().existing, 1, "native keys need no setting");
    let (refused, imported) = import(&strict, [native()].into_iter().chain(keys(2)));
    assert!(refused.is_empty(), "the settings are wrong, not the row");
    let error = imported.unwrap_err();
    assert!(
        error.is_config() && error.to_string().contains("APP_KEY_ACCEPT_IMPORTED=1"),
        "{error}"
    );
    assert_eq!(database.rows().len(), 1);
});

// I3
database_test!(a_dry_run_imports_nothing, |database: Database| {
    let admin = admin(&database);
    recipe::create(&database, &[(KEYS[0], "0.0.0.0", "floor 3")]);
    let table = SourceTable::new("api_auth", "key").ip_column("ip").erase_plaintext();
    let report = admin.clone().dry_run().import_table(&table, |_| ()).unwrap();
    assert_eq!((report.imported, report.erased), (1, 1));
    assert!(database.rows().is_empty() && events(&database).is_empty());
    assert_eq!(database.texts("SELECT key FROM api_auth"), [KEYS[0]]);
});

// A9: The keys are read, imported and erased in one transaction.
database_test!(a_table_whose_keys_cannot_be_null_is_erased, |database: Database| {
    let admin = admin(&database);
    database
        .execute(&format!(
            "CREATE TABLE \"old Keys\" (\"the key\" VARCHAR(60) NOT NULL UNIQUE, ip TEXT, n TEXT); \
             INSERT INTO \"old Keys\" VALUES ('{}', '0.0.0.0', 'floor 3'), ('{}', '10.0.0.1', NULL)",
            KEYS[0], KEYS[1]
        ))
        .unwrap();
    let table = SourceTable::new("old Keys", "the key").ip_column("ip").name_column("n");
    let report = admin.import_table(&table, |_| ()).unwrap();
    assert_eq!((report.imported, report.erased), (2, 0));
    let erasing = table.clone().erase_plaintext();
    let report = admin.import_table(&erasing, |_| ()).unwrap();
    assert_eq!((report.imported, report.existing, report.erased), (0, 2, 2));
    let left = database.texts("SELECT \"the key\" FROM \"old Keys\"");
    assert!(left.iter().all(|key| key.starts_with("erased-") && key.len() == 39), "{left:?}");
    assert_ne!(left[0], left[1]);
    let before = database.rows();
    for table in [&table, &erasing] {
        let report = admin.import_table(table, |_| ()).unwrap();
        assert_eq!((report.imported, report.blank, report.erased), (0, 2, 0));
    }
    assert_eq!(database.rows(), before);
    assert_eq!(database.texts("SELECT \"the key\" FROM \"old Keys\""), left);
});

// I3
database_test!(a_row_of_a_table_is_known_by_its_primary_key, |database: Database| {
    let admin = admin(&database);
    let rows = [(KEYS[0], "0.0.0.0", "a"), ("bad key", "0.0.0.0", "b"), (KEYS[1], KEYS[1], "c")];
    recipe::create(&database, &rows);
    database.execute("UPDATE api_auth SET id = id + 40").unwrap();
    let table = SourceTable::new("api_auth", "key").ip_column("ip").erase_plaintext();
    let mut refused = Vec::new();
    let error = admin.import_table(&table, |progress| {
        if let ImportProgress::Refused { row, reason, .. } = progress {
            assert!(!reason.contains(&KEYS[1][..8]), "no reason contains a part of a row");
            refused.push(row);
        }
    });
    assert_eq!(refused, [42, 43]);
    assert!(error.unwrap_err().is_invalid_input());
    assert_eq!(database.texts("SELECT key FROM api_auth ORDER BY id"), rows.map(|row| row.0));
    for (table, column) in [("nothing", "key"), ("api_auth", "keys"), ("api_auth\" --", "key")] {
        let table = SourceTable::new(table, column).ip_column("ip");
        let error = admin.import_table(&table, |_| ()).unwrap_err();
        assert!(error.is_database(), "{error}");
    }
    assert!(database.rows().is_empty());
});

// A9, E7
database_test!(a_service_accepts_an_imported_key_at_once, |database: Database| {
    let keys = database.migrate().builder().accept_imported_keys(true).build().unwrap();
    let server = Server::start(keys.clone(), guarded_routes);
    let status = || http::get_with(server.address, "/guarded", KEYS[0]).status;
    wait_until("the feed is up to date", || keys.health().is_ready());
    assert_eq!(status(), 401, "and the process caches that the key is unknown");
    let rows = [(1, Ok(ImportedKey::new(KEYS[0]).allow_any()))];
    import(keys.admin().unwrap(), rows).1.unwrap();
    assert_eq!(status(), 200);
});

// A9
#[test]
fn a_pooled_connection_can_import_again_after_an_empty_import() {
    let database = Database::sqlite();
    database.migrate();
    let manager = ConnectionManager::<SqliteConnection>::new(database.url());
    let pool = Pool::builder().max_size(1).build(manager).unwrap();
    let builder = AppKeys::builder().sqlite_pool(pool.clone());
    let admin = builder.accept_imported_keys(true).build_admin().unwrap();
    for count in [0, 3] {
        assert_eq!(import(&admin, keys(count)).1.unwrap().imported, u64::from(count));
        let left = diesel::select(sql::<BigInt>("(SELECT count(*) FROM sqlite_temp_master)"));
        let left: i64 = left.get_result(&mut pool.get().unwrap()).unwrap();
        assert_eq!(left, 0, "temporary tables");
    }
}

// A9
#[test]
fn erasing_reports_what_a_role_or_a_reader_keeps_from_it() {
    let database = Database::postgres();
    database.migrate();
    recipe::create(&database, &[(KEYS[0], "0.0.0.0", "one")]);
    let url = role_with_the_documented_grants(&database);
    let role = url.split_once("://").unwrap().1.split_once('@').unwrap().0;
    database
        .execute(&format!(
            "GRANT SELECT, UPDATE ON api_auth TO {role}; GRANT SELECT ON api_key_pruned TO {role}; \
             GRANT TEMPORARY ON DATABASE {} TO {role}",
            database.name()
        ))
        .unwrap();
    let source = SourceTable::new("api_auth", "key").ip_column("ip").erase_plaintext();
    let admin = |url: &str| {
        AppKeys::builder().database_url(url).accept_imported_keys(true).build_admin().unwrap()
    };
    let error = admin(&url).import_table(&source, |_| ()).unwrap_err();
    assert!(error.to_string().contains("may still contain old copies"), "{error}");
    let mut reader = PgConnection::establish(database.url()).unwrap();
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM api_keys").unwrap();
    let error = admin(database.url()).import_table(&source, |_| ()).unwrap_err();
    assert!(error.to_string().contains("may still contain old copies"), "{error}");
    reader.batch_execute("COMMIT").unwrap();
    assert_eq!(admin(database.url()).import_table(&source, |_| ()).unwrap().blank, 1);
}

// A9
#[test]
fn a_key_that_another_import_just_stored_is_skipped() {
    let database = Database::postgres();
    let admin = admin(&database);
    let digest = database.literal(&hex(&Sha256::digest(uuid(1))));
    let mut other = PgConnection::establish(database.url()).unwrap();
    other
        .batch_execute(&format!(
            "BEGIN; INSERT INTO api_keys (digest, digest_algorithm, hint, name, allowed_ips) \
             VALUES ({digest}, 'sha256', 'h', 'n', '0.0.0.0')"
        ))
        .unwrap();
    let waiting = "SELECT 'waiting' FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let report = thread::scope(|scope| {
        let importing = scope.spawn(|| import(&admin, keys(2)).1.unwrap());
        wait_until("the import waits for the other transaction", || {
            !database.texts(waiting).is_empty()
        });
        other.batch_execute("COMMIT").unwrap();
        importing.join().unwrap()
    });
    assert_eq!((report.imported, report.existing), (1, 1));
}

// A9
#[test]
fn no_key_is_added_to_a_table_while_its_keys_are_erased() {
    let database = Database::postgres();
    let admin = admin(&database);
    recipe::create(&database, &[(KEYS[0], "0.0.0.0", "one")]);
    let mut other = PgConnection::establish(database.url()).unwrap();
    other.batch_execute("SET lock_timeout = '50ms'").unwrap();
    let source = SourceTable::new("api_auth", "key").ip_column("ip").erase_plaintext();
    let report = admin.import_table(&source, |progress| {
        if let ImportProgress::Read { .. } = progress {
            let error = other.batch_execute("UPDATE api_auth SET key = key || 'x'").unwrap_err();
            assert!(error.to_string().contains("lock timeout"), "{error}");
        }
    });
    assert_eq!(report.unwrap().erased, 1);
}
