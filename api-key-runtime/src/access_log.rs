//! The access log, and the redaction of keys in request lines and URLs.

use actix_web::{
    dev::{ServiceRequest, ServiceResponse},
    middleware::Logger,
};

use crate::{
    app_key_ext::AppKeyExt as _,
    app_keys::AppKeys,
    key::begins_with_body,
    request::{KeyLocations, TrustedProxies, decoded_name_is, percent_decode},
};

const REDACTED: &str = "[redacted]";
/// The replacement for the end of a text that is too long for a log line.
const CUT: &str = "[cut]";
/// The maximum number of bytes of a path or a query in a log line. Even a caller without a key can
/// send a request line of 60 kB.
const MAX_PART_BYTES: usize = 2048;
const MAX_METHOD_BYTES: usize = 16;

/// The format of a line: client IP, request line, status, bytes, seconds and the accepted key. No
/// header of the caller is logged; `Referer`, for example, may contain a query with a key.
const FORMAT: &str = "%{caller}xi \"%{request}xi\" %s %b %T %{key}xo";

/// The query parameters and the prefix that identify keys of one set in a request line.
struct RedactionRules {
    key_locations: KeyLocations,
    prefix: String,
}

impl AppKeys {
    /// Returns an access log whose lines contain no key of this set:
    /// `App::new().wrap(keys.access_log())`. For several key sets in one application, use
    /// [`access_log_with`](Self::access_log_with).
    ///
    /// ```text
    /// 203.0.113.7 "GET /cakes?key=[redacted] HTTP/1.1" 200 312 0.000148 key 17 ak_live_Ab3d
    /// ```
    ///
    /// Each line contains the client IP (see
    /// [`trusted_proxies`](crate::AppKeysBuilder::trusted_proxies)), the request line, the status,
    /// the size of the response in bytes, the duration in seconds, and the accepted key. The key is
    /// shown as its id and hint. `-` replaces an unknown client IP, and replaces the key if no key
    /// was accepted. The log target is `app_key`.
    ///
    /// [`redact`](Self::redact) describes what is redacted. Do not use the stock `Logger`, which
    /// writes keys in the request line (`%r`). Do not log a request with `{:?}`, which writes the
    /// query and most headers, such as `X-API-Key`.
    #[doc(alias = "logger")]
    #[must_use]
    pub fn access_log(&self) -> Logger {
        self.access_log_with(&[])
    }

    /// Returns a request target or a URL without keys, for your own log.
    ///
    /// `[redacted]` replaces the values of the query parameters that contain keys. It also replaces
    /// the part after the prefix in any text that looks like a native key. A path or a query of
    /// more than 2048 bytes is cut. With several key sets, pass the result to `redact` of the next
    /// key set.
    ///
    #[cfg_attr(feature = "test-util", doc = "```")]
    #[cfg_attr(not(feature = "test-util"), doc = "```ignore")]
    /// use api_key_runtime::{KeyLocation, test_util::TestKeys};
    ///
    /// let locations = [KeyLocation::query("key")];
    /// let keys = TestKeys::with(|builder| builder.key_locations(locations)).app_keys;
    /// let logged = keys.redact("/cakes?key=ak_live_Ab3dEf&page=2");
    /// assert_eq!(logged, "/cakes?key=[redacted]&page=2");
    /// assert_eq!(keys.redact("/hooks/ak_live_Ab3dEf"), "/hooks/ak_live_[redacted]");
    /// ```
    #[doc(alias = "mask")]
    #[doc(alias = "sanitize")]
    #[must_use]
    pub fn redact(&self, target: &str) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        redact(path, query, &[self.redaction_rules()])
    }

    /// Returns an access log whose lines contain no key of this set or of the other sets:
    /// `App::new().wrap(keys.access_log_with(&[&partner_keys]))`. See
    /// [`access_log`](Self::access_log).
    #[must_use]
    pub fn access_log_with(&self, others: &[&Self]) -> Logger {
        let sets = std::iter::once(&self).chain(others);
        let trusted_proxies = self.inner().trusted_proxies.clone();
        logger(trusted_proxies, sets.map(|keys| keys.redaction_rules()).collect())
    }

    fn redaction_rules(&self) -> RedactionRules {
        let inner = self.inner();
        RedactionRules {
            key_locations: inner.key_locations.clone(),
            prefix: inner.format_rules.prefix.as_str().to_owned(),
        }
    }
}

/// Returns an access log that redacts the keys of these sets. `trusted_proxies` determines the
/// client IP.
fn logger(trusted_proxies: TrustedProxies, sets: Vec<RedactionRules>) -> Logger {
    Logger::new(FORMAT)
        .log_target("app_key")
        .custom_request_replace("caller", move |request| caller(request, &trusted_proxies))
        .custom_request_replace("request", move |request| line(request, &sets))
        .custom_response_replace("key", accepted_key)
}

/// Returns the id and the hint of the key that the last check accepted, or `-`.
fn accepted_key(response: &ServiceResponse) -> String {
    response.app_key().map_or_else(
        || "-".to_owned(),
        |key| format!("key {} {}", key.id(), key.hint().escape_default()),
    )
}

fn caller(request: &ServiceRequest, trusted_proxies: &TrustedProxies) -> String {
    let peer = request.peer_addr().map(|peer| peer.ip());
    let address = trusted_proxies.client_ip(peer, request.headers());
    address.map_or_else(|_| "-".to_owned(), |address| address.to_string())
}

fn line(request: &ServiceRequest, sets: &[RedactionRules]) -> String {
    let (method, method_end) = cut(request.method().as_str(), MAX_METHOD_BYTES);
    let target = redact(request.path(), request.query_string(), sets);
    let line = format!("{method}{method_end} {target} {:?}", request.version());
    redact_keys(&line, sets).escape_default().collect()
}

/// Returns `path?query` without keys. For a URL, `path` is the part before the `?`, and `query` is
/// the part after the `?`.
fn redact(path: &str, query: &str, sets: &[RedactionRules]) -> String {
    // Cut first, because redacting a long text takes time.
    let (path, path_end) = cut(path, MAX_PART_BYTES);
    let (query, query_end) = cut(query, MAX_PART_BYTES);
    let path = with_end(redact_path(path, sets), path_end);
    let target = if query.is_empty() {
        path
    } else {
        format!("{path}?{}", with_end(&redact_query(query, sets), query_end))
    };
    redact_keys(&target, sets)
}

/// Returns at most `most` bytes of a text, and the replacement for the part that was cut.
fn cut(text: &str, most: usize) -> (&str, &'static str) {
    if text.len() <= most {
        return (text, "");
    }
    ((0..=most).rev().find_map(|end| text.get(..end)).unwrap_or_default(), CUT)
}

/// Appends `end`, the replacement for the part that was cut. A last word after an underscore may be
/// the cut body of a key, and is redacted here. `redact_keys` would redact a cut body only after a
/// known prefix.
fn with_end(text: &str, end: &str) -> String {
    let before = text.trim_end_matches(|character: char| character.is_ascii_alphanumeric());
    let may_be_key = before.len() < text.len()
        && (before.ends_with('_')
            || text
                .to_ascii_lowercase()
                .rfind("%5f")
                .is_some_and(|at| at >= before.len().saturating_sub(1)));
    if !end.is_empty() && may_be_key {
        format!("{before}{REDACTED}{end}")
    } else {
        format!("{text}{end}")
    }
}

fn redact_path<'a>(path: &'a str, sets: &[RedactionRules]) -> &'a str {
    if hides(path, sets) { REDACTED } else { path }
}

/// Returns a query without the values of key parameters, and without percent-encoded parameters
/// that may contain a key.
fn redact_query(query: &str, sets: &[RedactionRules]) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if names(sets).any(|secret| decoded_name_is(name, secret)) => {
            format!("{name}={REDACTED}")
        }
        _ if hides(pair, sets) => REDACTED.to_owned(),
        _ => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Returns the names of the query parameters that may contain a key.
fn names(sets: &[RedactionRules]) -> impl Iterator<Item = &str> {
    sets.iter().flat_map(|set| set.key_locations.query_names())
}

/// Returns whether a text is percent-encoded and, once decoded, contains the prefix of a set or the
/// body of a native key. Invalid sequences are not decoded and do not stop the decoding.
fn hides(text: &str, sets: &[RedactionRules]) -> bool {
    if !text.contains('%') {
        return false;
    }
    let decoded = decode_leniently(text);
    if decoded == text.as_bytes() {
        return false;
    }
    let decoded = String::from_utf8_lossy(&decoded);
    sets.iter().any(|set| decoded.contains(&set.prefix))
        || decoded.match_indices('_').any(|(at, _)| is_body_behind(&decoded, at))
}

/// Returns whether there is a `_` at this position, followed by a text like the body of a native
/// key. This also finds keys with a former prefix.
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

/// Redacts every text that looks like a native key, anywhere in `text`. Two kinds of text look like
/// a native key: letters and digits after the prefix of a set, and at least 44 letters and digits
/// after any `_`. The prefixes of the sets may overlap.
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
        redact("/cakes", query, &sets)
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
    fn a_text_like_a_native_key_is_redacted_anywhere() {
        for hidden in
            ["token=ak_live_%41bC123", "token=ak%5flive_AbC123%", "token=%zzak%5Flive_AbC123"]
        {
            assert_eq!(redacted(&format!("{hidden}&x=1")), "/cakes?[redacted]&x=1", "{hidden}");
        }
        let own = rules(&[("key", "ak_live_")]);
        assert!(hides("/ak_live_/ak%5flive_AbC123", &own));
        assert_eq!(redacted("q=100%&r=a%20b"), "/cakes?q=100%&r=a%20b", "nothing to redact");
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
        let redacted = |path: &str, query: &str| redact(path, query, &sets);
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

    /// G2: Even a caller without a key can send a long request line.
    #[test]
    fn a_long_request_line_is_cut_and_no_key_survives() {
        let sets = rules(&[("key", "ak_live_")]);
        let escaped = |length: usize| "%41".repeat(length / 3);
        let long = "a".repeat(60_000);
        for (path, query) in [
            (long.as_str(), ""),
            ("/", long.as_str()),
            (&escaped(60_000), &escaped(60_000)),
            (&"é".repeat(30_000), &"&x=1".repeat(15_000)),
        ] {
            let redacted = redact(path, query, &sets);
            assert!(redacted.len() < 2 * MAX_PART_BYTES + 30, "{}", redacted.len());
            assert!(redacted.ends_with(CUT), "{redacted}");
        }
        let secret = "SecretOfTheKey";
        for at in MAX_PART_BYTES - 60..MAX_PART_BYTES {
            let filler = "x".repeat(at);
            for text in
                [format!("{filler}/ak_live_{secret}"), format!("{filler}/%61k_live_{secret}")]
            {
                assert!(!redact(&text, "", &sets).contains("Sec"), "{at}");
                assert!(!redact("/", &text, &sets).contains("Sec"), "{at}");
            }
            let query = format!("{filler}&k%65y={secret}");
            assert!(!redact("/", &query, &sets).contains("Sec"), "{at}");
        }
        // These texts contain a key with a former prefix, and are cut within the body of the key.
        let former = "old_SecretOfTheKey0123456789012345678901234567890";
        for text in [former.to_owned(), former.replace('_', "%5F")] {
            let filler = "x".repeat(MAX_PART_BYTES - 40);
            let redacted = redact(&format!("{filler}/{text}"), "", &sets);
            assert!(!redacted.contains("Sec") && redacted.ends_with(CUT), "{redacted}");
        }
        assert_eq!(redact("/a", "b=c", &sets), "/a?b=c");
    }

    /// G2: A URL in a custom log may contain the keys of several sets.
    #[test]
    fn a_url_is_redacted_set_by_set() {
        let sets = rules(&[("key", "own_"), ("token", "partner_")]);
        let (own, partner) = sets.split_at(1);
        let first = redact("https://h/own_Ab/partner_Cd", "key=ONE&token=TWO&x=own_Ef", own);
        assert_eq!(
            first,
            "https://h/own_[redacted]/partner_Cd?key=[redacted]&token=TWO&x=own_[redacted]"
        );
        let (path, query) = first.split_once('?').unwrap();
        assert_eq!(
            redact(path, query, partner),
            "https://h/own_[redacted]/partner_[redacted]?key=[redacted]&token=[redacted]&x=own_[redacted]"
        );
    }
}
