//! How the command ends when it does not do what it was asked to.

use std::{
    ffi::OsString,
    fmt,
    io::{self, ErrorKind, Write as _},
    process::ExitCode,
};

use api_key_runtime::Error;

use crate::text;

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
/// No key that is worth guessing is shorter.
const SHORTEST_SECRET: usize = 12;

#[derive(Debug)]
pub(crate) enum Failure {
    /// The library refused or could not.
    Keys(Error),
    /// The arguments make no sense together.
    Usage(&'static str),
    /// The answer to a question was no.
    Declined,
    /// The key on standard input has no record.
    Unknown,
    /// The key could not be read.
    Input(io::Error),
    /// Standard output could not be written.
    Output(io::Error),
    /// Nobody would see what is written to standard output.
    Discarded,
    /// A key was issued that nobody has seen.
    Unprinted { id: i64, source: io::Error },
}

impl Failure {
    /// Says what is wrong, unless there is nothing wrong, and answers the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if matches!(self, Self::Output(source) if source.kind() == ErrorKind::BrokenPipe) {
            // The reader has seen enough: `app-key list | head -1`.
            return ExitCode::SUCCESS;
        }
        let message = text::one_line(&self.to_string());
        // Where standard error is closed as well, the exit code is all that can be said.
        let _ = io::stderr().write_all(format!("app-key: {message}\n").as_bytes());
        ExitCode::from(match self {
            Self::Keys(error) if error.is_invalid_input() => USAGE,
            Self::Usage(_) => USAGE,
            _ => REFUSED,
        })
    }
}

/// Reports arguments that cannot be read. A key may be among them, so none that could be one is
/// repeated.
pub(crate) fn report_usage(
    error: &clap::Error,
    arguments: impl Iterator<Item = OsString>,
) -> ExitCode {
    let message = error.render().to_string();
    let shown = without_secrets(&message, arguments);
    // Help is no mistake, and goes to standard output.
    if shown == message || !error.use_stderr() {
        error.exit();
    }
    let _ = io::stderr().write_all(shown.as_bytes());
    ExitCode::from(USAGE)
}

/// Replaces each value that is as long as a key, also one behind the `=` of an option.
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
            Self::Declined => formatter.write_str("nothing was changed"),
            Self::Unknown => formatter.write_str(
                "the key was not found: the table has no record of it; check that DATABASE_URL and APP_KEY_PEPPER are those of the service",
            ),
            Self::Input(source) => write!(formatter, "cannot read the key: {source}"),
            Self::Output(source) => write!(formatter, "cannot write to standard output: {source}"),
            Self::Discarded => formatter.write_str(
                "no key was issued: standard output is closed or discarded, so the key would be lost; redirect it to a file or a program",
            ),
            Self::Unprinted { id, source } => write!(
                formatter,
                "key {id} was issued, but could not be written to standard output and cannot be shown again: `app-key revoke {id}`, then \
                 issue another ({source})"
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
