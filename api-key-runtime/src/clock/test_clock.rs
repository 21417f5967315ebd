//! A clock that can be set.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, Utc};

use crate::lock::lock;

/// A clock for tests, which stands still until it is set. It takes the place of the database's
/// clock and of the local one.
///
/// Clones share the time; hand one to [`AppKeysBuilder::clock`](crate::AppKeysBuilder::clock) and
/// keep the other.
#[derive(Clone, Debug)]
pub struct TestClock(Arc<Mutex<DateTime<Utc>>>);

impl TestClock {
    /// A clock that stands at this time.
    #[must_use]
    pub fn at(now: DateTime<Utc>) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// The time it stands at.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        *lock(&self.0)
    }

    /// Sets it, forwards or back.
    pub fn set(&self, now: DateTime<Utc>) {
        *lock(&self.0) = now;
    }

    /// Sets it forwards by this much.
    pub fn advance(&self, by: Duration) {
        *lock(&self.0) += by;
    }
}
