//! `app-key list`.

use std::{
    io::{self, BufWriter, Write as _},
    time::Duration,
};

use api_key_runtime::{
    Error,
    admin::{Admin, AllowedIps, KeyState, ListKeys, ListedKey},
};
use clap::Args;

use crate::{
    failure::{Failure, answer},
    json,
    table::{Layout, Row},
    text::say,
    values::{allowed_ips, duration, one_of},
};

pub(crate) const LIST_AFTER_HELP: &str = "\
Long texts are cut, and a narrow terminal hides some columns; `show` and --json print everything. Keys cannot be shown, \
only their first characters. Services record usage every 10 s by default. Column widths fit the first 1000 keys.

--ip compares entries as they are listed: `--ip 10.0.0.1` does not find a key with 10.0.0.0/8. A key that was never used \
counts as unused since it was issued. `any` and `never` have the same meaning as for `issue` and `update`.

Examples:
  app-key list
  app-key list --state active --expires-within 30d
  app-key list --state active --unused-for 90d
  app-key list --state active --ip any --exit-code > /dev/null || echo 'some keys work from any address'
  app-key list --json | jq '.[] | select(.last_used_at == null) | .id'";

#[derive(Debug, Args)]
pub(crate) struct List {
    /// List only keys of this owner
    #[arg(long)]
    owner: Option<String>,
    /// List only keys in this state
    #[arg(long, value_parser = one_of(&STATES))]
    state: Option<KeyState>,
    /// List only keys whose IP allow list has this entry; `any` lists keys that any address may use
    #[arg(long, value_name = "ADDR|CIDR|any", value_parser = allowed_ips)]
    ip: Option<AllowedIps>,
    /// List only keys that never expire
    #[arg(long, value_parser = ["never"], conflicts_with = "expires_within")]
    expires: Option<String>,
    /// List only keys that expire within this time, such as 30d, but have not expired yet
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires_within: Option<Duration>,
    /// List only keys that were not used for this time, such as 90d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    unused_for: Option<Duration>,
    /// List only keys with an id above this id
    #[arg(long, value_name = "ID")]
    after: Option<i64>,
    /// List at most this many keys, oldest first
    #[arg(long, value_name = "COUNT")]
    limit: Option<u32>,
    /// Exit with 3 if a key is listed, and with 0 if no key is listed
    #[arg(long)]
    exit_code: bool,
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
        wanted.allowed_ips.clone_from(&self.ip);
        wanted.never_expires = self.expires.is_some();
        wanted.expires_within = self.expires_within;
        wanted.unused_for = self.unused_for;
        wanted.after_id = self.after;
        wanted.limit = self.limit;
        wanted
    }

    /// Returns whether an option limits the list, so that more keys may exist.
    fn is_partial(&self) -> bool {
        let Self { owner, state, ip, expires, expires_within, unused_for, after, limit, .. } = self;
        owner.is_some()
            || state.is_some()
            || ip.is_some()
            || expires.is_some()
            || expires_within.is_some()
            || unused_for.is_some()
            || after.is_some()
            || limit.is_some()
    }
}

/// A page of keys, or the error of reading it.
type Page = Result<Vec<ListedKey>, Error>;

pub(crate) fn list(admin: &Admin, asked: &List) -> Result<(), Failure> {
    let mut pages = admin.pages(&asked.wanted())?;
    let first = pages.next().transpose()?;
    let is_found = first.is_some();
    let written = match first {
        first if asked.json => list_as_json(admin, first.map(Ok).into_iter().chain(pages)),
        Some(first) => list_lines(admin, &first, pages),
        None if asked.is_partial() => {
            say(format_args!("No key matches."));
            Ok(())
        }
        None => {
            say(format_args!(
                "No keys yet. Create one with `app-key issue`; see `app-key issue --help`."
            ));
            Ok(())
        }
    };
    answer(written, is_found && asked.exit_code)
}

/// Writes the keys as a JSON array.
fn list_as_json(admin: &Admin, pages: impl Iterator<Item = Page>) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut array = json::Array::new(&mut out);
    for page in pages {
        for row in &rows(admin, &page?) {
            array.write_row(row)?;
        }
    }
    array.finish()?;
    Ok(out.flush()?)
}

/// Writes one line for each key. The first page determines the widths of the columns.
fn list_lines(
    admin: &Admin,
    first: &[ListedKey],
    pages: impl Iterator<Item = Page>,
) -> Result<(), Failure> {
    let width = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0.into());
    let mut out = BufWriter::new(io::stdout().lock());
    let first = rows(admin, first);
    let layout = Layout::of(&first, width);
    layout.write_headings(&mut out)?;
    layout.write(&mut out, &first)?;
    for page in pages {
        layout.write(&mut out, &rows(admin, &page?))?;
    }
    out.flush()?;
    let left_out = layout.left_out();
    if !left_out.is_empty() {
        say(format_args!(
            "Columns hidden to fit the terminal: {}. Use `app-key show ID` or `app-key list --json` to see them.",
            left_out.join(", ")
        ));
    }
    Ok(())
}

fn rows<'a>(admin: &Admin, page: &'a [ListedKey]) -> Vec<Row<'a>> {
    let now = admin.now();
    let row = |key: &'a ListedKey| Row { record: &key.record, usage: key.usage.as_ref(), now };
    page.iter().map(row).collect()
}
