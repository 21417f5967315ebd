//! A service or an administration that cannot use its database reports the reason.

use std::net::TcpListener;

use api_key_runtime::{
    AppKeys,
    admin::{ListKeys, NewKey},
    test_util::MemoryStore,
};

use crate::support::{Database, database_test, free_ports, log};

// F8
database_test!(startup_rejects_missing_and_incompatible_tables, |database: Database| {
    let schema_error = |what: &str| {
        let error = database.builder().build().expect_err(what);
        assert!(error.is_schema(), "{what}: {error}");
        error.to_string()
    };
    assert!(schema_error("no tables").contains("app-key migrate"));
    database.migrate();
    database.builder().build().unwrap();
    database.execute("UPDATE api_key_meta SET schema_version = 3, compatible_from = 1").unwrap();
    database.builder().build().expect("a newer schema that is marked compatible");
    database.execute("UPDATE api_key_meta SET schema_version = 3, compatible_from = 2").unwrap();
    assert!(schema_error("a newer schema").contains("update api-key-runtime"));
    database.execute("DELETE FROM api_key_meta").unwrap();
    assert!(schema_error("an empty meta table").contains("api_key_meta"));
});

// F8
database_test!(a_service_can_migrate_at_startup, |database: Database| {
    database.builder().build().expect_err("no tables");
    for _ in 0..2 {
        let builder = database.builder().migrate().unwrap();
        builder.build().unwrap();
    }
    let elsewhere = AppKeys::builder().store(MemoryStore::default());
    assert!(elsewhere.migrate().expect_err("no database").is_config());
    let port = free_ports().next().unwrap();
    let unavailable = format!("postgres://somebody:secret@127.0.0.1:{port}/shop");
    let error =
        AppKeys::builder().database_url(unavailable).migrate().expect_err("the port is closed");
    assert!(error.is_database(), "{error}");
    // Rust prints this form of an error that `main` returns. The form must not contain the
    // password.
    assert_eq!(format!("{error:?}"), error.to_string());
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}/shop: ")));
    assert!(!error.to_string().contains("secret"));
});

// F8
database_test!(newer_tables_are_logged_once_and_not_at_every_connection, |database: Database| {
    database.migrate();
    database.execute("UPDATE api_key_meta SET schema_version = 4711, compatible_from = 1").unwrap();
    log::install();
    for _ in 0..3 {
        database.builder().build().unwrap();
    }
    let place = if database.is_postgres() { database.name() } else { database.url() };
    let warnings = log::lines_with("tables of version 4711");
    let ours = warnings.iter().filter(|line| line.contains(place)).count();
    assert_eq!(ours, 1, "{warnings:?}");
});

// F8
database_test!(administration_rejects_missing_and_incompatible_tables, |database: Database| {
    if !database.is_postgres() {
        // The file exists and is empty.
        std::fs::write(database.url(), "").unwrap();
    }
    let admin = database.builder().build_admin().unwrap();
    let new = NewKey::new("test").allow_any();
    let all_refuse = |what: &str| {
        let errors = [
            admin.issue(&new).map(drop),
            admin.list(&ListKeys::new()).map(drop),
            admin.get(1).map(drop),
            admin.revoke(1).map(drop),
            admin.disable(1).map(drop),
            admin.enable(1).map(drop),
        ];
        for error in errors {
            let error = error.expect_err(what);
            assert!(error.is_schema(), "{what}: {error}");
        }
    };
    all_refuse("no tables");
    database.migrate();
    admin.issue(&new).unwrap();
    database.execute("UPDATE api_key_meta SET schema_version = 3, compatible_from = 2").unwrap();
    all_refuse("a newer schema");
});

// F8
database_test!(startup_rejects_a_table_without_a_trigger, |database: Database| {
    database.migrate();
    let (drop, disable) = if database.is_postgres() {
        (
            "DROP TRIGGER api_keys_log_update ON api_keys",
            Some("ALTER TABLE api_keys DISABLE TRIGGER api_keys_log_update"),
        )
    } else {
        ("DROP TRIGGER api_keys_log_update", None)
    };
    for sql in disable.into_iter().chain([drop]) {
        database.execute(sql).unwrap();
        let error = database.builder().build().unwrap_err();
        assert!(error.is_schema() && error.to_string().contains("api_keys_log_update"), "{error}");
    }
});

// F8
#[test]
fn startup_without_a_database_hides_the_password() {
    // The system does not assign this port automatically, so it stays closed.
    let closed = free_ports().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap();
    let error = AppKeys::builder()
        .database_url(format!("postgres://cakes:s3cret@127.0.0.1:{closed}/cakes"))
        .build()
        .unwrap_err();
    assert!(error.is_database(), "{error}");
    assert!(
        error.to_string().contains(&format!("Postgres at 127.0.0.1:{closed}/cakes")),
        "{error}"
    );
    assert!(!error.to_string().contains("s3cret"), "{error}");
    let error = AppKeys::builder().database_url("/nonexistent/keys.db").build().unwrap_err();
    assert!(error.is_schema() && error.to_string().contains("app-key migrate"), "{error}");
    assert!(AppKeys::builder().build().unwrap_err().is_config(), "no store is configured");
}

// E8
#[cfg(unix)]
#[test]
fn startup_rejects_an_sqlite_file_with_a_hard_link() {
    let database = Database::sqlite();
    database.migrate();
    let link = format!("{}.backup", database.url());
    let linked = Database::sqlite();
    std::fs::hard_link(database.url(), linked.url()).unwrap();
    let error = linked.builder().build().unwrap_err().to_string();
    assert!(error.contains("has another name") && error.contains("--link-dest"), "{error}");
    std::fs::remove_file(linked.url()).unwrap();
    let (_, id) = database.issue("0.0.0.0");
    std::fs::hard_link(database.url(), link).unwrap();
    database.admin().revoke(id).expect("a later link does not stop a service");
}
