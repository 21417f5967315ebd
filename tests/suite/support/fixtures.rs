//! The keys that the requirements name.

use api_key_runtime::{admin::NewKey, test_util::TestClock};
use chrono::{DateTime, TimeDelta, Utc};

use super::Database;

/// One key of each kind, in a database.
pub(crate) struct Fixtures {
    /// Active, valid from any address.
    pub(crate) active: String,
    /// Bound to 203.0.113.7, from which no test connects.
    pub(crate) bound_elsewhere: String,
    /// Bound to 10.0.0.0/8.
    pub(crate) bound_to_network: String,
    pub(crate) revoked: String,
    pub(crate) disabled: String,
    pub(crate) expired: String,
    /// Well-formed, but not in the table.
    pub(crate) unknown: String,
}

impl Fixtures {
    pub(crate) fn new(database: &Database) -> Self {
        let admin = database.admin();
        let (revoked, id) = database.issue("0.0.0.0");
        admin.revoke(id).unwrap();
        let (disabled, id) = database.issue("0.0.0.0");
        admin.disable(id).unwrap();
        Self {
            active: database.issue("0.0.0.0").0,
            bound_elsewhere: database.issue("203.0.113.7").0,
            bound_to_network: database.issue("10.0.0.0/8").0,
            revoked,
            disabled,
            expired: expired(database),
            unknown: unknown(),
        }
    }

    /// Returns every key that gets 401 over loopback, with its reason in the log.
    pub(crate) fn invalid(&self) -> [(&'static str, &str); 6] {
        [
            ("revoked", &self.revoked),
            ("disabled", &self.disabled),
            ("expired", &self.expired),
            ("address not allowed", &self.bound_elsewhere),
            ("address not allowed", &self.bound_to_network),
            ("unknown key", &self.unknown),
        ]
    }
}

/// Issues an expired key. The issuing service's clock is an hour behind, and the key expires a
/// minute after that clock's time.
fn expired(database: &Database) -> String {
    let then = Utc::now() - TimeDelta::hours(1);
    let admin = database.builder().clock(TestClock::at(then)).build_admin().unwrap();
    let new = NewKey::new("expired").allow_any().expires_at(then + TimeDelta::minutes(1));
    admin.issue(&new).unwrap().secret.expose_secret().to_owned()
}

/// Returns a well-formed native key that is not in any table.
pub(crate) fn unknown() -> String {
    let store = api_key_runtime::test_util::MemoryStore::default();
    store.issue(&NewKey::new("unknown").allow_any()).unwrap().secret.expose_secret().to_owned()
}

/// Returns the key with its last character replaced by a different letter.
pub(crate) fn mistyped(key: &str) -> String {
    let (head, last) = key.split_at(key.len() - 1);
    format!("{head}{}", if last == "a" { "b" } else { "a" })
}

/// Returns a time to set clocks to.
pub(crate) fn moment() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_900_000_000_123_456).unwrap()
}
