//! The client IP of a request in two machine words.
//!
//! An `Option<IpAddr>` has seventeen bytes, which are written and read in parts of different sizes.
//! The processor then waits for the writes (bench `check`).

use std::net::{IpAddr, Ipv6Addr};

/// A client IP as an IPv6 address: first the high and then the low half of its bits. An IPv4
/// address is mapped (RFC 4291, section 2.5.5.2). `::` means unknown, because no client has this
/// address (section 2.5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientIp {
    pub(crate) halves: [u64; 2],
}

impl ClientIp {
    /// Returns the canonical address, or `None` if the client IP is unknown.
    #[inline]
    pub(crate) fn known(self) -> Option<IpAddr> {
        let [high, low] = self.halves;
        let bits = u128::from(high) << 64 | u128::from(low);
        (bits != 0).then(|| Ipv6Addr::from_bits(bits).to_canonical())
    }
}

impl From<Option<IpAddr>> for ClientIp {
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "each half has the bits that the other one drops"
    )]
    fn from(address: Option<IpAddr>) -> Self {
        let halves = match address {
            None => [0; 2],
            Some(IpAddr::V4(address)) => [0, 0xffff_0000_0000 | u64::from(address.to_bits())],
            Some(IpAddr::V6(address)) => {
                let bits = address.to_bits();
                [(bits >> 64) as u64, bits as u64]
            }
        };
        Self { halves }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_returned_in_canonical_form() {
        for (address, expected) in [
            ("203.0.113.7", Some("203.0.113.7")),
            ("0.0.0.0", Some("0.0.0.0")),
            ("255.255.255.255", Some("255.255.255.255")),
            ("::ffff:203.0.113.7", Some("203.0.113.7")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2:3:4:5:6")),
            ("::1", Some("::1")),
            ("1::", Some("1::")),
            ("::", None),
        ] {
            let ip = |text: &str| text.parse::<IpAddr>().unwrap();
            assert_eq!(ClientIp::from(Some(ip(address))).known(), expected.map(ip), "{address}");
        }
        assert_eq!(ClientIp::from(None).known(), None);
    }
}
