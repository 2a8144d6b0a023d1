//! What a repair would write, as SQL to be read by whoever is asked whether it may be written.
//!
//! This is the one place that shows values of rows: they are the answer to what was asked. Rows are really written by
//! [`crate::apply`]: deleted and inserted anew, with every value whole, where here an UPDATE says what that comes to.

use model::{Side, Table, quote_ident};
use serde::{Deserialize, Serialize};

use crate::literal::{Key, Tuple, literals};

/// Characters shown of one value; half as many of its bytes, if it is no text.
const VALUE_CHARS: usize = 64;

/// One row, and what would make it right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairStatement {
    /// The row's key, as literals; of a bag, all of its values.
    pub key: String,
    /// The statement; long values are cut.
    pub sql: String,
}

impl RepairStatement {
    /// Bytes it takes to be told.
    pub(crate) fn bytes(&self) -> usize {
        self.key.len() + self.sql.len()
    }

    /// Makes the target's row of a key, if it has one, the source's.
    pub(super) fn of_row(table: &Table, key: &Key, here: Option<&Tuple>, there: Option<&Tuple>) -> Self {
        let name = table.on(Side::Target).quoted();
        let sql = match (here, there) {
            (Some(here), Some(there)) => {
                let set: Vec<String> = columns(table)
                    .zip(here.parts().zip(there.parts()))
                    .filter(|(_, (here, there))| here != there)
                    .map(|(column, (here, _))| format!("{column} = {}", shown(here)))
                    .collect();
                match set.is_empty() {
                    true => format!("-- generated columns of {name} differ where {}", where_key(table, key)),
                    false => {
                        format!("UPDATE {name} SET {} WHERE {}", set.join(", "), where_key(table, key))
                    }
                }
            }
            (Some(here), None) => insert(table, here.parts()),
            (None, _) => format!("DELETE FROM {name} WHERE {}", where_key(table, key)),
        };
        Self { key: literals(key).map(shown).collect::<Vec<_>>().join(","), sql }
    }

    /// Makes the target have so many more rows of a bag's value, or fewer.
    pub(crate) fn of_value(table: &Table, value: &Key, more: i64) -> Self {
        let sql = match more {
            0.. => {
                let insert = insert(table, literals(value));
                if more > 1 { format!("{insert} -- {more} times") } else { insert }
            }
            _ => {
                let each = columns(table).zip(literals(value));
                let each: Vec<_> = each.map(|(name, value)| format!("{name} <=> {}", shown(value))).collect();
                let name = table.on(Side::Target).quoted();
                format!("DELETE FROM {name} WHERE {} LIMIT {}", each.join(" AND "), more.unsigned_abs())
            }
        };
        Self { key: literals(value).map(shown).collect::<Vec<_>>().join(","), sql }
    }
}

fn columns(table: &Table) -> impl Iterator<Item = String> + '_ {
    table.written().map(|i| quote_ident(&table.columns[i].name))
}

fn insert<'a>(table: &Table, values: impl Iterator<Item = &'a [u8]>) -> String {
    let values: Vec<String> = values.map(shown).collect();
    let columns: Vec<String> = columns(table).collect();
    format!(
        "INSERT INTO {} ({}) VALUES ({})",
        table.on(Side::Target).quoted(),
        columns.join(", "),
        values.join(", ")
    )
}

fn where_key(table: &Table, key: &Key) -> String {
    let names = table.key.iter().map(|&i| quote_ident(&table.columns[i].name));
    let each: Vec<_> =
        names.zip(literals(key)).map(|(name, value)| format!("{name} = {}", shown(value))).collect();
    each.join(" AND ")
}

/// A literal that a terminal can show: bytes that are no text in hexadecimal, and no more than can be read.
fn shown(literal: &[u8]) -> String {
    match std::str::from_utf8(literal) {
        Ok(text) if text.chars().all(is_plain) => match text.char_indices().nth(VALUE_CHARS) {
            Some((end, _)) => format!("{}…{}", &text[..end], if text.ends_with('\'') { "'" } else { "" }),
            None => text.to_owned(),
        },
        _ => {
            let quote = literal.iter().position(|&b| b == b'\'').unwrap_or(0);
            let (charset, quoted) = literal.split_at(quote);
            let bytes = unquoted(quoted);
            let most = VALUE_CHARS / 2;
            let hex: String = bytes.iter().take(most).map(|b| format!("{b:02x}")).collect();
            let more = if bytes.len() > most { "…" } else { "" };
            format!("{} x'{hex}{more}'", String::from_utf8_lossy(charset))
        }
    }
}

/// Whether it neither moves a terminal's cursor nor the reading direction.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The bytes within quotes, as [`crate::literal`] writes them.
fn unquoted(quoted: &[u8]) -> Vec<u8> {
    let inner = quoted.strip_prefix(b"'").and_then(|q| q.strip_suffix(b"'")).unwrap_or(quoted);
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(if byte == b'\\' { rest.next().copied().unwrap_or(byte) } else { byte });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_and_cannot_command_a_terminal() {
        assert_eq!(shown(b"_utf8mb4'o\\'hara'"), "_utf8mb4'o\\'hara'");
        let long = format!("_utf8mb4'{}'", "é".repeat(100));
        assert_eq!(shown(long.as_bytes()), format!("_utf8mb4'{}…'", "é".repeat(55)));
        assert_eq!(shown(b"_binary'\x00\\'\\\\\xff'"), "_binary x'00275cff'");
        assert_eq!(shown("_utf8mb4'a\u{1b}[2J'".as_bytes()), "_utf8mb4 x'611b5b324a'");
        let blob = [b"_binary'".as_slice(), &[0; 100], b"'"].concat();
        assert_eq!(shown(&blob), format!("_binary x'{}…'", "00".repeat(32)));
        assert_eq!(shown(b"NULL"), "NULL");
    }
}
