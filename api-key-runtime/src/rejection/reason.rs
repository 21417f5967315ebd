//! The reasons for rejections, for the operator.

use std::fmt;

use super::RejectionKind;

/// The reason for a rejection, as shown in the log and the metrics. The response reveals only its
/// [`kind`](Self::kind).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The request has no key.
    NoKey,
    /// The request has more than one key.
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
    AddressNotAllowed,
    /// The IP allow list of the key cannot be read.
    UnreadableAllowedIps,
    /// The key lacks a scope that the route requires.
    MissingScope,
    /// The key store is unavailable.
    Unavailable,
    /// Too many lookups are queued.
    Overloaded,
    /// The lookup took longer than `lookup_timeout`.
    LookupTimeout,
}

impl Reason {
    /// All reasons, in the order of declaration.
    pub(crate) const ALL: [Self; 13] = [
        Self::NoKey,
        Self::SeveralKeys,
        Self::Malformed,
        Self::Unknown,
        Self::Revoked,
        Self::Disabled,
        Self::Expired,
        Self::AddressNotAllowed,
        Self::UnreadableAllowedIps,
        Self::MissingScope,
        Self::Unavailable,
        Self::Overloaded,
        Self::LookupTimeout,
    ];

    /// Returns the kind of the rejection, which the response reveals.
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
            | Self::AddressNotAllowed
            | Self::UnreadableAllowedIps => RejectionKind::InvalidKey,
            Self::MissingScope => RejectionKind::MissingScope,
            Self::Unavailable | Self::Overloaded | Self::LookupTimeout => {
                RejectionKind::Unavailable
            }
        }
    }

    /// Returns the text in the log and in the Prometheus label, such as `address not allowed`.
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
            Self::AddressNotAllowed => "address not allowed",
            Self::UnreadableAllowedIps => "unreadable allow list",
            Self::MissingScope => "scope missing",
            Self::Unavailable => "key store unavailable",
            Self::Overloaded => "lookup queue full",
            Self::LookupTimeout => "lookup timeout",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}
