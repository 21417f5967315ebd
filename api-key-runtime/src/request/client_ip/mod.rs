//! Determines the client IP: the peer address, or the address that trusted proxies forward.
//!
//! The forwarding header is read only if the peer is trusted. The addresses in the header, the
//! hops, are read from right to left. The first hop that is not a trusted proxy is the client IP.
//! The caller controls everything to the left of that hop, so the remaining hops are ignored.

#[cfg(test)]
mod tests;
mod unknown;

use std::net::{IpAddr, Ipv6Addr};

use actix_web::{
    HttpRequest,
    http::header::{HeaderMap, HeaderName, HeaderValue},
};

pub(crate) use self::unknown::UnknownIp;
use super::key_location::is_reserved;
use crate::{allowed_ips::Block, client_ip::ClientIp, error::Error};

/// Maximum number of hops to follow. A longer chain of trusted hops yields no client IP.
const MAX_HOPS: usize = 32;
/// Maximum length of a hop: `[`, 45 characters of an IPv6 address, `]:` and a port.
const MAX_HOP_BYTES: usize = 53;
/// Minimum prefix lengths of a trusted block. Every host in a trusted block can choose its client
/// IP, so a wider block is an error.
const MIN_PREFIX_V4: u8 = 8;
const MIN_PREFIX_V6: u8 = 16;
const DEFAULT_HEADER: &str = "X-Forwarded-For";

/// The proxies whose forwarding header is trusted.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedProxies {
    /// `None` if every forwarding header is ignored.
    proxies: Option<Proxies>,
}

#[derive(Clone, Debug)]
struct Proxies {
    blocks: Box<[Block]>,
    unix_socket: bool,
    header: HeaderName,
}

impl TrustedProxies {
    /// Checks the addresses of the proxies and the name of the header that they write.
    pub(crate) fn check(
        proxies: &[String],
        unix_socket: bool,
        header: Option<&str>,
    ) -> Result<Self, Error> {
        if proxies.is_empty() && !unix_socket {
            return match header {
                None => Ok(Self::default()),
                Some(_) => Err(Error::config(
                    "a forwarding header is set without a trusted proxy; set trusted_proxies (APP_KEY_TRUSTED_PROXIES) or \
                     unset forwarded_header (APP_KEY_FORWARDED_HEADER)",
                )),
            };
        }
        let mut blocks = Vec::with_capacity(proxies.len());
        for proxy in proxies {
            blocks.push(trusted_block(proxy)?);
        }
        if covers_a_family(&blocks) {
            return Err(Error::config(
                "the trusted proxies cover every address, so any caller could choose its client IP; \
                 set trusted_proxies (APP_KEY_TRUSTED_PROXIES) to the addresses of the proxies",
            ));
        }
        let header = forwarding_header(header.unwrap_or(DEFAULT_HEADER))?;
        Ok(Self { proxies: Some(Proxies { blocks: blocks.into(), unix_socket, header }) })
    }

    /// Returns whether any proxy is trusted.
    pub(crate) fn are_configured(&self) -> bool {
        self.proxies.is_some()
    }

    /// Returns the client IP of a request.
    #[inline]
    pub(crate) fn client_ip_of(&self, request: &HttpRequest) -> ClientIp {
        let peer = request.peer_addr().map(|peer| peer.ip());
        // Shorter than `client_ip`, for the bench `instructions`.
        if self.proxies.is_none() {
            return peer.into();
        }
        self.client_ip(peer, request.headers()).ok().into()
    }

    /// Returns the canonical client IP, or the reason why the client IP is unknown.
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

    /// Returns the first hop from the right that is not a trusted proxy.
    fn caller(&self, headers: &HeaderMap) -> Result<IpAddr, UnknownIp<'_>> {
        // All lines of the header, in order, form one list (RFC 9110, section 5.3). The last line
        // is read first, because it contains the rightmost hops.
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

/// Parses `a.b.c.d`, `a.b.c.d:port`, an IPv6 address, `[v6]` or `[v6]:port`. Rejects everything
/// else, and also the unspecified addresses, which no client has (RFC 4291, section 2.5.2).
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    // White space may surround the elements of a list (RFC 9110, section 5.6.3).
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
            "the trusted proxy {text:?} has a comma; separate addresses by spaces (APP_KEY_TRUSTED_PROXIES)"
        )));
    }
    let block = Block::parse(text).map_err(|error| {
        Error::config(format!("invalid trusted proxy (APP_KEY_TRUSTED_PROXIES): {error}"))
    })?;
    let least = if block.is_ipv4() { MIN_PREFIX_V4 } else { MIN_PREFIX_V6 };
    if block.prefix() < least {
        return Err(Error::config(format!(
            "the trusted proxies {block} are wider than /{least}; set trusted_proxies (APP_KEY_TRUSTED_PROXIES) to the addresses of the \
             proxies, not to their network"
        )));
    }
    Ok(block)
}

/// Returns whether the blocks cover all IPv4 addresses or all IPv6 addresses.
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
    // A name in quotes may be a valid header name, because `'` is permitted in header names. But no
    // proxy sends such a header.
    let unquoted = name.trim_matches(['"', '\'', '`']);
    if unquoted != name {
        return Err(Error::config(format!(
            "the forwarding header {name:?} is in quotes; write {unquoted} without them (APP_KEY_FORWARDED_HEADER)"
        )));
    }
    let header = HeaderName::try_from(name).map_err(|_| {
        Error::config(format!(
            "{name:?} is not a header name; write a name such as X-Forwarded-For (APP_KEY_FORWARDED_HEADER)"
        ))
    })?;
    if is_reserved(&header) {
        return Err(Error::config(format!(
            "{name} is not a forwarding header: no proxy writes the client IP to it; use X-Forwarded-For, or the header that your \
             proxy writes (APP_KEY_FORWARDED_HEADER)"
        )));
    }
    if header.as_str() == "forwarded" {
        return Err(Error::config(
            "Forwarded (RFC 7239) is not supported: its quoted strings let a caller hide hops; configure the proxy to write \
             X-Forwarded-For or another header that contains only addresses (APP_KEY_FORWARDED_HEADER)",
        ));
    }
    Ok(header)
}
