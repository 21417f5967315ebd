//! Where time comes from: the time of day, which expiry is judged by, and the monotonic one, which
//! freshness is.

mod store_time;
#[cfg(feature = "test-util")]
mod test_clock;

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use chrono::{DateTime, SubsecRound as _, Utc};

use self::store_time::StoreTime;
#[cfg(feature = "test-util")]
pub use self::test_clock::TestClock;

/// What moments are counted from. An `Instant` cannot be kept in an atomic, a number can.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The clock that expiry is judged by: the store's where the store tells its time, or else the
/// local one.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    Store(Arc<StoreTime>),
    #[cfg(feature = "test-util")]
    Test(TestClock),
}

impl Default for Clock {
    fn default() -> Self {
        Self::Store(Arc::default())
    }
}

impl Clock {
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.at(MonotonicTime::now())
    }

    /// The time of day at a moment that has just been.
    #[inline]
    pub(crate) fn at(&self, now: MonotonicTime) -> DateTime<Utc> {
        match self {
            Self::Store(time) => time.at(now).unwrap_or_else(Utc::now),
            #[cfg(feature = "test-util")]
            Self::Test(clock) => clock.now(),
        }
    }

    /// Takes a time that the store told between two moments.
    pub(crate) fn observe(
        &self,
        sent: MonotonicTime,
        time: DateTime<Utc>,
        received: MonotonicTime,
    ) {
        match self {
            Self::Store(known) => known.observe(sent, time, received),
            #[cfg(feature = "test-util")]
            Self::Test(_) => {}
        }
    }
}

/// A time as both databases keep it: to the microsecond.
pub(crate) fn to_stored(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}

/// A monotonic time: nanoseconds since this process first asked for one. They last for 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MonotonicTime(u64);

impl MonotonicTime {
    /// Before every other moment.
    pub(crate) const START: Self = Self(0);

    #[inline]
    pub(crate) fn now() -> Self {
        let beginning = *BEGINNING;
        Self(1).after(Instant::now().saturating_duration_since(beginning))
    }

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time that passed since an earlier moment; zero where that one is later.
    #[inline]
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This much later.
    #[inline]
    pub(crate) const fn after(self, time: Duration) -> Self {
        // Cheaper than `as_nanos`, which is of 128 bits.
        let nanos =
            time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos() as u64);
        Self(self.0.saturating_add(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_go_forward_with_the_time_that_passes() {
        let (before, began) = (MonotonicTime::now(), Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        let after = MonotonicTime::now();
        assert!(
            (Duration::from_millis(20)..=began.elapsed() + Duration::from_millis(10))
                .contains(&after.since(before)),
            "{:?}",
            after.since(before)
        );
        assert_eq!(before.since(after), Duration::ZERO);
        let later = after.after(Duration::from_millis(1500));
        assert_eq!(later.as_nanos() - after.as_nanos(), 1_500_000_000);
        assert_eq!(MonotonicTime::from_nanos(later.as_nanos()), later);
        assert_eq!(later.after(Duration::MAX).as_nanos(), u64::MAX);
    }
}
