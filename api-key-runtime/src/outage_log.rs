//! Logs an outage once when it begins and once when it ends, however many calls fail in between.

use std::{fmt, sync::Mutex, time::Duration};

use crate::{clock::MonotonicTime, lock::lock, log};

/// The time since the last failure after which a success ends the outage. Failures at shorter
/// intervals belong to the same outage, even with successes in between.
const OVER_AFTER: Duration = Duration::from_secs(1);

/// The log of one kind of outage.
#[derive(Debug)]
pub(crate) struct OutageLog {
    /// The operation that fails, for debug lines during an outage.
    what: &'static str,
    outage: Mutex<Option<Outage>>,
}

#[derive(Debug)]
struct Outage {
    began: MonotonicTime,
    last_failure: MonotonicTime,
}

impl OutageLog {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self { what, outage: Mutex::new(None) }
    }

    /// Records a failure. The first failure of an outage is logged at level error, with
    /// `first_line`. Later failures are logged at level debug.
    ///
    /// A logger may block, so the caller must not hold a lock.
    pub(crate) fn failure(
        &self,
        now: MonotonicTime,
        error: &dyn fmt::Display,
        first_line: fmt::Arguments<'_>,
    ) {
        if self.begins(now) {
            log::error!("{first_line}: {error}");
        } else {
            log::debug!("{} still fails: {error}", self.what);
        }
    }

    /// Records a failure without logging it. Returns whether an outage begins.
    pub(crate) fn begins(&self, now: MonotonicTime) -> bool {
        let mut outage = lock(&self.outage);
        let begins = outage.is_none();
        outage.get_or_insert(Outage { began: now, last_failure: now }).last_failure = now;
        begins
    }

    /// Records a success. If the success ends an outage, calls `line` with the duration of the
    /// outage and logs the result.
    ///
    /// A logger may block, so the caller must not hold a lock.
    pub(crate) fn success(&self, now: MonotonicTime, line: impl FnOnce(Duration) -> String) {
        if let Some(lasted) = self.ends(now) {
            log::info!("{}", line(lasted));
        }
    }

    fn ends(&self, now: MonotonicTime) -> Option<Duration> {
        let is_over = |outage: &mut Outage| now.since(outage.last_failure) >= OVER_AFTER;
        let over = lock(&self.outage).take_if(is_over)?;
        Some(now.since(over.began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> MonotonicTime {
        MonotonicTime::from_nanos(millis * 1_000_000)
    }

    // F3
    #[test]
    fn repeated_short_failures_are_one_outage() {
        let outage = OutageLog::new("a test");
        assert_eq!(outage.ends(at(0)), None, "nothing failed");
        assert!(outage.begins(at(1000)));
        assert_eq!(outage.ends(at(1500)), None);
        assert!(!outage.begins(at(1900)));
        assert_eq!(outage.ends(at(2899)), None);
        assert_eq!(outage.ends(at(2900)), Some(Duration::from_millis(1900)));
        assert_eq!(outage.ends(at(3000)), None, "the end is reported once");
        assert!(outage.begins(at(3001)));
    }
}
