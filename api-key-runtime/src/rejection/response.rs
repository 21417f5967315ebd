//! Status, headers and body of rejections, and the headers of every response of a guarded handler.

use std::sync::Mutex;

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
            RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
        },
    },
    web::Bytes,
};
use chrono::{DateTime, Utc};

use super::RejectionKind;
use crate::{
    error::Error,
    lock::lock,
    policy::Policy,
    problem::{CONTENT_TYPE_OF_PROBLEMS, response},
    request::KeyLocations,
};

/// The header with the expiry of the key.
const EXPIRES: HeaderName = HeaderName::from_static("x-api-key-expires");
/// The value of `Retry-After`, in seconds, in responses to requests whose key could not be checked.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Maximum number of header names that are compared one by one.
const MAX_COMPARED_NAMES: usize = 4;

/// Content type and bytes of the body of each kind. Bodies are built at start-up, so they cannot
/// contain any part of a request.
#[derive(Clone, Debug)]
pub(crate) struct Bodies([(String, Bytes); RejectionKind::ALL.len()]);

impl Bodies {
    pub(crate) fn make<C: Into<String>, B: Into<Bytes>>(
        mut make: impl FnMut(RejectionKind) -> (C, B),
    ) -> Self {
        Self(RejectionKind::ALL.map(|kind| {
            let (content_type, bytes) = make(kind);
            (content_type.into(), bytes.into())
        }))
    }
}

/// The default bodies are problem details (RFC 9457).
impl Default for Bodies {
    fn default() -> Self {
        Self::make(|kind| ("application/problem+json", kind.problem_json()))
    }
}

/// The responses of one application. Everything that does not depend on a request is built at
/// start-up.
#[derive(Clone, Debug)]
pub(crate) struct Responses {
    bodies: [(HeaderValue, Bytes); RejectionKind::ALL.len()],
    no_key: HeaderValue,
    invalid_token: HeaderValue,
    invalid_request: HeaderValue,
    /// The challenges without parameters.
    challenges: Vec<String>,
    headers: AcceptedHeaders,
    /// Whether the responses to accepted requests include the expiry of the key.
    has_expiry: bool,
}

impl Responses {
    pub(crate) fn new(
        realm: &str,
        key_locations: &KeyLocations,
        bodies: Bodies,
        has_expiry: bool,
    ) -> Result<Self, Error> {
        // A realm may contain the printable ASCII characters of `qdtext` (RFC 9110, section 5.6.4).
        if !realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            return Err(Error::config(format!(
                "invalid realm {realm:?}: it must be printable ASCII without double quotes and backslashes; change AppKeysBuilder::realm"
            )));
        }
        let mut checked =
            [const { (CONTENT_TYPE_OF_PROBLEMS, Bytes::new()) }; RejectionKind::ALL.len()];
        for (checked, (content_type, bytes)) in checked.iter_mut().zip(bodies.0) {
            *checked = (value(&content_type)?, bytes);
        }
        let challenges = key_locations.challenges(realm);
        let header_fields = key_locations.header_fields();
        Ok(Self {
            bodies: checked,
            no_key: challenge(&challenges, "")?,
            invalid_token: challenge(&challenges, ", error=\"invalid_token\"")?,
            invalid_request: challenge(&challenges, ", error=\"invalid_request\"")?,
            challenges,
            headers: AcceptedHeaders {
                vary: if header_fields.is_empty() {
                    None
                } else {
                    Some(static_value(&header_fields)?)
                },
            },
            has_expiry,
        })
    }

    /// Returns the response for a kind of rejection. The response depends only on the kind, the
    /// route's policy and whether the credential may be in the query. It contains no part of the
    /// request.
    pub(crate) fn rejection(
        &self,
        kind: RejectionKind,
        policy: &Policy,
        in_query: bool,
    ) -> HttpResponse {
        let mut response = HttpResponse::build(kind.status());
        response.insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")));
        response.insert_header((X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
        match kind {
            RejectionKind::NoKey => response.insert_header((WWW_AUTHENTICATE, self.no_key.clone())),
            RejectionKind::InvalidKey => {
                response.insert_header((WWW_AUTHENTICATE, self.invalid_token.clone()))
            }
            RejectionKind::SeveralKeys => {
                response.insert_header((WWW_AUTHENTICATE, self.invalid_request.clone()))
            }
            RejectionKind::MissingScope => {
                response.insert_header((WWW_AUTHENTICATE, self.insufficient_scope(policy)))
            }
            RejectionKind::Unavailable => {
                response.insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS))
            }
        };
        let (content_type, bytes) = self.body(kind);
        response.insert_header((CONTENT_TYPE, content_type.clone()));
        let mut response = response.body(bytes.clone());
        self.headers.set(&mut response, in_query);
        marked(response, Mark::Rejected)
    }

    fn body(&self, kind: RejectionKind) -> &(HeaderValue, Bytes) {
        let [no_key, invalid_key, several_keys, missing_scope, unavailable] = &self.bodies;
        match kind {
            RejectionKind::NoKey => no_key,
            RejectionKind::InvalidKey => invalid_key,
            RejectionKind::SeveralKeys => several_keys,
            RejectionKind::MissingScope => missing_scope,
            RejectionKind::Unavailable => unavailable,
        }
    }

    fn insufficient_scope(&self, policy: &Policy) -> HeaderValue {
        let scopes = policy.named_scopes().collect::<Vec<_>>().join(" ");
        // The attribute and the middleware reject invalid scopes. A policy that neither of them
        // checked may contain a scope that does not fit into a header.
        challenge(&self.challenges, &format!(", error=\"insufficient_scope\", scope=\"{scopes}\""))
            .unwrap_or_else(|_| self.no_key.clone())
    }

    /// Returns whether the responses to accepted requests include the expiry of the key.
    pub(crate) fn has_expiry(&self) -> bool {
        self.has_expiry
    }

    /// Returns the headers of every response of a guarded handler.
    #[inline]
    pub(crate) fn headers(&self) -> AcceptedHeaders {
        self.headers
    }
}

/// The headers of every response of a guarded handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AcceptedHeaders {
    vary: Option<&'static HeaderValue>,
}

impl AcceptedHeaders {
    /// Sets the headers that keep shared caches from serving one caller's response to another. RFC
    /// 9111 protects only responses to requests with `Authorization`. Also keeps a key in the query
    /// out of `Referer` headers.
    ///
    /// This method may run twice on one response: once for a middleware and once for the attribute.
    pub(crate) fn set<B>(self, response: &mut HttpResponse<B>, in_query: bool) {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let headers = response.headers_mut();
        if in_query {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        } else if !has(headers, &CACHE_CONTROL) {
            headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
        if let Some(vary) = self.vary
            && !(has(headers, &VARY) && headers.get_all(VARY).any(|own| own == vary))
        {
            headers.append(VARY, vary.clone());
        }
    }
}

/// Returns whether a header with this name exists. The responses of most handlers have one or two
/// headers, and comparing these names is cheaper than hashing a name (bench `instructions`).
#[inline]
fn has(headers: &HeaderMap, name: &HeaderName) -> bool {
    if headers.len_keys() <= MAX_COMPARED_NAMES {
        headers.keys().any(|own| own == name)
    } else {
        headers.contains_key(name)
    }
}

/// Sets the header with the expiry of the key, as an HTTP date (RFC 9110, section 5.6.7).
#[cold]
pub(crate) fn set_expiry<B>(response: &mut HttpResponse<B>, expires_at: DateTime<Utc>) {
    let date = expires_at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = HeaderValue::from_str(&date) {
        response.headers_mut().insert(EXPIRES, date);
    }
}

/// Returns the 500 response for a request without usable [`AppKeys`](crate::AppKeys). The response
/// has no challenge, because the realm and the key locations are unknown.
pub(crate) fn misconfigured() -> HttpResponse {
    response(StatusCode::INTERNAL_SERVER_ERROR, "The service is not set up to check API keys.")
}

/// The mark on a response of this crate, for the route audit. A handler's own 401 response has no
/// mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A guard rejected the request. The attribute replaces this mark by `RejectedAtHandler`.
    Rejected,
    /// The attribute rejected the request. The attribute protects only its own handler.
    RejectedAtHandler,
    /// The request was not checked, because the `AppKeys` are missing or ambiguous.
    NoAppKeys,
}

/// Sets the mark of a response. Without the feature `route-audit`, responses have no marks.
#[cfg_attr(
    not(feature = "route-audit"),
    allow(unused_mut, unused_variables, clippy::needless_pass_by_value)
)]
pub(crate) fn marked(mut response: HttpResponse, mark: Mark) -> HttpResponse {
    #[cfg(feature = "route-audit")]
    response.extensions_mut().insert(mark);
    response
}

/// Marks a rejection as coming from the attribute. The 500 response for missing `AppKeys` keeps its
/// own mark.
pub(crate) fn at_handler(rejection: HttpResponse) -> HttpResponse {
    let is_marked = rejection.extensions().get() == Some(&Mark::Rejected);
    if is_marked { marked(rejection, Mark::RejectedAtHandler) } else { rejection }
}

/// Returns the header value of the challenges with these parameters. All schemes use the parameters
/// of the Bearer scheme (RFC 6750, section 3).
fn challenge(challenges: &[String], parameters: &str) -> Result<HeaderValue, Error> {
    let challenges = challenges.iter().map(|challenge| format!("{challenge}{parameters}"));
    value(&challenges.collect::<Vec<_>>().join(", "))
}

fn value(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text).map_err(|_| {
        Error::config(format!(
            "{text:?} is not a valid header value; correct the content type in AppKeysBuilder::rejection_body"
        ))
    })
}

/// Returns a value that is never freed and whose text is static.
///
/// A clone of any other value increments a reference count. Every response of every worker would
/// increment the same count (bench `check`, `two_threads_over_one_response`). Each distinct text is
/// kept only once, so memory is bounded by the number of different key locations.
fn static_value(text: &str) -> Result<&'static HeaderValue, Error> {
    static VALUES: Mutex<Vec<&'static HeaderValue>> = Mutex::new(Vec::new());
    let checked = value(text)?;
    let mut values = lock(&VALUES);
    if let Some(known) = values.iter().copied().find(|known| **known == checked) {
        return Ok(known);
    }
    let value = HeaderValue::from_static(Box::leak(text.into()));
    let value: &'static HeaderValue = Box::leak(Box::new(value));
    values.push(value);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header;

    use super::*;
    use crate::request::KeyLocation;

    fn responses(location: KeyLocation) -> Responses {
        let locations = KeyLocations::check(&[location]).unwrap();
        Responses::new("api", &locations, Bodies::default(), false).unwrap()
    }

    // K1
    #[test]
    fn equal_key_locations_share_one_static_value() {
        let vary = |name: &str| responses(KeyLocation::header(name)).headers().vary.unwrap();
        assert!(std::ptr::eq(vary("X-Static-One"), vary("x-static-one")));
        assert!(!std::ptr::eq(vary("X-Static-One"), vary("X-Static-Two")));
        // A clone of a static text has the same address.
        assert_eq!(
            vary("X-Static-One").clone().as_bytes().as_ptr(),
            vary("X-Static-One").as_bytes().as_ptr()
        );
        assert!(responses(KeyLocation::query("key")).headers().vary.is_none());
    }

    // K1
    #[test]
    fn headers_of_the_handler_are_kept_however_many_there_are() {
        let headers = responses(KeyLocation::bearer()).headers();
        let others = [
            header::CONTENT_TYPE,
            header::ETAG,
            header::LOCATION,
            header::SERVER,
            header::ALLOW,
            header::AGE,
        ];
        for count in 0..=others.len() {
            for own in [None, Some((CACHE_CONTROL, "max-age=60")), Some((VARY, "Accept"))] {
                let mut response = HttpResponse::Ok();
                for name in &others[..count] {
                    response.append_header((name.clone(), "x"));
                }
                if let Some(own) = &own {
                    response.append_header(own.clone());
                }
                let mut response = response.finish();
                // The attribute and a middleware around it may both set the headers.
                headers.set(&mut response, false);
                headers.set(&mut response, false);
                let all = |name| {
                    let values = response.headers().get_all(name);
                    values.map(|value| value.to_str().unwrap()).collect::<Vec<_>>()
                };
                let cache = if own.as_ref().is_some_and(|own| own.0 == CACHE_CONTROL) {
                    "max-age=60"
                } else {
                    "private"
                };
                assert_eq!(all(CACHE_CONTROL), [cache]);
                let vary = all(VARY);
                assert_eq!(vary.last(), Some(&"authorization"));
                let is_own = own.is_some_and(|own| own.0 == VARY);
                assert_eq!(vary.len(), 1 + usize::from(is_own), "{vary:?}");
            }
        }
    }
}
