//! The IP allow list of a key.
//!
//! The standard library parses addresses. This module has its own parser for CIDR blocks, because
//! some other parsers accept notations such as `010.0.0.0/8` and `/255.0.0.0`. An entry that two
//! programs read differently is a vulnerability (CVE-2021-29922).

#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::{client_ip::ClientIp, error::Error};

/// The text that allows any address of either family, as in the Flask recipe that this crate
/// mirrors.
const ANY: &str = "0.0.0.0";
/// The prefix length of `::ffff:0:0/96`, the block of IPv4 addresses within IPv6 (RFC 4291, section
/// 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// The IP allow list of a key, as stored in the column `allowed_ips`.
///
/// The text `0.0.0.0` alone allows any address of either family. Any other text is a list of
/// addresses and CIDR blocks (RFC 4632, RFC 4291) separated by single spaces. An empty text allows
/// no address. `0.0.0.0/0` allows any IPv4 address, `::/0` any IPv6 address.
///
/// ```
/// use api_key_runtime::admin::AllowedIps;
///
/// let allowed: AllowedIps = "10.0.0.0/8 2001:db8::1".parse()?;
/// assert!(allowed.allows("10.1.2.3".parse().ok()));
/// assert!(!allowed.allows("11.1.2.3".parse().ok()));
/// assert!(!allowed.allows(None)); // a caller whose address is unknown
/// assert!("10.1.2.3/8".parse::<AllowedIps>().is_err());
/// # Ok::<(), api_key_runtime::Error>(())
/// ```
#[doc(alias = "allowlist")]
#[doc(alias = "whitelist")]
#[doc(alias = "cidr")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedIps {
    text: Box<str>,
    rules: Rules,
}

/// The parsed list, which requests are checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    Any,
    Blocks(Box<[Block]>),
    /// A text that does not parse. Such a text allows no address. If only the bad entry were
    /// skipped, `0.0.0.0 junk` would allow any address.
    Unreadable,
}

impl AllowedIps {
    /// Returns the list that allows any address of either family, and an unknown client IP.
    #[must_use]
    pub fn any() -> Self {
        Self { text: ANY.into(), rules: Rules::Any }
    }

    /// Returns the list for a text from the column `allowed_ips`. A text that does not parse allows
    /// no address; see [`is_readable`](Self::is_readable).
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        if text.is_empty() {
            return Self { text: text.into(), rules: Rules::Blocks(Box::default()) };
        }
        text.parse().unwrap_or_else(|_| Self { text: text.into(), rules: Rules::Unreadable })
    }

    /// Returns whether the text is a valid list. An unreadable list allows no address.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.rules.are_readable()
    }

    /// Returns the text of the column `allowed_ips`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether the list allows this client IP. `None` is an unknown client IP. The
    /// unspecified address `::`, which no client has, also counts as unknown.
    #[must_use]
    pub fn allows(&self, address: Option<IpAddr>) -> bool {
        self.rules.allows(address.into())
    }

    /// Returns the first entry of the list that allows this client IP: `any`, an address or a
    /// block.
    #[cfg(feature = "_diesel")]
    pub(crate) fn entry_that_allows(&self, address: Option<IpAddr>) -> Option<String> {
        match &self.rules {
            Rules::Any => Some("any".to_owned()),
            Rules::Blocks(blocks) => {
                let address = ClientIp::from(address).known()?;
                blocks.iter().find(|block| block.contains(address)).map(ToString::to_string)
            }
            Rules::Unreadable => None,
        }
    }

    /// Joins two lists: the result allows the addresses of both. An unreadable list makes the
    /// result unreadable, unless the other list allows any address.
    pub(crate) fn or(self, other: Self) -> Self {
        match (&self.rules, &other.rules) {
            (Rules::Any, _) => self,
            (_, Rules::Any) => other,
            _ if self.text.is_empty() => other,
            _ if other.text.is_empty() => self,
            _ => Self::from_stored(&format!("{self} {other}")),
        }
    }

    pub(crate) fn into_rules(self) -> Rules {
        self.rules
    }
}

impl Rules {
    pub(crate) fn are_readable(&self) -> bool {
        *self != Self::Unreadable
    }

    #[inline]
    pub(crate) fn allows(&self, client_ip: ClientIp) -> bool {
        match self {
            Self::Any => true,
            Self::Blocks(blocks) => client_ip
                .known()
                .is_some_and(|address| blocks.iter().any(|block| block.contains(address))),
            Self::Unreadable => false,
        }
    }
}

impl fmt::Display for AllowedIps {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Parses an IP allow list strictly, and converts it to its canonical text.
impl FromStr for AllowedIps {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == ANY {
            return Ok(Self::any());
        }
        if text.contains(',') {
            return Err(Error::invalid_input(format!(
                "the IP allow list {text:?} has a comma: separate addresses by spaces"
            )));
        }
        let blocks = text.split(' ').map(Block::parse).collect::<Result<Vec<_>, _>>()?;
        let text = blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        Ok(Self { text: text.into(), rules: Rules::Blocks(blocks.into()) })
    }
}

/// Returns the text of the column `allowed_ips`, so that the setters of
/// [`NewKey`](crate::admin::NewKey) accept this type.
impl AsRef<str> for AllowedIps {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// An address and a prefix length in canonical form: never an IPv4-mapped IPv6 address, and never
/// with host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    base: IpAddr,
    prefix: u8,
}

impl Block {
    /// Parses `ADDRESS` or `ADDRESS/PREFIX`, and rejects every other notation.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let reject = |why: String| {
            Error::invalid_input(format!("invalid IP address or CIDR block {text:?}: {why}"))
        };
        if text.is_empty() {
            return Err(reject(
                "it is empty; write addresses separated by single spaces".to_owned(),
            ));
        }
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        // The parser of the standard library is strict: it rejects zones, ports, spaces, and IPv4
        // addresses in hexadecimal, with leading zeros or with fewer than four numbers.
        let written: IpAddr = address
            .parse()
            .map_err(|_| reject(format!("{address:?} is not an IPv4 or IPv6 address")))?;
        let prefix = match prefix {
            None => bits(written),
            Some(digits) => parse_prefix(digits, bits(written)).ok_or_else(|| {
                reject(format!(
                    "/{digits} is not a prefix length from 0 to {} without leading zeros",
                    bits(written)
                ))
            })?,
        };
        let block = Self::canonical(written, prefix).ok_or_else(|| {
            reject(format!("an IPv4-mapped block needs a prefix of {MAPPED_PREFIX} or more; write the IPv4 block instead"))
        })?;
        let network = block.network();
        if network != block {
            return Err(reject(format!(
                "it has host bits; write {network} for the block, or {} for the address",
                block.base
            )));
        }
        if block.base.is_unspecified() && block.prefix == bits(block.base) {
            return Err(reject(format!(
                "it is the unspecified address; write {ANY} alone to allow any address"
            )));
        }
        Ok(block)
    }

    /// Returns the block in canonical form: `a.b.c.d` for `::ffff:a.b.c.d`. Returns `None` for an
    /// IPv4-mapped address with a prefix length below 96.
    fn canonical(written: IpAddr, prefix: u8) -> Option<Self> {
        match (written, written.to_canonical()) {
            (IpAddr::V6(_), base @ IpAddr::V4(_)) => {
                Some(Self { base, prefix: prefix.checked_sub(MAPPED_PREFIX)? })
            }
            _ => Some(Self { base: written, prefix }),
        }
    }

    pub(crate) fn is_ipv4(self) -> bool {
        self.base.is_ipv4()
    }

    /// Returns the length of the prefix, in bits.
    pub(crate) fn prefix(self) -> u8 {
        self.prefix
    }

    /// Returns the first and the last address as integers.
    pub(crate) fn range(self) -> (u128, u128) {
        match self.base {
            IpAddr::V4(base) => {
                let first = base.to_bits();
                (first.into(), (first | !mask_v4(self.prefix)).into())
            }
            IpAddr::V6(base) => {
                let first = base.to_bits();
                (first, first | !mask_v6(self.prefix))
            }
        }
    }

    fn network(self) -> Self {
        let base = match self.base {
            IpAddr::V4(base) => {
                IpAddr::V4(Ipv4Addr::from_bits(base.to_bits() & mask_v4(self.prefix)))
            }
            IpAddr::V6(base) => {
                IpAddr::V6(Ipv6Addr::from_bits(base.to_bits() & mask_v6(self.prefix)))
            }
        };
        Self { base, prefix: self.prefix }
    }

    /// Returns whether a canonical address is in this block. Addresses are compared as numbers,
    /// never as text.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                (base.to_bits() ^ address.to_bits()) & mask_v4(self.prefix) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                (base.to_bits() ^ address.to_bits()) & mask_v6(self.prefix) == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.base)?;
        if self.prefix < bits(self.base) {
            write!(formatter, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

fn parse_prefix(digits: &str, most: u8) -> Option<u8> {
    let canonical = digits == "0"
        || (!digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.parse().ok().filter(|&prefix| canonical && prefix <= most)
}
