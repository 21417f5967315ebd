//! The check of one request: credential, digest, cached entry or lookup, authorization, response.

mod entry;
mod middleware;

use std::{borrow::Cow, future::Future, net::IpAddr, pin::Pin, sync::Arc};

use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use chrono::{DateTime, Utc};

pub use self::{
    entry::{AnAttributeBelowRemovedTheHandler, BoxFuture, UncheckedRequest, authenticated},
    middleware::RequireAppKey,
};
use crate::{
    app_key::{Anonymous, AppKey},
    app_keys,
    app_keys::AppKeys,
    authorize::authorize,
    cache::{Cached, CachedKey, View},
    clock::MonotonicTime,
    key::{Digests, KeyDigest, are_key_characters},
    log,
    log_throttle::LogThrottle,
    lookup::{Resolution, resolve},
    metrics::{DecidedBy, Outcome},
    policy::Policy,
    rejection::{AcceptedHeaders, Mark, Reason, RejectionLog, marked, misconfigured, set_expiry},
    request::{Credential, extract, ignored, route_of},
};

/// The optional routes for which the warning about a credential outside the key locations was
/// logged.
static LOGGED: LogThrottle<String> = LogThrottle::new();

/// The response to a rejected request. The response is boxed, so that the future of an accepted
/// request reserves no space for a response.
pub(crate) type Rejection = Box<HttpResponse>;

/// The result of an accepted check: the values that determine the headers of the response.
#[must_use = "pass the response of the guarded handler to `finish`, which sets its headers"]
#[derive(Clone, Copy)]
pub(crate) struct Access {
    headers: AcceptedHeaders,
    /// Whether the credential may be in the query.
    in_query: bool,
    /// The expiry of the key, if the response includes the expiry.
    expires_at: Option<DateTime<Utc>>,
}

impl Access {
    /// Sets the headers that every response of a guarded handler carries.
    #[inline]
    pub(crate) fn finish<B>(self, response: &mut HttpResponse<B>) {
        self.headers.set(response, self.in_query);
        if let Some(expires_at) = self.expires_at {
            set_expiry(response, expires_at);
        }
    }
}

/// Checks a request. Inserts the accepted key into the request extensions, or returns the
/// rejection. Never reads the body.
pub(crate) async fn authenticate<'a>(
    policy: &'a Policy,
    request: &'a HttpRequest,
) -> Result<Access, Rejection> {
    check(policy, request, Round::First).await
}

/// Checks an accepted request again after its extractors have waited. Both checks together count as
/// one request and one use.
#[cold]
pub(crate) fn authenticate_again<'a>(
    policy: &'a Policy,
    request: &'a HttpRequest,
) -> Pin<Box<dyn Future<Output = Result<Access, Rejection>> + 'a>> {
    Box::pin(async move {
        let checked = check(policy, request, Round::Again).await;
        if checked.is_err() {
            // A rejected key must not be visible to outer middlewares or in the access log.
            request.extensions_mut().remove::<AppKey>();
        }
        checked
    })
}

#[inline]
async fn check<'a>(
    policy: &'a Policy,
    request: &'a HttpRequest,
    round: Round,
) -> Result<Access, Rejection> {
    let Some(keys) = app_keys::of(request) else {
        return Err(Box::new(marked(misconfigured(), Mark::NoAppKeys)));
    };
    // `begin` is a separate function, so that the future does not store a `Check` across the await.
    let (step, in_query) = begin(keys, policy, request, round);
    match step {
        Step::Accepted => {}
        Step::Rejected(rejection) => return Err(rejection),
        Step::LookUp(look_up) => look_up.await?,
    }
    let has_expiry = keys.inner().responses.has_expiry();
    let expires_at = if has_expiry { expiry_of(request) } else { None };
    Ok(Access { headers: keys.inner().responses.headers(), in_query, expires_at })
}

/// Returns the expiry of the accepted key, or `None` for a request without a key.
#[cold]
fn expiry_of(request: &HttpRequest) -> Option<DateTime<Utc>> {
    request.extensions().get::<AppKey>().and_then(AppKey::expires_at)
}

/// The first check of a request, or the check after its extractors have waited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    First,
    Again,
}

/// The result of a check before any lookup.
enum Step<'a> {
    Accepted,
    Rejected(Rejection),
    /// The key is not a cache hit. The future is boxed, so that a cache hit reserves no space for
    /// the lookup.
    LookUp(Pin<Box<dyn Future<Output = Result<(), Rejection>> + 'a>>),
}

/// Begins the check. Returns the next step, and whether the credential may be in the query.
#[inline]
fn begin<'a>(
    keys: &'a AppKeys,
    policy: &'a Policy,
    request: &'a HttpRequest,
    round: Round,
) -> (Step<'a>, bool) {
    let inner = keys.inner();
    let locations = &inner.key_locations;
    let credential = extract(locations, request.headers(), request.query_string());
    let in_query = credential.may_be_in_query(locations);
    let check = Check { keys, policy, request, in_query, round };
    let step = match credential {
        Credential::Key { key, .. } => check.with_key(key),
        Credential::Nothing => check.without_credential(),
        Credential::Malformed { .. } => check.unreadable(Reason::Malformed),
        Credential::Several => check.unreadable(Reason::SeveralKeys),
    };
    (step, in_query)
}

/// One request at one guard.
#[derive(Clone, Copy)]
struct Check<'a> {
    keys: &'a AppKeys,
    policy: &'a Policy,
    request: &'a HttpRequest,
    in_query: bool,
    round: Round,
}

impl<'a> Check<'a> {
    #[inline]
    fn with_key(self, key: Cow<'a, [u8]>) -> Step<'a> {
        let inner = self.keys.inner();
        let digest = inner.digester.digest(&key);
        let view = inner.cache.view();
        match view.get(&digest) {
            Cached::Hit(key) => {
                match self.authorize(Found { key, by: DecidedBy::Cache }, view.now()) {
                    Ok(()) => Step::Accepted,
                    Err(rejection) => Step::Rejected(rejection),
                }
            }
            cached => Step::LookUp(Box::pin(async move {
                match look_up(inner, &key, (digest, cached), view).await {
                    // The lookup took time, so the clock is read again.
                    Ok(found) => self.authorize(found, MonotonicTime::now()),
                    Err((reason, by)) => Err(self.reject(reason, by, None)),
                }
            })),
        }
    }

    #[inline(never)]
    fn without_credential(self) -> Step<'a> {
        if !self.policy.is_optional() {
            return self.unreadable(Reason::NoKey);
        }
        if self.round == Round::Again {
            return Step::Accepted;
        }
        self.log_ignored();
        let mut extensions = self.request.extensions_mut();
        // An outer guard may have inserted a key of another key set.
        extensions.remove::<AppKey>();
        extensions.insert(Anonymous);
        self.keys.inner().counters.count(Outcome::AcceptedWithoutKey, DecidedBy::Request);
        Step::Accepted
    }

    /// Logs, at most once an hour for each optional route, that a request without a key had a
    /// credential outside the key locations.
    fn log_ignored(self) {
        let Some(ignored) = ignored(self.request.headers()) else { return };
        let route = route_of(self.request);
        if LOGGED.should_log(route.clone()) {
            log::warn!(
                "{route} accepted a request without a key: {ignored}; if this is where callers send keys, add it to AppKeysBuilder::key_locations"
            );
        }
    }

    /// Rejects a request that does not have exactly one credential of valid length.
    #[inline(never)]
    fn unreadable(self, reason: Reason) -> Step<'a> {
        Step::Rejected(self.reject(reason, DecidedBy::Request, None))
    }

    /// Decides whether this guard accepts the found key at the time `now`.
    #[inline]
    fn authorize(&self, found: Found, now: MonotonicTime) -> Result<(), Rejection> {
        let inner = self.keys.inner();
        let Found { key, by } = found;
        let client_ip = inner.trusted_proxies.client_ip_of(self.request);
        if let Err(reason) =
            authorize(&key, self.policy.required(), client_ip, || inner.clock.at(now))
        {
            return Err(self.reject(reason, by, Some(&key)));
        }
        if self.round == Round::First {
            inner.counters.count(Outcome::Accepted, by);
        }
        let mut extensions = self.request.extensions_mut();
        if let Some(usage) = &inner.usage
            // With nested guards, one request counts as one use.
            && extensions.get::<AppKey>().is_none_or(|outer| !outer.is(key.id, inner.number))
        {
            usage.note(&key, now, client_ip);
        }
        extensions.insert(AppKey::new(key, client_ip, inner.number));
        Ok(())
    }

    #[cold]
    #[expect(clippy::unnecessary_box_returns, reason = "see `Rejection`")]
    fn reject(&self, reason: Reason, by: DecidedBy, key: Option<&CachedKey>) -> Rejection {
        let inner = self.keys.inner();
        // Only the first check of a request is counted.
        if self.round == Round::First {
            inner.counters.count(Outcome::Rejected(reason), by);
        }
        // A `ClientIp` does not contain the cause of an unknown client IP.
        let peer = self.request.peer_addr().map(|peer| peer.ip());
        let client_ip = inner.trusted_proxies.client_ip(peer, self.request.headers());
        inner.rejection_log.rejected(reason, self.request, client_ip, key);
        if reason == Reason::AddressNotAllowed && !inner.trusted_proxies.are_configured() {
            hint_at_proxy(&inner.rejection_log, client_ip.ok(), self.request);
        }
        Box::new(inner.responses.rejection(reason.kind(), self.policy, self.in_query))
    }
}

/// Logs a hint if the client IP of a rejected key is a private or loopback address and the request
/// has `X-Forwarded-For`. The peer is then probably a proxy that is missing in `trusted_proxies`.
fn hint_at_proxy(log: &RejectionLog, client_ip: Option<IpAddr>, request: &HttpRequest) {
    let private = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_loopback(),
    };
    if let Some(peer) = client_ip.filter(private)
        && request.headers().contains_key("x-forwarded-for")
    {
        log.hint_at_proxy(peer);
    }
}

/// The key of a request, and where the key was found.
struct Found {
    key: Arc<CachedKey>,
    by: DecidedBy,
}

/// Finds a key that is not a cache hit under its current digest. Looks in the cache under the
/// previous digest, then in the store.
async fn look_up(
    inner: &app_keys::Inner,
    key: &[u8],
    (current, cached): (KeyDigest, Cached),
    view: View<'_>,
) -> Result<Found, (Reason, DecidedBy)> {
    let previous = inner.digester.previous_digest(key);
    let cached_previous = previous.map(|digest| view.get(&digest));
    let priority = match resolve(cached, cached_previous) {
        Resolution::Found(key) => return Ok(Found { key, by: DecidedBy::Cache }),
        Resolution::Unknown => return Err((Reason::Unknown, DecidedBy::Cache)),
        Resolution::LookUp(priority) => priority,
    };
    // The characters and the checksum are checked only here, because a cache hit proves that the
    // key is well-formed. A malformed key is rejected before the lookup, so it gets no negative
    // entry.
    if !is_well_formed(inner, key) {
        return Err((Reason::Malformed, DecidedBy::Request));
    }
    let by = DecidedBy::Store;
    match inner.lookups.find(Digests { current, previous }, priority).await {
        Ok(Some(key)) => Ok(Found { key, by }),
        Ok(None) => Err((Reason::Unknown, by)),
        Err(reason) => Err((reason, by)),
    }
}

fn is_well_formed(inner: &app_keys::Inner, key: &[u8]) -> bool {
    are_key_characters(key)
        && std::str::from_utf8(key).is_ok_and(|key| inner.format_rules.accepts(key))
}
