//! The key that a command acts on, and the question before a change that cannot be undone.

use std::{
    fmt,
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
};

use api_key_runtime::admin::{Admin, KeyRecord};
use clap::Args;

use crate::{failure::Failure, terminal::Terminal};

/// Maximum number of bytes to read from standard input. Every key is shorter.
const MAX_INPUT_BYTES: u64 = 4096;

#[derive(Debug, Args)]
pub(crate) struct KeyId {
    /// Id of the key, as `app-key list` shows it, or `-` to read the key itself from standard input
    #[arg(value_name = "ID|-", value_parser = named_key)]
    pub(crate) id: NamedKey,
}

/// The key that a command acts on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NamedKey {
    Id(i64),
    /// The key itself is on standard input.
    Input,
}

pub(crate) fn named_key(text: &str) -> Result<NamedKey, &'static str> {
    match text.parse() {
        Ok(id) if id > 0 => Ok(NamedKey::Id(id)),
        _ if text == "-" => Ok(NamedKey::Input),
        _ => Err("write the id of the key, or `-` to read the key itself from standard input"),
    }
}

/// Returns the record of a key, by id or by the key itself.
pub(crate) fn record_of(admin: &Admin, key: NamedKey) -> Result<KeyRecord, Failure> {
    match key {
        NamedKey::Id(id) => Ok(admin.get(id)?),
        NamedKey::Input => admin.find_by_secret(&read_key()?)?.ok_or(Failure::Unknown),
    }
}

/// Reads a key from standard input. A terminal does not echo the key.
pub(crate) fn read_key() -> Result<String, Failure> {
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

/// A question before a change that cannot be undone.
pub(crate) enum Question {
    /// The question is not asked, for example because of `--yes`.
    Skipped,
    /// Standard input has the key, so the question is asked on the controlling terminal.
    OnTerminal(Terminal),
    /// The question is asked if standard input and standard error are terminals.
    OnStandardError,
}

impl Question {
    /// Decides where the question will be asked, before the key is read. Fails if the key is on
    /// standard input and there is no terminal for the question.
    pub(crate) fn prepare(
        key: NamedKey,
        is_skipped: bool,
        command: &'static str,
    ) -> Result<Self, Failure> {
        match key {
            _ if is_skipped => Ok(Self::Skipped),
            NamedKey::Id(_) => Ok(Self::OnStandardError),
            NamedKey::Input => match Terminal::open() {
                Ok(terminal) => Ok(Self::OnTerminal(terminal)),
                Err(_) => Err(Failure::NoTerminal { command }),
            },
        }
    }

    /// Returns whether the question will be asked.
    pub(crate) fn is_asked(&self) -> bool {
        match self {
            Self::Skipped => false,
            Self::OnTerminal(_) => true,
            Self::OnStandardError => io::stdin().is_terminal() && io::stderr().is_terminal(),
        }
    }

    /// Asks the question, and fails if the user declines. For a key that an id names, succeeds
    /// without asking if there is no terminal, so that scripts can run the command.
    pub(crate) fn ask(&self, question: fmt::Arguments<'_>) -> Result<(), Failure> {
        if !self.is_asked() {
            return Ok(());
        }
        let question = format!("{question} [y/N] ");
        let answer = match self {
            Self::OnTerminal(terminal) => terminal.ask(&question),
            Self::Skipped | Self::OnStandardError => ask_on_standard_error(&question),
        };
        let is_yes =
            |answer: String| ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str());
        if answer.is_ok_and(is_yes) { Ok(()) } else { Err(Failure::Declined) }
    }
}

fn ask_on_standard_error(question: &str) -> io::Result<String> {
    io::stderr().write_all(question.as_bytes())?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer)
}
