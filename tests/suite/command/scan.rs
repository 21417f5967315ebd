//! `app-key scan` and `app-key pattern`.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{Ran, app_key, command, outcome, program, status};
use crate::support::{Database, database_test, own_folder, programs};

/// Runs the command without a database, in this folder and with this standard input.
fn scanned(folder: &Path, line: &str, input: &[u8]) -> Ran {
    let mut command = command("", line);
    command.env_remove("DATABASE_URL");
    piped(command.current_dir(folder), input)
}

fn piped(command: &mut Command, input: &[u8]) -> Ran {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = process.stdin.take().unwrap().write_all(input);
    let output = process.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Checks that no output contains eight successive characters of the key after its prefix.
fn hides(ran: &Ran, key: &str) {
    let secret = &key["ak_live_".len()..];
    for start in 0..secret.len() - 7 {
        assert!(!ran.all().contains(&secret[start..start + 8]), "{ran:?}");
    }
}

fn lines(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// I8: Without a database, a scan finds keys in text files, in binary files and on standard input.
#[test]
fn scan_finds_keys_in_files_and_standard_input() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let hint = &key[..12];
    let folder = own_folder();
    fs::write(folder.join("clean.txt"), format!("{}\n{}", &key[..51], &key[1..])).unwrap();
    fs::write(folder.join("leak.txt"), format!("a\nkey={key}\n\n{key}")).unwrap();
    fs::write(folder.join("dump.bin"), [&[0, 159, b'\n', 0], key.as_bytes(), &[0]].concat())
        .unwrap();
    let ran = scanned(&folder, "scan clean.txt leak.txt dump.bin -", key.as_bytes());
    assert_eq!(ran.code, Some(3), "{ran:?}");
    hides(&ran, &key);
    assert_eq!(
        ran.stdout,
        format!(
            "leak.txt:2: {hint}…\nleak.txt:4: {hint}…\ndump.bin: byte 4: {hint}…\n\
             (standard input):1: {hint}…\n"
        )
    );
    let ran = scanned(&folder, "scan --json dump.bin", b"");
    hides(&ran, &key);
    assert_eq!(lines(&ran)[0]["offset"], 4);
    assert_eq!((ran.code, &lines(&ran)[0]["state"]), (Some(3), &Value::Null));

    let ran = scanned(&folder, "scan clean.txt", b"");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
    let ran = scanned(&folder, "scan missing.txt leak.txt .", b"");
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(1), 2), "{ran:?}");
    assert!(ran.stderr.contains("cannot read missing.txt: No such file"), "{ran:?}");
    assert!(ran.stderr.contains("2 of 3 files could not be scanned"), "{ran:?}");
    assert_eq!(scanned(&folder, "scan", b"").code, Some(2));
    assert_eq!(scanned(&folder, "scan --dry-run leak.txt", b"").code, Some(2));
}

// I8: With a database, a scan shows the state of each found key and can revoke the key.
database_test!(scan_shows_the_state_of_keys_and_revokes_them, |database: Database| {
    let (active, _) = database.issue("0.0.0.0");
    let (disabled, id) = database.issue("0.0.0.0");
    database.admin().disable(id).unwrap();
    let (deleted, id) = database.issue("0.0.0.0");
    database.execute(&format!("DELETE FROM api_keys WHERE id = {id}")).unwrap();
    let folder = own_folder();
    let text = format!("{active}\n{disabled}\n{deleted}\n{active}\n");
    fs::write(folder.join("leak.txt"), text).unwrap();
    let run = |line: &str| {
        let ran = outcome(command(database.url(), line).current_dir(&folder));
        assert_eq!(ran.code, Some(3), "{ran:?}");
        hides(&ran, &active);
        ran
    };
    let states = |ran: &Ran| -> Vec<Value> {
        let line = |line: Value| json!([line["id"], line["state"], line["revoked_now"]]);
        lines(ran).into_iter().map(line).collect()
    };
    let found = [
        json!([1, "active", false]),
        json!([2, "disabled", false]),
        json!([null, "unknown", false]),
        json!([1, "active", false]),
    ];
    assert_eq!(states(&run("scan --live --json leak.txt")), found);
    let shown = run("scan --live leak.txt").stdout;
    for line in ["… key 1 (test) active\n", "… key 2 (test) disabled\n", "… not in the table\n"]
    {
        assert!(shown.contains(line), "{shown}");
    }

    let before = (database.rows(), events(&database));
    let dry = run("scan --revoke --dry-run leak.txt").stdout;
    assert_eq!(dry.matches("would be revoked").count(), 3, "{dry}");
    assert_eq!((database.rows(), events(&database)), before);
    let revoked = [
        json!([1, "revoked", true]),
        json!([2, "revoked", true]),
        json!([null, "unknown", false]),
        json!([1, "revoked", false]),
    ];
    assert_eq!(states(&run("scan --revoke --yes --json leak.txt")), revoked);
    assert_eq!(status(database.builder(), &active), 401);
});

fn events(database: &Database) -> Vec<String> {
    database.texts("SELECT action FROM api_key_events ORDER BY happened_at, id")
}

/// I8: A scan of `git log -p`, as in the guide, finds keys in old commits.
#[test]
fn scan_finds_keys_in_the_history_of_a_repository() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let folder = own_folder();
    let run = |line: &str| {
        let ran = outcome(
            programs::command("sh")
                .args(["-euc", line])
                .current_dir(&folder)
                .env("HOME", &folder)
                .env("KEY", &key)
                .env("PROGRAM", fs::canonicalize(program()).unwrap()),
        );
        hides(&ran, &key);
        ran
    };
    run("git init -q . && git config user.name n && git config user.email n@example.com
         echo \"key = $KEY\" > settings && git add . && git commit -qm one
         echo 'key = none' > settings && git commit -qam two")
    .succeeded();
    let ran = run("git log -p --all | $PROGRAM scan -");
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(3), 2), "{ran:?}");
    assert!(ran.stdout.starts_with("(standard input):"), "{ran:?}");
    let ran = run("find . -name settings -exec $PROGRAM scan {} +");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
}

/// I8: The address space is limited to less than the size of the input.
#[test]
fn scan_streams_its_input_in_bounded_memory() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let script = format!(
        "ulimit -v 120000; {{ head -c 160000000 /dev/zero; echo; printf '%s' {key}; }} | \
         \"$0\" scan --json -"
    );
    let ran = outcome(Command::new("sh").args(["-c", &script]).arg(program()));
    assert_eq!(ran.code, Some(3), "{ran:?}");
    hides(&ran, &key);
    let hit = &lines(&ran)[0];
    assert_eq!((&hit["offset"], &hit["line"]), (&json!(160_000_001), &json!(2)));
}

/// I8: Without a terminal, a scan revokes only with `--yes`.
#[test]
fn scan_revokes_only_after_a_confirmation() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let mut command = Command::new("setsid");
    command.env_clear().env("DATABASE_URL", database.url()).arg(program());
    let ran = piped(command.args(["scan", "--revoke", "-"]), key.as_bytes());
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("add --yes"), "{ran:?}");
    assert_eq!(app_key(&database, "show 1 --json").json()["state"], "active");
}

/// I8: `app-key pattern` prints an expression that matches keys with the prefix. The command needs
/// no database.
#[test]
fn the_pattern_matches_keys() {
    let folder = own_folder();
    let pattern = scanned(&folder, "pattern", b"").succeeded();
    assert_eq!(pattern, "\\bak_live_[0-9A-Za-z]{44}\\b\n");
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let text = format!("{key}\nkey=\"{key}\";\nx{key}\n{key}x\n{}\n", &key[..51]);
    let matched = piped(Command::new("grep").args(["-E", pattern.trim_end()]), text.as_bytes());
    assert_eq!(matched.succeeded(), format!("{key}\nkey=\"{key}\";\n"));

    let gitleaks = scanned(&folder, "pattern --format gitleaks", b"").succeeded();
    assert!(gitleaks.contains(&format!("\nregex = '''{}'''\n", pattern.trim_end())), "{gitleaks}");
    assert!(gitleaks.contains("\nkeywords = [\"ak_live_\"]\n"), "{gitleaks}");
    let github = scanned(&folder, "pattern --format github", b"").succeeded();
    assert!(github.starts_with("Secret format: ak_live_[0-9A-Za-z]{44}\n"), "{github}");
    let own = outcome(command("", "pattern").env("APP_KEY_PREFIX", "shop_")).succeeded();
    assert_eq!(own, "\\bshop_[0-9A-Za-z]{44}\\b\n");
}
