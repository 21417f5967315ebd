//! Figures of one application's keys, for whatever collects them: plain numbers, and a text for
//! Prometheus.
//!
//! Labels are words of ours alone, so that no caller makes a series: no key, address or path stands
//! in them.

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

/// What has been counted since these keys were built, as of one moment; made by
/// [`AppKeys::metrics`](crate::AppKeys::metrics).
///
/// [`to_prometheus`](Self::to_prometheus) writes all of it. The numbers themselves are for other
/// collectors: counts only grow, so that they fit an observable counter of OpenTelemetry or
/// `counter!(..).absolute(..)` of the `metrics` crate. A request whose caller leaves while its key
/// is looked up is in none of them.
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
    /// How many requests came to each end, by what decided them; those that none came to are left
    /// out.
    requests: Vec<(Outcome, DecidedBy, u64)>,
    lookups: Times,
    gauges: Gauges,
}

/// What is not counted but stands so at the moment.
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

    /// Requests that were let through with a key. One with two guards in its way, such as an
    /// attribute below a middleware, counts at each, here and below.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.sum(|outcome, _| outcome == Outcome::Accepted)
    }

    /// Requests without a key that `optional` let through.
    #[must_use]
    pub fn accepted_without_key(&self) -> u64 {
        self.sum(|outcome, _| outcome == Outcome::AcceptedWithoutKey)
    }

    /// Returns the number of rejected requests for each reason, without the reasons that no request
    /// was rejected for.
    pub fn rejected(&self) -> impl Iterator<Item = (RejectionReason, u64)> {
        Outcome::all().filter_map(|outcome| match outcome {
            Outcome::Rejected(reason) => {
                let count = self.sum(|other, _| other == outcome);
                (count > 0).then_some((reason, count))
            }
            _ => None,
        })
    }

    /// Requests decided from the cache, without a query.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.sum(|_, by| by == DecidedBy::Cache)
    }

    /// Requests whose key the store was asked for, whether or not it answered.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.sum(|_, by| by == DecidedBy::Store)
    }

    /// Calls of the store that looked up keys. Each is for many keys at once, and each key for many
    /// requests.
    #[must_use]
    pub fn lookups(&self) -> u64 {
        self.lookups.calls
    }

    /// Calls of the store that failed.
    #[must_use]
    pub fn failed_lookups(&self) -> u64 {
        self.lookups.failed
    }

    /// How long all of the calls took together.
    #[must_use]
    pub fn lookup_time(&self) -> Duration {
        self.lookups.total
    }

    /// How many of the calls took no longer than each of these times, the lower times first: as a
    /// histogram of Prometheus counts.
    pub fn lookup_buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.lookups.within.iter().copied()
    }

    /// Keys that wait to be looked up or are being looked up at the moment.
    #[must_use]
    pub fn queued_lookups(&self) -> usize {
        self.gauges.waiting
    }

    /// Keys of the table that this process knows at the moment, good or not.
    #[must_use]
    pub fn cached_keys(&self) -> usize {
        self.gauges.known
    }

    /// Digests of which this process knows at the moment that they are in no table.
    #[must_use]
    pub fn negative_entries(&self) -> usize {
        self.gauges.unknown
    }

    /// Uses of keys that are not and will not be recorded, because those of too many keys were
    /// waiting to be.
    #[must_use]
    pub fn dropped_usage(&self) -> u64 {
        self.gauges.dropped_usage
    }

    /// Whether keys can be judged at the moment, what the feed of changed keys is at, and the age
    /// of its lease.
    #[must_use]
    pub fn health(&self) -> Health {
        self.gauges.health
    }

    fn sum(&self, is_meant: impl Fn(Outcome, DecidedBy) -> bool) -> u64 {
        let meant = self.requests.iter().filter(|&&(outcome, by, _)| is_meant(outcome, by));
        meant.fold(0, |sum, &(.., count)| sum.wrapping_add(count))
    }
}
