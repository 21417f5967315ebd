//! The list of keys, with one line for each key.

use std::io::{self, Write};

use api_key_runtime::admin::{KeyRecord, KeyUsage};
use chrono::{DateTime, TimeDelta, Utc};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::text::{allowed_ips, owner, scopes, used_from, uses, visible};

/// Maximum width of a cell.
const MAX_CELL_WIDTH: usize = 40;
/// Spaces between two columns.
const GAP: usize = 2;

/// The values of one row.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) record: &'a KeyRecord,
    /// `None` if the key was never used.
    pub(crate) usage: Option<&'a KeyUsage>,
    pub(crate) now: DateTime<Utc>,
}

struct Column {
    heading: &'static str,
    /// If the terminal is too narrow, columns with higher numbers are hidden first. Columns with 0
    /// are always shown.
    dispensable: u8,
    /// Whether a value that is too wide may be cut. Readers would misread a number or a time that
    /// is cut.
    is_cut: bool,
    cell: fn(&Row<'_>) -> String,
}

static COLUMNS: [Column; 12] = [
    column("ID", 0, |row| row.record.id.to_string()),
    text("HINT", 0, |row| visible(&row.record.hint)),
    text("NAME", 0, |row| visible(&row.record.name)),
    text("OWNER", 6, |row| owner(row.record)),
    text("ALLOWED IPS", 5, |row| allowed_ips(&row.record.allowed_ips)),
    text("SCOPES", 7, |row| scopes(&row.record.scopes)),
    column("CREATED", 8, |row| day(row.record.created_at)),
    column("EXPIRES", 2, |row| {
        row.record.expires_at.map_or_else(|| "never".to_owned(), |end| expiry(end, row.now))
    }),
    column("LAST USED", 1, |row| {
        let ago = |usage: &KeyUsage| ago(usage.last_used_at, row.now);
        row.usage.map_or_else(|| "never".to_owned(), ago)
    }),
    column("FROM", 4, |row| used_from(row.usage)),
    column("USES", 3, |row| uses(row.usage)),
    column("STATE", 0, |row| row.record.state(row.now).as_str().to_owned()),
];

const fn column(heading: &'static str, dispensable: u8, cell: fn(&Row<'_>) -> String) -> Column {
    Column { heading, dispensable, is_cut: false, cell }
}

const fn text(heading: &'static str, dispensable: u8, cell: fn(&Row<'_>) -> String) -> Column {
    Column { is_cut: true, ..column(heading, dispensable, cell) }
}

/// The columns of a list that fit, with their widths. The first rows determine the widths, because
/// a list may have more rows than fit into memory. In later rows a wider text is cut, and a wider
/// number shifts the rest of its line.
pub(crate) struct Layout {
    columns: Vec<(&'static Column, usize)>,
}

impl Layout {
    /// Returns the layout for these rows. `width` is `None` if the output is not a terminal.
    pub(crate) fn of(rows: &[Row<'_>], width: Option<usize>) -> Self {
        let measured = COLUMNS.iter().map(|column| {
            let cells = rows.iter().map(|row| (column.cell)(row).width().min(MAX_CELL_WIDTH));
            (column, cells.max().unwrap_or(0).max(column.heading.len()))
        });
        let mut columns: Vec<_> = measured.collect();
        let needed = |columns: &[(&Column, usize)]| {
            columns.iter().map(|(_, width)| width + GAP).sum::<usize>().saturating_sub(GAP)
        };
        while width.is_some_and(|width| needed(&columns) > width) {
            let most = columns.iter().map(|(column, _)| column.dispensable).max().unwrap_or(0);
            if most == 0 {
                break;
            }
            columns.retain(|(column, _)| column.dispensable < most);
        }
        Self { columns }
    }

    /// Returns the headings of the columns that did not fit.
    pub(crate) fn left_out(&self) -> Vec<&'static str> {
        let is_shown = |heading| self.columns.iter().any(|(column, _)| column.heading == heading);
        COLUMNS.iter().map(|column| column.heading).filter(|heading| !is_shown(*heading)).collect()
    }

    pub(crate) fn write_headings(&self, out: &mut impl Write) -> io::Result<()> {
        self.write_line(out, |column, _| column.heading.to_owned())
    }

    pub(crate) fn write(&self, out: &mut impl Write, rows: &[Row<'_>]) -> io::Result<()> {
        rows.iter().try_for_each(|row| {
            self.write_line(out, |column, width| {
                let cell = (column.cell)(row);
                if column.is_cut { cut(cell, width) } else { cell }
            })
        })
    }

    fn write_line(
        &self,
        out: &mut impl Write,
        cell: impl Fn(&Column, usize) -> String,
    ) -> io::Result<()> {
        let mut line = String::new();
        for (column, width) in &self.columns {
            let text = cell(column, *width);
            let padding = width.saturating_sub(text.width()) + GAP;
            line += &text;
            line.extend(std::iter::repeat_n(' ', padding));
        }
        writeln!(out, "{}", line.trim_end())
    }
}

/// Cuts a text that is wider than its column.
fn cut(mut text: String, most: usize) -> String {
    if text.width() <= most {
        return text;
    }
    let mut width = 1;
    let end = text.char_indices().find_map(|(at, character)| {
        width += character.width().unwrap_or(0);
        (width > most).then_some(at)
    });
    text.truncate(end.unwrap_or(text.len()));
    text.push('…');
    text
}

fn day(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d").to_string()
}

/// Returns the day of an expiry. If the expiry is less than a day away or ago, returns the time
/// until or since the expiry.
fn expiry(end: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let left = end - now;
    if left.abs() >= TimeDelta::days(1) {
        day(end)
    } else if left > TimeDelta::zero() {
        until(end, now)
    } else {
        ago(end, now)
    }
}

/// Returns how soon a time will be, rounded up to a full second: a key that was just issued for 90
/// days expires in 90 days.
pub(crate) fn until(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("in {}", length(time - now + TimeDelta::nanoseconds(999_999_999)))
}

/// Returns how long ago a time was.
pub(crate) fn ago(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    // The time may come from another clock, and may be later than `now`.
    format!("{} ago", length((now - time).max(TimeDelta::zero())))
}

/// Returns a duration in its largest unit.
pub(crate) fn length(time: TimeDelta) -> String {
    let seconds = time.num_seconds();
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_key_runtime::{admin::AllowedIps, store::KeyDigest};

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap()
    }

    /// A key with a value in every column, of typical width.
    fn record() -> KeyRecord {
        let mut record = KeyRecord::new(
            17,
            KeyDigest::from_bytes([1; 32]),
            AllowedIps::from_stored("10.0.0.0/8"),
        );
        record.hint = "ak_live_Ab3d".to_owned();
        record.name = "billing".to_owned();
        record.owner = Some("user 17".to_owned());
        record.scopes = "cakes:write cakes:delete".parse().unwrap();
        record.created_at = now() - TimeDelta::days(100);
        record.expires_at = Some(now() + TimeDelta::days(100));
        record
    }

    fn listed(width: Option<usize>) -> (Vec<String>, Vec<&'static str>) {
        let record = record();
        let address = "203.0.113.200".parse().ok();
        let usage = KeyUsage::new(17, now() - TimeDelta::minutes(3), address, 1_048_576);
        let row = Row { record: &record, usage: Some(&usage), now: now() };
        let mut out = Vec::new();
        let layout = Layout::of(&[row], width);
        layout.write_headings(&mut out).unwrap();
        layout.write(&mut out, &[row]).unwrap();
        let left_out = layout.left_out();
        let lines = String::from_utf8(out).unwrap();
        (lines.lines().map(str::to_owned).collect(), left_out)
    }

    // F11
    #[test]
    fn a_narrow_terminal_drops_the_least_important_columns() {
        let (lines, left_out) = listed(None);
        assert_eq!(left_out, [""; 0]);
        let natural = lines[0].len().max(lines[1].len());
        assert_eq!(listed(Some(natural)).1, [""; 0]);
        assert_eq!(listed(Some(natural - 1)).1, ["CREATED"]);
        for width in [120, 80, 60] {
            let (lines, left_out) = listed(Some(width));
            assert!(lines.iter().all(|line| line.len() <= width), "{width}: {lines:?}");
            for (column, word) in [("LAST USED", "3 min ago"), ("USES", "1048576")] {
                let shown = !left_out.contains(&column);
                assert!(lines[1].contains(word) == shown, "{width}: {lines:?}");
            }
            assert!(width < 80 || !left_out.contains(&"LAST USED"), "{lines:?}");
        }
        let (lines, left_out) = listed(Some(1));
        assert_eq!(left_out.len(), 8);
        assert_eq!(
            lines,
            ["ID  HINT          NAME     STATE", "17  ak_live_Ab3d  billing  active"]
        );
    }

    #[test]
    fn a_text_that_is_too_wide_is_cut_at_the_width_of_a_cell() {
        let words = "cakes:write cakes:delete cakes:read cakes:bake";
        assert_eq!(
            cut(words.to_owned(), MAX_CELL_WIDTH),
            "cakes:write cakes:delete cakes:read cak…"
        );
        let whole: String = words.chars().take(40).collect();
        assert_eq!(cut(whole.clone(), MAX_CELL_WIDTH), whole);
        // Each character takes two terminal cells, so one cell of the column stays empty.
        assert_eq!(cut("名".repeat(21), MAX_CELL_WIDTH), format!("{}…", "名".repeat(19)));
        assert_eq!(cut("名".repeat(20), MAX_CELL_WIDTH), "名".repeat(20));
    }

    // F11
    #[test]
    fn the_time_since_the_last_use_is_said_in_its_largest_unit() {
        for (seconds, said) in [
            (-5, "0 s ago"),
            (0, "0 s ago"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (3599, "59 min ago"),
            (3600, "1 h ago"),
            (86_399, "23 h ago"),
            (86_400, "1 d ago"),
            (86_400 * 1000, "1000 d ago"),
        ] {
            assert_eq!(ago(now() - TimeDelta::seconds(seconds), now()), said);
        }
    }

    #[test]
    fn an_expiry_within_a_day_is_not_shown_as_a_day() {
        for (milliseconds, said) in [
            (1, "in 1 s"),
            (0, "0 s ago"),
            (60_000, "in 1 min"),
            (86_399_000, "in 23 h"),
            (86_399_999, "in 1 d"),
            (-1, "0 s ago"),
            (-7_200_000, "2 h ago"),
        ] {
            let end = now() + TimeDelta::milliseconds(milliseconds);
            assert_eq!(expiry(end, now()), said, "{milliseconds}");
        }
        for days in [1, -1, 100] {
            let end = now() + TimeDelta::days(days);
            assert_eq!(expiry(end, now()), super::day(end));
        }
    }
}
