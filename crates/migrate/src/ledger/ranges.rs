//! The plan of the copy: which key ranges there are, and which are done.

use model::{Table, TableName};
use mysql::{Connection, Row};

use super::LedgerName;
use crate::error::{Doing, Result, Side};
use crate::schema::{quote_bytes, quote_text};
use crate::select::KeyRange;

/// A range to be copied.
#[derive(Debug, Clone)]
pub struct PlannedRange {
    /// Its place among the table's ranges. What was split off from a range while it was read has a negative number: it
    /// lies somewhere before the end of the plan.
    pub number: i32,
    /// Its bounds.
    pub range: KeyRange,
    /// Whether it is copied.
    pub done: bool,
    /// Rows that copying it brought, once it is done.
    pub rows: u64,
}

/// The ranges planned for a table, in order.
///
/// # Errors
/// If they cannot be read.
pub async fn planned(target: &mut Connection, name: &LedgerName, table: &Table) -> Result<Vec<PlannedRange>> {
    let sql = format!(
        "SELECT number, low, high, done_at IS NOT NULL, IFNULL(row_count, 0) FROM highwater.ranges \
         WHERE move_name='{}' AND table_name={} ORDER BY number",
        name.move_name,
        quote_text(&table.name.to_string())
    );
    let rows = target.rows(sql).await.doing(Side::Target, "read the planned ranges")?;
    Ok(rows.iter().map(read).collect())
}

fn read(row: &Row) -> PlannedRange {
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
    target.execute(insert_planned(name, table, new)).await.doing(Side::Target, "plan the ranges")?;
    Ok(())
}

/// The statement that does it.
pub fn insert_planned(name: &LedgerName, table: &Table, new: &[PlannedRange]) -> String {
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
    format!(
        "INSERT INTO highwater.ranges (move_name, table_name, number, low, high) VALUES {}",
        values.join(",")
    )
}

/// Whether every range of a table is done, as the ledger says.
///
/// # Errors
/// If it cannot be read.
pub(crate) async fn is_copied(target: &mut Connection, name: &LedgerName, table: &TableName) -> Result<bool> {
    let sql = format!(
        "SELECT IFNULL(SUM(high IS NULL), 0), IFNULL(SUM(done_at IS NULL), 0) FROM highwater.ranges \
         WHERE move_name='{}' AND table_name={}",
        name.move_name,
        quote_text(&table.to_string())
    );
    let row = target.row(sql).await.doing(Side::Target, "read the planned ranges")?;
    // The last range is open to the end of the table.
    Ok(row.is_some_and(|r| r.text(0) == "1" && r.text(1) == "0"))
}

/// The statement that says that a table was copied when it was empty.
pub(crate) fn born_copied(name: &LedgerName, table: &TableName) -> String {
    format!(
        "INSERT INTO highwater.ranges (move_name, table_name, number, row_count, done_at) VALUES ('{}', {}, 0, 0, NOW(3))",
        name.move_name,
        quote_text(&table.to_string())
    )
}

/// The statement that forgets a table's ranges.
pub(crate) fn forgotten(name: &LedgerName, table: &TableName) -> String {
    format!(
        "DELETE FROM highwater.ranges WHERE move_name='{}' AND table_name={}",
        name.move_name,
        quote_text(&table.to_string())
    )
}

/// The statement that gives a table's ranges to another name.
pub(crate) fn renamed(name: &LedgerName, from: &TableName, to: &TableName) -> String {
    format!(
        "UPDATE highwater.ranges SET table_name={} WHERE move_name='{}' AND table_name={}",
        quote_text(&to.to_string()),
        name.move_name,
        quote_text(&from.to_string())
    )
}

/// A bound is stored as its literals, each after its length in decimal and a colon; as a hexadecimal literal, since
/// literals hold quotes.
pub(super) fn encode_bound(bound: Option<&[Vec<u8>]>) -> String {
    let Some(literals) = bound else { return "NULL".into() };
    let mut bytes = Vec::new();
    for literal in literals {
        bytes.extend_from_slice(format!("{}:", literal.len()).as_bytes());
        bytes.extend_from_slice(literal);
    }
    quote_bytes(&bytes)
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
