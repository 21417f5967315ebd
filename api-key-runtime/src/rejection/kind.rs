//! The part of a rejection that the response reveals.

use std::fmt;

use actix_web::http::StatusCode;

use crate::problem;

/// The kind of a rejection. The response reveals only the kind, and a custom rejection body can
/// depend only on the kind.
///
/// The kinds are ordered by declaration. The exact
/// [`RejectionReason`](crate::metrics::RejectionReason) is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// The request has no key: 401.
    NoKey,
    /// The key is malformed, unknown, disabled, revoked, expired or not allowed from the client IP:
    /// 401. The response is the same in all these cases.
    InvalidKey,
    /// The request has more than one key: 400.
    SeveralKeys,
    /// The key is valid but lacks a required scope: 403.
    MissingScope,
    /// The key could not be checked: 503.
    Unavailable,
}

impl RejectionKind {
    pub(super) const ALL: [Self; 5] =
        [Self::NoKey, Self::InvalidKey, Self::SeveralKeys, Self::MissingScope, Self::Unavailable];

    /// Returns the name of the kind, such as `invalid key`. `Display` and `Serialize` write this
    /// name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoKey => "no key",
            Self::InvalidKey => "invalid key",
            Self::SeveralKeys => "several keys",
            Self::MissingScope => "scope missing",
            Self::Unavailable => "unavailable",
        }
    }

    /// Returns the status of the response.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NoKey | Self::InvalidKey => StatusCode::UNAUTHORIZED,
            Self::SeveralKeys => StatusCode::BAD_REQUEST,
            Self::MissingScope => StatusCode::FORBIDDEN,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns one sentence for the caller: the `detail` of the default body.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::NoKey => "This resource needs an API key.",
            Self::InvalidKey => "The API key is not valid here.",
            Self::SeveralKeys => "Present exactly one API key.",
            Self::MissingScope => "The API key lacks a scope that this resource needs.",
            Self::Unavailable => "The API key cannot be checked at the moment. Try again.",
        }
    }

    /// Returns the default body: problem details (RFC 9457) as JSON. Use this text to extend the
    /// default body, or to keep the default body for some kinds.
    ///
    /// ```
    /// use api_key_runtime::{AppKeys, RejectionKind};
    ///
    /// let builder = AppKeys::builder().rejection_body(|kind| match kind {
    ///     RejectionKind::NoKey => {
    ///         ("text/plain", "Get a key at https://shop.example/keys\n".to_owned())
    ///     }
    ///     _ => ("application/problem+json", kind.problem_json()),
    /// });
    /// # let invalid = RejectionKind::InvalidKey.problem_json();
    /// # assert!(invalid.contains(r#""status":401"#), "{invalid}");
    /// ```
    #[must_use]
    pub fn problem_json(self) -> String {
        problem::body(self.status(), self.detail())
    }
}

impl fmt::Display for RejectionKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}
