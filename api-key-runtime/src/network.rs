//! Address rules: which addresses a key may be used from.
//!
//! The parser is our own, because the libraries accept `010.0.0.0/8` and `/255.0.0.0` (CVE-2021-29922 is what came of leniency), and
//! because a rule that two programs read differently is a hole.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::Error;

/// The literal text that stands for any address of either family, as in the recipe this crate mirrors.
const ANY: &str = "0.0.0.0";
/// `::ffff:0:0/96`, where IPv4 addresses appear within IPv6 (RFC 4291, section 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// The addresses a key may be used from: the column `allowed_ips`.
///
/// `0.0.0.0` standing alone is any address of either family; otherwise addresses and CIDR blocks (RFC 4632, RFC 4291) separated by
/// single spaces. An empty text is nobody. `0.0.0.0/0` is any IPv4 address, `::/0` any IPv6 address.
///
/// ```
/// use api_key_runtime::AddressRules;
///
/// let rules: AddressRules = "10.0.0.0/8 2001:db8::1".parse()?;
/// assert!(rules.allow("10.1.2.3".parse().ok()));
/// assert!(!rules.allow("11.1.2.3".parse().ok()));
/// assert!(!rules.allow(None)); // a caller whose address is unknown
/// assert!("10.1.2.3/8".parse::<AddressRules>().is_err());
/// # Ok::<(), api_key_runtime::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRules {
    text: Box<str>,
    rules: Rules,
}

/// What the text means; all that requests are judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    Any,
    Blocks(Box<[Block]>),
    /// A text nobody could have written through us. It admits nobody: a rule is never skipped.
    Unreadable,
}

impl AddressRules {
    /// Any address of either family, and callers whose address is unknown.
    #[must_use]
    pub fn any() -> Self {
        Self {
            text: ANY.into(),
            rules: Rules::Any,
        }
    }

    /// The rules in a table's column. A text that does not parse admits nobody; see [`is_readable`](Self::is_readable).
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        if text.is_empty() {
            return Self {
                text: text.into(),
                rules: Rules::Blocks(Box::default()),
            };
        }
        text.parse().unwrap_or_else(|_| Self {
            text: text.into(),
            rules: Rules::Unreadable,
        })
    }

    /// Whether the text could be read. Where it could not, the rules admit nobody.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.rules.are_readable()
    }

    /// The text of the column `allowed_ips`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a caller from this address is admitted; `None` is a caller whose address is unknown.
    #[must_use]
    pub fn allow(&self, address: Option<IpAddr>) -> bool {
        self.rules.allow(address)
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
    pub(crate) fn allow(&self, address: Option<IpAddr>) -> bool {
        match (self, address) {
            (Self::Any, _) => true,
            (Self::Blocks(blocks), Some(address)) => {
                let address = address.to_canonical();
                blocks.iter().any(|block| block.contains(address))
            }
            (Self::Blocks(_), None) | (Self::Unreadable, _) => false,
        }
    }
}

impl fmt::Display for AddressRules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Parses rules as they are written by people, strictly, into their canonical text.
impl FromStr for AddressRules {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == ANY {
            return Ok(Self::any());
        }
        let blocks = text
            .split(' ')
            .map(Block::parse)
            .collect::<Result<Vec<_>, _>>()?;
        let text = blocks
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ");
        Ok(Self {
            text: text.into(),
            rules: Rules::Blocks(blocks.into()),
        })
    }
}

/// An address and how many of its leading bits count, canonical: never an IPv4-mapped IPv6 address, no host bits set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    base: IpAddr,
    prefix: u8,
}

impl Block {
    /// Reads `ADDRESS` or `ADDRESS/PREFIX`, and nothing that only resembles them.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let refuse =
            |why: String| Error::input(format!("the address rule {text:?} is unusable: {why}"));
        if text.is_empty() {
            return Err(refuse(
                "it is empty; write addresses separated by single spaces".to_owned(),
            ));
        }
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        // std's parser is strict: no leading zeros, no hex, no short forms, no zone, no port, no space.
        let written: IpAddr = address
            .parse()
            .map_err(|_| refuse(format!("{address:?} is not an IPv4 or IPv6 address")))?;
        let prefix = match prefix {
            None => bits(written),
            Some(digits) => parse_prefix(digits, bits(written)).ok_or_else(|| {
                refuse(format!(
                    "/{digits} is not a prefix length from 0 to {} without leading zeros",
                    bits(written)
                ))
            })?,
        };
        let block = Self::canonical(written, prefix).ok_or_else(|| {
            refuse(format!("an IPv4-mapped block needs a prefix of {MAPPED_PREFIX} or more; write the IPv4 block instead"))
        })?;
        let network = block.network();
        if network != block {
            return Err(refuse(format!(
                "bits are set after its prefix; {network} is the block, {} the address",
                block.base
            )));
        }
        if block.base.is_unspecified() && block.prefix == bits(block.base) {
            return Err(refuse(format!(
                "no caller has this address; {ANY} standing alone means any address"
            )));
        }
        Ok(block)
    }

    /// `::ffff:a.b.c.d` is `a.b.c.d`; none where the block reaches beyond the mapped addresses.
    fn canonical(written: IpAddr, prefix: u8) -> Option<Self> {
        match (written, written.to_canonical()) {
            (IpAddr::V6(_), base @ IpAddr::V4(_)) => Some(Self {
                base,
                prefix: prefix.checked_sub(MAPPED_PREFIX)?,
            }),
            _ => Some(Self {
                base: written,
                prefix,
            }),
        }
    }

    pub(crate) fn is_ipv4(self) -> bool {
        self.base.is_ipv4()
    }

    /// How many leading bits count.
    pub(crate) fn prefix(self) -> u8 {
        self.prefix
    }

    /// Its first and last address as numbers of its family.
    pub(crate) fn range(self) -> (u128, u128) {
        match self.base {
            IpAddr::V4(base) => {
                let first = base.to_bits() & mask_v4(self.prefix);
                (first.into(), (first | !mask_v4(self.prefix)).into())
            }
            IpAddr::V6(base) => {
                let first = base.to_bits() & mask_v6(self.prefix);
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
        Self {
            base,
            prefix: self.prefix,
        }
    }

    /// Whether a canonical address lies in this block: compared as numbers, never as text.
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
    digits
        .parse()
        .ok()
        .filter(|&prefix| canonical && prefix <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::unnecessary_wraps, reason = "as `allow` takes it")]
    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn rules(text: &str) -> AddressRules {
        text.parse().unwrap()
    }

    // C11
    #[test]
    fn the_literal_0_0_0_0_alone_is_any_address_of_both_families() {
        let any = rules("0.0.0.0");
        for address in [
            ip("203.0.113.7"),
            ip("::1"),
            ip("::ffff:10.0.0.1"),
            ip("0.0.0.0"),
            None,
        ] {
            assert!(any.allow(address), "{address:?}");
        }
        let v4 = rules("0.0.0.0/0");
        assert!(v4.allow(ip("203.0.113.7")) && v4.allow(ip("::ffff:203.0.113.7")));
        assert!(!v4.allow(ip("2001:db8::1")) && !v4.allow(None));
        let v6 = rules("::/0");
        assert!(v6.allow(ip("2001:db8::1")));
        assert!(
            !v6.allow(ip("203.0.113.7")) && !v6.allow(ip("::ffff:203.0.113.7")) && !v6.allow(None)
        );
    }

    // C11
    #[test]
    fn an_empty_rule_is_nobody_and_near_misses_of_any_are_refused() {
        let nobody = AddressRules::from_stored("");
        assert!(nobody.is_readable());
        for address in [ip("203.0.113.7"), ip("0.0.0.0"), ip("::1"), None] {
            assert!(!nobody.allow(address));
        }
        for near in [
            "",
            " ",
            "::ffff:0.0.0.0",
            "0.0.0.0 10.0.0.1",
            "10.0.0.1 0.0.0.0",
            "0.0.0.0 0.0.0.0",
            "0.0.0.0/32",
            "::",
            "::/128",
            " 0.0.0.0",
            "0.0.0.0 ",
            "any",
            "*",
        ] {
            assert!(
                near.parse::<AddressRules>().unwrap_err().is_input(),
                "{near:?} was accepted"
            );
            assert!(
                !AddressRules::from_stored(near).allow(ip("10.0.0.1")),
                "{near:?} in a table admits somebody"
            );
            assert!(
                !AddressRules::from_stored(near).allow(ip("0.0.0.0")),
                "{near:?} in a table admits somebody"
            );
        }
    }

    // C8
    #[test]
    fn addresses_are_compared_as_numbers() {
        assert!(rules("2001:db8::1").allow(ip("2001:0DB8:0:0:0:0:0:1")));
        assert!(rules("2001:0db8:0000::0001").allow(ip("2001:db8::1")));
        assert!(!rules("10.0.0.1").allow(ip("10.0.0.10")));
        assert!(!rules("10.0.0.0/24").allow(ip("10.0.10.1")));
    }

    // C7
    #[test]
    fn ipv4_mapped_addresses_and_rules_are_ipv4() {
        assert!(rules("203.0.113.7").allow(ip("::ffff:203.0.113.7")));
        assert!(rules("::ffff:203.0.113.7").allow(ip("203.0.113.7")));
        assert_eq!(rules("::ffff:10.0.0.0/104").as_str(), "10.0.0.0/8");
        assert!(rules("::ffff:10.0.0.0/104").allow(ip("10.255.0.1")));
        for wide in ["::ffff:0:0/95", "::ffff:10.0.0.0/8", "::ffff:0.0.0.0/0"] {
            assert!(wide.parse::<AddressRules>().is_err(), "{wide}");
        }
    }

    // C9
    #[test]
    fn rules_that_programs_read_differently_are_refused() {
        let bad = [
            "010.0.0.0/8",
            "10.0.0.01",
            "0x0a.0.0.1",
            "0x7f000001",
            "167772161",
            "10.1",
            "10.0.0.1:80",
            "[::1]",
            "[::1]:80",
            "10.0.0.1 ",
            " 10.0.0.1",
            "10.0.0.1  10.0.0.2",
            "10.0.0.1\t",
            "10.0.0.1,10.0.0.2",
            "fe80::1%eth0",
            "fe80::1%1",
            "10.0.0.0/08",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "/8",
            "10.0.0.0/ 8",
            "localhost",
            "1.2.3.4.5",
            ":::",
            "10.0.0.0/256",
            "10.0.0.0/99999999999",
            "１０.0.0.1",
        ];
        for text in bad {
            assert!(
                text.parse::<AddressRules>().unwrap_err().is_input(),
                "{text:?} was accepted"
            );
            assert!(!AddressRules::from_stored(text).is_readable());
        }
    }

    // C10
    #[test]
    fn host_bits_are_refused_with_the_block_that_was_probably_meant() {
        let message = "10.1.2.3/8"
            .parse::<AddressRules>()
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("10.0.0.0/8") && message.contains("10.1.2.3"),
            "{message}"
        );
        let message = "2001:db8::1/32"
            .parse::<AddressRules>()
            .unwrap_err()
            .to_string();
        assert!(message.contains("2001:db8::/32"), "{message}");
    }

    // C12
    #[test]
    fn an_unreadable_rule_in_a_table_admits_nobody_even_beside_a_good_one() {
        let rules = AddressRules::from_stored("10.0.0.1 junk");
        assert!(!rules.is_readable());
        assert!(!rules.allow(ip("10.0.0.1")));
        assert_eq!(rules.as_str(), "10.0.0.1 junk");
    }

    #[test]
    fn a_block_contains_exactly_its_addresses() {
        let block = rules("10.1.0.0/16");
        for (address, inside) in [
            ("10.0.255.255", false),
            ("10.1.0.0", true),
            ("10.1.255.255", true),
            ("10.2.0.0", false),
        ] {
            assert_eq!(block.allow(ip(address)), inside, "{address}");
        }
        let block = rules("2001:db8::/33");
        for (address, inside) in [
            ("2001:db8:7fff::", true),
            ("2001:db8:8000::", false),
            ("::", false),
        ] {
            assert_eq!(block.allow(ip(address)), inside, "{address}");
        }
        assert!(rules("255.255.255.255").allow(ip("255.255.255.255")));
        assert_eq!(
            rules("2001:DB8::/32 10.0.0.1/32").as_str(),
            "2001:db8::/32 10.0.0.1"
        );
    }

    /// The leading bits of an address as text: slow, and too plain to be wrong.
    fn leading_bits(address: IpAddr, count: usize) -> String {
        let bits = match address {
            IpAddr::V4(address) => format!("4:{:032b}", address.to_bits()),
            IpAddr::V6(address) => format!("6:{:0128b}", address.to_bits()),
        };
        bits[..count + 2].to_owned()
    }

    // C7, C8, C10
    #[test]
    fn any_block_holds_the_addresses_that_a_plain_reference_says_it_holds() {
        let mut seed = 11_u128;
        let mut draw = || {
            seed = seed
                .wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645)
                .wrapping_add(1);
            seed ^ (seed >> 64)
        };
        let mut held = 0;
        for _ in 0..50_000 {
            let (base, width) = if draw() % 2 == 0 {
                (
                    IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(draw() >> 96).unwrap())),
                    32,
                )
            } else {
                (IpAddr::V6(Ipv6Addr::from_bits(draw())), 128)
            };
            let prefix = usize::try_from(draw() % (width + 1)).unwrap();
            // An address that differs from the base in one bit, which stands within the prefix or after it.
            let flipped = 1_u128 << (draw() % width);
            let other = match base {
                IpAddr::V4(base) => IpAddr::V4(Ipv4Addr::from_bits(
                    base.to_bits() ^ u32::try_from(flipped).unwrap(),
                )),
                IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from_bits(base.to_bits() ^ flipped)),
            };
            let block = Block {
                base,
                prefix: u8::try_from(prefix).unwrap(),
            };
            let expected = leading_bits(base, prefix) == leading_bits(other, prefix);
            assert_eq!(block.contains(other), expected, "{base}/{prefix} {other}");
            assert!(block.contains(base));
            held += usize::from(expected);
            // As it is written: accepted exactly where no bit is set after the prefix.
            let after_prefix =
                leading_bits(base, usize::try_from(width).unwrap())[prefix + 2..].contains('1');
            let whole_and_unspecified =
                base.is_unspecified() && prefix == usize::try_from(width).unwrap();
            let parsed = Block::parse(&format!("{base}/{prefix}"));
            assert_eq!(
                parsed.is_ok(),
                !after_prefix && !whole_and_unspecified,
                "{base}/{prefix}"
            );
            let network = block.network();
            if !(network.base.is_unspecified() && prefix == usize::try_from(width).unwrap()) {
                assert_eq!(
                    Block::parse(&format!("{}/{prefix}", network.base)).unwrap(),
                    network
                );
            }
        }
        assert!(
            (10_000..40_000).contains(&held),
            "{held} of 50 000 held: the draw is lopsided"
        );
    }
}
