//! The command `app-key`, which calls [`Admin`](api_key_runtime::admin::Admin).
//!
//! Standard output contains only the result: a new key, a table or JSON. All messages go to
//! standard error.
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

#[cfg(not(any(feature = "postgres", feature = "sqlite")))]
compile_error!("app-key needs a database: build it with the feature `postgres` or `sqlite`");

mod commands;
mod csv_keys;
mod failure;
mod json;
mod named_key;
mod progress;
mod style;
mod table;
mod terminal;
mod text;
mod values;

use std::{io::Write as _, process::ExitCode};

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = match commands::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return failure::report_usage(&error, std::env::args_os().skip(1)),
    };
    log_to_standard_error();
    match commands::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Logs the library's warnings in the format of the command's own messages. `RUST_LOG` changes the
/// level.
fn log_to_standard_error() {
    let settings = env_logger::Env::default().default_filter_or("warn");
    env_logger::Builder::from_env(settings)
        .format(|line, record| {
            let level = record.level().as_str().to_ascii_lowercase();
            let message = text::one_line(&record.args().to_string());
            writeln!(line, "app-key: {level}: {message}")
        })
        .init();
}
