//! The client IP. `/from` returns the client IP that was checked, or `unknown`.

use std::net::SocketAddr;

use super::{
    Case, case,
    serving::without_ipv6,
    target::{Caller, Target},
    wire::Request,
};
use crate::support::random::Random;

/// The only address from which the key `elsewhere` is valid.
const ELSEWHERE: &str = "203.0.113.7";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("without trusted proxies the caller is the peer", "C1", |target| {
            let mut caller = target.caller(target.doors.plain);
            comes_from(&mut caller, &target.keys.active, &[], "127.0.0.1")?;
            comes_from(&mut caller, &target.keys.here, &[], "127.0.0.1")?;
            caller.invalid(&from(&target.keys.elsewhere, &[])).map(drop)
        }),
        case("without trusted proxies every forwarding header is ignored", "C1 C6", |target| {
            let mut caller = target.caller(target.doors.plain);
            for claim in ["203.0.113.7", "127.0.0.1, 203.0.113.7", "203.0.113.7, 127.0.0.1", "junk"]
            {
                let x_forwarded_for = format!("X-Forwarded-For: {claim}");
                let others = CLAIMS.map(|line| line.replace(ELSEWHERE, claim));
                for line in others.iter().chain([&x_forwarded_for]) {
                    caller.invalid(&from(&target.keys.elsewhere, &[line]))?;
                    comes_from(&mut caller, &target.keys.here, &[line], "127.0.0.1")?;
                }
            }
            Ok(())
        }),
        case("an address is compared as a number", "C8", |target| {
            let mut caller = target.caller(target.doors.proxied);
            for alike in [
                "203.0.113.70",
                "203.0.113.17",
                "20.3.0.113",
                "3.0.113.7",
                "203.0.113.07",
                "203.0.113.7.",
                "::203.0.113.7",
            ] {
                caller.invalid(&from(&target.keys.elsewhere, &[&forwarded(alike)]))?;
            }
            for same in
                ["2001:db8::1", "2001:0DB8:0:0:0:0:0:1", "2001:db8:0::1", "2001:db8::0.0.0.1"]
            {
                comes_from(
                    &mut caller,
                    &target.keys.elsewhere_v6,
                    &[&forwarded(same)],
                    "2001:db8::1",
                )?;
            }
            for other in ["2001:db8::10", "2001:db8::", "2001:db8:1::1", "::1"] {
                caller.invalid(&from(&target.keys.elsewhere_v6, &[&forwarded(other)]))?;
            }
            Ok(())
        }),
        case("a block holds its addresses and no others", "C8", |target| {
            let mut caller = target.caller(target.doors.proxied);
            for inside in ["10.0.0.0", "10.255.255.255", "10.9.9.9", "::ffff:10.9.9.9"] {
                caller.passes(&from(&target.keys.network, &[&forwarded(inside)]))?;
            }
            for outside in [
                "11.0.0.0",
                "9.255.255.255",
                "100.0.0.1",
                "1.10.0.0",
                "a00::",
                "::10.9.9.9",
                "100.0.0.0",
            ] {
                caller.invalid(&from(&target.keys.network, &[&forwarded(outside)]))?;
            }
            Ok(())
        }),
        case("0.0.0.0 allows all, 0.0.0.0/0 all of IPv4, ::/0 all of IPv6", "C11", any_address),
        case("the hop to the right of the trusted ones is the caller", "C3", |target| {
            let mut caller = target.caller(target.doors.proxied);
            let chains: [&[&str]; 9] = [
                &["203.0.113.7"],
                &["203.0.113.7, 10.0.1.2"],
                &["203.0.113.7,10.0.1.2,10.0.1.255 , 127.0.0.1"],
                &["198.51.100.1, 203.0.113.7"],
                &["198.51.100.1", "203.0.113.7"],
                &["127.0.0.1, 10.0.1.1, 203.0.113.7"],
                &["junk", "unknown, 203.0.113.7", "10.0.1.2"],
                &["203.0.113.7\t,\t10.0.1.2"],
                &["203.0.113.7", "10.0.1.2", "10.0.1.3, 10.0.1.4"],
            ];
            for chain in chains {
                let lines: Vec<String> = chain.iter().map(|hops| forwarded(hops)).collect();
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                comes_from(&mut caller, &target.keys.elsewhere, &lines, ELSEWHERE)?;
                caller.invalid(&from(&target.keys.here, &lines))?;
            }
            Ok(())
        }),
        case("the leftmost hop can be forged by any caller", "C3", |target| {
            let mut caller = target.caller(target.doors.proxied);
            for line in [
                "203.0.113.7, 198.51.100.1",
                "203.0.113.7, 198.51.100.1, 10.0.1.2",
                "203.0.113.7, 203.0.113.7, 10.0.2.1",
            ] {
                caller.invalid(&from(&target.keys.elsewhere, &[&forwarded(line)]))?;
            }
            let two_lines = [&*forwarded("203.0.113.7"), "x-forwarded-for: 198.51.100.1"];
            caller.invalid(&from(&target.keys.elsewhere, &two_lines))?;
            comes_from(&mut caller, &target.keys.active, &two_lines, "198.51.100.1")
        }),
        case("nothing to the left of the caller changes the result", "C3", left_of_the_caller),
        case("a trusted peer without the header has no client IP", "C5", |target| {
            let mut caller = target.caller(target.doors.proxied);
            unknown_caller(&mut caller, target, &[])
        }),
        case("a chain of only trusted hops has no client IP", "C3", |target| {
            let mut caller = target.caller(target.doors.proxied);
            for hops in
                ["127.0.0.1", "10.0.1.2", "10.0.1.2, 127.0.0.1", "::ffff:127.0.0.1, 10.0.1.7:80"]
            {
                unknown_caller(&mut caller, target, &[&forwarded(hops)])?;
            }
            Ok(())
        }),
        case("at most 32 hops are followed", "C3 C16", |target| {
            let mut caller = target.caller(target.doors.proxied);
            let behind =
                |trusted: usize| forwarded(&format!("{ELSEWHERE}{}", ", 10.0.1.2".repeat(trusted)));
            comes_from(&mut caller, &target.keys.elsewhere, &[&behind(31)], ELSEWHERE)?;
            for trusted in [32, 33, 100] {
                unknown_caller(&mut caller, target, &[&behind(trusted)])?;
            }
            Ok(())
        }),
        case("ten thousand hops are handled like few", "C16", |target| {
            let mut caller = target.caller(target.doors.proxied);
            let many = forwarded(&format!("{}{ELSEWHERE}", "1.2.3.4, ".repeat(10_000)));
            comes_from(&mut caller, &target.keys.elsewhere, &[&many], ELSEWHERE)?;
            unknown_caller(&mut caller, target, &[&forwarded(&"10.0.1.2,".repeat(10_000))])?;
            unknown_caller(&mut caller, target, &[&forwarded(&",".repeat(100_000))])?;
            unknown_caller(&mut caller, target, &[&forwarded(&"9".repeat(100_000))])
        }),
        case("ports and brackets are read", "C4", |target| {
            let mut caller = target.caller(target.doors.proxied);
            for hop in ["203.0.113.7:4711", "203.0.113.7:0", "203.0.113.7:65535, 10.0.1.2:80"] {
                comes_from(&mut caller, &target.keys.elsewhere, &[&forwarded(hop)], ELSEWHERE)?;
            }
            for hop in
                ["[2001:db8::1]:4711", "[2001:db8::1]", "2001:db8::1", "[2001:db8::1]:1, 10.0.1.2"]
            {
                comes_from(
                    &mut caller,
                    &target.keys.elsewhere_v6,
                    &[&forwarded(hop)],
                    "2001:db8::1",
                )?;
            }
            Ok(())
        }),
        case("mapped hops are IPv4", "C7", |target| {
            let mut caller = target.caller(target.doors.proxied);
            for hop in [
                "::ffff:203.0.113.7",
                "::FFFF:cb00:7107",
                "[::ffff:203.0.113.7]:80",
                "::ffff:203.0.113.7, ::ffff:10.0.1.2",
            ] {
                comes_from(&mut caller, &target.keys.elsewhere, &[&forwarded(hop)], ELSEWHERE)?;
                caller.invalid(&from(&target.keys.any_v6, &[&forwarded(hop)]))?;
            }
            Ok(())
        }),
        case("only the configured header is read", "C6", |target| {
            let mut caller = target.caller(target.doors.proxied);
            for line in CLAIMS {
                unknown_caller(&mut caller, target, &[line])?;
                let beside = [line, "X-Forwarded-For: 198.51.100.1"];
                caller.invalid(&from(&target.keys.elsewhere, &beside))?;
                comes_from(&mut caller, &target.keys.active, &beside, "198.51.100.1")?;
            }
            Ok(())
        }),
        case("an IPv4 caller of a listener on [::] is IPv4", "C7", |target| {
            let Some(dual) = &target.doors.dual else {
                return without_ipv6();
            };
            at_dual_listener(target, dual.plain_by_v4)?;
            let mut caller = target.caller(dual.proxied_by_v4);
            comes_from(&mut caller, &target.keys.elsewhere, &[&forwarded(ELSEWHERE)], ELSEWHERE)?;
            unknown_caller(&mut caller, target, &[])
        }),
        case("an IPv6 caller of a listener on [::] is not IPv4", "C7", |target| {
            let Some(address) = target.doors.dual.as_ref().and_then(|dual| dual.plain_by_v6) else {
                return without_ipv6();
            };
            let mut caller = target.caller(address);
            comes_from(&mut caller, &target.keys.any_v6, &[], "::1")?;
            caller.invalid(&from(&target.keys.here, &[]))?;
            caller.invalid(&from(&target.keys.any_v4, &[])).map(drop)
        }),
    ];
    cases.extend(UNREADABLE.map(|(name, hop)| {
        case(format!("a hop that is {name} has no client IP"), "C4", move |target| {
            let mut caller = target.caller(target.doors.proxied);
            unknown_caller(&mut caller, target, &[&forwarded(hop)])?;
            unknown_caller(&mut caller, target, &[&forwarded(&format!("{ELSEWHERE}, {hop}"))])?;
            unknown_caller(&mut caller, target, &[&forwarded(ELSEWHERE), &forwarded(hop)])?;
            // A hop to the left of the client IP is not read.
            comes_from(
                &mut caller,
                &target.keys.elsewhere,
                &[&forwarded(&format!("{hop}, {ELSEWHERE}"))],
                ELSEWHERE,
            )
        })
    }));
    cases
}

/// Forwarding headers that other software trusts.
const CLAIMS: [&str; 13] = [
    "Forwarded: for=203.0.113.7",
    "Forwarded: for=\"203.0.113.7\";proto=https;by=127.0.0.1",
    "X-Real-IP: 203.0.113.7",
    "CF-Connecting-IP: 203.0.113.7",
    "True-Client-IP: 203.0.113.7",
    "X-Client-IP: 203.0.113.7",
    "X-Cluster-Client-IP: 203.0.113.7",
    "X-Forwarded: 203.0.113.7",
    "X_Forwarded_For: 203.0.113.7",
    "X-Original-Forwarded-For: 203.0.113.7",
    "X-Remote-Addr: 203.0.113.7",
    "Client-IP: 203.0.113.7",
    "Via: 1.1 203.0.113.7",
];

/// Hops that are not valid addresses, although lenient parsers accept some of them.
const UNREADABLE: [(&str, &str); 22] = [
    ("the word unknown", "unknown"),
    ("hidden", "_hidden"),
    ("a name", "localhost"),
    ("empty", ""),
    ("blank", " "),
    ("quoted", "\"203.0.113.7\""),
    ("a parameter", "for=203.0.113.7"),
    ("octal", "0313.0.0161.07"),
    ("hexadecimal", "0xcb.0.0x71.7"),
    ("one number", "3405803783"),
    ("of three numbers", "203.0.28935"),
    ("of five numbers", "203.0.113.7.1"),
    ("out of range", "203.0.113.256"),
    ("a block", "203.0.113.7/32"),
    ("two addresses", "203.0.113.7 203.0.113.7"),
    ("followed by a colon", "203.0.113.7:"),
    ("of a port too high", "203.0.113.7:65536"),
    ("of a port with a sign", "203.0.113.7:+80"),
    ("a bracket left open", "[2001:db8::1"),
    ("IPv4 in brackets", "[203.0.113.7]"),
    ("a zone", "fe80::1%eth0"),
    ("of bytes that are not text", "203.0.113.7\u{a0}"),
];

fn forwarded(hops: &str) -> String {
    format!("X-Forwarded-For: {hops}")
}

fn from(key: &str, lines: &[&str]) -> Request {
    lines.iter().fold(Request::get("/from").api_key(key), |request, line| request.line(*line))
}

/// Checks that the key is accepted, and that the handler gets this client IP.
fn comes_from(
    caller: &mut Caller<'_>,
    key: &str,
    lines: &[&str],
    expected: &str,
) -> Result<(), String> {
    let request = from(key, lines);
    let answer = caller.passes(&request)?;
    if answer.body == expected.as_bytes() {
        Ok(())
    } else {
        Err(format!("{request}: the caller is {}, expected {expected}", answer.body.escape_ascii()))
    }
}

/// Checks a request without a client IP: keys with an IP allow list are rejected, and other keys
/// are accepted.
fn unknown_caller(caller: &mut Caller<'_>, target: &Target, lines: &[&str]) -> Result<(), String> {
    let keys = &target.keys;
    for bound in [&keys.here, &keys.elsewhere, &keys.network, &keys.any_v4, &keys.any_v6] {
        caller.invalid(&from(bound, lines))?;
    }
    comes_from(caller, &keys.active, lines, "unknown")
}

fn any_address(target: &Target) -> Result<(), String> {
    let mut caller = target.caller(target.doors.proxied);
    let keys = &target.keys;
    for (hop, is_v4) in [
        ("203.0.113.7", true),
        ("0.0.0.1", true),
        ("255.255.255.255", true),
        ("2001:db8::1", false),
        ("::2", false),
    ] {
        let (own, other) =
            if is_v4 { (&keys.any_v4, &keys.any_v6) } else { (&keys.any_v6, &keys.any_v4) };
        comes_from(&mut caller, &keys.active, &[&forwarded(hop)], hop)?;
        comes_from(&mut caller, own, &[&forwarded(hop)], hop)?;
        caller.invalid(&from(other, &[&forwarded(hop)]))?;
    }
    // The text `10.0.0.0/8` contains the wildcard's text `0.0.0.0`, but the rule is not the
    // wildcard.
    caller.invalid(&from(&keys.network, &[&forwarded("203.0.113.7")])).map(drop)
}

fn at_dual_listener(target: &Target, address: SocketAddr) -> Result<(), String> {
    let mut caller = target.caller(address);
    let keys = &target.keys;
    for key in [&keys.active, &keys.here, &keys.any_v4] {
        comes_from(&mut caller, key, &[], "127.0.0.1")?;
    }
    for key in [&keys.elsewhere, &keys.network, &keys.any_v6] {
        caller.invalid(&from(key, &[]))?;
    }
    Ok(())
}

fn left_of_the_caller(target: &Target) -> Result<(), String> {
    const PIECES: [&str; 14] = [
        "203.0.113.7",
        "127.0.0.1",
        "10.0.1.1",
        "unknown",
        "",
        " ",
        "\"",
        "[",
        "]:",
        "for=1.1.1.1",
        "::1",
        "\u{e9}",
        "0.0.0.0",
        ";",
    ];
    let mut random = Random::new(0xC3);
    let mut caller = target.caller(target.doors.proxied);
    for _ in 0..100 {
        let mut lines: Vec<String> = (0..random.below(3))
            .map(|_| {
                let hops: Vec<&str> =
                    (0..random.below(40)).map(|_| PIECES[random.below(PIECES.len())]).collect();
                forwarded(&hops.join(","))
            })
            .collect();
        let mut last: Vec<&str> =
            (0..random.below(5)).map(|_| PIECES[random.below(PIECES.len())]).collect();
        last.push("198.51.100.1");
        last.extend((0..random.below(4)).map(|_| "10.0.1.9"));
        lines.push(forwarded(&last.join(", ")));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        comes_from(&mut caller, &target.keys.active, &lines, "198.51.100.1")?;
        caller.invalid(&from(&target.keys.elsewhere, &lines))?;
    }
    Ok(())
}
