//! A fresh database, and the settings that the service and the command share.

use std::thread;

use diesel_migrations::FileBasedMigrations;
use serde_json::Value;

use super::{app_key, app_key_with, command, outcome, program, status};
use crate::support::{Database, database_test};

const PEPPER: &str = "3n0mKq8tYwZb1cVxL5sRf7uHjP2dGaE9oIiN4kMvQyU=";
const OTHER_PEPPER: &str = "8hWc2LxT6qPzJr0vNfY4bKd1sGmA7uEoXi5jRtQnV9w=";

// A12
database_test!(nothing_is_listed_before_a_key_is_issued, |database: Database| {
    assert_eq!(app_key(&database, "migrate").succeeded(), "");
    let listed = app_key(&database, "list");
    assert!(listed.stderr.contains("No keys yet. Create one with `app-key issue`"), "{listed:?}");
    assert_eq!(listed.succeeded(), "");
    assert_eq!(app_key(&database, "list --json").json(), Value::Array(Vec::new()));
});

// F14
database_test!(ten_processes_migrate_a_fresh_database_at_once, |database: Database| {
    program();
    let ran = thread::scope(|scope| {
        let start = || scope.spawn(|| app_key(&database, "migrate"));
        let running: Vec<_> = (0..10).map(|_| start()).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for one in &ran {
        assert_eq!((one.code, one.stdout.as_str()), (Some(0), ""), "{one:?}");
    }
    let created_the_tables =
        ran.iter().filter(|one| one.stderr.starts_with("Ran the migrations 00000000000101"));
    assert_eq!(created_the_tables.count(), 1, "{ran:?}");
    app_key(&database, "issue --name n --ip any").succeeded();
});

// A6
database_test!(a_key_is_issued_under_the_pepper_of_the_table_and_no_other, |database: Database| {
    database.migrate();
    let line = "issue --name n --ip any";
    let key = app_key_with(&database, ("APP_KEY_PEPPER", PEPPER), line).succeeded();
    let before = database.rows();
    app_key_with(&database, ("APP_KEY_PEPPER", OTHER_PEPPER), line).refused("another pepper");
    app_key(&database, line).refused("another pepper");
    assert_eq!(database.rows(), before);
    assert_eq!(status(database.builder().pepper(PEPPER), &key), 200);
    app_key_with(&database, ("APP_KEY_PEPPER", PEPPER), line).succeeded();
});

// A6
#[test]
fn a_pepper_comes_from_a_file() {
    let database = Database::sqlite();
    database.migrate();
    let path = std::env::temp_dir().join(format!("app-key-pepper-{}", std::process::id()));
    let line = "issue --name n --ip any";
    let setting = ("APP_KEY_PEPPER_FILE", path.to_str().unwrap());
    app_key_with(&database, setting, line).refused("APP_KEY_PEPPER_FILE");
    std::fs::write(&path, format!("{PEPPER}\n")).unwrap();
    let key = app_key_with(&database, setting, line).succeeded();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(status(database.builder().pepper(PEPPER), &key), 200);
    assert_eq!(status(database.builder().pepper(format!("{PEPPER}\n")), &key), 200);
}

// A6, G1
#[test]
fn a_mistyped_variable_is_an_error_an_unknown_one_a_warning() {
    let database = Database::sqlite();
    database.migrate();
    let line = "issue --name n --ip any";
    app_key_with(&database, ("APP_KEY_PEPER", PEPPER), line).refused("APP_KEY_PEPPER;");
    app_key_with(&database, ("APP_KEY_PREFIX", "'shop_'"), line).refused("in quotes");
    let ran = app_key_with(&database, ("APP_KEY_COLOUR", "s3cret"), "list");
    assert!(ran.stderr.contains("app-key: warn: ") && ran.stderr.contains("APP_KEY_COLOUR"));
    assert!(!ran.all().contains("s3cret"), "{ran:?}");
    let ran = app_key_with(&database, ("APP_KEY_SERVICE_HOST", "10.0.0.1"), "list");
    assert!(!ran.stderr.contains("warn"), "{ran:?}");
}

database_test!(the_prefix_of_the_environment_begins_the_key_and_the_hint, |database: Database| {
    database.migrate();
    let line = "issue --json --name n --ip any";
    let issued = app_key_with(&database, ("APP_KEY_PREFIX", "cakes_"), line).json();
    let key = issued["key"].as_str().unwrap();
    assert!(key.starts_with("cakes_"), "{key}");
    assert_eq!(issued["hint"], key[.."cakes_".len() + 4]);
    // The prefix applies only to new keys. A service with another prefix accepts this key.
    assert_eq!(status(database.builder(), key), 200);
    assert_eq!(status(database.builder().prefix("shop_").accept_imported_keys(true), key), 200);
});

// F14
database_test!(copied_migrations_are_those_that_run, |database: Database| {
    let kind = if database.is_postgres() { "postgres" } else { "sqlite" };
    let folder = std::env::temp_dir().join(format!("app-key-copied-{kind}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let copy = format!("migrations copy {} --database {kind}", folder.display());
    // `migrations copy` does not need DATABASE_URL.
    let ran = outcome(command("", &copy).env_remove("DATABASE_URL"));
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.lines().count()),
        (Some(0), "", 3),
        "{ran:?}"
    );
    assert!(app_key(&database, &copy).all().contains("already exist"));
    // The application's own migration runs after the library's migrations, refers to their tables,
    // and can be reverted alone.
    let own = folder.join("2026-11-23-000000_own");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(
        own.join("up.sql"),
        "CREATE TABLE users (id INTEGER PRIMARY KEY, key_id BIGINT REFERENCES api_keys (id));",
    )
    .unwrap();
    std::fs::write(own.join("down.sql"), "DROP TABLE users;").unwrap();
    let migrations = FileBasedMigrations::from_path(&folder).unwrap();
    let (ran, reverted) = database.run_and_revert_last(&migrations);
    assert_eq!(ran, ["00000000000101", "00000000000102", "00000000000103", "20261123000000"]);
    assert_eq!(reverted, "20261123000000");
    assert!(
        app_key(&database, "migrate").all().contains("up to date"),
        "the embedded migrations are the same"
    );
    app_key(&database, "issue --name n --ip any").succeeded();
    let refused = app_key(&database, "migrations copy /nonexistent --database sqlite");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{refused:?}");
    std::fs::remove_dir_all(folder).unwrap();
});
