//! The time of day by a store's clock, advanced by the monotonic clock of this process. A step of
//! the local wall clock therefore neither expires nor revives a key.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::MonotonicTime;

/// The store's time minus monotonic time in microseconds, or [`UNKNOWN`] before the first
/// observation.
#[derive(Debug)]
pub(crate) struct StoreTime(AtomicI64);

const UNKNOWN: i64 = i64::MIN;
/// An observation that takes this long or longer is not precise.
const SLOW: Duration = Duration::from_millis(100);

impl Default for StoreTime {
    fn default() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }
}

impl StoreTime {
    /// Returns the store's time at a monotonic time, or `None` before the first observation.
    #[inline]
    pub(crate) fn at(&self, moment: MonotonicTime) -> Option<DateTime<Utc>> {
        let offset = self.0.load(Ordering::Relaxed);
        if offset == UNKNOWN {
            return None;
        }
        DateTime::from_timestamp_micros(offset.saturating_add(micros(moment)))
    }

    /// Sets the clock to a time that the store reported between the monotonic times `sent` and
    /// `received`. If two threads call this method at once, the clock keeps one of their two times.
    ///
    /// The clock takes the reported time as the store's time at `sent`. The clock is then ahead of
    /// the store by at most the time between `sent` and `received`. The clock is not behind, so no
    /// expired key is accepted. Much time may pass between `sent` and `received`, for example if
    /// the process is suspended. In that case, the clock keeps its earlier setting unless the new
    /// observation contradicts that setting.
    pub(crate) fn observe(
        &self,
        sent: MonotonicTime,
        time: DateTime<Utc>,
        received: MonotonicTime,
    ) {
        let time = time.timestamp_micros();
        let latest = time.saturating_sub(micros(sent));
        let earliest = time.saturating_sub(micros(received));
        let known = self.0.load(Ordering::Relaxed);
        if received.since(sent) < SLOW || !(earliest..=latest).contains(&known) {
            self.0.store(latest, Ordering::Relaxed);
        }
    }
}

fn micros(moment: MonotonicTime) -> i64 {
    i64::try_from(moment.as_nanos() / 1000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> MonotonicTime {
        MonotonicTime::from_nanos(millis * 1_000_000)
    }

    fn time(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_800_000_000_000 + millis).unwrap()
    }

    // F12
    #[test]
    fn the_time_is_never_behind_the_store() {
        let store = StoreTime::default();
        assert_eq!(store.at(at(0)), None);
        // The store reported 105 at a local time between 100 and 110.
        store.observe(at(100), time(105), at(110));
        assert_eq!(store.at(at(100)), Some(time(105)));
        assert_eq!(store.at(at(1100)), Some(time(1105)), "the clock advances by itself");
        // A slow observation that is consistent with the clock changes nothing.
        store.observe(at(1100), time(3000), at(3100));
        assert_eq!(store.at(at(3100)), Some(time(3105)));
        // A fast observation shows that the clock was ahead.
        store.observe(at(4000), time(4001), at(4001));
        assert_eq!(store.at(at(4000)), Some(time(4001)));
    }

    // F12
    #[test]
    fn a_step_of_the_store_s_clock_is_followed_both_ways() {
        let store = StoreTime::default();
        for step in [0, 3_600_000, -3_600_000] {
            store.observe(at(100), time(100 + step), at(101));
            assert_eq!(store.at(at(200)), Some(time(200 + step)));
        }
    }
}
