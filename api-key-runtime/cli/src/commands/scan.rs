//! `app-key scan`.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
};

use api_key_runtime::admin::{Admin, FoundKey, KeyRecord, KeyScanner, KeyState};
use chrono::Utc;
use clap::Args;

use super::DryRun;
use crate::{
    failure::Failure,
    json,
    named_key::{NamedKey, Question},
    style,
    text::{named, say, visible},
};

pub(crate) const SCAN_AFTER_HELP: &str = "\
Finds native keys with any prefix by their checksum, in text and in binary files of any size. Compressed files must be \
uncompressed first; UUIDs and imported keys are not found. The full key is never printed. Without --live and --revoke \
no database is needed. The exit code is 0 if no key was found, and 3 if a key was found.

Examples:
  git log -p --all | app-key scan -
  app-key scan --live app.log backup.sql
  git log -p --all | app-key scan - --revoke --yes
  find . -type f -exec app-key scan {} +";

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command")]
pub(crate) struct Scan {
    /// File to scan, or `-` for standard input
    #[arg(required = true, value_name = "FILE|-")]
    files: Vec<PathBuf>,
    /// Look each key up in the database, and print its id and state
    #[arg(long)]
    live: bool,
    /// Revoke each key that is in the database; asks for confirmation
    #[arg(long)]
    revoke: bool,
    /// Skip confirmation
    #[arg(long, short, requires = "revoke")]
    yes: bool,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    /// Print a JSON object for each key, one on each line
    #[arg(long)]
    json: bool,
}

impl Scan {
    pub(crate) fn needs_database(&self) -> bool {
        self.live || self.revoke
    }
}

/// A key that was found, with its place and its record.
#[derive(Debug)]
pub(crate) struct Hit<'a> {
    /// The file, or `-`.
    pub(crate) file: &'a Path,
    pub(crate) found: &'a FoundKey,
    /// Whether the file is binary. In binary files, a place is a byte offset instead of a line.
    is_binary: bool,
    /// Whether the key was looked up in the database.
    pub(crate) is_looked_up: bool,
    /// The record of the key, if the database has one.
    pub(crate) record: Option<KeyRecord>,
    /// Whether this scan revoked the key, or would revoke the key without `--dry-run`.
    pub(crate) is_revoked_now: bool,
}

impl Hit<'_> {
    fn place(&self) -> String {
        let file = if self.file == Path::new("-") {
            "(standard input)".to_owned()
        } else {
            visible(&self.file.display().to_string())
        };
        if self.is_binary {
            format!("{file}: byte {}", self.found.offset)
        } else {
            format!("{file}:{}", self.found.line)
        }
    }
}

pub(crate) fn scan(admin: Option<&Admin>, asked: &Scan) -> Result<(), Failure> {
    if asked.dry_run.dry_run && !asked.revoke {
        return Err(Failure::Usage(
            "--dry-run needs --revoke, because a scan changes nothing else",
        ));
    }
    // Standard input may be the text to scan, so the question is asked on the controlling terminal.
    let is_skipped = !asked.revoke || asked.yes || asked.dry_run.dry_run;
    let question = Question::prepare(NamedKey::Input, is_skipped, "scan --revoke")?;
    let mut scan = Scanning {
        admin,
        asked,
        question,
        answers: HashMap::new(),
        hits: 0,
        active: HashSet::new(),
        revoked: HashSet::new(),
        unprinted: None,
    };
    let mut unread = 0;
    for file in &asked.files {
        match scan.file(file) {
            Err(failure @ Failure::File { .. }) => {
                say(format_args!("app-key: {failure}"));
                unread += 1;
            }
            other => other?,
        }
    }
    scan.say_total();
    match scan.unprinted {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    match scan.hits {
        _ if unread > 0 => Err(Failure::Unread { unread, files: asked.files.len() }),
        0 => Ok(()),
        _ => Err(Failure::Answer),
    }
}

struct Scanning<'a> {
    admin: Option<&'a Admin>,
    asked: &'a Scan,
    question: Question,
    /// The user's answer for each key id, so that the question is asked once for each key.
    answers: HashMap<i64, bool>,
    hits: u64,
    /// The keys that were found and are active after the scan.
    active: HashSet<i64>,
    /// The keys that the scan revoked, or would revoke without `--dry-run`.
    revoked: HashSet<i64>,
    /// The first error of a write to standard output. The scan continues, so that every key is
    /// revoked.
    unprinted: Option<io::Error>,
}

impl Scanning<'_> {
    fn file(&mut self, file: &Path) -> Result<(), Failure> {
        let unread = |source| Failure::File { verb: "read", path: file.to_owned(), source };
        let mut input: Box<dyn BufRead> = if file == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            Box::new(BufReader::new(File::open(file).map_err(unread)?))
        };
        // Git also treats a file as binary if its beginning contains a NUL byte.
        let is_binary = input.fill_buf().map_err(unread)?.contains(&0);
        for found in KeyScanner::new(input) {
            self.hit(file, &found.map_err(unread)?, is_binary)?;
        }
        Ok(())
    }

    fn hit(&mut self, file: &Path, found: &FoundKey, is_binary: bool) -> Result<(), Failure> {
        let mut hit = Hit {
            file,
            found,
            is_binary,
            is_looked_up: self.admin.is_some(),
            record: None,
            is_revoked_now: false,
        };
        if let Some(admin) = self.admin {
            hit.record = admin.find_by_secret(found.secret.expose_secret())?;
            self.revoke(admin, &mut hit)?;
        }
        self.hits += 1;
        if self.unprinted.is_none() {
            self.unprinted = self.print(&hit).err();
        }
        Ok(())
    }

    /// Revokes a key if the user requested and confirmed the revocation.
    fn revoke(&mut self, admin: &Admin, hit: &mut Hit<'_>) -> Result<(), Failure> {
        let Some(record) = &hit.record else { return Ok(()) };
        if record.state(admin.now()) == KeyState::Active {
            self.active.insert(record.id);
        }
        if record.revoked_at.is_some() || !self.asked.revoke {
            return Ok(());
        }
        let is_wanted = match self.answers.get(&record.id) {
            Some(answer) => *answer,
            None => match self.question.ask(format_args!(
                "Revoke {}, found in {}? This cannot be undone.",
                named(record),
                hit.place()
            )) {
                Err(Failure::Declined) => false,
                asked => asked.map(|()| true)?,
            },
        };
        self.answers.insert(record.id, is_wanted);
        if is_wanted {
            self.revoked.insert(record.id);
            hit.is_revoked_now = true;
            if self.asked.dry_run.dry_run {
                return Ok(());
            }
            self.active.remove(&record.id);
            hit.record = Some(admin.revoke(record.id)?);
        }
        Ok(())
    }

    fn print(&self, hit: &Hit<'_>) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        let now = self.admin.map_or_else(Utc::now, Admin::now);
        if self.asked.json {
            let is_dry_run = self.asked.dry_run.dry_run;
            return json::write_hit(&mut out, hit, is_dry_run, now);
        }
        let key = match &hit.record {
            None if hit.is_looked_up => " not in the table".to_owned(),
            None => String::new(),
            Some(record) if hit.is_revoked_now => {
                let done = self.asked.dry_run.verb("revoked now", "would be revoked");
                format!(" key {} ({}) {done}", record.id, visible(&record.name))
            }
            Some(record) => {
                let state = style::state(record.state(now));
                format!(" key {} ({}) {state}", record.id, visible(&record.name))
            }
        };
        writeln!(out, "{}: {}…{key}", hit.place(), hit.found.hint)
    }

    fn say_total(&self) {
        let places = match self.hits {
            0 => return say(format_args!("No keys found.")),
            1 => "1 place".to_owned(),
            hits => format!("{hits} places"),
        };
        let active = self.active.len();
        let revoked = self.asked.dry_run.verb("Revoked", "Would revoke");
        if self.asked.revoke {
            let count = self.revoked.len();
            say(format_args!(
                "Found keys in {places}. {revoked}: {count}. Still active: {active}."
            ));
        } else if self.admin.is_some() {
            say(format_args!("Found keys in {places}. Active keys: {active}."));
        } else {
            say(format_args!("Found keys in {places}. --live shows whether they are active."));
        }
    }
}
