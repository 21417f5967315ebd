//! Waiting for what must come, however slow the machine is; and refusals that must come in time,
//! which shows in when that was sent which was accepted last.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

/// How long what must come is waited for.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The deadline of lookups in tests of something else: a machine that stands still for seconds
/// makes no lookup late.
pub(crate) const LONG_DEADLINE: Duration = Duration::from_secs(20);
/// How old what a service knows may be, by default.
pub(crate) const MAX_STALENESS: Duration = Duration::from_secs(1);

/// Waits until this holds.
#[track_caller]
pub(crate) fn wait_until(what: impl fmt::Display, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < TEST_TIMEOUT, "not within {TEST_TIMEOUT:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a request is answered with this status, and answers how long after the change the
/// last one was sent that was accepted: not longer than a service with the bound by default may
/// believe what it knows.
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
            assert!(sent <= MAX_STALENESS, "{what}: what was sent {sent:?} later was accepted");
        }
        false
    });
    accepted_for
}
