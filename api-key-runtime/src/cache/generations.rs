//! The generation in which each key last changed. A read that was sent in an earlier generation is
//! outdated for that key.

use std::collections::HashMap;

use crate::key::KeyDigest;

/// The maximum number of changed keys that are recorded individually. If more keys change, every
/// read in flight counts as outdated.
const MAX_RECENT: usize = 4096;

/// A counter of changes. A generation is the period between two changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Generations {
    current: u64,
    recent: HashMap<KeyDigest, u64>,
    /// Reads that were sent before this generation are outdated for every key.
    all_before: u64,
}

impl Generations {
    pub(super) fn current(&self) -> u64 {
        self.current
    }

    /// Records that these keys have changed.
    pub(super) fn keys_changed(&mut self, digests: &[KeyDigest]) {
        if digests.is_empty() {
            return;
        }
        self.current = self.current.saturating_add(1);
        if self.recent.len().saturating_add(digests.len()) > MAX_RECENT {
            self.recent.clear();
            self.all_before = self.current;
            return;
        }
        for &digest in digests {
            self.recent.insert(digest, self.current);
        }
    }

    /// Records that every key may have changed, and returns the generation that begins with this
    /// change.
    pub(super) fn everything_changed(&mut self) -> u64 {
        self.current = self.current.saturating_add(1);
        self.recent.clear();
        self.all_before = self.current;
        self.current
    }

    /// Returns whether this key may have changed since the generation `since`.
    pub(super) fn changed_since(&self, since: u64, digest: &KeyDigest) -> bool {
        since < self.all_before || self.recent.get(digest).is_some_and(|&at| since < at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u32) -> KeyDigest {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        KeyDigest::from_bytes(bytes)
    }

    // E3
    #[test]
    fn a_read_is_outdated_only_for_keys_changed_since() {
        let mut generations = Generations::default();
        let before = generations.current();
        generations.keys_changed(&[digest(1)]);
        assert!(generations.changed_since(before, &digest(1)));
        assert!(!generations.changed_since(before, &digest(2)));
        assert!(!generations.changed_since(generations.current(), &digest(1)));
        generations.keys_changed(&[]);
        assert_eq!(generations.current(), before + 1, "an empty list is not a change");
        let between = generations.current();
        generations.everything_changed();
        assert!(generations.changed_since(between, &digest(2)));
        assert!(!generations.changed_since(generations.current(), &digest(2)));
    }

    // E3
    #[test]
    fn merged_generations_are_outdated_and_memory_is_bounded() {
        let mut generations = Generations::default();
        let before = generations.current();
        for number in 0..10_000 {
            generations.keys_changed(&[digest(number)]);
            assert!(generations.changed_since(before, &digest(0)));
            assert!(generations.recent.len() <= MAX_RECENT);
        }
        let many: Vec<KeyDigest> = (0..10_000).map(digest).collect();
        let before = generations.current();
        generations.keys_changed(&many);
        assert!(many.iter().all(|digest| generations.changed_since(before, digest)));
        assert!(generations.recent.len() <= MAX_RECENT);
    }
}
