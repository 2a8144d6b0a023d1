//! The PROXY protocol, version 2: a header in which a load balancer says whose connection it passes on.
//!
//! Source: "The PROXY protocol", HAProxy, section 2.2. Its extra fields (TLVs) are passed over, the optional checksum
//! among them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{Reader, Result, WireError};

/// Bytes of the part that every header has.
pub const FIXED_LEN: usize = 16;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From the balancer itself, such as a health check, or from where it does not say.
    Balancer,
    /// From this client.
    Client(SocketAddr),
}

/// How many bytes follow the fixed part.
///
/// # Errors
/// If these are not the first [`FIXED_LEN`] bytes of a header.
pub fn rest_len(fixed: &[u8]) -> Result<usize> {
    let mut r = Reader::new(fixed);
    if r.bytes(SIGNATURE.len(), "PROXY header")? != SIGNATURE {
        return Err(WireError::Malformed("PROXY header"));
    }
    if r.u8("PROXY version")? >> 4 != 2 {
        return Err(WireError::Malformed("PROXY version"));
    }
    r.u8("PROXY family")?;
    // The only integers of a MySQL connection in the network's order.
    let len = r.bytes(2, "PROXY length")?;
    Ok(usize::from(len[0]) << 8 | usize::from(len[1]))
}

/// Reads a whole header.
///
/// # Errors
/// If it ends early, or speaks of a command or a kind of address that a MySQL connection cannot have.
pub fn parse(header: &[u8]) -> Result<Origin> {
    let mut r = Reader::new(header);
    let fixed = r.bytes(FIXED_LEN, "PROXY header")?;
    let rest = r.bytes(rest_len(fixed)?, "PROXY addresses")?;
    let (command, family) = (fixed[12] & 0x0F, fixed[13]);
    let mut r = Reader::new(rest);
    let mut address = |octets: usize| -> Result<SocketAddr> {
        let source = r.bytes(octets, "PROXY source address")?;
        r.bytes(octets, "PROXY destination address")?;
        let port = r.bytes(2, "PROXY source port")?;
        r.bytes(2, "PROXY destination port")?;
        let ip: IpAddr = match (<[u8; 4]>::try_from(source), <[u8; 16]>::try_from(source)) {
            (Ok(four), _) => Ipv4Addr::from(four).into(),
            (_, Ok(sixteen)) => Ipv6Addr::from(sixteen).into(),
            _ => return Err(WireError::Malformed("PROXY source address")),
        };
        Ok(SocketAddr::new(ip.to_canonical(), u16::from_be_bytes([port[0], port[1]])))
    };
    match (command, family) {
        (0, _) | (1, 0x00) => Ok(Origin::Balancer),
        (1, 0x11) => address(4).map(Origin::Client),
        (1, 0x21) => address(16).map(Origin::Client),
        _ => Err(WireError::Unsupported("PROXY command or address family".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &len, rest].concat()
    }

    #[test]
    fn clients_of_both_address_families_are_named_and_extra_fields_passed_over() {
        let four =
            [[192, 0, 2, 7].as_slice(), &[10, 0, 0, 1], &[0xC3, 0x50, 0x0C, 0xEA], &[4, 0, 1, 9]].concat();
        assert_eq!(parse(&header(1, 0x11, &four)), Ok(Origin::Client("192.0.2.7:50000".parse().unwrap())));
        let v6: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let six = [&v6.octets()[..], &[0; 16], &[0, 80, 0, 1]].concat();
        assert_eq!(parse(&header(1, 0x21, &six)), Ok(Origin::Client("[2001:db8::7]:80".parse().unwrap())));
        let mapped: Ipv6Addr = "::ffff:192.0.2.7".parse().unwrap();
        let six = [&mapped.octets()[..], &[0; 16], &[0, 80, 0, 1]].concat();
        assert_eq!(parse(&header(1, 0x21, &six)), Ok(Origin::Client("192.0.2.7:80".parse().unwrap())));
    }

    #[test]
    fn health_checks_and_unknown_sources_count_as_the_balancer() {
        assert_eq!(parse(&header(0, 0x11, &[1; 12])), Ok(Origin::Balancer));
        assert_eq!(parse(&header(0, 0, &[])), Ok(Origin::Balancer));
        assert_eq!(parse(&header(1, 0, &[5; 40])), Ok(Origin::Balancer));
    }

    #[test]
    fn everything_else_is_an_error() {
        let good = header(1, 0x11, &[1; 12]);
        for n in 0..good.len() {
            assert!(parse(&good[..n]).is_err(), "cut at {n}");
        }
        // One address too short, datagrams, a Unix socket, an unknown command, version 1 in a version 2 header.
        for bad in [header(1, 0x11, &[1; 11]), header(1, 0x12, &[1; 12]), header(1, 0x31, &[1; 216])] {
            assert!(parse(&bad).is_err());
        }
        assert!(parse(&header(2, 0x11, &[1; 12])).is_err());
        let mut old = good;
        old[12] = 0x11;
        assert!(parse(&old).is_err());
        assert!(parse(b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 3306\r\n").is_err());
    }
}
