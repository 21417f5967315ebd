//! Why a request is refused, in the operator's words: what its credential, the look-up or the verdict says.

use super::RejectionKind;

/// Why a request was refused: for the operator. The caller sees its [`kind`](Reason::kind) alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    NoKey,
    SeveralKeys,
    Malformed,
    Unknown,
    Revoked,
    Disabled,
    Expired,
    WrongAddress,
    UnreadableAllowedIps,
    MissingScope,
    Unavailable,
    Overloaded,
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

    pub(crate) const fn kind(self) -> RejectionKind {
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

    /// As it stands in the log.
    pub(crate) const fn as_str(self) -> &'static str {
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
