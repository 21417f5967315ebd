//! Decides whether a key must be looked up, and with which priority. The decision uses only the
//! cache.

use std::sync::Arc;

use super::Priority;
use crate::cache::{Cached, CachedKey};

/// The result of looking a key's digests up in the cache.
#[derive(Debug)]
pub(crate) enum Resolution {
    /// The key is cached.
    Found(Arc<CachedKey>),
    /// The key is cached as unknown.
    Unknown,
    /// The key must be looked up in the store.
    LookUp(Priority),
}

/// Resolves a key from the cached state of its current digest. During pepper rotation, the cached
/// state of its previous digest is used too.
pub(crate) fn resolve(current: Cached, previous: Option<Cached>) -> Resolution {
    match (current, previous) {
        (Cached::Hit(key), _) | (Cached::NegativeHit, Some(Cached::Hit(key))) => {
            Resolution::Found(key)
        }
        (Cached::NegativeHit, None | Some(Cached::NegativeHit)) => Resolution::Unknown,
        // A hit under the previous digest is not enough, because the key may be revoked under its
        // current digest.
        (Cached::Stale, _) | (_, Some(Cached::Hit(_) | Cached::Stale)) => {
            Resolution::LookUp(Priority::Known)
        }
        (Cached::Miss, _) | (_, Some(Cached::Miss)) => Resolution::LookUp(Priority::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{allowed_ips::AllowedIps, key::KeyDigest, key_record::KeyRecord};

    const CURRENT: i64 = 1;
    const PREVIOUS: i64 = 2;

    fn hit(id: i64) -> Cached {
        let record = KeyRecord::new(id, KeyDigest::from_bytes([1; 32]), AllowedIps::any());
        Cached::Hit(Arc::new(CachedKey::new(record)))
    }

    // A6
    #[test]
    fn each_pair_of_cached_states_has_one_resolution() {
        let cached = |state, id| match state {
            "hit" => hit(id),
            "negative" => Cached::NegativeHit,
            "stale" => Cached::Stale,
            _ => Cached::Miss,
        };
        // Rows: the state of the current digest. Columns: no previous digest, then its states hit,
        // negative hit, stale and miss.
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
                    cached(current, CURRENT),
                    previous.map(|state| cached(state, PREVIOUS)),
                );
                let resolution = match resolution {
                    Resolution::Found(key) if key.id == CURRENT => "current",
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
