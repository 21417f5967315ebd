//! `app-key import`: keys of another system, from its table and from CSV.

use std::{
    fs,
    io::Write as _,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::KeyLocation;
use serde_json::{Value, json};

use super::{Ran, app_key_with, command, outcome, routes, status, terminal::Session};
use crate::support::{
    Database, Server, database_test, hex, http, own_folder,
    recipe::{self, KEYS},
    wait_until,
};

const ACCEPT: (&str, &str) = ("APP_KEY_ACCEPT_IMPORTED", "1");
const PEPPER: (&str, &str) = ("APP_KEY_PEPPER", "q1oJ5sVxCw0dQm3pN8yZkT2uB7hL4fEaG6iR9nXcYtM=");
/// The command that imports the table of the Flask recipe.
const FROM_RECIPE: &str =
    "import --from-table api_auth --key-column key --ip-column ip --name-column description";

/// Starts an import from standard input.
fn start(database: &Database, options: &str, settings: &[(&str, &str)]) -> Child {
    command(database.url(), &format!("import --csv - {options}"))
        .env("RUST_LOG", "trace,diesel=off")
        .envs(settings.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Imports this CSV text. No output may contain a piece of one of the recipe's keys.
fn given(database: &Database, csv: &str, options: &str, settings: &[(&str, &str)]) -> Ran {
    let mut process = start(database, options, settings);
    // A command that rejects the first line does not read the other lines.
    let _ = process.stdin.take().unwrap().write_all(csv.as_bytes());
    let output = process.wait_with_output().unwrap();
    let ran = Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    for key in KEYS {
        assert!(!ran.all().contains(&key[4..12]), "{ran:?}");
    }
    ran
}

/// Returns CSV with this many keys that are valid from any address.
fn csv(count: u32) -> String {
    let rows = (0..count).map(|number| format!("old-{number:05}-rAdk2Jw8qL0fXyTz5bN1,any\n"));
    std::iter::once("key,ip\n".to_owned()).chain(rows).collect()
}

/// Returns all bytes of the files of an SQLite database.
fn bytes(database: &Database) -> Vec<u8> {
    ["", "-wal", "-journal"]
        .iter()
        .filter_map(|end| fs::read(format!("{}{end}", database.url())).ok())
        .flatten()
        .collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

// A9: The recipe's clients send `?key=`. Each key is valid from one address, or from any address
// (0.0.0.0).
database_test!(clients_of_the_recipe_keep_their_keys, |database: Database| {
    let rows = [
        (KEYS[0], "127.0.0.1", "floor 3"),
        (KEYS[1], "192.0.2.7", "floor 4"),
        (KEYS[2], "0.0.0.0", "N/A"),
    ];
    recipe::create(&database, &rows);
    outcome(&mut command(database.url(), "migrate")).succeeded();
    let without = outcome(&mut command(database.url(), FROM_RECIPE));
    without.refused("set APP_KEY_ACCEPT_IMPORTED=1 for this command and for the service");
    // On Postgres, rewriting a table moves it to another file.
    let file = || {
        if !database.is_postgres() {
            return String::new();
        }
        database.texts("SELECT pg_relation_filepath('api_auth')").remove(0)
    };
    let file_before = file();
    let ran = app_key_with(&database, ACCEPT, &format!("{FROM_RECIPE} --erase-plaintext --yes"));
    assert!(ran.stderr.contains("Imported 3 keys.\nErased 3 keys"), "{ran:?}");
    ran.succeeded();

    let locations = [KeyLocation::bearer(), KeyLocation::query("key")];
    let builder = database.builder().accept_imported_keys(true).key_locations(locations);
    let server = Server::start(builder.build().unwrap(), routes);
    let status = |key| http::get(server.address, &format!("/cake?key={key}"), &[]).status;
    assert_eq!(KEYS.map(status), [200, 401, 200]);
    drop(server);

    let left = database.texts("SELECT description FROM api_auth WHERE key IS NULL ORDER BY id");
    assert_eq!(left, ["floor 3", "floor 4", "N/A"]);
    if database.is_postgres() {
        assert_ne!(file(), file_before);
    } else {
        assert!(contains(&bytes(&database), "floor 3"), "the file was read");
        for key in KEYS {
            assert!(!contains(&bytes(&database), &key[4..]), "the file contains a key");
        }
    }
    let before = database.rows();
    for again in [FROM_RECIPE.to_owned(), format!("{FROM_RECIPE} --erase-plaintext --yes")] {
        let ran = app_key_with(&database, ACCEPT, &again);
        assert!(ran.stderr.contains("Imported 0 keys.\nSkipped 3 rows: no key."), "{ran:?}");
        ran.succeeded();
    }
    assert_eq!(database.rows(), before);
});

// I3
database_test!(refused_rows_are_printed_with_their_lines, |database: Database| {
    database.migrate();
    let mut rows =
        format!("name,key,ip\ngood,{},any\n\"two\nlines\",{},{}\n", KEYS[0], KEYS[1], KEYS[1]);
    rows += &"mistyped,two words,any\n".repeat(30);
    let ran = given(&database, &rows, "", &[ACCEPT]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    let said: Vec<&str> =
        ran.stderr.lines().filter(|line| !line.contains("app-key: trace")).collect();
    assert_eq!(said.len(), 22, "{said:?}");
    assert!(said[0].starts_with("line 3: the column `ip` is not"), "{said:?}");
    assert!(said[1].starts_with("line 5: no request can present the key"), "{said:?}");
    assert_eq!(said[20], "and 11 more");
    assert!(said[21].contains("31 of 32 rows were refused"), "{said:?}");

    let ran = given(&database, &rows, "--json", &[ACCEPT]);
    assert_eq!(ran.code, Some(1));
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 32, "{lines:?}");
    assert_eq!(lines[30]["row"], json!(34));
    assert_eq!((&lines[31]["refused"], &lines[31]["imported"]), (&json!(31), &json!(0)));
    assert!(database.rows().is_empty());
});

// A9, I3
database_test!(a_file_is_imported_once, |database: Database| {
    database.migrate();
    let folder = own_folder();
    let file = folder.join("keys.csv").to_str().unwrap().to_owned();
    fs::write(&file, format!("key,ip,scopes\n{},10.0.0.0/8 ::1,cakes:read\n", KEYS[0])).unwrap();
    let run = |options: &str| {
        let ran = app_key_with(&database, ACCEPT, &format!("import --csv {file} --json{options}"));
        ran.json()
    };
    assert_eq!(run(" --dry-run")["imported"], json!(1));
    assert!(database.rows().is_empty());
    assert_eq!(run("")["imported"], json!(1));
    let again = run("");
    assert_eq!((&again["imported"], &again["existing"]), (&json!(0), &json!(1)));
    fs::remove_dir_all(&folder).unwrap();
    // The id is not compared, because the dry run used up an id on Postgres.
    let listed = app_key_with(&database, ACCEPT, "list --json").json();
    assert_eq!(listed[0]["allowed_ips"], json!("10.0.0.0/8 ::1"));
    assert_eq!(listed[0]["scopes"], json!("cakes:read"));
});

// I3
database_test!(digests_are_imported_only_without_a_pepper, |database: Database| {
    database.migrate();
    let digest = hex(&<sha2::Sha256 as sha2::Digest>::digest(KEYS[0]));
    let rows = format!("digest,ip\n{digest},any\n");
    let ran = given(&database, &rows, "--digests sha256", &[ACCEPT, PEPPER]);
    ran.refused("cannot be used with a pepper");
    let ran = given(&database, &rows, "", &[ACCEPT]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("add --digests sha256"), "{ran:?}");
    given(&database, &rows, "--digests sha256", &[ACCEPT]).succeeded();
    let builder = database.builder().accept_imported_keys(true);
    assert_eq!(status(builder, KEYS[0]), 200);
});

// A9
database_test!(a_short_key_needs_a_pepper, |database: Database| {
    database.migrate();
    let rows = format!("key,ip\n{},any\nsecret42,any\n", KEYS[0]);
    let ran = given(&database, &rows, "", &[ACCEPT]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("line 3: the key is too short"), "{ran:?}");
    assert!(ran.stderr.contains("set APP_KEY_PEPPER"), "{ran:?}");
    given(&database, &rows, "", &[ACCEPT, PEPPER]).succeeded();
    let builder = database.builder().accept_imported_keys(true).pepper(PEPPER.1);
    assert_eq!(status(builder, "secret42"), 200);
});

// A9, I3: Imports are killed at moments spread over the whole duration of an import.
database_test!(a_killed_import_leaves_nothing_half_done, |database: Database| {
    const KEYS: u32 = 6000;
    database.migrate();
    let count = || database.texts("SELECT cast(count(*) AS text) FROM api_keys").remove(0);
    let events = || database.texts("SELECT cast(count(*) AS text) FROM api_key_events").remove(0);
    let rows = csv(KEYS);
    let ended = || {
        // The database server may still be running the last statement of the killed process.
        wait_until("the connection has ended", || {
            !database.is_postgres()
                || database.texts(
                    "SELECT cast(count(*) AS text) FROM pg_stat_activity \
                     WHERE datname = current_database() AND pid <> pg_backend_pid()",
                ) == ["0"]
        });
    };
    // The import waits, because the last rows are missing and standard input stays open.
    let mut process = start(&database, "", &[ACCEPT]);
    let mut input = process.stdin.take().unwrap();
    input.write_all(&rows.as_bytes()[..rows.len() - 40]).unwrap();
    thread::sleep(Duration::from_millis(500));
    process.kill().unwrap();
    process.wait().unwrap();
    drop(input);
    ended();
    assert_eq!((count(), events()), ("0".to_owned(), "0".to_owned()));

    // A dry run does the same work, so its duration is that of an import.
    let began = Instant::now();
    given(&database, &rows, "--dry-run", &[ACCEPT]).succeeded();
    let whole = began.elapsed();
    let mut kills = 0;
    for twelfths in 1.. {
        let mut process = start(&database, "", &[ACCEPT]);
        let mut input = process.stdin.take().unwrap();
        let rows = rows.clone();
        let writer = thread::spawn(move || {
            let _ = input.write_all(rows.as_bytes());
        });
        thread::sleep(whole * twelfths / 12);
        let is_done = process.try_wait().unwrap().is_some();
        process.kill().unwrap();
        process.wait().unwrap();
        writer.join().unwrap();
        ended();
        let (count, events) = (count(), events());
        if is_done || count != "0" {
            assert_eq!((count, events), (KEYS.to_string(), "1".to_owned()), "after {kills} kills");
            break;
        }
        assert_eq!(events, "0");
        kills += 1;
    }
    assert!(kills >= 3, "{kills} kills");
    println!("{kills} kills");
    let before = database.rows();
    let again = given(&database, &rows, "--json", &[ACCEPT]).json();
    assert_eq!((&again["imported"], &again["existing"]), (&json!(0), &json!(KEYS)));
    assert_eq!(database.rows(), before);
});

// A9
#[test]
fn erasing_keys_asks_first() {
    let database = Database::sqlite();
    database.migrate();
    recipe::create(&database, &[(KEYS[0], "0.0.0.0", "floor 3")]);
    let line = format!("{FROM_RECIPE} --erase-plaintext");
    for (answer, code) in [("n\n", 1), ("y\n", 0)] {
        let mut session = Session::start_with(
            {
                let mut command = command(database.url(), &line);
                command.env(ACCEPT.0, ACCEPT.1);
                command
            },
            |command, _| {
                command.stdout(Stdio::null());
            },
        );
        session.wait_for("[y/N] ");
        assert!(session.shown.contains("Import the keys of api_auth and erase them there?"));
        session.screen.write_all(answer.as_bytes()).unwrap();
        let (shown, ended) = session.finish();
        assert_eq!(ended, Some(code), "{shown}");
        assert_eq!(database.rows().len(), 1 - usize::try_from(code).unwrap(), "{shown}");
    }
}

/// I3: A terminal shows a progress bar, which is removed at the end.
#[test]
fn a_terminal_shows_the_progress() {
    let database = Database::sqlite();
    database.migrate();
    recipe::create(&database, &[(KEYS[0], "0.0.0.0", "floor 3")]);
    let mut process = command(database.url(), FROM_RECIPE);
    process.env(ACCEPT.0, ACCEPT.1);
    let session = Session::start_with(process, |command, _| {
        command.stdout(Stdio::null());
    });
    let (shown, code) = session.finish();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("[##############################] 100 %, 1 rows"), "{shown:?}");
    assert!(shown.contains("\r\u{1b}[KStoring the keys ...\r\u{1b}[KImported 1 key."), "{shown:?}");
}

/// I3: Contradicting options are usage errors, and nothing is imported.
#[test]
fn options_of_the_other_source_are_usage_errors() {
    let database = Database::sqlite();
    database.migrate();
    for line in [
        "import",
        "import --csv - --from-table api_auth --ip any",
        "import --csv - --erase-plaintext",
        "import --csv - --key-column key",
        "import --from-table api_auth",
        "import --from-table api_auth --ip-column ip --ip any",
        "import --from-table api_auth --ip any --digests sha256",
        "import --csv - --ip any --ip 10.0.0.1",
        "import --csv - --digests md5",
    ] {
        let ran = app_key_with(&database, ACCEPT, line);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{line}: {ran:?}");
    }
    app_key_with(&database, ACCEPT, "import --csv /nothing.csv")
        .refused("cannot read /nothing.csv");
}
