//! Metrics in the text exposition format of Prometheus, version 0.0.4.

use std::fmt::{self, Display, Write as _};

use super::{Gauges, Metrics, Times};
use crate::change_feed::FeedState;

impl Metrics {
    /// Returns all metrics in the text format of Prometheus (`text/plain; version=0.0.4`).
    ///
    /// `app_key_requests_total` has two labels:
    ///
    /// - `outcome`: `accepted`, `accepted without key`, or the reason of a rejection as in the log.
    /// - `by`: `cache` if no query was needed, `store` if a query was needed, and `request` if the
    ///   request did not contain exactly one credential that could be a key.
    ///
    /// This expression is the share of checked keys that needed no query:
    ///
    /// ```text
    /// sum(rate(app_key_requests_total{by="cache"}[5m]))
    ///   / sum(rate(app_key_requests_total{by!="request"}[5m]))
    /// ```
    ///
    /// If a process has several key sets, serve the metrics of each set from a separate route. The
    /// labels do not name the set.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        head(text, "requests_total", "counter", "Requests checked by a guard.")?;
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
        "Durations of key store calls; one call looks up many keys.",
    )?;
    for (bound, calls) in within {
        let bound = bound.as_secs_f64();
        writeln!(text, "app_key_lookup_seconds_bucket{{le=\"{bound}\"}} {calls}")?;
    }
    writeln!(text, "app_key_lookup_seconds_bucket{{le=\"+Inf\"}} {calls}")?;
    writeln!(text, "app_key_lookup_seconds_sum {}", total.as_secs_f64())?;
    writeln!(text, "app_key_lookup_seconds_count {calls}")?;
    single(text, "failed_lookups_total", "counter", "Key store calls that failed.", failed)
}

fn gauges(text: &mut String, gauges: &Gauges) -> fmt::Result {
    let Gauges { waiting, known, unknown, dropped_usage, health } = gauges;
    single(
        text,
        "queued_lookups",
        "gauge",
        "Keys queued for a lookup or being looked up.",
        waiting,
    )?;
    single(text, "cached_keys", "gauge", "Keys in the cache.", known)?;
    single(
        text,
        "negative_entries",
        "gauge",
        "Cached digests that are not in the key store.",
        unknown,
    )?;
    single(text, "ready", "gauge", "Whether keys can be checked.", u8::from(health.is_ready()))?;
    head(text, "feed_state", "gauge", "State of the change feed.")?;
    for state in FeedState::ALL {
        let is = u8::from(state == health.feed());
        writeln!(text, "app_key_feed_state{{state=\"{}\"}} {is}", state.as_str())?;
    }
    if let Some(age) = health.staleness() {
        single(
            text,
            "staleness_seconds",
            "gauge",
            "Age of the last complete read of the change log.",
            age.as_secs_f64(),
        )?;
    }
    single(
        text,
        "dropped_usage_total",
        "counter",
        "Uses that will never be recorded because the buffer was full.",
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
