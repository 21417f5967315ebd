//! The service under test: its addresses, its keys, the counters of its guarded handlers and its
//! clock.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use api_key_runtime::test_util::TestClock;
use chrono::{DateTime, TimeDelta, Utc};

use super::wire::{Answer, Connection, Request};
use crate::support::fixtures;

/// The cases connect from the first trusted proxy. The other proxies appear only in headers.
pub(super) const TRUSTED_PROXIES: [&str; 2] = ["127.0.0.1", "10.0.1.0/24"];
/// The origin that the door with CORS allows.
pub(super) const ORIGIN: &str = "https://shop.example";
/// The scopes that `/scopes/all` requires. `/scopes/any` requires one of the scopes in `ANY_OF`.
pub(super) const ALL_OF: &str = "cakes:write cakes:delete";
pub(super) const ANY_OF: &str = "cakes:write cakes:read";

/// A service under test. All its doors lead to the same routes and counters.
pub(super) struct Target {
    pub(super) doors: Doors,
    pub(super) keys: Keys,
    pub(super) guard: Guard,
    pub(super) clock: TestClock,
    /// The time of the clock while no case changes it.
    pub(super) now: DateTime<Utc>,
}

/// The addresses of the service, one for each configuration.
pub(super) struct Doors {
    /// Default settings: a bearer or `X-API-Key`, and the peer's address as client IP.
    pub(super) plain: SocketAddr,
    /// Also accepts `?key=` and the cookie `app_key`, and imported keys.
    pub(super) recipe: SocketAddr,
    /// Behind [`TRUSTED_PROXIES`], which set `X-Forwarded-For`.
    pub(super) proxied: SocketAddr,
    /// Within the CORS middleware for [`ORIGIN`].
    pub(super) cors: SocketAddr,
    /// With a key table that is unavailable.
    pub(super) failing: SocketAddr,
    /// Without `AppKeys` in the application.
    pub(super) unconfigured: SocketAddr,
    /// The plain and the proxied door on `[::]`, with the addresses for IPv4 and IPv6 callers, or
    /// `None` on a machine without IPv6.
    pub(super) dual: Option<Dual>,
}

/// The addresses of listeners that accept IPv4 and IPv6 callers.
pub(super) struct Dual {
    pub(super) plain_by_v4: SocketAddr,
    pub(super) plain_by_v6: Option<SocketAddr>,
    pub(super) proxied_by_v4: SocketAddr,
}

/// Counters of events that must not happen before a key is accepted.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    ran: Arc<AtomicUsize>,
    extracted: Arc<AtomicUsize>,
}

impl Guard {
    /// Counts a run of a guarded handler's extractor.
    pub(super) fn extracted(&self) {
        self.extracted.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a run of a guarded handler.
    pub(super) fn ran(&self) {
        self.ran.fetch_add(1, Ordering::SeqCst);
    }

    fn counts(&self) -> Counts {
        Counts {
            ran: self.ran.load(Ordering::SeqCst),
            extracted: self.extracted.load(Ordering::SeqCst),
        }
    }
}

/// The number of runs of guarded handlers and of their extractors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) ran: usize,
    pub(super) extracted: usize,
}

impl Counts {
    const NONE: Self = Self { ran: 0, extracted: 0 };

    fn since(self, before: Self) -> Self {
        Self { ran: self.ran - before.ran, extracted: self.extracted - before.extracted }
    }
}

/// The properties of a key to put into a service's table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) allowed_ips: &'a str,
    pub(super) scopes: &'a str,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Active,
    Disabled,
    Revoked,
    /// The stored IP allow list cannot be parsed.
    Unreadable,
}

/// The keys that the cases present.
pub(super) struct Keys {
    /// Valid from any address, without scopes.
    pub(super) active: String,
    /// Bound to 127.0.0.1, from which the cases connect.
    pub(super) here: String,
    /// Bound to 203.0.113.7, from which no case connects. Only a header can name this address.
    pub(super) elsewhere: String,
    /// Bound to `2001:db8::1`.
    pub(super) elsewhere_v6: String,
    /// Bound to 10.0.0.0/8.
    pub(super) network: String,
    /// Bound to 0.0.0.0/0: any IPv4 address, but neither IPv6 addresses nor an unknown client IP.
    pub(super) any_v4: String,
    /// Bound to `::/0`.
    pub(super) any_v6: String,
    pub(super) revoked: String,
    pub(super) disabled: String,
    pub(super) expired: String,
    pub(super) unreadable: String,
    /// Well-formed with a correct checksum, but not in the table.
    pub(super) unknown: String,
    /// This key and `ending_cold` expire at [`Self::end`].
    pub(super) ending: String,
    pub(super) ending_cold: String,
    pub(super) end: DateTime<Utc>,
    pub(super) writer: String,
    pub(super) reader: String,
    pub(super) writer_and_deleter: String,
    /// Has scopes that contain the required scopes as parts of longer words.
    pub(super) resembling: String,
}

impl Keys {
    /// Puts the keys into a table. The clock of the service shows `now`.
    pub(super) fn new(now: DateTime<Utc>, mut put: impl FnMut(Wanted<'_>) -> String) -> Self {
        let end = now + TimeDelta::hours(1);
        let plain =
            Wanted { allowed_ips: "0.0.0.0", scopes: "", expires_at: None, state: State::Active };
        let mut from = |allowed_ips| put(Wanted { allowed_ips, ..plain });
        let (active, here, elsewhere) = (from("0.0.0.0"), from("127.0.0.1"), from("203.0.113.7"));
        let (elsewhere_v6, network) = (from("2001:db8::1"), from("10.0.0.0/8"));
        let (any_v4, any_v6) = (from("0.0.0.0/0"), from("::/0"));
        let mut in_state = |state| put(Wanted { state, ..plain });
        let revoked = in_state(State::Revoked);
        let disabled = in_state(State::Disabled);
        let unreadable = in_state(State::Unreadable);
        let mut until = |end| put(Wanted { expires_at: Some(end), ..plain });
        let expired = until(now - TimeDelta::minutes(1));
        let (ending, ending_cold) = (until(end), until(end));
        let mut with = |scopes| put(Wanted { scopes, ..plain });
        Self {
            active,
            here,
            elsewhere,
            elsewhere_v6,
            network,
            any_v4,
            any_v6,
            revoked,
            disabled,
            expired,
            unreadable,
            unknown: fixtures::unknown(),
            ending,
            ending_cold,
            end,
            writer: with("cakes:write"),
            reader: with("cakes:read"),
            writer_and_deleter: with(ALL_OF),
            resembling: with("xcakes:write cakes:delete:all cakes:writecakes:delete cakes:reader"),
        }
    }

    /// Returns keys that get 401 at the plain door, each with the reason.
    pub(super) fn invalid(&self) -> Vec<(&'static str, String)> {
        let own = |key: &String| key.clone();
        vec![
            ("unknown", own(&self.unknown)),
            ("revoked", own(&self.revoked)),
            ("disabled", own(&self.disabled)),
            ("expired", own(&self.expired)),
            ("wrong address", own(&self.elsewhere)),
            ("wrong network", own(&self.network)),
            ("wrong family", own(&self.any_v6)),
            ("unreadable rule", own(&self.unreadable)),
            ("mistyped", fixtures::mistyped(&self.active)),
            ("upper case", self.active.to_uppercase()),
            ("lower case", self.active.to_lowercase()),
            ("cut", self.active[..self.active.len() - 1].to_owned()),
            ("one more", format!("{}a", self.active)),
            ("its hint", self.active[..12].to_owned()),
            ("its prefix", self.active[..8].to_owned()),
            ("without its prefix", self.active[8..].to_owned()),
            ("another form", "6f1ed002ab5595859014ebf0951522d9".to_owned()),
            ("one character", "k".to_owned()),
            ("two of it", format!("{0}{0}", self.active)),
        ]
    }
}

impl Target {
    /// Returns a caller at a door. Its connection stays open as long as the server allows.
    pub(super) fn caller(&self, door: SocketAddr) -> Caller<'_> {
        Caller { target: self, door, connection: None }
    }

    /// Sends only these bytes, and reads responses until the server closes the connection.
    pub(super) fn exchange(
        &self,
        door: SocketAddr,
        bytes: &[u8],
    ) -> Result<(Vec<Answer>, Counts), String> {
        let before = self.guard.counts();
        let mut connection = Connection::open(door)?;
        connection.send(bytes);
        connection.finish();
        let answers = connection.read_to_end()?;
        Ok((answers, self.guard.counts().since(before)))
    }

    /// Checks that these bytes run no guarded handler and no extractor, whatever the response.
    pub(super) fn never_runs(&self, door: SocketAddr, bytes: &[u8]) -> Result<Vec<Answer>, String> {
        let (answers, counts) = self.exchange(door, bytes)?;
        if counts == Counts::NONE {
            Ok(answers)
        } else {
            let sent = bytes[..bytes.len().min(300)].escape_ascii();
            Err(format!("{counts:?} although no valid key was presented: {sent}"))
        }
    }
}

/// A client that sends one request after the other.
pub(super) struct Caller<'a> {
    target: &'a Target,
    door: SocketAddr,
    connection: Option<Connection>,
}

impl Caller<'_> {
    /// Sends a request and reads its response, on a new connection if the server closed the
    /// previous connection.
    pub(super) fn ask(&mut self, request: &Request) -> Result<(Answer, Counts), String> {
        let before = self.target.guard.counts();
        // The server closes a connection after bytes that are not HTTP, and need not announce that.
        let answer = match self.connection.take() {
            Some(connection) => match self.ask_over(connection, request)? {
                None => self.ask_over(Connection::open(self.door)?, request)?,
                answered => answered,
            },
            None => self.ask_over(Connection::open(self.door)?, request)?,
        };
        let answer = answer.ok_or_else(|| format!("{request}: closed without a response"))?;
        Ok((answer, self.target.guard.counts().since(before)))
    }

    fn ask_over(
        &mut self,
        mut connection: Connection,
        request: &Request,
    ) -> Result<Option<Answer>, String> {
        connection.send(&request.bytes());
        let answer =
            connection.read(request.is_head()).map_err(|error| format!("{request}: {error}"))?;
        self.connection = connection.is_open().then_some(connection);
        Ok(answer)
    }

    /// Returns whether the connection is open after the last response.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Checks that the request is accepted: 200, and the handler ran once.
    pub(super) fn passes(&mut self, request: &Request) -> Result<Answer, String> {
        let (answer, counts) = self.ask(request)?;
        if answer.status == 200 && counts.ran == 1 {
            Ok(answer)
        } else {
            let status = answer.status;
            Err(format!("{request}: {status} and {counts:?}, expected 200 from the handler"))
        }
    }

    /// Checks that the request is rejected with this status, and that neither its handler nor an
    /// extractor ran.
    pub(super) fn refused(&mut self, request: &Request, status: u16) -> Result<Answer, String> {
        let (answer, counts) = self.ask(request)?;
        if answer.status == status && counts == Counts::NONE {
            Ok(answer)
        } else {
            let own = answer.status;
            Err(format!("{request}: {own} and {counts:?}, expected {status} and no handler"))
        }
    }

    /// Checks for the 401 that requests without a credential get: its challenge has no error
    /// parameter.
    pub(super) fn nothing_presented(&mut self, request: &Request) -> Result<Answer, String> {
        let answer = self.refused(request, 401)?;
        match answer.header("www-authenticate") {
            Some(challenge) if !challenge.contains("error") => Ok(answer),
            other => Err(format!("{request}: the challenge of a 401 without a key is {other:?}")),
        }
    }

    /// Checks for the 401 that invalid keys get.
    pub(super) fn invalid(&mut self, request: &Request) -> Result<Answer, String> {
        let answer = self.refused(request, 401)?;
        challenged(request, answer, "error=\"invalid_token\"")
    }

    /// Checks for the 400 that several credentials get.
    pub(super) fn several(&mut self, request: &Request) -> Result<Answer, String> {
        let answer = self.refused(request, 400)?;
        challenged(request, answer, "error=\"invalid_request\"")
    }

    /// Checks for the 403 that names the required scopes.
    pub(super) fn lacks_scope(
        &mut self,
        request: &Request,
        scopes: &str,
    ) -> Result<Answer, String> {
        let answer = self.refused(request, 403)?;
        let answer = challenged(request, answer, "error=\"insufficient_scope\"")?;
        challenged(request, answer, &format!("scope=\"{scopes}\""))
    }

    /// Checks that the guard or the HTTP parser rejects the request with one of these statuses, and
    /// that no handler ran.
    pub(super) fn refused_somehow(
        &mut self,
        request: &Request,
        statuses: &[u16],
    ) -> Result<Answer, String> {
        let (answer, counts) = self.ask(request)?;
        if statuses.contains(&answer.status) && counts == Counts::NONE {
            Ok(answer)
        } else {
            let own = answer.status;
            Err(format!(
                "{request}: {own} and {counts:?}, expected one of {statuses:?} and no handler"
            ))
        }
    }
}

fn challenged(request: &Request, answer: Answer, parameter: &str) -> Result<Answer, String> {
    match answer.header("www-authenticate") {
        Some(challenge) if challenge.contains(parameter) => Ok(answer),
        other => Err(format!("{request}: the challenge {other:?} lacks {parameter}")),
    }
}
