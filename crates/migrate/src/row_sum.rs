//! What the rows of a table come to: the sum of their hashes, the same whatever order and ranges they were read in.

use std::fmt;
use std::ops::AddAssign;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A sum of 64-bit hashes. In 128 bits the hashes of 2^64 rows have room, so that no two rows cancel each other out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowSum(u128);

impl RowSum {
    /// The hash of a row as a server has sent it, in one packet: the exact text of every value, after its length.
    pub fn of_row(packet: &[u8]) -> Self {
        let digest = digest(&SHA256, packet);
        let first = digest.as_ref().iter().take(8);
        Self(first.fold(0, |sum, &byte| sum << 8 | u128::from(byte)))
    }

    /// The hash, or the sum of hashes, that a server has answered; nothing if that is no such number.
    pub fn of_answer(digits: &[u8]) -> Option<Self> {
        std::str::from_utf8(digits).ok()?.parse().ok().map(Self)
    }
}

impl AddAssign for RowSum {
    fn add_assign(&mut self, other: Self) {
        // Only a server that answers nonsense gets this far; a defect of ours would be the wrong thing to call it.
        self.0 = self.0.wrapping_add(other.0);
    }
}

impl fmt::Display for RowSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// As text: programs that read JSON numbers as floating point would lose most of it.
impl Serialize for RowSum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RowSum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let sum = u128::from_str_radix(&text, 16).ok().filter(|_| digits);
        sum.map(Self).ok_or_else(|| serde::de::Error::custom("a hash has 32 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(digits: &str) -> RowSum {
        RowSum::of_answer(digits.as_bytes()).unwrap()
    }

    #[test]
    fn a_sum_beyond_64_bits_is_kept_whole_and_written_as_text() {
        let mut total = sum("18446744073709551615");
        total += sum("18446744073709551615");
        assert_eq!(total, sum("36893488147419103230"));
        let text = serde_json::to_string(&total).unwrap();
        assert_eq!(text, r#""0000000000000001fffffffffffffffe""#);
        assert_eq!(serde_json::from_str::<RowSum>(&text).unwrap(), total);
    }

    #[test]
    fn a_row_counts_by_its_exact_values() {
        let row = RowSum::of_row;
        // The first 8 bytes of SHA-256 of "\x01a\x01b", as sha256sum has them.
        assert_eq!(row(b"\x01a\x01b").to_string(), "0000000000000000fa4a350f5906021e");
        assert_ne!(row(b"\x01a\x01b"), row(b"\x02ab\x00"));
        assert_ne!(row(b"\xfb"), row(b"\x00"), "NULL is not the empty text");
    }

    #[test]
    fn what_is_no_hash_is_not_taken_for_one() {
        assert!(RowSum::of_answer(b"-1").is_none() && RowSum::of_answer(b"").is_none());
        for text in [r#""1fe""#, r#""+000000000000001fffffffffffffffe""#, "7"] {
            assert!(serde_json::from_str::<RowSum>(text).is_err(), "{text}");
        }
    }
}
