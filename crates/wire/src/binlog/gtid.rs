//! The events that begin a transaction by naming it: plain GTIDs, and tagged ones of MySQL 8.3 and later.
//!
//! Source: `Gtid_event` in `libs/mysql/binlog/event/control_events.h`; the tagged form is that of
//! `libs/mysql/serialization/readme.md`: numbered fields in ascending order, integers of one to nine bytes.

use crate::{Reader, Result, WireError};

/// The start of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GtidEvent {
    /// UUID of the server it began on.
    pub uuid: [u8; 16],
    /// The tag between UUID and number; empty for most.
    pub tag: Vec<u8>,
    /// Its number there.
    pub number: u64,
    /// When this server committed it, in microseconds since the epoch; `None` before MySQL 8.0.
    pub commit_micros: Option<u64>,
}

/// Longest tag: `mysql::gtid::tag_max_length`.
const TAG_MAX: usize = 32;
/// The highest field of a tagged GTID event that MySQL 9.7 knows: the commit group ticket.
const FIELD_MAX: u64 = 11;

impl GtidEvent {
    /// Reads `GTID_LOG_EVENT`.
    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self> {
        r.u8("GTID flags")?;
        let mut uuid = [0; 16];
        uuid.copy_from_slice(r.bytes(16, "GTID uuid")?);
        let number = valid_number(r.u64("GTID number")?)?;
        let mut commit_micros = None;
        // Logical clock (type 2): last committed and sequence number, then the commit time in 55 bits.
        if r.len() >= 17 + 7 && r.u8("logical clock")? == 2 {
            r.bytes(16, "logical clock")?;
            let micros = r.u48("commit time")? | u64::from(r.u8("commit time")? & 0x7F) << 48;
            commit_micros = Some(micros);
        }
        Ok(Self { uuid, tag: Vec::new(), number, commit_micros })
    }

    /// Reads `GTID_TAGGED_LOG_EVENT`.
    pub(super) fn parse_tagged(r: &mut Reader<'_>) -> Result<Self> {
        if unsigned(r)? != 1 {
            return Err(WireError::Unsupported("version of a tagged GTID event".into()));
        }
        unsigned(r)?;
        // Fields after this one may be ignored by whoever does not know them; up to it, none may.
        if unsigned(r)? > FIELD_MAX {
            return Err(WireError::Unsupported("field of a tagged GTID event".into()));
        }
        let (mut uuid, mut tag, mut number, mut commit_micros) = (None, Vec::new(), None, None);
        while !r.is_empty() && commit_micros.is_none() {
            match unsigned(r)? {
                0 | 4 | 5 => {
                    unsigned(r)?;
                }
                1 => {
                    let mut bytes = [0; 16];
                    for byte in &mut bytes {
                        *byte = u8::try_from(unsigned(r)?).map_err(|_| WireError::Malformed("GTID uuid"))?;
                    }
                    uuid = Some(bytes);
                }
                2 => number = Some(valid_number(signed(unsigned(r)?))?),
                3 => {
                    let len = usize::try_from(unsigned(r)?).ok().filter(|n| *n <= TAG_MAX);
                    tag = r.bytes(len.ok_or(WireError::Malformed("GTID tag"))?, "GTID tag")?.to_vec();
                }
                6 => commit_micros = Some(unsigned(r)?),
                _ => break,
            }
        }
        match (uuid, number) {
            (Some(uuid), Some(number)) => Ok(Self { uuid, tag, number, commit_micros }),
            _ => Err(WireError::Malformed("tagged GTID without UUID or number")),
        }
    }
}

fn valid_number(number: u64) -> Result<u64> {
    match number {
        0 => Err(WireError::Malformed("GTID number")),
        n if n > i64::MAX as u64 => Err(WireError::Malformed("GTID number")),
        n => Ok(n),
    }
}

/// An integer whose length is one more than the number of one-bits it begins with, counted from the lowest.
fn unsigned(r: &mut Reader<'_>) -> Result<u64> {
    const WHAT: &str = "tagged GTID event";
    let first = r.u8(WHAT)?;
    let more = first.trailing_ones() as usize;
    let mut wide = [0; 8];
    wide[..more].copy_from_slice(r.bytes(more, WHAT)?);
    let rest = u64::from_le_bytes(wide);
    // With eight bytes more, and with seven, nothing of the first byte belongs to the value.
    match more {
        8 => Ok(rest),
        _ => {
            let low_bits = 7 - more as u32;
            let high = rest.checked_mul(1 << low_bits).ok_or(WireError::Malformed(WHAT))?;
            Ok(high | u64::from(first) >> (more + 1))
        }
    }
}

/// Signed integers have their sign in the lowest bit. A negative one is none we have a use for: it becomes huge, and
/// is refused as a GTID number.
fn signed(bits: u64) -> u64 {
    match bits & 1 {
        0 => bits >> 1,
        _ => !(bits >> 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body written by MySQL 9.7.4.
    const TAGGED: &[u8] = &[
        0x02, 0x76, 0x00, 0x00, 0x02, 0x02, 0x44, 0xA5, 0x02, 0x35, 0x03, 0xAC, 0xA1, 0x03, 0x54, 0x22, 0xC5,
        0x03, 0x45, 0x02, 0x86, 0x04, 0xF1, 0x03, 0x00, 0x00, 0x00, 0x02, 0x04, 0x04, 0x06, 0x0E, b'n', b'i',
        b'g', b'h', b't', b'l', b'y', 0x08, 0x14, 0x0A, 0x20, 0x0C, 0x7F, 0x7A, 0x2D, 0x64, 0xD3, 0x08, 0x61,
        0x06, 0x10, 0xCD, 0x03, 0x12, 0x83, 0x12, 0x0B,
    ];

    #[test]
    fn a_tagged_gtid_is_read_as_the_server_wrote_it() {
        let gtid = GtidEvent::parse_tagged(&mut Reader::new(TAGGED)).unwrap();
        let uuid = [0x22, 0xA9, 0xCD, 0x56, 0xE8, 0x2A, 0x11, 0xF1, 0x91, 0x43, 0x02, 0xFC, 0, 0, 0, 1];
        assert_eq!((gtid.uuid, gtid.tag.as_slice(), gtid.number), (uuid, &b"nightly"[..], 1));
        let day = gtid.commit_micros.unwrap() / 1_000_000 / 86_400;
        assert!((20_000..30_000).contains(&day), "{day}");
        for n in 0..30 {
            assert!(GtidEvent::parse_tagged(&mut Reader::new(&TAGGED[..n])).is_err(), "{n}");
        }
    }

    #[test]
    fn a_field_that_must_be_known_and_is_not_is_refused() {
        let mut newer = TAGGED.to_vec();
        newer[2] = 12 << 1;
        assert!(matches!(GtidEvent::parse_tagged(&mut Reader::new(&newer)), Err(WireError::Unsupported(_))));
    }

    #[test]
    fn integers_of_every_length_are_read() {
        // Source: the examples in libs/mysql/serialization/readme.md, and the edges of one and nine bytes.
        assert_eq!(unsigned(&mut Reader::new(&[0xFB, 0xFF, 0x07])), Ok(65_535));
        assert_eq!(unsigned(&mut Reader::new(&[0xFE])), Ok(127));
        assert_eq!(unsigned(&mut Reader::new(&[0xFF; 9])), Ok(u64::MAX));
        assert_eq!(unsigned(&mut Reader::new(&[0x7F, 1, 0, 0, 0, 0, 0, 0])), Ok(1));
        assert_eq!(signed(unsigned(&mut Reader::new(&[0xF3, 0xFF, 0x0F])).unwrap()), 65_535);
        assert_eq!(signed(unsigned(&mut Reader::new(&[0xFB, 0xFF, 0x0F])).unwrap()) as i64, -65_536);
    }
}
