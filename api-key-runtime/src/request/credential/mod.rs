//! Extracts the credential of a request.
//!
//! A request uses a key location if it has the header, parameter or cookie of the location, even
//! with an empty value. An `Authorization` header with a scheme that is not accepted does not
//! count. A request that uses more than one key location is an error. No credential takes
//! precedence over another.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use actix_web::http::header::{AUTHORIZATION, COOKIE, HeaderMap};

use super::key_location::{Authorization, Checked, KeyLocations, is_token_character};
use crate::key::MAX_KEY_BYTES;
#[cfg(feature = "_diesel")]
use crate::key::are_key_characters;

/// The credential of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Credential<'a> {
    Nothing,
    /// The credential is present, but cannot be a key.
    Malformed {
        in_query: bool,
    },
    /// The credential has 1 to 256 bytes. The bytes are validated only if the key is not a cache
    /// hit.
    Key {
        key: Cow<'a, [u8]>,
        in_query: bool,
    },
    /// The request has more than one credential. Equal credentials are counted separately.
    Several,
}

impl Credential<'_> {
    /// Returns whether the credential may be in the query. If there are several credentials,
    /// returns whether the query is a key location.
    #[inline]
    pub(crate) fn may_be_in_query(&self, locations: &KeyLocations) -> bool {
        match self {
            Self::Nothing => false,
            Self::Malformed { in_query } | Self::Key { in_query, .. } => *in_query,
            Self::Several => locations.query_names().next().is_some(),
        }
    }
}

/// A credential in a key location. `value` is `None` if the credential cannot be decoded.
struct Found<'a> {
    value: Option<Cow<'a, [u8]>>,
    in_query: bool,
}

/// Extracts the credential from the key locations of an application.
pub(crate) fn extract<'a>(
    key_locations: &'a KeyLocations,
    headers: &'a HeaderMap,
    query: &'a str,
) -> Credential<'a> {
    let mut only: Option<Found<'a>> = None;
    for location in &key_locations.0 {
        let found = match location {
            Checked::Authorization(accepted) => authorization(headers, accepted),
            Checked::Header(name) => {
                at_most_one(headers.get_all(name).map(|value| header_value(value.as_bytes())))
            }
            Checked::Query(name) => at_most_one(parameters(query, name)),
            Checked::Cookie(name) => at_most_one(cookies(headers, name)),
        };
        match found {
            Ok(None) => {}
            Ok(Some(found)) if only.is_none() => only = Some(found),
            Ok(Some(_)) | Err(TooMany) => return Credential::Several,
        }
    }
    let Some(Found { value, in_query }) = only else {
        return Credential::Nothing;
    };
    match value {
        Some(key) if (1..=MAX_KEY_BYTES).contains(&key.len()) => Credential::Key { key, in_query },
        _ => Credential::Malformed { in_query },
    }
}

struct TooMany;

fn at_most_one<'a>(
    mut found: impl Iterator<Item = Found<'a>>,
) -> Result<Option<Found<'a>>, TooMany> {
    let first = found.next();
    match found.next() {
        None => Ok(first),
        Some(_) => Err(TooMany),
    }
}

fn header_value(value: &[u8]) -> Found<'_> {
    Found { value: Some(Cow::Borrowed(value)), in_query: false }
}

/// Returns whether a credential has the length and the characters of a key.
#[cfg(feature = "_diesel")]
pub(crate) fn is_key(value: &[u8]) -> bool {
    (1..=MAX_KEY_BYTES).contains(&value.len()) && are_key_characters(value)
}

/// Extracts the credential of `Authorization`. Ignores a line with a scheme that is not accepted.
/// Returns an error for several lines if at least one line is not ignored, because RFC 9110 forbids
/// several lines.
fn authorization<'a>(
    headers: &'a HeaderMap,
    accepted: &Authorization,
) -> Result<Option<Found<'a>>, TooMany> {
    let mut lines = 0_usize;
    let mut only = None;
    for line in headers.get_all(AUTHORIZATION) {
        lines = lines.saturating_add(1);
        if let Some(value) = authorization_value(line.as_bytes(), accepted) {
            only = Some(Found { value, in_query: false });
        }
    }
    if only.is_some() && lines > 1 { Err(TooMany) } else { Ok(only) }
}

/// Returns `None` for a scheme that is not accepted, and `Some(None)` for a line that cannot be
/// parsed. An accepted scheme without a value gives an empty value.
#[expect(clippy::option_option, reason = "absent, unreadable and present are three things")]
fn authorization_value<'a>(
    line: &'a [u8],
    accepted: &Authorization,
) -> Option<Option<Cow<'a, [u8]>>> {
    // Fast path for the usual form: the exact scheme name and one space.
    for scheme in &accepted.schemes {
        if let Some(value) = line.strip_prefix(scheme.as_bytes())
            && let [b' ', value @ ..] = value
            && value.first() != Some(&b' ')
        {
            return Some(Some(Cow::Borrowed(value)));
        }
    }
    let end = line.iter().position(|&byte| !is_token_character(byte)).unwrap_or(line.len());
    let (scheme, rest) = line.split_at(end);
    match rest.first() {
        None | Some(b' ') if accepted.has_scheme(scheme) => {
            let start = rest.iter().position(|&byte| byte != b' ').unwrap_or(rest.len());
            Some(rest.get(start..).map(Cow::Borrowed))
        }
        _ if accepted.without_scheme && !line.contains(&b' ') => Some(Some(Cow::Borrowed(line))),
        // A scheme ends at a space or at the end of the line. Any other character after the scheme
        // makes the line malformed.
        Some(&byte) if byte != b' ' => Some(None),
        // The line is empty or begins with a space.
        _ if scheme.is_empty() => Some(None),
        _ => None,
    }
}

/// Returns the values of all query parameters with this name. Percent-encoding is decoded once, in
/// names and in values. `+` and `;` have no special meaning.
fn parameters<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = Found<'a>> {
    query.split('&').filter_map(move |pair| {
        let (encoded_name, encoded_value) = pair.split_once('=').unwrap_or((pair, ""));
        decoded_name_is(encoded_name, name).then(|| {
            // A percent-encoded byte has three characters. A value of more than three times the
            // maximum length cannot be a key, and is not copied.
            let value = Some(encoded_value)
                .filter(|value| value.len() <= 3 * MAX_KEY_BYTES)
                .and_then(percent_decode);
            Found { value, in_query: true }
        })
    })
}

/// Returns whether an encoded parameter name decodes to `name`.
pub(crate) fn decoded_name_is(encoded: &str, name: &str) -> bool {
    encoded.len() <= name.len().saturating_mul(3)
        && percent_decode(encoded).is_some_and(|decoded| *decoded == *name.as_bytes())
}

pub(crate) fn percent_decode(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_value(bytes.next()?)? * 16 + hex_value(bytes.next()?)?,
            other => other,
        });
    }
    Some(Cow::Owned(decoded))
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Returns the values of all cookies with this name, in all `Cookie` lines (RFC 6265, section 5.4).
fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = Found<'a>> {
    let pairs =
        headers.get_all(COOKIE).flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    pairs.filter_map(move |pair| {
        let equals = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        let (own_name, value) = pair.split_at(equals);
        (own_name.trim_ascii() == name.as_bytes())
            .then(|| header_value(value.strip_prefix(b"=").unwrap_or(value)))
    })
}
