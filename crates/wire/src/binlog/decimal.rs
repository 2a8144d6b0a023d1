//! DECIMAL in the server's packed form: groups of nine digits in four bytes, the first bit flipped, negatives inverted.
//!
//! Source: `decimal2bin` in `strings/decimal.cc`.

use crate::{Result, WireError};

const DIGITS_PER_GROUP: usize = 9;
/// Bytes that 0 to 8 leftover digits take.
const LEFTOVER_BYTES: [usize; 9] = [0, 1, 1, 2, 2, 3, 3, 4, 4];

fn digits(precision: u8, scale: u8) -> Result<(usize, usize)> {
    match precision.checked_sub(scale) {
        Some(whole) if precision <= 65 && scale <= 30 => Ok((usize::from(whole), usize::from(scale))),
        _ => Err(WireError::Malformed("DECIMAL precision")),
    }
}

fn packed_bytes(digits: usize) -> usize {
    digits / DIGITS_PER_GROUP * 4 + LEFTOVER_BYTES[digits % DIGITS_PER_GROUP]
}

/// Bytes that a value of this precision and scale takes.
pub(super) fn packed_len(precision: u8, scale: u8) -> Result<usize> {
    let (whole, part) = digits(precision, scale)?;
    Ok(packed_bytes(whole) + packed_bytes(part))
}

/// Appends a packed DECIMAL as the text the server itself would show: `-12.50`.
///
/// # Errors
/// If the bytes are not of this precision and scale, or hold a group above 999,999,999.
pub fn write_decimal(out: &mut Vec<u8>, packed: &[u8], precision: u8, scale: u8) -> Result<()> {
    let (whole, part) = digits(precision, scale)?;
    let whole_len = packed_bytes(whole);
    if packed.len() != whole_len + packed_bytes(part) || packed.is_empty() {
        return Err(WireError::Malformed("DECIMAL length"));
    }
    let mut bytes = [0u8; 32];
    let bytes = bytes.get_mut(..packed.len()).ok_or(WireError::Malformed("DECIMAL length"))?;
    bytes.copy_from_slice(packed);
    bytes[0] ^= 0x80;
    let negative = bytes[0] & 0x80 != 0;
    if negative {
        bytes.iter_mut().for_each(|b| *b = !*b);
    }

    let mut text = Vec::with_capacity(usize::from(precision));
    let (mut at, leftover) = (0, whole % DIGITS_PER_GROUP);
    take_group(bytes, &mut at, leftover, &mut text)?;
    for _ in 0..whole / DIGITS_PER_GROUP {
        take_group(bytes, &mut at, DIGITS_PER_GROUP, &mut text)?;
    }
    let significant = text.iter().position(|&d| d != b'0').unwrap_or(text.len());
    text.drain(..significant);
    if text.is_empty() {
        text.push(b'0');
    }
    if part > 0 {
        text.push(b'.');
        for _ in 0..part / DIGITS_PER_GROUP {
            take_group(bytes, &mut at, DIGITS_PER_GROUP, &mut text)?;
        }
        take_group(bytes, &mut at, part % DIGITS_PER_GROUP, &mut text)?;
    }
    if negative {
        out.push(b'-');
    }
    out.extend_from_slice(&text);
    Ok(())
}

fn take_group(bytes: &[u8], at: &mut usize, digits: usize, text: &mut Vec<u8>) -> Result<()> {
    let len = packed_bytes(digits);
    let group = bytes.get(*at..*at + len).ok_or(WireError::Truncated("DECIMAL"))?;
    *at += len;
    if digits == 0 {
        return Ok(());
    }
    let value = group.iter().fold(0u64, |n, &b| n << 8 | u64::from(b));
    let shown = format!("{value:0digits$}");
    if shown.len() > digits {
        return Err(WireError::Malformed("DECIMAL digits"));
    }
    text.extend_from_slice(shown.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(packed: &[u8], precision: u8, scale: u8, expected: &str) {
        let mut out = Vec::new();
        write_decimal(&mut out, packed, precision, scale).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn packed_decimals_read_as_the_server_shows_them() {
        // The example in decimal.cc: 1234567890.1234 as DECIMAL(14,4).
        check(&[0x81, 0x0D, 0xFB, 0x38, 0xD2, 0x04, 0xD2], 14, 4, "1234567890.1234");
        check(&[0x7E, 0xF2, 0x04, 0xC7, 0x2D, 0xFB, 0x2D], 14, 4, "-1234567890.1234");
        check(&[0x80, 0x00], 4, 2, "0.00");
        check(&[0x80], 2, 0, "0");
    }
}
