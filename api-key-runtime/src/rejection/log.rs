//! The log line of a rejection: one warning with all details. The line contains at most two texts
//! from the caller: the truncated method, and the name of a scheme that is not accepted.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::HttpRequest;

use super::{Reason, RejectionKind};
use crate::{
    cache::CachedKey,
    lock::lock,
    log,
    request::{UnknownIp, ignored, route_of},
};

/// Maximum number of lines for one reason within [`WINDOW`]. Further rejections are counted and
/// summarized in one line.
const LINES_PER_WINDOW: usize = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// Logs rejections, with a rate limit for each reason.
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

impl RejectionLog {
    /// Logs a rejection with its reason, the key and the route template, unless the rate limit of
    /// the reason is reached.
    pub(crate) fn rejected(
        &self,
        reason: Reason,
        request: &HttpRequest,
        client_ip: Result<IpAddr, UnknownIp<'_>>,
        key: Option<&CachedKey>,
    ) {
        if self.0.has_room(reason, Instant::now()) {
            log::warn!("{}", Line { reason, request, client_ip, key });
        }
    }

    /// Logs once that a request seems to come from a proxy that is not in `trusted_proxies`.
    pub(crate) fn hint_at_proxy(&self, peer: IpAddr) {
        if !self.0.hinted_at_proxy.swap(true, Ordering::Relaxed) {
            log::warn!(
                "a key was rejected for the client IP {peer}, a private address that sent X-Forwarded-For (a proxy?); \
                 set trusted_proxies (APP_KEY_TRUSTED_PROXIES) to the proxy's own address"
            );
        }
    }

    /// Writes the summaries of finished windows. The supervisor calls this method several times a
    /// second.
    pub(crate) fn summarise(&self, now: Instant) {
        self.0.summarise(|window| window.is_over(now));
    }

    /// Writes the summaries of all windows, before the process or the key set ends.
    pub(crate) fn summarise_all(&self) {
        self.0.summarise(|_| true);
    }
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= WINDOW
    }
}

impl Shared {
    fn windows(&self) -> MutexGuard<'_, HashMap<Reason, Window>> {
        lock(&self.windows)
    }

    /// Returns whether a line may be written. If not, counts the rejection for the summary.
    fn has_room(&self, reason: Reason, now: Instant) -> bool {
        let mut windows = self.windows();
        let window =
            windows.entry(reason).or_insert(Window { began: now, lines: 0, suppressed: 0 });
        // A window with suppressed lines ends only when its summary is written, so that the summary
        // counts every suppressed rejection.
        if window.suppressed == 0 && window.is_over(now) {
            *window = Window { began: now, lines: 0, suppressed: 0 };
        }
        if window.lines < LINES_PER_WINDOW {
            window.lines = window.lines.saturating_add(1);
            return true;
        }
        window.suppressed = window.suppressed.saturating_add(1);
        false
    }

    fn summarise(&self, is_over: impl Fn(&Window) -> bool) {
        let over: Vec<(Reason, Window)> = self
            .windows()
            .extract_if(|_, window| window.suppressed > 0 && is_over(window))
            .collect();
        for (reason, Window { suppressed, .. }) in over {
            let begin = beginning(reason);
            log::warn!("{begin}: {suppressed} more within a second ({reason})");
        }
    }
}

/// Returns the beginning of a log line, which shows whether the request or the service caused the
/// rejection.
fn beginning(reason: Reason) -> &'static str {
    match reason.kind() {
        RejectionKind::Unavailable => "cannot check an API key, answered 503",
        _ => "Unauthorized address trying to use API",
    }
}

struct Line<'a> {
    reason: Reason,
    request: &'a HttpRequest,
    client_ip: Result<IpAddr, UnknownIp<'a>>,
    key: Option<&'a CachedKey>,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = self.request.headers();
        write!(formatter, "{}: ", beginning(self.reason))?;
        match self.client_ip {
            Ok(address) => write!(formatter, "{address} ({}", self.reason)?,
            Err(cause) => {
                write!(formatter, "unknown ({}, {}", self.reason, cause.explain(headers))?;
            }
        }
        if self.reason == Reason::NoKey
            && let Some(ignored) = ignored(headers)
        {
            write!(formatter, ", {ignored}")?;
        }
        if let Some(key) = self.key {
            write!(formatter, ", key {} {}", key.id, key.hint().escape_default())?;
        }
        // The method has only token characters but may be long, so it is cut. The route template
        // comes from the application and not from the caller.
        let method = self.request.method().as_str();
        let method = method.get(..16).unwrap_or(method);
        write!(formatter, ", {method} {})", route_of(self.request))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    // F3
    #[test]
    fn an_unavailable_store_is_no_unauthorized_address() {
        let request = TestRequest::get().to_http_request();
        let line = |reason| {
            let client_ip = Ok(IpAddr::from([203, 0, 113, 9]));
            Line { reason, request: &request, client_ip, key: None }.to_string()
        };
        for reason in Reason::ALL {
            let rejected = format!(
                "Unauthorized address trying to use API: 203.0.113.9 ({reason}, GET (default service))"
            );
            let unavailable = format!(
                "cannot check an API key, answered 503: 203.0.113.9 ({reason}, GET (default service))"
            );
            let is_unavailable = reason.kind().status() == 503;
            assert_eq!(line(reason), if is_unavailable { unavailable } else { rejected });
        }
    }

    // G4
    #[test]
    fn a_line_has_the_cause_of_an_unknown_client_ip() {
        let request = TestRequest::get().to_http_request();
        let client_ip = Err(UnknownIp::NoPeer);
        let line = Line { reason: Reason::Unknown, request: &request, client_ip, key: None };
        assert_eq!(
            line.to_string(),
            "Unauthorized address trying to use API: unknown (unknown key, the connection has no peer address, as on a Unix \
             socket, GET (default service))"
        );
    }

    // G4
    #[test]
    fn past_ten_lines_a_second_for_one_reason_there_is_one_summary() {
        let log = Shared::default();
        let start = Instant::now();
        for _ in 0..10 {
            assert!(log.has_room(Reason::Expired, start));
        }
        assert!(!log.has_room(Reason::Expired, start));
        assert!(!log.has_room(Reason::Expired, start + WINDOW * 2), "the summary is still to come");
        assert!(log.has_room(Reason::Unknown, start), "another reason has lines of its own");
        assert_eq!(log.windows()[&Reason::Expired].suppressed, 2);
        log.summarise(|window| window.is_over(start + WINDOW / 2));
        assert_eq!(log.windows()[&Reason::Expired].suppressed, 2, "the second is not over");
        log.summarise(|window| window.is_over(start + WINDOW));
        assert!(log.has_room(Reason::Expired, start + WINDOW * 2));
        for second in 3..20 {
            assert!(
                log.has_room(Reason::Expired, start + WINDOW * second),
                "one line a second is below the limit"
            );
        }
    }
}
