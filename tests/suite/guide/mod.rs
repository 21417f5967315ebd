//! The guide, which is the documentation of the runtime. These tests run its commands and SQL;
//! doctests of the runtime compile and run its Rust code.

mod chapters;
mod links;
mod log_lines;
mod programs;

use std::{fs, path::PathBuf, process::Stdio};

use api_key_runtime::AppKeysBuilder;

use crate::{
    examples::run_beside_hello,
    support::{
        Database, Server, guarded_routes, http, markdown, own_folder,
        programs::{command, diesel, root},
    },
};

/// The folder of the chapters.
fn folder() -> PathBuf {
    root().join("api-key-runtime/guide")
}

fn chapter(name: &str) -> String {
    fs::read_to_string(folder().join(name).with_extension("md")).unwrap()
}

/// An empty folder and a database.
struct Place {
    folder: PathBuf,
    database: Database,
}

impl Place {
    fn new() -> Self {
        let folder = own_folder();
        // The stock command requires this file.
        fs::write(folder.join("diesel.toml"), "").unwrap();
        Self { folder, database: Database::sqlite() }
    }

    /// Runs the lines, each of which must succeed, and returns their output. `app-key` and `diesel`
    /// work as if they were installed.
    fn run(&self, lines: &str) -> String {
        let manifest = root().canonicalize().unwrap().join("Cargo.toml");
        let programs = format!(
            "app-key() {{ cargo run --quiet --manifest-path '{}' -p app-key -- \
             \"$@\"; }}\n\
             diesel() {{ '{}' \"$@\"; }}\n",
            manifest.display(),
            diesel().display()
        );
        let output = command("bash")
            .args(["-euo", "pipefail", "-c", &format!("{programs}{lines}")])
            .current_dir(&self.folder)
            .env("DATABASE_URL", self.database.url())
            .env("NO_PROXY", "*")
            .env("no_proxy", "*")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{lines}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns the only shell block of a text.
fn lines_of(text: &str) -> String {
    let [lines] = markdown::blocks_in(text, "sh")[..] else {
        panic!("expected one shell block: {text}");
    };
    lines.to_owned()
}

#[test]
fn the_commands_of_the_start_chapter_work() {
    let lines = lines_of(&chapter("start"));
    let place = Place::new();
    // The chapter shows the code of `hello`, except for the address.
    let shown = run_beside_hello(&lines, &place.database, |lines| place.run(lines));
    assert_eq!(shown.matches("Hello, me.\n").count(), 2, "{shown}");
}

#[test]
fn the_migration_commands_create_usable_tables() {
    let place = Place::new();
    let shown = place.run(&lines_of(&chapter("migrations")));
    assert_eq!(shown.matches("Running migration ").count(), 3, "{shown}");
    place.database.builder().build().unwrap();
}

#[test]
fn the_pepper_command_makes_a_usable_pepper() {
    let place = Place::new();
    let lines = lines_of(&chapter("operations"));
    let shown = place.run(&format!(
        "{lines}app-key migrate; app-key issue --name me --ip any; echo \"$APP_KEY_PEPPER\""
    ));
    let mut shown = shown.lines();
    let (key, pepper) = (shown.next().unwrap(), shown.next().unwrap());
    assert!(key.starts_with("ak_live_"), "{key}");
    place.database.builder().pepper(pepper).build().unwrap();
    assert!(place.database.builder().build().is_err());
}

#[test]
fn the_import_statement_skips_keys_that_cannot_be_presented() {
    let database = Database::postgres();
    database.migrate();
    let long = "a".repeat(257);
    let keys = ["shop|17!", "two words", "caf\u{e9}", "line\n", "", &long, "good._~+/=-"];
    let rows: Vec<String> = keys.iter().map(|key| format!("('{key}', '0.0.0.0')")).collect();
    let table = "CREATE TABLE api_auth (id serial, key text, description text, ip text)";
    let insert = format!("INSERT INTO api_auth (key, ip) VALUES {}", rows.join(", "));
    database.execute(&format!("{table}; {insert}")).unwrap();
    let flask = chapter("flask");
    let [import, refused, ..] = markdown::blocks_in(&flask, "sql")[..] else { panic!("{flask}") };
    database.execute(import).unwrap();
    assert_eq!(database.texts("SELECT hint FROM api_keys"), ["good"]);
    let refused = database.texts(&format!(
        "SELECT coalesce(refused_character, 'none') FROM ({refused}) AS refused ORDER BY id"
    ));
    assert_eq!(refused, ["|", " ", "\u{e9}", "\n", "none", "none"]);
}

#[test]
fn the_import_statement_makes_flask_keys_work() {
    // 43 characters of base64, as the Flask recipe creates them.
    const KEY: &str = "rAdk2Jw8qL0fXyTz5bN1cVmP7hG4sKeU6iO9aRtWnBE";
    let database = Database::postgres();
    database.migrate();
    let table = format!(
        "CREATE TABLE api_auth (id serial, key text, description text, ip text); \
         INSERT INTO api_auth (key, description, ip) VALUES ('{KEY}', 'floor 3', '0.0.0.0')"
    );
    database.execute(&table).unwrap();
    let flask = chapter("flask");
    database.execute(markdown::blocks_in(&flask, "sql")[0]).unwrap();
    let named = database.texts("SELECT name || ', ' || hint FROM api_keys");
    assert_eq!(named, [format!("recipe: floor 3, {}", &KEY[..4])]);
    let status = |settings: AppKeysBuilder| {
        let server = Server::start(settings.build().unwrap(), guarded_routes);
        http::get_with(server.address, "/guarded", KEY).status
    };
    assert_eq!(status(database.builder().accept_imported_keys(true)), 200);
    assert_eq!(status(database.builder()), 401);
}
