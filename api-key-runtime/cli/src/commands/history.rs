//! `app-key history`.

use std::io::{self, BufWriter, Write};

use api_key_runtime::admin::{Admin, KeyEvent};
use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::{Map, Value};

use crate::{
    failure::Failure,
    json,
    named_key::{KeyId, NamedKey, record_of},
    text::{say, time_from, visible},
};

pub(crate) const HISTORY_AFTER_HELP: &str = "\
Prints when and how a key changed, and who changed it. The events stay when the key is deleted. On Postgres the role \
is the login of the database session. The actor is the name that the program stated, which the database does not verify.

Examples:
  app-key history 17
  app-key history 17 --json | jq -r '.[] | select(.action == \"revoked\") | .actor'";

#[derive(Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    key: KeyId,
    /// Maximum number of events; older events are left out
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    limit: u32,
    /// Print a JSON array of events
    #[arg(long)]
    json: bool,
}

pub(crate) fn history(admin: &Admin, asked: &History) -> Result<(), Failure> {
    // A deleted key has no record but may have events, so an id is not looked up.
    let id = match asked.key.id {
        NamedKey::Id(id) => id,
        NamedKey::Input => record_of(admin, asked.key.id)?.id,
    };
    let events = admin.history(id, asked.limit)?;
    let now = admin.now();
    let mut out = BufWriter::new(io::stdout().lock());
    if asked.json {
        json::write_events(&mut out, &events)?;
    } else if events.is_empty() {
        say(format_args!("The audit log has no event of key {id}."));
    }
    if !asked.json {
        for event in &events {
            write(&mut out, event, now)?;
        }
    }
    Ok(out.flush()?)
}

/// Writes an event: a line with the time, the action and who made the change, then a line for each
/// changed field.
fn write(out: &mut impl Write, event: &KeyEvent, now: DateTime<Utc>) -> io::Result<()> {
    let keys = if event.key_count == 1 {
        String::new()
    } else {
        let KeyEvent { key_count, key_id, last_key_id, .. } = event;
        format!(" {key_count} keys, ids {key_id} to {last_key_id},")
    };
    let by = match (&event.actor, &event.role) {
        // The quotation marks distinguish an actor from a role.
        (Some(actor), Some(role)) => format!("{actor:?} (role {role})"),
        (Some(actor), None) => format!("{actor:?}"),
        (None, Some(role)) => format!("role {role}"),
        (None, None) => "unknown".to_owned(),
    };
    let at = time_from(event.happened_at, now);
    writeln!(out, "{at}  {}{keys} by {}", visible(&event.action), visible(&by))?;
    let (before, after) = (fields(event.before.as_deref()), fields(event.after.as_deref()));
    for (name, value) in &after {
        match before.get(name) {
            Some(before) => writeln!(out, "  {name}: {} -> {}", shown(before), shown(value))?,
            None => writeln!(out, "  {name}: {}", shown(value))?,
        }
    }
    Ok(())
}

/// Returns the fields of a JSON object. Any other text has no fields.
fn fields(object: Option<&str>) -> Map<String, Value> {
    object.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => visible(text),
        other => visible(&other.to_string()),
    }
}
