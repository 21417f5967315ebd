//! The join of everything a guarded request passes through: request, credential, digest, record, verdict, response.

use std::{borrow::Borrow, future::Future, net::IpAddr, pin::Pin, sync::Arc};

use actix_web::{
    FromRequest, Handler, HttpMessage as _, HttpRequest, HttpResponse, Responder, web,
};

use crate::{
    AppKey, AppKeys, KeyDigest,
    app_key::Anonymous,
    app_keys,
    authorize::authorize,
    cache::{Cached, CachedKey, View},
    clock::MonotonicTime,
    key::Digests,
    lookup::Priority,
    metrics::{JudgedBy, Outcome},
    policy::Policy,
    rejection::Reason,
    rejection::RejectionLog,
    rejection::{Mark, at_handler, marked, misconfigured},
    request::{Credential, extract},
};

/// What the attribute's outer function returns.
pub type BoxFuture = Pin<Box<dyn Future<Output = HttpResponse>>>;

/// What actix-web takes for a handler. Only the words are ours: of a function that returns no future the compiler would say that it
/// lacks a trait with an argument it cannot name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler",
    label = "no handler",
    note = "a handler is an `async fn`, or a function that returns a future: write `async fn`"
)]
pub trait ProtectedHandler<Args>: 'static {
    type Output;
    type Future: Future<Output = Self::Output>;

    fn call(&self, arguments: Args) -> Self::Future;
}

#[diagnostic::do_not_recommend]
impl<F: Handler<Args>, Args> ProtectedHandler<Args> for F {
    type Output = F::Output;
    type Future = F::Future;

    fn call(&self, arguments: Args) -> Self::Future {
        Handler::call(self, arguments)
    }
}

/// Authenticates, and only then runs the extractors and the handler. Called by what the attribute expands to.
pub fn authenticated<F, Args, Answer>(
    policy: &'static Policy,
    request: HttpRequest,
    payload: web::Payload,
    handler: F,
) -> BoxFuture
where
    F: ProtectedHandler<Args, Output = Answer>,
    Args: FromRequest + 'static,
    Answer: Responder + 'static,
{
    Box::pin(async move {
        let access = match authenticate(policy, &request).await {
            Ok(access) => access,
            Err(rejection) => return at_handler(*rejection),
        };
        let mut payload = payload.into_inner();
        let mut response = match Args::from_request(&request, &mut payload).await {
            Ok(arguments) => {
                handler.call(arguments).await.respond_to(&request).map_into_boxed_body()
            }
            Err(error) => HttpResponse::from_error(error),
        };
        access.finish(&mut response);
        response
    })
}

/// What a refused request is answered. Boxed, so that a request that passes does not move the room for it about.
pub(crate) type Rejection = Box<HttpResponse>;

/// A request that was let through, and what its response needs.
#[must_use = "the response of a guarded handler is finished"]
pub(crate) struct Access<K = AppKeys> {
    keys: K,
    in_query: bool,
}

impl<K: Borrow<AppKeys>> Access<K> {
    pub(crate) fn finish<B>(&self, response: &mut HttpResponse<B>) {
        let inner = self.keys.borrow().inner();
        inner.responses.finish(response, self.in_query);
    }
}

impl Access<&AppKeys> {
    /// For who hands the request on, of which this borrows, before there is a response.
    pub(crate) fn detach(&self) -> Access {
        Access { keys: self.keys.clone(), in_query: self.in_query }
    }
}

/// Lets a request through, with its key in the extensions, or answers the rejection. The body is not read.
pub(crate) async fn authenticate<'a>(
    policy: &'a Policy,
    request: &'a HttpRequest,
) -> Result<Access<&'a AppKeys>, Rejection> {
    let Some(keys) = app_keys::of(request) else {
        return Err(Box::new(marked(misconfigured(), Mark::NoAppKeys)));
    };
    // Gone before anything is awaited: what lives across an await is kept in the future, and moved about with it.
    let step = Check::new(keys, policy, request).begin();
    match step {
        Step::Done(in_query) => Ok(Access { keys, in_query }),
        Step::Rejected(rejection) => Err(rejection),
        Step::Lookup(look_up) => {
            let in_query = look_up.await?;
            Ok(Access { keys, in_query })
        }
    }
}

/// One request at one guard.
#[derive(Clone, Copy)]
struct Check<'a> {
    keys: &'a AppKeys,
    policy: &'a Policy,
    request: &'a HttpRequest,
    address: Option<IpAddr>,
}

/// How far a check came without waiting.
enum Step<'a> {
    /// Whether the credential stands in the query.
    Done(bool),
    Rejected(Rejection),
    /// What this process does not know by itself. Boxed, so that a request that hits carries none of it along.
    Lookup(Pin<Box<dyn Future<Output = Result<bool, Rejection>> + 'a>>),
}

impl<'a> Check<'a> {
    #[inline]
    fn new(keys: &'a AppKeys, policy: &'a Policy, request: &'a HttpRequest) -> Self {
        let peer = request.peer_addr().map(|peer| peer.ip());
        Self {
            keys,
            policy,
            request,
            address: keys.inner().trusted_proxies.client_ip(peer, request.headers()),
        }
    }

    /// Credential, digest, record, verdict. Not part of a future: what one of these keeps, it keeps in memory, and moves about.
    #[inline]
    fn begin(&self) -> Step<'a> {
        let inner = self.keys.inner();
        let (headers, query) = (self.request.headers(), self.request.query_string());
        let (key, in_query) = match extract(&inner.key_locations, headers, query) {
            Credential::Key { key, in_query } => (key, in_query),
            other => return self.without_key(&other),
        };
        let digest = inner.digester.digest(&key);
        let view = inner.cache.view();
        let now = view.now();
        match view.get(&digest) {
            Cached::Hit(known) => {
                let found = Found { known, digest, by: JudgedBy::Cache };
                match self.authorize_found(found, now, in_query) {
                    Ok(()) => Step::Done(in_query),
                    Err(rejection) => Step::Rejected(rejection),
                }
            }
            probe => {
                let check = *self;
                Step::Lookup(Box::pin(async move {
                    match look_up(inner, &key, (digest, probe), view).await {
                        Ok(found) => check.authorize_found(found, now, in_query)?,
                        Err((reason, by)) => return Err(check.reject(reason, by, in_query, None)),
                    }
                    Ok(in_query)
                }))
            }
        }
    }

    /// Nothing that could be a key was presented.
    #[inline(never)]
    fn without_key(&self, presented: &Credential<'_>) -> Step<'a> {
        let (reason, in_query) = match *presented {
            Credential::Nothing if self.policy.is_optional() => {
                let mut extensions = self.request.extensions_mut();
                // An outer scope may have other keys and have found one of them, which is no key of these.
                extensions.remove::<AppKey>();
                extensions.insert(Anonymous);
                let counters = &self.keys.inner().counters;
                counters.count(Outcome::AcceptedWithoutKey, JudgedBy::Request);
                return Step::Done(false);
            }
            Credential::Nothing => (Reason::NoKey, false),
            Credential::Malformed { in_query } | Credential::Key { in_query, .. } => {
                (Reason::Malformed, in_query)
            }
            // One of them may stand in the query, where the application reads it.
            Credential::Several => {
                let in_query = self.keys.inner().key_locations.query_names().next().is_some();
                (Reason::SeveralKeys, in_query)
            }
        };
        Step::Rejected(self.reject(reason, JudgedBy::Request, in_query, None))
    }

    /// The verdict on a key that was found.
    #[inline]
    fn authorize_found(
        &self,
        found: Found,
        now: MonotonicTime,
        in_query: bool,
    ) -> Result<(), Rejection> {
        let inner = self.keys.inner();
        let Found { known, digest, by } = found;
        if let Err(reason) = authorize(&known, self.policy, self.address, || inner.clock.now()) {
            if reason == Reason::Expired {
                inner.cache.note_expired(&digest, &known, now);
            }
            return Err(self.reject(reason, by, in_query, Some(&known)));
        }
        inner.counters.count(Outcome::Accepted, by);
        let mut extensions = self.request.extensions_mut();
        if let Some(usage) = &inner.usage
            // Where one guard stands within another, the request is one use.
            && extensions.get::<AppKey>().is_none_or(|outer| !outer.is(known.id, inner.number))
        {
            usage.note(&known, now, self.address);
        }
        extensions.insert(AppKey::new(known, self.address, inner.number));
        Ok(())
    }

    #[cold]
    #[expect(clippy::unnecessary_box_returns, reason = "see `Rejection`")]
    fn reject(
        &self,
        reason: Reason,
        by: JudgedBy,
        in_query: bool,
        key: Option<&CachedKey>,
    ) -> Rejection {
        let inner = self.keys.inner();
        inner.counters.count(Outcome::Rejected(reason), by);
        inner.rejection_log.rejected(reason, self.request, self.address, key);
        if reason == Reason::WrongAddress && !inner.trusted_proxies.are_configured() {
            hint_at_proxy(&inner.rejection_log, self.address, self.request);
        }
        Box::new(inner.responses.rejection(reason.kind(), self.policy, in_query))
    }
}

/// A bound key refused to a private peer that forwards for somebody: probably a proxy nobody told us of.
fn hint_at_proxy(log: &RejectionLog, address: Option<IpAddr>, request: &HttpRequest) {
    let private = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_loopback(),
    };
    if let Some(peer) = address.filter(private)
        && request.headers().contains_key("x-forwarded-for")
    {
        log.hint_at_proxy(peer);
    }
}

/// A key, the digest it stands under, and how it was found.
struct Found {
    known: Arc<CachedKey>,
    digest: KeyDigest,
    by: JudgedBy,
}

/// A key that is not known under its current digest: under the previous one, or in the store.
async fn look_up(
    inner: &app_keys::Inner,
    key: &[u8],
    (current, probe): (KeyDigest, Cached),
    view: View<'_>,
) -> Result<Found, (Reason, JudgedBy)> {
    let previous = inner.digester.previous_digest(key).map(|digest| (digest, view.get(&digest)));
    let digests = Digests { current, previous: previous.as_ref().map(|(digest, _)| *digest) };
    let priority = match (probe, previous) {
        (Cached::NegativeHit, Some((digest, Cached::Hit(known)))) => {
            let by = JudgedBy::Cache;
            return Ok(Found { known, digest, by });
        }
        (Cached::NegativeHit, None | Some((_, Cached::NegativeHit))) => {
            return Err((Reason::Unknown, JudgedBy::Cache));
        }
        // Good under the previous digest is not enough: a revoked one may stand under the current.
        (Cached::Stale, _) | (_, Some((_, Cached::Hit(_) | Cached::Stale))) => Priority::Known,
        _ => Priority::Unknown,
    };
    // A hit proves the key, so its checksum is computed only now.
    if !std::str::from_utf8(key).is_ok_and(|key| inner.form.admits(key)) {
        return Err((Reason::Malformed, JudgedBy::Request));
    }
    let by = JudgedBy::Store;
    match inner.lookups.find(digests, priority).await {
        Ok(Some((known, digest))) => Ok(Found { known, digest, by }),
        Ok(None) => Err((Reason::Unknown, by)),
        Err(reason) => Err((reason, by)),
    }
}
