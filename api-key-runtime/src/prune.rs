//! The arguments and the result of pruning.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::clock::earlier;

/// The keys and events that [`Admin::prune`](crate::admin::Admin::prune) deletes. By default,
/// nothing is deleted.
///
/// ```
/// use std::time::Duration;
///
/// use api_key_runtime::{Error, admin::{Admin, Prune}};
///
/// const DAY: Duration = Duration::from_secs(24 * 60 * 60);
///
/// fn prune(admin: &Admin) -> Result<(), Error> {
///     let old = Prune::new().expired_for(90 * DAY).revoked_for(90 * DAY);
///     let pruned = admin.prune(&old.events_older_than(400 * DAY))?;
///     println!("{} keys and {} events were deleted", pruned.keys, pruned.events);
///     Ok(())
/// }
/// ```
#[doc(alias = "retention")]
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is deleted until it is passed to Admin::prune"]
#[non_exhaustive]
pub struct Prune {
    /// The minimum time since the deleted keys expired. `None` deletes no expired keys.
    pub expired_for: Option<Duration>,
    /// The minimum time since the deleted keys were revoked. `None` deletes no revoked keys.
    pub revoked_for: Option<Duration>,
    /// The minimum age of the deleted events of the audit log. `None` deletes no events.
    pub events_older_than: Option<Duration>,
}

/// The latest times of expiry, of revocation and of events that are deleted. `None` deletes
/// nothing.
pub(crate) struct Due {
    pub(crate) expired: Option<DateTime<Utc>>,
    pub(crate) revoked: Option<DateTime<Utc>>,
    pub(crate) events: Option<DateTime<Utc>>,
}

impl Prune {
    /// Returns the settings that delete nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Deletes the keys that expired at least this long ago. By default, expired keys are kept.
    pub fn expired_for(mut self, time: Duration) -> Self {
        self.expired_for = Some(time);
        self
    }

    /// Deletes the keys that were revoked at least this long ago. By default, revoked keys are
    /// kept.
    pub fn revoked_for(mut self, time: Duration) -> Self {
        self.revoked_for = Some(time);
        self
    }

    /// Deletes the events of the audit log that are at least this old. By default, events are kept.
    pub fn events_older_than(mut self, age: Duration) -> Self {
        self.events_older_than = Some(age);
        self
    }

    pub(crate) fn due(&self, now: DateTime<Utc>) -> Due {
        let ago = |time| earlier(now, time);
        Due {
            expired: self.expired_for.map(ago),
            revoked: self.revoked_for.map(ago),
            events: self.events_older_than.map(ago),
        }
    }
}

/// The numbers of rows that [`Admin::prune`](crate::admin::Admin::prune) deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// The number of keys.
    pub keys: u64,
    /// The number of events of the audit log.
    pub events: u64,
}
