//! The text that Prometheus reads: its exposition format, version 0.0.4.

use std::fmt::{self, Display, Write as _};

use super::{Gauges, Metrics, Times};
use crate::change_feed::FeedState;

impl Metrics {
    /// Returns all figures in the text format of Prometheus (`text/plain; version=0.0.4`).
    ///
    /// `app_key_requests_total` bears the labels `outcome`, `accepted` or the reason of a refusal
    /// in the words of the log, and `by`, which is `cache` where no query was needed, `store` where
    /// one was, and `request` where nothing was presented that could be a key. So the share of
    /// requests without a query is
    /// `sum(rate(app_key_requests_total{by="cache"}[5m])) / sum(rate(app_key_requests_total{by!="request"}[5m]))`.
    ///
    /// Several sets of keys in one process are told apart by the route that each of them is read
    /// from.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        head(text, "requests_total", "counter", "Requests at a guard.")?;
        for (outcome, by, count) in &self.requests {
            let (outcome, by) = (outcome.as_str(), by.as_str());
            writeln!(text, "app_key_requests_total{{outcome=\"{outcome}\",by=\"{by}\"}} {count}")?;
        }
        lookups(text, &self.lookups)?;
        gauges(text, &self.gauges)
    }
}

fn lookups(text: &mut String, times: &Times) -> fmt::Result {
    let Times { within, calls, failed, total } = times;
    head(
        text,
        "lookup_seconds",
        "histogram",
        "Calls of the key store, each for many keys at once.",
    )?;
    for (bound, calls) in within {
        let bound = bound.as_secs_f64();
        writeln!(text, "app_key_lookup_seconds_bucket{{le=\"{bound}\"}} {calls}")?;
    }
    writeln!(text, "app_key_lookup_seconds_bucket{{le=\"+Inf\"}} {calls}")?;
    writeln!(text, "app_key_lookup_seconds_sum {}", total.as_secs_f64())?;
    writeln!(text, "app_key_lookup_seconds_count {calls}")?;
    single(text, "failed_lookups_total", "counter", "Calls of the key store that failed.", failed)
}

fn gauges(text: &mut String, gauges: &Gauges) -> fmt::Result {
    let Gauges { waiting, known, unknown, dropped_usage, health } = gauges;
    single(
        text,
        "queued_lookups",
        "gauge",
        "Keys that wait to be looked up or are being looked up.",
        waiting,
    )?;
    single(text, "cached_keys", "gauge", "Keys in the cache.", known)?;
    single(
        text,
        "negative_entries",
        "gauge",
        "Cached digests that the store has no key for.",
        unknown,
    )?;
    single(text, "ready", "gauge", "Whether keys can be judged.", u8::from(health.is_ready()))?;
    head(text, "feed_state", "gauge", "What the feed of changed keys is at.")?;
    for state in FeedState::ALL {
        let is = u8::from(state == health.feed());
        writeln!(text, "app_key_feed_state{{state=\"{}\"}} {is}", state.as_str())?;
    }
    if let Some(age) = health.staleness() {
        single(
            text,
            "staleness_seconds",
            "gauge",
            "How long ago the moment is up to which every change is known to be applied.",
            age.as_secs_f64(),
        )?;
    }
    single(
        text,
        "dropped_usage_total",
        "counter",
        "Uses of keys that will not be recorded, because too many waited to be.",
        dropped_usage,
    )
}

fn single(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    value: impl Display,
) -> fmt::Result {
    head(text, name, kind, help)?;
    writeln!(text, "app_key_{name} {value}")
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(text, "# HELP app_key_{name} {help}")?;
    writeln!(text, "# TYPE app_key_{name} {kind}")
}
