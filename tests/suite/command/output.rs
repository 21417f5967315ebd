//! The output of the command, and the stream that each part is written to.

use std::{
    collections::BTreeSet,
    io,
    process::{Command, Stdio},
};

use api_key_runtime::admin::NewKey;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::{app_key, app_key_with, command, outcome, program, status};
use crate::support::{Database, database_test};

const COLUMNS: [&str; 16] = [
    "id",
    "digest_algorithm",
    "hint",
    "name",
    "owner",
    "allowed_ips",
    "scopes",
    "created_at",
    "expires_at",
    "disabled_at",
    "revoked_at",
    "replaced_by",
    "last_used_at",
    "last_used_ip",
    "use_count",
    "state",
];

// A10
database_test!(
    a_new_key_is_alone_on_standard_output_and_shown_nowhere_else,
    |database: Database| {
        app_key(&database, "migrate").succeeded();
        for (id, format, prefix, length) in [(1, "native", "ak_live_", 44), (2, "uuid", "", 36)] {
            let issued = outcome(
                command(database.url(), "issue --ip 10.0.0.0/8 --ip 2001:db8::/32 --expires 90d")
                    .args(["--format", format, "--name", "billing", "--owner", "user 17"])
                    .args(["--scope", "cakes:read", "--scope", "cakes:write cakes:delete"])
                    .env("APP_KEY_ACCEPT_IMPORTED", "1")
                    .env("RUST_LOG", "trace"),
            );
            for said in [
                "billing",
                "user 17",
                "10.0.0.0/8 2001:db8::/32",
                "cakes:read cakes:write cakes:delete",
                "This is the only time it is shown.",
            ] {
                assert!(issued.stderr.contains(said), "{said}: {issued:?}");
            }
            let key = issued.stdout.strip_suffix('\n').unwrap();
            let secret = key.strip_prefix(prefix).unwrap();
            assert_eq!(secret.len(), length);
            assert!(
                secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
                "{key}"
            );

            let mut said = issued.stderr.clone();
            for line in [
                "list",
                "list --json",
                "show ID",
                "show ID --json",
                "disable ID",
                "enable ID",
                "enable 99",
                "revoke ID",
                "revoke ID",
            ] {
                let line = line.replace("ID", &id.to_string());
                said += &app_key_with(&database, ("RUST_LOG", "trace"), &line).all();
            }
            let hint = &key[..prefix.len() + 4];
            assert!(said.contains(&format!("\"hint\":\"{hint}\"")), "{said}");
            for start in 0..=secret.len() - 8 {
                let piece = &secret[start..start + 8];
                assert!(!said.contains(piece), "{piece} of {key} in {said}");
            }
        }
    }
);

// A10
database_test!(json_has_the_columns_of_the_tables_and_the_state, |database: Database| {
    app_key(&database, "migrate").succeeded();
    let bare = app_key(&database, "issue --json --name bare --ip any");
    assert_eq!(bare.stdout.lines().count(), 1, "{bare:?}");
    let mut bare = bare.json();
    let full = outcome(command(database.url(), "issue --json --name full --ip 10.0.0.0/8 --ip ::1 --expires 2030-01-31T02:00:00.5+02:00")
            .args(["--owner", "user 17", "--scope", "b a", "--scope", "c", "--scope", "a"]))
        .json();
    let key = bare.as_object_mut().unwrap().remove("key").unwrap();
    assert!(key.as_str().unwrap().starts_with("ak_live_"));
    assert_eq!(full["allowed_ips"], "10.0.0.0/8 ::1");
    assert_eq!(full["scopes"], "b a c");
    assert_eq!(full["owner"], "user 17");
    assert_eq!(full["expires_at"], "2030-01-31T00:00:00.500000Z");
    assert_eq!(bare["allowed_ips"], "0.0.0.0");
    assert_eq!(bare["scopes"], "");
    assert_eq!(bare["digest_algorithm"], "sha256");
    for column in
        ["owner", "expires_at", "disabled_at", "revoked_at", "last_used_at", "last_used_ip"]
    {
        assert_eq!(bare[column], Value::Null, "{column}");
    }
    assert_eq!(bare["use_count"], 0);
    assert_eq!((&bare["state"], &full["state"]), (&"active".into(), &"active".into()));
    assert_eq!(app_key(&database, "show 1 --json").json(), bare);

    let listed = app_key(&database, "list --json");
    let places = COLUMNS.map(|column| listed.stdout.find(&format!("\"{column}\":")).unwrap());
    assert!(places.is_sorted(), "in the order of the tables: {listed:?}");
    let listed = listed.json();
    assert_eq!(listed[0], bare);
    assert_eq!(listed[1]["id"], full["id"]);
    for record in listed.as_array().unwrap() {
        let fields = record.as_object().unwrap().keys().map(String::as_str);
        assert_eq!(fields.collect::<BTreeSet<_>>(), BTreeSet::from(COLUMNS));
        let created = record["created_at"].as_str().unwrap();
        assert!(created.ends_with('Z'), "{created}");
        let age = Utc::now() - created.parse::<DateTime<Utc>>().unwrap();
        assert!(age < TimeDelta::minutes(1), "{created}");
    }
    app_key(&database, "disable 1").succeeded();
    app_key(&database, "revoke 2").succeeded();
    let listed = app_key(&database, "list --json").json();
    assert_eq!(listed[0]["state"], "disabled");
    assert_eq!(listed[1]["state"], "revoked");
    assert_eq!(app_key(&database, "show 2 --json").json()["state"], "revoked");
});

/// A text with characters that would ring the bell, change colours, hide text, reverse its
/// direction or start new lines on a terminal.
const DECEPTIVE: &str = "é名 a\u{7}\u{1b}[31m\r\n\t\u{7f}\u{9b}2J\u{85}\u{ad}\u{61c}\u{200b}\u{200d}\u{200e}\u{2028}\u{202e}\u{2066}\u{2069}\u{feff}\u{e0041}";
const TEXT: &str = "é名 a[31m2J";

database_test!(control_characters_of_records_do_not_reach_a_terminal, |database: Database| {
    let new = NewKey::new(DECEPTIVE).allow_any().owner(DECEPTIVE);
    database.admin().issue(&new).unwrap();
    for line in [
        "issue --ip any",
        "issue --ip any --json",
        "list",
        "list --json",
        "show 1",
        "show 1 --json",
        "disable 1",
        "disable 1",
        "enable 1",
        "enable 1",
        "revoke 1",
        "revoke 1",
    ] {
        let mut command = command(database.url(), line);
        if line.starts_with("issue") {
            command.args(["--name", DECEPTIVE, "--owner", DECEPTIVE]);
        }
        let ran = outcome(&mut command);
        let said = ran.all();
        for character in DECEPTIVE.chars() {
            let may_be_shown = TEXT.contains(character) || character == '\n';
            assert!(may_be_shown || !said.contains(character), "{character:?} in {said}");
        }
        let escaped = if line.contains("--json") {
            r"é名 a\u0007\u001b[31m\r\n\t"
        } else {
            r"é名 a\u{7}\u{1b}[31m\r\n\t"
        };
        assert!(said.contains(escaped), "{said}");
        ran.succeeded();
    }
    let shown = app_key(&database, "show 1").succeeded();
    assert_eq!(shown.lines().count(), 15, "a name does not add a line: {shown}");
    let record = app_key(&database, "show 1 --json").json();
    assert_eq!(
        (&record["name"], &record["owner"]),
        (&DECEPTIVE.into(), &DECEPTIVE.into()),
        "escaped, but unchanged"
    );
});

#[test]
fn the_list_is_aligned_and_shortens_long_values() {
    let database = Database::sqlite();
    database.migrate();
    let long = "x".repeat(200);
    app_key(&database, "issue --name b --ip any").succeeded();
    app_key(&database, "issue --name 名前 --ip 10.0.0.0/8 --owner é").succeeded();
    app_key(&database, &format!("issue --name {long} --ip any --scope a")).succeeded();
    let listed = app_key(&database, "list").succeeded();
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 4, "{listed}");
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>().join(" "),
        "ID HINT NAME OWNER ALLOWED IPS SCOPES CREATED EXPIRES LAST USED FROM USES STATE"
    );
    // A Chinese character occupies two cells.
    let cells =
        |text: &str| text.chars().map(|c| if "名前".contains(c) { 2 } else { 1 }).sum::<usize>();
    let place = |line: &str, word: &str| cells(line.split_once(word).unwrap().0);
    for line in &lines[1..] {
        assert_eq!(place(line, "active"), place(lines[0], "STATE"), "{listed}");
        assert_eq!(line.trim_end(), *line);
    }
    assert!(lines[3].contains(&format!("  {}…  ", &long[..39])), "{listed}");
    assert!(app_key(&database, "show 3").succeeded().contains(&long));
}

/// Returns the writing end of a pipe whose reading end is closed.
fn broken_pipe() -> io::PipeWriter {
    let (_, writer) = io::pipe().unwrap();
    writer
}

#[test]
fn a_reader_that_closes_the_pipe_is_not_an_error() {
    let database = Database::sqlite();
    database.issue("0.0.0.0");
    for (line, code) in [
        ("list", 0),
        ("list --json", 0),
        ("show 1", 0),
        ("show 1 --json", 0),
        ("--help", 0),
        ("explain 1 --ip 192.0.2.1", 0),
        // The exit code is the answer, so it does not depend on the reader.
        ("list --exit-code", 3),
        ("list --exit-code --json", 3),
        ("list --exit-code --json --ip ::1", 0),
        ("explain 1 --ip 192.0.2.1 --scope a", 3),
        ("explain 1 --ip 192.0.2.1 --scope a --json", 3),
    ] {
        let ran = outcome(command(database.url(), line).stdout(broken_pipe()));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), ""), "{line}");
    }
}

#[test]
fn a_key_that_could_not_be_printed_is_named() {
    let database = Database::sqlite();
    database.migrate();
    for line in ["issue --name n --ip any", "issue --name n --ip any --json"] {
        let ran = outcome(command(database.url(), line).stdout(broken_pipe()));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let id = database.rows().len();
        let expected = format!("\napp-key: key {id} was issued, but could not be written");
        assert!(ran.stderr.contains(&expected), "{ran:?}");
        assert!(ran.stderr.contains(&format!("`app-key revoke {id}`")), "{ran:?}");
    }
}

#[test]
fn no_key_is_issued_if_nothing_reads_standard_output() {
    let database = Database::sqlite();
    database.migrate();
    let mut closed = Command::new("sh");
    closed
        .env_clear()
        .env("DATABASE_URL", database.url())
        .args(["-c", "exec \"$0\" issue --name n --ip any >&-"])
        .arg(program());
    let mut discarded = command(database.url(), "issue --name n --ip any --json");
    discarded.stdout(Stdio::null());
    for mut command in [closed, discarded] {
        let ran = outcome(&mut command);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.starts_with("app-key: no key was issued: "), "{ran:?}");
        assert_eq!(database.rows(), [] as [String; 0]);
    }
}

#[test]
fn a_closed_standard_error_does_not_prevent_issuing() {
    let database = Database::sqlite();
    database.migrate();
    let ran = outcome(command(database.url(), "issue --name n --ip any").stderr(broken_pipe()));
    assert_eq!(status(database.builder(), &ran.succeeded()), 200);
}

#[test]
fn help_covers_every_setting_and_goes_to_the_right_stream() {
    let database = Database::sqlite();
    let alone = app_key(&database, "");
    assert_eq!((alone.code, alone.stdout.as_str()), (Some(2), ""), "{alone:?}");
    assert!(alone.stderr.contains("Usage: app-key [OPTIONS] <COMMAND>"), "{alone:?}");
    let help = app_key(&database, "--help").succeeded();
    for part in [
        "\n  DATABASE_URL\n",
        "\n  APP_KEY_PREFIX\n",
        "\n  APP_KEY_PEPPER\n",
        "\n  APP_KEY_PEPPER_PREVIOUS\n",
        "\n  APP_KEY_ACCEPT_IMPORTED\n",
        "\n  APP_KEY_ACTOR\n",
        "Exit codes:",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
    for command in [
        "migrate",
        "backup",
        "issue",
        "list",
        "show",
        "history",
        "update",
        "rotate",
        "disable",
        "enable",
        "revoke",
        "explain",
        "scan",
        "pattern",
        "completions",
        "man",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
        let help = app_key(&database, &format!("{command} --help")).succeeded();
        let (_, examples) = help.split_once("\nExample").unwrap();
        assert!(examples.contains(&format!("app-key {command}")), "{help}");
        // The command wraps its help at 120 columns, even on a wider terminal.
        assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
    }
    assert!(app_key(&database, "--version").succeeded().starts_with("app-key "));
}
