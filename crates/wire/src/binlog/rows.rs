//! Row events: which columns are there, and the rows one after another.

use bytes::Bytes;

use super::{Cell, ColumnType, TableMap};
use crate::{Reader, Result, WireError};

/// What happened to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsKind {
    /// After-images only.
    Insert,
    /// Before- and after-images in turn.
    Update,
    /// The same, in which a JSON value of an after-image may be the changes to the one before.
    PartialUpdate,
    /// Before-images only.
    Delete,
}

impl RowsKind {
    /// Whether before- and after-images take turns.
    pub fn is_update(self) -> bool {
        matches!(self, Self::Update | Self::PartialUpdate)
    }
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
    /// Which columns the images have, a bit each: of inserts and deletes the only one, of updates the before-image.
    first_present: Bytes,
    /// The same for the after-image of updates.
    second_present: Bytes,
    /// Whether the server, not the storage engine, enforced foreign keys: then what they did to other rows is in the log as
    /// row events of its own, before this one (MySQL 9.6 and later, unless innodb_native_foreign_keys is ON).
    pub cascades_logged: bool,
    body: Bytes,
}

/// `USE_SQL_FOREIGN_KEY_F`; not in the manual, read off what a 9.7 server writes and mysqlbinlog names.
const USE_SQL_FOREIGN_KEY: u16 = 0x10;

/// One image of a row: a value per column of the table, [`Cell::Absent`] where the image leaves it out.
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
        let mut bitmap = || -> Result<Bytes> {
            let begin = body.len() - r.len();
            let len = r.bytes(columns.div_ceil(8), "columns present")?.len();
            Ok(body.slice(begin..begin + len))
        };
        let first_present = bitmap()?;
        let second_present = if kind.is_update() { bitmap()? } else { Bytes::new() };
        let rows = body.slice(body.len() - r.len()..);
        let cascades_logged = flags & USE_SQL_FOREIGN_KEY != 0;
        Ok(Self { kind, table_id, columns, first_present, second_present, cascades_logged, body: rows })
    }

    /// Whether every image has every column, as with `binlog_row_image=FULL`.
    pub fn is_whole(&self) -> bool {
        let whole = |bitmap: &Bytes| (0..self.columns).all(|i| is_set(bitmap, i));
        whole(&self.first_present) && (!self.kind.is_update() || whole(&self.second_present))
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
        let (mut first, mut second) = (Vec::with_capacity(self.columns), Vec::new());
        while !r.is_empty() {
            let left = r.len();
            read_image(&mut r, map, &self.first_present, None, &mut first)?;
            visit(&first)?;
            if self.kind.is_update() {
                let partial = match self.kind {
                    RowsKind::PartialUpdate => partial_columns(&mut r, map)?,
                    _ => None,
                };
                let partial = partial.map(|bits| Partial { bits, before: &first });
                read_image(&mut r, map, &self.second_present, partial, &mut second)?;
                visit(&second)?;
            }
            if r.len() == left {
                return Err(WireError::Malformed("row without columns").into());
            }
        }
        Ok(())
    }
}

/// JSON columns of an after-image that are given as changes.
struct Partial<'i, 'a> {
    /// A bit for each JSON column of the table.
    bits: &'a [u8],
    before: &'i RowImage<'a>,
}

/// What stands between before- and after-image of a partial update.
///
/// Source: `Rows_log_event` in `sql/log_event.h`, "shared-image".
fn partial_columns<'a>(r: &mut Reader<'a>, map: &TableMap) -> Result<Option<&'a [u8]>> {
    match r.lenenc_int("value options")? {
        0 => Ok(None),
        1 => {
            let json = map.columns.iter().filter(|c| matches!(c, ColumnType::Json { .. })).count();
            r.bytes(json.div_ceil(8), "partial JSON columns").map(Some)
        }
        options => Err(WireError::Unsupported(format!("value options {options} of an update"))),
    }
}

fn read_image<'a>(
    r: &mut Reader<'a>,
    map: &TableMap,
    present: &[u8],
    partial: Option<Partial<'_, 'a>>,
    image: &mut RowImage<'a>,
) -> Result<()> {
    image.clear();
    let count = (0..map.columns.len()).filter(|&i| is_set(present, i)).count();
    // A bit for each column that is there.
    let nulls = r.bytes(count.div_ceil(8), "null bitmap")?;
    let (mut seen, mut seen_json) = (0, 0);
    for (i, &column) in map.columns.iter().enumerate() {
        let is_json = matches!(column, ColumnType::Json { .. });
        let in_part = is_json && partial.as_ref().is_some_and(|p| is_set(p.bits, seen_json));
        seen_json += usize::from(is_json);
        if !is_set(present, i) {
            image.push(Cell::Absent);
            continue;
        }
        let null = is_set(nulls, seen);
        seen += 1;
        image.push(match (null, &partial) {
            (true, _) => Cell::Null,
            (false, Some(partial)) if in_part => patched(r, partial.before.get(i))?,
            (false, _) => Cell::read(column, r)?,
        });
    }
    Ok(())
}

fn patched<'a>(r: &mut Reader<'a>, before: Option<&Cell<'a>>) -> Result<Cell<'a>> {
    let changes = super::cell::prefixed(r, 4)?;
    match before {
        Some(&Cell::Json(before)) => Ok(Cell::JsonPatch { before, changes }),
        _ => Err(WireError::Unsupported("changes to a JSON value that the before-image leaves out".into())),
    }
}

fn is_set(bitmap: &[u8], i: usize) -> bool {
    bitmap.get(i / 8).is_some_and(|byte| byte & (1 << (i % 8)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(columns: Vec<ColumnType>) -> TableMap {
        TableMap { table_id: 111, schema: "z".into(), table: "pj".into(), columns }
    }

    fn images(kind: RowsKind, columns: Vec<ColumnType>, body: &[u8]) -> Result<Vec<Vec<String>>> {
        let event = RowsEvent::parse(kind, &Bytes::copy_from_slice(body))?;
        let mut images = Vec::new();
        event.for_each_image(&map(columns), |image| {
            images.push(image.iter().map(|c| format!("{c:?}")).collect());
            Ok::<_, WireError>(())
        })?;
        Ok(images)
    }

    #[test]
    fn columns_left_out_of_an_image_are_absent_not_null() {
        let columns = vec![ColumnType::Integer(1); 3];
        // Columns 0 and 2 before, 1 after.
        let body = [111, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3, 0b101, 0b010, 0b10, 7, 0, 9];
        let read = images(RowsKind::Update, columns, &body).unwrap();
        assert_eq!(read[0], ["Integer { bits: 7, width: 1 }", "Absent", "Null"]);
        assert_eq!(read[1], ["Absent", "Integer { bits: 9, width: 1 }", "Absent"]);
        let event = RowsEvent::parse(RowsKind::Update, &Bytes::copy_from_slice(&body)).unwrap();
        assert!(!event.is_whole());
    }

    #[test]
    fn a_partial_update_keeps_the_document_before_and_its_changes() {
        let json = ColumnType::Json { prefix: 4 };
        let columns = vec![ColumnType::Integer(4), json, ColumnType::Integer(4), json, json];
        // `SET a = JSON_REMOVE(a, '$.a[1]'), c = '[1]'` on three JSON columns, as MySQL 9.7.4 logged it.
        let body = [
            0x6F, 0, 0, 0, 0, 0, 0x11, 0, 2, 0, 5, 0xFF, 0xFF, 0, 1, 0, 0, 0, 0x36, 0, 0, 0, 0, 2, 0, 0x35,
            0, 0x12, 0, 1, 0, 0x13, 0, 1, 0, 2, 0x14, 0, 0x0C, 0x21, 0, b'a', b'k', 3, 0, 0x0D, 0, 5, 1, 0,
            5, 2, 0, 5, 3, 0, 2, b'x', b'x', b'v', b'v', b'v', b'v', b'v', b'v', b'v', b'v', b'v', b'v',
            b'v', b'v', b'v', b'v', b'v', b'v', b'v', 6, 0, 0, 0, 8, 0, 0, 0, 2, 1, 0, 7, 0, 5, 1, 0, 5, 0,
            0, 0, 0, 0, 0, 4, 0, 1, 3, 0, 1, 0, 0, 0, 8, 0, 0, 0, 2, 6, b'$', b'.', b'a', b'[', b'1', b']',
            6, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 2, 1, 0, 7, 0, 5, 1, 0,
        ];
        let read = images(RowsKind::PartialUpdate, columns.clone(), &body).unwrap();
        assert_eq!(read.len(), 2);
        assert!(read[1][1].starts_with("JsonPatch") && read[1][4].starts_with("Json("), "{read:?}");
        for n in 13..body.len() {
            assert!(images(RowsKind::PartialUpdate, columns.clone(), &body[..n]).is_err() || n == 13, "{n}");
        }
    }
}
