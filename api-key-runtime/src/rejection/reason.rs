//! Why a request is refused, in the operator's words: what its credential, the look-up or the verdict says.

use std::fmt;

use super::RejectionKind;

/// The reason why a request was rejected, for the operator: in the log and in the metrics. The response tells only its [`kind`](Self::kind).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The request presented no key.
    NoKey,
    /// The request presented more than one key.
    SeveralKeys,
    /// The credential cannot be a key.
    Malformed,
    /// The store has no such key.
    Unknown,
    /// The key is revoked.
    Revoked,
    /// The key is disabled.
    Disabled,
    /// The key has expired.
    Expired,
    /// The key does not allow the client IP.
    WrongAddress,
    /// The IP allow list of the key cannot be read.
    UnreadableAllowedIps,
    /// The key lacks a scope that the route requires.
    MissingScope,
    /// The key store is unavailable.
    Unavailable,
    /// Too many lookups are queued.
    Overloaded,
    /// The lookup took longer than `lookup_timeout`.
    TooLate,
}

impl Reason {
    /// In the order of their declaration.
    pub(crate) const ALL: [Self; 13] = [
        Self::NoKey,
        Self::SeveralKeys,
        Self::Malformed,
        Self::Unknown,
        Self::Revoked,
        Self::Disabled,
        Self::Expired,
        Self::WrongAddress,
        Self::UnreadableAllowedIps,
        Self::MissingScope,
        Self::Unavailable,
        Self::Overloaded,
        Self::TooLate,
    ];

    /// Returns the kind of the response.
    #[must_use]
    pub const fn kind(self) -> RejectionKind {
        match self {
            Self::NoKey => RejectionKind::NoKey,
            Self::SeveralKeys => RejectionKind::SeveralKeys,
            Self::Malformed
            | Self::Unknown
            | Self::Revoked
            | Self::Disabled
            | Self::Expired
            | Self::WrongAddress
            | Self::UnreadableAllowedIps => RejectionKind::InvalidKey,
            Self::MissingScope => RejectionKind::MissingScope,
            Self::Unavailable | Self::Overloaded | Self::TooLate => RejectionKind::Unavailable,
        }
    }

    /// Returns the words of the log and of the label in Prometheus, such as `wrong address`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoKey => "no key",
            Self::SeveralKeys => "several keys",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown key",
            Self::Revoked => "revoked",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::WrongAddress => "wrong address",
            Self::UnreadableAllowedIps => "unreadable address rule",
            Self::MissingScope => "scope missing",
            Self::Unavailable => "key store unavailable",
            Self::Overloaded => "look-up queue full",
            Self::TooLate => "look-up deadline passed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}
