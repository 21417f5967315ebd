//! How a key was used.

use std::net::IpAddr;

use chrono::{DateTime, Utc};

/// How a key was used: how often, and when and from where the last time.
///
/// [`KeyStore::record_usage`](crate::store::KeyStore::record_usage) is given what is new,
/// `Admin::usage` answers all there was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyUsage {
    /// Which key.
    pub key_id: i64,
    /// When it was let through for the last time, to the microsecond.
    pub last_used_at: DateTime<Utc>,
    /// From where, the last time; `None` where that was unknown.
    pub last_used_ip: Option<IpAddr>,
    /// How many requests it was let through for.
    pub count: u64,
}

impl KeyUsage {
    /// These uses of this key.
    #[must_use]
    pub fn new(
        key_id: i64,
        last_used_at: DateTime<Utc>,
        last_used_ip: Option<IpAddr>,
        count: u64,
    ) -> Self {
        Self { key_id, last_used_at, last_used_ip, count }
    }

    /// Adds uses of the same key: the counts add up, and the later time stands, with its address.
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
