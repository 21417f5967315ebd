//! Waits for events on machines of any speed, and checks that rejections come in time. The delay of
//! a rejection is the time from the change until the last accepted request was sent.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

/// Time after which a missing event fails a test.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The lookup timeout in tests that expect no timeout, even if the machine pauses for several
/// seconds.
pub(crate) const LONG_DEADLINE: Duration = Duration::from_secs(20);
/// The default of `max_staleness`.
pub(crate) const MAX_STALENESS: Duration = Duration::from_secs(1);

/// Waits until this function returns true.
#[track_caller]
pub(crate) fn wait_until(what: impl fmt::Display, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < TEST_TIMEOUT, "not within {TEST_TIMEOUT:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a request gets this status. Returns how long after the change the last accepted
/// request was sent, which must not exceed the default of `max_staleness`.
#[track_caller]
pub(crate) fn refused_in_time(
    what: impl fmt::Display,
    changed: Instant,
    expected: u16,
    status: impl Fn() -> u16,
) -> Duration {
    let mut accepted_for = Duration::ZERO;
    wait_until(&what, || {
        let sent = changed.elapsed();
        let status = status();
        if status == expected {
            return true;
        }
        assert!(matches!(status, 200 | 503), "{what}: {status}");
        if status == 200 {
            accepted_for = sent;
            assert!(
                sent <= MAX_STALENESS,
                "{what}: a request {sent:?} after the change was accepted"
            );
        }
        false
    });
    accepted_for
}
