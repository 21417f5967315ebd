//! The guide, which is the documentation of the runtime: its commands and SQL are run, and what it names is there. Its Rust is compiled
//! and run as doctests of the runtime.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::PathBuf,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use actix_web::{HttpResponse, get, web};
use api_key_runtime::{AppKeysBuilder, require_app_key};

use crate::{
    examples::Example,
    support::{
        Database, Server, http, markdown, own_folder,
        programs::{command, diesel, example, root},
    },
};

const CRATE: &str = include_str!("../../api-key-runtime/src/lib.rs");
const MODULE: &str = include_str!("../../api-key-runtime/src/guide.rs");
const SETTINGS: &str = include_str!("../../api-key-runtime/src/app_keys/environment.rs");
const MANIFEST: &str = include_str!("../../api-key-runtime/Cargo.toml");

/// The chapters, by name.
fn chapters() -> BTreeMap<String, String> {
    fs::read_dir(root().join("api-key-runtime/guide"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn chapter(name: &str) -> String {
    chapters().remove(name).unwrap()
}

/// The page of the crate, as Markdown, as it is with every feature.
fn page_of_the_crate() -> String {
    let fence = "#![cfg_attr(feature = \"_diesel\", doc = \"";
    let text = CRATE.lines().filter_map(|line| {
        line.strip_prefix("//! ")
            .or_else(|| line.strip_prefix("//!"))
            .or_else(|| line.strip_prefix(fence)?.strip_suffix("\")]"))
    });
    text.collect::<Vec<_>>().join("\n")
}

#[test]
fn its_chapters_are_the_files_and_the_page_of_the_crate_lists_them_all() {
    let files: BTreeSet<String> = chapters().into_keys().collect();
    let (_, list) = MODULE.split_once("chapters! {").unwrap();
    let modules: BTreeSet<String> =
        list.trim_end_matches(['}', '\n']).split_whitespace().map(str::to_owned).collect();
    assert_eq!(modules, files);
    let cells = markdown::first_cells(&page_of_the_crate(), "chapter");
    let listed: BTreeSet<String> = cells
        .iter()
        .map(|cell| {
            let name = cell.split(['[', ']']).nth(1).unwrap();
            assert!(cell.ends_with(&format!("(guide::{name})")), "{cell}");
            name.to_owned()
        })
        .collect();
    assert_eq!(listed, files);
}

#[test]
fn every_block_of_it_is_of_a_kind_that_is_tried_or_says_that_it_is_not() {
    for (name, text) in chapters() {
        for (language, code) in markdown::blocks(&text) {
            let is_tried = match language {
                "sh" => ["migrations", "operations", "start"].contains(&name.as_str()),
                "sql" => ["flask", "joins", "operations"].contains(&name.as_str()),
                // Rust is in the doctests of the runtime. The others are shown: what is edited, what is printed, the recipe's own code.
                "rust" | "rust,no_run" | "text" | "toml" | "python" => true,
                _ => false,
            };
            assert!(is_tried, "{name}: {language}: {code}");
        }
    }
}

#[test]
fn its_settings_are_those_that_are_read() {
    let read: BTreeSet<String> = SETTINGS
        .split("variable(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    let told = markdown::first_cells(&chapter("operations"), "variable");
    assert_eq!(BTreeSet::from_iter(told), read);
}

#[test]
fn the_features_on_the_page_of_the_crate_are_those_of_the_manifest() {
    let (_, features) = MANIFEST.split_once("[features]").unwrap();
    let (features, _) = features.split_once("\n[").unwrap();
    let there: BTreeSet<&str> = features
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        .filter(|name| *name != "default" && !name.starts_with('_'))
        .collect();
    let cells = markdown::first_cells(&page_of_the_crate(), "feature");
    let told: BTreeSet<&str> =
        cells.iter().flat_map(|cell| cell.split(',')).map(str::trim).collect();
    assert_eq!(told, there);
}

/// An empty folder and a database.
struct Place {
    folder: PathBuf,
    database: Database,
}

impl Place {
    fn new() -> Self {
        let folder = own_folder();
        // Where the stock command looks for migrations.
        fs::write(folder.join("diesel.toml"), "").unwrap();
        Self { folder, database: Database::sqlite() }
    }

    /// What the lines print; each of them must succeed. `app-key` and `diesel` are there as if they were installed.
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

/// The only block for the shell in a text.
fn lines_of(text: &str) -> String {
    let [lines] = markdown::blocks_in(text, "sh")[..] else {
        panic!("not one block for the shell: {text}");
    };
    lines.to_owned()
}

#[test]
fn the_commands_of_the_start_do_what_it_says() {
    let start = chapter("start");
    let lines = lines_of(&start);
    let on_the_page = lines_of(&page_of_the_crate());
    assert!(lines.starts_with(&on_the_page), "{on_the_page}");

    let place = Place::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    // The chapter's code is that of `hello`, but for where it listens.
    let hello = Example::spawn(
        example("hello").env("DATABASE_URL", place.database.url()).env("BIND", address.to_string()),
    );
    while std::net::TcpStream::connect(address).is_err() {
        thread::sleep(Duration::from_millis(20));
    }
    let own = lines.replace("127.0.0.1:8080", &address.to_string());
    let shown = place.run(&format!("{own}echo \"$KEY\""));
    assert_eq!(shown.matches("Hello, me.\n").count(), 2, "{shown}");
    assert!(start.contains("`curl` answers `Hello, me.`"));
    let key = shown.lines().last().unwrap();
    // Another process revoked it: within the bound, and usually within milliseconds.
    let revoked = Instant::now();
    while http::get_with(address, "/me", key).status != 401 {
        assert!(revoked.elapsed() < Duration::from_secs(5), "it goes on");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(http::get(address, "/me", &[]).status, 401);
    drop(hello);
}

#[test]
fn the_commands_for_the_migrations_make_tables_that_serve() {
    let place = Place::new();
    let shown = place.run(&lines_of(&chapter("migrations")));
    assert_eq!(shown.matches("Running migration ").count(), 2, "{shown}");
    place.database.builder().build().unwrap();
}

#[test]
fn the_command_for_a_pepper_makes_one_that_service_and_command_take() {
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

// E9
#[test]
fn the_statement_that_shortens_the_log_leaves_what_a_service_may_not_have_read() {
    let database = Database::postgres();
    database.migrate();
    database.issue("0.0.0.0");
    let old = "INSERT INTO api_key_changes (created_at) VALUES (now() - interval '25 hours')";
    database.execute(old).unwrap();
    let operations = chapter("operations");
    let [_grants, prune] = markdown::blocks_in(&operations, "sql")[..] else {
        panic!("not two blocks of SQL");
    };
    database.execute(prune).unwrap();
    let left = database
        .texts("SELECT cast(count(digest) AS text) || ' of ' || count(*) FROM api_key_changes");
    assert_eq!(left, ["1 of 1"]);
}

#[get("/guarded")]
#[require_app_key]
async fn guarded() -> HttpResponse {
    HttpResponse::Ok().finish()
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(guarded);
}

#[test]
fn the_statement_that_takes_over_keys_of_the_recipe_makes_them_work_where_they_are_accepted() {
    // 43 characters of base64, as the recipe makes them.
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
        let server = Server::start(settings.build().unwrap(), routes);
        http::get_with(server.address, "/guarded", KEY).status
    };
    assert_eq!(status(database.builder().accept_imported_keys()), 200);
    assert_eq!(status(database.builder()), 401);
}

#[test]
fn no_line_of_it_is_wider_than_the_code_may_be_but_in_tables() {
    for (name, text) in chapters() {
        let wide = text.lines().find(|line| line.chars().count() > 140 && !line.starts_with('|'));
        assert_eq!(wide, None, "{name}");
    }
}
