//! Address ranges, as rules about clients name them.

use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses, such as `10.0.0.0/8`, or a single one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// All of the range's addresses begin with its first `bits` bits; the others are 0.
    base: u128,
    bits: u32,
    v6: bool,
}

/// An address's bits, IPv4's at the top.
fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => u128::from(u32::from(four)) << 96,
        IpAddr::V6(six) => six.into(),
    }
}

fn first(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

impl Network {
    /// Whether the address is in the range. An IPv4 address in IPv6's clothes is an IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv6() == self.v6 && bits_of(address) & first(self.bits) == self.base
    }
}

impl FromStr for Network {
    type Err = String;

    /// Reads `address` or `address/bits`.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no address or range; write it like 10.0.0.7 or 10.0.0.0/8");
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv6() { 128 } else { 32 };
        let bits = bits.map_or(Some(width), |b| b.parse().ok().filter(|b| *b <= width)).ok_or_else(wrong)?;
        let base = bits_of(address);
        if base & first(bits) != base {
            return Err(format!(
                "'{text}' names an address within a range; its last {} bits must be 0",
                width - bits
            ));
        }
        Ok(Self { base, bits, v6: address.is_ipv6() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(range: &str, address: &str) -> bool {
        range.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_range_holds_its_addresses_and_no_others() {
        assert!(has("10.0.0.0/8", "10.255.1.2") && !has("10.0.0.0/8", "11.0.0.0"));
        assert!(has("10.0.0.7", "10.0.0.7") && !has("10.0.0.7", "10.0.0.6"));
        assert!(has("0.0.0.0/0", "203.0.113.9") && !has("0.0.0.0/0", "2001:db8::1"));
        assert!(has("2001:db8::/32", "2001:db8:1::9") && !has("2001:db8::/32", "2001:db9::"));
        assert!(has("::/0", "2001:db8::1") && !has("::/0", "10.0.0.1"));
        assert!(has("10.0.0.0/8", "::ffff:10.1.2.3"));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in
            ["", "10.0.0.0/33", "10.0.0", "10.0.0.0/x", "10.0.0.0/", "10.0.0.1/8", "::1/129", "db.example/8"]
        {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
