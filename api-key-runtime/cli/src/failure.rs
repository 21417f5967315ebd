//! Errors of the command, and its exit codes.

use std::{
    ffi::OsString,
    fmt,
    io::{self, ErrorKind, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use api_key_runtime::Error;

use crate::text;

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const ANSWER: u8 = 3;
/// Minimum length of an argument that is treated as a possible key. Anyone could guess a shorter
/// key.
const SHORTEST_SECRET: usize = 12;

#[derive(Debug)]
pub(crate) enum Failure {
    /// The library returned an error.
    Keys(Error),
    /// The arguments contradict each other.
    Usage(&'static str),
    /// A question cannot be asked, because there is no terminal.
    NoTerminal { command: &'static str },
    /// The user did not confirm.
    Declined,
    /// The key is rejected, or keys were found. The result is on standard output, so no message is
    /// written.
    Answer,
    /// A file could not be read or written.
    File { verb: &'static str, path: PathBuf, source: io::Error },
    /// Some files were not scanned. A message about each of these files has been written.
    Unread { unread: usize, files: usize },
    /// The table has no record for the key on standard input.
    Unknown,
    /// The key could not be read.
    Input(io::Error),
    /// A CSV file with keys could not be read.
    Csv { name: String, source: io::Error },
    /// The first line of a CSV file does not name the required columns.
    Columns(String),
    /// Rows of an import were refused.
    RefusedRows(String),
    /// Standard output could not be written.
    Output(io::Error),
    /// Standard output is closed or discarded, so a new key would be lost.
    Discarded,
    /// A key was issued but could not be printed.
    Unprinted { id: i64, source: io::Error },
}

impl Failure {
    /// Returns whether the reader of standard output has stopped reading, as in
    /// `app-key list | head -1`.
    fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(source) if source.kind() == ErrorKind::BrokenPipe)
    }

    /// Writes the message, if there is one, and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if self.is_closed_pipe() {
            return ExitCode::SUCCESS;
        }
        if matches!(self, Self::Answer) {
            return ExitCode::from(ANSWER);
        }
        let message = text::one_line(&self.to_string());
        // If standard error is closed too, the exit code is the only report.
        let _ = io::stderr().write_all(format!("app-key: {message}\n").as_bytes());
        ExitCode::from(match self {
            Self::Keys(error) if error.is_invalid_input() => USAGE,
            Self::Usage(_) | Self::Columns(_) | Self::NoTerminal { .. } => USAGE,
            _ => REFUSED,
        })
    }
}

/// Returns the answer as the exit code, even if the reader of standard output has stopped reading,
/// as in `app-key explain .. | grep -q`. `written` is the result of writing the answer.
pub(crate) fn answer(written: Result<(), Failure>, is_answer: bool) -> Result<(), Failure> {
    match written {
        Err(failure) if !failure.is_closed_pipe() => Err(failure),
        _ if is_answer => Err(Failure::Answer),
        written => written,
    }
}

/// Reports invalid arguments. An argument that could be a key is not repeated.
pub(crate) fn report_usage(
    error: &clap::Error,
    arguments: impl Iterator<Item = OsString>,
) -> ExitCode {
    let message = error.render().to_string();
    let shown = without_secrets(&message, arguments);
    // Help is not an error and goes to standard output.
    if shown == message || !error.use_stderr() {
        error.exit();
    }
    let _ = io::stderr().write_all(shown.as_bytes());
    ExitCode::from(USAGE)
}

/// Replaces each value that could be a key, including a value after the `=` of an option.
fn without_secrets(message: &str, arguments: impl Iterator<Item = OsString>) -> String {
    arguments.fold(message.to_owned(), |shown, argument| {
        let argument = argument.to_string_lossy();
        let value = match argument.split_once('=') {
            Some((option, value)) if option.starts_with('-') => value,
            None if argument.starts_with("--") => "",
            _ => &argument,
        };
        if value.len() < SHORTEST_SECRET { shown } else { shown.replace(value, "(not shown)") }
    })
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(error) => error.fmt(formatter),
            Self::Usage(message) => formatter.write_str(message),
            Self::NoTerminal { command } => write!(
                formatter,
                "`{command} -` cannot ask for confirmation: there is no terminal; add --yes"
            ),
            Self::Declined => formatter.write_str("nothing was changed"),
            Self::Answer => formatter.write_str("the key is rejected, or keys were found"),
            Self::File { verb, path, source } => {
                let path = text::visible(&path.display().to_string());
                write!(formatter, "cannot {verb} {path}: {source}")
            }
            Self::Unread { unread, files } => {
                write!(formatter, "{unread} of {files} files could not be scanned")
            }
            Self::Unknown => formatter.write_str(
                "the key was not found in the table; check that DATABASE_URL and APP_KEY_PEPPER are those of the service",
            ),
            Self::Input(source) => write!(formatter, "cannot read the key: {source}"),
            Self::Csv { name, source } => write!(formatter, "cannot read {name}: {source}"),
            Self::Columns(message) | Self::RefusedRows(message) => formatter.write_str(message),
            Self::Output(source) => write!(formatter, "cannot write to standard output: {source}"),
            Self::Discarded => formatter.write_str(
                "no key was issued: standard output is closed or discarded, so the key would be lost; redirect it to a file or a program",
            ),
            Self::Unprinted { id, source } => write!(
                formatter,
                "key {id} was issued, but could not be written to standard output: {source}; it cannot be shown again, so run \
                 `app-key revoke {id}` and issue another key"
            ),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Keys(error)
    }
}

impl From<io::Error> for Failure {
    fn from(source: io::Error) -> Self {
        Self::Output(source)
    }
}
