//! A request line that may stand in a log: credentials in it are redacted.

use actix_web::{dev::ServiceRequest, middleware::Logger};

use crate::{
    key::begins_with_body,
    request::{KeyLocations, TrustedProxies, decoded_name_is, percent_decode},
};

const REDACTED: &str = "[redacted]";

/// The caller's address as keys are judged by it, request line, status, bytes and seconds. Neither the referrer, which may hold a query, nor anything else a caller sent.
const FORMAT: &str = "%{caller}xi \"%{request}xi\" %s %b %T";

/// What the keys of one set are known by in a request line.
pub(crate) struct RedactionRules {
    pub(crate) key_locations: KeyLocations,
    pub(crate) prefix: String,
}

/// An access log whose lines hold no key of these sets, and name callers as trusted proxies do.
pub(crate) fn logger(trusted_proxies: TrustedProxies, sets: Vec<RedactionRules>) -> Logger {
    Logger::new(FORMAT)
        .log_target("app_key")
        .custom_request_replace("caller", move |request| caller(request, &trusted_proxies))
        .custom_request_replace("request", move |request| line(request, &sets))
}

fn caller(request: &ServiceRequest, trusted_proxies: &TrustedProxies) -> String {
    let peer = request.peer_addr().map(|peer| peer.ip());
    let address = trusted_proxies.client_ip(peer, request.headers());
    address.map_or_else(|_| "-".to_owned(), |address| address.to_string())
}

fn line(request: &ServiceRequest, sets: &[RedactionRules]) -> String {
    let target = redact_target(request.path(), request.query_string(), sets);
    let line = format!("{} {target} {:?}", request.method(), request.version());
    redact_keys(&line, sets).escape_default().collect()
}

/// The path and the query, without the values of the parameters a key may be presented in.
fn redact_target(path: &str, query: &str, sets: &[RedactionRules]) -> String {
    let path = if hides(path, sets) { REDACTED } else { path };
    if query.is_empty() {
        return path.to_owned();
    }
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if names(sets).any(|secret| decoded_name_is(name, secret)) => {
            format!("{name}={REDACTED}")
        }
        _ if hides(pair, sets) => REDACTED.to_owned(),
        _ => pair.to_owned(),
    });
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// The query parameters that hold a key.
fn names(sets: &[RedactionRules]) -> impl Iterator<Item = &str> {
    sets.iter().flat_map(|set| set.key_locations.query_names())
}

/// Whether percent-encoding hides what looks like a native key, or a part of one. A bad sequence stands for itself: it hides nothing else.
fn hides(text: &str, sets: &[RedactionRules]) -> bool {
    let decoded = decode_leniently(text);
    if decoded == text.as_bytes() {
        return false;
    }
    let decoded = String::from_utf8_lossy(&decoded);
    sets.iter().any(|set| decoded.contains(&set.prefix))
        || decoded.match_indices('_').any(|(at, _)| is_body_behind(&decoded, at))
}

/// Whether the `_` at this place ends the prefix of a native key, which may be a former one of a set.
fn is_body_behind(text: &str, at: usize) -> bool {
    text.get(at..).and_then(|rest| rest.strip_prefix('_')).is_some_and(begins_with_body)
}

fn decode_leniently(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let piece = rest.get(..3).filter(|_| first == '%').and_then(percent_decode);
        let (taken, length) = piece.map_or(
            (
                rest.as_bytes().get(..first.len_utf8()).unwrap_or_default().to_vec(),
                first.len_utf8(),
            ),
            |piece| (piece.into_owned(), 3),
        );
        decoded.extend(taken);
        rest = rest.get(length..).unwrap_or_default();
    }
    decoded
}

/// Whatever looks like a native key, wherever a caller put it by mistake: letters and digits after the prefix of one of the sets, of
/// which one may begin or end as another, and a whole key with any prefix.
fn redact_keys(text: &str, sets: &[RedactionRules]) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut in_key = false;
    for (at, character) in text.char_indices() {
        let before = text.get(..at).unwrap_or_default();
        let begins = || {
            sets.iter().any(|set| before.ends_with(&set.prefix))
                || at.checked_sub(1).is_some_and(|before| is_body_behind(text, before))
        };
        let was_in_key = in_key;
        in_key = character.is_ascii_alphanumeric() && (in_key || begins());
        match (was_in_key, in_key) {
            (_, false) => redacted.push(character),
            (false, true) => redacted.push_str(REDACTED),
            (true, true) => {}
        }
    }
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::KeyLocation;

    /// Returns the rules of sets with these query parameters and prefixes.
    fn rules(sets: &[(&str, &str)]) -> Vec<RedactionRules> {
        let rules = |(name, prefix): &(&str, &str)| RedactionRules {
            key_locations: KeyLocations::check(&[KeyLocation::query(*name), KeyLocation::bearer()])
                .unwrap(),
            prefix: (*prefix).to_owned(),
        };
        sets.iter().map(rules).collect()
    }

    fn redacted(query: &str) -> String {
        let sets = rules(&[("key", "ak_live_")]);
        redact_keys(&redact_target("/cakes", query, &sets), &sets)
    }

    // G2
    #[test]
    fn a_key_parameter_is_redacted_however_its_name_is_encoded() {
        let cases = [
            ("", "/cakes"),
            ("a=b", "/cakes?a=b"),
            ("key=SECRET", "/cakes?key=[redacted]"),
            ("a=b&key=SECRET&c=d", "/cakes?a=b&key=[redacted]&c=d"),
            ("key=ONE&key=TWO", "/cakes?key=[redacted]&key=[redacted]"),
            ("%6bey=SECRET&k%65y=SECRET", "/cakes?%6bey=[redacted]&k%65y=[redacted]"),
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
        for hidden in
            ["token=ak_live_%41bC123", "token=ak%5flive_AbC123%", "token=%zzak%5Flive_AbC123"]
        {
            assert_eq!(redacted(&format!("{hidden}&x=1")), "/cakes?[redacted]&x=1", "{hidden}");
        }
        let own = rules(&[("key", "ak_live_")]);
        assert!(hides("/ak_live_/ak%5flive_AbC123", &own));
        assert_eq!(redacted("q=100%&r=a%20b"), "/cakes?q=100%&r=a%20b", "nothing is hidden here");
        assert_eq!(redacted("token=ak%5flive_AbC123&x=1"), "/cakes?[redacted]&x=1");
        assert_eq!(redacted("token=ak_live_AbC123&x=1"), "/cakes?token=ak_live_[redacted]&x=1");
        assert_eq!(
            redact_keys("/hook/ak_live_AbC123/x?ak_live_Z", &own),
            "/hook/ak_live_[redacted]/x?ak_live_[redacted]"
        );
        assert_eq!(redact_keys("/about/ak_live_", &own), "/about/ak_live_");
        // A key that was issued before the prefix was changed.
        let body = "A1".repeat(22);
        assert_eq!(redact_keys(&format!("/shop_{body}/x"), &own), "/shop_[redacted]/x");
        assert_eq!(
            redact_keys(&format!("/shop_{}", &body[1..]), &own),
            format!("/shop_{}", &body[1..])
        );
        assert_eq!(redacted(&format!("token=shop%5F{body}&x=1")), "/cakes?[redacted]&x=1");
    }

    // G2
    #[test]
    fn keys_of_every_set_are_redacted_despite_shared_prefixes() {
        let sets = rules(&[("key", "ak_"), ("token", "ak_live_"), ("pin", "ive_")]);
        let redacted =
            |path: &str, query: &str| redact_keys(&redact_target(path, query, &sets), &sets);
        assert_eq!(
            redacted("/a", "key=ONE&token=TWO&pin=THREE&x=1"),
            "/a?key=[redacted]&token=[redacted]&pin=[redacted]&x=1"
        );
        assert_eq!(
            redacted("/ak_AbC/ak_live_AbC/ive_AbC/AbC", ""),
            "/ak_[redacted]/ak_[redacted]_[redacted]/ive_[redacted]/AbC"
        );
        assert_eq!(redacted("/a", "q=iv%65_AbC&r=ok"), "/a?[redacted]&r=ok");
    }
}
