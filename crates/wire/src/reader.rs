//! A bounds-checked cursor over a packet's bytes, and the writers for MySQL's variable-length integers and strings.

use crate::{Result, WireError};

/// Reads the protocol's primitive types from a slice. Every method fails rather than reading past the end.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

macro_rules! little_endian {
    ($name:ident, $ty:ty, $n:expr) => {
        /// Reads a little-endian unsigned integer.
        pub fn $name(&mut self, what: &'static str) -> Result<$ty> {
            let mut wide = [0u8; size_of::<$ty>()];
            wide[..$n].copy_from_slice(self.bytes($n, what)?);
            Ok(<$ty>::from_le_bytes(wide))
        }
    };
}

impl<'a> Reader<'a> {
    /// A reader over all of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// What has not been read yet.
    pub fn remaining(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes have not been read yet.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes the next `n` bytes.
    pub fn bytes(&mut self, n: usize, what: &'static str) -> Result<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(n).ok_or(WireError::Truncated(what))?;
        self.bytes = tail;
        Ok(head)
    }

    /// Takes everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    little_endian!(u8, u8, 1);
    little_endian!(u16, u16, 2);
    little_endian!(u24, u32, 3);
    little_endian!(u32, u32, 4);
    little_endian!(u48, u64, 6);
    little_endian!(u64, u64, 8);

    /// Reads a length-encoded integer. 0xFB (NULL in rows) and 0xFF (an error marker) are refused here.
    pub fn lenenc_int(&mut self, what: &'static str) -> Result<u64> {
        match self.u8(what)? {
            n @ 0..=0xFA => Ok(u64::from(n)),
            0xFC => self.u16(what).map(u64::from),
            0xFD => self.u24(what).map(u64::from),
            0xFE => self.u64(what),
            _ => Err(WireError::Malformed(what)),
        }
    }

    /// Reads a length-encoded string.
    pub fn lenenc_bytes(&mut self, what: &'static str) -> Result<&'a [u8]> {
        let n = self.lenenc_int(what)?;
        self.bytes(usize::try_from(n).map_err(|_| WireError::Truncated(what))?, what)
    }

    /// Reads one cell of a text-protocol row: `None` is SQL NULL.
    pub fn text_cell(&mut self) -> Result<Option<&'a [u8]>> {
        if self.bytes.first() == Some(&0xFB) {
            self.bytes = &self.bytes[1..];
            return Ok(None);
        }
        self.lenenc_bytes("text row").map(Some)
    }

    /// Reads up to a NUL byte and past it.
    pub fn nul_bytes(&mut self, what: &'static str) -> Result<&'a [u8]> {
        let end = self.bytes.iter().position(|&b| b == 0).ok_or(WireError::Truncated(what))?;
        let s = self.bytes(end, what)?;
        self.bytes(1, what)?;
        Ok(s)
    }
}

/// Appends a length-encoded integer.
pub fn put_lenenc_int(out: &mut Vec<u8>, n: u64) {
    let le = n.to_le_bytes();
    match n {
        0..=0xFA => out.push(le[0]),
        0xFB..=0xFFFF => {
            out.push(0xFC);
            out.extend_from_slice(&le[..2]);
        }
        0x1_0000..=0xFF_FFFF => {
            out.push(0xFD);
            out.extend_from_slice(&le[..3]);
        }
        _ => {
            out.push(0xFE);
            out.extend_from_slice(&le);
        }
    }
}

/// Appends a length-encoded string.
pub fn put_lenenc_bytes(out: &mut Vec<u8>, s: &[u8]) {
    put_lenenc_int(out, s.len() as u64);
    out.extend_from_slice(s);
}

/// Appends a NUL-terminated string. A NUL inside `s` would end it early, so `s` is cut there.
pub fn put_nul_bytes(out: &mut Vec<u8>, s: &[u8]) {
    out.extend(s.iter().take_while(|&&b| b != 0));
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_encoded_integers_round_trip_at_every_edge() {
        for n in [0, 0xFA, 0xFB, 0xFFFF, 0x1_0000, 0xFF_FFFF, 0x100_0000, u64::MAX] {
            let mut out = Vec::new();
            put_lenenc_int(&mut out, n);
            assert_eq!(Reader::new(&out).lenenc_int("n"), Ok(n));
            assert!(Reader::new(&out[..out.len() - 1]).lenenc_int("n").is_err());
        }
    }

    #[test]
    fn a_length_beyond_the_packet_is_an_error_not_an_allocation() {
        let bytes = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(Reader::new(&bytes).lenenc_bytes("s"), Err(WireError::Truncated("s")));
    }
}
