//! An application's own pool and migrations.

use std::{
    fs,
    path::{Path, PathBuf},
};

use diesel_migrations::FileBasedMigrations;

use super::{Example, header, root};
use crate::support::{Database, database_test, http, wait_until};

const SOURCE: &str = include_str!("../../../examples/own_pool/main.rs");

fn serve(database: &Database) -> Example {
    Example::serving("own_pool", &[("DATABASE_URL", database.url())])
}

/// Returns the folder of the example's migrations for this database.
fn migrations(database: &Database) -> PathBuf {
    let kind = if database.is_postgres() { "postgres" } else { "sqlite" };
    root().join("examples/own_pool/migrations").join(kind)
}

// E13
database_test!(a_failed_sign_up_leaves_no_key, |database: Database| {
    let example = serve(&database);
    let shown = header::paste_at(SOURCE, "own_pool", example.listens_at(), &database);
    assert_eq!(shown, "Hello, user 1.\nA user with this address already exists.\n");
    assert_eq!(database.texts("SELECT email FROM users"), ["ada@example.org"]);
    assert_eq!(database.texts("SELECT name || ' ' || owner FROM api_keys"), ["first 1"]);
});

// F14
database_test!(keys_use_only_the_pool_and_one_listening_connection, |database: Database| {
    let example = serve(&database);
    let (key, _) = database.issue("127.0.0.1");
    let status = || http::get_with(example.listens_at(), "/me", &key).status;
    wait_until("the key is accepted", || status() == 200);
    if database.is_postgres() {
        let connections = "SELECT cast(count(*) AS text) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()";
        wait_until("four connections of the pool and one of the feed", || {
            database.texts(connections) == ["5"]
        });
    }
    let log = example.logged.lock().unwrap().clone();
    assert!(!log.contains("WARN"), "the pool is set up as advised: {log}");
});

// F14
#[test]
fn the_copies_of_the_migrations_are_current() {
    for kind in ["postgres", "sqlite"] {
        let (ours, copies) = (
            root().join("api-key-runtime/migrations").join(kind),
            root().join("examples/own_pool/migrations").join(kind),
        );
        for folder in fs::read_dir(&ours).unwrap() {
            let folder = folder.unwrap().file_name();
            for file in ["up.sql", "down.sql"] {
                let read = |base: &Path| fs::read(base.join(&folder).join(file)).ok();
                assert!(
                    read(&copies) == read(&ours),
                    "{}/{file} is not current; renew the copies: \
                     cp -r api-key-runtime/migrations/{kind}/. examples/own_pool/migrations/{kind}/",
                    copies.join(&folder).display()
                );
            }
        }
    }
}

// F14
database_test!(its_own_migration_reverts_alone, |database: Database| {
    let all = FileBasedMigrations::from_path(migrations(&database)).unwrap();
    let (ran, reverted) = database.run_and_revert_last(&all);
    assert_eq!((ran.len(), reverted.as_str()), (4, "20260102000000"));
    assert!(database.rows().is_empty(), "the key table is not reverted");
});
