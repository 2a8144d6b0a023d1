//! Values as SQL literals, from the binary log and from query results alike.
//!
//! A row travels as the literals an INSERT of it needs. Both readers write the same bytes for the same key value, so
//! keys are compared as bytes, without knowing collations: two keys that a collation merges are two keys here, which
//! costs a needless eviction at worst, while the opposite error would lose a row.

use model::{Column, ColumnKind, Table};
use wire::binlog::{Cell, parse_json, parse_patched_json, write_decimal};

use crate::error::{MoveError, Result};
use crate::json;

/// A key's literals, separated by commas.
pub type Key = Box<[u8]>;

/// The literals a key consists of. A comma within quotes or parentheses (typed JSON is an expression) does not part them;
/// in quotes a backslash hides the next byte.
pub fn literals(key: &Key) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut hidden, mut depth) = (false, false, 0_u32);
    key.split(move |&b| {
        let apart = b == b',' && !quoted && depth == 0;
        match b {
            _ if hidden => hidden = false,
            b'\\' => hidden = true,
            b'\'' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        apart
    })
}

/// A row: the literals of the written columns, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tuple {
    bytes: Box<[u8]>,
    /// Where each literal ends.
    ends: Box<[u32]>,
    /// How many ENUM values are 0, the empty value of an error that a server without strict mode let pass.
    empty_enums: u32,
}

impl Tuple {
    /// The literals, separated by commas.
    pub fn literals(&self) -> &[u8] {
        &self.bytes
    }

    /// How many ENUM values are 0, which a strict server refuses, though it is what the source holds.
    pub fn empty_enums(&self) -> u32 {
        self.empty_enums
    }

    /// Each literal.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|i| self.literal(i))
    }

    fn literal(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize + 1 };
        &self.bytes[start..self.ends[i] as usize]
    }
}

/// Turns rows of one table into tuples and keys.
#[derive(Debug, Clone)]
pub struct RowShape {
    columns: Vec<Column>,
    /// For each written column, its index in the table.
    written: Vec<usize>,
    /// For each key column, its index among the written ones. A bag's key is its whole row.
    key: Vec<usize>,
}

impl RowShape {
    /// The shape of a table's rows. Key columns are written columns: the server allows no virtual column in a
    /// primary key.
    pub fn of(table: &Table) -> Self {
        let written: Vec<usize> = table.written().collect();
        let key = match table.is_bag() {
            true => (0..written.len()).collect(),
            false => table.key.iter().filter_map(|k| written.iter().position(|w| w == k)).collect(),
        };
        Self { columns: table.columns.clone(), written, key }
    }

    /// Columns of the table, generated ones included.
    pub fn table_columns(&self) -> usize {
        self.columns.len()
    }

    /// The row of an image in the binary log, which has every column of the table.
    ///
    /// # Errors
    /// If a value cannot be carried exactly.
    pub fn from_image(&self, image: &[Cell<'_>]) -> Result<Tuple> {
        self.build(|out, i, column| write_cell(out, &image[i], column))
    }

    /// The key of an image in the binary log; `None` if the image leaves a column of it out.
    ///
    /// # Errors
    /// If a value is not of its column's type.
    pub fn key_from_image(&self, image: &[Cell<'_>]) -> Result<Option<Key>> {
        let mut out = Vec::new();
        for (n, &k) in self.key.iter().enumerate() {
            let i = self.written[k];
            match image.get(i) {
                None | Some(Cell::Absent) => return Ok(None),
                Some(cell) => {
                    if n > 0 {
                        out.push(b',');
                    }
                    write_cell(&mut out, cell, &self.columns[i])?;
                }
            }
        }
        Ok(Some(out.into()))
    }

    /// The row of a query result, whose columns are [`crate::select::row_list`]'s.
    ///
    /// # Errors
    /// If the server's text is not of the column's type.
    pub fn from_text(&self, row: &mysql::Row) -> Result<Tuple> {
        let mut cell = 0;
        self.build(|out, _, column| {
            let text = row.bytes(cell);
            cell += 1;
            if column.kind != ColumnKind::Json {
                return write_text(out, text, column);
            }
            let types = row.bytes(cell);
            cell += 1;
            match (text, types) {
                (Some(text), Some(types)) if !json::is_plain(types) => {
                    json::write(out, &json::parse(text, types)?)
                }
                _ => write_text(out, text, column),
            }
        })
    }

    fn build(&self, mut write: impl FnMut(&mut Vec<u8>, usize, &Column) -> Result<()>) -> Result<Tuple> {
        let mut bytes = Vec::with_capacity(self.written.len() * 12);
        let mut ends = Vec::with_capacity(self.written.len());
        let mut empty_enums = 0;
        for (n, &i) in self.written.iter().enumerate() {
            if n > 0 {
                bytes.push(b',');
            }
            let begin = bytes.len();
            write(&mut bytes, i, &self.columns[i])?;
            empty_enums += u32::from(self.columns[i].kind == ColumnKind::Enum && bytes[begin..] == *b"0");
            ends.push(bytes.len() as u32);
        }
        Ok(Tuple { bytes: bytes.into(), ends: ends.into(), empty_enums })
    }

    /// A row's key.
    pub fn key(&self, tuple: &Tuple) -> Key {
        let parts: Vec<&[u8]> = self.key.iter().map(|&i| tuple.literal(i)).collect();
        parts.join(&b","[..]).into()
    }

    /// The key of a result row whose first columns are [`crate::select::key_list`]'s.
    ///
    /// # Errors
    /// If the server's text is not of the column's type.
    pub fn key_from_text(&self, row: &mysql::Row) -> Result<Key> {
        Ok(self.key_parts(row)?.join(&b","[..]).into())
    }

    /// The same, as one literal per key column.
    ///
    /// # Errors
    /// If the server's text is not of the column's type.
    pub fn key_parts(&self, row: &mysql::Row) -> Result<Vec<Vec<u8>>> {
        let columns = self.key.iter().map(|&i| &self.columns[self.written[i]]);
        columns
            .enumerate()
            .map(|(cell, column)| {
                let mut out = Vec::new();
                write_text(&mut out, row.bytes(cell), column)?;
                Ok(out)
            })
            .collect()
    }
}

fn write_cell(out: &mut Vec<u8>, cell: &Cell<'_>, column: &Column) -> Result<()> {
    match (*cell, column.kind) {
        (Cell::Null, _) => out.extend_from_slice(b"NULL"),
        (Cell::Integer { bits, .. }, ColumnKind::Integer { unsigned: true }) => display(out, bits),
        (Cell::Integer { bits, width }, ColumnKind::Integer { unsigned: false }) => {
            let shift = 64 - 8 * u32::from(width);
            display(out, ((bits << shift) as i64) >> shift);
        }
        (Cell::Float(n), ColumnKind::Float) => display(out, format_args!("{:e}", f64::from(n))),
        (Cell::Double(n), ColumnKind::Double) => display(out, format_args!("{n:e}")),
        (Cell::Decimal { packed, precision, scale }, ColumnKind::Decimal) => {
            write_decimal(out, packed, precision, scale)?;
        }
        (Cell::Year(year), ColumnKind::Year) => display(out, format_args!("{year:04}")),
        (Cell::Enum(n), ColumnKind::Enum)
        | (Cell::Set(n), ColumnKind::Set)
        | (Cell::Bit(n), ColumnKind::Bit) => {
            display(out, n);
        }
        (Cell::Bytes(s), ColumnKind::Text) => write_string(out, charset(column), s),
        (Cell::Bytes(s), ColumnKind::Bytes) => write_string(out, "binary", s),
        (Cell::Bytes(s), ColumnKind::FixedBinary { len }) => {
            let mut padded = s.to_vec();
            padded.resize(padded.len().max(len as usize), 0);
            write_string(out, "binary", &padded);
        }
        (Cell::Json(binary), ColumnKind::Json) => json::write(out, &parse_json(binary)?)?,
        (Cell::JsonPatch { before, changes }, ColumnKind::Json) => {
            json::write(out, &parse_patched_json(before, changes)?)?;
        }
        (cell, ColumnKind::Temporal) => write_temporal(out, &cell, column)?,
        _ => return Err(shape_changed(column)),
    }
    Ok(())
}

fn write_temporal(out: &mut Vec<u8>, cell: &Cell<'_>, column: &Column) -> Result<()> {
    out.push(b'\'');
    match *cell {
        Cell::Date { year, month, day } => display(out, format_args!("{year:04}-{month:02}-{day:02}")),
        Cell::Time { negative, hours, minutes, seconds, micros, digits } => {
            let sign = if negative { "-" } else { "" };
            display(out, format_args!("{sign}{hours:02}:{minutes:02}:{seconds:02}"));
            write_fraction(out, micros, digits);
        }
        Cell::DateTime { year, month, day, hours, minutes, seconds, micros, digits } => {
            display(out, format_args!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}"));
            write_fraction(out, micros, digits);
        }
        Cell::Timestamp { seconds: 0, micros: 0, digits } => {
            out.extend_from_slice(b"0000-00-00 00:00:00");
            write_fraction(out, 0, digits);
        }
        Cell::Timestamp { seconds, micros, digits } => {
            let (year, month, day) = civil_date(seconds / 86_400);
            let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
            display(out, format_args!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}"));
            write_fraction(out, micros, digits);
        }
        _ => return Err(shape_changed(column)),
    }
    out.push(b'\'');
    Ok(())
}

fn shape_changed(column: &Column) -> MoveError {
    MoveError::Unsupported(format!("a row whose column '{}' is not {}", column.name, column.type_text))
}

fn write_fraction(out: &mut Vec<u8>, micros: u32, digits: u8) {
    if digits > 0 {
        let shown = format!(".{micros:06}");
        out.extend_from_slice(&shown.as_bytes()[..=usize::from(digits.min(6))]);
    }
}

/// The proleptic Gregorian date of a day counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
pub(crate) fn civil_date(days: u32) -> (u32, u32, u32) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u32::from(month <= 2), month, day)
}

fn write_text(out: &mut Vec<u8>, cell: Option<&[u8]>, column: &Column) -> Result<()> {
    let Some(text) = cell else {
        out.extend_from_slice(b"NULL");
        return Ok(());
    };
    match column.kind {
        ColumnKind::Text => write_string(out, charset(column), text),
        ColumnKind::Bytes | ColumnKind::FixedBinary { .. } => write_string(out, "binary", text),
        ColumnKind::Json => write_string(out, "utf8mb4", text),
        ColumnKind::Float | ColumnKind::Double => {
            let number = std::str::from_utf8(text).ok().and_then(|t| t.parse::<f64>().ok());
            display(out, format_args!("{:e}", number.ok_or_else(|| shape_changed(column))?));
        }
        ColumnKind::Temporal => {
            out.push(b'\'');
            out.extend(text.iter().filter(|b| b.is_ascii_digit() || b"-:. ".contains(b)));
            out.push(b'\'');
        }
        ColumnKind::Integer { .. }
        | ColumnKind::Decimal
        | ColumnKind::Bit
        | ColumnKind::Year
        | ColumnKind::Enum
        | ColumnKind::Set => {
            // These go into statements unquoted, so nothing but a number may pass.
            let number = !text.is_empty() && text.iter().all(|b| b.is_ascii_digit() || b"+-.".contains(b));
            if !number {
                return Err(shape_changed(column));
            }
            // ZEROFILL pads what a query shows, and not what is in the log.
            let padded = matches!(column.kind, ColumnKind::Integer { .. } | ColumnKind::Decimal);
            out.extend_from_slice(if padded { without_padding(text) } else { text });
        }
    }
    Ok(())
}

fn without_padding(mut digits: &[u8]) -> &[u8] {
    while let [b'0', rest @ ..] = digits
        && rest.first().is_some_and(u8::is_ascii_digit)
    {
        digits = rest;
    }
    digits
}

fn charset(column: &Column) -> &str {
    column.charset.as_deref().unwrap_or("binary")
}

/// Writes `_charset'bytes'`. The introducer makes the server take the bytes as they are, whatever the connection's
/// character set; the quoting is right for our connections, whose character set is `binary`: the server's lexer
/// looks at single bytes, also within multi-byte characters.
pub(crate) fn write_string(out: &mut Vec<u8>, charset: &str, bytes: &[u8]) {
    out.push(b'_');
    out.extend_from_slice(charset.as_bytes());
    out.push(b'\'');
    for &b in bytes {
        match b {
            // Zero bytes stay as they are: the server reads statements by length, and a BLOB of them must not double.
            b'\'' | b'\\' => out.extend_from_slice(&[b'\\', b]),
            _ => out.push(b),
        }
    }
    out.push(b'\'');
}

fn display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    use std::io::Write;
    write!(out, "{value}").expect("writing to a Vec cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: ColumnKind) -> Column {
        Column {
            name: "c".into(),
            kind,
            type_text: "t".into(),
            charset: Some("latin1".into()),
            generated: false,
        }
    }

    fn check(kind: ColumnKind, cell: Cell<'_>, text: &[u8], expected: &str) {
        let (mut from_log, mut from_query) = (Vec::new(), Vec::new());
        write_cell(&mut from_log, &cell, &column(kind)).unwrap();
        write_text(&mut from_query, Some(text), &column(kind)).unwrap();
        assert_eq!(String::from_utf8_lossy(&from_log), expected);
        assert_eq!(String::from_utf8_lossy(&from_query), expected);
    }

    #[test]
    fn log_and_query_write_the_same_literal_for_the_same_value() {
        let signed = ColumnKind::Integer { unsigned: false };
        check(signed, Cell::Integer { bits: 0xFF_FFFF, width: 3 }, b"-1", "-1");
        check(
            signed,
            Cell::Integer { bits: 1 << 63, width: 8 },
            b"-9223372036854775808",
            "-9223372036854775808",
        );
        let unsigned = ColumnKind::Integer { unsigned: true };
        check(unsigned, Cell::Integer { bits: 255, width: 1 }, b"255", "255");
        check(ColumnKind::Text, Cell::Bytes(b"O'N\\ \xE9"), b"O'N\\ \xE9", "_latin1'O\\'N\\\\ \u{FFFD}'");
        check(ColumnKind::FixedBinary { len: 3 }, Cell::Bytes(b"a"), b"a\0\0", "_binary'a\0\0'");
        check(unsigned, Cell::Integer { bits: 50, width: 4 }, b"0000000050", "50");
        check(unsigned, Cell::Integer { bits: 0, width: 4 }, b"0000", "0");
        let decimal = Cell::Decimal { packed: &[0x80, 0x01, 0x32], precision: 6, scale: 2 };
        check(ColumnKind::Decimal, decimal, b"0001.50", "1.50");
        check(ColumnKind::Double, Cell::Double(-0.0), b"-0", "-0e0");
        check(ColumnKind::Float, Cell::Float(0.1), b"0.10000000149011612", "1.0000000149011612e-1");
        check(ColumnKind::Year, Cell::Year(0), b"0000", "0000");
        let ts = Cell::Timestamp { seconds: 1_709_210_096, micros: 120_000, digits: 2 };
        check(ColumnKind::Temporal, ts, b"2024-02-29 12:34:56.12", "'2024-02-29 12:34:56.12'");
        let zero = Cell::Timestamp { seconds: 0, micros: 0, digits: 0 };
        check(ColumnKind::Temporal, zero, b"0000-00-00 00:00:00", "'0000-00-00 00:00:00'");
        let time = Cell::Time { negative: true, hours: 838, minutes: 59, seconds: 59, micros: 0, digits: 0 };
        check(ColumnKind::Temporal, time, b"-838:59:59", "'-838:59:59'");
    }

    #[test]
    fn a_key_is_parted_at_commas_outside_quotes() {
        let key: Key = br"1,_latin1'a,\'b\\',-2.5,JSON_ARRAY(1,_utf8mb4'('),'2026-01-01'"[..].into();
        let parts: Vec<_> = literals(&key).map(String::from_utf8_lossy).collect();
        assert_eq!(parts, ["1", r"_latin1'a,\'b\\'", "-2.5", "JSON_ARRAY(1,_utf8mb4'(')", "'2026-01-01'"]);
    }

    #[test]
    fn a_number_that_is_not_one_never_reaches_a_statement() {
        let mut out = Vec::new();
        assert!(write_text(&mut out, Some(b"1); DROP"), &column(ColumnKind::Decimal)).is_err());
        assert!(write_cell(&mut out, &Cell::Bytes(b"x"), &column(ColumnKind::Year)).is_err());
    }
}
