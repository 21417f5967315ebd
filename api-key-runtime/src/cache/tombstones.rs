//! What this process has refused for good: a read that was made before, and arrives after, must not bring it back.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use chrono::{DateTime, Utc};

use crate::{clock::MonotonicTime, key::KeyDigest};

/// How many are kept, and how long: far more and far longer than any read is under way.
const MAX: usize = 100_000;
const KEPT_FOR: Duration = Duration::from_secs(3600);

/// Why a key was refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tombstone {
    /// Revocation is final.
    Revoked,
    /// Refused as expired at this end: only a later end lets it in again, whatever the wall clock says.
    Ended(DateTime<Utc>),
}

/// The newest [`MAX`] of the last hour.
#[derive(Clone, Debug, Default)]
pub(super) struct Tombstones {
    of: HashMap<KeyDigest, (Tombstone, MonotonicTime)>,
    /// Oldest first; what was put up again since is skipped.
    order: VecDeque<(KeyDigest, MonotonicTime)>,
}

impl Tombstones {
    pub(super) fn get(&self, digest: &KeyDigest) -> Option<Tombstone> {
        self.of.get(digest).map(|(tombstone, _)| *tombstone)
    }

    /// Puts one up. That a key is revoked outweighs that it ended.
    pub(super) fn put(&mut self, digest: KeyDigest, tombstone: Tombstone, now: MonotonicTime) {
        if self.get(&digest) == Some(Tombstone::Revoked) {
            return;
        }
        self.of.insert(digest, (tombstone, now));
        self.order.push_back((digest, now));
        while let Some(&(oldest, at)) = self.order.front() {
            if self.order.len() <= MAX && now.since(at) <= KEPT_FOR {
                break;
            }
            self.order.pop_front();
            if self.of.get(&oldest).is_some_and(|(_, put)| *put == at) {
                self.of.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> KeyDigest {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        KeyDigest::from_bytes(bytes)
    }

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_nanos(seconds * 1_000_000_000)
    }

    // E4
    #[test]
    fn the_newest_100_000_are_kept_for_an_hour() {
        let mut tombstones = Tombstones::default();
        for number in 0..MAX + 10 {
            tombstones.put(digest(number), Tombstone::Revoked, at(1));
        }
        assert_eq!(tombstones.get(&digest(9)), None, "the oldest went");
        assert_eq!(tombstones.get(&digest(10)), Some(Tombstone::Revoked));
        assert_eq!(tombstones.of.len(), MAX);
        tombstones.put(digest(MAX + 10), Tombstone::Revoked, at(3601));
        assert_eq!(tombstones.of.len(), MAX, "an hour is not over yet");
        tombstones.put(digest(MAX + 11), Tombstone::Revoked, at(3602));
        assert_eq!((tombstones.of.len(), tombstones.order.len()), (2, 2));
    }

    // E4, F12
    #[test]
    fn revoked_outweighs_ended_and_a_later_end_the_earlier() {
        let mut tombstones = Tombstones::default();
        let end = |seconds| Tombstone::Ended(DateTime::from_timestamp(seconds, 0).unwrap());
        tombstones.put(digest(1), end(10), at(1));
        tombstones.put(digest(1), end(20), at(2));
        assert_eq!(tombstones.get(&digest(1)), Some(end(20)));
        tombstones.put(digest(1), Tombstone::Revoked, at(3));
        tombstones.put(digest(1), end(30), at(4));
        assert_eq!(tombstones.get(&digest(1)), Some(Tombstone::Revoked));
    }
}
