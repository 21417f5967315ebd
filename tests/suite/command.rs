//! The command `app-key`, run as people and scripts run it: a process with a clean environment, its
//! streams and its exit code.

mod backup;
mod by_key;
mod changes;
mod explain;
mod import;
mod keys;
mod list;
mod output;
mod prune;
mod refused;
mod scan;
mod setup;
mod shell;
mod terminal;
mod usage;

use std::process::{Command, Stdio};

use actix_web::{HttpResponse, get, web};
use api_key_runtime::{AppKeysBuilder, require_app_key};
use serde_json::Value;

use crate::support::{Database, Server, http, programs::app_key as program};

/// Returns the command with these arguments, separated by spaces. Its environment contains only the
/// database URL.
pub(crate) fn command(database_url: &str, line: &str) -> Command {
    let mut command = Command::new(program());
    command
        .env_clear()
        .env("DATABASE_URL", database_url)
        .args(line.split_whitespace())
        .stdin(Stdio::null());
    command
}

/// Exit code and output of the command.
#[derive(Debug)]
pub(crate) struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Returns the standard output of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn succeeded(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Checks that the exit code is 1, and that the command printed only one line, which contains
    /// this reason.
    #[track_caller]
    fn refused(&self, reason: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{self:?}");
        assert!(self.stderr.starts_with("app-key: "), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.contains(reason), "{reason}: {self:?}");
    }

    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.succeeded()).unwrap()
    }
}

pub(crate) fn outcome(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let ran = Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    ran
}

fn app_key(database: &Database, line: &str) -> Ran {
    outcome(&mut command(database.url(), line))
}

fn app_key_with(database: &Database, setting: (&str, &str), line: &str) -> Ran {
    outcome(command(database.url(), line).env(setting.0, setting.1))
}

#[get("/cake")]
#[require_app_key]
async fn cake() -> HttpResponse {
    HttpResponse::Ok().finish()
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(cake);
}

/// Returns the status with which a newly started service answers this key.
fn status(builder: AppKeysBuilder, key: &str) -> u16 {
    let server = Server::start(builder.build().unwrap(), routes);
    http::get_with(server.address, "/cake", key.trim_end()).status
}
