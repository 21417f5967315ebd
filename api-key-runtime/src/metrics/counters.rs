//! Counters of requests.

use std::{
    array,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crate::rejection::Reason;

/// Number of copies of every counter. Several copies keep request threads from writing to the same
/// cache line.
const STRIPES: usize = 16;

/// The result of a request at a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accepted,
    /// Accepted without a key because of `optional`.
    AcceptedWithoutKey,
    Rejected(Reason),
}

/// The part of the check that decided a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecidedBy {
    /// The cached entry of the key.
    Cache,
    /// A lookup in the store, whether or not it succeeded.
    Store,
    /// The request alone: it did not contain exactly one credential that could be a key.
    Request,
}

const OUTCOMES: usize = Reason::ALL.len() + 2;
const DECIDERS: usize = 3;

impl Outcome {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        [Self::Accepted, Self::AcceptedWithoutKey]
            .into_iter()
            .chain(Reason::ALL.map(Self::Rejected))
    }

    const fn index(self) -> usize {
        match self {
            Self::Accepted => 0,
            Self::AcceptedWithoutKey => 1,
            Self::Rejected(reason) => reason as usize + 2,
        }
    }

    /// Returns the value of the label `outcome`. The value for a rejection is the reason in the
    /// log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::AcceptedWithoutKey => "accepted without key",
            Self::Rejected(reason) => reason.as_str(),
        }
    }
}

impl DecidedBy {
    pub(super) const ALL: [Self; DECIDERS] = [Self::Cache, Self::Store, Self::Request];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Store => "store",
            Self::Request => "request",
        }
    }
}

/// The number of requests for each pair of outcome and deciding part of the check.
#[derive(Debug)]
pub(crate) struct Counters([Stripe; STRIPES]);

/// One copy of the counters. The type is aligned to two cache lines, because processors prefetch
/// the adjacent line.
#[repr(align(128))]
#[derive(Debug)]
struct Stripe([[AtomicU64; DECIDERS]; OUTCOMES]);

impl Default for Counters {
    fn default() -> Self {
        let zeros = |_| array::from_fn(|_| AtomicU64::new(0));
        Self(array::from_fn(|_| Stripe(array::from_fn(zeros))))
    }
}

impl Counters {
    /// Counts a request.
    #[inline]
    pub(crate) fn count(&self, outcome: Outcome, by: DecidedBy) {
        let stripe = self.0.get(own_stripe());
        if let Some(counter) = stripe.and_then(|stripe| stripe.counter(outcome, by)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the number of requests with this outcome that this part of the check decided.
    pub(super) fn total(&self, outcome: Outcome, by: DecidedBy) -> u64 {
        let counters = self.0.iter().filter_map(|stripe| stripe.counter(outcome, by));
        counters.fold(0, |total, counter| total.wrapping_add(counter.load(Ordering::Relaxed)))
    }
}

impl Stripe {
    #[inline]
    fn counter(&self, outcome: Outcome, by: DecidedBy) -> Option<&AtomicU64> {
        self.0.get(outcome.index())?.get(by as usize)
    }
}

/// Returns the index of the stripe that the current thread uses.
#[inline]
fn own_stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    OWN.try_with(|&own| own).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    // G5
    #[test]
    fn every_kind_has_a_counter_and_a_name_of_its_own() {
        let counters = Counters::default();
        let kinds = || Outcome::all().flat_map(|outcome| DecidedBy::ALL.map(|by| (outcome, by)));
        for (times, (outcome, by)) in (1..).zip(kinds()) {
            (0..times).for_each(|_| counters.count(outcome, by));
        }
        for (times, (outcome, by)) in (1..).zip(kinds()) {
            assert_eq!(counters.total(outcome, by), times, "{outcome:?} {by:?}");
        }
        let names: HashSet<_> = Outcome::all().map(Outcome::as_str).collect();
        assert_eq!(names.len(), OUTCOMES);
    }

    // G5
    #[test]
    fn of_more_threads_than_stripes_every_request_is_counted() {
        let counters = Counters::default();
        thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| {
                    (0..1000).for_each(|_| counters.count(Outcome::Accepted, DecidedBy::Cache));
                });
            }
        });
        let total = counters.total(Outcome::Accepted, DecidedBy::Cache);
        assert_eq!(total, 1000 * 2 * STRIPES as u64);
    }
}
