//! Usage of a key.

use std::net::IpAddr;

use chrono::{DateTime, Utc};

/// Usage of a key: the number of its uses, and the time and client IP of its last use.
///
/// [`KeyStore::record_usage`](crate::store::KeyStore::record_usage) receives the usage since the
/// last successful call, and `Admin::usage` returns the total.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyUsage {
    /// The id of the key.
    pub key_id: i64,
    /// The time of the last accepted request with the key, to the microsecond.
    pub last_used_at: DateTime<Utc>,
    /// The client IP of the last accepted request, or `None` if it was unknown.
    pub last_used_ip: Option<IpAddr>,
    /// The number of accepted requests with the key.
    pub count: u64,
}

impl KeyUsage {
    /// Returns the usage of a key with these values.
    #[must_use]
    pub fn new(
        key_id: i64,
        last_used_at: DateTime<Utc>,
        last_used_ip: Option<IpAddr>,
        count: u64,
    ) -> Self {
        Self { key_id, last_used_at, last_used_ip, count }
    }

    /// Merges other usage of the same key into this usage. The counts are added. The later of the
    /// two times is kept, together with its client IP.
    ///
    /// ```
    /// use api_key_runtime::admin::KeyUsage;
    /// use chrono::{TimeDelta, Utc};
    ///
    /// let now = Utc::now();
    /// let mut uses = KeyUsage::new(17, now, None, 40);
    /// uses.merge(&KeyUsage::new(17, now - TimeDelta::hours(1), "203.0.113.7".parse().ok(), 2));
    /// assert_eq!(uses, KeyUsage::new(17, now, None, 42));
    /// ```
    pub fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        if other.last_used_at >= self.last_used_at {
            self.last_used_at = other.last_used_at;
            self.last_used_ip = other.last_used_ip;
        }
    }
}
