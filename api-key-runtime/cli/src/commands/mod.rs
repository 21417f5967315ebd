//! The command line: one file for each subcommand, with its options, help and output.

mod backup;
mod explain;
mod history;
mod import;
mod issue;
mod list;
mod migrate;
mod pattern;
mod prune;
mod rotate;
pub(crate) mod scan;
mod shell;
pub(crate) mod show;
mod state;
mod update;

use std::{env::var, io};

use api_key_runtime::{AppKeys, admin::Admin};
use clap::{Args, Parser, Subcommand};

use self::{
    backup::{BACKUP_AFTER_HELP, Backup},
    explain::{EXPLAIN_AFTER_HELP, Explain},
    history::{HISTORY_AFTER_HELP, History},
    import::{IMPORT_AFTER_HELP, Import},
    issue::{ISSUE_AFTER_HELP, Issue},
    list::{LIST_AFTER_HELP, List},
    migrate::{MIGRATE_AFTER_HELP, Migrate, Migrations},
    pattern::{PATTERN_AFTER_HELP, Pattern},
    prune::{PRUNE_AFTER_HELP, Prune},
    rotate::{ROTATE_AFTER_HELP, Rotate},
    scan::{SCAN_AFTER_HELP, Scan},
    shell::{COMPLETIONS_AFTER_HELP, Completions, MAN_AFTER_HELP, Man},
    show::{SHOW_AFTER_HELP, Show},
    state::{DISABLE_AFTER_HELP, ENABLE_AFTER_HELP, REVOKE_AFTER_HELP, Revoke, SetState},
    update::{UPDATE_AFTER_HELP, Update},
};
use crate::{failure::Failure, json};

const MAIN_AFTER_HELP: &str = "\
Environment variables (use the same values as the service):
  DATABASE_URL
      postgres://USER@HOST/DATABASE or the path of an SQLite file; required if the command uses the database
  APP_KEY_PREFIX
      prefix of new keys; default: ak_live_
  APP_KEY_PEPPER
      pepper of the service, if it has one: at least 32 random bytes in base64
  APP_KEY_PEPPER_PREVIOUS
      previous pepper while the pepper is being changed, or `none` if there was no pepper
  APP_KEY_PEPPER_FILE, APP_KEY_PEPPER_PREVIOUS_FILE
      path of a file that contains the pepper
  APP_KEY_ACCEPT_IMPORTED
      1 if the service accepts keys of other formats, such as UUIDs
  APP_KEY_ACTOR
      name of the person or program that makes the change, for the audit log; default: your login name
  RUST_LOG
      log level of the library; default: warn

Exit codes:
  0  success
  1  failure: refused, not found, or a database error
  2  usage error; nothing was changed
  3  the key is rejected, or keys were found

Getting started:
  app-key migrate
  KEY=$(app-key issue --name me --ip 127.0.0.1)
  app-key list";

/// Issues, lists and changes API keys in a database
#[derive(Debug, Parser)]
#[command(
    name = "app-key",
    version,
    arg_required_else_help = true,
    max_term_width = 120,
    after_help = MAIN_AFTER_HELP
)]
pub(crate) struct Arguments {
    /// Name of the person or program that makes the change, for the audit log; default: your
    /// login name
    #[arg(long, global = true, env = "APP_KEY_ACTOR", hide_env = true, value_name = "NAME")]
    actor: Option<String>,
    #[command(subcommand)]
    command: Command,
}

impl Arguments {
    fn admin() -> Result<Admin, Failure> {
        Ok(AppKeys::builder().env()?.build_admin()?)
    }

    /// Returns the name of the person or program that makes the changes.
    fn actor(&self) -> String {
        let login = || ["LOGNAME", "USER", "USERNAME"].iter().find_map(|name| var(name).ok());
        let stated = self.actor.clone().or_else(login).filter(|actor| !actor.is_empty());
        stated.unwrap_or_else(|| "app-key".to_owned())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create or upgrade the tables
    #[command(after_help = MIGRATE_AFTER_HELP)]
    Migrate(Migrate),
    /// Manage the migration files
    #[command(subcommand)]
    Migrations(Migrations),
    /// Copy an SQLite database to a new file
    #[command(after_help = BACKUP_AFTER_HELP)]
    Backup(Backup),
    /// Issue a key and print it (shown only once)
    #[command(after_help = ISSUE_AFTER_HELP)]
    Issue(Issue),
    /// Import keys of another system, from a table of the same database or from CSV
    #[command(after_help = IMPORT_AFTER_HELP)]
    Import(Import),
    /// List all keys, including expired and revoked ones, oldest first
    #[command(after_help = LIST_AFTER_HELP)]
    List(List),
    /// Show a key and its usage
    #[command(after_help = SHOW_AFTER_HELP)]
    Show(Show),
    /// Show the audit log of a key
    #[command(after_help = HISTORY_AFTER_HELP)]
    History(History),
    /// Change the name, owner, IP allow list, scopes or expiry of a key
    #[command(after_help = UPDATE_AFTER_HELP)]
    Update(Update),
    /// Replace a key with a new key; the old key keeps working for a while
    #[command(after_help = ROTATE_AFTER_HELP)]
    Rotate(Rotate),
    /// Disable a key until it is enabled again
    #[command(after_help = DISABLE_AFTER_HELP)]
    Disable(SetState),
    /// Enable a disabled key
    #[command(after_help = ENABLE_AFTER_HELP)]
    Enable(SetState),
    /// Revoke a key; this cannot be undone
    #[command(after_help = REVOKE_AFTER_HELP)]
    Revoke(Revoke),
    /// Explain whether a service accepts a key, and why
    #[command(after_help = EXPLAIN_AFTER_HELP)]
    Explain(Explain),
    /// Find keys that leaked into files
    #[command(after_help = SCAN_AFTER_HELP)]
    Scan(Scan),
    /// Print the expression that matches keys, for secret scanners
    #[command(after_help = PATTERN_AFTER_HELP)]
    Pattern(Pattern),
    /// Print the completions for a shell
    #[command(after_help = COMPLETIONS_AFTER_HELP)]
    Completions(Completions),
    /// Print the man page
    #[command(after_help = MAN_AFTER_HELP)]
    Man(Man),
    /// Delete keys that expired or were revoked long ago, and old events of the audit log
    #[command(after_help = PRUNE_AFTER_HELP)]
    Prune(Prune),
}

/// The option `--dry-run` of the commands that change keys.
#[derive(Debug, Args)]
pub(crate) struct DryRun {
    /// Check the change in the database, and roll it back
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl DryRun {
    /// Returns `would` for a dry run, and otherwise `done`.
    pub(crate) fn verb(&self, done: &'static str, would: &'static str) -> &'static str {
        if self.dry_run { would } else { done }
    }
}

/// The option `--json` of commands that otherwise print only a message.
#[derive(Debug, Args)]
pub(crate) struct Json {
    /// Print the result as a JSON object
    #[arg(long)]
    json: bool,
}

impl Json {
    fn print(&self, result: &serde_json::Value) -> io::Result<()> {
        if self.json { json::write_line(&mut io::stdout().lock(), result) } else { Ok(()) }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let admin = Arguments::admin;
    let changing = |dry_run: &DryRun| {
        let admin = Arguments::admin()?.acting_as(arguments.actor())?;
        Ok::<_, Failure>(if dry_run.dry_run { admin.dry_run() } else { admin })
    };
    match &arguments.command {
        Command::Migrations(Migrations::Copy(asked)) => migrate::copy(asked),
        Command::Migrate(asked) => migrate::migrate(&admin()?, asked),
        Command::Backup(asked) => backup::back_up(&admin()?, asked),
        Command::Issue(asked) => issue::issue(&changing(&asked.dry_run)?, asked),
        Command::Import(asked) => import::import(&changing(&asked.dry_run)?, asked),
        Command::List(asked) => list::list(&admin()?, asked),
        Command::Show(asked) => show::show(&admin()?, asked),
        Command::History(asked) => history::history(&admin()?, asked),
        Command::Update(asked) => update::update(&changing(&asked.dry_run)?, asked),
        Command::Rotate(asked) => rotate::rotate(&changing(&asked.dry_run)?, asked),
        Command::Disable(asked) => state::disable(&changing(&asked.dry_run)?, asked),
        Command::Enable(asked) => state::enable(&changing(&asked.dry_run)?, asked),
        Command::Revoke(asked) => state::revoke(&changing(&asked.dry_run)?, asked),
        Command::Explain(asked) => explain::explain(&admin()?, asked),
        Command::Scan(asked) if asked.needs_database() => {
            scan::scan(Some(&changing(&asked.dry_run)?), asked)
        }
        Command::Scan(asked) => scan::scan(None, asked),
        Command::Pattern(asked) => pattern::print(asked),
        Command::Completions(asked) => shell::completions(asked),
        Command::Man(asked) => shell::man(asked),
        Command::Prune(asked) => prune::prune(&changing(&asked.dry_run())?, asked),
    }
}
