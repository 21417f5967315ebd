//! `app-key show`.

use std::io::{self, BufWriter, Write};

use api_key_runtime::admin::{Admin, KeyRecord, KeyState, KeyUsage};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;

use crate::{
    failure::Failure,
    json,
    named_key::{KeyId, record_of},
    style,
    table::ago,
    text::{self, time, time_from, used_from, write_fields},
};

pub(crate) const SHOW_AFTER_HELP: &str = "\
For the old key of a rotation, the last lines show whether it is safe to end the overlap with `app-key revoke`. It is \
safe if no use was recorded since the rotation, or none for 24 h. Services record usage every 10 s by default.

Examples:
  app-key show 17
  app-key show - < found-key.txt
  app-key show 17 --json | jq .rotation.is_safe_to_end";

/// The time within which services record a use: six times the default `usage_flush_interval`.
const RECORDED_AFTER: TimeDelta = TimeDelta::minutes(1);
/// A key that was not used for this long counts as unused.
const UNUSED_AFTER: TimeDelta = TimeDelta::hours(24);

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) key: KeyId,
    /// Print a JSON object with all columns and the state
    #[arg(long)]
    pub(crate) json: bool,
}

/// The rotation that replaced a key.
#[derive(Debug)]
pub(crate) struct Rotation {
    /// The id of the new key.
    pub(crate) replaced_by: i64,
    /// The time of the rotation. `None` if the new key is not in the table any more.
    pub(crate) rotated_at: Option<DateTime<Utc>>,
    /// Whether the old key can be revoked without effect on a client. `None` if that is unknown.
    pub(crate) is_safe_to_end: Option<bool>,
    pub(crate) reason: String,
}

pub(crate) fn show(admin: &Admin, asked: &Show) -> Result<(), Failure> {
    let record = record_of(admin, asked.key.id)?;
    let usage = admin.usage(record.id)?;
    let (usage, now) = (usage.as_ref(), admin.now());
    let rotation = rotation_of(admin, &record, usage, now)?;
    let mut out = BufWriter::new(anstream::stdout().lock());
    if asked.json {
        json::write_shown(&mut out, &record, usage, rotation.as_ref(), now)?;
    } else {
        text::write_details(&mut out, &record, usage, now)?;
        if let Some(rotation) = &rotation {
            write(&mut out, rotation, now)?;
        }
    }
    Ok(out.flush()?)
}

fn rotation_of(
    admin: &Admin,
    old: &KeyRecord,
    usage: Option<&KeyUsage>,
    now: DateTime<Utc>,
) -> Result<Option<Rotation>, Failure> {
    let Some(replaced_by) = old.replaced_by else { return Ok(None) };
    let rotated_at = match admin.get(replaced_by) {
        Ok(new) => Some(new.created_at),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    let (is_safe_to_end, reason) = is_safe_to_end(old, usage, rotated_at, now);
    Ok(Some(Rotation { replaced_by, rotated_at, is_safe_to_end, reason }))
}

/// Returns whether the overlap of a rotation can end now, and the reason.
fn is_safe_to_end(
    old: &KeyRecord,
    usage: Option<&KeyUsage>,
    rotated_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> (Option<bool>, String) {
    let state = old.state(now);
    if state != KeyState::Active {
        return (Some(true), format!("the key is {state} already"));
    }
    let used_since = usage.filter(|usage| rotated_at.is_none_or(|at| usage.last_used_at >= at));
    match (used_since, rotated_at) {
        (Some(usage), _) if now - usage.last_used_at >= UNUSED_AFTER => {
            (Some(true), format!("not used for {} h", UNUSED_AFTER.num_hours()))
        }
        (Some(usage), _) => {
            let (ago, from) = (ago(usage.last_used_at, now), used_from(Some(usage)));
            (Some(false), format!("used {ago} from {from}"))
        }
        (None, Some(at)) if now - at < RECORDED_AFTER => {
            (None, "the rotation was less than a minute ago".to_owned())
        }
        (None, Some(_)) => (Some(true), "no use recorded since the rotation".to_owned()),
        (None, None) => (Some(true), "no use recorded".to_owned()),
    }
}

fn write(out: &mut impl Write, rotation: &Rotation, now: DateTime<Utc>) -> io::Result<()> {
    let Rotation { replaced_by, rotated_at, is_safe_to_end, reason } = rotation;
    let rotated = rotated_at.map_or_else(String::new, |at| format!(", {}", time_from(at, now)));
    let answer = match is_safe_to_end {
        Some(true) => style::good("yes"),
        Some(false) => style::bad("no"),
        None => "unknown".to_owned(),
    };
    write_fields(
        out,
        [
            ("replaced by", format!("key {replaced_by}{rotated}")),
            ("safe to end", answer),
            ("reason", reason.clone()),
            ("as of", time(now)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use api_key_runtime::{admin::AllowedIps, store::KeyDigest};

    use super::*;

    // A11
    #[test]
    fn an_overlap_is_safe_to_end_without_recorded_use() {
        let now = DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap();
        let key = || {
            let mut key = KeyRecord::new(17, KeyDigest::from_bytes([1; 32]), AllowedIps::any());
            key.replaced_by = Some(18);
            key
        };
        let ago = |minutes| now - TimeDelta::minutes(minutes);
        let used = |minutes| {
            let from = "203.0.113.7".parse().ok();
            Some(KeyUsage::new(17, ago(minutes), from, 3))
        };
        for (usage, rotated_at, expected, reason) in [
            (None, Some(ago(60)), Some(true), "no use recorded since the rotation"),
            (used(61), Some(ago(60)), Some(true), "no use recorded since the rotation"),
            (used(5), Some(ago(60)), Some(false), "used 5 min ago from 203.0.113.7"),
            (used(1439), Some(ago(5000)), Some(false), "used 23 h ago from 203.0.113.7"),
            (used(1440), Some(ago(5000)), Some(true), "not used for 24 h"),
            (used(1), Some(ago(0)), None, "the rotation was less than a minute ago"),
            (used(0), Some(ago(0)), Some(false), "used 0 s ago from 203.0.113.7"),
            (used(5), None, Some(false), "used 5 min ago from 203.0.113.7"),
            (used(1440), None, Some(true), "not used for 24 h"),
            (None, None, Some(true), "no use recorded"),
        ] {
            let answer = is_safe_to_end(&key(), usage.as_ref(), rotated_at, now);
            assert_eq!(answer, (expected, reason.to_owned()));
        }
        let mut expired = key();
        expired.expires_at = Some(now);
        let answer = is_safe_to_end(&expired, used(0).as_ref(), Some(ago(60)), now);
        assert_eq!(answer, (Some(true), "the key is expired already".to_owned()));
    }
}
