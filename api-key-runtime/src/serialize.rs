//! `Serialize` for key records, usage, health and metrics.
//!
//! Times are RFC 3339 in UTC with microseconds, the precision of both databases. So all times have
//! the same length, and sort correctly as text. Text columns are serialized unchanged. The digest
//! of a key is left out, because only an attacker could make use of it.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap as _, SerializeStruct as _},
};

use crate::{
    allowed_ips::AllowedIps,
    change_feed::{FeedState, Health},
    key::DigestAlgorithm,
    key_record::{KeyRecord, KeyState},
    key_usage::KeyUsage,
    metrics::Metrics,
    rejection::{Reason as RejectionReason, RejectionKind},
    scope::ScopeSet,
};

macro_rules! serialize_as_str {
    ($($name:ty),+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )+};
}

serialize_as_str!(
    AllowedIps,
    DigestAlgorithm,
    FeedState,
    KeyState,
    RejectionKind,
    RejectionReason,
    ScopeSet
);

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

impl Serialize for KeyRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Without `..`, a new field is a compile error until the field is serialized or skipped
        // here.
        let Self {
            id,
            digest: _,
            digest_algorithm,
            hint,
            name,
            owner,
            allowed_ips,
            scopes,
            created_at,
            expires_at,
            disabled_at,
            revoked_at,
            replaced_by,
        } = self;
        let mut object = serializer.serialize_struct("KeyRecord", 12)?;
        object.serialize_field("id", id)?;
        object.serialize_field("digest_algorithm", digest_algorithm)?;
        object.serialize_field("hint", hint)?;
        object.serialize_field("name", name)?;
        object.serialize_field("owner", owner)?;
        object.serialize_field("allowed_ips", allowed_ips)?;
        object.serialize_field("scopes", scopes)?;
        object.serialize_field("created_at", &time(*created_at))?;
        object.serialize_field("expires_at", &expires_at.map(time))?;
        object.serialize_field("disabled_at", &disabled_at.map(time))?;
        object.serialize_field("revoked_at", &revoked_at.map(time))?;
        object.serialize_field("replaced_by", replaced_by)?;
        object.end()
    }
}

impl Serialize for KeyUsage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { key_id, last_used_at, last_used_ip, count } = self;
        let mut object = serializer.serialize_struct("KeyUsage", 4)?;
        object.serialize_field("key_id", key_id)?;
        object.serialize_field("last_used_at", &time(*last_used_at))?;
        object.serialize_field("last_used_ip", last_used_ip)?;
        object.serialize_field("use_count", count)?;
        object.end()
    }
}

impl Serialize for Health {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Health", 4)?;
        object.serialize_field("is_ready", &self.is_ready())?;
        object.serialize_field("is_store_available", &self.is_store_available())?;
        object.serialize_field("feed", &self.feed())?;
        object
            .serialize_field("staleness_seconds", &self.staleness().map(|age| age.as_secs_f64()))?;
        object.end()
    }
}

/// Serializes the counters and gauges. The histogram of [`Metrics::lookup_buckets`] and the
/// [`Health`] are left out.
impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Metrics", 12)?;
        object.serialize_field("accepted", &self.accepted())?;
        object.serialize_field("accepted_without_key", &self.accepted_without_key())?;
        object.serialize_field("rejected", &Rejected(self))?;
        object.serialize_field("hits", &self.hits())?;
        object.serialize_field("misses", &self.misses())?;
        object.serialize_field("lookups", &self.lookups())?;
        object.serialize_field("failed_lookups", &self.failed_lookups())?;
        object.serialize_field("lookup_time_seconds", &self.lookup_time().as_secs_f64())?;
        object.serialize_field("queued_lookups", &self.queued_lookups())?;
        object.serialize_field("cached_keys", &self.cached_keys())?;
        object.serialize_field("negative_entries", &self.negative_entries())?;
        object.serialize_field("dropped_usage", &self.dropped_usage())?;
        object.end()
    }
}

/// The number of rejected requests for each reason.
struct Rejected<'a>(&'a Metrics);

impl Serialize for Rejected<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for (reason, count) in self.0.rejected() {
            object.serialize_entry(reason.as_str(), &count)?;
        }
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;
    use crate::key::KeyDigest;

    #[test]
    fn a_key_is_serialized_by_its_columns_and_without_its_digest() {
        let mut record = KeyRecord::new(
            17,
            KeyDigest::from_bytes([7; 32]),
            AllowedIps::from_stored("10.0.0.0/8"),
        );
        record.name = "billing".to_owned();
        record.scopes = ScopeSet::from_stored("a b");
        record.expires_at = DateTime::from_timestamp(1, 5_000);
        let expected = json!({
            "id": 17,
            "digest_algorithm": "sha256",
            "hint": "",
            "name": "billing",
            "owner": null,
            "allowed_ips": "10.0.0.0/8",
            "scopes": "a b",
            "created_at": "1970-01-01T00:00:00.000000Z",
            "expires_at": "1970-01-01T00:00:01.000005Z",
            "disabled_at": null,
            "revoked_at": null,
            "replaced_by": null,
        });
        assert_eq!(to_value(&record).unwrap(), expected);
        assert_eq!(to_value(record.state(Utc::now())).unwrap(), "expired");
    }

    #[test]
    fn usage_is_serialized_with_its_count_and_client_ip() {
        let usage = KeyUsage::new(17, DateTime::UNIX_EPOCH, "203.0.113.7".parse().ok(), 42);
        let expected = json!({
            "key_id": 17,
            "last_used_at": "1970-01-01T00:00:00.000000Z",
            "last_used_ip": "203.0.113.7",
            "use_count": 42,
        });
        assert_eq!(to_value(&usage).unwrap(), expected);
    }

    #[test]
    fn kind_and_reason_of_a_rejection_are_serialized_as_text() {
        assert_eq!(to_value(RejectionKind::InvalidKey).unwrap(), "invalid key");
        assert_eq!(to_value(RejectionReason::LookupTimeout).unwrap(), "lookup timeout");
    }
}
