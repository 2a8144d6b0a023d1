//! JSON values as SQL expressions that store the same document, every scalar with the type it had.
//!
//! Text is enough for most documents. A document that holds a DECIMAL, a date, bytes or a small unsigned number is
//! written as JSON_OBJECT and JSON_ARRAY of typed expressions, down to the scalars that need it.
//!
//! The typed expressions were found by trying them on MySQL 9.7.4: only a column of JSON_TABLE gives a TIMESTAMP, a
//! BIT, or one of the BLOB types without a table. Texts have introducers, since our connections' character set is
//! binary, of which the server makes no JSON.

mod text;

pub(crate) use text::{is_plain, parse, types_of};

use wire::binlog::{Json, Opaque};

use crate::error::{MoveError, Result};
use crate::literal::write_string;

/// Appends the expression.
///
/// # Errors
/// If a scalar is of a type that no expression gives.
pub(crate) fn write(out: &mut Vec<u8>, document: &Json<'_>) -> Result<()> {
    if document.is_plain() {
        return plain(out, document);
    }
    let scalar = !matches!(document, Json::Array(_) | Json::Object(_));
    if scalar {
        out.extend_from_slice(b"CAST(");
    }
    expression(out, document)?;
    if scalar {
        out.extend_from_slice(b" AS JSON)");
    }
    Ok(())
}

fn plain(out: &mut Vec<u8>, value: &Json<'_>) -> Result<()> {
    let mut text = Vec::new();
    value.write_text(&mut text)?;
    write_string(out, "utf8mb4", &text);
    Ok(())
}

/// An argument of JSON_OBJECT or JSON_ARRAY.
fn expression(out: &mut Vec<u8>, value: &Json<'_>) -> Result<()> {
    match value {
        Json::Opaque(opaque) => typed(out, opaque)?,
        Json::Uint(n) if !value.is_plain() => {
            out.extend_from_slice(format!("CAST({n} AS UNSIGNED)").as_bytes());
        }
        Json::String(text) => write_string(out, "utf8mb4", text),
        Json::Array(items) if !value.is_plain() => {
            out.extend_from_slice(b"JSON_ARRAY(");
            for (i, item) in items.iter().enumerate() {
                out.extend_from_slice(if i > 0 { b"," } else { b"" });
                expression(out, item)?;
            }
            out.push(b')');
        }
        Json::Object(members) if !value.is_plain() => {
            out.extend_from_slice(b"JSON_OBJECT(");
            for (i, (key, member)) in members.iter().enumerate() {
                out.extend_from_slice(if i > 0 { b"," } else { b"" });
                write_string(out, "utf8mb4", key);
                out.push(b',');
                expression(out, member)?;
            }
            out.push(b')');
        }
        _ => {
            out.extend_from_slice(b"CAST(");
            plain(out, value)?;
            out.extend_from_slice(b" AS JSON)");
        }
    }
    Ok(())
}

fn typed(out: &mut Vec<u8>, opaque: &Opaque<'_>) -> Result<()> {
    match opaque {
        Opaque::Decimal(digits) => {
            out.extend_from_slice(digits);
            // With a point it is a DECIMAL, whatever its scale.
            if !digits.contains(&b'.') {
                out.push(b'.');
            }
        }
        Opaque::Date(text) => cast(out, text, "DATE"),
        Opaque::Time(text) => cast(out, text, "TIME(6)"),
        Opaque::DateTime(text) => cast(out, text, "DATETIME(6)"),
        Opaque::Timestamp(text) => {
            let mut value = Vec::new();
            write_string(&mut value, "utf8mb4", text);
            column(out, &value, "TIMESTAMP(6)");
        }
        Opaque::Bytes { kind: 15, bytes } => write_string(out, "binary", bytes),
        Opaque::Bytes { kind: 16, bytes } if bytes.len() <= 8 => {
            let number = bytes.iter().fold(0u64, |n, &b| n << 8 | u64::from(b));
            let value = format!("CAST({number} AS UNSIGNED)");
            column(out, value.as_bytes(), &format!("BIT({})", 8 * bytes.len().max(1)));
        }
        Opaque::Bytes { kind, bytes } => {
            let data_type = match kind {
                249 => "TINYBLOB".to_owned(),
                250 => "MEDIUMBLOB".to_owned(),
                251 => "LONGBLOB".to_owned(),
                252 => "BLOB".to_owned(),
                254 if bytes.len() <= 255 => format!("BINARY({})", bytes.len()),
                _ => {
                    return Err(MoveError::Unsupported(format!(
                        "a JSON value with a scalar of column type {kind}, which no SQL expression gives"
                    )));
                }
            };
            let mut value = Vec::new();
            write_string(&mut value, "binary", bytes);
            column(out, &value, &data_type);
        }
    }
    Ok(())
}

fn cast(out: &mut Vec<u8>, text: &[u8], data_type: &str) {
    out.extend_from_slice(b"CAST('");
    // Digits and signs only, since they are not escaped.
    out.extend(text.iter().filter(|b| b.is_ascii_digit() || b"-:. ".contains(b)));
    out.extend_from_slice(format!("' AS {data_type})").as_bytes());
}

/// The value as a column of this type. What the type cannot hold is an error, never a NULL. It leaves the subquery as
/// JSON: a subquery's own column would be a BLOB where this one is a TINYBLOB.
fn column(out: &mut Vec<u8>, value: &[u8], data_type: &str) {
    out.extend_from_slice(b"(SELECT JSON_EXTRACT(JSON_ARRAY(c),_utf8mb4'$[0]') FROM JSON_TABLE(JSON_ARRAY(");
    out.extend_from_slice(value);
    out.extend_from_slice(
        format!("),_utf8mb4'$[*]' COLUMNS(c {data_type} PATH _utf8mb4'$' ERROR ON ERROR))t)").as_bytes(),
    );
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn check(value: &Json<'_>, expected: &str) {
        let mut out = Vec::new();
        write(&mut out, value).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn only_what_needs_a_type_is_written_with_one() {
        let text = |s: &'static str| Cow::Borrowed(s.as_bytes());
        let decimal = |s| Json::Opaque(Opaque::Decimal(text(s)));
        check(&Json::Array(vec![Json::Int(5), Json::Null]), "_utf8mb4'[5, null]'");
        check(&decimal("5"), "CAST(5. AS JSON)");
        let plain = Json::Array(vec![Json::Double(1.0)]);
        let object =
            Json::Object(vec![(text("a'"), plain), (text("b"), Json::Array(vec![decimal("-1.50")]))]);
        check(
            &object,
            r"JSON_OBJECT(_utf8mb4'a\'',CAST(_utf8mb4'[1e0]' AS JSON),_utf8mb4'b',JSON_ARRAY(-1.50))",
        );
        check(&Json::Uint(7), "CAST(CAST(7 AS UNSIGNED) AS JSON)");
        check(
            &Json::Array(vec![Json::Opaque(Opaque::Date(text("2026-11-24")))]),
            "JSON_ARRAY(CAST('2026-11-24' AS DATE))",
        );
        let bit = Json::Array(vec![Json::Opaque(Opaque::Bytes { kind: 16, bytes: Cow::Borrowed(&[1, 2]) })]);
        check(
            &bit,
            "JSON_ARRAY((SELECT JSON_EXTRACT(JSON_ARRAY(c),_utf8mb4'$[0]') FROM JSON_TABLE(JSON_ARRAY(CAST(258 AS UNSIGNED)),\
             _utf8mb4'$[*]' COLUMNS(c BIT(16) PATH _utf8mb4'$' ERROR ON ERROR))t))",
        );
    }

    #[test]
    fn a_type_that_no_expression_gives_is_named() {
        let odd = Json::Opaque(Opaque::Bytes { kind: 255, bytes: Cow::Borrowed(b"x") });
        let error = write(&mut Vec::new(), &odd).unwrap_err();
        assert!(error.to_string().contains("column type 255"), "{error}");
    }
}
