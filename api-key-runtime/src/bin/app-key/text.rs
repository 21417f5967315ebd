//! Keys as people read them. What comes out of a table is data: it never reaches a terminal as an instruction.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use api_key_runtime::{AddressRules, KeyRecord, ScopeSet};
use chrono::{DateTime, SecondsFormat, Utc};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Where the list cuts a text.
const MAX_CELL_WIDTH: usize = 40;
const HEADINGS: [&str; 9] = [
    "ID",
    "HINT",
    "NAME",
    "OWNER",
    "ADDRESSES",
    "SCOPES",
    "CREATED",
    "EXPIRES",
    "STATE",
];

/// Whether a character could do anything but appear: control a terminal, turn the text around it, or hide.
pub(crate) fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Line and paragraph separators, embeddings and overrides of the text's direction.
            '\u{2028}'..='\u{202E}'
            // Unicode's Default_Ignorable_Code_Point: what is not shown at all, with the marks and isolates of direction.
            | '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// A text with its deceptive characters written out.
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

/// A message that may have come in several lines, such as the driver's.
pub(crate) fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    visible(&lines.join(" "))
}

/// A key as sentences name it.
pub(crate) fn named(record: &KeyRecord) -> String {
    format!(
        "key {} {} ({})",
        record.id,
        visible(&record.hint),
        visible(&record.name)
    )
}

pub(crate) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Every key in a line of an aligned table.
pub(crate) fn write_table(
    out: &mut impl Write,
    records: &[KeyRecord],
    now: DateTime<Utc>,
) -> io::Result<()> {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(records.iter().map(|record| cells(record, now).map(cut)));
    let mut widths = [0; HEADINGS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    for row in &rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let padding = width - cell.width() + 2;
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell}{:padding$}", "");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn cells(record: &KeyRecord, now: DateTime<Utc>) -> [String; HEADINGS.len()] {
    [
        record.id.to_string(),
        visible(&record.hint),
        visible(&record.name),
        owner(record),
        addresses(&record.allowed_ips),
        scopes(&record.scopes),
        time(record.created_at),
        expires(record),
        record.state(now).as_str().to_owned(),
    ]
}

fn cut(cell: String) -> String {
    if cell.width() <= MAX_CELL_WIDTH {
        return cell;
    }
    let mut width = 0;
    let mut shown: String = cell
        .chars()
        .take_while(|character| {
            width += character.width().unwrap_or(0);
            width < MAX_CELL_WIDTH
        })
        .collect();
    shown.push('…');
    shown
}

/// What a key was issued as, one field a line.
pub(crate) fn write_issued(out: &mut impl Write, record: &KeyRecord) -> io::Result<()> {
    write_fields(
        out,
        [
            ("id", record.id.to_string()),
            ("hint", visible(&record.hint)),
            ("name", visible(&record.name)),
            ("owner", owner(record)),
            ("addresses", addresses(&record.allowed_ips)),
            ("scopes", scopes(&record.scopes)),
            ("created", time(record.created_at)),
            ("expires", expires(record)),
        ],
    )
}

/// All that is known of a key, one field a line.
pub(crate) fn write_details(
    out: &mut impl Write,
    record: &KeyRecord,
    now: DateTime<Utc>,
) -> io::Result<()> {
    write_issued(out, record)?;
    let moment = |at: Option<DateTime<Utc>>| at.map_or_else(|| "-".to_owned(), time);
    write_fields(
        out,
        [
            ("state", record.state(now).as_str().to_owned()),
            ("disabled", moment(record.disabled_at)),
            ("revoked", moment(record.revoked_at)),
            (
                "replaced by",
                record
                    .replaced_by
                    .map_or_else(|| "-".to_owned(), |id| id.to_string()),
            ),
            ("digest key", visible(record.digest_key.as_str())),
        ],
    )
}

fn write_fields<const N: usize>(
    out: &mut impl Write,
    fields: [(&str, String); N],
) -> io::Result<()> {
    for (label, value) in fields {
        writeln!(out, "{label:<13}{value}")?;
    }
    Ok(())
}

fn owner(record: &KeyRecord) -> String {
    record
        .owner
        .as_deref()
        .map_or_else(|| "-".to_owned(), visible)
}

/// In the words of `--ip`; an empty text admits nobody, and so does one that cannot be read.
fn addresses(rules: &AddressRules) -> String {
    if *rules == AddressRules::any() {
        "any".to_owned()
    } else if rules.as_str().is_empty() {
        "nobody".to_owned()
    } else if rules.is_readable() {
        visible(rules.as_str())
    } else {
        format!("nobody (unreadable: {})", visible(rules.as_str()))
    }
}

fn scopes(scopes: &ScopeSet) -> String {
    if scopes.as_str().is_empty() {
        "-".to_owned()
    } else {
        visible(scopes.as_str())
    }
}

fn expires(record: &KeyRecord) -> String {
    record.expires_at.map_or_else(|| "never".to_owned(), time)
}
