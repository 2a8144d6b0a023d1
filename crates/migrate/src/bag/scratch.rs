//! Asking a server what it makes of literals: a temporary table with a bag's columns.
//!
//! Only the server knows which bytes a literal becomes in a column of a type. So values are written to a column of that very
//! type, and hashed there with the expression that hashes the bag's rows. A temporary table is seen by its
//! connection alone, is not in the binary log (row format), and may be made within a transaction.

use model::{Side, Table, quote_ident};
use mysql::Row;

use crate::apply::NOT_STRICT;
use crate::literal::Key;
use crate::select::row_digest;

const NAME: &str = "highwater.bag_values";
/// No application has a column of this name.
const NUMBER: &str = "`highwater#number`";

/// The statements around a temporary table of values of one bag.
pub(crate) struct Scratch<'a> {
    table: &'a Table,
    columns: String,
}

impl<'a> Scratch<'a> {
    /// For this bag.
    pub fn of(table: &'a Table) -> Self {
        let columns: Vec<_> = table.written().map(|i| quote_ident(&table.columns[i].name)).collect();
        Self { table, columns: columns.join(",") }
    }

    /// Removes what may be left of an earlier one: a transaction that rolls back leaves the empty table.
    pub fn drop(&self) -> String {
        format!("DROP TEMPORARY TABLE IF EXISTS {NAME}")
    }

    /// Makes the table. Its key is for servers with `sql_require_primary_key`.
    pub fn create(&self) -> String {
        format!(
            "CREATE TEMPORARY TABLE {NAME} ({NUMBER} BIGINT UNSIGNED NOT NULL DEFAULT 0 PRIMARY KEY) ENGINE=InnoDB \
             SELECT {} FROM {} LIMIT 0",
            self.columns,
            self.table.on(Side::Target).quoted()
        )
    }

    /// Writes values, numbered from 0. Not strictly: the source may hold what a strict server refuses, and a value that
    /// does not arrive whole only has a digest that no row has.
    pub fn insert(&self, values: &[&Key]) -> Vec<u8> {
        let mut sql =
            format!("INSERT {NOT_STRICT}INTO {NAME} ({NUMBER},{}) VALUES ", self.columns).into_bytes();
        for (number, value) in values.iter().enumerate() {
            sql.extend_from_slice(if number > 0 { b",(" } else { b"(" });
            sql.extend_from_slice(format!("{number},").as_bytes());
            sql.extend_from_slice(value);
            sql.push(b')');
        }
        sql
    }

    /// Reads the digest of each, in their order.
    pub fn digests(&self) -> String {
        format!("SELECT {} FROM {NAME} ORDER BY {NUMBER}", row_digest(self.table))
    }
}

/// The digests that [`Scratch::digests`] answers; they go into statements, so nothing but a digest may pass.
pub(crate) fn digests(rows: &[Row]) -> Option<Vec<String>> {
    let digest =
        |row: &Row| Some(row.text(0)).filter(|d| d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit()));
    rows.iter().map(digest).collect()
}

/// A condition that only rows with one of these digests meet.
pub(crate) fn has_digest<'a>(table: &Table, digests: impl IntoIterator<Item = &'a str>) -> String {
    let list: Vec<String> = digests.into_iter().map(|d| format!("_binary'{d}'")).collect();
    format!("CAST({} AS BINARY) IN ({})", row_digest(table), list.join(","))
}
