//! A credential outside the configured key locations, and its description in the log. The
//! description does not contain the credential.

use std::fmt;

use actix_web::http::header::{AUTHORIZATION, HeaderMap};

/// Headers that other services read keys from.
const HEADERS: [&str; 7] = [
    "X-API-Key",
    "X-API-Token",
    "X-Access-Token",
    "X-Auth-Token",
    "X-App-Key",
    "Api-Key",
    "ApiKey",
];
/// Maximum length of a logged scheme name. Native keys and UUIDs are longer, so they are never
/// logged as a scheme.
const MAX_SCHEME_BYTES: usize = 20;

/// A credential in a place that is not a configured key location.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ignored<'a> {
    /// The credential is in `Authorization`, after a scheme. The name of the scheme is `None` if
    /// the name could be part of a key.
    Scheme(Option<&'a str>),
    /// The credential is in `Authorization`, without a scheme.
    NoScheme,
    /// The credential is in a header that other services read keys from.
    Header(&'static str),
}

impl fmt::Display for Ignored<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(Some(name)) => write!(formatter, "the scheme {name} is not accepted"),
            Self::Scheme(None) => {
                formatter.write_str("the scheme of Authorization is not accepted")
            }
            Self::NoScheme => formatter.write_str("Authorization without a scheme is not accepted"),
            Self::Header(name) => write!(formatter, "the header {name} is not accepted"),
        }
    }
}

/// Returns the ignored credential of a request that uses no key location.
pub(crate) fn ignored(headers: &HeaderMap) -> Option<Ignored<'_>> {
    let Some(line) = headers.get(AUTHORIZATION) else {
        let header = HEADERS.into_iter().find(|name| headers.contains_key(*name));
        return header.map(Ignored::Header);
    };
    let line = line.as_bytes();
    Some(match line.iter().position(|&byte| byte == b' ') {
        None => Ignored::NoScheme,
        Some(end) => Ignored::Scheme(line.get(..end).and_then(scheme_name)),
    })
}

/// Returns the name of a scheme, unless it could be part of a key that was sent without a scheme.
fn scheme_name(scheme: &[u8]) -> Option<&str> {
    let is_name = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'-';
    let is_scheme = scheme.len() <= MAX_SCHEME_BYTES && scheme.iter().all(is_name);
    std::str::from_utf8(scheme).ok().filter(|_| is_scheme)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn named(name: &str, value: &[u8]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers
            .append(HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(value).unwrap());
        ignored(&headers).map(|ignored| ignored.to_string())
    }

    // K1, G3
    #[test]
    fn a_scheme_or_header_is_named_without_its_value() {
        for (value, expected) in [
            (&b"Basic czNjcmV0"[..], "the scheme Basic is not accepted"),
            (b"api-key s3cret", "the scheme api-key is not accepted"),
            (b"ak_live_s3cret", "Authorization without a scheme is not accepted"),
            (b"s3cret/=", "Authorization without a scheme is not accepted"),
            (b"", "Authorization without a scheme is not accepted"),
            (b"ak_live_s3cret x", "the scheme of Authorization is not accepted"),
            (b"AbCdEfGhIjKlMnOpQrStUvWx x", "the scheme of Authorization is not accepted"),
            (b"s\xffcret x", "the scheme of Authorization is not accepted"),
        ] {
            assert_eq!(named("Authorization", value).unwrap(), expected);
        }
        assert_eq!(named("x-api-key", b"s3cret").unwrap(), "the header X-API-Key is not accepted");
        assert_eq!(named("Proxy-Authorization", b"Basic s3cret"), None);
    }
}
