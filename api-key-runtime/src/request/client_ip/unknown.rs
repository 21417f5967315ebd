//! Causes of an unknown client IP, and their text in the log.

use std::fmt;

use actix_web::http::header::{HeaderMap, HeaderName};

use super::MAX_HOPS;

/// Headers in which proxies commonly forward the client IP.
const FORWARDING_HEADERS: [&str; 6] = [
    "x-forwarded-for",
    "x-real-ip",
    "forwarded",
    "cf-connecting-ip",
    "true-client-ip",
    "x-client-ip",
];

/// The cause of an unknown client IP, with the name of the configured forwarding header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnknownIp<'a> {
    /// The connection has no peer address, as on a Unix socket.
    NoPeer,
    /// The request does not have the header.
    NoHeader(&'a HeaderName),
    /// The header has an entry that is not a client address.
    UnreadableHop(&'a HeaderName),
    /// Every hop is a trusted proxy.
    OnlyTrustedHops(&'a HeaderName),
    /// The last 32 hops are trusted proxies, and there are further hops.
    TooManyHops(&'a HeaderName),
}

impl<'a> UnknownIp<'a> {
    /// Returns the text in the log for a request with these headers. The text contains no header
    /// value.
    pub(crate) fn explain(self, headers: &'a HeaderMap) -> Explained<'a> {
        let written = FORWARDING_HEADERS.into_iter().find(|name| headers.contains_key(*name));
        Explained { cause: self, written }
    }
}

/// A cause, with the name of another forwarding header that the request has.
#[derive(Debug)]
pub(crate) struct Explained<'a> {
    cause: UnknownIp<'a>,
    written: Option<&'static str>,
}

impl fmt::Display for Explained<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.cause, self.written) {
            (UnknownIp::NoPeer, _) => {
                formatter.write_str("the connection has no peer address, as on a Unix socket")
            }
            (UnknownIp::NoHeader(name), Some(written)) => {
                write!(
                    formatter,
                    "the request has no {name}; it has {written}, which the caller may have sent"
                )
            }
            (UnknownIp::NoHeader(name), None) => write!(formatter, "the request has no {name}"),
            (UnknownIp::UnreadableHop(name), _) => {
                write!(formatter, "{name} has an entry that is not a client address")
            }
            (UnknownIp::OnlyTrustedHops(name), _) => {
                write!(formatter, "{name} contains only trusted proxies")
            }
            (UnknownIp::TooManyHops(name), _) => {
                write!(formatter, "{name} has {MAX_HOPS} or more trusted proxies")
            }
        }
    }
}
