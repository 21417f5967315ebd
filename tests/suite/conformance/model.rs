//! A service written by hand to the same requirements, plainly and slowly: the cases must hold of it as they do of the project's own.
//! With a [`Fault`] it is broken in one place, as real services were, and a case must notice.
#![allow(clippy::result_large_err, reason = "a refusal is a response, and rare enough")]

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use actix_web::{
    FromRequest, Handler, HttpMessage as _, HttpRequest, HttpResponse, Route,
    body::MessageBody,
    dev::{Service as _, ServiceRequest, ServiceResponse},
    http::{Method, StatusCode, header::HeaderValue},
    web,
};
use api_key_runtime::{AllowedIps, test_util::TestClock};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Timelike as _, Utc};

use super::{
    product,
    routes::{self, Run},
    serving::{Configure, Entrances, Served, cors},
    target::{ALL_OF, ANY_OF, Guard, Keys, State, Target, Wanted},
};
use crate::support::fixtures;

/// What is wrong with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The guard runs after the extractors, so that the body is read first.
    CheckAfterExtraction,
    /// Of several headers the first is taken, and the others are not looked at.
    FirstOfTwoHeaders,
    /// An empty credential counts as none.
    EmptyIsNothing,
    /// `X_API_Key` counts as `X-API-Key`, as it does behind CGI.
    UnderscoreIsHyphen,
    /// `?key=` is read where nobody enabled it.
    QueryNotEnabled,
    /// The query is read as a form, into a map.
    QueryAsForm,
    /// Percent-encoding is decoded twice.
    DecodedTwice,
    /// Keys are compared without regard to case, as some collations do.
    CaseInsensitiveKeys,
    /// A key whose checksum holds is taken for one of ours.
    ChecksumAsProof,
    /// A header that is not text is the server's fault.
    ErrorOnOddBytes,
    /// An optional route lets in whoever presents something bad.
    OptionalLetsBadIn,
    /// The leftmost entry of `X-Forwarded-For` is the caller.
    LeftmostForwardedFor,
    /// The first line of `X-Forwarded-For` is read, and the others are not looked at.
    FirstForwardedForLine,
    /// `X-Forwarded-For` is believed although no proxy is trusted.
    ForwardedForWithoutProxies,
    /// Where the header is missing the caller is the proxy.
    ProxyIsTheCaller,
    /// A hop that cannot be read is left out.
    UnreadableHopSkipped,
    /// Where the configured header is missing another one is read.
    OtherHeadersBelieved,
    /// Addresses are compared as texts.
    AddressesAsText,
    /// `::ffff:127.0.0.1` is an address of its own.
    MappedNotUnwrapped,
    /// A rule that holds the text of the wildcard is one.
    WildcardByContains,
    /// A rule that cannot be read is no rule.
    UnreadableRuleIgnored,
    /// An expired key has a status of its own.
    StatusByReason,
    /// A revoked key has a body of its own.
    BodyByReason,
    /// A wrong address has a challenge of its own.
    HeaderByReason,
    /// A 401 without `WWW-Authenticate`.
    NoChallenge,
    /// The key is in the body.
    KeyEchoed,
    /// What is guarded may be stored by anyone.
    StoredByAnyone,
    /// A table that is away is 401.
    AwayIsUnauthorized,
    /// A table that is away lets everyone in.
    AwayLetsIn,
    /// Whether a key has expired is decided when it is first seen.
    ExpiryOnLoadOnly,
    /// Expiry is compared in whole seconds.
    ExpiryInSeconds,
    /// One of the scopes is enough where all are asked for.
    AnyScopeForAll,
    /// A scope is looked for in the text of the scopes.
    ScopeBySubstring,
    /// Paths that begin as the guarded ones do are guarded, before the routing.
    GuardByPathPrefix,
    /// A connection keeps the credential of its last request.
    ConnectionRemembers,
    /// HEAD is let through.
    HeadUnguarded,
    /// OPTIONS is let through, for CORS.
    OptionsUnguarded,
    /// An upgrade is let through, for the protocol to judge.
    UpgradeUnjudged,
    /// The guard stands outside of CORS.
    GuardOutsideCors,
}

/// What a route asks of a key.
#[derive(Clone, Copy, Default)]
struct Policy {
    all_of: &'static str,
    any_of: &'static str,
    optional: bool,
}

struct Row {
    key: String,
    allowed_ips: AllowedIps,
    scopes: String,
    expires_at: Option<DateTime<Utc>>,
    state: State,
}

/// What all doors share.
struct Shared {
    rows: Vec<Row>,
    guard: Guard,
    clock: TestClock,
    fault: Option<Fault>,
    /// For the faults that remember.
    expired_when_loaded: Mutex<HashMap<String, bool>>,
    of_connections: Mutex<HashMap<SocketAddr, Vec<u8>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Recipe,
    Proxied,
    Cors,
    Failing,
    Unconfigured,
}

/// One way the service is set up.
#[derive(Clone)]
struct Door {
    shared: Arc<Shared>,
    kind: Kind,
}

/// What a request presents.
enum Presented {
    Nothing,
    One { value: Vec<u8>, in_query: bool },
    Several,
}

/// Serves the model, whole or with this fault.
pub(super) fn serve(fault: Option<Fault>) -> Served {
    let (clock, now) = product::clock();
    let mut rows = Vec::new();
    let keys = Keys::new(now, |wanted| {
        let row = row(&wanted);
        rows.push(row);
        rows[rows.len() - 1].key.clone()
    });
    let guard = Guard::default();
    let shared = Arc::new(Shared {
        rows,
        guard: guard.clone(),
        clock: clock.clone(),
        fault,
        expired_when_loaded: Mutex::default(),
        of_connections: Mutex::default(),
    });
    let door = |kind| Door { shared: shared.clone(), kind };
    let entrance = |kind| -> Configure {
        let door = door(kind);
        Arc::new(move |config| door.configure(config))
    };
    let within_cors: Configure = {
        let door = door(Kind::Cors);
        Arc::new(move |config| door.configure_within_cors(config))
    };
    let entrances = Entrances {
        plain: entrance(Kind::Plain),
        recipe: entrance(Kind::Recipe),
        proxied: entrance(Kind::Proxied),
        cors: within_cors,
        failing: entrance(Kind::Failing),
        unconfigured: entrance(Kind::Unconfigured),
    };
    Served::new(entrances, None, |doors| Target { doors, keys, guard, clock, now })
}

fn row(wanted: &Wanted<'_>) -> Row {
    let unreadable = wanted.state == State::Unreadable;
    Row {
        key: fixtures::unknown(),
        allowed_ips: AllowedIps::from_stored(if unreadable {
            "127.0.0.1 junk"
        } else {
            wanted.allowed_ips
        }),
        scopes: wanted.scopes.to_owned(),
        expires_at: wanted.expires_at,
        state: wanted.state,
    }
}

// ---- Routes --------------------------------------------------------------------------------------------------------------------------

impl Door {
    fn has(&self, fault: Fault) -> bool {
        self.shared.fault == Some(fault)
    }

    fn configure(&self, config: &mut web::ServiceConfig) {
        if self.has(Fault::GuardByPathPrefix) {
            let door = self.clone();
            config.service(
                web::scope("")
                    .wrap_fn(move |request, next| {
                        let passed = door.judge_by_path(request);
                        routes_or_refusal(passed.map(|request| next.call(request)))
                    })
                    .configure(|config| self.routes(config)),
            );
        } else {
            self.routes(config);
        }
    }

    fn configure_within_cors(&self, config: &mut web::ServiceConfig) {
        if self.has(Fault::GuardOutsideCors) {
            let door = self.clone();
            config.service(
                web::scope("")
                    .wrap(cors())
                    .wrap_fn(move |request, next| {
                        let passed = door.judge_by_path(request);
                        routes_or_refusal(passed.map(|request| next.call(request)))
                    })
                    .configure(|config| self.routes(config)),
            );
        } else {
            config.service(web::scope("").wrap(cors()).configure(|config| self.configure(config)));
        }
    }

    fn routes(&self, config: &mut web::ServiceConfig) {
        let any_key = Policy::default();
        let all = Policy { all_of: ALL_OF, ..any_key };
        let any = Policy { any_of: ANY_OF, ..any_key };
        let write = Policy { all_of: "cakes:write", ..any_key };
        let optional = Policy { optional: true, ..any_key };
        config
            .app_data(self.shared.guard.clone())
            .route("/public", web::get().to(routes::public))
            .route("/public", web::post().to(routes::public))
            .service(web::resource("/guarded").route(self.guarded(
                web::route(),
                any_key,
                routes::cake,
            )))
            .service(web::resource("/files/{path:.*}").route(self.guarded(
                web::route(),
                any_key,
                routes::cake,
            )))
            .route("/get-only", self.guarded(web::get(), any_key, routes::cake))
            .route("/head-only", self.guarded(web::head(), any_key, routes::cake))
            .route("/json", self.guarded(web::post(), any_key, routes::json))
            .route("/text", self.guarded(web::post(), any_key, routes::text))
            .route("/search", self.guarded(web::get(), any_key, routes::search))
            .route("/number/{number}", self.guarded(web::get(), any_key, routes::number))
            .route("/scopes/all", self.guarded(web::get(), all, routes::cake))
            .route("/scopes/any", self.guarded(web::get(), any, routes::cake))
            .route("/scopes/body", self.guarded(web::post(), write, routes::json))
            .route("/optional", self.guarded(web::get(), optional, routes::cake))
            .route("/from", self.guarded(web::get(), any_key, from))
            .route("/socket", self.guarded(web::get(), any_key, routes::socket));
    }

    fn guarded<F, Args>(&self, route: Route, policy: Policy, handler: F) -> Route
    where
        F: Handler<Args, Output = HttpResponse>,
        Args: FromRequest + 'static,
    {
        let door = self.clone();
        route.to(move |request: HttpRequest, payload: web::Payload| {
            let (door, handler) = (door.clone(), handler.clone());
            async move { door.answer(policy, request, payload, handler).await }
        })
    }

    /// First the guard, then the extractors, then the handler.
    async fn answer<F, Args>(
        &self,
        policy: Policy,
        request: HttpRequest,
        payload: web::Payload,
        handler: F,
    ) -> HttpResponse
    where
        F: Handler<Args, Output = HttpResponse>,
        Args: FromRequest + 'static,
    {
        let mut payload = payload.into_inner();
        if self.has(Fault::CheckAfterExtraction) {
            let arguments = match Args::from_request(&request, &mut payload).await {
                Ok(arguments) => arguments,
                Err(error) => return HttpResponse::from_error(error),
            };
            return match self.judge(&request, policy) {
                Ok(_) => handler.call(arguments).await,
                Err(refusal) => refusal,
            };
        }
        let in_middleware = self.has(Fault::GuardByPathPrefix)
            || (self.has(Fault::GuardOutsideCors) && self.kind == Kind::Cors);
        let in_query = match self.judge(&request, policy) {
            _ if in_middleware => false,
            Ok(in_query) => in_query,
            Err(refusal) => return refusal,
        };
        let response = match Args::from_request(&request, &mut payload).await {
            Ok(arguments) => handler.call(arguments).await,
            Err(error) => HttpResponse::from_error(error),
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS || self.has(Fault::StoredByAnyone) {
            return response;
        }
        self.finish(response, in_query, "private")
    }

    fn finish(
        &self,
        mut response: HttpResponse,
        in_query: bool,
        cache: &'static str,
    ) -> HttpResponse {
        let cache = if in_query { "no-store" } else { cache };
        let vary = if self.kind == Kind::Recipe {
            "authorization, x-api-key, cookie"
        } else {
            "authorization, x-api-key"
        };
        let headers = response.headers_mut();
        headers.insert(actix_web::http::header::CACHE_CONTROL, HeaderValue::from_static(cache));
        headers.append(actix_web::http::header::VARY, HeaderValue::from_static(vary));
        if in_query {
            headers.insert(
                actix_web::http::header::REFERRER_POLICY,
                HeaderValue::from_static("no-referrer"),
            );
        }
        response
    }

    /// The guard as a middleware: it knows the path as it was sent, and no route.
    fn judge_by_path(&self, request: ServiceRequest) -> Result<ServiceRequest, ServiceResponse> {
        const GUARDED: [&str; 11] = [
            "/guarded",
            "/files",
            "/get-only",
            "/head-only",
            "/json",
            "/text",
            "/search",
            "/number",
            "/scopes",
            "/from",
            "/socket",
        ];
        let path = request.path();
        let policy = match path {
            "/scopes/all" => Policy { all_of: ALL_OF, ..Policy::default() },
            "/scopes/any" => Policy { any_of: ANY_OF, ..Policy::default() },
            "/scopes/body" => Policy { all_of: "cakes:write", ..Policy::default() },
            "/optional" => Policy { optional: true, ..Policy::default() },
            path if GUARDED.iter().any(|guarded| path.starts_with(guarded)) => Policy::default(),
            _ => return Ok(request),
        };
        match self.judge(request.request(), policy) {
            Ok(_) => Ok(request),
            Err(refusal) => Err(request.into_response(refusal)),
        }
    }
}

/// The rest of the middleware: what the routes answer, or the refusal.
async fn routes_or_refusal<B: MessageBody + 'static>(
    passed: Result<
        impl Future<Output = Result<ServiceResponse<B>, actix_web::Error>>,
        ServiceResponse,
    >,
) -> Result<ServiceResponse, actix_web::Error> {
    match passed {
        Ok(answer) => answer.await.map(ServiceResponse::map_into_boxed_body),
        Err(refusal) => Ok(refusal),
    }
}

/// Where the request was judged to come from.
#[derive(Clone, Copy)]
struct Caller(Option<IpAddr>);

async fn from(run: Run, request: HttpRequest) -> HttpResponse {
    let caller = request.extensions().get::<Caller>().copied();
    run.caller(caller.and_then(|caller| caller.0))
}

// ---- The guard -----------------------------------------------------------------------------------------------------------------------

impl Door {
    /// Lets a request in, and says whether its key was in the query; or answers the refusal.
    fn judge(&self, request: &HttpRequest, policy: Policy) -> Result<bool, HttpResponse> {
        if self.kind == Kind::Unconfigured {
            return Err(self.problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                None,
                "Not set up.",
                false,
            ));
        }
        let unguarded = match *request.method() {
            Method::HEAD => self.has(Fault::HeadUnguarded),
            Method::OPTIONS => self.has(Fault::OptionsUnguarded),
            _ => self.has(Fault::UpgradeUnjudged) && request.headers().contains_key("upgrade"),
        };
        if unguarded {
            return Ok(false);
        }
        let caller = self.caller(request);
        request.extensions_mut().insert(Caller(caller));
        let odd = |value: &HeaderValue| value.to_str().is_err();
        if self.has(Fault::ErrorOnOddBytes) && request.headers().get("x-api-key").is_some_and(odd) {
            return Err(HttpResponse::InternalServerError().finish());
        }
        let (value, in_query) = match self.presented(request) {
            Presented::One { value, in_query } => (value, in_query),
            Presented::Nothing if policy.optional => return Ok(false),
            Presented::Nothing => return Err(self.refusal(StatusCode::UNAUTHORIZED, "", false)),
            Presented::Several => {
                return Err(self.refusal(
                    StatusCode::BAD_REQUEST,
                    ", error=\"invalid_request\"",
                    true,
                ));
            }
        };
        self.judge_key(&value, caller, policy, in_query).map(|()| in_query).or_else(|refusal| {
            if policy.optional && self.has(Fault::OptionalLetsBadIn) {
                Ok(false)
            } else {
                Err(refusal)
            }
        })
    }

    fn judge_key(
        &self,
        value: &[u8],
        caller: Option<IpAddr>,
        policy: Policy,
        in_query: bool,
    ) -> Result<(), HttpResponse> {
        let invalid =
            || self.invalid(value, ", error=\"invalid_token\"", "Not valid here.", in_query);
        let key = std::str::from_utf8(value).ok().filter(|key| is_key(key)).ok_or_else(invalid)?;
        let same = |row: &&Row| {
            row.key == key
                || (self.has(Fault::CaseInsensitiveKeys) && row.key.eq_ignore_ascii_case(key))
        };
        let row = self.shared.rows.iter().find(same);
        let well_formed = if key.starts_with("ak_live_") {
            checksum_holds(key)
        } else {
            self.kind == Kind::Recipe
        };
        if row.is_none() && !well_formed {
            return Err(invalid());
        }
        if self.kind == Kind::Failing {
            return match self.shared.fault {
                Some(Fault::AwayLetsIn) => Ok(()),
                Some(Fault::AwayIsUnauthorized) => Err(invalid()),
                _ => {
                    Err(self.problem(StatusCode::SERVICE_UNAVAILABLE, None, "Try again.", in_query))
                }
            };
        }
        let Some(row) = row else {
            let vouched_for = self.has(Fault::ChecksumAsProof) && checksum_holds(key);
            return if vouched_for { Ok(()) } else { Err(invalid()) };
        };
        if row.state == State::Revoked && self.has(Fault::BodyByReason) {
            return Err(self.invalid(value, ", error=\"invalid_token\"", "Revoked.", in_query));
        }
        if matches!(row.state, State::Revoked | State::Disabled) {
            return Err(invalid());
        }
        if self.is_expired(row) {
            let forbidden = self.has(Fault::StatusByReason);
            return Err(if forbidden {
                self.refusal(StatusCode::FORBIDDEN, ", error=\"invalid_token\"", in_query)
            } else {
                invalid()
            });
        }
        if !self.allows(row, caller) {
            let described = ", error=\"invalid_token\", error_description=\"address\"";
            return Err(if self.has(Fault::HeaderByReason) {
                self.invalid(value, described, "Not valid here.", in_query)
            } else {
                invalid()
            });
        }
        if !self.grants(row, policy) {
            let scopes = if policy.all_of.is_empty() { policy.any_of } else { policy.all_of };
            let challenge = format!(", error=\"insufficient_scope\", scope=\"{scopes}\"");
            return Err(self.refusal(StatusCode::FORBIDDEN, &challenge, in_query));
        }
        Ok(())
    }

    fn is_expired(&self, row: &Row) -> bool {
        let now = self.shared.clock.now();
        let Some(end) = row.expires_at else {
            return false;
        };
        if self.has(Fault::ExpiryInSeconds) {
            return now.with_nanosecond(0) > end.with_nanosecond(0);
        }
        if self.has(Fault::ExpiryOnLoadOnly) {
            let mut loaded = self.shared.expired_when_loaded.lock().unwrap();
            return *loaded.entry(row.key.clone()).or_insert(now >= end);
        }
        now >= end
    }

    fn allows(&self, row: &Row, caller: Option<IpAddr>) -> bool {
        let rules = row.allowed_ips.as_str();
        if self.has(Fault::WildcardByContains) && rules.contains("0.0.0.0") {
            return true;
        }
        if self.has(Fault::UnreadableRuleIgnored) && !row.allowed_ips.is_readable() {
            return true;
        }
        if self.has(Fault::AddressesAsText)
            && caller.is_some_and(|caller| caller.to_string().starts_with(rules))
        {
            return true;
        }
        // The rules themselves take mapped addresses for what they are.
        let mapped = caller.is_some_and(|caller| caller.to_canonical() != caller);
        row.allowed_ips.allows(if mapped { None } else { caller })
    }

    fn grants(&self, row: &Row, policy: Policy) -> bool {
        let has = |scope: &str| {
            row.scopes.split(' ').any(|own| own == scope)
                || (self.has(Fault::ScopeBySubstring) && row.scopes.contains(scope))
        };
        let mut all_of = policy.all_of.split_whitespace();
        let all = if self.has(Fault::AnyScopeForAll) {
            policy.all_of.is_empty() || all_of.any(has)
        } else {
            all_of.all(has)
        };
        all && (policy.any_of.is_empty() || policy.any_of.split(' ').any(has))
    }
}

/// 1 to 256 characters of `token68`.
fn is_key(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}

fn checksum_holds(key: &str) -> bool {
    let Some(body) = key.strip_prefix("ak_live_") else {
        return false;
    };
    if body.len() != 44 || !body.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return false;
    }
    let decoded = URL_SAFE_NO_PAD.decode(body).unwrap_or_default();
    decoded.len() == 33
        && crc32fast::hash(&[b"ak_live_", &decoded[..29]].concat()).to_be_bytes() == decoded[29..]
}

// ---- What is presented ---------------------------------------------------------------------------------------------------------------

impl Door {
    fn presented(&self, request: &HttpRequest) -> Presented {
        let headers = request.headers();
        let mut found: Vec<(Vec<u8>, bool)> = Vec::new();
        let lines: Vec<&[u8]> =
            headers.get_all("authorization").map(HeaderValue::as_bytes).collect();
        let bearers: Vec<&[u8]> = lines.iter().filter_map(|line| bearer(line)).collect();
        // A bearer is alone in its header, and a header comes once.
        let beside = if bearers.is_empty() { 0 } else { lines.len() - bearers.len() };
        found.extend(bearers.iter().map(|value| (value.to_vec(), false)));
        let mut names = vec!["x-api-key"];
        if self.has(Fault::UnderscoreIsHyphen) {
            names.push("x_api_key");
        }
        for name in names {
            found.extend(headers.get_all(name).map(|value| (value.as_bytes().to_vec(), false)));
        }
        if self.kind == Kind::Recipe || self.has(Fault::QueryNotEnabled) {
            found.extend(
                self.parameters(request.query_string()).into_iter().map(|value| (value, true)),
            );
        }
        if self.kind == Kind::Recipe {
            found.extend(cookies(request).into_iter().map(|value| (value, false)));
        }
        if self.has(Fault::EmptyIsNothing) {
            found.retain(|(value, _)| !value.is_empty());
        }
        if self.has(Fault::ConnectionRemembers)
            && let Some(connection) = request.peer_addr()
        {
            let mut remembered = self.shared.of_connections.lock().unwrap();
            match found.first() {
                Some((value, _)) => drop(remembered.insert(connection, value.clone())),
                None => {
                    found.extend(remembered.get(&connection).map(|value| (value.clone(), false)));
                }
            }
        }
        let several = found.len() + beside > 1 && !self.has(Fault::FirstOfTwoHeaders);
        match found.into_iter().next() {
            None => Presented::Nothing,
            Some(_) if several => Presented::Several,
            Some((value, in_query)) => Presented::One { value, in_query },
        }
    }

    /// The values of `key`; one that cannot be decoded is no key.
    fn parameters(&self, query: &str) -> Vec<Vec<u8>> {
        if self.has(Fault::QueryAsForm) {
            let form = web::Query::<HashMap<String, String>>::from_query(query);
            return form
                .ok()
                .and_then(|mut form| form.remove("key"))
                .map(String::into_bytes)
                .into_iter()
                .collect();
        }
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let values =
            pairs.filter(|(name, _)| decode(name.as_bytes()).is_some_and(|name| name == b"key"));
        let decoded = values.map(|(_, value)| {
            let once = decode(value.as_bytes());
            if self.has(Fault::DecodedTwice) { once.and_then(|once| decode(&once)) } else { once }
        });
        decoded.map(|value| value.unwrap_or_else(|| b"%".to_vec())).collect()
    }
}

/// The value of a bearer; none of another scheme. What begins with no scheme at all is a bearer that holds no key.
fn bearer(line: &[u8]) -> Option<&[u8]> {
    let is_token = |&byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (scheme, value) = line.split_at(end);
    if scheme.is_empty() || !scheme.iter().all(is_token) {
        return Some(b"");
    }
    scheme.eq_ignore_ascii_case(b"bearer").then(|| value.trim_ascii())
}

fn cookies(request: &HttpRequest) -> Vec<Vec<u8>> {
    let lines = request
        .headers()
        .get_all("cookie")
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    let named = lines.filter_map(|pair| pair.trim_ascii_start().strip_prefix(b"app_key="));
    named.map(<[u8]>::to_vec).collect()
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, tail) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |digit: &u8| char::from(*digit).to_digit(16);
                (u8::try_from(digit(high)? * 16 + digit(low)?).ok()?, tail)
            }
            (b'%', _) => return None,
            (byte, tail) => (byte, tail),
        };
        decoded.push(byte);
        rest = tail;
    }
    Some(decoded)
}

// ---- Where the caller is -------------------------------------------------------------------------------------------------------------

impl Door {
    fn caller(&self, request: &HttpRequest) -> Option<IpAddr> {
        let peer = request.peer_addr().map(|peer| {
            if self.has(Fault::MappedNotUnwrapped) { peer.ip() } else { peer.ip().to_canonical() }
        });
        let lines: Vec<String> = request
            .headers()
            .get_all("x-forwarded-for")
            .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
            .collect();
        let hops: Vec<&str> = lines
            .iter()
            .flat_map(|line| line.split(','))
            .map(|hop| hop.trim_matches([' ', '\t']))
            .collect();
        let leftmost = hops.first().and_then(|hop| hop.parse().ok());
        if self.has(Fault::ForwardedForWithoutProxies) && leftmost.is_some() {
            return leftmost;
        }
        if self.kind != Kind::Proxied || !peer.is_some_and(is_trusted) {
            return peer;
        }
        let hops = match self.shared.fault {
            Some(Fault::LeftmostForwardedFor) => return leftmost,
            Some(Fault::ProxyIsTheCaller) if hops.is_empty() => return peer,
            Some(Fault::OtherHeadersBelieved) if hops.is_empty() => {
                return request
                    .headers()
                    .get("x-real-ip")
                    .and_then(|value| value.to_str().ok()?.parse().ok());
            }
            Some(Fault::FirstForwardedForLine) => {
                lines.iter().take(1).flat_map(|line| line.split(',')).map(str::trim).collect()
            }
            Some(Fault::UnreadableHopSkipped) => {
                hops.into_iter().filter(|hop| hop_address(hop).is_some()).collect()
            }
            _ => hops,
        };
        for hop in hops.iter().rev().take(32) {
            let hop = hop_address(hop)?;
            if !is_trusted(hop) {
                return Some(hop);
            }
        }
        None
    }
}

fn is_trusted(address: IpAddr) -> bool {
    matches!(address.to_canonical(), IpAddr::V4(address) if matches!(address.octets(), [127, 0, 0, 1] | [10, 0, 1, _]))
}

/// An address, or one with a port.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let address = hop.parse::<IpAddr>().ok().or_else(|| {
        let bracketed = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']'));
        match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6),
            None => hop.parse::<SocketAddr>().ok().map(|address| address.ip()),
        }
    })?;
    Some(address.to_canonical())
}

// ---- Refusals ------------------------------------------------------------------------------------------------------------------------

impl Door {
    fn invalid(&self, key: &[u8], parameters: &str, detail: &str, in_query: bool) -> HttpResponse {
        if self.has(Fault::KeyEchoed) {
            let key: String = key
                .iter()
                .filter(|byte| byte.is_ascii_alphanumeric())
                .map(|&byte| char::from(byte))
                .collect();
            return self.problem(
                StatusCode::UNAUTHORIZED,
                Some(parameters),
                &format!("{key} is not valid."),
                in_query,
            );
        }
        self.problem(StatusCode::UNAUTHORIZED, Some(parameters), detail, in_query)
    }

    fn refusal(&self, status: StatusCode, parameters: &str, in_query: bool) -> HttpResponse {
        self.problem(status, Some(parameters), "Refused.", in_query)
    }

    fn problem(
        &self,
        status: StatusCode,
        parameters: Option<&str>,
        detail: &str,
        in_query: bool,
    ) -> HttpResponse {
        let mut response = HttpResponse::build(status);
        response
            .content_type("application/problem+json")
            .insert_header(("X-Content-Type-Options", "nosniff"));
        if let Some(parameters) = parameters.filter(|_| !self.has(Fault::NoChallenge)) {
            response
                .insert_header(("WWW-Authenticate", format!("Bearer realm=\"model\"{parameters}")));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header(("Retry-After", "1"));
        }
        let body = format!(
            r#"{{"type":"about:blank","title":"{}","status":{},"detail":"{detail}"}}"#,
            status.canonical_reason().unwrap_or_default(),
            status.as_u16()
        );
        self.finish(response.body(body), in_query, "no-store")
    }
}
