//! Table maps: the names and column types that row events refer to by number.

use crate::{Reader, Result, WireError};

/// A column's type in the log, with what its values need to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// TINYINT, SMALLINT, MEDIUMINT, INT, BIGINT: this many bytes.
    Integer(u8),
    /// FLOAT.
    Float,
    /// DOUBLE.
    Double,
    /// DECIMAL.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// YEAR.
    Year,
    /// DATE.
    Date,
    /// TIME, with this many fractional digits.
    Time(u8),
    /// DATETIME, with this many fractional digits.
    DateTime(u8),
    /// TIMESTAMP, with this many fractional digits.
    Timestamp(u8),
    /// CHAR, VARCHAR, BINARY, VARBINARY: the length takes 1 or 2 bytes.
    String {
        /// Bytes of the length prefix.
        prefix: u8,
    },
    /// BLOB, TEXT, GEOMETRY, VECTOR: the length takes 1 to 4 bytes.
    Blob {
        /// Bytes of the length prefix.
        prefix: u8,
    },
    /// JSON, in binary form.
    Json {
        /// Bytes of the length prefix.
        prefix: u8,
    },
    /// ENUM, in this many bytes.
    Enum(u8),
    /// SET, in this many bytes.
    Set(u8),
    /// BIT, in this many bytes.
    Bit(u8),
}

/// What a table map event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMap {
    /// The number row events use.
    pub table_id: u64,
    /// Schema.
    pub schema: String,
    /// Table.
    pub table: String,
    /// Column types in the table's order.
    pub columns: Vec<ColumnType>,
}

impl TableMap {
    pub(super) fn parse(body: &[u8]) -> Result<Self> {
        let mut r = Reader::new(body);
        let table_id = r.u48("table id")?;
        r.u16("table map flags")?;
        let schema = name(&mut r)?;
        let table = name(&mut r)?;
        let count = r.lenenc_int("column count")?;
        let count = usize::try_from(count).map_err(|_| WireError::Truncated("column types"))?;
        let types = r.bytes(count, "column types")?;
        let mut metadata = Reader::new(r.lenenc_bytes("column metadata")?);
        let columns = types.iter().map(|&t| column_type(t, &mut metadata)).collect::<Result<_>>()?;
        Ok(Self { table_id, schema, table, columns })
    }
}

fn name(r: &mut Reader<'_>) -> Result<String> {
    let n = usize::from(r.u8("name length")?);
    let name = String::from_utf8_lossy(r.bytes(n, "name")?).into_owned();
    r.bytes(1, "name")?;
    Ok(name)
}

/// Source: `Table_map_event` in `rows_event.h`, section "Table_map_event column types: metadata".
fn column_type(t: u8, metadata: &mut Reader<'_>) -> Result<ColumnType> {
    let what = "column metadata";
    Ok(match t {
        1 => ColumnType::Integer(1),
        2 => ColumnType::Integer(2),
        9 => ColumnType::Integer(3),
        3 => ColumnType::Integer(4),
        8 => ColumnType::Integer(8),
        4 => {
            metadata.u8(what)?;
            ColumnType::Float
        }
        5 => {
            metadata.u8(what)?;
            ColumnType::Double
        }
        10 | 14 => ColumnType::Date,
        13 => ColumnType::Year,
        15 | 253 => match metadata.u16(what)? {
            0..=255 => ColumnType::String { prefix: 1 },
            _ => ColumnType::String { prefix: 2 },
        },
        16 => {
            let (bits, bytes) = (metadata.u8(what)?, metadata.u8(what)?);
            ColumnType::Bit(int_width(bytes.saturating_add(u8::from(bits > 0)))?)
        }
        17 => ColumnType::Timestamp(fractional(metadata)?),
        18 => ColumnType::DateTime(fractional(metadata)?),
        19 => ColumnType::Time(fractional(metadata)?),
        246 => ColumnType::Decimal { precision: metadata.u8(what)?, scale: metadata.u8(what)? },
        242 | 249..=252 | 255 => ColumnType::Blob { prefix: blob_prefix(metadata)? },
        245 => ColumnType::Json { prefix: blob_prefix(metadata)? },
        254 => {
            let (high, low) = (metadata.u8(what)?, metadata.u8(what)?);
            // The length's top two bits are stored, inverted, in the type byte.
            let (real, len) = match high & 0x30 {
                0x30 => (high, u16::from(low)),
                bits => (high | 0x30, u16::from(low) | u16::from(bits ^ 0x30) << 4),
            };
            match real {
                247 => ColumnType::Enum(int_width(low)?),
                248 => ColumnType::Set(int_width(low)?),
                254 if len > 255 => ColumnType::String { prefix: 2 },
                254 => ColumnType::String { prefix: 1 },
                other => {
                    return Err(WireError::Unsupported(format!("column type {other} in the binary log")));
                }
            }
        }
        other => return Err(WireError::Unsupported(format!("column type {other} in the binary log"))),
    })
}

fn fractional(metadata: &mut Reader<'_>) -> Result<u8> {
    match metadata.u8("fractional digits")? {
        n @ 0..=6 => Ok(n),
        _ => Err(WireError::Malformed("fractional digits")),
    }
}

fn blob_prefix(metadata: &mut Reader<'_>) -> Result<u8> {
    int_width(metadata.u8("blob length size")?).and_then(|n| match n {
        1..=4 => Ok(n),
        _ => Err(WireError::Malformed("blob length size")),
    })
}

fn int_width(n: u8) -> Result<u8> {
    match n {
        1..=8 => Ok(n),
        _ => Err(WireError::Malformed("integer width")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_column_has_64_bits_at_most_whatever_its_table_map_says() {
        let bit = |bits, bytes| column_type(16, &mut Reader::new(&[bits, bytes]));
        assert_eq!(bit(1, 0), Ok(ColumnType::Bit(1)));
        assert_eq!(bit(0, 8), Ok(ColumnType::Bit(8)));
        for (bits, bytes) in [(0, 0), (1, 8), (1, 255), (0, 255)] {
            assert_eq!(bit(bits, bytes), Err(WireError::Malformed("integer width")));
        }
    }
}
