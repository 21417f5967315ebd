//! Errors: exit codes, messages, and checks that nothing was changed.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::Path};

use super::{app_key, app_key_with, command, outcome};
use crate::support::{Database, database_test};

/// Arguments for `issue`, and a part of the message. `--name n --ip any` is added unless the
/// arguments contain these options.
const BAD_INPUT: &[(&[&str], &str)] = &[
    (&["--ip", "junk"], "not an IPv4 or IPv6 address"),
    (&["--ip", ""], "it is empty"),
    (&["--ip", "10.1.2.3/8"], "write 10.0.0.0/8 for the block"),
    (&["--ip", "010.0.0.0/8"], "not an IPv4 or IPv6 address"),
    (&["--ip", "10.0.0.1,10.0.0.2"], "separate addresses by spaces"),
    (&["--ip", "any", "--ip", "10.0.0.1"], "--ip any allows every address"),
    (&["--ip", "10.0.0.1", "--ip", "0.0.0.0"], "--ip any allows every address"),
    (&["--ip", "10.0.0.1 0.0.0.0"], "write 0.0.0.0 alone"),
    (&["--ip", "Any"], "not an IPv4 or IPv6 address"),
    (&["--name", ""], "invalid name"),
    (&["--name", " \t"], "invalid name"),
    (&["--owner", ""], "invalid owner"),
    (&["--scope", "a\"b"], "RFC 6749"),
    (&["--scope", "a  b"], "RFC 6749"),
    (&["--scope", "é"], "RFC 6749"),
    (&["--scope", ""], "or omit the option"),
    (&["--scope", "a,b"], "separate scopes by spaces"),
    (&["--scope", "cakes:*"], "write each scope in full"),
    (&["--expires", "2020-01-01T00:00:00Z"], "not in the future"),
    (&["--expires", "0d"], "not in the future"),
    (&["--expires", "junk"], "write a duration"),
    (&["--expires", ""], "write a duration"),
    (&["--expires", "d"], "write a duration"),
    (&["--expires", "90"], "write a duration"),
    (&["--expires", "9dd"], "write a duration"),
    (&["--expires", "1.5d"], "write a duration"),
    (&["--expires", "+5d"], "write a duration"),
    (&["--expires", "5é"], "write a duration"),
    (&["--expires", "2030-01-31"], "write a duration"),
    (&["--expires", "2030-02-31T00:00:00Z"], "write a duration"),
    (&["--expires", "99999999999999999999d"], "write a duration"),
    (&["--expires", "9223372036854775807w"], "after the year 9999"),
    (&["--expires", "9223372036854775807s"], "after the year 9999"),
    (&["--expires", "3650000d"], "after the year 9999"),
    (&["--expires", "9999-12-31T23:59:59-01:00"], "after the year 9999"),
    (&["--expires", "-5d"], "unexpected argument"),
    (&["--format", "uuid"], "APP_KEY_ACCEPT_IMPORTED"),
    (&["--format", "md5"], "possible values: native, uuid"),
    (&["--nmae", "n"], "unexpected argument"),
];

database_test!(invalid_input_is_reported_and_changes_nothing, |database: Database| {
    database.issue("10.0.0.0/8");
    let before = database.rows();
    let refused = |line: &str, arguments: &[&str], reason: &str| {
        let ran = outcome(command(database.url(), line).args(arguments));
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(ran.stderr.contains(reason), "{arguments:?}: {ran:?}");
        let named = ran.stderr.starts_with("app-key: ") || ran.stderr.starts_with("error: ");
        assert!(named, "{arguments:?}: {ran:?}");
        assert_eq!(database.rows(), before, "{arguments:?}");
    };
    for (bad, reason) in BAD_INPUT {
        let mut line = "issue".to_owned();
        for (option, value) in [("--name", "n"), ("--ip", "any")] {
            if !bad.contains(&option) {
                line = format!("{line} {option} {value}");
            }
        }
        refused(&line, bad, reason);
    }
    refused("issue --ip any --name", &[&"x".repeat(201)], "1 to 200 characters");
    let many: Vec<String> = (0..400).map(|n| format!("10.100.{}.{}", n / 200, n % 200)).collect();
    refused("issue --name n --ip", &[&many.join(" ")], "longer than the table holds");
    let many: Vec<String> = (0..1000).map(|number| format!("s{number:04}")).collect();
    refused("issue --name n --ip any --scope", &[&many.join(" ")], "than the table holds");
    let [half, other] = [many[..500].join(" "), many[500..].join(" ")];
    refused(
        "issue --name n --ip any",
        &["--scope", &half, "--scope", &other],
        "than the table holds",
    );
    refused("update 1 --scope", &[""], "use --no-scopes");
    for line in ["update 1 --add-scope", "update 1 --remove-scope", "explain 1 --ip ::1 --scope"] {
        refused(line, &[""], "write a scope, or omit the option");
    }
    refused("issue --name n", &[], "--ip <");
    refused("issue --ip any", &[], "--name <");
    for id in ["0", "-1", "x", "", "99999999999999999999", "1 OR 1=1"] {
        for change in ["show", "disable", "enable", "revoke"] {
            refused(change, &[id], "error: ");
        }
    }
});

// G1
#[test]
fn a_key_among_the_arguments_is_not_repeated() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    for line in
        ["revoke", "show", "disable", "list", "", "revoke 1", "issue --name n --ip", "list --limit"]
    {
        let ran = outcome(command(database.url(), line).arg(&key));
        assert_eq!(ran.code, Some(2), "{line}: {ran:?}");
        assert!(!ran.all().contains(&key[12..]), "{line}: {ran:?}");
    }
    for line in ["list", "issue --name n --ip any"] {
        for option in
            ["--limit", "--after", "--ip", "--expires", "--state", "--format", "--unknown"]
        {
            let ran = outcome(command(database.url(), line).arg(format!("{option}={key}")));
            assert_eq!(ran.code, Some(2), "{option}: {ran:?}");
            assert!(!ran.all().contains(&key[12..]), "{option}: {ran:?}");
        }
    }
    let not_unicode = OsString::from_vec([key.as_bytes(), b"\xff"].concat());
    let ran = outcome(command(database.url(), "revoke").arg(not_unicode));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(!ran.all().contains(&key[12..]), "{ran:?}");
}

database_test!(an_unknown_id_is_not_found, |database: Database| {
    database.issue("0.0.0.0");
    let before = database.rows();
    for line in
        ["show 99", "show 99 --json", "disable 99", "enable 99", "revoke 99", "revoke 99 --yes"]
    {
        app_key(&database, line).refused("key 99 does not exist; `app-key list` shows all keys");
    }
    assert_eq!(database.rows(), before);
});

const READERS_AND_WRITERS: [&str; 7] = [
    "list",
    "list --json",
    "show 1",
    "issue --name n --ip any",
    "disable 1",
    "enable 1",
    "revoke 1",
];

// F8
database_test!(a_database_without_tables_names_the_migrate_command, |database: Database| {
    for line in READERS_AND_WRITERS {
        app_key(&database, line).refused("`app-key migrate`");
    }
    if !database.is_postgres() {
        assert!(!Path::new(database.url()).exists(), "only `migrate` creates a file");
    }
});

// F8
#[test]
fn a_missing_database_is_an_error_without_its_password() {
    for (url, reason) in [
        ("postgres://cakes:s3cretword@127.0.0.1:1/cakes", "Postgres at 127.0.0.1:1/cakes"),
        ("postgres://cakes:s3cretword%zz@127.0.0.1:1/cakes", "libpq cannot read its URL"),
        ("postgres://cakes:s3cretword@[::1/cakes", "libpq cannot read its URL"),
        ("postgres://cakes:s3cretword/12@127.0.0.1:1/cakes", "Postgres at 127.0.0.1:1/cakes"),
        ("postgres://cakes:12?s3cretword@127.0.0.1:1/cakes", "Postgres at 127.0.0.1:1/cakes"),
        ("postgres://127.0.0.1:1/cakes?password=12@s3cretword", "cannot connect to Postgres:"),
        ("host=127.0.0.1 port=1 password=12 s3cretword", "cannot connect to Postgres:"),
        ("mysql://cakes:s3cretword@127.0.0.1/cakes", "mysql://"),
        ("", "DATABASE_URL is not set"),
        (":memory:", "the path of a file"),
        ("/nowhere/at/all.db", "SQLite file /nowhere/at/all.db"),
        ("/", "SQLite file /"),
    ] {
        for line in ["list", "migrate", "issue --name n --ip any"] {
            let ran = outcome(&mut command(url, line));
            ran.refused(reason);
            assert!(!ran.stderr.contains("s3cretword"), "{ran:?}");
        }
    }
    outcome(command("", "list").env_remove("DATABASE_URL")).refused("DATABASE_URL is not set");
}

// A6
database_test!(an_unusable_setting_is_reported_and_changes_nothing, |database: Database| {
    database.issue("0.0.0.0");
    let before = database.rows();
    for (name, value) in [
        ("APP_KEY_PEPPER", ""),
        ("APP_KEY_PEPPER", "  "),
        ("APP_KEY_PEPPER", "not base64!"),
        ("APP_KEY_PEPPER", "c2hvcnQ="),
        ("APP_KEY_PEPPER_PREVIOUS", "c2hvcnQ="),
        ("APP_KEY_PREFIX", "AK-"),
        ("APP_KEY_ACCEPT_IMPORTED", "yes"),
    ] {
        for line in READERS_AND_WRITERS {
            let ran = app_key_with(&database, (name, value), line);
            ran.refused(name);
            assert!(!ran.stderr.contains("c2hvcnQ="), "{ran:?}");
        }
    }
    assert_eq!(database.rows(), before);
});

// E13
#[test]
fn a_full_disk_fails_to_issue_and_leaves_keys_readable() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let before = database.rows();
    // The limit prevents files from growing, so writes fail as on a full disk.
    let full = r#"trap "" XFSZ; ulimit -f 0; exec "$0" issue --name n --ip any"#;
    let mut command = std::process::Command::new("bash");
    command
        .env_clear()
        .env("DATABASE_URL", database.url())
        .args(["-c", full])
        .arg(super::program());
    let ran = super::outcome(&mut command);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.stderr.contains("SQLite file"), "{ran:?}");
    assert_eq!(database.rows(), before);
    assert_eq!(super::status(database.builder(), &key), 200);
}
