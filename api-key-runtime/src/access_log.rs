//! A request line that may stand in a log: credentials in it are redacted.

use actix_web::{dev::ServiceRequest, middleware::Logger};

use crate::request::{Sources, decoded_name_is, percent_decode};

const REDACTED: &str = "[redacted]";

/// Address, request line, status, bytes and seconds. Neither the referrer, which may hold a query, nor anything else a caller sent.
const FORMAT: &str = "%a \"%{request}xi\" %s %b %T";

/// An access log whose lines hold no key.
pub(crate) fn logger(sources: Sources, prefix: String) -> Logger {
    Logger::new(FORMAT)
        .custom_request_replace("request", move |request| line(request, &sources, &prefix))
}

fn line(request: &ServiceRequest, sources: &Sources, prefix: &str) -> String {
    let target = redact_target(request.path(), request.query_string(), sources, prefix);
    let line = format!("{} {target} {:?}", request.method(), request.version());
    redact_keys(&line, prefix).escape_default().collect()
}

/// The path and the query, without the values of the parameters a key may be presented in.
fn redact_target(path: &str, query: &str, sources: &Sources, prefix: &str) -> String {
    let path = if hides(path, prefix) { REDACTED } else { path };
    if query.is_empty() {
        return path.to_owned();
    }
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _))
            if sources
                .query_names()
                .any(|secret| decoded_name_is(name, secret)) =>
        {
            format!("{name}={REDACTED}")
        }
        _ if hides(pair, prefix) => REDACTED.to_owned(),
        _ => pair.to_owned(),
    });
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// Whether percent-encoding hides what looks like a native key, or a part of one. A bad sequence stands for itself: it hides nothing else.
fn hides(text: &str, prefix: &str) -> bool {
    let decoded = decode_leniently(text);
    decoded != text.as_bytes() && String::from_utf8_lossy(&decoded).contains(prefix)
}

fn decode_leniently(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let piece = rest
            .get(..3)
            .filter(|_| first == '%')
            .and_then(percent_decode);
        let (taken, length) = piece.map_or(
            (
                rest.as_bytes()
                    .get(..first.len_utf8())
                    .unwrap_or_default()
                    .to_vec(),
                first.len_utf8(),
            ),
            |piece| (piece.into_owned(), 3),
        );
        decoded.extend(taken);
        rest = rest.get(length..).unwrap_or_default();
    }
    decoded
}

/// Whatever looks like a native key, wherever a caller put it by mistake.
fn redact_keys(text: &str, prefix: &str) -> String {
    let mut pieces = text.split(prefix);
    let mut redacted = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(|character: char| character.is_ascii_alphanumeric());
        redacted.push_str(prefix);
        if rest.len() < piece.len() {
            redacted.push_str(REDACTED);
        }
        redacted.push_str(rest);
    }
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    fn redacted(query: &str) -> String {
        let sources = Sources::check(&[Source::query("key"), Source::bearer()]).unwrap();
        redact_keys(
            &redact_target("/cakes", query, &sources, "ak_live_"),
            "ak_live_",
        )
    }

    // G2
    #[test]
    fn the_value_of_a_key_parameter_is_redacted_however_its_name_is_written() {
        let cases = [
            ("", "/cakes"),
            ("a=b", "/cakes?a=b"),
            ("key=SECRET", "/cakes?key=[redacted]"),
            ("a=b&key=SECRET&c=d", "/cakes?a=b&key=[redacted]&c=d"),
            ("key=ONE&key=TWO", "/cakes?key=[redacted]&key=[redacted]"),
            (
                "%6bey=SECRET&k%65y=SECRET",
                "/cakes?%6bey=[redacted]&k%65y=[redacted]",
            ),
            ("key=SE=CRET", "/cakes?key=[redacted]"),
            ("keys=shown&xkey=shown", "/cakes?keys=shown&xkey=shown"),
        ];
        for (query, expected) in cases {
            assert_eq!(redacted(query), expected);
        }
    }

    // G2
    #[test]
    fn what_looks_like_a_native_key_is_redacted_anywhere() {
        for hidden in [
            "token=ak_live_%41bC123",
            "token=ak%5flive_AbC123%",
            "token=%zzak%5Flive_AbC123",
        ] {
            assert_eq!(
                redacted(&format!("{hidden}&x=1")),
                "/cakes?[redacted]&x=1",
                "{hidden}"
            );
        }
        assert!(hides("/ak_live_/ak%5flive_AbC123", "ak_live_"));
        assert_eq!(
            redacted("q=100%&r=a%20b"),
            "/cakes?q=100%&r=a%20b",
            "nothing is hidden here"
        );
        assert_eq!(
            redacted("token=ak%5flive_AbC123&x=1"),
            "/cakes?[redacted]&x=1"
        );
        assert_eq!(
            redacted("token=ak_live_AbC123&x=1"),
            "/cakes?token=ak_live_[redacted]&x=1"
        );
        assert_eq!(
            redact_keys("/hook/ak_live_AbC123/x?ak_live_Z", "ak_live_"),
            "/hook/ak_live_[redacted]/x?ak_live_[redacted]"
        );
        assert_eq!(
            redact_keys("/about/ak_live_", "ak_live_"),
            "/about/ak_live_"
        );
    }
}
