//! Which tables move, as of what is applied. Kept here because the source may be ahead: its tables of today are not those
//! of the position where the stream goes on.

use model::TableName;
use mysql::Connection;

use super::LedgerName;
use crate::error::{Doing, Result, Side};
use crate::schema::quote_text;

/// The tables of a direction, in name order; none if it has not begun.
///
/// # Errors
/// If they cannot be read.
pub(crate) async fn tables(target: &mut Connection, name: &LedgerName) -> Result<Vec<TableName>> {
    let sql = format!("SELECT schema_name, table_name FROM highwater.tables WHERE {}", name.matches());
    let rows = target.rows(sql).await.doing(Side::Target, "read which tables move")?;
    let mut tables: Vec<_> = rows.iter().map(|row| TableName::new(row.text(0), row.text(1))).collect();
    tables.sort();
    Ok(tables)
}

/// Says which tables a direction has, in place of whatever was said of it. To be called before the ledger begins.
///
/// # Errors
/// If the target refuses.
pub(crate) async fn set_tables<'a>(
    target: &mut Connection,
    name: &LedgerName,
    tables: impl Iterator<Item = &'a TableName>,
) -> Result<()> {
    let mut sql = format!(
        "START TRANSACTION; DELETE FROM highwater.tables WHERE {0}; DELETE FROM highwater.statements WHERE {0}",
        name.matches()
    );
    for table in tables {
        sql += "; ";
        sql += &added(name, table);
    }
    target.query_all(sql + "; COMMIT").await.doing(Side::Target, "write down which tables move")?;
    Ok(())
}

/// The statement that adds a table.
pub(crate) fn added(name: &LedgerName, table: &TableName) -> String {
    format!(
        "INSERT INTO highwater.tables (move_name, source_uuid, schema_name, table_name) VALUES ('{}', '{}', {}, {})",
        name.move_name,
        name.source_uuid,
        quote_text(&table.schema),
        quote_text(&table.table)
    )
}

/// The statement that removes a table.
pub(crate) fn removed(name: &LedgerName, table: &TableName) -> String {
    format!("DELETE FROM highwater.tables WHERE {} AND {}", name.matches(), is(table))
}

/// The statement that renames a table.
pub(crate) fn renamed(name: &LedgerName, from: &TableName, to: &TableName) -> String {
    format!(
        "UPDATE highwater.tables SET schema_name={}, table_name={} WHERE {} AND {}",
        quote_text(&to.schema),
        quote_text(&to.table),
        name.matches(),
        is(from)
    )
}

fn is(table: &TableName) -> String {
    format!("schema_name={} AND table_name={}", quote_text(&table.schema), quote_text(&table.table))
}
