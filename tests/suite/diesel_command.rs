//! The stock `diesel` command runs the migrations of an application and of this library, as the
//! guide describes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::{
    Database, database_test, own_folder,
    programs::{command, diesel},
};

/// A Diesel project of an application: its `diesel.toml`, its migrations and those of the library.
struct Project {
    folder: PathBuf,
    url: String,
}

impl Project {
    fn new(database: &Database) -> Self {
        let folder = own_folder();
        let migrations = folder.join("migrations");
        fs::create_dir(&migrations).unwrap();
        let kind = if database.is_postgres() {
            api_key_runtime::migrations::DatabaseKind::Postgres
        } else {
            api_key_runtime::migrations::DatabaseKind::Sqlite
        };
        api_key_runtime::migrations::copy(&migrations, kind).unwrap();
        let own = migrations.join("2026-11-23-000000_users");
        fs::create_dir(&own).unwrap();
        let users = "CREATE TABLE users (id INTEGER PRIMARY KEY NOT NULL, key_id BIGINT REFERENCES api_keys (id));";
        fs::write(own.join("up.sql"), users).unwrap();
        fs::write(own.join("down.sql"), "DROP TABLE users;").unwrap();
        let tables = r#"{ only_tables = ["api_keys", "api_key_usage", "api_key_meta"] }"#;
        let settings = format!(
            "[print_schema]\nsqlite_integer_primary_key_is_bigint = true\nfilter = {tables}\n"
        );
        fs::write(folder.join("diesel.toml"), settings).unwrap();
        Self { folder, url: database.url().to_owned() }
    }

    /// Runs the command and returns its output. The command must succeed.
    fn diesel(&self, line: &str) -> String {
        let output = command(diesel())
            .current_dir(&self.folder)
            .env("DATABASE_URL", &self.url)
            .args(line.split_whitespace())
            .output()
            .unwrap();
        assert!(output.status.success(), "diesel {line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

// F14
database_test!(diesel_runs_and_reverts_migrations_beside_the_app_s_own, |database: Database| {
    let project = Project::new(&database);
    let ran = project.diesel("migration run");
    let order = [
        "00000000000101_create_api_keys",
        "00000000000102_log_api_key_changes",
        "00000000000103_record_api_key_events",
        "2026-11-23-000000_users",
    ];
    assert_eq!(
        ran.lines().collect::<Vec<_>>(),
        order.map(|name| format!("Running migration {name}")),
        "the library's migrations run first"
    );
    let (key, _) = database.issue("0.0.0.0");
    assert!(key.starts_with("ak_live_"), "the embedded migrations are already applied");
    assert_eq!(
        project.diesel("migration revert"),
        "Rolling back migration 2026-11-23-000000_users\n",
        "the library's migrations are not reverted"
    );
    assert_eq!(database.rows().len(), 1, "and the keys are still there");
    assert_eq!(project.diesel("migration run"), "Running migration 2026-11-23-000000_users\n");
    project.diesel("migration redo --all");
    assert!(database.rows().is_empty(), "all were reverted and run again");
    database.builder().build().unwrap();
    assert_eq!(project.diesel("migration list").matches("[X]").count(), 4);
});

/// Returns the text of the public schema module from its first table on.
fn module(database: &Database) -> String {
    let backend = if database.is_postgres() { "postgres" } else { "sqlite" };
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../api-key-runtime/src/store/{backend}/schema.rs"));
    let text = fs::read_to_string(path).unwrap();
    // In SQLite, the columns are declared as TIMESTAMP, so the command prints `Timestamp` where the
    // module has `TimestamptzSqlite`.
    text[text.find("diesel::table!").unwrap()..].replace("TimestamptzSqlite", "Timestamp")
}

// F14
database_test!(print_schema_prints_the_public_schema_module, |database: Database| {
    let project = Project::new(&database);
    project.diesel("migration run");
    let printed = project.diesel("print-schema");
    let words = |text: &str| {
        text.replace(",)", ")").split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let printed = &printed[printed.find("diesel::table!").unwrap()..];
    assert_eq!(words(printed), words(&module(&database)));
});
