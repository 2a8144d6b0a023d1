//! JSON as a query shows it: text, and beside it the type of every value, a letter each.
//!
//! The letters come in the order in which the server's paths `$**.*` and `$**[*]` find the values: a container's
//! own values first, then those of the containers among them, one after another. That order is not promised
//! anywhere, so every letter is held against the text's own kind of value, and a document they do not fit is an error.
//!
//! Source: `Json_wrapper::seek` and `find_child_doms` in `sql-common/json_dom.cc`.

use std::borrow::Cow;

use wire::binlog::{JSON_DEPTH_MAX, Json, Opaque};

use crate::error::{MoveError, Result};

/// JSON_TYPE's answers and their letters: lower case where text says the type, upper case where it does not.
const LETTERS: &[(&str, u8)] = &[
    ("OBJECT", b'o'),
    ("ARRAY", b'a'),
    ("STRING", b's'),
    ("INTEGER", b'i'),
    ("DOUBLE", b'd'),
    ("BOOLEAN", b'b'),
    ("NULL", b'n'),
    ("UNSIGNED INTEGER", b'U'),
    ("DECIMAL", b'C'),
    ("DATE", b'D'),
    ("TIME", b'T'),
    ("DATETIME", b'M'),
    ("TIMESTAMP", b'S'),
    ("BLOB", b'B'),
    ("BIT", b'I'),
];
/// For any other answer.
const OTHER: char = 'X';

/// The expression that gives the letters of a column: the document's own, those of members, a colon, those of array
/// elements. NULL for NULL.
pub(crate) fn types_of(column: &str) -> String {
    let names: Vec<String> = LETTERS.iter().map(|(name, _)| format!("'{name}'")).collect();
    let letters: String = LETTERS.iter().map(|(_, letter)| char::from(*letter)).collect();
    let letter = |value: &str| {
        format!(
            "MID('{OTHER}{letters}',1+IF({value} IS NULL,NULL,FIELD(JSON_TYPE({value}),{})),1)",
            names.join(",")
        )
    };
    // A JSON null among the values is an SQL NULL in JSON_TABLE's column.
    let all = |path: &str| {
        format!(
            "IFNULL((SELECT GROUP_CONCAT(IFNULL({},'n') SEPARATOR '') FROM JSON_TABLE({column},_utf8mb4'{path}' \
             COLUMNS(v JSON PATH _utf8mb4'$'))t),'')",
            letter("v")
        )
    };
    format!("CONCAT({},{},':',{})", letter(column), all("$**.*"), all("$**[*]"))
}

/// Whether the text alone says all types.
pub(crate) fn is_plain(letters: &[u8]) -> bool {
    !letters.iter().any(u8::is_ascii_uppercase)
}

/// Reads a document from its text and letters.
///
/// # Errors
/// If they do not fit each other.
pub(crate) fn parse<'a>(text: &'a [u8], letters: &'a [u8]) -> Result<Json<'a>> {
    let misfit = || {
        MoveError::Unsupported(
            "a JSON value whose types the server lists in an order that is not known".to_owned(),
        )
    };
    let mut reader = Text { rest: text };
    let node = reader.value(0).filter(|_| reader.rest.is_empty()).ok_or_else(misfit)?;
    let (&root, letters) = letters.split_first().ok_or_else(misfit)?;
    let colon = letters.iter().position(|&b| b == b':').ok_or_else(misfit)?;
    let mut letters = Letters { members: &letters[..colon], elements: &letters[colon + 1..] };
    let document = letters.give(node, root).ok_or_else(misfit)?;
    match letters {
        Letters { members: [], elements: [] } => Ok(document),
        _ => Err(misfit()),
    }
}

/// A value of the text, before it has a type.
enum Node<'a> {
    /// A number, or `true`, `false`, `null`.
    Word(&'a [u8]),
    String(Cow<'a, [u8]>),
    Array(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, [u8]>, Node<'a>)>),
}

/// Letters not yet given to a value.
struct Letters<'a> {
    members: &'a [u8],
    elements: &'a [u8],
}

fn take<'a>(from: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = from.split_at_checked(n)?;
    *from = tail;
    Some(head)
}

impl Letters<'_> {
    fn give<'a>(&mut self, node: Node<'a>, letter: u8) -> Option<Json<'a>> {
        Some(match (letter, node) {
            (b'o', Node::Object(members)) => {
                let own = take(&mut self.members, members.len())?;
                let typed = members.into_iter().zip(own).map(|((k, v), &l)| Some((k, self.give(v, l)?)));
                Json::Object(typed.collect::<Option<_>>()?)
            }
            (b'a', Node::Array(items)) => {
                let own = take(&mut self.elements, items.len())?;
                Json::Array(items.into_iter().zip(own).map(|(v, &l)| self.give(v, l)).collect::<Option<_>>()?)
            }
            (b's', Node::String(text)) => Json::String(text),
            (b'n', Node::Word(b"null")) => Json::Null,
            (b'b', Node::Word(b"true")) => Json::Bool(true),
            (b'b', Node::Word(b"false")) => Json::Bool(false),
            (b'i', Node::Word(digits)) => Json::Int(number(digits)?),
            (b'U', Node::Word(digits)) => Json::Uint(number(digits)?),
            (b'd', Node::Word(digits)) => Json::Double(number(digits)?),
            (b'C', Node::Word(digits)) if is_decimal(digits) => {
                Json::Opaque(Opaque::Decimal(Cow::Borrowed(digits)))
            }
            (b'D', Node::String(text)) => Json::Opaque(Opaque::Date(text)),
            (b'T', Node::String(text)) => Json::Opaque(Opaque::Time(text)),
            (b'M', Node::String(text)) => Json::Opaque(Opaque::DateTime(text)),
            (b'S', Node::String(text)) => Json::Opaque(Opaque::Timestamp(text)),
            (b'B' | b'I' | b'X', Node::String(text)) => Json::Opaque(bytes(&text)?),
            _ => return None,
        })
    }
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn is_decimal(digits: &[u8]) -> bool {
    let magnitude = digits.strip_prefix(b"-").unwrap_or(digits);
    !magnitude.is_empty() && magnitude.iter().all(|b| b.is_ascii_digit() || *b == b'.')
}

/// `base64:type15:AP8=`. The server breaks long lines.
fn bytes(text: &[u8]) -> Option<Opaque<'static>> {
    let rest = text.strip_prefix(b"base64:type")?;
    let colon = rest.iter().position(|&b| b == b':')?;
    let kind = number(&rest[..colon])?;
    let mut bytes = Vec::with_capacity(rest.len() / 4 * 3);
    let (mut held, mut bits) = (0u32, 0);
    for &b in rest[colon + 1..].iter().filter(|b| !matches!(b, b'\n' | b'=')) {
        let value = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6 | u32::from(value)) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    Some(Opaque::Bytes { kind, bytes: Cow::Owned(bytes) })
}

/// Reads JSON text as the server writes it.
struct Text<'a> {
    rest: &'a [u8],
}

impl<'a> Text<'a> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.skip();
        match self.rest.strip_prefix(&[byte]) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: u32) -> Option<Node<'a>> {
        if depth > JSON_DEPTH_MAX {
            return None;
        }
        self.skip();
        match self.rest.first()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string().map(Node::String),
            _ => {
                let end = self.rest.iter().position(|b| b",]} ".contains(b)).unwrap_or(self.rest.len());
                take(&mut self.rest, end).filter(|word| !word.is_empty()).map(Node::Word)
            }
        }
    }

    fn object(&mut self, depth: u32) -> Option<Node<'a>> {
        self.eat(b'{');
        let mut members = Vec::new();
        while !self.eat(b'}') {
            if !members.is_empty() && !self.eat(b',') {
                return None;
            }
            self.skip();
            let key = self.string()?;
            if !self.eat(b':') {
                return None;
            }
            members.push((key, self.value(depth + 1)?));
        }
        Some(Node::Object(members))
    }

    fn array(&mut self, depth: u32) -> Option<Node<'a>> {
        self.eat(b'[');
        let mut items = Vec::new();
        while !self.eat(b']') {
            if !items.is_empty() && !self.eat(b',') {
                return None;
            }
            items.push(self.value(depth + 1)?);
        }
        Some(Node::Array(items))
    }

    fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        let text = self.rest.strip_prefix(b"\"")?;
        let mut end = 0;
        while *text.get(end)? != b'"' {
            end += if text[end] == b'\\' { 2 } else { 1 };
        }
        let inner = &text[..end];
        self.rest = &text[end + 1..];
        match inner.contains(&b'\\') {
            false => Some(Cow::Borrowed(inner)),
            // serde_json knows the escapes; the text is UTF-8, since the server's is.
            true => {
                let quoted = [b"\"", inner, b"\""].concat();
                serde_json::from_slice::<String>(&quoted).ok().map(|s| Cow::Owned(s.into_bytes()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, letters: &str, expected: Option<&str>) {
        let read = parse(text.as_bytes(), letters.as_bytes()).ok().map(|document| {
            let mut sql = Vec::new();
            crate::json::write(&mut sql, &document).unwrap();
            String::from_utf8(sql).unwrap()
        });
        assert_eq!(read.as_deref(), expected, "{text} {letters}");
    }

    #[test]
    fn every_value_gets_the_type_that_the_server_lists_for_it() {
        check("1.5", "C:", Some("CAST(1.5 AS JSON)"));
        check("1.5", "d:", Some("_utf8mb4'1.5e0'"));
        check(
            r#"{"a": [1, {"b": 2.50}], "c": 3, "d": {"e": "2026-11-24"}}"#,
            "oaUoCD:io",
            Some(
                "JSON_OBJECT(_utf8mb4'a',JSON_ARRAY(CAST(_utf8mb4'1' AS JSON),JSON_OBJECT(_utf8mb4'b',2.50)),_utf8mb4'c',\
                 CAST(3 AS UNSIGNED),_utf8mb4'd',JSON_OBJECT(_utf8mb4'e',CAST('2026-11-24' AS DATE)))",
            ),
        );
        check(
            r#"["base64:type15:AA==", "base64:type15:AA=="]"#,
            "a:Bs",
            Some("JSON_ARRAY(_binary'\0',_utf8mb4'base64:type15:AA==')"),
        );
        check(r#"["q\"\\\n\u0001"]"#, "a:s", Some("_utf8mb4'[\"q\\\\\"\\\\\\\\\\\\u000a\\\\u0001\"]'"));
    }

    #[test]
    fn letters_that_do_not_fit_are_an_error() {
        for (text, letters) in [
            ("[1]", "a:s"),
            ("[1]", "a:"),
            ("[1]", "a:ii"),
            ("[1, 2", "a:ii"),
            ("{}", "a:"),
            ("1x", "i:"),
            ("\"2026\"", "C:"),
            ("1", ""),
            ("", "i:"),
            ("\"\\", "s:"),
        ] {
            check(text, letters, None);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_and_letters_are_read_or_refused(text in r#"[\[\]{}",:a\\0-9.\-nul ]{0,40}"#, letters in "[oasidbnUCDTMSBI:]{0,20}") {
            if let Ok(document) = parse(text.as_bytes(), letters.as_bytes()) {
                proptest::prop_assert!(crate::json::write(&mut Vec::new(), &document).is_ok() || letters.contains(['B', 'I']));
            }
        }
    }

    #[test]
    fn bytes_come_out_of_base64_as_they_went_in() {
        let of = |text: &str| bytes(text.as_bytes());
        let expected = |kind, b: &[u8]| Some(Opaque::Bytes { kind, bytes: Cow::Owned(b.to_vec()) });
        assert_eq!(of("base64:type15:"), expected(15, b""));
        assert_eq!(of("base64:type252:AP8="), expected(252, &[0, 255]));
        assert_eq!(of("base64:type16:YWJj\nZA=="), expected(16, b"abcd"));
        assert_eq!(of("base64:type999:AA=="), None);
        assert_eq!(of("base64:type15:A*=="), None);
    }
}
