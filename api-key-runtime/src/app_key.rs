//! The verified key, which handlers take as an argument.

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
    app_keys::KeySetId, cache::CachedKey, client_ip::ClientIp, log, log_throttle::LogThrottle,
    rejection::misconfigured, request::route_of, scope::ScopeSet,
};

/// The routes for which a missing key was logged.
static LOGGED: LogThrottle<String> = LogThrottle::new();

/// The verified API key of the current request.
///
/// A handler that is protected by `#[require_app_key]` or [`RequireAppKey`](crate::RequireAppKey)
/// takes the key as an argument. A middleware calls
/// [`AppKeyExt::app_key`](crate::AppKeyExt::app_key).
///
/// This extractor does not check keys. If no check has accepted a key for the request, the response
/// is 500 and an error is logged. An `Option<AppKey>` is `None` in this case.
///
/// An `AppKey` holds the fields that the key had when the request was accepted. If the extractors
/// of a handler with `#[require_app_key]` waited, for example for the body, the key is checked
/// again before the handler runs.
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
#[doc(alias = "extractor")]
#[doc(alias = "identity")]
#[doc(alias = "principal")]
#[derive(Clone)]
pub struct AppKey {
    key: Arc<CachedKey>,
    client_ip: ClientIp,
    /// The key set that the key belongs to.
    set: KeySetId,
}

impl AppKey {
    pub(crate) fn new(key: Arc<CachedKey>, client_ip: ClientIp, set: KeySetId) -> Self {
        Self { key, client_ip, set }
    }

    /// Returns whether this is the key with this id in this key set. Two sets may have keys with
    /// the same id.
    pub(crate) fn is(&self, id: i64, set: KeySetId) -> bool {
        (self.key.id, self.set) == (id, set)
    }

    /// Returns the id of the key, as shown in logs and by the command `app-key`.
    #[must_use]
    pub fn id(&self) -> i64 {
        self.key.id
    }

    /// Returns the first characters of the key, as shown in logs and by the command `app-key`.
    /// These characters alone are not a valid key.
    #[must_use]
    pub fn hint(&self) -> &str {
        self.key.hint()
    }

    /// Returns the name of the key, chosen by its issuer.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.name()
    }

    /// Returns the application's own user that the key was issued for, if any.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.key.owner()
    }

    /// Returns the scopes of the key.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.key.scopes
    }

    /// Returns whether the key has this scope. Wildcards are not supported.
    ///
    /// ```
    /// use actix_web::{HttpResponse, get};
    /// use api_key_runtime::{AppKey, require_app_key};
    ///
    /// #[get("/menu")]
    /// #[require_app_key]
    /// async fn menu(key: AppKey) -> HttpResponse {
    ///     let text = if key.has_scope("prices:read") { "cakes, with prices" } else { "cakes" };
    ///     HttpResponse::Ok().body(text)
    /// }
    /// ```
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.key.scopes.contains(scope)
    }

    /// Returns when the key expires, or `None` if it does not expire.
    #[must_use]
    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.key.expires_at
    }

    /// Returns the client IP of this request, or `None` if it is unknown, as on a Unix socket.
    #[must_use]
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.client_ip.known()
    }
}

/// Shows the fields of the key except its hint. An `AppKey` does not contain the secret.
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

/// A marker in the extensions of a request that `optional` accepted without a key.
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

/// The error for a handler that takes an `AppKey` although no key was accepted for the request.
#[derive(Debug)]
struct NoAppKey {
    route: String,
    optional: bool,
}

impl fmt::Display for NoAppKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the request has no verified API key")
    }
}

impl ResponseError for NoAppKey {
    fn status_code(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    /// Logs the mistake here and not in `from_request`, because an error that is discarded is not a
    /// mistake. `Option<AppKey>` discards the error, and so may a middleware that extracts the key.
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
                "the handler of {route} takes an AppKey, but the request has no key; on an optional route take Option<AppKey>"
            )
        } else {
            format!(
                "the handler of {route} takes an AppKey, but no check of keys ran; add #[require_app_key], or wrap it in RequireAppKey"
            )
        }
    }
}
