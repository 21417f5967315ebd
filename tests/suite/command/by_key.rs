//! Subcommands that take the key itself on standard input.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use super::{Ran, app_key, program, status};
use crate::support::{Database, database_test};

const PEPPER: &str = "q1oJ5sVxCw0dQm3pN8yZkT2uB7hL4fEaG6iR9nXcYtM=";

/// Runs the command in a session without a terminal, with this text on standard input. Checks that
/// no output contains eight successive characters of the key after its prefix.
pub(super) fn given(
    database: &Database,
    settings: &[(&str, &str)],
    line: &str,
    input: &str,
) -> Ran {
    let mut process = Command::new("setsid")
        .env_clear()
        .env("DATABASE_URL", database.url())
        .env("RUST_LOG", "trace")
        .envs(settings.iter().copied())
        .arg(program())
        .args(line.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that rejects its arguments does not read standard input.
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    let output = process.wait_with_output().unwrap();
    let ran = Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    let key = input.trim();
    let secret = key.strip_prefix("ak_live_").unwrap_or(key);
    for start in 0..secret.len().saturating_sub(7) {
        let piece = &secret[start..start + 8];
        assert!(!ran.all().contains(piece), "{piece} in {ran:?}");
    }
    ran
}

// I4: The record is that of the given key, and no output contains the key.
database_test!(a_key_on_standard_input_names_its_record, |database: Database| {
    let (key, _) = database.issue("0.0.0.0");
    let (other, _) = database.issue("0.0.0.0");
    let said = |line: &str, expected: &str| {
        let ran = given(&database, &[], line, &format!("  {key} \r\nnot a key\n"));
        assert!(ran.all().contains(expected), "{expected}: {ran:?}");
        ran.succeeded();
    };
    said("show -", "id                1\n");
    said("show - --json", "{\"id\":1,");
    said("history -", "issued by ");
    said("update - --name other", "Changed key 1 ak_live_");
    said("update - --name test", "  name: other -> test\n");
    said("explain - --ip 203.0.113.7", "accepted: key 1 ak_live_");
    said("disable -", "Disabled key 1 ak_live_");
    assert_eq!(status(database.builder(), &key), 401);
    said("enable -", "Enabled key 1 ak_live_");
    assert_eq!(status(database.builder(), &key), 200);
    said("revoke - --yes", "Revoked key 1 ak_live_");
    said("revoke - --yes", "has been revoked since 20");
    assert_eq!(status(database.builder(), &key), 401);
    assert_eq!(status(database.builder(), &other), 200);
});

// I4: A rotation by key prints only the new key.
database_test!(a_key_on_standard_input_is_rotated, |database: Database| {
    let (key, _) = database.issue("0.0.0.0");
    let next = given(&database, &[], "rotate -", &key).succeeded();
    assert_eq!(status(database.builder(), &key), 200);
    let last = given(&database, &[], "rotate - --now --yes", &next);
    assert!(last.stderr.contains("The old key, key 2 ak_live_"), "{last:?}");
    assert_eq!(status(database.builder(), &next), 401);
    assert_eq!(status(database.builder(), &last.succeeded()), 200);
});

// I4: A key that is not in the table changes nothing.
database_test!(a_key_without_a_record_is_not_found, |database: Database| {
    let (key, _) = database.issue("0.0.0.0");
    let before = database.rows();
    let other = if key.ends_with('x') { 'y' } else { 'x' };
    let changed = format!("{}{other}", &key[..key.len() - 1]);
    for line in [
        "show -",
        "history -",
        "update - --name other",
        "rotate -",
        "rotate - --now --yes",
        "disable -",
        "enable -",
        "revoke - --yes",
    ] {
        for unknown in [changed.as_str(), "1", "not a key"] {
            let ran = given(&database, &[("RUST_LOG", "warn")], line, unknown);
            ran.refused("the key was not found");
        }
        for empty in ["", "\n", " \t\n", "\nak_live_\n"] {
            let ran = given(&database, &[], line, empty);
            assert_eq!(ran.code, Some(2), "{line} {empty:?}: {ran:?}");
            assert!(ran.stderr.contains("is empty"), "{ran:?}");
        }
    }
    assert_eq!(database.rows(), before);
});

// I4: The command uses the same pepper settings as a service.
database_test!(a_key_is_found_under_either_pepper, |database: Database| {
    let (plain, _) = database.issue("0.0.0.0");
    let changing = [("APP_KEY_PEPPER", PEPPER), ("APP_KEY_PEPPER_PREVIOUS", "none")];
    let builder = database.builder().pepper(PEPPER).previous_pepper("none");
    drop(builder.build().unwrap());
    let issued = given(&database, &changing, "issue --name peppered --ip any", "").succeeded();
    let peppered = issued.trim_end();
    for (settings, key, id) in [
        (&[][..], plain.as_str(), Some(1)),
        (&[], peppered, None),
        (&changing[..1], &plain, None),
        (&changing[..1], peppered, Some(2)),
        (&changing, &plain, Some(1)),
        (&changing, peppered, Some(2)),
    ] {
        let ran = given(&database, settings, "show -", key);
        match id {
            Some(id) => {
                assert!(ran.succeeded().starts_with(&format!("id                {id}\n")));
            }
            None => assert_eq!(ran.code, Some(1), "{ran:?}"),
        }
    }
});

/// I4: Standard input contains the key, so it cannot also contain the confirmation.
#[test]
fn revoking_by_key_without_a_terminal_requires_yes() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let ran = given(&database, &[], "revoke -", &format!("{key}\ny\n"));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    assert!(ran.stderr.contains("add --yes"), "{ran:?}");
    assert_eq!(status(database.builder(), &key), 200);
}

/// I4: The error message explains how to pass a key.
#[test]
fn a_key_as_an_argument_is_an_error_with_advice() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let ran = app_key(&database, &format!("revoke {key}"));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("`-` to read the key itself from standard input"), "{ran:?}");
}
