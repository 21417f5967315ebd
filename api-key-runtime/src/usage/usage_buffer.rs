//! Key usage that waits to be written, with one entry per key. The buffer is plain data, without
//! threads or I/O.

use std::collections::BTreeMap;

use crate::key_usage::KeyUsage;

/// The maximum number of keys whose usage may wait. The usage of further keys is dropped.
pub(super) const MAX_KEYS: usize = 100_000;

/// Usage by key id. Usage is written in the order of the ids.
#[derive(Debug, Default)]
pub(super) struct UsageBuffer(BTreeMap<i64, KeyUsage>);

impl UsageBuffer {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds usage of a key. Returns the number of uses that were dropped because the buffer is
    /// full.
    pub(super) fn add(&mut self, more: KeyUsage) -> u64 {
        let room = self.0.len() < MAX_KEYS;
        match self.0.get_mut(&more.key_id) {
            Some(uses) => uses.merge(&more),
            None if room => {
                self.0.insert(more.key_id, more);
            }
            None => return more.count,
        }
        0
    }

    /// Returns the usage of each key, ordered by key id.
    pub(super) fn into_ordered(self) -> Vec<KeyUsage> {
        self.0.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn at(micros: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(micros).unwrap()
    }

    fn uses(key_id: i64, micros: i64, address: &str, count: u64) -> KeyUsage {
        KeyUsage::new(key_id, at(micros), address.parse().ok(), count)
    }

    // F11
    #[test]
    fn usage_of_one_key_merges_to_the_last_time_and_address() {
        let mut waiting = UsageBuffer::default();
        for more in [
            uses(2, 5, "10.0.0.5", 3),
            uses(1, 9, "10.0.0.9", 1),
            uses(2, 7, "2001:db8::7", 10),
            uses(2, 6, "10.0.0.6", 100),
            uses(1, 10, "unknown", 1),
        ] {
            assert_eq!(waiting.add(more), 0);
        }
        assert_eq!(
            waiting.into_ordered(),
            [uses(1, 10, "unknown", 2), uses(2, 7, "2001:db8::7", 113)]
        );
    }

    // F11
    #[test]
    fn a_full_buffer_reports_how_much_usage_is_dropped() {
        let mut waiting = UsageBuffer::default();
        let most = i64::try_from(MAX_KEYS).unwrap();
        for id in 1..=most {
            assert_eq!(waiting.add(uses(id, 1, "::1", 1)), 0);
        }
        assert_eq!(waiting.add(uses(most + 1, 1, "::1", 7)), 7);
        assert_eq!(waiting.add(uses(1, 1, "::1", 7)), 0, "merging takes no room");
        assert_eq!(waiting.into_ordered().len(), MAX_KEYS);
    }
}
