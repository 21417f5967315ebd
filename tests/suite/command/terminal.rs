//! Revoking and listing with a person at a terminal.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use api_key_runtime::admin::NewKey;

use super::{command, program, status};
use crate::support::Database;

/// A pseudoterminal: the side that a person sees, and a process on the other side.
pub(super) struct Session {
    pub(super) screen: File,
    pub(super) shown: String,
    process: Child,
}

impl Session {
    fn start(database: &Database, line: &str) -> Self {
        Self::start_with(command(database.url(), line), |command, _| {
            command.stdout(Stdio::null());
        })
    }

    /// Starts a shell that runs this line, with the terminal as its controlling terminal.
    fn controlled(database: &Database, line: &str) -> Self {
        let mut command = Command::new("setsid");
        command
            .env_clear()
            .env("DATABASE_URL", database.url())
            .args(["--ctty", "sh", "-c", line])
            .arg(program());
        Self::start_with(command, |command, _| {
            command.stdout(Stdio::null());
        })
    }

    /// Starts a session that has this many columns and also shows standard output.
    fn of_width(columns: u16, database: &Database, line: &str) -> Self {
        Self::start_with(command(database.url(), line), |command, terminal| {
            let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&terminal, size).unwrap();
            command.stdout(terminal);
        })
    }

    pub(super) fn start_with(
        mut command: Command,
        attach_stdout: impl FnOnce(&mut Command, File),
    ) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
        let terminal = OpenOptions::new().read(true).write(true).open(name).unwrap();
        attach_stdout(&mut command, terminal.try_clone().unwrap());
        let process =
            command.stdin(terminal.try_clone().unwrap()).stderr(terminal).spawn().unwrap();
        Self { screen: screen.into(), shown: String::new(), process }
    }

    /// Reads until the terminal shows this text or the process has ended.
    pub(super) fn wait_for(&mut self, text: &str) {
        let mut bytes = [0; 1024];
        while !self.shown.contains(text) {
            match self.screen.read(&mut bytes) {
                Ok(length) if length > 0 => {
                    self.shown.push_str(&String::from_utf8_lossy(&bytes[..length]));
                }
                _ => break,
            }
        }
    }

    /// Returns the shown text and the exit code. An unexpected question gets the end of the input
    /// as its answer.
    pub(super) fn finish(mut self) -> (String, Option<i32>) {
        let _ = self.screen.write_all(b"\x04");
        let status = self.process.wait().unwrap();
        self.wait_for("what is never shown");
        (self.shown, status.code())
    }
}

#[test]
fn revoking_asks_first_and_accepts_only_yes() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let before = database.rows();
    let question = format!(
        "Revoke key 1 {} (test)? This cannot be undone. [y/N] ",
        &key[.."ak_live_".len() + 4]
    );
    for answer in ["\n", "n\n", "no\n", "yo\n", "revoke\n", "\u{4}"] {
        let mut session = Session::start(&database, "revoke 1");
        session.wait_for("[y/N] ");
        assert_eq!(session.shown, question);
        session.screen.write_all(answer.as_bytes()).unwrap();
        let (shown, code) = session.finish();
        assert_eq!(code, Some(1), "{answer:?}");
        assert!(shown.contains("app-key: nothing was changed"), "{shown}");
        assert_eq!(database.rows(), before, "{answer:?}");
    }
    let mut session = Session::start(&database, "revoke 1");
    session.wait_for("[y/N] ");
    session.screen.write_all(b"Yes\n").unwrap();
    let (shown, code) = session.finish();
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(status(database.builder(), &key), 401);
}

#[test]
fn revoking_does_not_ask_with_yes_or_when_already_revoked() {
    let database = Database::sqlite();
    database.issue("0.0.0.0");
    for _ in 0..2 {
        let (shown, code) = Session::start(&database, "revoke 1 --yes").finish();
        assert!(!shown.contains("[y/N]"), "{shown}");
        assert_eq!(code, Some(0), "{shown}");
    }
    let (shown, code) = Session::start(&database, "revoke 1").finish();
    assert!(!shown.contains("[y/N]") && shown.contains("has been revoked since"), "{shown}");
    assert_eq!(code, Some(0), "{shown}");
}

/// I4: Standard input contains the key, so the question is asked on the terminal.
#[test]
fn revoking_by_key_asks_on_the_terminal() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let piped = format!("printf '%s\\ny\\n' {key} | \"$0\" revoke -");
    for (answer, code, answered) in [("n\n", 1, 200), ("y\n", 0, 401)] {
        let mut session = Session::controlled(&database, &piped);
        session.wait_for("[y/N] ");
        session.screen.write_all(answer.as_bytes()).unwrap();
        let (shown, ended) = session.finish();
        assert_eq!(ended, Some(code), "{answer:?}: {shown}");
        assert_eq!(status(database.builder(), &key), answered, "{shown}");
    }
}

/// I4: The terminal does not show the typed key, but it shows the answer to the question.
#[test]
fn a_typed_key_is_not_shown() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let mut session = Session::controlled(&database, "exec \"$0\" revoke -");
    session.wait_for("Key (not shown): ");
    session.screen.write_all(format!("{key}\n").as_bytes()).unwrap();
    session.wait_for("[y/N] ");
    session.screen.write_all(b"yes\n").unwrap();
    let (shown, code) = session.finish();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains(&key["ak_live_".len() + 4..]), "{shown}");
    assert!(shown.contains("[y/N] yes"), "{shown}");
    assert_eq!(status(database.builder(), &key), 401);
}

/// I4: An interrupt ends the question, so the program can restore the terminal before it exits.
#[test]
fn an_interrupt_ends_the_hidden_question() {
    let database = Database::sqlite();
    database.migrate();
    let mut session = Session::controlled(&database, "exec \"$0\" show -");
    session.wait_for("Key (not shown): ");
    session.screen.write_all(b"abc\x03").unwrap();
    let (shown, code) = session.finish();
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("interrupted") && !shown.contains("abc"), "{shown}");
}

// A11
#[test]
fn a_list_fits_the_terminal_and_names_omitted_columns() {
    let database = Database::sqlite();
    for number in 0..3 {
        let new = NewKey::new(format!("billing {number}"))
            .allow("10.0.0.0/8")
            .unwrap()
            .owner("user 17")
            .scopes("cakes:write cakes:delete")
            .unwrap();
        database.issue_with(&new);
    }
    for (columns, omitted) in [(200, None), (120, Some("CREATED")), (80, Some("SCOPES"))] {
        let (shown, code) = Session::of_width(columns, &database, "list").finish();
        assert_eq!(code, Some(0), "{shown}");
        let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
        let (table, said) = lines.split_at(4);
        for line in table {
            assert!(line.len() <= usize::from(columns), "{columns}: {shown}");
        }
        for heading in ["LAST USED", "FROM", "USES", "STATE"] {
            assert!(table[0].contains(heading), "{columns}: {shown}");
        }
        match omitted {
            None => assert!(said.is_empty(), "{shown}"),
            Some(heading) => {
                assert!(!table[0].contains(heading), "{shown}");
                assert!(
                    said[0].starts_with("Columns hidden to fit the terminal: ")
                        && said[0].contains(heading),
                    "{shown}"
                );
            }
        }
    }
}

/// Colours are for terminals only, and `NO_COLOR` turns them off (<https://no-color.org>).
#[test]
fn colours_appear_only_at_a_terminal_without_no_color() {
    let database = Database::sqlite();
    database.issue("10.0.0.0/8");
    database.admin().revoke(1).unwrap();
    for line in ["show 1", "explain 1 --ip 10.1.2.3", "--help"] {
        for (settings, is_coloured) in
            [(&[("TERM", "xterm")][..], true), (&[("TERM", "xterm"), ("NO_COLOR", "1")], false)]
        {
            let mut command = command(database.url(), line);
            command.envs(settings.iter().copied());
            let session = Session::start_with(command, |command, terminal| {
                command.stdout(terminal);
            });
            let (shown, _) = session.finish();
            assert_eq!(shown.contains("\u{1b}["), is_coloured, "{line} {settings:?}: {shown}");
        }
        let piped = super::app_key_with(&database, ("TERM", "xterm"), line);
        assert!(!piped.all().contains('\u{1b}'), "{piped:?}");
    }
}
