//! A row of the table, and its conversion from and to a key record.

use api_key_runtime::{
    ScopeSet,
    admin::{AllowedIps, KeyRecord},
    store::{DigestAlgorithm, KeyDigest},
};
use chrono::{DateTime, Utc};
use diesel::prelude::*;

diesel::table! {
    partner_tokens (number) {
        number -> BigInt,
        fingerprint -> Binary,
        fingerprint_kind -> Text,
        starts_with -> Text,
        label -> Text,
        partner -> Nullable<Text>,
        networks -> Text,
        rights -> Text,
        issued_at -> TimestamptzSqlite,
        valid_until -> Nullable<TimestamptzSqlite>,
        paused_at -> Nullable<TimestamptzSqlite>,
        ended_at -> Nullable<TimestamptzSqlite>,
    }
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = partner_tokens)]
pub(crate) struct Row {
    #[diesel(skip_insertion)]
    number: i64,
    fingerprint: Vec<u8>,
    fingerprint_kind: String,
    starts_with: String,
    label: String,
    partner: Option<String>,
    networks: String,
    rights: String,
    issued_at: DateTime<Utc>,
    valid_until: Option<DateTime<Utc>>,
    paused_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
}

impl Row {
    /// Converts the row to a key record. Returns `None` if the fingerprint is not 32 bytes long.
    pub(crate) fn into_record(self) -> Option<KeyRecord> {
        // `from_stored` turns an invalid list into a list that allows no address.
        let networks = AllowedIps::from_stored(&self.networks);
        let mut record = KeyRecord::new(self.number, digest(&self.fingerprint)?, networks);
        record.digest_algorithm = DigestAlgorithm::from_stored(&self.fingerprint_kind);
        record.hint = self.starts_with;
        record.name = self.label;
        record.owner = self.partner;
        record.scopes = ScopeSet::from_stored(&self.rights);
        record.created_at = self.issued_at;
        record.expires_at = self.valid_until;
        record.disabled_at = self.paused_at;
        record.revoked_at = self.ended_at;
        Some(record)
    }
}

impl From<&KeyRecord> for Row {
    fn from(record: &KeyRecord) -> Self {
        Self {
            number: record.id,
            fingerprint: record.digest.as_bytes().to_vec(),
            fingerprint_kind: record.digest_algorithm.to_string(),
            starts_with: record.hint.clone(),
            label: record.name.clone(),
            partner: record.owner.clone(),
            networks: record.allowed_ips.as_str().to_owned(),
            rights: record.scopes.as_str().to_owned(),
            issued_at: record.created_at,
            valid_until: record.expires_at,
            paused_at: record.disabled_at,
            ended_at: record.revoked_at,
        }
    }
}

pub(crate) fn digest(fingerprint: &[u8]) -> Option<KeyDigest> {
    fingerprint.try_into().ok().map(KeyDigest::from_bytes)
}
