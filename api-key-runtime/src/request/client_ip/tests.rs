use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use actix_web::test::TestRequest;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn trusting(proxies: &[&str]) -> TrustedProxies {
    let proxies: Vec<String> = proxies.iter().map(ToString::to_string).collect();
    TrustedProxies::check(&proxies, false, None).unwrap()
}

fn forwarded(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(
            HeaderName::from_static("x-forwarded-for"),
            HeaderValue::from_str(line).unwrap(),
        );
    }
    headers
}

fn caller(trusted_proxies: &TrustedProxies, peer: &str, lines: &[&str]) -> Option<IpAddr> {
    let mut request = TestRequest::default().peer_addr(SocketAddr::new(ip(peer), 40_000));
    for (name, line) in forwarded(lines) {
        request = request.append_header((name, line));
    }
    let request = request.to_http_request();
    let client_ip = trusted_proxies.client_ip_of(&request).known();
    assert_eq!(client_ip, trusted_proxies.client_ip(Some(ip(peer)), request.headers()).ok());
    client_ip
}

// C1, C2
#[test]
fn without_trusted_proxies_every_header_is_ignored() {
    let trusted_proxies = TrustedProxies::default();
    assert_eq!(caller(&trusted_proxies, "10.0.0.5", &["203.0.113.7"]), Some(ip("10.0.0.5")));
    assert_eq!(trusted_proxies.client_ip(None, &forwarded(&["203.0.113.7"])).ok(), None);
    let trusted_proxies = trusting(&["10.0.0.5"]);
    assert_eq!(
        caller(&trusted_proxies, "10.0.0.6", &["203.0.113.7"]),
        Some(ip("10.0.0.6")),
        "not the trusted peer"
    );
}

// C3
#[test]
fn the_first_untrusted_hop_from_the_right_is_the_caller() {
    let trusted_proxies = trusting(&["10.0.0.5", "10.0.1.0/24"]);
    let cases: [(&[&str], &str); 7] = [
        (&["203.0.113.7"], "203.0.113.7"),
        // The longest possible hop.
        (&["[0000:0000:0000:0000:0000:ffff:255.255.255.255]:65535"], "255.255.255.255"),
        (&["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        (&["203.0.113.7, 10.0.1.9"], "203.0.113.7"),
        (&["198.51.100.1", "203.0.113.7, 10.0.1.9", "10.0.1.8"], "203.0.113.7"),
        (&["junk, 203.0.113.7\t,\t10.0.1.9 "], "203.0.113.7"),
        (&["203.0.113.7, 10.0.2.1"], "10.0.2.1"),
    ];
    for (lines, expected) in cases {
        assert_eq!(caller(&trusted_proxies, "10.0.0.5", lines), Some(ip(expected)), "{lines:?}");
    }
}

// C3
#[test]
fn nothing_to_the_left_of_the_true_caller_changes_the_result() {
    let trusted_proxies = trusting(&["10.0.0.0/24"]);
    let pieces = [
        "203.0.113.9",
        "10.0.0.1",
        "junk",
        "",
        " ",
        "unknown",
        "\"",
        "[",
        "for=1.1.1.1",
        "::1",
        "10.0.0.1:80",
        ";",
        "\t",
        "0.0.0.0",
    ];
    let mut seed = 7_u64;
    let mut draw = |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % bound
    };
    for _ in 0..20_000 {
        let mut lines: Vec<String> = Vec::new();
        for _ in 0..draw(4) {
            lines.push(
                (0..draw(6))
                    .map(|_| pieces[draw(pieces.len())])
                    .collect::<Vec<_>>()
                    .join(if draw(2) == 0 { "," } else { ", " }),
            );
        }
        let mut tail = "203.0.113.7".to_owned();
        for _ in 0..draw(4) {
            tail = format!("{tail}, 10.0.0.{}", draw(256));
        }
        if draw(2) == 0 || lines.is_empty() {
            lines.push(tail);
        } else if let Some(last) = lines.last_mut() {
            last.push(',');
            last.push_str(&tail);
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(
            caller(&trusted_proxies, "10.0.0.1", &lines),
            Some(ip("203.0.113.7")),
            "{lines:?}"
        );
    }
}

// C3
#[test]
fn only_trusted_or_over_32_hops_are_an_unknown_client() {
    let trusted_proxies = trusting(&["10.0.0.0/24"]);
    assert_eq!(caller(&trusted_proxies, "10.0.0.1", &["10.0.0.2, 10.0.0.3"]), None);
    let chain = |trusted: usize| format!("203.0.113.7{}", ", 10.0.0.2".repeat(trusted));
    assert_eq!(caller(&trusted_proxies, "10.0.0.1", &[&chain(31)]), Some(ip("203.0.113.7")));
    assert_eq!(caller(&trusted_proxies, "10.0.0.1", &[&chain(32)]), None);
}

// C4
#[test]
fn a_hop_that_does_not_parse_makes_the_caller_unknown() {
    let trusted_proxies = trusting(&["10.0.0.1"]);
    let bad = [
        "unknown",
        "_hidden",
        "",
        " ",
        "junk",
        "203.0.113.7:",
        "203.0.113.7:x",
        "203.0.113.7:99999",
        "203.0.113.7:+80",
        "203.0.113.07",
        "203.0.113",
        "0x7f.0.0.1",
        "[::1",
        "::1]",
        "[::1]80",
        "[::1]:",
        "[203.0.113.7]",
        "[::1]:80:80",
        "fe80::1%eth0",
        "203.0.113.7/32",
        "\"203.0.113.7\"",
        "for=203.0.113.7",
        "203.0.113.7;",
        "203.0.113.7 203.0.113.8",
        "2001:db8::1:443:99999",
        // Unspecified addresses, which no client has.
        "0.0.0.0",
        "0.0.0.0:443",
        "::",
        "[::]",
        "[::]:443",
        "0:0:0:0:0:0:0:0",
        "::ffff:0.0.0.0",
        "[::ffff:0:0]:443",
    ];
    for hop in bad {
        assert_eq!(
            caller(&trusted_proxies, "10.0.0.1", &[&format!("203.0.113.9, {hop}")]),
            None,
            "{hop:?}"
        );
    }
    for (hop, expected) in [
        ("203.0.113.7:443", "203.0.113.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
    ] {
        assert_eq!(caller(&trusted_proxies, "10.0.0.1", &[hop]), Some(ip(expected)), "{hop}");
    }
}

// C3, C4, C5, C13
#[test]
fn each_cause_of_an_unknown_client_ip_has_its_own_words() {
    let trusted_proxies = trusting(&["10.0.0.0/24"]);
    let cause = |peer: Option<IpAddr>, headers: &HeaderMap| {
        let unknown = trusted_proxies.client_ip(peer, headers).unwrap_err();
        unknown.explain(headers).to_string()
    };
    let proxy = Some(ip("10.0.0.1"));
    let mut other = forwarded(&[]);
    other.append(HeaderName::from_static("x-real-ip"), HeaderValue::from_static("203.0.113.7"));
    for (peer, headers, words) in [
        (
            None,
            forwarded(&["203.0.113.7"]),
            "the connection has no peer address, as on a Unix socket",
        ),
        (proxy, forwarded(&[]), "the request has no x-forwarded-for"),
        (
            proxy,
            other,
            "the request has no x-forwarded-for; it has x-real-ip, which the caller may have sent",
        ),
        (
            proxy,
            forwarded(&["s3cret"]),
            "x-forwarded-for has an entry that is not a client address",
        ),
        (proxy, forwarded(&[""]), "x-forwarded-for has an entry that is not a client address"),
        (
            proxy,
            forwarded(&["10.0.0.2, 10.0.0.3"]),
            "x-forwarded-for contains only trusted proxies",
        ),
        (
            proxy,
            forwarded(&[&["10.0.0.2"; 32].join(",")]),
            "x-forwarded-for contains only trusted proxies",
        ),
        (
            proxy,
            forwarded(&[&["10.0.0.2"; 33].join(",")]),
            "x-forwarded-for has 32 or more trusted proxies",
        ),
    ] {
        assert_eq!(cause(peer, &headers), words, "{headers:?}");
    }
}

// C5
#[test]
fn a_trusted_peer_without_the_header_is_an_unknown_client() {
    assert_eq!(caller(&trusting(&["10.0.0.1"]), "10.0.0.1", &[]), None);
}

// C6
#[test]
fn exactly_the_one_configured_header_is_read() {
    let trusted_proxies =
        TrustedProxies::check(&["10.0.0.1".to_owned()], false, Some("CF-Connecting-IP")).unwrap();
    let mut headers = forwarded(&["198.51.100.1"]);
    for name in ["forwarded", "x-real-ip", "true-client-ip"] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static("198.51.100.1"));
    }
    assert_eq!(trusted_proxies.client_ip(Some(ip("10.0.0.1")), &headers).ok(), None);
    headers.append(
        HeaderName::from_static("cf-connecting-ip"),
        HeaderValue::from_static("203.0.113.7"),
    );
    assert_eq!(
        trusted_proxies.client_ip(Some(ip("10.0.0.1")), &headers).ok(),
        Some(ip("203.0.113.7"))
    );
}

// C7
#[test]
fn a_mapped_peer_is_the_ipv4_proxy() {
    let trusted_proxies = trusting(&["10.0.0.0/24"]);
    assert_eq!(
        caller(&trusted_proxies, "::ffff:10.0.0.1", &["203.0.113.7"]),
        Some(ip("203.0.113.7"))
    );
    assert_eq!(
        caller(&trusted_proxies, "10.0.0.1", &["203.0.113.7, ::ffff:10.0.0.9"]),
        Some(ip("203.0.113.7"))
    );
}

// C13
#[test]
fn a_unix_socket_is_unknown_unless_it_is_declared_a_proxy() {
    assert_eq!(trusting(&["10.0.0.1"]).client_ip(None, &forwarded(&["203.0.113.7"])).ok(), None);
    let trusted_proxies = TrustedProxies::check(&[], true, None).unwrap();
    assert_eq!(
        trusted_proxies.client_ip(None, &forwarded(&["203.0.113.7"])).ok(),
        Some(ip("203.0.113.7"))
    );
    assert_eq!(trusted_proxies.client_ip(None, &forwarded(&[])).ok(), None);
    assert_eq!(caller(&trusted_proxies, "10.0.0.1", &["203.0.113.7"]), Some(ip("10.0.0.1")));
}

// C15
#[test]
fn trusting_every_address_prevents_the_start() {
    let refused = |proxies: &[String], header: Option<&str>| {
        TrustedProxies::check(proxies, false, header).unwrap_err().is_config()
    };
    for wide in [
        "0.0.0.0/0",
        "0.0.0.0",
        "10.0.0.0/7",
        "::/0",
        "2000::/15",
        "::ffff:0:0/96",
        "10.0.0.5/8",
        "junk",
        "",
        "any",
        "localhost",
    ] {
        assert!(refused(&[wide.to_owned()], None), "{wide}");
    }
    let of_ipv4 = (0..=u8::MAX).map(|first| format!("{first}.0.0.0/8"));
    let of_ipv6 = (0..=u16::MAX).map(|first| format!("{first:x}::/16"));
    for everything in [of_ipv4.collect(), of_ipv6.collect::<Vec<_>>()] {
        let blocks = everything.len();
        assert!(refused(&everything, None), "all of {blocks} blocks");
        for but_one in [&everything[1..], &everything[..blocks - 1]] {
            assert!(TrustedProxies::check(but_one, false, None).is_ok(), "all but one");
        }
    }
    assert!(refused(&[], Some("X-Forwarded-For")), "a header without a proxy");
    assert!(refused(&["10.0.0.1".to_owned()], Some("Forwarded")));
    assert!(refused(&["10.0.0.1".to_owned()], Some("X Forwarded")));
}

#[test]
fn trusted_proxies_are_separated_by_spaces() {
    let error = TrustedProxies::check(&["10.0.0.1,10.0.0.2".to_owned()], false, None).unwrap_err();
    assert!(error.to_string().contains("separate addresses by spaces"), "{error}");
}

#[test]
fn a_header_that_cannot_hold_the_client_ip_is_an_error() {
    for (name, advice) in [
        ("'X-Real-IP'", "write X-Real-IP"),
        ("\"X-Real-IP\"", "write X-Real-IP"),
        ("'X-Real-IP", "write X-Real-IP"),
        ("Host", "use X-Forwarded-For"),
        ("host", "use X-Forwarded-For"),
        ("Authorization", "use X-Forwarded-For"),
    ] {
        let proxies = ["10.0.0.1".to_owned()];
        let error = TrustedProxies::check(&proxies, false, Some(name)).unwrap_err();
        assert!(error.is_config(), "{name}");
        let message = error.to_string();
        assert!(
            message.contains(advice) && message.contains("APP_KEY_FORWARDED_HEADER"),
            "{message}"
        );
    }
}

// C16
#[test]
fn ten_thousand_hops_and_a_hundred_kilobytes_are_bounded_work() {
    let trusted_proxies = trusting(&["10.0.0.0/24"]);
    let inputs = [
        "10.0.0.2,".repeat(10_000),
        "1".repeat(100_000),
        ",".repeat(100_000),
        format!("{}, 203.0.113.7", "junk,".repeat(20_000)),
    ];
    for (input, expected) in inputs.iter().zip([None, None, None, Some(ip("203.0.113.7"))]) {
        let headers = forwarded(&[input]);
        // Takes the minimum of many rounds, because other load on the machine only adds time. The
        // limit allows for a slow machine.
        let best = (0..50)
            .map(|_| {
                let started = Instant::now();
                assert_eq!(
                    trusted_proxies.client_ip(Some(ip("10.0.0.1")), &headers).ok(),
                    expected
                );
                started.elapsed()
            })
            .min();
        assert!(best < Some(Duration::from_millis(10)), "{best:?}");
    }
}
