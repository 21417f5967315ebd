//! The keys whose revocation this process has seen. A read that was sent before the revocation must
//! not revive the key if the result arrives afterwards.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{clock::MonotonicTime, key::KeyDigest};

/// The maximum number of tombstones, and their lifetime. Both are far above what reads in flight
/// need.
const MAX: usize = 100_000;
const KEPT_FOR: Duration = Duration::from_secs(3600);

/// The keys whose revocation was seen most recently. A new tombstone evicts the tombstones beyond
/// [`MAX`] and those older than [`KEPT_FOR`].
#[derive(Clone, Debug, Default)]
pub(super) struct Tombstones {
    of: HashMap<KeyDigest, MonotonicTime>,
    /// Tombstones in the order of insertion, oldest first. An entry is skipped if its key was
    /// inserted again later.
    order: VecDeque<(KeyDigest, MonotonicTime)>,
}

impl Tombstones {
    pub(super) fn has(&self, digest: &KeyDigest) -> bool {
        self.of.contains_key(digest)
    }

    pub(super) fn put(&mut self, digest: KeyDigest, now: MonotonicTime) {
        self.of.insert(digest, now);
        self.order.push_back((digest, now));
        while let Some(&(oldest, at)) = self.order.front() {
            if self.order.len() <= MAX && now.since(at) <= KEPT_FOR {
                break;
            }
            self.order.pop_front();
            if self.of.get(&oldest).is_some_and(|put| *put == at) {
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
            tombstones.put(digest(number), at(1));
        }
        assert!(!tombstones.has(&digest(9)), "the oldest is evicted");
        assert!(tombstones.has(&digest(10)));
        assert_eq!(tombstones.of.len(), MAX);
        tombstones.put(digest(MAX + 10), at(3601));
        assert_eq!(tombstones.of.len(), MAX, "an hour has not passed yet");
        tombstones.put(digest(MAX + 11), at(3602));
        assert_eq!((tombstones.of.len(), tombstones.order.len()), (2, 2));
    }
}
