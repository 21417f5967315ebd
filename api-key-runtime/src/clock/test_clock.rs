//! A settable clock for tests.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, Utc};

use crate::lock::lock;

/// A test clock, which stands still until it is set. It replaces the database's clock and the local
/// clock.
///
/// All clones show the same time. Pass one clone to
/// [`AppKeysBuilder::clock`](crate::AppKeysBuilder::clock) and keep another clone to set the time.
#[derive(Clone, Debug)]
pub struct TestClock(Arc<Mutex<DateTime<Utc>>>);

impl TestClock {
    /// Creates a clock that is set to this time.
    #[must_use]
    pub fn at(now: DateTime<Utc>) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// Returns the time of the clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        *lock(&self.0)
    }

    /// Sets the clock to this time, which may be earlier or later than its current time.
    pub fn set(&self, now: DateTime<Utc>) {
        *lock(&self.0) = now;
    }

    /// Advances the clock by this duration.
    pub fn advance(&self, by: Duration) {
        *lock(&self.0) += by;
    }
}
