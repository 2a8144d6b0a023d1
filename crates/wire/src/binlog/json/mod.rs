//! JSON documents with the types that MySQL gives their scalars, which JSON text alone would lose.
//!
//! A document is read from the server's binary form, with a partial update's changes applied if there are any, into
//! a tree that borrows from the event.

mod binary;
mod diff;

use std::borrow::Cow;

pub use binary::parse;
pub use diff::parse_patched;

use crate::{Result, WireError};

/// The server nests JSON at most this deep (`JSON_DOCUMENT_MAX_DEPTH` in `sql-common/json_syntax_check.h`).
pub const DEPTH_MAX: u32 = 100;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// INTEGER.
    Int(i64),
    /// UNSIGNED INTEGER. Text has it only above the largest INTEGER.
    Uint(u64),
    /// DOUBLE.
    Double(f64),
    /// STRING: utf8mb4.
    String(Cow<'a, [u8]>),
    /// Any other type of SQL's, which text shows as a number or a string.
    Opaque(Opaque<'a>),
    /// ARRAY.
    Array(Vec<Json<'a>>),
    /// OBJECT, its keys in the server's order.
    Object(Vec<(Cow<'a, [u8]>, Json<'a>)>),
}

/// A scalar of a type that JSON text does not have.
#[derive(Debug, Clone, PartialEq)]
pub enum Opaque<'a> {
    /// DECIMAL, as the text of its digits.
    Decimal(Cow<'a, [u8]>),
    /// DATE: `2026-11-24`.
    Date(Cow<'a, [u8]>),
    /// TIME with six digits of fraction.
    Time(Cow<'a, [u8]>),
    /// DATETIME with six digits of fraction.
    DateTime(Cow<'a, [u8]>),
    /// TIMESTAMP with six digits of fraction.
    Timestamp(Cow<'a, [u8]>),
    /// Bytes of a column type, by its number in `enum_field_types`.
    Bytes {
        /// The type.
        kind: u8,
        /// The bytes.
        bytes: Cow<'a, [u8]>,
    },
}

impl Json<'_> {
    /// Whether its text reads back as the same value with the same types.
    pub fn is_plain(&self) -> bool {
        match self {
            Self::Opaque(_) => false,
            Self::Uint(n) => *n > i64::MAX as u64,
            Self::Array(items) => items.iter().all(Self::is_plain),
            Self::Object(members) => members.iter().all(|(_, v)| v.is_plain()),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Double(_) | Self::String(_) => true,
        }
    }

    /// Appends its text.
    ///
    /// # Errors
    /// If it holds a scalar that text does not have.
    pub fn write_text(&self, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
            Self::Uint(n) => out.extend_from_slice(n.to_string().as_bytes()),
            // Always with an exponent: `1e0` is read back as a DOUBLE, `1` would become an INTEGER.
            Self::Double(n) => out.extend_from_slice(format!("{n:e}").as_bytes()),
            Self::String(text) => write_string(out, text),
            Self::Opaque(_) => return Err(WireError::Unsupported("typed scalar in JSON text".into())),
            Self::Array(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    out.extend_from_slice(if i > 0 { b", " } else { b"" });
                    item.write_text(out)?;
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (i, (key, value)) in members.iter().enumerate() {
                    out.extend_from_slice(if i > 0 { b", " } else { b"" });
                    write_string(out, key);
                    out.extend_from_slice(b": ");
                    value.write_text(out)?;
                }
                out.push(b'}');
            }
        }
        Ok(())
    }
}

fn write_string(out: &mut Vec<u8>, text: &[u8]) {
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

    fn check(value: &Json<'_>, plain: bool, text: Option<&str>) {
        let mut out = Vec::new();
        let written = value.write_text(&mut out).ok().map(|()| String::from_utf8_lossy(&out).into_owned());
        assert_eq!((value.is_plain(), written.as_deref()), (plain, text), "{value:?}");
    }

    #[test]
    fn text_is_enough_where_it_says_the_type_and_only_there() {
        check(&Json::Int(-1), true, Some("-1"));
        check(&Json::Uint(1), false, Some("1"));
        check(&Json::Uint(u64::MAX), true, Some("18446744073709551615"));
        check(&Json::Double(-0.0), true, Some("-0e0"));
        let decimal = Json::Opaque(Opaque::Decimal(Cow::Borrowed(b"1.50")));
        check(&decimal, false, None);
        check(&Json::Array(vec![Json::Null, decimal]), false, None);
        let object = Json::Object(vec![(Cow::Borrowed(b"a\"\n"), Json::Bool(true))]);
        check(&object, true, Some(r#"{"a\"\u000a": true}"#));
    }
}
