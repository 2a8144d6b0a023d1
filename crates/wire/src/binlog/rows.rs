//! Row events: which columns are there, and the rows one after another.

use bytes::Bytes;

use super::{Cell, TableMap};
use crate::{Reader, Result, WireError};

/// What happened to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsKind {
    /// After-images only.
    Insert,
    /// Before- and after-images in turn.
    Update,
    /// Before-images only.
    Delete,
}

/// A row event: rows of one table.
#[derive(Debug, Clone)]
pub struct RowsEvent {
    /// What happened.
    pub kind: RowsKind,
    /// The number the table map gave the table.
    pub table_id: u64,
    /// Columns of the table.
    pub columns: usize,
    /// Whether the server, not the storage engine, enforced foreign keys: then what they did to other rows is in the log as
    /// row events of its own, before this one (MySQL 9.6 and later, unless innodb_native_foreign_keys is ON).
    pub cascades_logged: bool,
    body: Bytes,
}

/// `USE_SQL_FOREIGN_KEY_F`; not in the manual, read off what a 9.7 server writes and mysqlbinlog names.
const USE_SQL_FOREIGN_KEY: u16 = 0x10;

/// One image of a row: a value per column of the table.
pub type RowImage<'a> = Vec<Cell<'a>>;

impl RowsEvent {
    pub(super) fn parse(kind: RowsKind, body: &Bytes) -> Result<Self> {
        let mut r = Reader::new(body);
        let table_id = r.u48("table id")?;
        let flags = r.u16("rows flags")?;
        let extra = usize::from(r.u16("extra data length")?);
        r.bytes(extra.checked_sub(2).ok_or(WireError::Malformed("extra data length"))?, "extra data")?;
        let columns =
            usize::try_from(r.lenenc_int("column count")?).map_err(|_| WireError::Malformed("columns"))?;
        let images = if kind == RowsKind::Update { 2 } else { 1 };
        for _ in 0..images {
            if !all_set(r.bytes(columns.div_ceil(8), "columns present")?, columns) {
                // MINIMAL or NOBLOB, which a session may choose: a row we cannot know whole.
                return Err(WireError::Unsupported("row image that is not FULL".into()));
            }
        }
        let rows = body.slice(body.len() - r.len()..);
        Ok(Self { kind, table_id, columns, cascades_logged: flags & USE_SQL_FOREIGN_KEY != 0, body: rows })
    }

    /// Hands each image, in order, to `visit`; for updates before- and after-images alternate, before first.
    ///
    /// # Errors
    /// If the rows do not fit the table map, or `visit` fails.
    pub fn for_each_image<'a, E: From<WireError>>(
        &'a self,
        map: &TableMap,
        mut visit: impl FnMut(&RowImage<'a>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        if map.columns.len() != self.columns {
            return Err(WireError::Malformed("row event does not fit its table map").into());
        }
        let mut r = Reader::new(&self.body);
        let mut image = Vec::with_capacity(self.columns);
        while !r.is_empty() {
            image.clear();
            read_image(&mut r, map, &mut image)?;
            visit(&image)?;
        }
        Ok(())
    }
}

fn read_image<'a>(r: &mut Reader<'a>, map: &TableMap, image: &mut RowImage<'a>) -> Result<()> {
    let nulls = r.bytes(map.columns.len().div_ceil(8), "null bitmap")?;
    for (i, &column) in map.columns.iter().enumerate() {
        let null = nulls[i / 8] & (1 << (i % 8)) != 0;
        image.push(if null { Cell::Null } else { Cell::read(column, r)? });
    }
    Ok(())
}

fn all_set(bitmap: &[u8], n: usize) -> bool {
    (0..n).all(|i| bitmap[i / 8] & (1 << (i % 8)) != 0)
}
