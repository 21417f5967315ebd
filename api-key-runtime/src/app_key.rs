//! The verified key, as the handler sees it.

use std::{
    fmt,
    future::{Ready, ready},
    net::IpAddr,
    sync::Arc,
};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest, HttpResponse, ResponseError, dev::Payload,
    http::StatusCode,
};
use chrono::{DateTime, Utc};

use crate::{
    app_keys::KeySetId, cache::CachedKey, log, log_throttle::LogThrottle, rejection::misconfigured,
    request::route_of, scope::ScopeSet,
};

/// Routes of which it was said that nothing checks their keys.
static LOGGED: LogThrottle<String> = LogThrottle::new();

/// The key a request was let through with: an extractor for handlers below `#[require_app_key]` or
/// [`RequireAppKey`](crate::RequireAppKey).
///
/// A handler that waits for the body of a request gets the key as it was when the request arrived.
/// The request is checked once more when the body is there.
///
/// It never authenticates by itself. On a route without either it answers 500 and logs what is
/// missing; an `Option<AppKey>` there is always `None`. In a middleware,
/// [`AppKeyExt::app_key`](crate::AppKeyExt::app_key) gives the key.
///
/// ```
/// use actix_web::get;
/// use api_key_runtime::{AppKey, require_app_key};
///
/// #[get("/whoami")]
/// #[require_app_key]
/// async fn whoami(key: AppKey) -> String {
///     format!("{} from {:?}", key.name(), key.client_ip())
/// }
/// ```
#[derive(Clone)]
pub struct AppKey {
    key: Arc<CachedKey>,
    client_ip: Option<IpAddr>,
    /// Which set of keys it is of.
    set: KeySetId,
}

impl AppKey {
    pub(crate) fn new(key: Arc<CachedKey>, client_ip: Option<IpAddr>, set: KeySetId) -> Self {
        Self { key, client_ip, set }
    }

    /// Whether it is the key of this id in this set, however often it was read: two sets may have
    /// keys of the same id.
    pub(crate) fn is(&self, id: i64, set: KeySetId) -> bool {
        (self.key.id, self.set) == (id, set)
    }

    /// The id that logs and the command name it by.
    #[must_use]
    pub fn id(&self) -> i64 {
        self.key.id
    }

    /// Returns the first characters of the key, by which logs and the command show it: never enough
    /// to present it.
    #[must_use]
    pub fn hint(&self) -> &str {
        self.key.hint()
    }

    /// What it was issued for.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.name()
    }

    /// The application's own user, where the key was issued for one.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.key.owner()
    }

    /// What it may be used for.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.key.scopes
    }

    /// Whether it has this very scope.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.key.scopes.contains(scope)
    }

    /// From when on it is refused; `None` is never.
    #[must_use]
    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.key.expires_at
    }

    /// Where this request came from; `None` where that is unknown, as on a Unix socket.
    #[must_use]
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.client_ip
    }
}

/// What its methods tell.
impl fmt::Debug for AppKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AppKey")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("owner", &self.owner())
            .field("scopes", self.scopes())
            .field("expires_at", &self.expires_at())
            .field("client_ip", &self.client_ip())
            .finish()
    }
}

/// In a request's extensions: the attribute was there and let it pass without a key.
pub(crate) struct Anonymous;

impl FromRequest for AppKey {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let extensions = request.extensions();
        if let Some(key) = extensions.get::<Self>() {
            return ready(Ok(key.clone()));
        }
        let optional = extensions.get::<Anonymous>().is_some();
        ready(Err(NoAppKey { route: route_of(request), optional }.into()))
    }
}

/// The handler takes an `AppKey`, and there is none.
#[derive(Debug)]
struct NoAppKey {
    route: String,
    optional: bool,
}

impl fmt::Display for NoAppKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("no key was checked for this route")
    }
}

impl ResponseError for NoAppKey {
    fn status_code(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    /// Logs, because only an error that becomes a response is a mistake. `Option<AppKey>` is `None`
    /// without one, also in a middleware that asks after a public or a rejected request.
    fn error_response(&self) -> HttpResponse {
        if LOGGED.should_log(self.route.clone()) {
            log::error!("{}", self.mistake());
        }
        misconfigured()
    }
}

impl NoAppKey {
    fn mistake(&self) -> String {
        let route = &self.route;
        if self.optional {
            format!(
                "the handler of {route} takes an AppKey, which there is none of for a caller without a key: below \
                 #[require_app_key(optional)] or RequireAppKey::new().optional() take an Option<AppKey>"
            )
        } else {
            format!(
                "the handler of {route} takes an AppKey but has no #[require_app_key], and no RequireAppKey is wrapped around it, so it was \
                 not run with one"
            )
        }
    }
}
