//! Binary JSON to JSON text.
//!
//! Refused: opaque scalars (DECIMAL, dates, BLOBs inside JSON), since their type would be lost in text.
//!
//! Source: MySQL source, `sql-common/json_binary.h`, "binary format for JSON".

use crate::{Reader, Result, WireError};

/// The server nests JSON at most this deep.
const DEPTH_MAX: u32 = 100;

/// Appends the JSON text of a binary JSON value. An empty value stands for `null`.
///
/// # Errors
/// If the bytes are malformed, nested too deep, or hold an opaque scalar.
pub fn write_json(out: &mut Vec<u8>, binary: &[u8]) -> Result<()> {
    match binary.split_first() {
        None => out.extend_from_slice(b"null"),
        Some((&kind, data)) => value(out, kind, data, 0)?,
    }
    Ok(())
}

fn value(out: &mut Vec<u8>, kind: u8, data: &[u8], depth: u32) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(WireError::Malformed("JSON nested too deep"));
    }
    let mut r = Reader::new(data);
    match kind {
        0x00 => container(out, data, depth, Shape { large: false, object: true })?,
        0x01 => container(out, data, depth, Shape { large: true, object: true })?,
        0x02 => container(out, data, depth, Shape { large: false, object: false })?,
        0x03 => container(out, data, depth, Shape { large: true, object: false })?,
        0x04 => literal(out, r.u8("JSON literal")?)?,
        0x05 => out.extend_from_slice((r.u16("JSON int16")? as i16).to_string().as_bytes()),
        0x06 => out.extend_from_slice(r.u16("JSON uint16")?.to_string().as_bytes()),
        0x07 => out.extend_from_slice((r.u32("JSON int32")? as i32).to_string().as_bytes()),
        0x08 => out.extend_from_slice(r.u32("JSON uint32")?.to_string().as_bytes()),
        0x09 => out.extend_from_slice((r.u64("JSON int64")? as i64).to_string().as_bytes()),
        0x0A => out.extend_from_slice(r.u64("JSON uint64")?.to_string().as_bytes()),
        0x0B => double(out, f64::from_bits(r.u64("JSON double")?))?,
        0x0C => {
            let len = string_len(&mut r)?;
            string(out, r.bytes(len, "JSON string")?);
        }
        0x0F => {
            return Err(WireError::Unsupported(
                "typed scalar (decimal, date or binary) inside a JSON value".into(),
            ));
        }
        _ => return Err(WireError::Malformed("JSON type")),
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Shape {
    large: bool,
    object: bool,
}

/// Offsets in a container count from its own first byte.
fn container(out: &mut Vec<u8>, data: &[u8], depth: u32, shape: Shape) -> Result<()> {
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

    out.push(if shape.object { b'{' } else { b'[' });
    for i in 0..count {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        if shape.object {
            let offset = word(&mut keys)?;
            let len = usize::from(keys.u16("JSON key length")?);
            let key =
                data.get(offset..).and_then(|d| d.get(..len)).ok_or(WireError::Truncated("JSON key"))?;
            string(out, key);
            out.extend_from_slice(b": ");
        }
        let kind = r.u8("JSON value type")?;
        let entry = r.bytes(if shape.large { 4 } else { 2 }, "JSON value")?;
        // Small scalars stand in the entry itself; the 32-bit integers only in large containers.
        let inline = matches!(kind, 0x04..=0x06) || (shape.large && matches!(kind, 0x07 | 0x08));
        if inline {
            value(out, kind, entry, depth + 1)?;
        } else {
            let offset = word(&mut Reader::new(entry))?;
            // An entry that points back at its container would never end; the depth limit ends it.
            let target = data.get(offset..).ok_or(WireError::Truncated("JSON value"))?;
            value(out, kind, target, depth + 1)?;
        }
    }
    out.push(if shape.object { b'}' } else { b']' });
    Ok(())
}

fn literal(out: &mut Vec<u8>, which: u8) -> Result<()> {
    out.extend_from_slice(match which {
        0 => b"null",
        1 => b"true",
        2 => b"false",
        _ => return Err(WireError::Malformed("JSON literal")),
    });
    Ok(())
}

fn double(out: &mut Vec<u8>, n: f64) -> Result<()> {
    if !n.is_finite() {
        return Err(WireError::Malformed("JSON number"));
    }
    // Always with an exponent: `1e0` is read back as a DOUBLE, `1` would become an INTEGER.
    out.extend_from_slice(format!("{n:e}").as_bytes());
    Ok(())
}

fn string_len(r: &mut Reader<'_>) -> Result<usize> {
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

fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &b in text {
        match b {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0..=0x1F => out.extend_from_slice(format!("\\u{b:04x}").as_bytes()),
            _ => out.push(b),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(binary: &[u8]) -> Result<String> {
        let mut out = Vec::new();
        write_json(&mut out, binary)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn small_objects_and_doubles_become_text_that_reads_back_as_the_same_types() {
        // {"a": 1, "b": "x"}
        let object =
            [0x00, 2, 0, 22, 0, 18, 0, 1, 0, 19, 0, 1, 0, 0x05, 1, 0, 0x0C, 20, 0, b'a', b'b', 1, b'x'];
        assert_eq!(text(&object).unwrap(), r#"{"a": 1, "b": "x"}"#);
        let mut double = vec![0x0B];
        double.extend_from_slice(&1.0f64.to_le_bytes());
        assert_eq!(text(&double).unwrap(), "1e0");
        assert_eq!(text(&[]).unwrap(), "null");
    }

    #[test]
    fn a_container_that_holds_itself_is_an_error_not_an_overflow() {
        let array = [0x02, 1, 0, 7, 0, 0x02, 0, 0];
        assert_eq!(text(&array), Err(WireError::Malformed("JSON nested too deep")));
        assert!(matches!(text(&[0x0F, 246, 1, 0]), Err(WireError::Unsupported(_))));
    }
}
