//! Rows and results of the text protocol.

use bytes::Bytes;
use wire::Reader;
use wire::response::{ColumnDefinition, OkPacket};

use crate::{Error, Result};

/// One row of a text result; cells are slices of the packet they came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    packet: Bytes,
    /// Start and length of each cell; `None` is SQL NULL.
    cells: Vec<Option<(u32, u32)>>,
}

impl Row {
    /// Splits a row packet into its cells.
    ///
    /// # Errors
    /// If the packet does not hold `columns` cells.
    pub fn parse(packet: Bytes, columns: usize) -> Result<Self> {
        let mut r = Reader::new(&packet);
        let mut cells = Vec::with_capacity(columns);
        for _ in 0..columns {
            let cell = r.text_cell()?;
            let end = packet.len() - r.len();
            cells.push(cell.map(|c| ((end - c.len()) as u32, c.len() as u32)));
        }
        Ok(Self { packet, cells })
    }

    /// The row as the server has sent it: every cell's bytes after their length.
    pub fn packet(&self) -> &[u8] {
        &self.packet
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether the row has no cells.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// A cell's bytes; `None` for SQL NULL or a column that is not there.
    pub fn bytes(&self, column: usize) -> Option<&[u8]> {
        let (start, len) = (*self.cells.get(column)?)?;
        self.packet.get(start as usize..(start + len) as usize)
    }

    /// A cell as text, with anything that is not UTF-8 replaced; empty for NULL.
    pub fn text(&self, column: usize) -> String {
        self.bytes(column).map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default()
    }

    /// A cell as a number.
    pub fn number<T: std::str::FromStr>(&self, column: usize) -> Option<T> {
        std::str::from_utf8(self.bytes(column)?).ok()?.parse().ok()
    }
}

/// A whole result set.
#[derive(Debug, Clone)]
pub struct ResultSet {
    /// The columns.
    pub columns: Vec<ColumnDefinition>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// What one statement answered.
#[derive(Debug, Clone)]
pub enum QueryResult {
    /// No rows: counts and status.
    Done(OkPacket),
    /// Rows.
    Rows(ResultSet),
}

impl QueryResult {
    /// The rows of a statement that must answer with rows.
    ///
    /// # Errors
    /// If it did not.
    pub fn into_rows(self) -> Result<ResultSet> {
        match self {
            Self::Rows(rows) => Ok(rows),
            Self::Done(_) => Err(Error::Unexpected("a statement that should return rows returned none")),
        }
    }
}
