//! Decides from the cache alone whether a key must be looked up, and how urgently.

use std::sync::Arc;

use super::Priority;
use crate::{
    cache::{Cached, CachedKey},
    key::KeyDigest,
};

/// The result of looking a key's digests up in the cache.
#[derive(Debug)]
pub(crate) enum Resolution {
    /// The key is cached under this digest.
    Found(Arc<CachedKey>, KeyDigest),
    /// The key is in no table.
    Unknown,
    /// The store has to be asked.
    LookUp(Priority),
}

/// Resolves a key from the cached state of its current digest and, during pepper rotation, of its
/// previous one.
pub(crate) fn resolve(
    current: (KeyDigest, Cached),
    previous: Option<(KeyDigest, Cached)>,
) -> Resolution {
    match (current, previous) {
        ((digest, Cached::Hit(key)), _)
        | ((_, Cached::NegativeHit), Some((digest, Cached::Hit(key)))) => {
            Resolution::Found(key, digest)
        }
        ((_, Cached::NegativeHit), None | Some((_, Cached::NegativeHit))) => Resolution::Unknown,
        // A key that is valid under its previous digest may stand revoked under the current one.
        ((_, Cached::Stale), _) | (_, Some((_, Cached::Hit(_) | Cached::Stale))) => {
            Resolution::LookUp(Priority::Known)
        }
        ((_, Cached::Miss), _) | (_, Some((_, Cached::Miss))) => {
            Resolution::LookUp(Priority::Unknown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{allowed_ips::AllowedIps, key_record::KeyRecord};

    const CURRENT: KeyDigest = KeyDigest::from_bytes([1; 32]);
    const PREVIOUS: KeyDigest = KeyDigest::from_bytes([2; 32]);

    fn hit() -> Cached {
        let record = KeyRecord::new(1, CURRENT, AllowedIps::any());
        Cached::Hit(Arc::new(CachedKey::new(record)))
    }

    // A6
    #[test]
    fn each_pair_of_cached_states_has_one_resolution() {
        let cached = |state| match state {
            "hit" => hit(),
            "negative" => Cached::NegativeHit,
            "stale" => Cached::Stale,
            _ => Cached::Miss,
        };
        // Columns: previous digest not configured, hit, negative hit, stale, miss.
        let table = [
            ("hit", ["current", "current", "current", "current", "current"]),
            ("negative", ["none", "previous", "none", "known", "unknown"]),
            ("stale", ["known", "known", "known", "known", "known"]),
            ("miss", ["unknown", "known", "unknown", "known", "unknown"]),
        ];
        for (current, expected) in table {
            for (previous, expected) in
                [None, Some("hit"), Some("negative"), Some("stale"), Some("miss")]
                    .into_iter()
                    .zip(expected)
            {
                let resolution = resolve(
                    (CURRENT, cached(current)),
                    previous.map(|state| (PREVIOUS, cached(state))),
                );
                let resolution = match resolution {
                    Resolution::Found(_, digest) if digest == CURRENT => "current",
                    Resolution::Found(..) => "previous",
                    Resolution::Unknown => "none",
                    Resolution::LookUp(Priority::Known) => "known",
                    Resolution::LookUp(Priority::Unknown) => "unknown",
                };
                assert_eq!(resolution, expected, "{current}, {previous:?}");
            }
        }
    }
}
