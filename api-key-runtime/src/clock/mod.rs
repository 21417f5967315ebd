//! Sources of time. The time of day decides whether a key has expired; monotonic time decides
//! whether a cache entry is stale.

mod store_time;
#[cfg(feature = "test-util")]
mod test_clock;

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use chrono::{DateTime, SubsecRound as _, Utc};
#[cfg(feature = "_diesel")]
use chrono::{Datelike as _, TimeDelta};

use self::store_time::StoreTime;
#[cfg(feature = "test-util")]
pub use self::test_clock::TestClock;

/// The instant that monotonic times count from. An `Instant` cannot be stored in an atomic, but a
/// number of nanoseconds can.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The clock for checking expiry. It shows the store's time if the store reports its time, and the
/// local time otherwise.
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
    /// Returns a clock of the same kind that has not observed the time of a store. Later
    /// observations by either clock do not change the other clock.
    #[cfg(feature = "_diesel")]
    pub(crate) fn apart(&self) -> Self {
        match self {
            Self::Store(_) => Self::default(),
            #[cfg(feature = "test-util")]
            Self::Test(clock) => Self::Test(clock.clone()),
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.at(MonotonicTime::now())
    }

    /// Returns the time of day at the monotonic time `now`, which has just been read.
    #[inline]
    pub(crate) fn at(&self, now: MonotonicTime) -> DateTime<Utc> {
        match self {
            Self::Store(time) => time.at(now).unwrap_or_else(Utc::now),
            #[cfg(feature = "test-util")]
            Self::Test(clock) => clock.now(),
        }
    }

    /// Sets the clock to a time that the store reported between the monotonic times `sent` and
    /// `received`.
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

/// Truncates a time to microseconds, the precision of both databases.
pub(crate) fn to_stored(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}

/// The years that the tables can store.
#[cfg(feature = "_diesel")]
const STORED_YEARS: std::ops::RangeInclusive<i32> = 1900..=9999;

/// Returns `time` plus `by`, or the last time that the tables can store.
#[cfg(feature = "_diesel")]
pub(crate) fn later(time: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    let later = TimeDelta::from_std(by).ok().and_then(|by| time.checked_add_signed(by));
    let last = DateTime::from_timestamp(253_402_300_799, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
    later.filter(|time| STORED_YEARS.contains(&time.year())).unwrap_or(last)
}

/// Returns `time` minus `by`, or the first time that the tables can store.
#[cfg(feature = "_diesel")]
pub(crate) fn earlier(time: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    let earlier = TimeDelta::from_std(by).ok().and_then(|by| time.checked_sub_signed(by));
    let first = DateTime::from_timestamp(-2_208_988_800, 0).unwrap_or(DateTime::<Utc>::MIN_UTC);
    earlier.filter(|time| STORED_YEARS.contains(&time.year())).unwrap_or(first)
}

/// A monotonic time, in nanoseconds since this process first read the monotonic clock. The range is
/// 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MonotonicTime(u64);

impl MonotonicTime {
    /// The earliest time.
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

    /// Returns the time that has passed since `earlier`, or zero if `earlier` is later than this
    /// time.
    #[inline]
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns the time that is later than this time by the given duration.
    #[inline]
    pub(crate) const fn after(self, time: Duration) -> Self {
        // Cheaper than `Duration::as_nanos`, which computes with 128 bits.
        let nanos =
            time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos() as u64);
        Self(self.0.saturating_add(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "_diesel")]
    #[test]
    fn times_stay_within_the_years_of_the_tables() {
        let now: DateTime<Utc> = "2026-11-30T00:00:00Z".parse().unwrap();
        assert_eq!(later(now, Duration::from_secs(1)).to_rfc3339(), "2026-11-30T00:00:01+00:00");
        assert_eq!(earlier(now, Duration::from_secs(1)).to_rfc3339(), "2026-11-29T23:59:59+00:00");
        for far in [Duration::from_secs(300_000_000_000), Duration::MAX] {
            assert_eq!(later(now, far).to_rfc3339(), "9999-12-31T23:59:59+00:00");
            assert_eq!(earlier(now, far).to_rfc3339(), "1900-01-01T00:00:00+00:00");
        }
    }

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
