//! One value of a row, borrowed from the event it came in.

use super::ColumnType;
use crate::{Reader, Result, WireError};

/// A value, as stored; nothing is converted that the target would have to convert back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// The image leaves the column out: `binlog_row_image` was not FULL in the session that wrote it.
    Absent,
    /// SQL NULL.
    Null,
    /// An integer's bits; whether they are signed only the schema knows.
    Integer {
        /// The bits, zero-extended.
        bits: u64,
        /// Bytes it was stored in.
        width: u8,
    },
    /// FLOAT.
    Float(f32),
    /// DOUBLE.
    Double(f64),
    /// DECIMAL, see [`super::write_decimal`].
    Decimal {
        /// The server's packed form.
        packed: &'a [u8],
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// YEAR; 0 is 0000.
    Year(u16),
    /// DATE, zero parts included.
    Date {
        /// 0 to 9999.
        year: u16,
        /// 0 to 12.
        month: u8,
        /// 0 to 31.
        day: u8,
    },
    /// TIME.
    Time {
        /// Below zero.
        negative: bool,
        /// 0 to 838.
        hours: u16,
        /// 0 to 59.
        minutes: u8,
        /// 0 to 59.
        seconds: u8,
        /// 0 to 999,999.
        micros: u32,
        /// Fractional digits of the column.
        digits: u8,
    },
    /// DATETIME, zero parts included.
    DateTime {
        /// 0 to 9999.
        year: u16,
        /// 0 to 12.
        month: u8,
        /// 0 to 31.
        day: u8,
        /// 0 to 23.
        hours: u8,
        /// 0 to 59.
        minutes: u8,
        /// 0 to 59.
        seconds: u8,
        /// 0 to 999,999.
        micros: u32,
        /// Fractional digits of the column.
        digits: u8,
    },
    /// TIMESTAMP: seconds since the epoch, UTC; 0 is the zero date.
    Timestamp {
        /// Seconds.
        seconds: u32,
        /// 0 to 999,999.
        micros: u32,
        /// Fractional digits of the column.
        digits: u8,
    },
    /// CHAR, VARCHAR, BINARY, VARBINARY, TEXT, BLOB, GEOMETRY, VECTOR: bytes as stored, without padding.
    Bytes(&'a [u8]),
    /// JSON in binary form, see [`super::parse_json`].
    Json(&'a [u8]),
    /// JSON as the document before an update and its changes, see [`super::parse_patched_json`].
    JsonPatch {
        /// The document before, in binary form.
        before: &'a [u8],
        /// The changes.
        changes: &'a [u8],
    },
    /// ENUM: 1 is the first label, 0 the empty error value.
    Enum(u64),
    /// SET: bit 0 is the first label.
    Set(u64),
    /// BIT, as an integer.
    Bit(u64),
}

impl<'a> Cell<'a> {
    /// Reads one value that is not NULL.
    pub(super) fn read(column: ColumnType, r: &mut Reader<'a>) -> Result<Self> {
        Ok(match column {
            ColumnType::Integer(width) => Self::Integer { bits: little_endian(r, width)?, width },
            ColumnType::Float => Self::Float(f32::from_bits(r.u32("FLOAT")?)),
            ColumnType::Double => Self::Double(f64::from_bits(r.u64("DOUBLE")?)),
            ColumnType::Decimal { precision, scale } => {
                let len = super::decimal::packed_len(precision, scale)?;
                Self::Decimal { packed: r.bytes(len, "DECIMAL")?, precision, scale }
            }
            ColumnType::Year => Self::Year(match r.u8("YEAR")? {
                0 => 0,
                n => 1900 + u16::from(n),
            }),
            ColumnType::Date => {
                let v = r.u24("DATE")?;
                Self::Date { year: (v >> 9) as u16, month: (v >> 5 & 15) as u8, day: (v & 31) as u8 }
            }
            ColumnType::Time(digits) => time(r, digits)?,
            ColumnType::DateTime(digits) => datetime(r, digits)?,
            ColumnType::Timestamp(digits) => {
                let seconds = big_endian(r, 4)? as u32;
                Self::Timestamp { seconds, micros: fraction(r, digits)?, digits }
            }
            ColumnType::String { prefix } | ColumnType::Blob { prefix } => Self::Bytes(prefixed(r, prefix)?),
            ColumnType::Json { prefix } => Self::Json(prefixed(r, prefix)?),
            ColumnType::Enum(width) => Self::Enum(little_endian(r, width)?),
            ColumnType::Set(width) => Self::Set(little_endian(r, width)?),
            ColumnType::Bit(width) => Self::Bit(big_endian(r, width)?),
        })
    }
}

fn little_endian(r: &mut Reader<'_>, width: u8) -> Result<u64> {
    let bytes = r.bytes(usize::from(width), "integer")?;
    Ok(bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
}

fn big_endian(r: &mut Reader<'_>, width: u8) -> Result<u64> {
    let bytes = r.bytes(usize::from(width), "integer")?;
    Ok(bytes.iter().fold(0, |n, &b| n << 8 | u64::from(b)))
}

/// Bytes after their length, which takes `prefix` bytes.
pub(super) fn prefixed<'a>(r: &mut Reader<'a>, prefix: u8) -> Result<&'a [u8]> {
    let n = little_endian(r, prefix)?;
    r.bytes(usize::try_from(n).map_err(|_| WireError::Truncated("string"))?, "string")
}

/// Fractional seconds: two digits a byte, in microseconds.
fn fraction(r: &mut Reader<'_>, digits: u8) -> Result<u32> {
    let bytes = digits.div_ceil(2);
    Ok(big_endian(r, bytes)? as u32 * 10u32.pow(6 - u32::from(bytes) * 2))
}

/// Source: `my_datetime_packed_from_binary` in `mysys/my_time.cc`.
fn datetime<'a>(r: &mut Reader<'_>, digits: u8) -> Result<Cell<'a>> {
    // The sign bit is always set: there are no negative datetimes.
    let packed = big_endian(r, 5)? & 0x7F_FFFF_FFFF;
    let (date, time) = (packed >> 17, packed & 0x1_FFFF);
    let months = date >> 5;
    Ok(Cell::DateTime {
        year: (months / 13) as u16,
        month: (months % 13) as u8,
        day: (date & 31) as u8,
        hours: (time >> 12) as u8,
        minutes: (time >> 6 & 63) as u8,
        seconds: (time & 63) as u8,
        micros: fraction(r, digits)?,
        digits,
    })
}

/// Source: `my_time_packed_from_binary` in `mysys/my_time.cc`: integer and fraction form one big-endian number,
/// offset so that negative times sort first.
fn time<'a>(r: &mut Reader<'_>, digits: u8) -> Result<Cell<'a>> {
    let bytes = digits.div_ceil(2);
    let bits = 8 * u32::from(bytes);
    let stored = big_endian(r, 3 + bytes)? as i64 - (0x80_0000_i64 << bits);
    let magnitude = stored.unsigned_abs();
    let whole = magnitude >> bits;
    let part = (magnitude & ((1 << bits) - 1)) as u32;
    Ok(Cell::Time {
        negative: stored < 0,
        hours: (whole >> 12 & 0x3FF) as u16,
        minutes: (whole >> 6 & 63) as u8,
        seconds: (whole & 63) as u8,
        micros: part.wrapping_mul(10u32.pow(6 - u32::from(bytes) * 2)),
        digits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(column: ColumnType, bytes: &[u8], expected: Cell<'_>) {
        assert_eq!(Cell::read(column, &mut Reader::new(bytes)), Ok(expected));
        for n in 0..bytes.len() {
            assert!(Cell::read(column, &mut Reader::new(&bytes[..n])).is_err());
        }
    }

    #[test]
    fn negative_times_with_fractions_are_read_as_the_server_wrote_them() {
        let time = |negative, seconds, micros, digits| Cell::Time {
            negative,
            hours: 0,
            minutes: 0,
            seconds,
            micros,
            digits,
        };
        // From the table in my_time.cc: "-00:00:00.01" is 7FFFFF.FF, "-00:00:01.00" is 7FFFFF.00.
        check(ColumnType::Time(2), &[0x7F, 0xFF, 0xFF, 0xFF], time(true, 0, 10_000, 2));
        check(ColumnType::Time(2), &[0x7F, 0xFF, 0xFF, 0x00], time(true, 1, 0, 2));
        check(ColumnType::Time(2), &[0x80, 0x00, 0x01, 0x0A], time(false, 1, 100_000, 2));
        check(ColumnType::Time(0), &[0x7F, 0xFF, 0xFF], time(true, 1, 0, 0));
    }

    #[test]
    fn integers_keep_their_bits() {
        check(ColumnType::Integer(3), &[0xFF, 0xFF, 0xFF], Cell::Integer { bits: 0xFF_FFFF, width: 3 });
        check(ColumnType::Year, &[0], Cell::Year(0));
        check(ColumnType::Year, &[126], Cell::Year(2026));
        check(ColumnType::Bit(2), &[0x01, 0x02], Cell::Bit(0x102));
        check(ColumnType::String { prefix: 2 }, &[2, 0, b'a', b'b'], Cell::Bytes(b"ab"));
    }
}
