//! The shape of the moved tables: read from the source, created on the target, and completed when the rows are there.

mod create;
pub mod foreign_keys;
mod indexes;
pub(crate) mod objects;
pub(crate) mod placement;
pub(crate) mod statement;

pub use create::{Creation, create};
pub use indexes::complete;
pub(crate) use indexes::{complete_under_lock, definitions_lock};

use model::{Column, ColumnKind, Located, Table, TableName};
use mysql::{Connection, Row};

use crate::error::{Doing, MoveError, Result, Side};
use crate::plan::{MoveSpec, Renames};

/// Reads the moved tables from a server, in the order of their names on the target.
///
/// # Errors
/// If a table has a column type that cannot be carried, or the move takes no table at all.
pub async fn read(server: &mut Connection, side: Side, spec: &MoveSpec) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    let there = spec.on(Side::Target);
    for on_target in there.schemas() {
        let schema = match side {
            Side::Source => spec.renames.on_source(on_target),
            Side::Target => on_target,
        };
        let sql = format!(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_TYPE = 'BASE TABLE' \
             ORDER BY TABLE_NAME",
            quote_text(schema)
        );
        for row in server.rows(sql).await.doing(side, "list the tables")? {
            if there.takes(on_target, &row.text(0)) {
                let name = TableName::new(on_target, row.text(0));
                tables.push(read_table(server, side, &spec.renames, name).await?);
            }
        }
    }
    if tables.is_empty() {
        return Err(MoveError::Refused {
            what: format!("move '{}' takes no table: nothing on the {side} matches its patterns", spec.name),
            hint: "see `tables` of the move in highwater.toml; `highwater check` names the nearest table"
                .into(),
        });
    }
    Ok(tables)
}

/// Reads one table's shape, as a side has it.
///
/// # Errors
/// As [`read`].
pub(crate) async fn read_table(
    server: &mut Connection,
    side: Side,
    renames: &Renames,
    name: TableName,
) -> Result<Table> {
    let source_schema = renames.on_source(&name.schema).to_owned();
    let mut table = Table { name, source_schema, columns: Vec::new(), key: Vec::new() };
    let here = table.on(side);
    let sql = format!(
        "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, GENERATION_EXPRESSION <> '', \
         CHARACTER_OCTET_LENGTH FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} \
         ORDER BY ORDINAL_POSITION",
        quote_text(here.schema),
        quote_text(here.table)
    );
    let rows = server.rows(sql).await.doing(side, format!("read the columns of {here}"))?;
    let columns: Vec<Column> = rows.iter().map(|row| column(row, here)).collect::<Result<_>>()?;
    let key = read_key(server, side, here, &columns).await?;
    if key.is_empty() && columns.iter().all(|c| c.generated) {
        return Err(MoveError::Refused {
            what: format!("table {here} has no key and no column that is stored as written"),
            hint: "add a primary key, or leave the table out of the move".into(),
        });
    }
    (table.columns, table.key) = (columns, key);
    Ok(table)
}

fn column(row: &Row, table: Located<'_>) -> Result<Column> {
    let (name, data_type, type_text) = (row.text(0), row.text(1), row.text(2));
    let kind = match data_type.to_ascii_lowercase().as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => {
            ColumnKind::Integer { unsigned: type_text.contains("unsigned") }
        }
        "decimal" => ColumnKind::Decimal,
        "float" => ColumnKind::Float,
        "double" => ColumnKind::Double,
        "bit" => ColumnKind::Bit,
        "year" => ColumnKind::Year,
        "date" | "time" | "datetime" | "timestamp" => ColumnKind::Temporal,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => ColumnKind::Text,
        "binary" => ColumnKind::FixedBinary { len: row.number(5).unwrap_or(0) },
        "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => ColumnKind::Bytes,
        // Stored and sent as bytes, SRID and all, and taken as such.
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geomcollection" | "geometrycollection" | "vector" => ColumnKind::Bytes,
        "enum" => ColumnKind::Enum,
        "set" => ColumnKind::Set,
        "json" => ColumnKind::Json,
        other => {
            return Err(MoveError::Refused {
                what: format!("column {table}.{name} is of type {other}, which cannot be carried yet"),
                hint: "leave the table out of the move, or change the column".into(),
            });
        }
    };
    let charset = row.bytes(3).map(|_| row.text(3));
    Ok(Column { name, kind, type_text, charset, generated: row.text(4) == "1" })
}

/// The primary key's columns, else those of the first unique key over whole NOT NULL columns; none of a bag.
async fn read_key(
    server: &mut Connection,
    side: Side,
    name: Located<'_>,
    columns: &[Column],
) -> Result<Vec<usize>> {
    let sql = format!(
        "SELECT INDEX_NAME, COLUMN_NAME, NULLABLE = 'YES' OR SUB_PART IS NOT NULL OR COLUMN_NAME IS NULL \
         FROM information_schema.STATISTICS WHERE NON_UNIQUE = 0 AND TABLE_SCHEMA = {} AND TABLE_NAME = {} \
         ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX",
        quote_text(name.schema),
        quote_text(name.table)
    );
    let rows = server.rows(sql).await.doing(side, format!("read the keys of {name}"))?;
    for group in rows.chunk_by(|a, b| a.text(0) == b.text(0)) {
        let usable = group.iter().all(|row| row.text(2) == "0");
        let key: Vec<usize> = group
            .iter()
            .filter_map(|row| columns.iter().position(|c| c.name == row.text(1) && !c.generated))
            .collect();
        // A FLOAT has no literal that is sure to find it again.
        let exact = key.iter().all(|&i| !matches!(columns[i].kind, ColumnKind::Float | ColumnKind::Double));
        if usable && exact && key.len() == group.len() {
            return Ok(key);
        }
    }
    Ok(Vec::new())
}

/// Bytes as a literal, whatever they hold.
pub(crate) fn quote_bytes(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("x'{hex}'")
}

/// Quotes a text for our connections, whose character set is binary while the compared names are utf8mb3.
pub(crate) fn quote_text(text: &str) -> String {
    format!("_utf8mb4'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
