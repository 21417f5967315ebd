//! Where time comes from: the time of day, which expiry is judged by, and the monotonic one, which freshness is.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

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

/// A moment of this process's own monotonic time, small enough for an atomic: nanoseconds since about its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(u64);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Moment {
    /// Before every other moment.
    pub(crate) const START: Self = Self(0);

    pub(crate) fn now() -> Self {
        // Longer than u64 holds is 584 years.
        Self(
            u64::try_from(START.elapsed().as_nanos())
                .unwrap_or(u64::MAX)
                .saturating_add(1),
        )
    }

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after the other it is; nothing where it is not.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
