//! Tracks blocking calls, so that another thread can take over if a call hangs.
//!
//! Each owner guards its [`Watchdog`] with a lock. The owner holds the lock while it calls the
//! `Watchdog`, but not while it calls a store. A call ends on the thread on which it began.
//!
//! The change feed holds its lock from [`Watchdog::finish`] until the result is applied, so that
//! the result of an abandoned call is discarded. Lookups may deliver such a result, because the
//! read stamp of the call decides whether the result may be cached. The usage writer keeps the
//! counts of an abandoned write if that write fails.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use crate::{clock::MonotonicTime, store::StoreError};

/// How long a call may take, and how many calls may hang at the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A call that takes longer counts as hung.
    pub(crate) timeout: Duration,
    /// The upper limit of the timeout. Each hung call since the last [`Watchdog::succeeded`]
    /// doubles the timeout. With a constant timeout, slow connecting would cause every thread to be
    /// replaced before its first call completes. The timeout does not grow if `longest_timeout`
    /// equals `timeout`.
    pub(crate) longest_timeout: Duration,
    /// The maximum number of abandoned calls. At this limit, a further hung call is not abandoned
    /// until an abandoned call returns.
    pub(crate) max_abandoned: usize,
}

/// The running calls of one owner. The owner stores a `T` with each call.
#[derive(Debug)]
pub(crate) struct Watchdog<T> {
    limits: Limits,
    next: CallId,
    running: Vec<Running<T>>,
    abandoned: usize,
    hung_in_a_row: u32,
}

type CallId = u64;

#[derive(Debug)]
struct Running<T> {
    id: CallId,
    since: MonotonicTime,
    /// The time that the call is expected to take.
    expected: Duration,
    kept: T,
}

/// A running call.
#[derive(Debug)]
#[must_use = "pass the ticket to `finish`, or the call counts as hung"]
pub(crate) struct CallTicket(CallId);

/// A call that was abandoned.
#[derive(Debug)]
pub(crate) struct Hung<T> {
    pub(crate) hung_for: Duration,
    pub(crate) kept: T,
}

impl<T> Watchdog<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, next: 0, running: Vec::new(), abandoned: 0, hung_in_a_row: 0 }
    }

    /// Registers a call that begins now. The call may take `expected` in addition to the timeout.
    pub(crate) fn begin(&mut self, now: MonotonicTime, expected: Duration, kept: T) -> CallTicket {
        let id = self.next;
        self.next = id.wrapping_add(1);
        self.running.push(Running { id, since: now, expected, kept });
        CallTicket(id)
    }

    /// Ends a call. Returns `None` if the call was abandoned: another thread has taken over, and
    /// the calling thread must end.
    #[expect(clippy::needless_pass_by_value, reason = "a call ends once")]
    pub(crate) fn finish(&mut self, ticket: CallTicket) -> Option<T> {
        let index = self.running.iter().position(|call| call.id == ticket.0);
        if index.is_none() {
            self.abandoned = self.abandoned.saturating_sub(1);
        }
        index.map(|index| self.running.swap_remove(index).kept)
    }

    /// Records that a call succeeded, which resets the timeout.
    pub(crate) fn succeeded(&mut self) {
        self.hung_in_a_row = 0;
    }

    /// Abandons hung calls, up to `max_abandoned`, and starts a new thread for each of these calls.
    ///
    /// # Errors
    /// Returns an error if a thread cannot be started. The hung call is then not abandoned.
    pub(crate) fn replace_hung<E>(
        &mut self,
        now: MonotonicTime,
        mut start_thread: impl FnMut() -> Result<(), E>,
    ) -> (Vec<Hung<T>>, Result<(), E>) {
        let timeout = self.timeout();
        let mut hung = Vec::new();
        while self.abandoned < self.limits.max_abandoned
            && let Some(index) = self.running.iter().position(|call| call.is_over(timeout, now))
        {
            if let Err(error) = start_thread() {
                return (hung, Err(error));
            }
            self.abandoned = self.abandoned.saturating_add(1);
            self.hung_in_a_row = self.hung_in_a_row.saturating_add(1);
            let call = self.running.swap_remove(index);
            hung.push(Hung { hung_for: now.since(call.since), kept: call.kept });
        }
        (hung, Ok(()))
    }

    /// Returns whether no call is running. Abandoned calls do not count.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Returns the number of abandoned calls that have not returned.
    pub(crate) fn abandoned(&self) -> usize {
        self.abandoned
    }

    /// Returns how long the newest call has been running.
    pub(crate) fn newest(&self, now: MonotonicTime) -> Option<Duration> {
        self.running.iter().map(|call| now.since(call.since)).min()
    }

    fn timeout(&self) -> Duration {
        let Limits { timeout, longest_timeout, .. } = self.limits;
        let factor = 1_u32.checked_shl(self.hung_in_a_row).unwrap_or(u32::MAX);
        timeout.saturating_mul(factor).min(longest_timeout.max(timeout))
    }
}

impl<T> Running<T> {
    fn is_over(&self, timeout: Duration, now: MonotonicTime) -> bool {
        now.since(self.since) > timeout.saturating_add(self.expected)
    }
}

/// Calls a store. A panic in the store becomes an error, so the thread continues. The caller must
/// not hold a lock of this crate.
pub(crate) fn call_store<T>(call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(StoreError::new("the store panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);
    const LIMITS: Limits =
        Limits { timeout: TIMEOUT, longest_timeout: Duration::from_secs(8), max_abandoned: 3 };

    fn at(millis: u64) -> MonotonicTime {
        MonotonicTime::from_nanos(millis * 1_000_000)
    }

    /// Abandons hung calls, and returns the values that were stored with these calls.
    fn look<T>(watchdog: &mut Watchdog<T>, millis: u64) -> Vec<T> {
        let mut started = 0;
        let (hung, result) = watchdog.replace_hung(at(millis), || {
            started += 1;
            Ok::<(), ()>(())
        });
        assert_eq!((started, result), (hung.len(), Ok(())), "one thread for each hung call");
        hung.into_iter().map(|hung| hung.kept).collect()
    }

    // E7
    #[test]
    fn a_call_is_abandoned_after_the_timeout_and_not_before() {
        let mut watchdog = Watchdog::new(LIMITS);
        let _hung = watchdog.begin(at(0), Duration::ZERO, "hung");
        let waiting = watchdog.begin(at(0), Duration::from_secs(1), "waiting");
        assert!(look(&mut watchdog, 2000).is_empty());
        assert_eq!(look(&mut watchdog, 2001), ["hung"]);
        assert!(look(&mut watchdog, 3000).is_empty());
        assert_eq!(watchdog.finish(waiting), Some("waiting"));
        assert!(watchdog.is_idle());
    }

    // E7
    #[test]
    fn an_abandoned_call_that_returns_has_no_result() {
        let mut watchdog = Watchdog::new(LIMITS);
        let late = watchdog.begin(at(0), Duration::ZERO, 1);
        assert_eq!(look(&mut watchdog, 2001), [1]);
        let newer = watchdog.begin(at(2001), Duration::ZERO, 2);
        assert_eq!(watchdog.abandoned(), 1);
        assert_eq!(watchdog.finish(late), None);
        assert_eq!(watchdog.abandoned(), 0);
        assert_eq!(watchdog.finish(newer), Some(2));
    }

    // F2
    #[test]
    fn a_call_beyond_the_limit_stays_current_until_one_returns() {
        let mut watchdog = Watchdog::new(Limits { longest_timeout: TIMEOUT, ..LIMITS });
        let mut tickets: Vec<_> =
            (0..5).map(|number| watchdog.begin(at(0), Duration::ZERO, number)).collect();
        assert_eq!(look(&mut watchdog, 3000).len(), 3);
        assert!(look(&mut watchdog, 9000).is_empty(), "the limit is reached");
        let finished: Vec<_> =
            tickets.drain(..).filter_map(|ticket| watchdog.finish(ticket)).collect();
        assert_eq!(finished.len(), 2, "calls beyond the limit were not abandoned");
        let _hung = watchdog.begin(at(9000), Duration::ZERO, 5);
        assert_eq!(look(&mut watchdog, 12_000), [5]);
    }

    // F2
    #[test]
    fn the_timeout_doubles_until_a_call_succeeds() {
        let mut watchdog = Watchdog::new(Limits { max_abandoned: 10, ..LIMITS });
        let mut begun = 0;
        for timeout in [2000, 4000, 8000, 8000] {
            let _hung = watchdog.begin(at(begun), Duration::ZERO, ());
            assert!(look(&mut watchdog, begun + timeout).is_empty(), "{timeout}");
            assert_eq!(look(&mut watchdog, begun + timeout + 1).len(), 1, "{timeout}");
            begun += timeout + 1;
        }
        watchdog.succeeded();
        let _hung = watchdog.begin(at(begun), Duration::ZERO, ());
        assert_eq!(look(&mut watchdog, begun + 2001).len(), 1);
    }

    // F2
    #[test]
    fn a_call_stays_current_if_no_thread_can_be_started() {
        let mut watchdog = Watchdog::new(LIMITS);
        let ticket = watchdog.begin(at(0), Duration::ZERO, ());
        let (hung, result) = watchdog.replace_hung(at(3000), || Err("no thread"));
        assert!(hung.is_empty());
        assert_eq!(result, Err("no thread"));
        assert_eq!(watchdog.finish(ticket), Some(()));
    }

    #[test]
    fn the_newest_unfinished_call_counts() {
        let mut watchdog = Watchdog::new(LIMITS);
        assert_eq!(watchdog.newest(at(0)), None);
        let _first = watchdog.begin(at(0), Duration::ZERO, ());
        let second = watchdog.begin(at(100), Duration::ZERO, ());
        assert_eq!(watchdog.newest(at(130)), Some(Duration::from_millis(30)));
        assert!(watchdog.finish(second).is_some());
        assert_eq!(watchdog.newest(at(130)), Some(Duration::from_millis(130)));
    }

    #[test]
    fn a_panic_of_a_store_is_an_error() {
        let error = call_store::<()>(|| panic!("a bug in a store")).unwrap_err();
        assert_eq!(error.to_string(), "the store panicked");
    }
}
