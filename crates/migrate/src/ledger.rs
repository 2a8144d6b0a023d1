//! What is applied, kept in the target and written in the same transaction as the rows.
//!
//! `highwater.ledger` holds, per move and source, the GTID set applied; `highwater.ranges` the key ranges to be
//! copied, and which of them are done; `highwater.indexes` what tables are still without.

use model::{GtidSet, Table};
use mysql::{Connection, Row};

use crate::error::{Doing, MoveError, Result, Side};
use crate::schema::quote_text;
use crate::select::KeyRange;

/// The schema that holds our tables. It is never part of a move.
pub const SCHEMA: &str = "highwater";

const CREATE: &str = "CREATE DATABASE IF NOT EXISTS highwater;
CREATE TABLE IF NOT EXISTS highwater.ledger (
  move_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  source_uuid CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  applied LONGTEXT CHARACTER SET ascii NOT NULL,
  PRIMARY KEY (move_name, source_uuid)
) ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS highwater.ranges (
  move_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  table_name VARBINARY(512) NOT NULL,
  number INT NOT NULL,
  low LONGBLOB NULL,
  high LONGBLOB NULL,
  row_count BIGINT NULL,
  done_at TIMESTAMP(3) NULL,
  PRIMARY KEY (move_name, table_name, number)
) ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS highwater.indexes (
  move_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  table_name VARBINARY(512) NOT NULL,
  place INT NOT NULL,
  name VARBINARY(256) NOT NULL,
  definition LONGBLOB NOT NULL,
  PRIMARY KEY (move_name, table_name, place)
) ENGINE=InnoDB";

/// Names one direction of one move: rows of a given source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerName {
    /// The move.
    pub move_name: String,
    /// The source's `server_uuid`.
    pub source_uuid: String,
}

impl LedgerName {
    fn matches(&self) -> String {
        format!("move_name='{}' AND source_uuid='{}'", self.move_name, self.source_uuid)
    }

    /// The statement that says what is applied now.
    pub fn update(&self, applied: &GtidSet) -> String {
        format!("UPDATE highwater.ledger SET applied='{applied}' WHERE {}", self.matches())
    }

    /// The statement that says a range is copied.
    pub fn range_done(&self, table: &Table, number: u32, rows: usize) -> String {
        format!(
            "UPDATE highwater.ranges SET row_count={rows}, done_at=NOW(3) WHERE move_name='{}' AND table_name={} \
             AND number={number} AND done_at IS NULL",
            self.move_name,
            quote_text(&table.name.to_string())
        )
    }
}

/// A range to be copied.
#[derive(Debug, Clone)]
pub struct PlannedRange {
    /// Its place among the table's ranges.
    pub number: u32,
    /// Its bounds.
    pub range: KeyRange,
    /// Whether it is copied.
    pub done: bool,
    /// Rows that copying it brought, once it is done.
    pub rows: u64,
}

/// Creates our tables on the target if they are not there.
///
/// # Errors
/// If the target refuses.
pub async fn create(target: &mut Connection) -> Result<()> {
    target.query_all(CREATE).await.doing(Side::Target, "create the ledger")?;
    Ok(())
}

/// What is applied, if the move has begun in this direction.
///
/// # Errors
/// If the ledger cannot be read.
pub async fn read(target: &mut Connection, name: &LedgerName) -> Result<Option<GtidSet>> {
    let sql = format!("SELECT applied FROM highwater.ledger WHERE {}", name.matches());
    let row = target.row(sql).await.doing(Side::Target, "read the ledger")?;
    row.map(|r| parse_set(&r.text(0))).transpose()
}

/// Begins a direction of a move at a GTID set, in place of whatever was there of it.
///
/// # Errors
/// If the target refuses.
pub async fn begin(target: &mut Connection, name: &LedgerName, applied: &GtidSet) -> Result<()> {
    let sql = format!(
        "START TRANSACTION; DELETE FROM highwater.ledger WHERE {}; INSERT INTO highwater.ledger \
         (move_name, source_uuid, applied) VALUES ('{}', '{}', '{applied}'); COMMIT",
        name.matches(),
        name.move_name,
        name.source_uuid
    );
    target.query_all(sql).await.doing(Side::Target, "begin the ledger")?;
    Ok(())
}

/// Ends a direction of a move, so that it can begin anew elsewhere in the stream.
///
/// # Errors
/// If the target refuses.
pub async fn end(target: &mut Connection, name: &LedgerName) -> Result<()> {
    let sql = format!("DELETE FROM highwater.ledger WHERE {}", name.matches());
    target.execute(sql).await.doing(Side::Target, "end the ledger")?;
    Ok(())
}

/// The ranges planned for a table, in order.
///
/// # Errors
/// If they cannot be read.
pub async fn ranges(target: &mut Connection, name: &LedgerName, table: &Table) -> Result<Vec<PlannedRange>> {
    let sql = format!(
        "SELECT number, low, high, done_at IS NOT NULL, IFNULL(row_count, 0) FROM highwater.ranges \
         WHERE move_name='{}' AND table_name={} ORDER BY number",
        name.move_name,
        quote_text(&table.name.to_string())
    );
    let rows = target.rows(sql).await.doing(Side::Target, "read the planned ranges")?;
    Ok(rows.iter().map(planned).collect())
}

fn planned(row: &Row) -> PlannedRange {
    PlannedRange {
        number: row.number(0).unwrap_or(0),
        range: KeyRange { low: row.bytes(1).map(decode_bound), high: row.bytes(2).map(decode_bound) },
        done: row.text(3) == "1",
        rows: row.number(4).unwrap_or(0),
    }
}

/// Adds ranges to a table's plan.
///
/// # Errors
/// If the target refuses.
pub async fn plan(
    target: &mut Connection,
    name: &LedgerName,
    table: &Table,
    new: &[PlannedRange],
) -> Result<()> {
    let values: Vec<String> = new
        .iter()
        .map(|p| {
            format!(
                "('{}',{},{},{},{})",
                name.move_name,
                quote_text(&table.name.to_string()),
                p.number,
                encode_bound(p.range.low.as_deref()),
                encode_bound(p.range.high.as_deref())
            )
        })
        .collect();
    let sql = format!(
        "INSERT INTO highwater.ranges (move_name, table_name, number, low, high) VALUES {}",
        values.join(",")
    );
    target.execute(sql).await.doing(Side::Target, "plan the ranges")?;
    Ok(())
}

/// Removes every trace of a move.
///
/// # Errors
/// If the target refuses.
pub async fn forget(target: &mut Connection, move_name: &str) -> Result<()> {
    let exists = "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME='highwater'";
    let row = target.row(exists).await.doing(Side::Target, "look for the ledger")?;
    if row.is_none_or(|r| r.text(0) == "0") {
        return Ok(());
    }
    let sql = format!(
        "DELETE FROM highwater.ledger WHERE move_name='{move_name}'; DELETE FROM highwater.ranges \
         WHERE move_name='{move_name}'; DELETE FROM highwater.indexes WHERE move_name='{move_name}'"
    );
    target.query_all(sql).await.doing(Side::Target, "clear the ledger")?;
    let left =
        target.row("SELECT COUNT(*) FROM highwater.ledger").await.doing(Side::Target, "read the ledger")?;
    if left.is_some_and(|r| r.text(0) == "0") {
        target.execute("DROP DATABASE highwater").await.doing(Side::Target, "drop the ledger")?;
    }
    Ok(())
}

pub(crate) fn parse_set(text: &str) -> Result<GtidSet> {
    text.parse().map_err(|e| MoveError::Refused {
        what: format!("the GTID set cannot be used: {e}"),
        hint: "see `highwater check`".into(),
    })
}

/// A bound is stored as its literals, each after its length in decimal and a colon; as a hexadecimal literal, since
/// literals hold quotes.
fn encode_bound(bound: Option<&[Vec<u8>]>) -> String {
    let Some(literals) = bound else { return "NULL".into() };
    let mut bytes = Vec::new();
    for literal in literals {
        bytes.extend_from_slice(format!("{}:", literal.len()).as_bytes());
        bytes.extend_from_slice(literal);
    }
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("x'{hex}'")
}

fn decode_bound(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut literals = Vec::new();
    while let Some(colon) = bytes.iter().position(|&b| b == b':') {
        let len = std::str::from_utf8(&bytes[..colon]).ok().and_then(|n| n.parse().ok()).unwrap_or(0);
        let rest = &bytes[colon + 1..];
        let (literal, tail) = rest.split_at(rest.len().min(len));
        literals.push(literal.to_vec());
        bytes = tail;
    }
    literals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_survive_storage_whatever_they_hold() {
        let bound = vec![b"-1".to_vec(), b"_utf8mb4'a:\\'3:'".to_vec()];
        let stored = encode_bound(Some(&bound));
        let hex = stored.trim_start_matches("x'").trim_end_matches('\'');
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        assert_eq!(decode_bound(&bytes), bound);
        assert_eq!(encode_bound(None), "NULL");
    }
}
