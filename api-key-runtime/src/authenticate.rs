//! The join of everything a guarded request passes through: request, credential, digest, record, verdict, response.

use std::{future::Future, net::IpAddr, pin::Pin, sync::Arc};

use actix_web::{
    FromRequest, Handler, HttpMessage as _, HttpRequest, HttpResponse, Responder, web,
};

use crate::{
    AppKey, AppKeys, Digest, Policy,
    app_key::PassedWithoutKey,
    app_keys,
    cache::Probe,
    clock::Moment,
    key::Digests,
    known_key::KnownKey,
    refusal_log::RefusalLog,
    request::{Presented, present},
    response::{Mark, at_handler, marked, misconfigured},
    verdict::{Reason, judge},
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
        let admitted = match authenticate(policy, &request).await {
            Ok(admitted) => admitted,
            Err(refusal) => return at_handler(refusal),
        };
        let mut payload = payload.into_inner();
        let mut response = match Args::from_request(&request, &mut payload).await {
            Ok(arguments) => handler
                .call(arguments)
                .await
                .respond_to(&request)
                .map_into_boxed_body(),
            Err(error) => HttpResponse::from_error(error),
        };
        admitted.finish(&mut response);
        response
    })
}

/// A request that was let through, and what its response needs.
#[must_use = "the response of a guarded handler is finished"]
pub(crate) struct Admitted {
    keys: AppKeys,
    in_query: bool,
}

impl Admitted {
    pub(crate) fn finish<B>(&self, response: &mut HttpResponse<B>) {
        self.keys.inner().responses.finish(response, self.in_query);
    }
}

/// Lets a request through, with its key in the extensions, or answers the refusal. Neither reads a byte of the body.
pub(crate) async fn authenticate(
    policy: &Policy,
    request: &HttpRequest,
) -> Result<Admitted, HttpResponse> {
    let Some(keys) = app_keys::of(request) else {
        return Err(marked(misconfigured(), Mark::NoAppKeys));
    };
    let inner = keys.inner();
    let peer = request.peer_addr().map(|peer| peer.ip());
    let address = inner.callers.address(peer, request.headers());
    let refuse = |reason: Reason, in_query: bool, key: Option<&KnownKey>| {
        inner.refusal_log.refused(reason, request, address, key);
        if reason == Reason::WrongAddress && !inner.callers.trust_proxies() {
            hint_at_proxy(&inner.refusal_log, address, request);
        }
        inner.responses.refusal(reason.class(), policy, in_query)
    };
    let (key, in_query) = match present(&inner.sources, request.headers(), request.query_string()) {
        Presented::Key { key, in_query } => (key, in_query),
        Presented::Nothing if policy.is_optional() => {
            let mut extensions = request.extensions_mut();
            // An outer scope may have other keys and have found one of them, which is no key of these.
            extensions.remove::<AppKey>();
            extensions.insert(PassedWithoutKey);
            return Ok(Admitted {
                keys,
                in_query: false,
            });
        }
        Presented::Nothing => return Err(refuse(Reason::NoKey, false, None)),
        Presented::Malformed { in_query } => return Err(refuse(Reason::Malformed, in_query, None)),
        Presented::Several => {
            // One of them may stand in the query, where the application reads it.
            let in_query = inner.sources.query_names().next().is_some();
            return Err(refuse(Reason::SeveralCredentials, in_query, None));
        }
    };
    match admit(&keys, policy, &key, address).await {
        Ok((known, arrived)) => {
            let key = AppKey::new(Arc::clone(&known), address);
            let outer = request.extensions_mut().insert(key);
            // Where one guard stands within another, the request is one use.
            let is_counted = outer.is_some_and(|outer| outer.is(&known));
            if let Some(usage) = &inner.usage
                && !is_counted
            {
                usage.note(&known, arrived, address);
            }
            Ok(Admitted { keys, in_query })
        }
        Err((reason, known)) => Err(refuse(reason, in_query, known.as_deref())),
    }
}

/// A bound key refused to a private peer that forwards for somebody: probably a proxy nobody told us of.
fn hint_at_proxy(log: &RefusalLog, address: Option<IpAddr>, request: &HttpRequest) {
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

/// Credential, digest, record, verdict: the key, and when the request came to be judged. A refusal comes with the key it is about, for
/// the log.
async fn admit(
    keys: &AppKeys,
    policy: &Policy,
    key: &str,
    address: Option<IpAddr>,
) -> Result<(Arc<KnownKey>, Moment), (Reason, Option<Arc<KnownKey>>)> {
    let inner = keys.inner();
    let digest = inner.digester.digest(key);
    // The lease before the entry it vouches for, and both after the request arrived: see `cache`.
    let lease = inner.cache.lease();
    let now = Moment::now();
    let (known, digest) = match inner.cache.probe(&digest, lease, now) {
        Probe::Known(known) => (known, digest),
        // Boxed, so that a request that hits carries none of it along.
        probe => Box::pin(look_up(inner, key, (digest, probe), lease, now))
            .await
            .map_err(|reason| (reason, None))?,
    };
    match judge(&known, policy, address, || inner.clock.now()) {
        Ok(()) => Ok((known, now)),
        Err(reason) => {
            if reason == Reason::Expired {
                inner.cache.ended(&digest, &known, now);
            }
            Err((reason, Some(known)))
        }
    }
}

/// A key that is not known under its current digest: under the previous one, or in the store.
async fn look_up(
    inner: &app_keys::Inner,
    key: &str,
    (current, probe): (Digest, Probe),
    lease: Moment,
    now: Moment,
) -> Result<(Arc<KnownKey>, Digest), Reason> {
    let previous = inner
        .digester
        .previous_digest(key)
        .map(|digest| (digest, inner.cache.probe(&digest, lease, now)));
    let digests = Digests {
        current,
        previous: previous.as_ref().map(|(digest, _)| *digest),
    };
    let outdated = match (probe, previous) {
        (Probe::Unknown, Some((digest, Probe::Known(known)))) => return Ok((known, digest)),
        (Probe::Unknown, None | Some((_, Probe::Unknown))) => return Err(Reason::Unknown),
        (Probe::Outdated(outdated), _) => Some((outdated, current)),
        (_, Some((digest, Probe::Outdated(outdated)))) => Some((outdated, digest)),
        _ => None,
    };
    // A hit proves the key, so its checksum is computed only now.
    if !inner.form.admits(key) {
        return Err(Reason::Malformed);
    }
    inner
        .lookups
        .find(digests, outdated)
        .await?
        .ok_or(Reason::Unknown)
}
