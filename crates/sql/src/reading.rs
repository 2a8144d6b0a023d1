//! How a session's server reads text: what its SQL mode and its character set make of a byte.
//!
//! Tried on 9.7.4 with every character set a client may have, byte by byte. Five sets have letters of several bytes of which
//! one looks like ASCII; in a dozen of one byte a letter (latin1, latin2, greek, ...) 0xA0 or others count as white space.

/// Every server is of this version or later: 8.0.22, which moves and schemas' fences need as well.
pub const OLDEST: u32 = 80_022;

/// How a session's server reads text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Whether a backslash escapes inside quotes: not with `NO_BACKSLASH_ESCAPES`.
    pub backslash: bool,
    /// Whether `"` quotes names (`ANSI_QUOTES`).
    pub ansi_quotes: bool,
    /// What bytes above 0x7F are.
    pub letters: Letters,
}

/// What bytes above 0x7F are in a character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letters {
    /// Parts of letters, and nothing else is: utf8mb3 and utf8mb4.
    Utf8,
    /// Each is a letter, a sign or white space by itself, or a part of a letter whose other bytes are above 0x7F too.
    Bytes,
    /// big5
    Big5,
    /// sjis, cp932
    ShiftJis,
    /// gbk
    Gbk,
    /// gb18030
    Gb18030,
    /// Not known, perhaps the worst.
    Unknown,
}

impl Reading {
    /// A session of utf8mb4 in which a backslash escapes or not.
    pub const fn plain(backslash: bool) -> Self {
        Self { backslash, ansi_quotes: false, letters: Letters::Utf8 }
    }

    /// Whether a text is read otherwise than as in a session of utf8mb4 without `ANSI_QUOTES`, perhaps.
    pub fn matters_to(text: &[u8]) -> bool {
        text.iter().fold(false, |any, b| any | (*b >= 0x7F) | (*b == b'"'))
    }
}

impl Letters {
    /// The letters of `character_set_client`.
    pub fn of(set: &[u8]) -> Self {
        match set {
            b"utf8mb4" | b"utf8mb3" | b"utf8" => Self::Utf8,
            b"big5" => Self::Big5,
            b"sjis" | b"cp932" => Self::ShiftJis,
            b"gbk" => Self::Gbk,
            b"gb18030" => Self::Gb18030,
            _ => Self::Bytes,
        }
    }

    /// The letters of a session that logged in with this collation, or has it as the client's. The numbers are those of
    /// `information_schema.COLLATIONS`.
    pub fn of_collation(id: u16) -> Self {
        match id {
            1 | 84 => Self::Big5,
            13 | 88 | 95 | 96 => Self::ShiftJis,
            28 | 87 => Self::Gbk,
            248..=250 => Self::Gb18030,
            33 | 45 | 46 | 76 | 83 | 192..=215 | 223..=247 | 255..=323 => Self::Utf8,
            _ => Self::Bytes,
        }
    }

    /// Whether a byte that looks like ASCII may be a part of a letter.
    pub fn may_hide(self) -> bool {
        !matches!(self, Self::Utf8 | Self::Bytes)
    }

    /// Whether a byte above 0x7F may be white space, or a control character.
    pub fn may_part(self) -> bool {
        matches!(self, Self::Bytes | Self::Unknown)
    }

    /// Bytes of the letter that a text begins with, whose first byte is above 0x7F; 1 where it is none.
    pub fn length(self, text: &[u8]) -> usize {
        let byte = |n: usize| text.get(n).copied().unwrap_or(0);
        let two = match (self, byte(0), byte(1)) {
            (Self::Big5, 0xA1..=0xF9, 0x40..=0x7E | 0xA1..=0xFE) => true,
            (Self::ShiftJis, 0x81..=0x9F | 0xE0..=0xFC, 0x40..=0x7E | 0x80..=0xFC) => true,
            (Self::Gbk | Self::Gb18030, 0x81..=0xFE, 0x40..=0x7E | 0x80..=0xFE) => true,
            (Self::Gb18030, 0x81..=0xFE, b'0'..=b'9') => {
                return if matches!((byte(2), byte(3)), (0x81..=0xFE, b'0'..=b'9')) { 4 } else { 1 };
            }
            _ => false,
        };
        1 + usize::from(two)
    }

    /// Bytes that the longest letter has which holds one that looks like ASCII.
    pub(crate) fn longest(self) -> usize {
        match self {
            Self::Utf8 | Self::Bytes | Self::Unknown => 1,
            Self::Big5 | Self::ShiftJis | Self::Gbk => 2,
            Self::Gb18030 => 4,
        }
    }
}
