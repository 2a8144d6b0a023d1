//! Tables and columns as the copy and the stream see them.

use serde::{Deserialize, Serialize};

/// A table's schema and name. Of a table of a move, this is its name on the side where its rows go: by it the move, its ledger and
/// what it shows know the table. No statement can be made of it before it is said on which server it is: see [`Table::on`] and
/// [`TableName::as_is`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// Schema (database).
    pub schema: String,
    /// Table.
    pub table: String,
}

impl TableName {
    /// Names a table.
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self { schema: schema.into(), table: table.into() }
    }

    /// For statements to a server that has a table of just this name.
    pub fn as_is(&self) -> Located<'_> {
        Located { schema: &self.schema, table: &self.table }
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// A table where one server has it: what statements to that server are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Located<'a> {
    /// Schema (database).
    pub schema: &'a str,
    /// Table.
    pub table: &'a str,
}

impl Located<'_> {
    /// Both parts quoted for a statement.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_ident(self.schema), quote_ident(self.table))
    }

    /// The name by itself.
    pub fn to_name(&self) -> TableName {
        TableName::new(self.schema, self.table)
    }
}

impl std::fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// A server of a move, seen from the direction in which rows flow now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where rows come from.
    Source,
    /// Where rows go.
    Target,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// Quotes an identifier for a statement.
pub fn quote_ident(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// How a column's values are read, written and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// TINYINT to BIGINT.
    Integer {
        /// Whether it is UNSIGNED.
        unsigned: bool,
    },
    /// DECIMAL.
    Decimal,
    /// FLOAT.
    Float,
    /// DOUBLE.
    Double,
    /// BIT.
    Bit,
    /// YEAR.
    Year,
    /// DATE, TIME, DATETIME, TIMESTAMP: a quoted text.
    Temporal,
    /// CHAR, VARCHAR, TEXT of any character set.
    Text,
    /// BINARY(n), which the binary log stores without its trailing zero bytes.
    FixedBinary {
        /// Declared length in bytes.
        len: u32,
    },
    /// VARBINARY, BLOB, GEOMETRY, VECTOR.
    Bytes,
    /// ENUM, by ordinal.
    Enum,
    /// SET, by bits.
    Set,
    /// JSON.
    Json,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// How its values are handled.
    pub kind: ColumnKind,
    /// The server's full type, for example `decimal(10,2) unsigned`.
    pub type_text: String,
    /// The character set of a text column; `None` for columns without one.
    pub charset: Option<String>,
    /// Whether the server computes it; such columns are never written.
    pub generated: bool,
}

/// A table of a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Schema and name where its rows go.
    pub name: TableName,
    /// Its schema where its rows come from. The table itself has the same name on both sides.
    pub source_schema: String,
    /// All columns, invisible ones included, in the table's own order: the order of a row in the binary log.
    pub columns: Vec<Column>,
    /// Indexes into `columns` of the primary key, or of the unique NOT NULL key that stands in for it. Empty if there is
    /// neither: the table is then a bag of rows, in which equal ones are only counted.
    pub key: Vec<usize>,
}

impl Table {
    /// Where a side has it.
    pub fn on(&self, side: Side) -> Located<'_> {
        match side {
            Side::Source => Located { schema: &self.source_schema, table: &self.name.table },
            Side::Target => self.name.as_is(),
        }
    }

    /// Whether rows have no key: nothing but their values tells them apart, and equal ones may be there many times.
    pub fn is_bag(&self) -> bool {
        self.key.is_empty()
    }

    /// Indexes of the columns that are written: all but generated ones.
    pub fn written(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.columns.len()).filter(|&i| !self.columns[i].generated)
    }

    /// The key's columns, quoted and separated by commas.
    pub fn key_list(&self) -> String {
        let names: Vec<_> = self.key.iter().map(|&i| quote_ident(&self.columns[i].name)).collect();
        names.join(", ")
    }
}
