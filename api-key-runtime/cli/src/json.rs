//! JSON output. The object for a key has the columns of `api_keys` except the digest, the columns
//! of `api_key_usage`, and the state. The object for a newly issued key also contains the key
//! itself.

use std::{
    io::{self, Write},
    net::IpAddr,
};

use api_key_runtime::admin::{
    Explanation, ImportReport, IssuedKey, KeyEvent, KeyRecord, KeyState, KeyUsage, Updated,
};
use api_key_runtime::metrics::RejectionReason;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    commands::{scan::Hit, show::Rotation},
    table::Row,
    text::is_deceptive,
};

#[derive(Serialize)]
struct Columns<'a> {
    #[serde(flatten)]
    record: &'a KeyRecord,
    last_used_at: Option<String>,
    last_used_ip: Option<IpAddr>,
    use_count: u64,
    state: KeyState,
}

impl<'a> Columns<'a> {
    fn of(record: &'a KeyRecord, usage: Option<&KeyUsage>, now: DateTime<Utc>) -> Self {
        Self {
            record,
            last_used_at: usage.map(|usage| time(usage.last_used_at)),
            last_used_ip: usage.and_then(|usage| usage.last_used_ip),
            use_count: usage.map_or(0, |usage| usage.count),
            state: record.state(now),
        }
    }
}

#[derive(Serialize)]
struct Issued<'a> {
    #[serde(flatten)]
    columns: Columns<'a>,
    key: &'a str,
}

/// Formats a time like `KeyRecord` does.
fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Writes a new key, as one object on one line.
pub(crate) fn write_issued(
    out: &mut impl Write,
    issued: &IssuedKey,
    now: DateTime<Utc>,
) -> io::Result<()> {
    let columns = Columns::of(&issued.record, None, now);
    let object = Issued { columns, key: issued.secret.expose_secret() };
    write_line(out, &object)
}

/// Writes a key and its usage, as one object on one line.
pub(crate) fn write_record(
    out: &mut impl Write,
    record: &KeyRecord,
    usage: Option<&KeyUsage>,
    now: DateTime<Utc>,
) -> io::Result<()> {
    write_line(out, &Columns::of(record, usage, now))
}

/// Writes a key and, if a rotation replaced it, the rotation, as one object on one line.
pub(crate) fn write_shown(
    out: &mut impl Write,
    record: &KeyRecord,
    usage: Option<&KeyUsage>,
    rotation: Option<&Rotation>,
    now: DateTime<Utc>,
) -> io::Result<()> {
    #[derive(Serialize)]
    struct Shown<'a> {
        #[serde(flatten)]
        columns: Columns<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rotation: Option<Value>,
    }
    let rotation = rotation.map(|rotation| {
        json!({
            "replaced_by": rotation.replaced_by,
            "rotated_at": rotation.rotated_at.map(time),
            "as_of": time(now),
            "is_safe_to_end": rotation.is_safe_to_end,
            "reason": rotation.reason,
        })
    });
    write_line(out, &Shown { columns: Columns::of(record, usage, now), rotation })
}

/// Prints why a row of an import was refused, as one object on one line.
pub(crate) fn print_refused(row: u64, reason: &str) -> io::Result<()> {
    write_line(&mut io::stdout().lock(), &json!({ "row": row, "reason": reason }))
}

/// Prints the result of an import, as one object on one line.
pub(crate) fn print_imported(report: &ImportReport, refused: u64) -> io::Result<()> {
    write_line(
        &mut io::stdout().lock(),
        &json!({
            "imported": report.imported,
            "existing": report.existing,
            "pruned": report.pruned,
            "blank": report.blank,
            "erased": report.erased,
            "refused": refused,
        }),
    )
}

/// Prints a key before and after a change, as one object on one line.
pub(crate) fn print_updated(updated: &Updated, now: DateTime<Utc>) -> io::Result<()> {
    #[derive(Serialize)]
    struct Key<'a> {
        #[serde(flatten)]
        record: &'a KeyRecord,
        state: KeyState,
    }
    #[derive(Serialize)]
    struct Change<'a> {
        before: Key<'a>,
        after: Key<'a>,
    }
    let Updated { before, after, .. } = updated;
    let change = Change {
        before: Key { record: before, state: before.state(now) },
        after: Key { record: after, state: after.state(now) },
    };
    write_line(&mut io::stdout().lock(), &change)
}

#[derive(Serialize)]
struct Explained<'a> {
    accepted: bool,
    reason: Option<RejectionReason>,
    status: Option<u16>,
    rules: Vec<Value>,
    state: Option<KeyState>,
    key: Option<&'a KeyRecord>,
}

/// Writes an explanation, as one object on one line.
pub(crate) fn write_explanation(
    out: &mut impl Write,
    explained: &Explanation,
    now: DateTime<Utc>,
) -> io::Result<()> {
    let rules: Vec<Value> = explained
        .rules
        .iter()
        .map(|result| {
            json!({
                "rule": result.rule.as_str(),
                "passed": result.rejection.is_none(),
                "reason": result.rejection,
                "detail": result.detail,
            })
        })
        .collect();
    let object = Explained {
        accepted: explained.rejection.is_none(),
        reason: explained.rejection,
        status: explained.rejection.map(|reason| reason.kind().status().as_u16()),
        rules,
        state: explained.record.as_ref().map(|record| record.state(now)),
        key: explained.record.as_ref(),
    };
    write_line(out, &object)
}

/// Writes a found key, as one object on one line. The object has the key's hint, but not the key.
pub(crate) fn write_hit(
    out: &mut impl Write,
    hit: &Hit<'_>,
    is_dry_run: bool,
    now: DateTime<Utc>,
) -> io::Result<()> {
    let record = hit.record.as_ref();
    let state = record.map(|record| record.state(now).as_str());
    let state = state.or(hit.is_looked_up.then_some("unknown"));
    write_line(
        out,
        &json!({
            "file": hit.file.to_string_lossy(),
            "line": hit.found.line,
            "offset": hit.found.offset,
            "hint": hit.found.hint,
            "id": record.map(|record| record.id),
            "name": record.map(|record| &record.name),
            "owner": record.and_then(|record| record.owner.as_ref()),
            "state": state,
            "revoked_now": hit.is_revoked_now && !is_dry_run,
        }),
    )
}

/// Writes an array with one line for each event.
pub(crate) fn write_events(out: &mut impl Write, events: &[KeyEvent]) -> io::Result<()> {
    let mut array = Array::new(out);
    for event in events {
        let parse = |fields: &Option<String>| -> Option<Value> {
            fields.as_deref().and_then(|text| serde_json::from_str(text).ok())
        };
        array.write(&json!({
            "happened_at": time(event.happened_at),
            "action": event.action,
            "key_id": event.key_id,
            "last_key_id": event.last_key_id,
            "key_count": event.key_count,
            "before": parse(&event.before),
            "after": parse(&event.after),
            "role": event.role,
            "actor": event.actor,
        }))?;
    }
    array.finish()
}

/// An array that is written one object at a time, with one line for each object.
pub(crate) struct Array<W> {
    out: W,
    is_empty: bool,
}

impl<W: Write> Array<W> {
    pub(crate) const fn new(out: W) -> Self {
        Self { out, is_empty: true }
    }

    pub(crate) fn write_row(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.write(&Columns::of(row.record, row.usage, row.now))
    }

    fn write(&mut self, object: &impl Serialize) -> io::Result<()> {
        let separator = if self.is_empty { "[" } else { ",\n " };
        self.is_empty = false;
        self.out.write_all(separator.as_bytes())?;
        write(&mut self.out, object)
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        writeln!(self.out, "{}", if self.is_empty { "[]" } else { "]" })
    }
}

/// Writes one object on one line.
pub(crate) fn write_line(out: &mut impl Write, object: &impl Serialize) -> io::Result<()> {
    write(out, object)?;
    writeln!(out)
}

fn write(out: &mut impl Write, object: &impl Serialize) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(out, Visible);
    Ok(object.serialize(&mut serializer)?)
}

/// A formatter for compact JSON. It escapes characters that JSON allows in a string, but that could
/// deceive the reader of a terminal.
struct Visible;

impl serde_json::ser::Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for part in fragment.split_inclusive(is_deceptive) {
            let shown = part.trim_end_matches(is_deceptive);
            out.write_all(shown.as_bytes())?;
            for unit in part.encode_utf16().skip(shown.encode_utf16().count()) {
                write!(out, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}
