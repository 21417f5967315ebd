//! The durations of calls to the store.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the histogram buckets in microseconds. Slower calls count only in the total.
const BOUNDS: [u64; 12] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000];

/// A histogram of the durations of store calls. One call may look up many keys.
#[derive(Debug, Default)]
pub(crate) struct LookupTimes {
    ranges: [AtomicU64; BOUNDS.len()],
    calls: AtomicU64,
    failed: AtomicU64,
    nanos: AtomicU64,
}

/// A snapshot of the histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// For each bound, the number of calls that took at most this long (cumulative).
    pub(super) within: Vec<(Duration, u64)>,
    pub(super) calls: u64,
    pub(super) failed: u64,
    pub(super) total: Duration,
}

impl LookupTimes {
    /// Counts a store call and its duration. `answered` is `false` if the call failed.
    pub(crate) fn count(&self, took: Duration, answered: bool) {
        let range = BOUNDS.iter().position(|&bound| took <= Duration::from_micros(bound));
        if let Some(range) = range.and_then(|index| self.ranges.get(index)) {
            range.fetch_add(1, Ordering::Relaxed);
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(!answered), Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn times(&self) -> Times {
        let mut so_far = 0_u64;
        let within = BOUNDS.iter().zip(&self.ranges).map(|(&bound, range)| {
            so_far = so_far.saturating_add(range.load(Ordering::Relaxed));
            (Duration::from_micros(bound), so_far)
        });
        let within: Vec<_> = within.collect();
        Times {
            // A call that is being counted may already be in its bucket but not yet in the total.
            calls: self.calls.load(Ordering::Relaxed).max(so_far),
            within,
            failed: self.failed.load(Ordering::Relaxed),
            total: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // G5
    #[test]
    fn lookup_buckets_are_cumulative_and_the_total_has_the_rest() {
        let times = LookupTimes::default();
        assert!(BOUNDS.is_sorted());
        for (micros, answered) in
            [(0, true), (250, true), (251, true), (400_000, false), (9_000_000, true)]
        {
            times.count(Duration::from_micros(micros), answered);
        }
        let counted = times.times();
        assert_eq!((counted.calls, counted.failed), (5, 1));
        assert_eq!(counted.total, Duration::from_micros(9_400_501));
        let within: Vec<u64> = counted.within.iter().map(|&(_, calls)| calls).collect();
        assert_eq!(within, [2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4]);
    }
}
