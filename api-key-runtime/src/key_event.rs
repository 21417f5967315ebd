//! Events of the audit log.

use chrono::{DateTime, Utc};

/// An event of the audit log, as [`Admin::history`](crate::admin::Admin::history) returns it.
///
/// Database triggers write each event in the transaction of its change. So changes by plain SQL are
/// recorded as well, and a failed change leaves no event. An event contains neither the key nor its
/// digest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyEvent {
    /// The time of the change, by the clock of the database.
    pub happened_at: DateTime<Utc>,
    /// The kind of the event: `issued`, `updated`, `disabled`, `enabled`, `revoked`, `rotated`,
    /// `deleted`, `imported`, `pruned` or `truncated`.
    pub action: String,
    /// The id of the key, or the lowest id if the event covers several keys.
    pub key_id: i64,
    /// The id of the key, or the highest id if the event covers several keys. The keys between
    /// these ids need not all be part of the event.
    pub last_key_id: i64,
    /// The number of keys that the event covers. An import writes one event, and a prune writes one
    /// event for each batch of up to 64 keys. On Postgres, a statement that changes more than 64
    /// keys also writes one event. The count of a truncation is 0, because the number is not known.
    pub key_count: i64,
    /// The changed fields before the change, as a JSON object. `None` for a new key, and if the
    /// event covers several keys.
    pub before: Option<String>,
    /// The changed fields after the change, as a JSON object. `None` for a deleted key, and if the
    /// event covers several keys.
    pub after: Option<String>,
    /// The Postgres role that the connection logged in with. `None` on SQLite, which has no roles.
    pub role: Option<String>,
    /// The actor that the program set with [`Admin::acting_as`](crate::admin::Admin::acting_as).
    /// The actor is not verified.
    pub actor: Option<String>,
}
