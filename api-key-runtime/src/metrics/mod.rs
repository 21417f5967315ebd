//! Metrics of one key set, as numbers and as Prometheus text.
//!
//! Labels have fixed values. They contain no key, address or path, so callers cannot create new
//! time series.

mod counters;
mod lookup_times;
mod prometheus;

use std::time::Duration;

pub(crate) use self::{
    counters::{Counters, DecidedBy, Outcome},
    lookup_times::{LookupTimes, Times},
};
use crate::change_feed::Health;
pub use crate::rejection::Reason as RejectionReason;

/// A snapshot of all counts since the key set was built. Returned by
/// [`AppKeys::metrics`](crate::AppKeys::metrics).
///
/// [`to_prometheus`](Self::to_prometheus) writes all counts as text. The other methods are for
/// other metrics systems. Counts never decrease, so they fit an observable counter of
/// OpenTelemetry or `counter!(..).absolute(..)` of the `metrics` crate. A request is not counted if
/// its client disconnects while the key is looked up.
///
/// ```
/// use actix_web::get;
/// use api_key_runtime::{AppKeys, require_app_key};
///
/// #[get("/metrics")]
/// #[require_app_key(scopes = "metrics:read")]
/// async fn metrics(keys: AppKeys) -> String {
///     keys.metrics().to_prometheus()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The number of requests for each pair of outcome and deciding part of the check. Pairs
    /// without requests are left out.
    requests: Vec<(Outcome, DecidedBy, u64)>,
    lookups: Times,
    gauges: Gauges,
}

/// The values in a snapshot that are not counts of requests or lookups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauges {
    pub(crate) waiting: usize,
    pub(crate) known: usize,
    pub(crate) unknown: usize,
    pub(crate) dropped_usage: u64,
    pub(crate) health: Health,
}

impl Metrics {
    pub(crate) fn new(counters: &Counters, lookups: Times, gauges: Gauges) -> Self {
        let kinds = Outcome::all().flat_map(|outcome| DecidedBy::ALL.map(|by| (outcome, by)));
        let counted = kinds.map(|(outcome, by)| (outcome, by, counters.total(outcome, by)));
        Self { requests: counted.filter(|&(.., count)| count > 0).collect(), lookups, gauges }
    }

    /// Returns the number of requests that were accepted with a key. Every guard counts its
    /// requests, so a request that passes a middleware and an attribute counts twice in each count
    /// of requests.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.sum(|outcome, _| outcome == Outcome::Accepted)
    }

    /// Returns the number of requests without a key that `optional` accepted.
    #[must_use]
    pub fn accepted_without_key(&self) -> u64 {
        self.sum(|outcome, _| outcome == Outcome::AcceptedWithoutKey)
    }

    /// Returns the number of rejected requests for each reason. Reasons without rejections are left
    /// out.
    pub fn rejected(&self) -> impl Iterator<Item = (RejectionReason, u64)> {
        Outcome::all().filter_map(|outcome| match outcome {
            Outcome::Rejected(reason) => {
                let count = self.sum(|other, _| other == outcome);
                (count > 0).then_some((reason, count))
            }
            _ => None,
        })
    }

    /// Returns the number of requests that were decided from the cache, without a query.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.sum(|_, by| by == DecidedBy::Cache)
    }

    /// Returns the number of requests whose key needed a lookup in the store, whether or not the
    /// lookup succeeded.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.sum(|_, by| by == DecidedBy::Store)
    }

    /// Returns the number of store calls that looked up keys. One call may look up many keys, and
    /// the lookup of one key may serve many requests.
    #[must_use]
    pub fn lookups(&self) -> u64 {
        self.lookups.calls
    }

    /// Returns the number of store calls that failed.
    #[must_use]
    pub fn failed_lookups(&self) -> u64 {
        self.lookups.failed
    }

    /// Returns the total duration of all store calls.
    #[must_use]
    pub fn lookup_time(&self) -> Duration {
        self.lookups.total
    }

    /// Returns the number of store calls that took at most each of these times, in ascending order:
    /// the cumulative buckets of a Prometheus histogram.
    pub fn lookup_buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.lookups.within.iter().copied()
    }

    /// Returns the number of keys that are queued for a lookup or being looked up now.
    #[must_use]
    pub fn queued_lookups(&self) -> usize {
        self.gauges.waiting
    }

    /// Returns the number of keys in the cache now, whether or not they are valid.
    #[must_use]
    pub fn cached_keys(&self) -> usize {
        self.gauges.known
    }

    /// Returns the number of negative cache entries: cached digests that are not in the table.
    #[must_use]
    pub fn negative_entries(&self) -> usize {
        self.gauges.unknown
    }

    /// Returns the number of uses that will never be recorded because the buffer was full.
    #[must_use]
    pub fn dropped_usage(&self) -> u64 {
        self.gauges.dropped_usage
    }

    /// Returns the health of the key store and the change feed at the time of the snapshot.
    #[must_use]
    pub fn health(&self) -> Health {
        self.gauges.health
    }

    fn sum(&self, is_meant: impl Fn(Outcome, DecidedBy) -> bool) -> u64 {
        let meant = self.requests.iter().filter(|&&(outcome, by, _)| is_meant(outcome, by));
        meant.fold(0, |sum, &(.., count)| sum.wrapping_add(count))
    }
}
