//! The guide, which is the documentation of the runtime. These tests run its commands and SQL;
//! doctests of the runtime compile and run its Rust code.

mod chapters;
mod links;
mod log_lines;
mod programs;

use std::{fs, path::PathBuf, process::Stdio};

use api_key_runtime::KeyLocation;

use crate::{
    examples::run_beside_hello,
    support::{
        Database, Server, database_test, guarded_routes, http, markdown, own_folder,
        programs::{command, diesel, root},
        recipe::{self, KEYS},
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
        // The `diesel` command requires this file.
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
    // The test runs the example `hello`, because the code in the chapter is the same except for the
    // address.
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
    let chapter = chapter("operations");
    let blocks = markdown::blocks_in(&chapter, "sh");
    let lines = blocks.iter().find(|lines| lines.contains("export APP_KEY_PEPPER")).unwrap();
    let shown = place.run(&format!(
        "{lines}app-key migrate; app-key issue --name me --ip any; echo \"$APP_KEY_PEPPER\""
    ));
    let mut shown = shown.lines();
    let (key, pepper) = (shown.next().unwrap(), shown.next().unwrap());
    assert!(key.starts_with("ak_live_"), "{key}");
    place.database.builder().pepper(pepper).build().unwrap();
    assert!(place.database.builder().build().is_err());
}

// A9: The commands of the chapter import the keys of the recipe's database. Its clients still send
// `?key=`.
database_test!(the_import_commands_make_flask_keys_work, |database: Database| {
    recipe::create(&database, &[(KEYS[0], "127.0.0.1", "floor 3"), (KEYS[1], "192.0.2.7", "N/A")]);
    let place = Place { folder: own_folder(), database };
    let flask = chapter("flask");
    let [table, csv] = markdown::blocks_in(&flask, "sh")[..] else { panic!("{flask}") };
    place.run(&format!("{table}{csv}"));
    let database = &place.database;
    assert_eq!(database.texts("SELECT description FROM api_auth WHERE key IS NOT NULL").len(), 0);
    let names = database.texts("SELECT name FROM api_keys ORDER BY id");
    assert_eq!(names, ["floor 3", "N/A", "floor 4"]);
    let locations = [KeyLocation::query("key")];
    let builder = database.builder().accept_imported_keys(true).key_locations(locations);
    let server = Server::start(builder.build().unwrap(), guarded_routes);
    let status = |key| http::get(server.address, &format!("/guarded?key={key}"), &[]).status;
    assert_eq!([KEYS[0], KEYS[1], KEYS[2]].map(status), [200, 401, 401]);
});
