//! The subcommands.

use std::{
    collections::HashMap,
    fmt,
    io::{self, BufRead as _, BufWriter, IsTerminal as _, Read as _, Write as _},
};

use api_key_runtime::{
    AppKeys,
    admin::{Admin, KeyRecord, KeyState, KeyUsage},
    migrations,
};

use crate::{
    arguments::{Backup, Command, CopyMigrations, Issue, List, Migrations, NamedKey, Revoke, Show},
    failure::Failure,
    json,
    table::{self, Row},
    terminal::Terminal,
    text::{self, named, time},
};

/// Maximum number of bytes read from standard input. Every key is shorter.
const MAX_INPUT_BYTES: u64 = 4096;

pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    // Every command except `migrations copy` needs a database.
    let admin = || Ok::<_, Failure>(AppKeys::builder().env()?.build_admin()?);
    match command {
        Command::Migrations(Migrations::Copy(asked)) => copy(asked),
        Command::Migrate => migrate(&admin()?),
        Command::Backup(asked) => back_up(&admin()?, asked),
        Command::Issue(asked) => issue(&admin()?, asked),
        Command::List(asked) => list(&admin()?, asked),
        Command::Show(asked) => show(&admin()?, asked),
        Command::Disable(key) => disable(&admin()?, key.id),
        Command::Enable(key) => enable(&admin()?, key.id),
        Command::Revoke(asked) => revoke(&admin()?, asked),
    }
}

fn migrate(admin: &Admin) -> Result<(), Failure> {
    let versions = admin.migrate()?;
    if versions.is_empty() {
        say(format_args!("The tables are up to date."));
    } else {
        say(format_args!("Ran the migrations {}.", versions.join(", ")));
    }
    Ok(())
}

fn back_up(admin: &Admin, asked: &Backup) -> Result<(), Failure> {
    admin.back_up(&asked.file)?;
    say(format_args!("Wrote {}.", text::one_line(&asked.file.display().to_string())));
    Ok(())
}

fn copy(asked: &CopyMigrations) -> Result<(), Failure> {
    let made = migrations::copy(&asked.directory, asked.database)?;
    if made.is_empty() {
        say(format_args!("The migrations already exist."));
    }
    for folder in made {
        say(format_args!("Wrote {}.", text::one_line(&folder.display().to_string())));
    }
    Ok(())
}

/// Returns whether standard output is discarded. The Rust runtime opens a closed standard output as
/// `/dev/null`.
#[cfg(unix)]
fn is_output_discarded() -> bool {
    use std::os::{fd::AsFd as _, unix::fs::MetadataExt as _};
    let device = |file: std::fs::File| file.metadata().map(|metadata| metadata.rdev()).ok();
    let output = io::stdout().as_fd().try_clone_to_owned().ok().and_then(|fd| device(fd.into()));
    let null = std::fs::File::open("/dev/null").ok().and_then(device);
    output.is_none() || output == null
}

#[cfg(not(unix))]
fn is_output_discarded() -> bool {
    false
}

fn issue(admin: &Admin, asked: &Issue) -> Result<(), Failure> {
    if is_output_discarded() {
        return Err(Failure::Discarded);
    }
    let issued = admin.issue(&asked.new_key()?)?;
    // The key is already in the table. It must be printed even if the details cannot be written.
    let _ = text::write_issued(&mut BufWriter::new(io::stderr().lock()), &issued.record);
    say(format_args!("The key itself is on standard output. This is the only time it is shown."));
    let mut out = io::stdout().lock();
    let printed = if asked.json {
        json::write_issued(&mut out, &issued, admin.now())
    } else {
        writeln!(out, "{}", issued.secret.expose_secret())
    };
    printed
        .and_then(|()| out.flush())
        .map_err(|source| Failure::Unprinted { id: issued.record.id, source })
}

fn list(admin: &Admin, asked: &List) -> Result<(), Failure> {
    let records = admin.list(&asked.wanted())?;
    let usage = match (records.first(), records.last()) {
        (Some(first), Some(last)) => admin.list_usage(first.id..=last.id)?,
        _ => Vec::new(),
    };
    let usage: HashMap<i64, KeyUsage> = usage.into_iter().map(|uses| (uses.key_id, uses)).collect();
    let now = admin.now();
    let row = |record| Row { record, usage: usage.get(&record.id), now };
    let rows: Vec<Row<'_>> = records.iter().map(row).collect();
    let mut out = BufWriter::new(io::stdout().lock());
    if asked.json {
        json::write_rows(&mut out, &rows)?;
    } else if rows.is_empty() && asked.is_partial() {
        say(format_args!("No key matches."));
    } else if rows.is_empty() {
        say(format_args!(
            "No keys yet. Create one with `app-key issue`; see `app-key issue --help`."
        ));
    } else {
        let width = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0);
        let left_out = table::write(&mut out, &rows, width)?;
        out.flush()?;
        if !left_out.is_empty() {
            say(format_args!(
                "Columns hidden to fit the terminal: {}. Use `app-key show ID` or `app-key list --json` to see them.",
                left_out.join(", ")
            ));
        }
    }
    Ok(out.flush()?)
}

/// Returns the record of a key, by id or by the key itself.
fn record_of(admin: &Admin, key: NamedKey) -> Result<KeyRecord, Failure> {
    match key {
        NamedKey::Id(id) => Ok(admin.get(id)?),
        NamedKey::Input => admin.find_by_secret(&read_key()?)?.ok_or(Failure::Unknown),
    }
}

/// Reads a key from standard input. A terminal does not show the key.
fn read_key() -> Result<String, Failure> {
    let line = if io::stdin().is_terminal() {
        Terminal::open().and_then(|terminal| terminal.ask_hidden("Key (not shown): "))
    } else {
        let mut line = String::new();
        let mut input = io::stdin().lock().take(MAX_INPUT_BYTES);
        input.read_line(&mut line).map(|_| line)
    }
    .map_err(Failure::Input)?;
    match line.trim() {
        "" => Err(Failure::Usage("the first line of standard input is empty; write the key there")),
        key => Ok(key.to_owned()),
    }
}

fn show(admin: &Admin, asked: &Show) -> Result<(), Failure> {
    let record = record_of(admin, asked.key.id)?;
    let usage = admin.usage(record.id)?;
    let (usage, now) = (usage.as_ref(), admin.now());
    let mut out = BufWriter::new(io::stdout().lock());
    if asked.json {
        json::write_record(&mut out, &record, usage, now)?;
    } else {
        text::write_details(&mut out, &record, usage, now)?;
    }
    Ok(out.flush()?)
}

fn disable(admin: &Admin, key: NamedKey) -> Result<(), Failure> {
    let before = record_of(admin, key)?;
    let after = admin.disable(before.id)?;
    match before.disabled_at {
        None => say(format_args!("Disabled {}.", named(&after))),
        Some(at) => say(format_args!(
            "Nothing to do: {} has been disabled since {}.",
            named(&after),
            time(at)
        )),
    }
    Ok(())
}

fn enable(admin: &Admin, key: NamedKey) -> Result<(), Failure> {
    let before = record_of(admin, key)?;
    let after = admin.enable(before.id)?;
    if before.disabled_at.is_none() {
        say(format_args!("Nothing to do: {} is not disabled.", named(&after)));
    } else {
        say(format_args!("Enabled {}.", named(&after)));
    }
    match after.expires_at {
        Some(end) if after.state(admin.now()) == KeyState::Expired => {
            say(format_args!("The key is still rejected, because it expired at {}.", time(end)));
        }
        _ => {}
    }
    Ok(())
}

fn revoke(admin: &Admin, asked: &Revoke) -> Result<(), Failure> {
    let terminal = match asked.key.id {
        NamedKey::Input if !asked.yes => Some(Terminal::open().map_err(|_| {
            Failure::Usage(
                "`revoke -` cannot ask for confirmation: there is no terminal; add --yes",
            )
        })?),
        _ => None,
    };
    let before = record_of(admin, asked.key.id)?;
    if let Some(at) = before.revoked_at {
        say(format_args!("Nothing to do: {} has been revoked since {}.", named(&before), time(at)));
        return Ok(());
    }
    if !asked.yes && !confirmed(&before, terminal.as_ref()) {
        return Err(Failure::Declined);
    }
    let after = admin.revoke(before.id)?;
    say(format_args!("Revoked {}.", named(&after)));
    Ok(())
}

/// Asks for confirmation on a terminal: the given one, or standard input and standard error if both
/// are terminals. Returns true without asking if there is no terminal, so that scripts can revoke.
fn confirmed(record: &KeyRecord, terminal: Option<&Terminal>) -> bool {
    let question = format!("Revoke {}? This cannot be undone. [y/N] ", named(record));
    let answer = match terminal {
        Some(terminal) => terminal.ask(&question),
        None if io::stdin().is_terminal() && io::stderr().is_terminal() => {
            ask_on_standard_error(&question)
        }
        None => return true,
    };
    answer.is_ok_and(|answer| ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

fn ask_on_standard_error(question: &str) -> io::Result<String> {
    io::stderr().write_all(question.as_bytes())?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer)
}

/// Writes a message about the result to standard error. Errors are ignored, because the command
/// itself has succeeded.
///
/// The message is written at once: standard error has no buffer, and lines of several processes
/// could mix.
fn say(message: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(format!("{message}\n").as_bytes());
}
