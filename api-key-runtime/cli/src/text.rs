//! Text output. Characters from the database that could control the terminal are escaped.

use std::{
    fmt,
    io::{self, Write},
};

use api_key_runtime::{
    ScopeSet,
    admin::{AllowedIps, KeyRecord, KeyUsage},
};
use chrono::{DateTime, SecondsFormat, Utc};

use crate::{
    style,
    table::{ago, until},
};

/// Width of the labels of `show`: the longest label, `digest algorithm`, and two spaces.
const LABEL_WIDTH: usize = 18;

/// Returns whether a character can control a terminal, change the direction of the text around it,
/// or be invisible.
pub(crate) fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Line and paragraph separators, and embeddings and overrides of the text direction.
            '\u{2028}'..='\u{202E}'
            // Unicode's Default_Ignorable_Code_Point: invisible characters, with marks and isolates
            // of the text direction.
            | '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// Returns a text with its deceptive characters escaped.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_deceptive(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Returns a message on one line, because the message of a database driver may have several lines.
pub(crate) fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    visible(&lines.join(" "))
}

/// Writes a message to standard error. Errors are ignored, so that the command continues without
/// the message.
///
/// The message is written in one call. Standard error has no buffer, so parts of a message could
/// mix with messages of other processes.
pub(crate) fn say(message: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(format!("{message}\n").as_bytes());
}

/// Returns a short description of a key for messages.
pub(crate) fn named(record: &KeyRecord) -> String {
    format!("key {} {} ({})", record.id, visible(&record.hint), visible(&record.name))
}

pub(crate) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Returns a time, and how long ago it was or how soon it will be.
pub(crate) fn time_from(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{} ({})", time(at), relative(at, now))
}

/// Returns how long ago a time was, or how soon it will be.
fn relative(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    if at > now { until(at, now) } else { ago(at, now) }
}

/// Writes a newly issued key, one field on each line.
pub(crate) fn write_issued(
    out: &mut impl Write,
    record: &KeyRecord,
    now: DateTime<Utc>,
) -> io::Result<()> {
    write_fields(
        out,
        [
            ("id", record.id.to_string()),
            ("hint", visible(&record.hint)),
            ("name", visible(&record.name)),
            ("owner", owner(record)),
            ("allowed IPs", allowed_ips(&record.allowed_ips)),
            ("scopes", scopes(&record.scopes)),
            ("created", time_from(record.created_at, now)),
            (
                "expires",
                record.expires_at.map_or_else(|| expires(record), |end| time_from(end, now)),
            ),
        ],
    )
}

/// Writes all details of a key, one field on each line.
pub(crate) fn write_details(
    out: &mut impl Write,
    record: &KeyRecord,
    usage: Option<&KeyUsage>,
    now: DateTime<Utc>,
) -> io::Result<()> {
    write_issued(out, record, now)?;
    let moment =
        |at: Option<DateTime<Utc>>| at.map_or_else(|| "-".to_owned(), |at| time_from(at, now));
    write_fields(
        out,
        [
            ("state", style::state(record.state(now))),
            ("disabled", moment(record.disabled_at)),
            ("revoked", moment(record.revoked_at)),
            ("digest algorithm", visible(record.digest_algorithm.as_str())),
            (
                "last used",
                usage
                    .map_or_else(|| "never".to_owned(), |usage| time_from(usage.last_used_at, now)),
            ),
            ("used from", used_from(usage)),
            ("uses", uses(usage)),
        ],
    )
}

pub(crate) fn write_fields<const N: usize>(
    out: &mut impl Write,
    fields: [(&str, String); N],
) -> io::Result<()> {
    for (label, value) in fields {
        writeln!(out, "{label:<LABEL_WIDTH$}{value}")?;
    }
    Ok(())
}

pub(crate) fn owner(record: &KeyRecord) -> String {
    record.owner.as_deref().map_or_else(|| "-".to_owned(), visible)
}

/// Returns an IP allow list in the format of `--ip`. An empty or unreadable list allows no address.
pub(crate) fn allowed_ips(allowed: &AllowedIps) -> String {
    if *allowed == AllowedIps::any() {
        "any".to_owned()
    } else if allowed.as_str().is_empty() {
        "none".to_owned()
    } else if allowed.is_readable() {
        visible(allowed.as_str())
    } else {
        format!("none (unreadable: {})", visible(allowed.as_str()))
    }
}

pub(crate) fn scopes(scopes: &ScopeSet) -> String {
    if scopes.as_str().is_empty() { "-".to_owned() } else { visible(scopes.as_str()) }
}

pub(crate) fn expires(record: &KeyRecord) -> String {
    record.expires_at.map_or_else(|| "never".to_owned(), time)
}

/// Returns the last client IP, `unknown` if the service could not determine the client IP, or `-`
/// if the key was never used.
pub(crate) fn used_from(usage: Option<&KeyUsage>) -> String {
    usage.map_or_else(
        || "-".to_owned(),
        |usage| {
            usage.last_used_ip.map_or_else(|| "unknown".to_owned(), |address| address.to_string())
        },
    )
}

pub(crate) fn uses(usage: Option<&KeyUsage>) -> String {
    usage.map_or(0, |usage| usage.count).to_string()
}

#[cfg(test)]
mod tests {
    use api_key_runtime::store::KeyDigest;

    use super::*;

    #[test]
    fn every_line_of_a_key_has_two_spaces_after_its_label() {
        let mut record = KeyRecord::new(17, KeyDigest::from_bytes([1; 32]), AllowedIps::any());
        record.hint = "ak_live_Ab3d".to_owned();
        record.name = "billing".to_owned();
        let mut out = Vec::new();
        write_details(&mut out, &record, None, Utc::now()).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert_eq!(shown.lines().count(), 15, "{shown}");
        for line in shown.lines() {
            let (label, value) = line.split_at(LABEL_WIDTH);
            assert!(label.ends_with("  ") && !value.starts_with(' '), "{line}");
        }
        assert!(shown.contains("allowed IPs       any\n"), "{shown}");
    }
}
