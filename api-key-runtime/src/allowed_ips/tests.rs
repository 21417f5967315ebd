use super::*;

#[allow(clippy::unnecessary_wraps, reason = "the argument of `allows`")]
fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

fn rules(text: &str) -> AllowedIps {
    text.parse().unwrap()
}

// C11
#[test]
fn the_literal_0_0_0_0_alone_is_any_address_of_both_families() {
    let any = rules("0.0.0.0");
    for address in [ip("203.0.113.7"), ip("::1"), ip("::ffff:10.0.0.1"), ip("0.0.0.0"), None] {
        assert!(any.allows(address), "{address:?}");
    }
    let v4 = rules("0.0.0.0/0");
    assert!(v4.allows(ip("203.0.113.7")) && v4.allows(ip("::ffff:203.0.113.7")));
    assert!(!v4.allows(ip("2001:db8::1")) && !v4.allows(None));
    let v6 = rules("::/0");
    assert!(v6.allows(ip("2001:db8::1")));
    assert!(
        !v6.allows(ip("203.0.113.7")) && !v6.allows(ip("::ffff:203.0.113.7")) && !v6.allows(None)
    );
}

// C11
#[test]
fn an_empty_list_allows_no_address_and_near_misses_are_errors() {
    let nobody = AllowedIps::from_stored("");
    assert!(nobody.is_readable());
    for address in [ip("203.0.113.7"), ip("0.0.0.0"), ip("::1"), None] {
        assert!(!nobody.allows(address));
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
            near.parse::<AllowedIps>().unwrap_err().is_invalid_input(),
            "{near:?} was accepted"
        );
        assert!(
            !AllowedIps::from_stored(near).allows(ip("10.0.0.1")),
            "{near:?} in a table allows an address"
        );
        assert!(
            !AllowedIps::from_stored(near).allows(ip("0.0.0.0")),
            "{near:?} in a table allows an address"
        );
    }
}

// C8
#[test]
fn addresses_are_compared_as_numbers() {
    assert!(rules("2001:db8::1").allows(ip("2001:0DB8:0:0:0:0:0:1")));
    assert!(rules("2001:0db8:0000::0001").allows(ip("2001:db8::1")));
    assert!(!rules("10.0.0.1").allows(ip("10.0.0.10")));
    assert!(!rules("10.0.0.0/24").allows(ip("10.0.10.1")));
}

// C7
#[test]
fn ipv4_mapped_addresses_and_rules_are_ipv4() {
    assert!(rules("203.0.113.7").allows(ip("::ffff:203.0.113.7")));
    assert!(rules("::ffff:203.0.113.7").allows(ip("203.0.113.7")));
    assert_eq!(rules("::ffff:10.0.0.0/104").as_str(), "10.0.0.0/8");
    assert!(rules("::ffff:10.0.0.0/104").allows(ip("10.255.0.1")));
    for wide in ["::ffff:0:0/95", "::ffff:10.0.0.0/8", "::ffff:0.0.0.0/0"] {
        assert!(wide.parse::<AllowedIps>().is_err(), "{wide}");
    }
}

// C9
#[test]
fn entries_that_programs_read_differently_are_errors() {
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
            text.parse::<AllowedIps>().unwrap_err().is_invalid_input(),
            "{text:?} was accepted"
        );
        assert!(!AllowedIps::from_stored(text).is_readable());
    }
}

// C10
#[test]
fn host_bits_are_an_error_that_suggests_the_block() {
    let message = "10.1.2.3/8".parse::<AllowedIps>().unwrap_err().to_string();
    assert!(message.contains("10.0.0.0/8") && message.contains("10.1.2.3"), "{message}");
    let message = "2001:db8::1/32".parse::<AllowedIps>().unwrap_err().to_string();
    assert!(message.contains("2001:db8::/32"), "{message}");
}

// C12
#[test]
fn an_unreadable_entry_rejects_every_address() {
    let rules = AllowedIps::from_stored("10.0.0.1 junk");
    assert!(!rules.is_readable());
    assert!(!rules.allows(ip("10.0.0.1")));
    assert_eq!(rules.as_str(), "10.0.0.1 junk");
}

#[test]
fn a_block_contains_exactly_its_addresses() {
    let block = rules("10.1.0.0/16");
    for (address, inside) in
        [("10.0.255.255", false), ("10.1.0.0", true), ("10.1.255.255", true), ("10.2.0.0", false)]
    {
        assert_eq!(block.allows(ip(address)), inside, "{address}");
    }
    let block = rules("2001:db8::/33");
    for (address, inside) in [("2001:db8:7fff::", true), ("2001:db8:8000::", false), ("::", false)]
    {
        assert_eq!(block.allows(ip(address)), inside, "{address}");
    }
    assert!(rules("255.255.255.255").allows(ip("255.255.255.255")));
    assert_eq!(rules("2001:DB8::/32 10.0.0.1/32").as_str(), "2001:db8::/32 10.0.0.1");
}

/// Returns the leading bits of an address as text: the function is slow, but simple enough to be
/// correct.
fn leading_bits(address: IpAddr, count: usize) -> String {
    let bits = match address {
        IpAddr::V4(address) => format!("4:{:032b}", address.to_bits()),
        IpAddr::V6(address) => format!("6:{:0128b}", address.to_bits()),
    };
    bits[..count + 2].to_owned()
}

// C7, C8, C10, H3
#[test]
fn any_block_matches_a_plain_reference_implementation() {
    let mut seed = 11_u128;
    let mut draw = || {
        seed = seed.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
        seed ^ (seed >> 64)
    };
    let mut held = 0;
    for _ in 0..50_000 {
        let (base, width) = if draw() % 2 == 0 {
            (IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(draw() >> 96).unwrap())), 32)
        } else {
            (IpAddr::V6(Ipv6Addr::from_bits(draw())), 128)
        };
        let prefix = usize::try_from(draw() % (width + 1)).unwrap();
        // This address differs from the base in one bit, inside or after the prefix.
        let flipped = 1_u128 << (draw() % width);
        let other = match base {
            IpAddr::V4(base) => {
                IpAddr::V4(Ipv4Addr::from_bits(base.to_bits() ^ u32::try_from(flipped).unwrap()))
            }
            IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from_bits(base.to_bits() ^ flipped)),
        };
        let block = Block { base, prefix: u8::try_from(prefix).unwrap() };
        let expected = leading_bits(base, prefix) == leading_bits(other, prefix);
        assert_eq!(block.contains(other), expected, "{base}/{prefix} {other}");
        assert!(block.contains(base));
        held += usize::from(expected);
        // The text is accepted if and only if no bit after the prefix is set and it is not the
        // unspecified address alone.
        let after_prefix =
            leading_bits(base, usize::try_from(width).unwrap())[prefix + 2..].contains('1');
        let whole_and_unspecified =
            base.is_unspecified() && prefix == usize::try_from(width).unwrap();
        let parsed = Block::parse(&format!("{base}/{prefix}"));
        assert_eq!(parsed.is_ok(), !after_prefix && !whole_and_unspecified, "{base}/{prefix}");
        let network = block.network();
        if !(network.base.is_unspecified() && prefix == usize::try_from(width).unwrap()) {
            assert_eq!(Block::parse(&format!("{}/{prefix}", network.base)).unwrap(), network);
        }
    }
    assert!((10_000..40_000).contains(&held), "{held} of 50 000 addresses were in their block");
}

#[test]
fn a_list_is_displayed_in_its_canonical_form() {
    for text in ["0.0.0.0", "", "10.0.0.0/8 2001:db8::1"] {
        assert_eq!(AllowedIps::from_stored(text).to_string(), text);
    }
    let block = Block::parse("::ffff:192.0.2.0/120").unwrap();
    assert_eq!(block.to_string(), "192.0.2.0/24");
    assert_eq!(block.range(), (0xc000_0200, 0xc000_02ff));
    let block = Block::parse("2001:db8::/127").unwrap();
    let first = 0x2001_0db8_u128 << 96;
    assert_eq!(block.range(), (first, first + 1));
}

#[test]
fn two_joined_lists_allow_the_addresses_of_both() {
    let (any, home, office) = (AllowedIps::any(), rules("10.0.0.1"), rules("192.0.2.0/24"));
    assert_eq!(any.clone().or(home.clone()), any);
    assert_eq!(home.clone().or(any.clone()), any);
    let both = home.clone().or(office);
    assert_eq!(both.as_ref(), "10.0.0.1 192.0.2.0/24");
    for (address, expected) in [("10.0.0.1", true), ("192.0.2.7", true), ("10.0.0.2", false)] {
        assert_eq!(both.allows(ip(address)), expected, "{address}");
    }
    let empty = AllowedIps::from_stored("");
    assert_eq!(empty.clone().or(home.clone()), home);
    assert_eq!(home.clone().or(empty), home);
    let nobody = AllowedIps::from_stored("junk").or(home);
    assert!(!nobody.allows(ip("10.0.0.1")), "an unreadable list makes both unreadable");
}
