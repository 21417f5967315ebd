use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use actix_web::http::header::{HeaderName, HeaderValue};

use super::*;
use crate::{key::are_key_characters, request::KeyLocation};

fn headers(lines: &[(&str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers
            .append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn defaults() -> KeyLocations {
    KeyLocations::check(&[KeyLocation::bearer(), KeyLocation::header("X-API-Key")]).unwrap()
}

fn everything() -> KeyLocations {
    KeyLocations::check(&[
        KeyLocation::bearer(),
        KeyLocation::header("X-API-Key"),
        KeyLocation::query("key"),
        KeyLocation::cookie("app_key"),
    ])
    .unwrap()
}

fn key(text: &str) -> Credential<'_> {
    Credential::Key { key: text.as_bytes().into(), in_query: false }
}

type Lines<'a> = &'a [(&'a str, &'a [u8])];

/// Extracts a credential and checks the characters of its key, as a guard does for every key that
/// is not a cache hit.
fn extract<'a>(
    key_locations: &'a KeyLocations,
    headers: &'a HeaderMap,
    query: &'a str,
) -> Credential<'a> {
    match super::extract(key_locations, headers, query) {
        Credential::Key { key, in_query } if !are_key_characters(&key) => {
            Credential::Malformed { in_query }
        }
        other => other,
    }
}

const MALFORMED: Credential<'static> = Credential::Malformed { in_query: false };

// B1
#[test]
fn bearer_and_x_api_key_are_read_by_default_and_nothing_else() {
    let key_locations = defaults();
    assert_eq!(extract(&key_locations, &headers(&[("Authorization", b"Bearer K")]), ""), key("K"));
    assert_eq!(extract(&key_locations, &headers(&[("X-API-Key", b"K")]), ""), key("K"));
    assert_eq!(extract(&key_locations, &headers(&[]), "key=K"), Credential::Nothing);
    for other in ["Cookie", "X-App-Key", "Proxy-Authorization", "X_API_Key", "Api-Key"] {
        assert_eq!(
            extract(&key_locations, &headers(&[(other, b"app_key=K")]), ""),
            Credential::Nothing,
            "{other}"
        );
    }
}

// B1
#[test]
fn key_locations_replace_the_default_list() {
    let key_locations = KeyLocations::check(&[KeyLocation::header("X-App-Key")]).unwrap();
    let all = headers(&[("Authorization", b"Bearer T"), ("X-API-Key", b"T"), ("X-App-Key", b"K")]);
    assert_eq!(extract(&key_locations, &all, "key=T"), key("K"));
    assert_eq!(
        extract(
            &key_locations,
            &headers(&[("Authorization", b"Bearer T"), ("X-API-Key", b"T")]),
            ""
        ),
        Credential::Nothing
    );
}

// B2
#[test]
fn more_than_one_credential_is_never_a_choice_even_if_equal() {
    let key_locations = everything();
    let cases: &[(Lines<'_>, &str)] = &[
        (&[("Authorization", b"Bearer K"), ("X-API-Key", b"K")], ""),
        (&[("Authorization", b"Bearer K"), ("Authorization", b"Bearer K")], ""),
        (&[("Authorization", b"Basic QQ=="), ("Authorization", b"Bearer K")], ""),
        (&[("X-API-Key", b"K"), ("X-API-Key", b"K")], ""),
        (&[("X-API-Key", b"K"), ("x-api-key", b"")], ""),
        (&[("X-API-Key", b"K")], "key=K"),
        (&[("X-API-Key", b"K")], "key"),
        (&[("Cookie", b"app_key=K")], "key=K"),
        (&[("Cookie", b"app_key=K; app_key=K")], ""),
        (&[("Cookie", b"app_key=K"), ("Cookie", b"a=b; app_key=K")], ""),
        (&[("Cookie", b"app_key=K; app_key =K")], ""),
        (&[], "key=K&key=K"),
        (&[], "key=K&%6Bey=K"),
        (&[], "key=K&%6b%65%79="),
        (&[], "a=b&key&key=K"),
    ];
    for (lines, query) in cases {
        assert_eq!(
            extract(&key_locations, &headers(lines), query),
            Credential::Several,
            "{lines:?} {query}"
        );
    }
}

// K1
#[test]
fn authorization_is_read_with_the_accepted_schemes_alone() {
    let [bearer, api_key, bare] = [
        KeyLocation::bearer(),
        KeyLocation::authorization("Api-Key"),
        KeyLocation::authorization_without_scheme(),
    ];
    let read = |locations: &[&KeyLocation], value: &str| {
        let locations: Vec<_> = locations.iter().map(|&location| location.clone()).collect();
        let locations = KeyLocations::check(&locations).unwrap();
        match extract(&locations, &headers(&[("Authorization", value.as_bytes())]), "") {
            Credential::Key { key, .. } => String::from_utf8(key.into_owned()).unwrap(),
            other => format!("{other:?}"),
        }
    };
    let malformed = format!("{MALFORMED:?}");
    for (value, [with_scheme, with_both, without, with_all]) in [
        ("Api-Key K", ["K", "K", "Nothing", "K"]),
        ("api-key  K", ["K", "K", "Nothing", "K"]),
        ("Bearer K", ["Nothing", "K", "Nothing", "K"]),
        ("Basic K", ["Nothing", "Nothing", "Nothing", "Nothing"]),
        ("Api-Keys K", ["Nothing", "Nothing", "Nothing", "Nothing"]),
        ("K", ["Nothing", "Nothing", "K", "K"]),
        ("K/+=", [&malformed, &malformed, "K/+=", "K/+="]),
        ("Api-Key", [&malformed, &malformed, "Api-Key", &malformed]),
        ("Api-Key K K", [&malformed, &malformed, "Nothing", &malformed]),
        ("", [&malformed, &malformed, &malformed, &malformed]),
    ] {
        assert_eq!(read(&[&api_key], value), with_scheme, "{value}");
        assert_eq!(read(&[&bearer, &api_key], value), with_both, "{value}");
        assert_eq!(read(&[&bare], value), without, "{value}");
        assert_eq!(read(&[&bare, &bearer, &api_key], value), with_all, "{value}");
    }
    let locations = KeyLocations::check(&[bearer, api_key, bare]).unwrap();
    for second in ["Bearer K", "Api-Key K", "K", "Basic K"] {
        let lines =
            headers(&[("Authorization", b"Api-Key K"), ("Authorization", second.as_bytes())]);
        assert_eq!(extract(&locations, &lines, ""), Credential::Several, "{second}");
    }
}

// B3
#[test]
fn the_scheme_is_case_insensitive() {
    let key_locations = defaults();
    for line in ["Bearer K", "bearer K", "BEARER K", "bEaReR  K", "Bearer   K"] {
        assert_eq!(
            extract(&key_locations, &headers(&[("Authorization", line.as_bytes())]), ""),
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
        "Basic:K",
        "Basic\tK",
        " Bearer K",
    ] {
        assert_eq!(
            extract(&key_locations, &headers(&[("Authorization", line.as_bytes())]), ""),
            MALFORMED,
            "{line}"
        );
    }
    for line in
        ["BearerK", "Basic QWxhZGRpbg==", "Basic", "KeyDigest a=b", "BearerBearer K", "Token K"]
    {
        assert_eq!(
            extract(&key_locations, &headers(&[("Authorization", line.as_bytes())]), ""),
            Credential::Nothing,
            "{line}"
        );
    }
    let both = headers(&[("Authorization", b"Basic QWxhZGRpbg=="), ("X-API-Key", b"K")]);
    assert_eq!(extract(&key_locations, &both, ""), key("K"));
    assert_eq!(extract(&key_locations, &headers(&[("X-API-Key", b"")]), ""), MALFORMED);
}

// B4
#[test]
fn more_than_256_bytes_are_no_key() {
    let key_locations = everything();
    let fits = "k".repeat(256);
    assert_eq!(
        extract(&key_locations, &headers(&[("X-API-Key", fits.as_bytes())]), ""),
        key(&fits)
    );
    for length in [257, 100_000] {
        let long = "k".repeat(length);
        assert_eq!(
            extract(&key_locations, &headers(&[("X-API-Key", long.as_bytes())]), ""),
            MALFORMED
        );
        assert_eq!(
            extract(
                &key_locations,
                &headers(&[("Authorization", format!("Bearer {long}").as_bytes())]),
                ""
            ),
            MALFORMED
        );
        assert_eq!(
            extract(&key_locations, &headers(&[]), &format!("key={long}")),
            Credential::Malformed { in_query: true }
        );
    }
    let encoded = format!("key={}", "%6B".repeat(257));
    assert_eq!(
        extract(&key_locations, &headers(&[]), &encoded),
        Credential::Malformed { in_query: true }
    );
}

// B4
#[test]
fn a_100_kb_key_costs_at_most_twice_a_short_bad_one() {
    let key_locations = defaults();
    // Takes the minimum of many rounds, because other load on the machine only adds time.
    let cost = |name: &str, value: &[u8]| {
        let headers = headers(&[(name, value)]);
        let round = |_| {
            let began = Instant::now();
            for _ in 0..100 {
                let presented = extract(black_box(&key_locations), black_box(&headers), "");
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
    let key_locations = everything();
    // The characters of `token68` (RFC 9110), listed independently of the tested code.
    let in_keys = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=";
    for byte in 0..=255_u8 {
        if in_keys.contains(&byte) {
            continue;
        }
        let value = [b'K', byte, b'K'];
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            assert_eq!(
                extract(&key_locations, &headers(&[("X-API-Key", value.as_bytes())]), ""),
                MALFORMED,
                "{byte:#x}"
            );
        }
        let query = format!("key=K%{byte:02X}K");
        assert_eq!(
            extract(&key_locations, &headers(&[]), &query),
            Credential::Malformed { in_query: true },
            "{byte:#x}"
        );
    }
}

// B6
#[test]
fn a_query_is_decoded_once_and_plus_and_semicolon_mean_nothing() {
    fn in_query(text: &str) -> Credential<'_> {
        Credential::Key { key: text.as_bytes().into(), in_query: true }
    }
    let key_locations = everything();
    let none = headers(&[]);
    assert_eq!(extract(&key_locations, &none, "a=b&key=K%2dK&c"), in_query("K-K"));
    assert_eq!(extract(&key_locations, &none, "%6bey=K"), in_query("K"));
    assert_eq!(extract(&key_locations, &none, "key=K+K"), in_query("K+K"));
    assert_eq!(extract(&key_locations, &none, "key=K="), in_query("K="));
    let whole = format!("key={}", "%4b".repeat(256));
    assert_eq!(extract(&key_locations, &none, &whole), in_query(&"K".repeat(256)));
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
            extract(&key_locations, &none, query),
            Credential::Malformed { in_query: true },
            "{query}"
        );
    }
    for query in ["", "&&", "Key=K", "key%=K", "keys=K", "%256bey=K", "a=key=K", "a;key=K"] {
        assert_eq!(extract(&key_locations, &none, query), Credential::Nothing, "{query}");
    }
}

#[test]
fn a_cookie_is_read_by_its_whole_name() {
    let key_locations = everything();
    assert_eq!(
        extract(&key_locations, &headers(&[("Cookie", b"a=b; app_key=K; c=d")]), ""),
        key("K")
    );
    for other in ["xapp_key=K", "app_keyx=K", "App_Key=K", "a=app_key=K"] {
        assert_eq!(
            extract(&key_locations, &headers(&[("Cookie", other.as_bytes())]), ""),
            Credential::Nothing,
            "{other}"
        );
    }
    for bad in ["app_key=", "app_key", "app_key=\"K\"", "app_key=K "] {
        assert_eq!(
            extract(&key_locations, &headers(&[("Cookie", bad.as_bytes())]), ""),
            MALFORMED,
            "{bad}"
        );
    }
}
