//! A table's definition as the server shows it: what tells whether a statement that was begun has happened.

use model::{TableName, quote_ident};
use mysql::Connection;

use crate::error::{Doing, Result, Side};

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Table(TableName),
    Schema(String),
}

/// The definitions of these, one after another, and which of them are not there. Comparable only if made by the same
/// server. Counters of AUTO_INCREMENT are left out: they may move on their own.
///
/// # Errors
/// If the server fails.
pub(crate) async fn definitions(
    server: &mut Connection,
    side: Side,
    subjects: &[Subject],
) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for subject in subjects {
        let sql = match subject {
            Subject::Table(name) => format!("SHOW CREATE TABLE {}", name.quoted()),
            Subject::Schema(name) => format!("SHOW CREATE DATABASE {}", quote_ident(name)),
        };
        let shown = match server.row(&sql).await {
            Err(error) if error.is_unknown_table() => None,
            shown => shown.doing(side, sql.replace("SHOW CREATE", "show"))?,
        };
        all.extend_from_slice(sql.as_bytes());
        all.push(b'\n');
        all.extend_from_slice(
            &shown.map_or(b"nothing".to_vec(), |row| row.bytes(1).map(without_counter).unwrap_or_default()),
        );
        all.extend_from_slice(b"\n\n");
    }
    Ok(all)
}

/// The counter stands behind the engine, on the line that closes the columns.
fn without_counter(shown: &[u8]) -> Vec<u8> {
    const CLOSING: &[u8] = b"\n) ENGINE=InnoDB";
    const COUNTER: &[u8] = b" AUTO_INCREMENT=";
    let Some(closing) = shown.windows(CLOSING.len()).rposition(|w| w == CLOSING) else {
        return shown.to_vec();
    };
    let (head, tail) = shown.split_at(closing + CLOSING.len());
    let Some(counter) = tail.strip_prefix(COUNTER) else { return shown.to_vec() };
    let digits = counter.iter().take_while(|b| b.is_ascii_digit()).count();
    [head, &counter[digits..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_the_same_whatever_its_counter() {
        let with = b"CREATE TABLE `t` (\n  `a` int\n) ENGINE=InnoDB AUTO_INCREMENT=77 DEFAULT CHARSET=x";
        let without = b"CREATE TABLE `t` (\n  `a` int\n) ENGINE=InnoDB DEFAULT CHARSET=x";
        assert_eq!(without_counter(with), without);
        assert_eq!(without_counter(without), without);
    }
}
