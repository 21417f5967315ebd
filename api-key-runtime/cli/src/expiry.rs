//! When a key ends, as people write it.

use chrono::{DateTime, TimeDelta, Utc};

/// Reads a time from now such as `90d`, or a moment of RFC 3339.
pub(crate) fn parse(text: &str) -> Result<DateTime<Utc>, String> {
    let time = text.strip_suffix(['s', 'm', 'h', 'd', 'w']);
    match (time, text.chars().last()) {
        (Some(number), Some(unit)) => after(number, unit),
        _ => moment(text),
    }
    .ok_or_else(|| {
        "write a time from now as a number and s, m, h, d or w (90d), or a moment as 2030-01-31T00:00:00Z; neither beyond the year 9999"
            .to_owned()
    })
}

fn after(number: &str, unit: char) -> Option<DateTime<Utc>> {
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i64 = number.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let time = TimeDelta::try_seconds(number.checked_mul(seconds)?)?;
    Utc::now().checked_add_signed(time)
}

fn moment(text: &str) -> Option<DateTime<Utc>> {
    let moment = DateTime::parse_from_rfc3339(text).ok()?;
    // A leap second (23:59:60) is the second after it: databases know no other.
    DateTime::from_timestamp_micros(moment.timestamp_micros())
}
