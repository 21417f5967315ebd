//! `app-key list`.

use std::{
    collections::HashMap,
    io::{self, BufWriter, Write as _},
};

use api_key_runtime::admin::{Admin, KeyState, KeyUsage, ListKeys};
use clap::Args;

use crate::{
    failure::Failure,
    json,
    table::{self, Row},
    text::say,
    values::one_of,
};

pub(crate) const LIST_AFTER_HELP: &str = "\
Long texts are cut, and a narrow terminal hides some columns; `show` and --json print everything. Keys cannot be shown,
only their first characters. Services record usage every few seconds.

Examples:
  app-key list
  app-key list --json | jq '.[] | select(.state == \"active\" and .expires_at != null) | .id'
  app-key list --json | jq '.[] | select(.last_used_at == null) | .id'";

#[derive(Debug, Args)]
pub(crate) struct List {
    /// List only keys of this owner
    #[arg(long)]
    owner: Option<String>,
    /// List only keys in this state
    #[arg(long, value_parser = one_of(&STATES))]
    state: Option<KeyState>,
    /// List only keys with an id above this
    #[arg(long, value_name = "ID")]
    after: Option<i64>,
    /// List at most this many keys, oldest first
    #[arg(long, value_name = "COUNT")]
    limit: Option<u32>,
    /// Print a JSON array with all columns and the state
    #[arg(long)]
    pub(crate) json: bool,
}

const STATES: [(&str, KeyState); 4] = [
    (KeyState::Active.as_str(), KeyState::Active),
    (KeyState::Expired.as_str(), KeyState::Expired),
    (KeyState::Disabled.as_str(), KeyState::Disabled),
    (KeyState::Revoked.as_str(), KeyState::Revoked),
];

impl List {
    pub(crate) fn wanted(&self) -> ListKeys {
        let mut wanted = ListKeys::new();
        wanted.owner.clone_from(&self.owner);
        wanted.state = self.state;
        wanted.after_id = self.after;
        wanted.limit = self.limit;
        wanted
    }

    /// Returns whether keys may exist that are not listed.
    pub(crate) fn is_partial(&self) -> bool {
        let Self { owner, state, after, limit, .. } = self;
        owner.is_some() || state.is_some() || after.is_some() || limit.is_some()
    }
}

pub(crate) fn list(admin: &Admin, asked: &List) -> Result<(), Failure> {
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
