//! Where the time of day comes from.

use chrono::{DateTime, SubsecRound as _, Utc};

#[cfg(feature = "test-util")]
use crate::test_util::TestClock;

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
