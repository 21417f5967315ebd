//! `app-key prune`.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use api_key_runtime::admin::{Admin, Prune as Wanted, Pruned};
use clap::{ArgGroup, Args};
use serde_json::json;

use super::DryRun;
use crate::{failure::Failure, named_key::Question, text::say, values::duration};

pub(crate) const PRUNE_AFTER_HELP: &str = "\
The ids and digests of deleted keys are kept, so that neither an import nor a restored row makes such a key valid \
again. The rows are deleted in many short transactions. After an interruption, run the command again to delete the \
remaining rows. Several machines may prune at the same time, for example by cron. Asks for confirmation if standard \
input and standard error are a terminal.

Examples:
  app-key prune --expired-for 90d --revoked-for 90d --dry-run
  app-key prune --expired-for 90d --revoked-for 90d --events-older-than 400d --yes";

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true)))]
pub(crate) struct Prune {
    /// Delete keys that expired this long ago or longer
    #[arg(long, group = "what", value_name = "DURATION", value_parser = duration)]
    expired_for: Option<Duration>,
    /// Delete keys that were revoked this long ago or longer
    #[arg(long, group = "what", value_name = "DURATION", value_parser = duration)]
    revoked_for: Option<Duration>,
    /// Delete events of the audit log that are this old or older
    #[arg(long, group = "what", value_name = "DURATION", value_parser = duration)]
    events_older_than: Option<Duration>,
    /// Count the keys and events, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Skip confirmation
    #[arg(long, short)]
    yes: bool,
    /// Print a JSON object with the numbers of keys and events
    #[arg(long)]
    json: bool,
}

impl Prune {
    pub(crate) fn dry_run(&self) -> DryRun {
        DryRun { dry_run: self.dry_run }
    }

    fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::new();
        wanted.expired_for = self.expired_for;
        wanted.revoked_for = self.revoked_for;
        wanted.events_older_than = self.events_older_than;
        wanted
    }
}

pub(crate) fn prune(admin: &Admin, asked: &Prune) -> Result<(), Failure> {
    let wanted = asked.wanted();
    let is_skipped = asked.yes || asked.dry_run;
    let question = if is_skipped { Question::Skipped } else { Question::OnStandardError };
    if question.is_asked() {
        let due = admin.clone().dry_run().prune(&wanted)?;
        if (due.keys, due.events) == (0, 0) {
            say(format_args!("Nothing to do: no key and no event is old enough."));
            return Ok(());
        }
        question.ask(format_args!("Delete {}? This cannot be undone.", counts(&due)))?;
    }
    let pruned = admin.prune(&wanted)?;
    if asked.json {
        let object = json!({ "keys": pruned.keys, "events": pruned.events });
        return Ok(writeln!(io::stdout(), "{object}")?);
    }
    say(format_args!("{} {}.", asked.dry_run().verb("Deleted", "Would delete"), counts(&pruned)));
    Ok(())
}

fn counts(pruned: &Pruned) -> String {
    let plural = |number: u64| if number == 1 { "" } else { "s" };
    let Pruned { keys, events, .. } = *pruned;
    format!("{keys} key{} and {events} event{}", plural(keys), plural(events))
}
