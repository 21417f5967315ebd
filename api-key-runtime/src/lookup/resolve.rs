//! Decides from the cache alone whether a key must be looked up, and how urgently.

use std::sync::Arc;

use super::Priority;
use crate::{
    KeyDigest,
    cache::{Cached, CachedKey},
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
