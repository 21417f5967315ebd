//! The circuit breaker of the store. The circuit breaker tracks the calls to the store, so that
//! requests fail fast while the store answers no call.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use crate::{clock::MonotonicTime, lock::lock, log, outage_log::OutageLog, store::StoreError};

/// How long other requests fail fast after a request was allowed to probe a silent store. By then
/// the probe's call is registered, and that call makes other requests fail fast.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// The minimum time for which the store counts as unavailable after a failed lookup, unless a later
/// lookup succeeds. The time is limited: without a change feed, only requests call the store, so a
/// load balancer must send requests again.
const FAILURE_COUNTS_FOR: Duration = Duration::from_secs(1);

/// The state of the calls to a store.
#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    /// How long the store may leave every call unanswered before the store counts as unavailable.
    silence_timeout: Duration,
    /// The time after which the answer to a call is too late for the waiting request.
    deadline: Duration,
    state: Mutex<State>,
    outage: OutageLog,
}

#[derive(Debug, Default)]
struct State {
    /// The running calls, with their origin and start time.
    under_way: HashMap<CallId, (Attempt, MonotonicTime)>,
    next: CallId,
    last_answer: MonotonicTime,
    /// The time of the last failure. `None` if a call has succeeded since.
    failed: Option<MonotonicTime>,
    /// Set once the store has left every call unanswered for too long. Cleared by an answer in
    /// time, or if the silence was not observed again for one silence timeout.
    silence: Option<Silence>,
    /// The number of requests that were accepted from stale cache entries since the outage began.
    stale_accepts: u64,
}

#[derive(Debug)]
struct Silence {
    /// The last time when the store was observed to be silent.
    seen: MonotonicTime,
    /// The last time when a request was allowed to probe the store.
    tried: MonotonicTime,
}

type CallId = u64;

/// The origin of a call to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Feed,
    Lookup,
}

/// A running call.
#[derive(Clone, Copy, Debug)]
#[must_use = "pass the call to `end` or `abandon`, or it counts as unanswered"]
pub(crate) struct Call(CallId);

impl CircuitBreaker {
    /// Creates a circuit breaker. The silence timeout is shorter than the deadline, so that
    /// requests fail fast even before the first waiting request gives up. With default settings,
    /// the silence timeout is shorter than `max_staleness`.
    pub(crate) fn new(deadline: Duration) -> Self {
        Self {
            silence_timeout: deadline.saturating_mul(5) / 8,
            deadline,
            state: Mutex::default(),
            outage: OutageLog::new("the key store"),
        }
    }

    /// Records that a call to the store begins.
    pub(crate) fn begin(&self, by: Attempt, now: MonotonicTime) -> Call {
        let mut state = self.state();
        let id = state.next;
        state.next = id.saturating_add(1);
        state.under_way.insert(id, (by, now));
        Call(id)
    }

    /// Records that a call ended, with or without an error. The method writes to the log, so the
    /// caller must not hold a lock.
    pub(crate) fn end(&self, call: Call, error: Option<&StoreError>, now: MonotonicTime) {
        let mut state = self.state();
        let attempt = state.under_way.remove(&call.0);
        match error {
            // The failure of an abandoned call does not count.
            Some(_) if attempt.is_none() => {}
            None => {
                state.last_answer = now;
                // The feed may use another connection, which says nothing about lookups.
                state.failed = state.failed.filter(|_| !is_lookup(attempt));
                if attempt.is_some_and(|(_, since)| now.since(since) <= self.deadline) {
                    state.silence = None;
                } else if let Some(silence) = &mut state.silence {
                    // This answer came too late, and the next answer may come too late as well.
                    silence.seen = now;
                }
                drop(state);
                self.outage.success(now, |away_for| {
                    let stale_accepts = mem::take(&mut self.state().stale_accepts);
                    format!(
                        "key store available again after {:.1} s; {stale_accepts} requests were \
                         accepted from stale cache entries",
                        away_for.as_secs_f64()
                    )
                });
            }
            Some(error) => {
                state.failed = Some(now);
                if let Some(silence) = &mut state.silence {
                    silence.seen = now;
                }
                drop(state);
                self.outage.failure(
                    now,
                    error,
                    format_args!(
                        "key store unavailable, answering 503 for keys that are not cached or whose cache entry is stale"
                    ),
                );
            }
        }
    }

    /// Forgets a call, which no longer counts as unanswered. An abandoned lookup counts as failed.
    pub(crate) fn abandon(&self, call: Call, now: MonotonicTime) {
        let mut state = self.state();
        let attempt = state.under_way.remove(&call.0);
        if is_lookup(attempt) {
            state.failed = Some(now);
        }
    }

    /// Returns whether the store has left every call unanswered for too long, or whether a lookup
    /// has just failed.
    pub(crate) fn is_unavailable(&self, now: MonotonicTime) -> bool {
        // After this time, a lookup that follows an abandoned lookup counts as unanswered.
        let counts_for = FAILURE_COUNTS_FOR.max(self.silence_timeout);
        let state = self.state();
        state.unanswered_for(now) > self.silence_timeout
            || state.failed.is_some_and(|failed| now.since(failed) <= counts_for)
    }

    /// Returns whether a request should fail at once: the store is silent, and another lookup is
    /// probing the store. A failed call does not end the silence, because a connection to a silent
    /// store may time out. If this method returns `false` during a silence, the request probes the
    /// store.
    pub(crate) fn should_fail_fast(&self, now: MonotonicTime) -> bool {
        let mut state = self.state();
        state.note_silence(self.silence_timeout, now);
        // If only the feed's calls are unanswered, the cause may be the feed's own connection. So a
        // lookup probes the store.
        let is_tried = state.is_tried();
        let Some(silence) = &mut state.silence else {
            return false;
        };
        let in_vain = is_tried || now.since(silence.tried) < TRY_EVERY;
        if !in_vain {
            silence.tried = now;
        }
        in_vain
    }

    /// Counts a request that was accepted from a stale cache entry. The first such request of an
    /// outage is logged.
    pub(crate) fn count_stale_accept(&self, now: MonotonicTime) {
        self.outage.begins(now);
        let mut state = self.state();
        state.stale_accepts = state.stale_accepts.saturating_add(1);
        let is_first = state.stale_accepts == 1;
        drop(state);
        if is_first {
            log::warn!(
                "the key store does not answer in time: accepting keys from stale cache entries, \
                 as stale_if_error allows; check the database"
            );
        }
    }

    /// Logs an outage if the store leaves every call unanswered. No call can report such an outage,
    /// because no call returns.
    pub(crate) fn check(&self, now: MonotonicTime) {
        let silent_for = self.state().unanswered_for(now);
        if silent_for > self.silence_timeout && self.outage.begins(now) {
            log::error!(
                "the key store has not answered for {} ms, answering 503 for keys that are not \
                 cached; check the database",
                silent_for.as_millis()
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn is_lookup(attempt: Option<(Attempt, MonotonicTime)>) -> bool {
    matches!(attempt, Some((Attempt::Lookup, _)))
}

impl State {
    /// Returns how long the store has left all running calls unanswered.
    fn unanswered_for(&self, now: MonotonicTime) -> Duration {
        let oldest = self.under_way.values().map(|&(_, since)| since).min();
        oldest.map_or(Duration::ZERO, |oldest| now.since(oldest.max(self.last_answer)))
    }

    fn is_tried(&self) -> bool {
        self.under_way.values().any(|(by, _)| *by == Attempt::Lookup)
    }

    /// Begins or updates the silence. Clears a silence that has not been observed for one silence
    /// timeout, because the store may have recovered.
    fn note_silence(&mut self, silence_timeout: Duration, now: MonotonicTime) {
        if self.unanswered_for(now) > silence_timeout {
            let silence =
                self.silence.get_or_insert(Silence { seen: now, tried: MonotonicTime::START });
            silence.seen = now;
        }
        self.silence.take_if(|silence| now.since(silence.seen) > silence_timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With this deadline, the silence timeout is 600 ms.
    const DEADLINE: Duration = Duration::from_millis(960);

    fn at(millis: u64) -> MonotonicTime {
        MonotonicTime::from_nanos(millis * 1_000_000)
    }

    // F1, F6
    #[test]
    fn the_breaker_opens_once_every_call_is_overdue() {
        let circuit_breaker = CircuitBreaker::new(DEADLINE);
        assert!(!circuit_breaker.is_unavailable(at(100_000)), "no call was made");
        let first = circuit_breaker.begin(Attempt::Lookup, at(1000));
        assert!(!circuit_breaker.is_unavailable(at(1600)));
        assert!(circuit_breaker.is_unavailable(at(1601)));
        let second = circuit_breaker.begin(Attempt::Lookup, at(1500));
        circuit_breaker.end(second, None, at(1700));
        assert!(
            !circuit_breaker.is_unavailable(at(2300)),
            "a hung call does not count while other calls are answered"
        );
        assert!(circuit_breaker.is_unavailable(at(2301)));
        circuit_breaker.abandon(first, at(2301));
        assert!(!circuit_breaker.is_unavailable(at(100_000)));
    }

    // E7, F3
    // If a store answers lookups but not the feed, one lookup at a time probes the store.
    #[test]
    fn while_only_the_feed_is_silent_one_lookup_probes() {
        let circuit_breaker = CircuitBreaker::new(DEADLINE);
        let feed = circuit_breaker.begin(Attempt::Feed, at(1000));
        assert!(
            circuit_breaker.is_unavailable(at(1601)) && !circuit_breaker.should_fail_fast(at(1601))
        );
        let trial = circuit_breaker.begin(Attempt::Lookup, at(1601));
        assert!(circuit_breaker.should_fail_fast(at(1602)));
        circuit_breaker.end(trial, None, at(1603));
        assert!(!circuit_breaker.is_unavailable(at(2203)));
        assert!(
            circuit_breaker.is_unavailable(at(2204)) && !circuit_breaker.should_fail_fast(at(2204))
        );
        circuit_breaker.abandon(feed, at(0));
    }

    // F1
    #[test]
    fn a_hanging_store_stays_unavailable_between_its_probes() {
        for deadline in [DEADLINE, DEADLINE * 5] {
            let circuit_breaker = CircuitBreaker::new(deadline);
            let millis = u64::try_from(deadline.as_millis()).unwrap();
            let is_unavailable = |time: u64| circuit_breaker.is_unavailable(at(time));
            let mut began = 1000;
            for _ in 0..3 {
                let probe = circuit_breaker.begin(Attempt::Lookup, at(began));
                let silence = circuit_breaker.silence_timeout.as_millis();
                let silence = u64::try_from(silence).unwrap();
                assert!(began == 1000 || (began..began + silence).all(is_unavailable));
                assert!((began + silence + 1..began + millis).all(is_unavailable));
                circuit_breaker.abandon(probe, at(began + millis));
                assert!(is_unavailable(began + millis));
                began += millis + 1;
            }
        }
    }

    // F1
    // The feed may use another connection.
    #[test]
    fn a_read_of_changes_does_not_hide_failing_lookups() {
        let circuit_breaker = CircuitBreaker::new(DEADLINE);
        let lookup = circuit_breaker.begin(Attempt::Lookup, at(1000));
        circuit_breaker.end(lookup, Some(&StoreError::new("no connection")), at(1001));
        let feed = circuit_breaker.begin(Attempt::Feed, at(1002));
        circuit_breaker.end(feed, None, at(1003));
        assert!(circuit_breaker.is_unavailable(at(1004)));
        let lookup = circuit_breaker.begin(Attempt::Lookup, at(1005));
        circuit_breaker.end(lookup, None, at(1006));
        assert!(!circuit_breaker.is_unavailable(at(1007)));
    }

    // F1
    // A connection that times out does not end the silence; one call at a time probes the store.
    #[test]
    fn an_abandoned_call_closes_nothing_and_one_probe_runs() {
        let circuit_breaker = CircuitBreaker::new(DEADLINE);
        let first = circuit_breaker.begin(Attempt::Lookup, at(1000));
        assert!(circuit_breaker.should_fail_fast(at(1601)));
        circuit_breaker.end(first, Some(&StoreError::new("timed out")), at(2000));
        assert!(!circuit_breaker.should_fail_fast(at(2001)), "sent as a probe");
        assert!(circuit_breaker.should_fail_fast(at(2002)), "the probe is about to begin");
        let trial = circuit_breaker.begin(Attempt::Lookup, at(2003));
        assert!(circuit_breaker.should_fail_fast(at(2100)));
        circuit_breaker.end(trial, None, at(2101));
        assert!(
            !circuit_breaker.should_fail_fast(at(2102))
                && !circuit_breaker.should_fail_fast(at(2102))
        );
    }

    // F6
    #[test]
    fn a_late_answer_does_not_close_the_breaker() {
        let circuit_breaker = CircuitBreaker::new(DEADLINE);
        let late = circuit_breaker.begin(Attempt::Lookup, at(1000));
        assert!(circuit_breaker.should_fail_fast(at(1601)));
        circuit_breaker.end(late, None, at(3000));
        assert!(!circuit_breaker.should_fail_fast(at(3001)), "sent as a probe");
        assert!(circuit_breaker.should_fail_fast(at(3002)));
        let slow = circuit_breaker.begin(Attempt::Lookup, at(3003));
        circuit_breaker.end(slow, None, at(3900));
        assert!(
            !circuit_breaker.should_fail_fast(at(3901))
                && !circuit_breaker.should_fail_fast(at(3901))
        );
    }

    // F4
    // A silence that no call confirms ends after one silence timeout.
    #[test]
    fn an_idle_outage_delays_at_most_one_timeout() {
        let circuit_breaker = CircuitBreaker::new(DEADLINE);
        let call = circuit_breaker.begin(Attempt::Lookup, at(1000));
        assert!(circuit_breaker.should_fail_fast(at(1700)));
        circuit_breaker.end(call, Some(&StoreError::new("timed out")), at(2000));
        assert!(
            !circuit_breaker.should_fail_fast(at(2601))
                && !circuit_breaker.should_fail_fast(at(2602))
        );
    }

    // F5
    #[test]
    fn a_store_that_returns_errors_is_not_silent() {
        let circuit_breaker = CircuitBreaker::new(DEADLINE);
        for millis in 1000..1100 {
            let call = circuit_breaker.begin(Attempt::Lookup, at(millis));
            circuit_breaker.end(call, Some(&StoreError::new("closed")), at(millis));
            assert!(!circuit_breaker.should_fail_fast(at(millis)));
            assert!(circuit_breaker.is_unavailable(at(millis)));
        }
        // A load balancer that sends no requests any more must try again.
        assert!(circuit_breaker.is_unavailable(at(2099)));
        assert!(!circuit_breaker.is_unavailable(at(2100)));
        let call = circuit_breaker.begin(Attempt::Lookup, at(2101));
        circuit_breaker.end(call, Some(&StoreError::new("closed")), at(2101));
        let call = circuit_breaker.begin(Attempt::Lookup, at(2102));
        circuit_breaker.end(call, None, at(2102));
        assert!(!circuit_breaker.is_unavailable(at(2102)), "a call succeeded");
    }
}
