//! The functions that the fuzz targets of `tests/fuzz` call. Each function tests a parser of text
//! from callers or operators, and asserts properties that hold for any input. The module is
//! compiled only with `--cfg fuzzing`, which cargo-fuzz sets.
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a fuzz target fails by panicking"
)]

use std::net::IpAddr;

use actix_web::http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};

use crate::{
    allowed_ips::AllowedIps,
    key::{FormatRules, KeyFormat, are_key_characters, is_key_character},
    request::{Credential, KeyLocation, KeyLocations, TrustedProxies, extract},
};

/// Checks that only texts in the format of a key are accepted, and that a valid key with one edit
/// is rejected.
pub fn key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let strict = FormatRules::default();
    let lenient = FormatRules { accept_imported: true, ..FormatRules::default() };
    if strict.accepts(text) {
        assert_eq!(text.len(), 52);
        assert!(
            text.starts_with("ak_live_")
                && text.bytes().skip(8).all(|byte| byte.is_ascii_alphanumeric())
        );
        assert!(lenient.accepts(text));
    }
    // The input selects the place and the kind of one edit of a valid key. The edited text is never
    // accepted, even if imported keys are accepted.
    if let [place, character, kind, ..] = *data {
        let key = strict.generate(KeyFormat::Native).unwrap();
        let mut edited = key.expose_secret().as_bytes().to_vec();
        let place = usize::from(place) % edited.len();
        match kind % 3 {
            0 => drop(edited.remove(place)),
            1 => edited.insert(place, character),
            _ => edited[place] = character,
        }
        if edited != key.expose_secret().as_bytes()
            && let Ok(edited) = std::str::from_utf8(&edited)
        {
            assert!(!strict.accepts(edited) && !lenient.accepts(edited));
        }
    }
}

/// Checks that an extracted key has 1 to 256 bytes, and that `are_key_characters` agrees with
/// `is_key_character`.
pub fn credential(data: &[u8]) {
    let key_locations = [
        KeyLocation::bearer(),
        KeyLocation::header("X-API-Key"),
        KeyLocation::query("key"),
        KeyLocation::cookie("app_key"),
    ];
    let key_locations = KeyLocations::check(&key_locations).unwrap();
    let mut headers = HeaderMap::new();
    let mut query = "";
    for line in data.split(|&byte| byte == b'\n') {
        let Some((&kind, value)) = line.split_first() else {
            continue;
        };
        let name = match kind % 4 {
            0 => AUTHORIZATION,
            1 => HeaderName::from_static("x-api-key"),
            2 => COOKIE,
            _ => {
                query = std::str::from_utf8(value).unwrap_or(query);
                continue;
            }
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    if let Credential::Key { key, .. } = extract(&key_locations, &headers, query) {
        assert!((1..=256).contains(&key.len()));
        let are = key.iter().copied().all(is_key_character);
        assert_eq!(are_key_characters(&key), are);
    }
}

/// Checks that the canonical text of a valid list parses to an equal list. Checks that an invalid
/// text in a table allows no address.
pub fn allowed_ips(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let some: [IpAddr; 4] =
        ["0.0.0.0", "10.1.2.3", "2001:db8::1", "::"].map(|address| address.parse().unwrap());
    match text.parse::<AllowedIps>() {
        Ok(allowed) => {
            assert!(allowed.is_readable());
            assert_eq!(allowed.as_str().parse::<AllowedIps>().unwrap(), allowed);
            assert_eq!(AllowedIps::from_stored(text), allowed);
            assert_eq!(allowed.allows(None), text == "0.0.0.0");
        }
        Err(_) => assert!(
            some.into_iter()
                .map(Some)
                .chain([None])
                .all(|address| !AllowedIps::from_stored(text).allows(address))
        ),
    }
}

/// Checks that entries to the left of the client IP do not change the result.
pub fn forwarding_header(data: &[u8]) {
    let proxies = ["10.0.0.0/24".to_owned()];
    let trusted_proxies = TrustedProxies::check(&proxies, false, None).unwrap();
    let peer: Option<IpAddr> = "10.0.0.1".parse().ok();
    let name = HeaderName::from_static("x-forwarded-for");
    let mut headers = HeaderMap::new();
    for line in data.split(|&byte| byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name.clone(), value);
        }
    }
    if let Ok(caller) = trusted_proxies.client_ip(peer, &headers) {
        assert_eq!(caller, caller.to_canonical());
    }
    headers.append(name, HeaderValue::from_static("203.0.113.7, 10.0.0.9"));
    assert_eq!(trusted_proxies.client_ip(peer, &headers).ok(), "203.0.113.7".parse().ok());
}
