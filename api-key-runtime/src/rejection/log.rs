//! The log line of a rejection: one warning, everything in the message, nothing the caller sent.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use actix_web::{HttpRequest, http::Method};

use super::Reason;
use crate::{cache::CachedKey, lock::lock, log, request::route_of};

/// Lines that one reason may write within [`WINDOW`]; the others are counted and told in one summary.
const LINES_PER_WINDOW: usize = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// Logs refusals, without letting a flood of them flood the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct RejectionLog(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    windows: Mutex<HashMap<Reason, Window>>,
    hinted_at_proxy: AtomicBool,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: usize,
    suppressed: usize,
}

/// What becomes of one rejection's line.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Write,
    /// The first line too many: somebody must write the summary when the window ends.
    SuppressAndSummarise,
    Suppress,
}

impl RejectionLog {
    /// Logs a rejection in the words of the recipe, with its reason, the key it is about and the route's template.
    pub(crate) fn rejected(
        &self,
        reason: Reason,
        request: &HttpRequest,
        address: Option<IpAddr>,
        key: Option<&CachedKey>,
    ) {
        match self.0.turn(reason, Instant::now()) {
            Turn::Write => log::warn!("{}", Line::new(reason, request, address, key)),
            Turn::SuppressAndSummarise => self.summarise_later(reason),
            Turn::Suppress => {}
        }
    }

    /// Says once that a service behind a proxy looks as if nobody had told it so.
    pub(crate) fn hint_at_proxy(&self, peer: IpAddr) {
        if !self.0.hinted_at_proxy.swap(true, Ordering::Relaxed) {
            log::warn!(
                "a key bound to addresses was refused to {peer}, which is a private address and sent X-Forwarded-For: if that is your proxy, \
                 name its own address in trusted_proxies (APP_KEY_TRUSTED_PROXIES), and the callers' addresses are judged instead"
            );
        }
    }

    /// From a thread of its own, at most one a second and reason: a flood may stop as suddenly as it began.
    fn summarise_later(&self, reason: Reason) {
        let log = self.clone();
        let summarising = thread::Builder::new().name("app-key-log".to_owned()).spawn(move || {
            thread::sleep(WINDOW);
            log.0.summarise(reason);
        });
        if summarising.is_err() {
            // At once then: without a summary to come, the next lines would be suppressed for good.
            self.0.summarise(reason);
        }
    }
}

impl Shared {
    fn windows(&self) -> MutexGuard<'_, HashMap<Reason, Window>> {
        lock(&self.windows)
    }

    fn turn(&self, reason: Reason, now: Instant) -> Turn {
        let mut windows = self.windows();
        let window =
            windows.entry(reason).or_insert(Window { began: now, lines: 0, suppressed: 0 });
        // A window with a summary to come is ended by that summary alone, so that nothing is counted twice or lost.
        if window.suppressed == 0 && now.saturating_duration_since(window.began) >= WINDOW {
            *window = Window { began: now, lines: 0, suppressed: 0 };
        }
        if window.lines < LINES_PER_WINDOW {
            window.lines = window.lines.saturating_add(1);
            return Turn::Write;
        }
        window.suppressed = window.suppressed.saturating_add(1);
        if window.suppressed == 1 { Turn::SuppressAndSummarise } else { Turn::Suppress }
    }

    fn summarise(&self, reason: Reason) {
        let window = self.windows().remove(&reason);
        if let Some(Window { suppressed, .. }) = window {
            log::warn!(
                "Unauthorized address trying to use API: {suppressed} more within a second ({})",
                reason.as_str()
            );
        }
    }
}

struct Line<'a> {
    reason: Reason,
    method: &'a Method,
    route: String,
    address: Option<IpAddr>,
    key: Option<&'a CachedKey>,
}

impl<'a> Line<'a> {
    fn new(
        reason: Reason,
        request: &'a HttpRequest,
        address: Option<IpAddr>,
        key: Option<&'a CachedKey>,
    ) -> Self {
        Self { reason, method: request.method(), route: route_of(request), address, key }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Unauthorized address trying to use API: ")?;
        match self.address {
            Some(address) => write!(formatter, "{address}")?,
            None => formatter.write_str("unknown")?,
        }
        write!(formatter, " ({}", self.reason.as_str())?;
        if let Some(key) = self.key {
            write!(formatter, ", key {} {}", key.id, key.hint().escape_default())?;
        }
        // A method's characters are those of a token, and may still be long; a route's template is the application's own.
        let method = self.method.as_str().get(..16).unwrap_or(self.method.as_str());
        write!(formatter, ", {method} {})", self.route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // G4
    #[test]
    fn past_ten_lines_a_second_for_one_reason_there_is_one_summary() {
        let log = Shared::default();
        let start = Instant::now();
        for _ in 0..10 {
            assert_eq!(log.turn(Reason::Expired, start), Turn::Write);
        }
        assert_eq!(log.turn(Reason::Expired, start), Turn::SuppressAndSummarise);
        assert_eq!(
            log.turn(Reason::Expired, start + WINDOW * 2),
            Turn::Suppress,
            "the summary is still to come"
        );
        assert_eq!(
            log.turn(Reason::Unknown, start),
            Turn::Write,
            "another reason has lines of its own"
        );
        assert_eq!(log.windows()[&Reason::Expired].suppressed, 2);
        log.summarise(Reason::Expired);
        assert_eq!(log.turn(Reason::Expired, start + WINDOW * 2), Turn::Write);
        for second in 3..20 {
            assert_eq!(
                log.turn(Reason::Expired, start + WINDOW * second),
                Turn::Write,
                "one a second is no flood"
            );
        }
    }
}
