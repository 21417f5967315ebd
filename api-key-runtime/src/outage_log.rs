//! A failure that lasts, or comes and goes: it is logged when it begins and when it is over, not each time.

use std::time::Duration;

use crate::clock::MonotonicTime;

/// It is over when nothing has failed for this long, so that one that comes and goes is one.
const OVER_AFTER: Duration = Duration::from_secs(1);

/// Whether something fails.
#[derive(Debug, Default)]
pub(crate) struct OutageLog(Option<Failing>);

#[derive(Debug)]
struct Failing {
    since: MonotonicTime,
    last: MonotonicTime,
}

impl OutageLog {
    /// It failed; whether this is the beginning.
    pub(crate) fn failure(&mut self, now: MonotonicTime) -> bool {
        let is_first = self.0.is_none();
        let beginning = Failing { since: now, last: now };
        self.0.get_or_insert(beginning).last = now;
        is_first
    }

    /// It did not fail; for how long it had, where that is over now.
    pub(crate) fn success(&mut self, now: MonotonicTime) -> Option<Duration> {
        let is_over = |failing: &mut Failing| now.since(failing.last) >= OVER_AFTER;
        let over = self.0.take_if(is_over)?;
        Some(now.since(over.since))
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
    fn a_failure_that_comes_and_goes_is_one() {
        let mut outage = OutageLog::default();
        assert_eq!(outage.success(at(0)), None, "nothing failed");
        assert!(outage.failure(at(1000)));
        assert_eq!(outage.success(at(1500)), None);
        assert!(!outage.failure(at(1900)));
        assert_eq!(outage.success(at(2899)), None);
        assert_eq!(outage.success(at(2900)), Some(Duration::from_millis(1900)));
        assert_eq!(outage.success(at(3000)), None, "it is told once");
        assert!(outage.failure(at(3001)));
    }
}
