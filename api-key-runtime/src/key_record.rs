//! What is known of a key.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::{
    allowed_ips::AllowedIps,
    key::{DigestAlgorithm, KeyDigest},
    scope::ScopeSet,
};

/// A row of the key table: everything that is known of a key, and nothing that would let anyone use
/// it.
///
/// A [`KeyStore`](crate::store::KeyStore) of your own makes one with [`new`](Self::new) and sets
/// the rest:
///
/// ```
/// use api_key_runtime::{admin::{AllowedIps, KeyRecord}, store::KeyDigest};
///
/// let mut record = KeyRecord::new(17, KeyDigest::from_bytes([7; 32]), AllowedIps::from_stored("10.0.0.0/8"));
/// record.name = "billing".to_owned();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyRecord {
    /// Identifies the key to people and logs; never reused.
    pub id: i64,
    /// What the table holds instead of the key.
    pub digest: KeyDigest,
    /// How the digest was made.
    pub digest_algorithm: DigestAlgorithm,
    /// The prefix and first four characters, for people.
    pub hint: String,
    /// What the key is for.
    pub name: String,
    /// The application's own user, where it gave one.
    pub owner: Option<String>,
    /// Where the key may be used from.
    pub allowed_ips: AllowedIps,
    /// What the key may be used for.
    pub scopes: ScopeSet,
    /// When it was issued.
    pub created_at: DateTime<Utc>,
    /// From this moment on it is refused; `None` is never.
    pub expires_at: Option<DateTime<Utc>>,
    /// It is refused while this is set; disabling can be undone.
    pub disabled_at: Option<DateTime<Utc>>,
    /// It is refused for good once this is set.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl KeyRecord {
    /// A key without name, owner, scopes and end, whose digest is plain SHA-256.
    #[must_use]
    pub fn new(id: i64, digest: KeyDigest, allowed_ips: AllowedIps) -> Self {
        Self {
            id,
            digest,
            digest_algorithm: DigestAlgorithm::from_stored("sha256"),
            hint: String::new(),
            name: String::new(),
            owner: None,
            allowed_ips,
            scopes: ScopeSet::default(),
            created_at: DateTime::UNIX_EPOCH,
            expires_at: None,
            disabled_at: None,
            revoked_at: None,
        }
    }

    /// The state an operator is shown at this moment; the first of these that holds is why the key
    /// is refused.
    #[must_use]
    pub fn state(&self, now: DateTime<Utc>) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if self.disabled_at.is_some() {
            KeyState::Disabled
        } else if self.expires_at.is_some_and(|end| now >= end) {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }
}

/// Whether a key is good at a moment, whoever presents it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// It opens what its addresses and scopes allow.
    Active,
    /// Its time is over.
    Expired,
    /// Switched off until it is enabled again.
    Disabled,
    /// Over for good.
    Revoked,
}

impl KeyState {
    /// Returns the state as one word: `active`, `expired`, `disabled` or `revoked`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}
