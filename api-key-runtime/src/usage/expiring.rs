//! Warnings about keys that expire soon and are still used, at most one a day for each key.

use std::{collections::HashSet, sync::Mutex, time::Duration};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::Counted;
use crate::{clock::MonotonicTime, key_usage::KeyUsage, lock::lock, log};

/// How long before its expiry a key that is still used is logged. Keys with a shorter lifetime are
/// not logged, because their clients renew them regularly.
pub(crate) const SOON: TimeDelta = TimeDelta::days(7);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The maximum number of keys that are logged in a day, so that memory and log stay bounded.
const MAX_KEYS: usize = 1000;

/// The keys that were logged on the current day. A day begins with the first line after the
/// previous day has ended.
#[derive(Debug, Default)]
pub(super) struct ExpiringKeys(Mutex<Day>);

#[derive(Debug, Default)]
struct Day {
    began: MonotonicTime,
    logged: HashSet<i64>,
}

impl Day {
    /// Returns the number of keys logged on this day if a line about this key is due, or else
    /// `None`.
    fn is_due(&mut self, id: i64, now: MonotonicTime) -> Option<usize> {
        if self.logged.is_empty() || now.since(self.began) >= DAY {
            *self = Self { began: now, logged: HashSet::new() };
        }
        let is_due = self.logged.len() <= MAX_KEYS && self.logged.insert(id);
        is_due.then_some(self.logged.len())
    }
}

impl ExpiringKeys {
    /// Logs a key that was used, if the key expires soon and was not yet logged on this day.
    pub(super) fn used(&self, key: &dyn Counted, usage: &KeyUsage, now: DateTime<Utc>) {
        let Some(end) = key.warns_before() else { return };
        if end <= now || end - now > SOON {
            return;
        }
        match lock(&self.0).is_due(key.id(), MonotonicTime::now()) {
            Some(..=MAX_KEYS) => {
                let from =
                    usage.last_used_ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
                log::warn!(
                    "key {id} {hint} expires at {end}, and its client still uses it, last from {from}; \
                     give the client a new key; `app-key show {id}` reports whether one was issued",
                    id = key.id(),
                    hint = key.hint().escape_default(),
                    end = end.to_rfc3339_opts(SecondsFormat::Secs, true),
                );
            }
            Some(_) => log::warn!(
                "more than {MAX_KEYS} keys that expire soon are still used; list all keys that expire soon with `app-key list --expires-within 7d`"
            ),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_due_once_a_day_and_memory_is_bounded() {
        let mut day = Day::default();
        let start = MonotonicTime::now();
        assert_eq!((day.is_due(1, start), day.is_due(2, start)), (Some(1), Some(2)));
        assert_eq!(day.is_due(1, start.after(DAY / 2)), None);
        assert_eq!(day.is_due(1, start.after(DAY)), Some(1));
        let later = start.after(3 * DAY);
        let due = (0..10_000).filter(|id| day.is_due(*id, later).is_some()).count();
        assert_eq!((due, day.logged.len()), (MAX_KEYS + 1, MAX_KEYS + 1));
        assert_eq!(day.is_due(1, later.after(DAY)), Some(1));
    }
}
