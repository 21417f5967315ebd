//! Where a request comes from: the peer of its connection, or what proxies that are trusted say.
//!
//! Only a trusted peer's header is read, from the right, past trusted hops: what stands to the left of the first untrusted hop was
//! written by the caller, and never matters.

use std::net::{IpAddr, Ipv6Addr};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::{Error, network::Block};

/// Hops that are walked; a longer chain of trusted ones is nobody's.
const MAX_HOPS: usize = 32;
/// Longest text of a hop: `[`, 45 characters of an IPv6 address, `]:` and a port.
const MAX_HOP_BYTES: usize = 53;
/// Wider blocks than these would trust strangers.
const MIN_PREFIX_V4: u8 = 8;
const MIN_PREFIX_V6: u8 = 16;
/// How a listener on a Unix socket is declared a trusted proxy: its peers have no address.
const UNIX_SOCKET: &str = "unix";
const DEFAULT_HEADER: &str = "X-Forwarded-For";

/// How the caller's address is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Callers {
    /// None: every forwarding header is ignored.
    proxies: Option<Proxies>,
}

#[derive(Clone, Debug)]
struct Proxies {
    blocks: Box<[Block]>,
    unix_socket: bool,
    header: HeaderName,
}

impl Callers {
    /// Checks the proxies' own addresses and the one header they write.
    pub(crate) fn check(proxies: &[String], header: Option<&str>) -> Result<Self, Error> {
        if proxies.is_empty() {
            return match header {
                None => Ok(Self::default()),
                Some(_) => Err(Error::setting(
                    "a forwarding header is named, but no trusted proxy that would write it: set trusted_proxies \
                     (APP_KEY_TRUSTED_PROXIES), or leave the header out",
                )),
            };
        }
        let mut blocks = Vec::with_capacity(proxies.len());
        for proxy in proxies.iter().filter(|proxy| *proxy != UNIX_SOCKET) {
            blocks.push(trusted_block(proxy)?);
        }
        if covers_a_family(&blocks) {
            return Err(Error::setting(
                "the trusted proxies cover every address, so that anyone could say where they are",
            ));
        }
        let unix_socket = proxies.iter().any(|proxy| proxy == UNIX_SOCKET);
        let header = forwarding_header(header.unwrap_or(DEFAULT_HEADER))?;
        Ok(Self {
            proxies: Some(Proxies {
                blocks: blocks.into(),
                unix_socket,
                header,
            }),
        })
    }

    /// Whether any proxy is trusted at all.
    pub(crate) fn trust_proxies(&self) -> bool {
        self.proxies.is_some()
    }

    /// The caller's canonical address; `None` where it is unknown.
    #[inline]
    pub(crate) fn address(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let peer = peer.map(|peer| peer.to_canonical());
        match &self.proxies {
            Some(proxies) if proxies.trust(peer) => proxies.caller(headers),
            _ => peer,
        }
    }
}

impl Proxies {
    fn trust(&self, hop: Option<IpAddr>) -> bool {
        hop.map_or(self.unix_socket, |hop| {
            self.blocks.iter().any(|block| block.contains(hop))
        })
    }

    /// The first hop from the right that is not a trusted proxy. Missing, unparsable, all trusted or too many: unknown.
    fn caller(&self, headers: &HeaderMap) -> Option<IpAddr> {
        // All lines joined in order are one list (RFC 9110, section 5.3); its end is the last line's.
        let lines: Vec<&[u8]> = headers
            .get_all(&self.header)
            .map(HeaderValue::as_bytes)
            .collect();
        let hops = lines
            .iter()
            .rev()
            .flat_map(|line| line.rsplit(|&byte| byte == b','));
        for hop in hops.take(MAX_HOPS) {
            let hop = parse_hop(hop)?;
            if !self.trust(Some(hop)) {
                return Some(hop);
            }
        }
        None
    }
}

/// `a.b.c.d`, `a.b.c.d:port`, an IPv6 address, `[v6]` or `[v6]:port`, and nothing that only resembles them.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    // The optional white space of RFC 9110, section 5.6.3, around the element.
    let hop = trim(hop);
    if hop.len() > MAX_HOP_BYTES {
        return None;
    }
    let hop = std::str::from_utf8(hop).ok()?;
    let address = if let Some(bracketed) = hop.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        if !port.is_empty() && !is_port(port.strip_prefix(':')?) {
            return None;
        }
        IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)
    } else {
        match hop.split_once(':') {
            Some((address, port)) if !port.contains(':') => {
                if !is_port(port) {
                    return None;
                }
                IpAddr::V4(address.parse().ok()?)
            }
            _ => hop.parse().ok()?,
        }
    };
    Some(address.to_canonical())
}

fn trim(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text
        .iter()
        .position(|byte| !is_space(byte))
        .unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(|byte| !is_space(byte))
        .map_or(start, |last| last.saturating_add(1));
    text.get(start..end).unwrap_or_default()
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u16>().is_ok()
}

fn trusted_block(text: &str) -> Result<Block, Error> {
    let block = Block::parse(text).map_err(|error| {
        Error::setting(format!(
            "a trusted proxy (APP_KEY_TRUSTED_PROXIES) is unusable: {error}"
        ))
    })?;
    let least = if block.is_ipv4() {
        MIN_PREFIX_V4
    } else {
        MIN_PREFIX_V6
    };
    if block.prefix() < least {
        return Err(Error::setting(format!(
            "the trusted proxies {block} are wider than /{least}: name the proxies' own addresses, not the network they stand in"
        )));
    }
    Ok(block)
}

/// Whether the blocks leave no address of IPv4 or of IPv6 outside.
fn covers_a_family(blocks: &[Block]) -> bool {
    [true, false].into_iter().any(|ipv4| {
        let mut ranges: Vec<(u128, u128)> = blocks
            .iter()
            .filter(|block| block.is_ipv4() == ipv4)
            .map(|block| block.range())
            .collect();
        ranges.sort_unstable();
        let last_address = if ipv4 {
            u128::from(u32::MAX)
        } else {
            u128::MAX
        };
        let mut uncovered = 0_u128;
        for (first, last) in ranges {
            if first > uncovered {
                return false;
            }
            if last >= last_address {
                return true;
            }
            uncovered = uncovered.max(last.saturating_add(1));
        }
        false
    })
}

fn forwarding_header(name: &str) -> Result<HeaderName, Error> {
    let header = HeaderName::try_from(name).map_err(|_| {
        Error::setting(format!(
            "{name:?} is no header name (APP_KEY_FORWARDED_HEADER)"
        ))
    })?;
    if header.as_str() == "forwarded" {
        return Err(Error::setting(
            "Forwarded (RFC 7239) is not read, because its quoted strings let a caller hide the hops that follow: let the proxy write \
             X-Forwarded-For, or another header that holds addresses alone",
        ));
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn trusting(proxies: &[&str]) -> Callers {
        let proxies: Vec<String> = proxies.iter().map(ToString::to_string).collect();
        Callers::check(&proxies, None).unwrap()
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

    fn caller(callers: &Callers, peer: &str, lines: &[&str]) -> Option<IpAddr> {
        callers.address(Some(ip(peer)), &forwarded(lines))
    }

    // C1
    #[test]
    fn without_trusted_proxies_every_header_is_ignored() {
        let callers = Callers::default();
        assert_eq!(
            caller(&callers, "10.0.0.5", &["203.0.113.7"]),
            Some(ip("10.0.0.5"))
        );
        assert_eq!(callers.address(None, &forwarded(&["203.0.113.7"])), None);
        let callers = trusting(&["10.0.0.5"]);
        assert_eq!(
            caller(&callers, "10.0.0.6", &["203.0.113.7"]),
            Some(ip("10.0.0.6")),
            "not the trusted peer"
        );
    }

    // C3
    #[test]
    fn the_first_untrusted_hop_from_the_right_is_the_caller() {
        let callers = trusting(&["10.0.0.5", "10.0.1.0/24"]);
        let cases: [(&[&str], &str); 6] = [
            (&["203.0.113.7"], "203.0.113.7"),
            (&["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
            (&["203.0.113.7, 10.0.1.9"], "203.0.113.7"),
            (
                &["198.51.100.1", "203.0.113.7, 10.0.1.9", "10.0.1.8"],
                "203.0.113.7",
            ),
            (&["junk, 203.0.113.7\t,\t10.0.1.9 "], "203.0.113.7"),
            (&["203.0.113.7, 10.0.2.1"], "10.0.2.1"),
        ];
        for (lines, expected) in cases {
            assert_eq!(
                caller(&callers, "10.0.0.5", lines),
                Some(ip(expected)),
                "{lines:?}"
            );
        }
    }

    // C3
    #[test]
    fn nothing_to_the_left_of_the_true_caller_changes_the_result() {
        let callers = trusting(&["10.0.0.0/24"]);
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
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
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
                caller(&callers, "10.0.0.1", &lines),
                Some(ip("203.0.113.7")),
                "{lines:?}"
            );
        }
    }

    // C3
    #[test]
    fn all_trusted_or_more_than_32_hops_are_nobody() {
        let callers = trusting(&["10.0.0.0/24"]);
        assert_eq!(caller(&callers, "10.0.0.1", &["10.0.0.2, 10.0.0.3"]), None);
        let chain = |trusted: usize| format!("203.0.113.7{}", ", 10.0.0.2".repeat(trusted));
        assert_eq!(
            caller(&callers, "10.0.0.1", &[&chain(31)]),
            Some(ip("203.0.113.7"))
        );
        assert_eq!(caller(&callers, "10.0.0.1", &[&chain(32)]), None);
    }

    // C4
    #[test]
    fn a_hop_that_does_not_parse_makes_the_caller_unknown() {
        let callers = trusting(&["10.0.0.1"]);
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
        ];
        for hop in bad {
            assert_eq!(
                caller(&callers, "10.0.0.1", &[&format!("203.0.113.9, {hop}")]),
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
            assert_eq!(
                caller(&callers, "10.0.0.1", &[hop]),
                Some(ip(expected)),
                "{hop}"
            );
        }
    }

    // C5
    #[test]
    fn a_trusted_peer_without_the_header_is_nobody_and_not_the_proxy() {
        assert_eq!(caller(&trusting(&["10.0.0.1"]), "10.0.0.1", &[]), None);
    }

    // C6
    #[test]
    fn exactly_the_one_configured_header_is_read() {
        let callers = Callers::check(&["10.0.0.1".to_owned()], Some("CF-Connecting-IP")).unwrap();
        let mut headers = forwarded(&["198.51.100.1"]);
        for name in ["forwarded", "x-real-ip", "true-client-ip"] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static("198.51.100.1"),
            );
        }
        assert_eq!(callers.address(Some(ip("10.0.0.1")), &headers), None);
        headers.append(
            HeaderName::from_static("cf-connecting-ip"),
            HeaderValue::from_static("203.0.113.7"),
        );
        assert_eq!(
            callers.address(Some(ip("10.0.0.1")), &headers),
            Some(ip("203.0.113.7"))
        );
    }

    // C7
    #[test]
    fn a_mapped_peer_is_the_ipv4_proxy() {
        let callers = trusting(&["10.0.0.0/24"]);
        assert_eq!(
            caller(&callers, "::ffff:10.0.0.1", &["203.0.113.7"]),
            Some(ip("203.0.113.7"))
        );
        assert_eq!(
            caller(&callers, "10.0.0.1", &["203.0.113.7, ::ffff:10.0.0.9"]),
            Some(ip("203.0.113.7"))
        );
    }

    // C13
    #[test]
    fn a_unix_socket_is_unknown_unless_it_is_declared_a_proxy() {
        assert_eq!(
            trusting(&["10.0.0.1"]).address(None, &forwarded(&["203.0.113.7"])),
            None
        );
        let callers = trusting(&["unix"]);
        assert_eq!(
            callers.address(None, &forwarded(&["203.0.113.7"])),
            Some(ip("203.0.113.7"))
        );
        assert_eq!(callers.address(None, &forwarded(&[])), None);
        assert_eq!(
            caller(&callers, "10.0.0.1", &["203.0.113.7"]),
            Some(ip("10.0.0.1"))
        );
    }

    // C15
    #[test]
    fn trusting_everybody_refuses_to_start() {
        let refused = |proxies: &[String], header: Option<&str>| {
            Callers::check(proxies, header).unwrap_err().is_setting()
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
        let everything: Vec<String> = (0..=255).map(|first| format!("{first}.0.0.0/8")).collect();
        assert!(refused(&everything, None), "256 blocks of /8");
        assert!(
            Callers::check(&everything[1..], None).is_ok(),
            "all but one"
        );
        assert!(
            refused(&[], Some("X-Forwarded-For")),
            "a header that nobody writes"
        );
        assert!(refused(&["10.0.0.1".to_owned()], Some("Forwarded")));
        assert!(refused(&["10.0.0.1".to_owned()], Some("X Forwarded")));
    }

    // C16
    #[test]
    fn ten_thousand_hops_and_a_hundred_kilobytes_are_bounded_work() {
        let callers = trusting(&["10.0.0.0/24"]);
        let inputs = [
            "10.0.0.2,".repeat(10_000),
            "1".repeat(100_000),
            ",".repeat(100_000),
            format!("{}, 203.0.113.7", "junk,".repeat(20_000)),
        ];
        for (input, expected) in inputs
            .iter()
            .zip([None, None, None, Some(ip("203.0.113.7"))])
        {
            let headers = forwarded(&[input]);
            // The best of many, so that a busy machine does not count: a thousand times the bound is still far off.
            let best = (0..50)
                .map(|_| {
                    let started = Instant::now();
                    assert_eq!(callers.address(Some(ip("10.0.0.1")), &headers), expected);
                    started.elapsed()
                })
                .min();
            assert!(best < Some(Duration::from_millis(10)), "{best:?}");
        }
    }
}
