//! `app-key disable`, `app-key enable` and `app-key revoke`.

use std::io;

use api_key_runtime::admin::{Admin, KeyRecord, KeyState};
use clap::Args;

use crate::{
    failure::Failure,
    json,
    named_key::{KeyId, Question, record_of},
    text::{named, say, time},
};

pub(crate) const DISABLE_AFTER_HELP: &str = "\
`app-key enable` enables the key again.

Example:
  app-key disable 17";

pub(crate) const ENABLE_AFTER_HELP: &str = "\
Example:
  app-key enable 17";

pub(crate) const REVOKE_AFTER_HELP: &str = "\
Asks for confirmation if standard input and standard error are a terminal. With the key on standard input (`-`), the \
question is asked on the controlling terminal; without a terminal, --yes is required. `app-key disable` can be undone.

Examples:
  app-key revoke 17
  app-key revoke 17 --yes
  app-key revoke - --yes < leaked-key.txt";

#[derive(Debug, Args)]
pub(crate) struct SetState {
    #[command(flatten)]
    pub(crate) key: KeyId,
    #[command(flatten)]
    pub(crate) dry_run: super::DryRun,
    /// Print a JSON object with all columns and the state after the change
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    pub(crate) key: KeyId,
    #[command(flatten)]
    pub(crate) dry_run: super::DryRun,
    /// Skip confirmation
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Print a JSON object with all columns and the state after the change
    #[arg(long)]
    json: bool,
}

/// Prints the key after the change, if the user asked for JSON.
fn print(admin: &Admin, after: &KeyRecord, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let usage = admin.usage(after.id)?;
        json::write_record(&mut io::stdout().lock(), after, usage.as_ref(), admin.now())?;
    }
    Ok(())
}

pub(crate) fn disable(admin: &Admin, asked: &SetState) -> Result<(), Failure> {
    let before = record_of(admin, asked.key.id)?;
    let after = admin.disable(before.id)?;
    match before.disabled_at {
        None => say(format_args!(
            "{} {}.",
            asked.dry_run.verb("Disabled", "Would disable"),
            named(&after)
        )),
        Some(at) => say(format_args!(
            "Nothing to do: {} has been disabled since {}.",
            named(&after),
            time(at)
        )),
    }
    print(admin, &after, asked.json)
}

pub(crate) fn enable(admin: &Admin, asked: &SetState) -> Result<(), Failure> {
    let before = record_of(admin, asked.key.id)?;
    let after = admin.enable(before.id)?;
    if before.disabled_at.is_none() {
        say(format_args!("Nothing to do: {} is not disabled.", named(&after)));
    } else {
        say(format_args!("{} {}.", asked.dry_run.verb("Enabled", "Would enable"), named(&after)));
    }
    match after.expires_at {
        Some(end) if after.state(admin.now()) == KeyState::Expired => {
            say(format_args!("The key is still rejected, because it expired at {}.", time(end)));
        }
        _ => {}
    }
    print(admin, &after, asked.json)
}

pub(crate) fn revoke(admin: &Admin, asked: &Revoke) -> Result<(), Failure> {
    let question = Question::prepare(asked.key.id, asked.yes || asked.dry_run.dry_run, "revoke")?;
    let before = record_of(admin, asked.key.id)?;
    if let Some(at) = before.revoked_at {
        say(format_args!("Nothing to do: {} has been revoked since {}.", named(&before), time(at)));
        return print(admin, &before, asked.json);
    }
    question.ask(format_args!("Revoke {}? This cannot be undone.", named(&before)))?;
    let after = admin.revoke(before.id)?;
    say(format_args!("{} {}.", asked.dry_run.verb("Revoked", "Would revoke"), named(&after)));
    print(admin, &after, asked.json)
}
