//! Cutting a table into key ranges. The source alone cuts and compares keys; no key order is ever guessed here.

use model::Table;
use mysql::Connection;

use crate::error::{Doing, Result, Side};
use crate::literal::RowShape;
use crate::schema::quote_text;
use crate::select::{KeyRange, in_range, key_list};

/// Bytes of rows a range should hold, nearly.
const RANGE_BYTES: u64 = 2 << 20;

/// Walks a table from range to range.
pub struct RangeCutter {
    table: Table,
    shape: RowShape,
    rows: u64,
    next_low: Option<Vec<Vec<u8>>>,
    ended: bool,
}

impl RangeCutter {
    /// Starts above `low`, cutting ranges of about `rows` rows.
    pub fn new(table: &Table, rows: u64, low: Option<Vec<Vec<u8>>>) -> Self {
        Self { table: table.clone(), shape: RowShape::of(table), rows, next_low: low, ended: false }
    }

    /// From now on ranges have about `rows` rows.
    pub fn resize(&mut self, rows: u64) {
        self.rows = rows;
    }

    /// The next range; the last one is open to the end of the table.
    ///
    /// # Errors
    /// If the source fails.
    pub async fn next(&mut self, source: &mut Connection) -> Result<Option<KeyRange>> {
        if self.ended {
            return Ok(None);
        }
        let low = self.next_low.clone();
        let from = KeyRange { low: low.clone(), high: None };
        let keys = key_list(&self.table);
        let mut sql = format!("SELECT {keys} FROM {}", self.table.on(Side::Source).quoted()).into_bytes();
        sql.extend_from_slice(&in_range(&self.table, &from));
        sql.extend_from_slice(
            format!(" ORDER BY {} LIMIT 1 OFFSET {}", self.table.key_list(), self.rows).as_bytes(),
        );
        let doing = format!("cut {} into ranges", self.table.name);
        let high = match source.row(&sql).await.doing(Side::Source, doing)? {
            Some(row) => Some(self.shape.key_parts(&row)?),
            None => None,
        };
        self.ended = high.is_none();
        self.next_low.clone_from(&high);
        Ok(Some(KeyRange { low, high }))
    }
}

/// The number of rows of a table, as the source estimates it, and how many of them make a range.
///
/// # Errors
/// If the source fails.
pub async fn size(source: &mut Connection, table: &Table, chunk_rows: u64) -> Result<(u64, u64)> {
    let here = table.on(Side::Source);
    let sql = format!(
        "SELECT IFNULL(TABLE_ROWS, 0), IFNULL(AVG_ROW_LENGTH, 0) FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        quote_text(here.schema),
        quote_text(here.table)
    );
    let row = source.row(sql).await.doing(Side::Source, format!("read the size of {}", table.name))?;
    let (rows, row_bytes) =
        row.map_or((0, 0), |r| (r.number::<u64>(0).unwrap_or(0), r.number::<u64>(1).unwrap_or(0)));
    Ok((rows, chunk_rows.min(RANGE_BYTES / row_bytes.max(1)).max(10)))
}
