//! Where a request comes from: the peer of its connection, or what proxies that are trusted say.
//!
//! Only a trusted peer's header is read, from the right, past trusted hops: what stands to the left
//! of the first untrusted hop was written by the caller, and never matters.

#[cfg(test)]
mod tests;
mod unknown;

use std::net::{IpAddr, Ipv6Addr};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

pub(crate) use self::unknown::UnknownIp;
use super::key_location::is_reserved;
use crate::{allowed_ips::Block, error::Error};

/// Hops that are walked; a longer chain of trusted ones is nobody's.
const MAX_HOPS: usize = 32;
/// Longest text of a hop: `[`, 45 characters of an IPv6 address, `]:` and a port.
const MAX_HOP_BYTES: usize = 53;
/// Wider blocks than these would trust strangers.
const MIN_PREFIX_V4: u8 = 8;
const MIN_PREFIX_V6: u8 = 16;
const DEFAULT_HEADER: &str = "X-Forwarded-For";

/// How the caller's address is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedProxies {
    /// None: every forwarding header is ignored.
    proxies: Option<Proxies>,
}

#[derive(Clone, Debug)]
struct Proxies {
    blocks: Box<[Block]>,
    unix_socket: bool,
    header: HeaderName,
}

impl TrustedProxies {
    /// Checks the proxies' own addresses and the one header they write.
    pub(crate) fn check(
        proxies: &[String],
        unix_socket: bool,
        header: Option<&str>,
    ) -> Result<Self, Error> {
        if proxies.is_empty() && !unix_socket {
            return match header {
                None => Ok(Self::default()),
                Some(_) => Err(Error::config(
                    "a forwarding header is named, but no trusted proxy that would write it: set trusted_proxies \
                     (APP_KEY_TRUSTED_PROXIES), or leave the header out",
                )),
            };
        }
        let mut blocks = Vec::with_capacity(proxies.len());
        for proxy in proxies {
            blocks.push(trusted_block(proxy)?);
        }
        if covers_a_family(&blocks) {
            return Err(Error::config(
                "the trusted proxies cover every address, so that anyone could say where they are",
            ));
        }
        let header = forwarding_header(header.unwrap_or(DEFAULT_HEADER))?;
        Ok(Self { proxies: Some(Proxies { blocks: blocks.into(), unix_socket, header }) })
    }

    /// Whether any proxy is trusted at all.
    pub(crate) fn are_configured(&self) -> bool {
        self.proxies.is_some()
    }

    /// Returns the caller's canonical address, or why it is unknown.
    #[inline]
    pub(crate) fn client_ip(
        &self,
        peer: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<IpAddr, UnknownIp<'_>> {
        let peer = peer.map(|peer| peer.to_canonical());
        match &self.proxies {
            Some(proxies) if proxies.trust(peer) => proxies.caller(headers),
            _ => peer.ok_or(UnknownIp::NoPeer),
        }
    }
}

impl Proxies {
    fn trust(&self, hop: Option<IpAddr>) -> bool {
        hop.map_or(self.unix_socket, |hop| self.blocks.iter().any(|block| block.contains(hop)))
    }

    /// The first hop from the right that is not a trusted proxy.
    fn caller(&self, headers: &HeaderMap) -> Result<IpAddr, UnknownIp<'_>> {
        // All lines joined in order are one list (RFC 9110, section 5.3); its end is the last
        // line's.
        let lines: Vec<&[u8]> = headers.get_all(&self.header).map(HeaderValue::as_bytes).collect();
        let mut hops = lines.iter().rev().flat_map(|line| line.rsplit(|&byte| byte == b','));
        for hop in hops.by_ref().take(MAX_HOPS) {
            let hop = parse_hop(hop).ok_or(UnknownIp::UnreadableHop(&self.header))?;
            if !self.trust(Some(hop)) {
                return Ok(hop);
            }
        }
        Err(if lines.is_empty() {
            UnknownIp::NoHeader(&self.header)
        } else if hops.next().is_some() {
            UnknownIp::TooManyHops(&self.header)
        } else {
            UnknownIp::OnlyTrustedHops(&self.header)
        })
    }
}

/// `a.b.c.d`, `a.b.c.d:port`, an IPv6 address, `[v6]` or `[v6]:port`, and nothing that only
/// resembles them. No client has the unspecified address (RFC 4291, section 2.5.2).
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
    Some(address.to_canonical()).filter(|address| !address.is_unspecified())
}

fn trim(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    let end =
        text.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last.saturating_add(1));
    text.get(start..end).unwrap_or_default()
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u16>().is_ok()
}

fn trusted_block(text: &str) -> Result<Block, Error> {
    if text.contains(',') {
        return Err(Error::config(format!(
            "the trusted proxy {text:?} has a comma: separate addresses by spaces (APP_KEY_TRUSTED_PROXIES)"
        )));
    }
    let block = Block::parse(text).map_err(|error| {
        Error::config(format!("a trusted proxy (APP_KEY_TRUSTED_PROXIES) is unusable: {error}"))
    })?;
    let least = if block.is_ipv4() { MIN_PREFIX_V4 } else { MIN_PREFIX_V6 };
    if block.prefix() < least {
        return Err(Error::config(format!(
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
        let last_address = if ipv4 { u128::from(u32::MAX) } else { u128::MAX };
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
    // `'` may stand in a header name, so this name would be accepted and no proxy would send it.
    let unquoted = name.trim_matches(['"', '\'', '`']);
    if unquoted != name {
        return Err(Error::config(format!(
            "the forwarding header {name:?} is in quotes; write {unquoted} without them (APP_KEY_FORWARDED_HEADER)"
        )));
    }
    let header = HeaderName::try_from(name).map_err(|_| {
        Error::config(format!("{name:?} is no header name (APP_KEY_FORWARDED_HEADER)"))
    })?;
    if is_reserved(&header) {
        return Err(Error::config(format!(
            "{name} is not a forwarding header: no proxy appends the client IP to it; write X-Forwarded-For, or the header that yours \
             appends it to (APP_KEY_FORWARDED_HEADER)"
        )));
    }
    if header.as_str() == "forwarded" {
        return Err(Error::config(
            "Forwarded (RFC 7239) is not read, because its quoted strings let a caller hide the hops that follow: let the proxy write \
             X-Forwarded-For, or another header that holds addresses alone",
        ));
    }
    Ok(header)
}
