//! `app-key rotate`.

use std::time::Duration;

use api_key_runtime::admin::Admin;
use clap::Args;

use super::{
    DryRun,
    issue::{describe, print_key, require_output},
};
use crate::{
    failure::Failure,
    named_key::{KeyId, Question, record_of},
    text::{named, say, time},
    values::duration,
};

pub(crate) const ROTATE_AFTER_HELP: &str = "\
Issues a key with the same settings. The new key is the only line on standard output. Both keys work until the overlap \
ends. The overlap ends at the old key's own expiry at the latest. `app-key show` with the old id reports whether a \
client still uses the old key; `app-key revoke` with the old id ends the overlap.

Examples:
  app-key rotate 17
  app-key rotate 17 --overlap 7d
  app-key rotate - --now --yes < leaked-key.txt";

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    key: KeyId,
    /// Time for which the old key keeps working
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = duration)]
    overlap: Duration,
    /// Revoke the old key at once; asks for confirmation
    #[arg(long, conflicts_with = "overlap")]
    now: bool,
    /// Skip confirmation
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    /// Print a JSON object with the new key, all its columns and its state
    #[arg(long)]
    json: bool,
}

impl Rotate {
    fn overlap(&self) -> Duration {
        if self.now { Duration::ZERO } else { self.overlap }
    }
}

pub(crate) fn rotate(admin: &Admin, asked: &Rotate) -> Result<(), Failure> {
    require_output(&asked.dry_run)?;
    let overlap = asked.overlap();
    let is_skipped = asked.yes || asked.dry_run.dry_run || !overlap.is_zero();
    let question = Question::prepare(asked.key.id, is_skipped, "rotate")?;
    let before = record_of(admin, asked.key.id)?;
    question.ask(format_args!(
        "Issue a new key and revoke {}? This cannot be undone.",
        named(&before)
    ))?;
    let rotated = admin.rotate(before.id, overlap)?;
    describe(admin, &rotated.issued);
    let old = named(&rotated.old);
    match rotated.old.expires_at {
        Some(end) if rotated.old.revoked_at.is_none() => {
            say(format_args!("The old key, {old}, works until {}.", time(end)));
        }
        _ => say(format_args!("The old key, {old}, is revoked.")),
    }
    print_key(admin, &rotated.issued, &asked.dry_run, asked.json)
}
