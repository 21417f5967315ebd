//! What the caller may learn of a rejection.

use std::fmt;

use actix_web::http::StatusCode;

/// What a caller may learn about a rejection, and an application's own rejection body about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// No key was presented: 401.
    NoKey,
    /// The key is malformed, unknown, disabled, revoked, expired or used from another address: 401, the same for all of them.
    InvalidKey,
    /// More than one key was presented: 400.
    SeveralKeys,
    /// The key is good, but not for this: 403.
    MissingScope,
    /// The key could not be checked: 503.
    Unavailable,
}

impl RejectionKind {
    pub(super) const ALL: [Self; 5] =
        [Self::NoKey, Self::InvalidKey, Self::SeveralKeys, Self::MissingScope, Self::Unavailable];

    /// The status it is answered with.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NoKey | Self::InvalidKey => StatusCode::UNAUTHORIZED,
            Self::SeveralKeys => StatusCode::BAD_REQUEST,
            Self::MissingScope => StatusCode::FORBIDDEN,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// One sentence for the caller, the same for everyone.
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
}

impl fmt::Display for RejectionKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.detail())
    }
}
