//! Where the time of day comes from.

use chrono::{DateTime, SubsecRound as _, Utc};

#[cfg(feature = "test-util")]
use std::sync::{Arc, Mutex, PoisonError};

/// The clock that expiry is judged by.
#[derive(Clone, Debug, Default)]
pub(crate) enum Clock {
    #[default]
    System,
    #[cfg(feature = "test-util")]
    Test(TestClock),
}

impl Clock {
    pub(crate) fn now(&self) -> DateTime<Utc> {
        match self {
            Self::System => Utc::now(),
            #[cfg(feature = "test-util")]
            Self::Test(clock) => clock.now(),
        }
    }
}

/// A time as both databases keep it: to the microsecond.
pub(crate) fn to_stored(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}

/// A clock for tests, which stands still until it is set.
///
/// Clones share the time; hand one to [`AppKeysBuilder::clock`](crate::AppKeysBuilder::clock) and keep the other.
#[cfg(feature = "test-util")]
#[derive(Clone, Debug)]
pub struct TestClock(Arc<Mutex<DateTime<Utc>>>);

#[cfg(feature = "test-util")]
impl TestClock {
    /// A clock that stands at this time.
    #[must_use]
    pub fn at(now: DateTime<Utc>) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// The time it stands at.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets it, forwards or back.
    pub fn set(&self, now: DateTime<Utc>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}
