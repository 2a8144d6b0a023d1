//! A table's definition as the server shows it: what tells whether a statement that was begun has happened.

use model::{Table, TableName, quote_ident};
use mysql::Connection;

use crate::ddl::renamed::{self, Unsure};
use crate::error::{Doing, MoveError, Result, Side};
use crate::plan::Renames;

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
        let sql = subject.show();
        let shown = shown(server, side, &sql).await?;
        all.extend_from_slice(sql.as_bytes());
        all.push(b'\n');
        all.extend_from_slice(&shown.unwrap_or(b"nothing".to_vec()));
        all.extend_from_slice(b"\n\n");
    }
    Ok(all)
}

impl Subject {
    fn show(&self) -> String {
        match self {
            Self::Table(name) => format!("SHOW CREATE TABLE {}", name.as_is().quoted()),
            Self::Schema(name) => format!("SHOW CREATE DATABASE {}", quote_ident(name)),
        }
    }
}

/// The definition of a table, as a side has it, in words that both sides have for it; none if it is not there.
///
/// # Errors
/// If the server fails, or the definition cannot be put in the target's names.
pub(crate) async fn in_names_of_target(
    server: &mut Connection,
    side: Side,
    table: &Table,
    renames: &Renames,
) -> Result<Option<Vec<u8>>> {
    let name = table.on(side);
    let shown = shown(server, side, &Subject::Table(name.to_name()).show()).await?;
    let (Side::Source, Some(shown)) = (side, &shown) else { return Ok(shown) };
    renamed::table(shown, renames).map(Some).map_err(|Unsure(why)| MoveError::Refused {
        what: format!("the definition of {name} cannot be put in the target's names: it holds {why}"),
        hint: "change it on the source".into(),
    })
}

async fn shown(server: &mut Connection, side: Side, sql: &str) -> Result<Option<Vec<u8>>> {
    let row = match server.row(sql).await {
        Err(error) if error.is_unknown_table() => None,
        shown => shown.doing(side, sql.replace("SHOW CREATE", "show"))?,
    };
    Ok(row.map(|row| row.bytes(1).map(without_counter).unwrap_or_default()))
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
