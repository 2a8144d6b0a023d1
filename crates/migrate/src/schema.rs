//! The shape of the moved tables: read from the source, created on the target.

use model::{Column, ColumnKind, Table, TableName, quote_ident};
use mysql::{Connection, Row};

use crate::error::{Doing, MoveError, Result, Side};
use crate::plan::MoveSpec;

/// Reads the moved tables from the source, in name order.
///
/// # Errors
/// If a table has a column type that cannot be carried, or the move takes no table at all.
pub async fn read(source: &mut Connection, spec: &MoveSpec) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    for schema in spec.schemas() {
        let sql = format!(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_TYPE = 'BASE TABLE' \
             ORDER BY TABLE_NAME",
            quote_text(schema)
        );
        for row in source.rows(sql).await.doing(Side::Source, "list the tables")? {
            if spec.takes(schema, &row.text(0)) {
                tables.push(read_table(source, TableName::new(schema, row.text(0))).await?);
            }
        }
    }
    if tables.is_empty() {
        return Err(MoveError::Refused {
            what: format!("move '{}' takes no table: nothing on the source matches its patterns", spec.name),
            hint: "see `tables` of the move in highwater.toml; `highwater check` names the nearest table"
                .into(),
        });
    }
    Ok(tables)
}

async fn read_table(source: &mut Connection, name: TableName) -> Result<Table> {
    let sql = format!(
        "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, GENERATION_EXPRESSION <> '', \
         CHARACTER_OCTET_LENGTH FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} \
         ORDER BY ORDINAL_POSITION",
        quote_text(&name.schema),
        quote_text(&name.table)
    );
    let rows = source.rows(sql).await.doing(Side::Source, format!("read the columns of {name}"))?;
    let columns: Vec<Column> = rows.iter().map(|row| column(row, &name)).collect::<Result<_>>()?;
    let key = read_key(source, &name, &columns).await?;
    if key.is_empty() && columns.iter().all(|c| c.generated) {
        return Err(MoveError::Refused {
            what: format!("table {name} has no key and no column that is stored as written"),
            hint: "add a primary key, or leave the table out of the move".into(),
        });
    }
    Ok(Table { name, columns, key })
}

fn column(row: &Row, table: &TableName) -> Result<Column> {
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
async fn read_key(source: &mut Connection, name: &TableName, columns: &[Column]) -> Result<Vec<usize>> {
    let sql = format!(
        "SELECT INDEX_NAME, COLUMN_NAME, NULLABLE = 'YES' OR SUB_PART IS NOT NULL OR COLUMN_NAME IS NULL \
         FROM information_schema.STATISTICS WHERE NON_UNIQUE = 0 AND TABLE_SCHEMA = {} AND TABLE_NAME = {} \
         ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX",
        quote_text(&name.schema),
        quote_text(&name.table)
    );
    let rows = source.rows(sql).await.doing(Side::Source, format!("read the keys of {name}"))?;
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

/// Creates the schemas and the tables on the target, as the source shows them. Tables that are there are left alone.
/// Both connections are left with another character set than our others have; they should be closed.
///
/// # Errors
/// If a server refuses.
pub async fn create(source: &mut Connection, target: &mut Connection, tables: &[Table]) -> Result<()> {
    // Comments, defaults and labels are text: here, and only here, the connection's character set matters.
    source.execute("SET NAMES utf8mb4").await.doing(Side::Source, "set the character set")?;
    target.execute("SET NAMES utf8mb4").await.doing(Side::Target, "set the character set")?;
    let mut last_schema = None;
    for table in tables {
        let schema = &table.name.schema;
        if last_schema != Some(schema) {
            let shown =
                show_create(source, &format!("DATABASE IF NOT EXISTS {}", quote_ident(schema))).await?;
            target.execute(shown).await.doing(Side::Target, format!("create schema {schema}"))?;
            last_schema = Some(schema);
        }
        let shown = show_create(source, &format!("TABLE {}", table.name.quoted())).await?;
        let body = shown.strip_prefix(b"CREATE TABLE ").unwrap_or(&shown);
        let sql = [b"CREATE TABLE IF NOT EXISTS ", body].concat();
        target
            .query(format!("USE {}", quote_ident(schema)))
            .await
            .doing(Side::Target, "choose the schema")?;
        target.execute(sql).await.doing(Side::Target, format!("create table {}", table.name))?;
    }
    Ok(())
}

async fn show_create(source: &mut Connection, what: &str) -> Result<Vec<u8>> {
    let doing = format!("show {what}");
    let row = source.row(format!("SHOW CREATE {what}")).await.doing(Side::Source, doing.clone())?;
    row.and_then(|r| r.bytes(1).map(<[u8]>::to_vec))
        .ok_or(mysql::Error::Unexpected("no CREATE statement"))
        .doing(Side::Source, doing)
}

/// Quotes a text for our connections, whose character set is binary while the compared names are utf8mb3.
pub(crate) fn quote_text(text: &str) -> String {
    format!("_utf8mb4'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
