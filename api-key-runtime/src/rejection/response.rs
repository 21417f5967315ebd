//! The status, headers and body of every rejection, and what every response of a guarded handler
//! carries.

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, RETRY_AFTER, VARY,
            WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
        },
    },
    web::Bytes,
};

use super::RejectionKind;
use crate::{
    error::Error,
    policy::Policy,
    problem::{CONTENT_TYPE_OF_PROBLEMS, response},
    request::KeyLocations,
};

/// Seconds after which a caller may try again when the key could not be checked.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Content type and bytes of each kind's body, made before any request comes: nothing of a request
/// can be in them.
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

/// Problem details (RFC 9457).
impl Default for Bodies {
    fn default() -> Self {
        Self::make(|kind| ("application/problem+json", kind.problem_json()))
    }
}

/// The responses of one application: whatever can be made before a request comes is.
#[derive(Clone, Debug)]
pub(crate) struct Responses {
    bodies: [(HeaderValue, Bytes); RejectionKind::ALL.len()],
    no_key: HeaderValue,
    invalid_token: HeaderValue,
    invalid_request: HeaderValue,
    /// The challenges, without parameters.
    challenges: Vec<String>,
    vary: Option<HeaderValue>,
}

impl Responses {
    pub(crate) fn new(
        realm: &str,
        key_locations: &KeyLocations,
        bodies: Bodies,
    ) -> Result<Self, Error> {
        // `qdtext` of RFC 9110, section 5.6.4, in ASCII.
        if !realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            return Err(Error::config(format!(
                "the realm {realm:?} is unusable: it is printable ASCII without quotes and backslashes"
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
            vary: if header_fields.is_empty() { None } else { Some(value(&header_fields)?) },
        })
    }

    /// The rejection of this kind. It depends on the kind, the route's policy and the key location
    /// alone, and echoes nothing.
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
        self.finish(&mut response, in_query);
        marked(response, Mark::Refused)
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
        // The attribute has checked the scopes; a hand-made policy with others gets the challenge
        // without them.
        challenge(&self.challenges, &format!(", error=\"insufficient_scope\", scope=\"{scopes}\""))
            .unwrap_or_else(|_| self.no_key.clone())
    }

    /// Keeps shared caches from handing one caller's answer to another (RFC 9111 protects only what
    /// came with `Authorization`).
    ///
    /// A response may come through several checks, of a middleware and of an attribute below it.
    pub(crate) fn finish<B>(&self, response: &mut HttpResponse<B>, in_query: bool) {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let headers = response.headers_mut();
        if in_query {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        } else if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
        if let Some(vary) = &self.vary
            && !headers.get_all(VARY).any(|own| own == vary)
        {
            headers.append(VARY, vary.clone());
        }
    }
}

/// The rejection where no [`AppKeys`](crate::AppKeys) could check anything: nothing is known of
/// realm and key locations.
pub(crate) fn misconfigured() -> HttpResponse {
    response(StatusCode::INTERNAL_SERVER_ERROR, "The service is not set up to check API keys.")
}

/// What the test kit tells a response of ours by: a handler's own 401 has no mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Refused, by whatever asked.
    Refused,
    /// Refused by the attribute, which speaks for its own handler alone.
    RefusedAtHandler,
    /// Nothing could be checked: the application has no `AppKeys`.
    NoAppKeys,
}

/// The response with this mark in its extensions, in place of another; services are built without
/// the route audit, and bear no marks.
#[cfg_attr(
    not(feature = "route-audit"),
    allow(unused_mut, unused_variables, clippy::needless_pass_by_value)
)]
pub(crate) fn marked(mut response: HttpResponse, mark: Mark) -> HttpResponse {
    #[cfg(feature = "route-audit")]
    response.extensions_mut().insert(mark);
    response
}

/// A rejection of the attribute's, marked as such; what could not be checked keeps its mark.
pub(crate) fn at_handler(rejection: HttpResponse) -> HttpResponse {
    let is_marked = rejection.extensions().get() == Some(&Mark::Refused);
    if is_marked { marked(rejection, Mark::RefusedAtHandler) } else { rejection }
}

/// The challenges with these parameters, which are those of the Bearer scheme (RFC 6750, section 3)
/// for every scheme.
fn challenge(challenges: &[String], parameters: &str) -> Result<HeaderValue, Error> {
    let challenges = challenges.iter().map(|challenge| format!("{challenge}{parameters}"));
    value(&challenges.collect::<Vec<_>>().join(", "))
}

fn value(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text)
        .map_err(|_| Error::config(format!("{text:?} cannot stand in a header")))
}
