//! What was presented: one credential, none, or too many.
//!
//! A source is present when its header, parameter or cookie exists, even empty. More than one is an error, never a choice.

use std::borrow::Cow;

use actix_web::http::header::{AUTHORIZATION, COOKIE, HeaderMap};

use super::source::{Checked, Sources, is_token_character};
use crate::key::are_key_characters;

/// Longest credential: nothing longer is hashed, copied or looked up.
const MAX_CREDENTIAL_BYTES: usize = 256;

/// What a request presents.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Presented<'a> {
    Nothing,
    /// Present, but nothing that could be a key.
    Malformed {
        in_query: bool,
    },
    /// 1 to 256 characters that a key may hold, which are ASCII.
    Key {
        key: Cow<'a, [u8]>,
        in_query: bool,
    },
    /// More than one credential, even if equal.
    Several,
}

/// One credential as it was found; `None` is one that cannot even be read.
struct Found<'a> {
    value: Option<Cow<'a, [u8]>>,
    in_query: bool,
}

/// Reads the sources of an application, and nothing else, from a request.
pub(crate) fn present<'a>(
    sources: &'a Sources,
    headers: &'a HeaderMap,
    query: &'a str,
) -> Presented<'a> {
    let mut only: Option<Found<'a>> = None;
    for source in &sources.0 {
        let found = match source {
            Checked::Bearer => bearer(headers),
            Checked::Header(name) => at_most_one(
                headers
                    .get_all(name)
                    .map(|value| header_value(value.as_bytes())),
            ),
            Checked::Query(name) => at_most_one(parameters(query, name)),
            Checked::Cookie(name) => at_most_one(cookies(headers, name)),
        };
        match found {
            Ok(None) => {}
            Ok(Some(found)) if only.is_none() => only = Some(found),
            Ok(Some(_)) | Err(TooMany) => return Presented::Several,
        }
    }
    let Some(Found { value, in_query }) = only else {
        return Presented::Nothing;
    };
    match value {
        Some(key) if is_key(&key) => Presented::Key { key, in_query },
        _ => Presented::Malformed { in_query },
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
    Found {
        value: Some(Cow::Borrowed(value)),
        in_query: false,
    }
}

fn is_key(value: &[u8]) -> bool {
    (1..=MAX_CREDENTIAL_BYTES).contains(&value.len()) && are_key_characters(value)
}

/// `Authorization: Bearer KEY`. Another scheme is nothing presented; beside it a bearer is one of several lines, which RFC 9110 forbids.
fn bearer(headers: &HeaderMap) -> Result<Option<Found<'_>>, TooMany> {
    let mut lines = 0_usize;
    let mut only = None;
    for line in headers.get_all(AUTHORIZATION) {
        lines = lines.saturating_add(1);
        if let Some(value) = bearer_value(line.as_bytes()) {
            only = Some(Found {
                value,
                in_query: false,
            });
        }
    }
    if only.is_some() && lines > 1 {
        Err(TooMany)
    } else {
        Ok(only)
    }
}

/// `None`: another scheme. `Some(None)`: a bearer, or nothing legible, without a value.
#[expect(
    clippy::option_option,
    reason = "absent, unreadable and present are three things"
)]
fn bearer_value(line: &[u8]) -> Option<Option<Cow<'_, [u8]>>> {
    // As nearly every client writes it.
    if let Some(value) = line.strip_prefix(b"Bearer ")
        && value.first() != Some(&b' ')
    {
        return Some(Some(Cow::Borrowed(value)));
    }
    let end = line
        .iter()
        .position(|&byte| !is_token_character(byte))
        .unwrap_or(line.len());
    let (scheme, rest) = line.split_at(end);
    match rest.first() {
        // A scheme ends at a space or with the line; anything else is no credentials of any scheme, and so not ignored.
        None if scheme.is_empty() => Some(None),
        Some(&byte) if byte != b' ' => Some(None),
        _ if scheme.eq_ignore_ascii_case(b"bearer") => {
            let start = rest
                .iter()
                .position(|&byte| byte != b' ')
                .unwrap_or(rest.len());
            Some(rest.get(start..).map(Cow::Borrowed))
        }
        _ if scheme.is_empty() => Some(None),
        _ => None,
    }
}

/// The values of every query parameter of this name. Percent-encoding is decoded once, in names too; `+` and `;` mean nothing special.
fn parameters<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = Found<'a>> {
    query.split('&').filter_map(move |pair| {
        let (encoded_name, encoded_value) = pair.split_once('=').unwrap_or((pair, ""));
        decoded_name_is(encoded_name, name).then(|| {
            // Each character takes three bytes at most: what is longer cannot be a key, and is not copied.
            let value = Some(encoded_value)
                .filter(|value| value.len() <= 3 * MAX_CREDENTIAL_BYTES)
                .and_then(percent_decode);
            Found {
                value,
                in_query: true,
            }
        })
    })
}

/// Whether this is the name of that query parameter, however it is encoded.
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
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// The values of every cookie of this name, in all lines (RFC 6265, section 5.4).
fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = Found<'a>> {
    let pairs = headers
        .get_all(COOKIE)
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    pairs.filter_map(move |pair| {
        let equals = pair
            .iter()
            .position(|&byte| byte == b'=')
            .unwrap_or(pair.len());
        let (own_name, value) = pair.split_at(equals);
        (own_name.trim_ascii() == name.as_bytes())
            .then(|| header_value(value.strip_prefix(b"=").unwrap_or(value)))
    })
}

#[cfg(test)]
mod tests {
    use std::{
        hint::black_box,
        time::{Duration, Instant},
    };

    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::Source;

    fn headers(lines: &[(&str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        headers
    }

    fn defaults() -> Sources {
        Sources::check(&[Source::bearer(), Source::header("X-API-Key")]).unwrap()
    }

    fn everything() -> Sources {
        Sources::check(&[
            Source::bearer(),
            Source::header("X-API-Key"),
            Source::query("key"),
            Source::cookie("app_key"),
        ])
        .unwrap()
    }

    fn key(text: &str) -> Presented<'_> {
        Presented::Key {
            key: text.as_bytes().into(),
            in_query: false,
        }
    }

    type Lines<'a> = &'a [(&'a str, &'a [u8])];

    const MALFORMED: Presented<'static> = Presented::Malformed { in_query: false };

    // B1
    #[test]
    fn bearer_and_x_api_key_are_read_by_default_and_nothing_else() {
        let sources = defaults();
        assert_eq!(
            present(&sources, &headers(&[("Authorization", b"Bearer K")]), ""),
            key("K")
        );
        assert_eq!(
            present(&sources, &headers(&[("X-API-Key", b"K")]), ""),
            key("K")
        );
        assert_eq!(
            present(&sources, &headers(&[]), "key=K"),
            Presented::Nothing
        );
        for other in [
            "Cookie",
            "X-App-Key",
            "Proxy-Authorization",
            "X_API_Key",
            "Api-Key",
        ] {
            assert_eq!(
                present(&sources, &headers(&[(other, b"app_key=K")]), ""),
                Presented::Nothing,
                "{other}"
            );
        }
    }

    // B1
    #[test]
    fn sources_replace_the_list_and_what_is_not_in_it_is_nothing_presented() {
        let sources = Sources::check(&[Source::header("X-App-Key")]).unwrap();
        let all = headers(&[
            ("Authorization", b"Bearer T"),
            ("X-API-Key", b"T"),
            ("X-App-Key", b"K"),
        ]);
        assert_eq!(present(&sources, &all, "key=T"), key("K"));
        assert_eq!(
            present(
                &sources,
                &headers(&[("Authorization", b"Bearer T"), ("X-API-Key", b"T")]),
                ""
            ),
            Presented::Nothing
        );
    }

    // B2
    #[test]
    fn more_than_one_credential_is_never_a_choice_even_if_equal() {
        let sources = everything();
        let cases: &[(Lines<'_>, &str)] = &[
            (&[("Authorization", b"Bearer K"), ("X-API-Key", b"K")], ""),
            (
                &[
                    ("Authorization", b"Bearer K"),
                    ("Authorization", b"Bearer K"),
                ],
                "",
            ),
            (
                &[
                    ("Authorization", b"Basic QQ=="),
                    ("Authorization", b"Bearer K"),
                ],
                "",
            ),
            (&[("X-API-Key", b"K"), ("X-API-Key", b"K")], ""),
            (&[("X-API-Key", b"K"), ("x-api-key", b"")], ""),
            (&[("X-API-Key", b"K")], "key=K"),
            (&[("X-API-Key", b"K")], "key"),
            (&[("Cookie", b"app_key=K")], "key=K"),
            (&[("Cookie", b"app_key=K; app_key=K")], ""),
            (
                &[("Cookie", b"app_key=K"), ("Cookie", b"a=b; app_key=K")],
                "",
            ),
            (&[("Cookie", b"app_key=K; app_key =K")], ""),
            (&[], "key=K&key=K"),
            (&[], "key=K&%6Bey=K"),
            (&[], "key=K&%6b%65%79="),
            (&[], "a=b&key&key=K"),
        ];
        for (lines, query) in cases {
            assert_eq!(
                present(&sources, &headers(lines), query),
                Presented::Several,
                "{lines:?} {query}"
            );
        }
    }

    // B3
    #[test]
    fn the_scheme_is_case_insensitive_and_what_follows_it_must_be_a_key() {
        let sources = defaults();
        for line in ["Bearer K", "bearer K", "BEARER K", "bEaReR  K"] {
            assert_eq!(
                present(
                    &sources,
                    &headers(&[("Authorization", line.as_bytes())]),
                    ""
                ),
                key("K"),
                "{line}"
            );
        }
        for line in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer K K",
            "Bearer \"K\"",
            "Bearer K,",
            "Bearer\tK",
            "\"Bearer K\"",
            ", Bearer K",
            "Bearer, K",
            "Bearer:K",
        ] {
            assert_eq!(
                present(
                    &sources,
                    &headers(&[("Authorization", line.as_bytes())]),
                    ""
                ),
                MALFORMED,
                "{line}"
            );
        }
        for line in [
            "BearerK",
            "Basic QWxhZGRpbg==",
            "Basic",
            "Digest a=b",
            "BearerBearer K",
            "Token K",
        ] {
            assert_eq!(
                present(
                    &sources,
                    &headers(&[("Authorization", line.as_bytes())]),
                    ""
                ),
                Presented::Nothing,
                "{line}"
            );
        }
        let both = headers(&[
            ("Authorization", b"Basic QWxhZGRpbg=="),
            ("X-API-Key", b"K"),
        ]);
        assert_eq!(present(&sources, &both, ""), key("K"));
        assert_eq!(
            present(&sources, &headers(&[("X-API-Key", b"")]), ""),
            MALFORMED
        );
    }

    // B4
    #[test]
    fn more_than_256_bytes_are_no_key() {
        let sources = everything();
        let fits = "k".repeat(256);
        assert_eq!(
            present(&sources, &headers(&[("X-API-Key", fits.as_bytes())]), ""),
            key(&fits)
        );
        for length in [257, 100_000] {
            let long = "k".repeat(length);
            assert_eq!(
                present(&sources, &headers(&[("X-API-Key", long.as_bytes())]), ""),
                MALFORMED
            );
            assert_eq!(
                present(
                    &sources,
                    &headers(&[("Authorization", format!("Bearer {long}").as_bytes())]),
                    ""
                ),
                MALFORMED
            );
            assert_eq!(
                present(&sources, &headers(&[]), &format!("key={long}")),
                Presented::Malformed { in_query: true }
            );
        }
        let encoded = format!("key={}", "%6B".repeat(257));
        assert_eq!(
            present(&sources, &headers(&[]), &encoded),
            Presented::Malformed { in_query: true }
        );
    }

    // B4
    #[test]
    fn a_key_of_100_kb_costs_the_check_no_more_than_twice_a_short_bad_one() {
        let sources = defaults();
        // The best of many rounds: whatever else the machine does only adds to the others.
        let cost = |name: &str, value: &[u8]| {
            let headers = headers(&[(name, value)]);
            let round = |_| {
                let began = Instant::now();
                for _ in 0..100 {
                    let presented = present(black_box(&sources), black_box(&headers), "");
                    assert_eq!(black_box(presented), MALFORMED);
                }
                began.elapsed()
            };
            (0..50).map(round).min().unwrap()
        };
        for (name, scheme) in [("X-API-Key", ""), ("Authorization", "Bearer ")] {
            let short = cost(name, format!("{scheme}k,").as_bytes());
            let long = cost(name, format!("{scheme}{}", "k".repeat(100_000)).as_bytes());
            assert!(
                long <= short * 2 + Duration::from_micros(5),
                "{name}: {long:?} for 100, against {short:?}"
            );
        }
    }

    // B5
    #[test]
    fn bytes_that_no_key_holds_are_no_key() {
        let sources = everything();
        // Listed here, and not asked of the code that decides: the base64url, base64 and UUID characters are all there is.
        let in_keys = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=";
        for byte in 0..=255_u8 {
            if in_keys.contains(&byte) {
                continue;
            }
            let value = [b'K', byte, b'K'];
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                assert_eq!(
                    present(&sources, &headers(&[("X-API-Key", value.as_bytes())]), ""),
                    MALFORMED,
                    "{byte:#x}"
                );
            }
            let query = format!("key=K%{byte:02X}K");
            assert_eq!(
                present(&sources, &headers(&[]), &query),
                Presented::Malformed { in_query: true },
                "{byte:#x}"
            );
        }
    }

    // B6
    #[test]
    fn a_query_is_decoded_once_and_plus_and_semicolon_mean_nothing() {
        fn in_query(text: &str) -> Presented<'_> {
            Presented::Key {
                key: text.as_bytes().into(),
                in_query: true,
            }
        }
        let sources = everything();
        let none = headers(&[]);
        assert_eq!(present(&sources, &none, "a=b&key=K%2dK&c"), in_query("K-K"));
        assert_eq!(present(&sources, &none, "%6bey=K"), in_query("K"));
        assert_eq!(present(&sources, &none, "key=K+K"), in_query("K+K"));
        assert_eq!(present(&sources, &none, "key=K="), in_query("K="));
        for query in [
            "key=%",
            "key=%2",
            "key=%zz",
            "key=K%2",
            "key=%+1",
            "key=K;key=K",
            "key=%252d",
            "key=",
            "key",
        ] {
            assert_eq!(
                present(&sources, &none, query),
                Presented::Malformed { in_query: true },
                "{query}"
            );
        }
        for query in [
            "",
            "&&",
            "Key=K",
            "key%=K",
            "keys=K",
            "%256bey=K",
            "a=key=K",
            "a;key=K",
        ] {
            assert_eq!(
                present(&sources, &none, query),
                Presented::Nothing,
                "{query}"
            );
        }
    }

    #[test]
    fn a_cookie_is_read_by_its_whole_name() {
        let sources = everything();
        assert_eq!(
            present(
                &sources,
                &headers(&[("Cookie", b"a=b; app_key=K; c=d")]),
                ""
            ),
            key("K")
        );
        for other in ["xapp_key=K", "app_keyx=K", "App_Key=K", "a=app_key=K"] {
            assert_eq!(
                present(&sources, &headers(&[("Cookie", other.as_bytes())]), ""),
                Presented::Nothing,
                "{other}"
            );
        }
        for bad in ["app_key=", "app_key", "app_key=\"K\"", "app_key=K "] {
            assert_eq!(
                present(&sources, &headers(&[("Cookie", bad.as_bytes())]), ""),
                MALFORMED,
                "{bad}"
            );
        }
    }
}
