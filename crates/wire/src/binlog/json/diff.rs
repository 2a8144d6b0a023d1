//! Partial updates: a document's changes, applied to the document before them.
//!
//! Source: `Json_diff_vector::read_binary` and `apply_json_diff` in `sql/json_diff.cc`; paths as
//! `Json_path::to_string` in `sql-common/json_path.cc` writes them.

use std::borrow::Cow;

use super::{Json, binary};
use crate::{Reader, Result, WireError};

const WHAT: &str = "JSON change";
const MISFIT: WireError = WireError::Malformed("JSON change that does not fit its document");

/// Reads a document in binary form and applies changes to it, which must fit.
///
/// # Errors
/// If either is malformed, or a change names a place that is not there.
pub fn parse_patched<'a>(before: &'a [u8], changes: &'a [u8]) -> Result<Json<'a>> {
    let mut document = binary::parse(before)?;
    let mut r = Reader::new(changes);
    while !r.is_empty() {
        let operation = r.u8(WHAT)?;
        let path = parse_path(r.lenenc_bytes(WHAT)?)?;
        let value = match operation {
            0 | 1 => Some(binary::parse(r.lenenc_bytes(WHAT)?)?),
            2 => None,
            _ => return Err(WireError::Malformed("JSON change's operation")),
        };
        apply(&mut document, operation == 1, &path, value)?;
    }
    Ok(document)
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Leg {
    Member(Vec<u8>),
    Cell {
        index: usize,
        /// Counted back from the last one.
        from_end: bool,
    },
}

/// Without a value it removes; with one it inserts or replaces.
fn apply<'a>(document: &mut Json<'a>, insert: bool, path: &[Leg], value: Option<Json<'a>>) -> Result<()> {
    // The root itself is never changed in part.
    let (last, way) = path.split_last().ok_or(MISFIT)?;
    let mut parent = document;
    for leg in way {
        parent = match (parent, leg) {
            (Json::Object(members), Leg::Member(name)) => {
                members.iter_mut().find(|(key, _)| **key == **name).map(|(_, v)| v).ok_or(MISFIT)?
            }
            (Json::Array(items), Leg::Cell { index, from_end }) => {
                let at = place(*index, *from_end, items.len()).ok_or(MISFIT)?;
                items.get_mut(at).ok_or(MISFIT)?
            }
            _ => return Err(MISFIT),
        };
    }
    match (parent, last) {
        (Json::Object(members), Leg::Member(name)) => {
            let at = members.iter().position(|(key, _)| **key == **name);
            match (at, value, insert) {
                (Some(at), None, _) => drop(members.remove(at)),
                (Some(at), Some(value), false) => members[at].1 = value,
                (None, Some(value), true) => members.push((Cow::Owned(name.clone()), value)),
                _ => return Err(MISFIT),
            }
        }
        (Json::Array(items), Leg::Cell { index, from_end }) => {
            let at = place(*index, *from_end, items.len());
            match (at.filter(|at| *at < items.len()), value, insert) {
                (Some(at), None, _) => drop(items.remove(at)),
                (Some(at), Some(value), false) => items[at] = value,
                (Some(at), Some(value), true) => items.insert(at, value),
                // Past the end means at the end, before the beginning at the beginning.
                (None, Some(value), true) if *from_end => items.insert(0, value),
                (None, Some(value), true) => items.push(value),
                _ => return Err(MISFIT),
            }
        }
        _ => return Err(MISFIT),
    }
    Ok(())
}

fn place(index: usize, from_end: bool, len: usize) -> Option<usize> {
    if from_end { len.checked_sub(1)?.checked_sub(index) } else { Some(index) }
}

fn parse_path(path: &[u8]) -> Result<Vec<Leg>> {
    const PATH: WireError = WireError::Malformed("JSON path");
    let mut rest = path.strip_prefix(b"$").ok_or(PATH)?;
    let mut legs = Vec::new();
    while let Some((&first, after)) = rest.split_first() {
        match (first, after.first()) {
            (b'.', Some(b'"')) => {
                let (name, tail) = quoted(&after[1..]).ok_or(PATH)?;
                legs.push(Leg::Member(name));
                rest = tail;
            }
            (b'.', _) => {
                let end = after.iter().position(|b| matches!(b, b'.' | b'[')).unwrap_or(after.len());
                let (name, tail) = after.split_at(end);
                legs.push(Leg::Member(name.to_vec()));
                rest = tail;
            }
            (b'[', _) => {
                let end = after.iter().position(|&b| b == b']').ok_or(PATH)?;
                let text = std::str::from_utf8(&after[..end]).map_err(|_| PATH)?;
                let (from_end, number) = match text.strip_prefix("last") {
                    None => (false, text),
                    Some("") => (true, "0"),
                    Some(back) => (true, back.strip_prefix('-').ok_or(PATH)?),
                };
                legs.push(Leg::Cell { index: number.parse().map_err(|_| PATH)?, from_end });
                rest = &after[end + 1..];
            }
            _ => return Err(PATH),
        }
    }
    Ok(legs)
}

/// A JSON string after its opening quote, and what follows its closing one.
fn quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut name = Vec::new();
    let mut rest = text;
    loop {
        let (&b, after) = rest.split_first()?;
        rest = after;
        match b {
            b'"' => return Some((name, rest)),
            b'\\' => {
                let (&escaped, after) = rest.split_first()?;
                rest = after;
                match escaped {
                    b'"' | b'\\' | b'/' => name.push(escaped),
                    b'b' => name.push(8),
                    b'f' => name.push(12),
                    b'n' => name.push(b'\n'),
                    b'r' => name.push(b'\r'),
                    b't' => name.push(b'\t'),
                    b'u' => {
                        let code = u32::from_str_radix(std::str::from_utf8(rest.get(..4)?).ok()?, 16).ok()?;
                        rest = &rest[4..];
                        // The server escapes control characters only, so there are no pairs.
                        name.extend_from_slice(char::from_u32(code)?.to_string().as_bytes());
                    }
                    _ => return None,
                }
            }
            _ => name.push(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"a": [1, 2], "k": "x"}`, its changes one after another, and the text after them.
    fn check(changes: &[(u8, &str, &[u8])], expected: Option<&str>) {
        let before = [
            0x00, 2, 0, 32, 0, 18, 0, 1, 0, 19, 0, 1, 0, 0x02, 20, 0, 0x0C, 30, 0, b'a', b'k', 2, 0, 10, 0,
            0x05, 1, 0, 0x05, 2, 0, 1, b'x',
        ];
        let mut bytes = Vec::new();
        for (operation, path, value) in changes {
            bytes.extend_from_slice(&[*operation, path.len() as u8]);
            bytes.extend_from_slice(path.as_bytes());
            if *operation < 2 {
                bytes.push(value.len() as u8);
                bytes.extend_from_slice(value);
            }
        }
        let mut text = Vec::new();
        let outcome = parse_patched(&before, &bytes).and_then(|d| d.write_text(&mut text));
        assert_eq!(
            outcome.ok().map(|()| String::from_utf8(text).unwrap()).as_deref(),
            expected,
            "{changes:?}"
        );
    }

    #[test]
    fn changes_are_made_where_they_say_and_one_after_another() {
        let seven: &[u8] = &[0x05, 7, 0];
        check(&[], Some(r#"{"a": [1, 2], "k": "x"}"#));
        check(&[(0, "$.k", seven), (2, "$.a[0]", &[])], Some(r#"{"a": [2], "k": 7}"#));
        check(&[(1, "$.a[1]", seven)], Some(r#"{"a": [1, 7, 2], "k": "x"}"#));
        check(&[(1, "$.a[9]", seven)], Some(r#"{"a": [1, 2, 7], "k": "x"}"#));
        check(&[(0, "$.a[last]", seven)], Some(r#"{"a": [1, 7], "k": "x"}"#));
        check(
            &[(1, r#"$."new \"\u0001 key""#, seven)],
            Some(r#"{"a": [1, 2], "k": "x", "new \"\u0001 key": 7}"#),
        );
    }

    #[test]
    fn a_change_that_does_not_fit_is_an_error() {
        let seven: &[u8] = &[0x05, 7, 0];
        for change in
            [(0, "$.b", seven), (1, "$.k", seven), (2, "$.a[2]", &[]), (0, "$", seven), (0, "$.k[0]", seven)]
        {
            check(&[change], None);
        }
        check(&[(3, "$.k", seven)], None);
        check(&[(0, "k", seven)], None);
    }
}
