//! `app-key history`.

use std::io::{self, BufWriter, Write as _};

use api_key_runtime::admin::{Admin, KeyEvent};
use clap::Args;
use serde_json::{Map, Value};

use crate::{
    failure::Failure,
    json,
    named_key::{KeyId, NamedKey, record_of},
    text::{say, time, visible},
};

pub(crate) const HISTORY_AFTER_HELP: &str = "\
Prints when a key changed, how, and who changed it. Events outlive the key. The role is the login of the database
session. The actor is what the program stated, and proves nothing.

Examples:
  app-key history 17
  app-key history 17 --json | jq -r '.[] | select(.action == \"revoked\") | .actor'";

#[derive(Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    key: KeyId,
    /// Show at most this many events, the newest ones
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    limit: u32,
    /// Print a JSON array of events
    #[arg(long)]
    json: bool,
}

pub(crate) fn history(admin: &Admin, asked: &History) -> Result<(), Failure> {
    // A deleted key has no record, but it has a history.
    let id = match asked.key.id {
        NamedKey::Id(id) => id,
        NamedKey::Input => record_of(admin, asked.key.id)?.id,
    };
    let events = admin.history(id, asked.limit)?;
    let mut out = BufWriter::new(io::stdout().lock());
    if asked.json {
        json::write_events(&mut out, &events)?;
    } else if events.is_empty() {
        say(format_args!("The audit log has no event of key {id}."));
    }
    if !asked.json {
        for event in &events {
            writeln!(out, "{}", line(event))?;
        }
    }
    Ok(out.flush()?)
}

/// Returns an event as one line: time, action, who made the change, and the changed fields.
fn line(event: &KeyEvent) -> String {
    let mut line = format!("{}  {:<9}", time(event.happened_at), visible(&event.action));
    if event.key_count != 1 {
        let KeyEvent { key_count, key_id, last_key_id, .. } = event;
        line += &format!("  {key_count} keys, ids {key_id} to {last_key_id}");
    }
    let by = match (&event.actor, &event.role) {
        (Some(actor), Some(role)) => format!("{actor} (role {role})"),
        (Some(actor), None) => actor.clone(),
        (None, Some(role)) => format!("role {role}"),
        (None, None) => "unknown".to_owned(),
    };
    line += &format!("  by {}", visible(&by));
    let (before, after) = (fields(event.before.as_deref()), fields(event.after.as_deref()));
    for (name, value) in &after {
        line += &match before.get(name) {
            Some(before) => format!("  {name}: {} -> {}", shown(before), shown(value)),
            None => format!("  {name}: {}", shown(value)),
        };
    }
    line
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
