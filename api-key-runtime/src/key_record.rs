//! The record of a key.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::{
    allowed_ips::AllowedIps,
    key::{DigestAlgorithm, KeyDigest},
    scope::ScopeSet,
};

/// A row of the key table. The record contains a digest of the key, not the key itself.
///
/// Your own [`KeyStore`](crate::store::KeyStore) makes a record with [`new`](Self::new) and sets
/// the other fields:
///
/// ```
/// use api_key_runtime::{admin::{AllowedIps, KeyRecord}, store::KeyDigest};
///
/// let allowed_ips = AllowedIps::from_stored("10.0.0.0/8");
/// let mut record = KeyRecord::new(17, KeyDigest::from_bytes([7; 32]), allowed_ips);
/// record.name = "billing".to_owned();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyRecord {
    /// The id of the key, as shown in logs. An id is never reused.
    pub id: i64,
    /// The digest of the key, which is stored instead of the key.
    pub digest: KeyDigest,
    /// The algorithm that computed the digest.
    pub digest_algorithm: DigestAlgorithm,
    /// The hint by which people recognize the key: its first characters. The hint of a native key
    /// is the prefix and the next four characters.
    pub hint: String,
    /// The name of the key, chosen by its issuer.
    pub name: String,
    /// The application's own user that the key belongs to, if any.
    pub owner: Option<String>,
    /// The IP allow list of the key.
    pub allowed_ips: AllowedIps,
    /// The scopes of the key.
    pub scopes: ScopeSet,
    /// The time at which the key was issued.
    pub created_at: DateTime<Utc>,
    /// The expiry: from this time on, the key is rejected. `None` means that the key does not
    /// expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// The time at which the key was disabled. The key is rejected while this time is set; enabling
    /// the key clears the time.
    pub disabled_at: Option<DateTime<Utc>>,
    /// The time at which the key was revoked. Once this time is set, the key is rejected
    /// permanently.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The id of the key that replaced this key in a rotation.
    pub replaced_by: Option<i64>,
}

/// A key before and after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Updated {
    /// The key before the change.
    pub before: KeyRecord,
    /// The key after the change.
    pub after: KeyRecord,
}

impl KeyRecord {
    /// Returns a record without a hint, a name, an owner, scopes or an expiry. Its digest algorithm
    /// is plain SHA-256, and its creation time is 1970-01-01.
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
            replaced_by: None,
        }
    }

    /// Returns the state of the key at this time. If several states apply, `Revoked` takes
    /// precedence over `Disabled`, and `Disabled` takes precedence over `Expired`.
    ///
    /// ```
    /// use api_key_runtime::admin::{AllowedIps, KeyRecord, KeyState};
    /// use api_key_runtime::{chrono::Utc, store::KeyDigest};
    ///
    /// let mut record = KeyRecord::new(17, KeyDigest::from_bytes([7; 32]), AllowedIps::any());
    /// assert_eq!(record.state(Utc::now()), KeyState::Active);
    /// record.expires_at = Some(Utc::now());
    /// assert_eq!(record.state(Utc::now()), KeyState::Expired);
    /// ```
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

/// The state of a key at a given time, independent of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// The key is accepted from its allowed IP addresses and for its scopes.
    Active,
    /// The expiry of the key has passed.
    Expired,
    /// The key is switched off until it is enabled again.
    Disabled,
    /// The key is revoked permanently.
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
