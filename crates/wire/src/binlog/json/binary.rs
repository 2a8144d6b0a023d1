//! The server's binary form of JSON.
//!
//! Offsets in it may point anywhere, so a hostile document could nest or repeat itself without end: depth is bounded,
//! and so is the number of values, each of which takes some bytes of a real document.
//!
//! Source: MySQL source, `sql-common/json_binary.h`, "binary format for JSON"; for the opaque scalars
//! `Json_wrapper::get_datetime` and `Json_decimal::convert_from_binary` in `sql-common/json_dom.cc`.

use std::borrow::Cow;

use super::{DEPTH_MAX, Json, Opaque};
use crate::binlog::write_decimal;
use crate::{Reader, Result, WireError};

/// Reads a binary JSON value. An empty one stands for `null`.
///
/// # Errors
/// If the bytes are malformed or nested too deep.
pub fn parse(binary: &[u8]) -> Result<Json<'_>> {
    match binary.split_first() {
        None => Ok(Json::Null),
        Some((&kind, data)) => {
            let mut budget = binary.len();
            value(kind, data, 0, &mut budget)
        }
    }
}

fn value<'a>(kind: u8, data: &'a [u8], depth: u32, budget: &mut usize) -> Result<Json<'a>> {
    if depth > DEPTH_MAX {
        return Err(WireError::Malformed("JSON nested too deep"));
    }
    *budget = budget.checked_sub(1).ok_or(WireError::Malformed("JSON values overlap"))?;
    let mut r = Reader::new(data);
    Ok(match kind {
        0x00 => container(data, depth, Shape { large: false, object: true }, budget)?,
        0x01 => container(data, depth, Shape { large: true, object: true }, budget)?,
        0x02 => container(data, depth, Shape { large: false, object: false }, budget)?,
        0x03 => container(data, depth, Shape { large: true, object: false }, budget)?,
        0x04 => match r.u8("JSON literal")? {
            0 => Json::Null,
            1 => Json::Bool(true),
            2 => Json::Bool(false),
            _ => return Err(WireError::Malformed("JSON literal")),
        },
        0x05 => Json::Int((r.u16("JSON int16")? as i16).into()),
        0x06 => Json::Uint(r.u16("JSON uint16")?.into()),
        0x07 => Json::Int((r.u32("JSON int32")? as i32).into()),
        0x08 => Json::Uint(r.u32("JSON uint32")?.into()),
        0x09 => Json::Int(r.u64("JSON int64")? as i64),
        0x0A => Json::Uint(r.u64("JSON uint64")?),
        0x0B => match f64::from_bits(r.u64("JSON double")?) {
            n if n.is_finite() => Json::Double(n),
            _ => return Err(WireError::Malformed("JSON number")),
        },
        0x0C => {
            let len = length(&mut r)?;
            Json::String(Cow::Borrowed(r.bytes(len, "JSON string")?))
        }
        0x0F => {
            let kind = r.u8("JSON opaque type")?;
            let len = length(&mut r)?;
            Json::Opaque(opaque(kind, r.bytes(len, "JSON opaque value")?)?)
        }
        _ => return Err(WireError::Malformed("JSON type")),
    })
}

#[derive(Clone, Copy)]
struct Shape {
    large: bool,
    object: bool,
}

/// Offsets in a container count from its own first byte.
fn container<'a>(data: &'a [u8], depth: u32, shape: Shape, budget: &mut usize) -> Result<Json<'a>> {
    let word = |r: &mut Reader<'_>| -> Result<usize> {
        match shape.large {
            true => r.u32("JSON offset").map(|n| n as usize),
            false => r.u16("JSON offset").map(usize::from),
        }
    };
    let mut r = Reader::new(data);
    let count = word(&mut r)?;
    let size = word(&mut r)?;
    let data = data.get(..size).ok_or(WireError::Truncated("JSON container"))?;
    let key_bytes = if shape.large { 6 } else { 4 };
    let keys_len = if shape.object { count.checked_mul(key_bytes) } else { Some(0) };
    let mut keys = Reader::new(r.bytes(keys_len.ok_or(WireError::Malformed("JSON count"))?, "JSON keys")?);

    let (mut items, mut members) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let kind = r.u8("JSON value type")?;
        let entry = r.bytes(if shape.large { 4 } else { 2 }, "JSON value")?;
        // Small scalars stand in the entry itself; the 32-bit integers only in large containers.
        let inline = matches!(kind, 0x04..=0x06) || (shape.large && matches!(kind, 0x07 | 0x08));
        let target = match inline {
            true => entry,
            false => {
                let offset = word(&mut Reader::new(entry))?;
                data.get(offset..).ok_or(WireError::Truncated("JSON value"))?
            }
        };
        let value = value(kind, target, depth + 1, budget)?;
        if shape.object {
            let offset = word(&mut keys)?;
            let len = usize::from(keys.u16("JSON key length")?);
            let key = data.get(offset..).and_then(|d| d.get(..len));
            members.push((Cow::Borrowed(key.ok_or(WireError::Truncated("JSON key"))?), value));
        } else {
            items.push(value);
        }
    }
    Ok(if shape.object { Json::Object(members) } else { Json::Array(items) })
}

fn length(r: &mut Reader<'_>) -> Result<usize> {
    let mut len = 0usize;
    for shift in 0..5 {
        let byte = r.u8("JSON string length")?;
        len |= usize::from(byte & 0x7F) << (7 * shift);
        if byte & 0x80 == 0 {
            return Ok(len);
        }
    }
    Err(WireError::Malformed("JSON string length"))
}

fn opaque(kind: u8, bytes: &[u8]) -> Result<Opaque<'_>> {
    Ok(match kind {
        246 => {
            let [precision, scale, packed @ ..] = bytes else {
                return Err(WireError::Malformed("JSON decimal"));
            };
            let mut text = Vec::new();
            write_decimal(&mut text, packed, *precision, *scale)?;
            Opaque::Decimal(Cow::Owned(text))
        }
        7 | 10 | 11 | 12 => {
            let packed = Reader::new(bytes).u64("JSON moment")? as i64;
            let text = Cow::Owned(moment(kind, packed));
            match kind {
                7 => Opaque::Timestamp(text),
                10 => Opaque::Date(text),
                11 => Opaque::Time(text),
                _ => Opaque::DateTime(text),
            }
        }
        kind => Opaque::Bytes { kind, bytes: Cow::Borrowed(bytes) },
    })
}

/// The text of a packed moment: microseconds in the lowest 24 bits, above them the seconds in 6, minutes in 6, hours in
/// 5 (TIME: 10), day in 5, and year times 13 plus month.
///
/// Source: `TIME_to_longlong_datetime_packed` and its siblings in `mysys/my_time.cc`.
fn moment(kind: u8, packed: i64) -> Vec<u8> {
    let sign = if packed < 0 { "-" } else { "" };
    let magnitude = packed.unsigned_abs();
    let (micros, whole) = (magnitude & 0xFF_FFFF, magnitude >> 24);
    let (minutes, seconds) = (whole >> 6 & 63, whole & 63);
    if kind == 11 {
        return format!("{sign}{:02}:{minutes:02}:{seconds:02}.{micros:06}", whole >> 12 & 0x3FF).into();
    }
    let (day, months) = (whole >> 17 & 31, whole >> 22);
    let date = format!("{sign}{:04}-{:02}-{day:02}", months / 13, months % 13);
    match kind {
        10 => date.into(),
        _ => format!("{date} {:02}:{minutes:02}:{seconds:02}.{micros:06}", whole >> 12 & 31).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opaque_of(kind: u8, bytes: &[u8]) -> Opaque<'_> {
        opaque(kind, bytes).unwrap()
    }

    #[test]
    fn small_objects_and_scalars_are_read_with_their_types() {
        // {"a": 1, "b": "x"}
        let object =
            [0x00, 2, 0, 22, 0, 18, 0, 1, 0, 19, 0, 1, 0, 0x05, 1, 0, 0x0C, 20, 0, b'a', b'b', 1, b'x'];
        let members = vec![
            (Cow::Borrowed(&b"a"[..]), Json::Int(1)),
            (Cow::Borrowed(&b"b"[..]), Json::String(Cow::Borrowed(b"x"))),
        ];
        assert_eq!(parse(&object), Ok(Json::Object(members)));
        assert_eq!(parse(&[0x06, 5, 0]), Ok(Json::Uint(5)));
        assert_eq!(parse(&[]), Ok(Json::Null));
        // 1.5, as MySQL 9.7.4 stores it.
        let decimal = [0x0F, 246, 4, 2, 1, 0x81, 0x05];
        assert_eq!(parse(&decimal), Ok(Json::Opaque(Opaque::Decimal(Cow::Borrowed(b"1.5")))));
    }

    #[test]
    fn moments_are_read_as_the_server_shows_them() {
        // CAST('2020-01-01' AS DATE), as MySQL 9.7.4 stores it.
        let date = [0, 0, 0, 0, 0, 0x42, 0xA5, 0x19];
        assert_eq!(opaque_of(10, &date), Opaque::Date(Cow::Borrowed(b"2020-01-01")));
        assert_eq!(opaque_of(12, &date), Opaque::DateTime(Cow::Borrowed(b"2020-01-01 00:00:00.000000")));
        let time = (-((10i64 << 12 | 11 << 6 | 12) << 24 | 500_000)).to_le_bytes();
        assert_eq!(opaque_of(11, &time), Opaque::Time(Cow::Borrowed(b"-10:11:12.500000")));
        assert_eq!(opaque_of(16, &[0, 5]), Opaque::Bytes { kind: 16, bytes: Cow::Borrowed(&[0, 5]) });
    }

    #[test]
    fn a_container_that_holds_itself_is_an_error_not_an_overflow() {
        // Ends by its budget; with two entries it would double at each level.
        assert!(parse(&[0x02, 1, 0, 7, 0, 0x02, 0, 0]).is_err());
        let twice = [0x02, 2, 0, 10, 0, 0x02, 0, 0, 0x02, 0, 0];
        assert!(parse(&twice).is_err());
    }
}
