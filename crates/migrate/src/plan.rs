//! What a move is: which tables go, and how a pattern in the settings selects them.

use serde::{Deserialize, Serialize};

/// One move: a set of tables that goes from one cluster to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveSpec {
    /// The move's name: letters, digits, `-` and `_`.
    pub name: String,
    /// What moves: `schema.*` or `schema.table`.
    pub tables: Vec<TablePattern>,
}

/// What moves along with the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Along {
    /// Triggers of the moved tables; views, routines and events of schemas that move whole.
    pub objects: bool,
    /// Accounts, with what they are granted.
    pub accounts: Accounts,
}

impl Default for Along {
    fn default() -> Self {
        Self { objects: true, accounts: Accounts::None }
    }
}

/// Which accounts move along.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Accounts {
    /// None.
    #[default]
    None,
    /// All but MySQL's own, `root`, and the one we use.
    All,
    /// These, as `user@host`, and the roles they have.
    Named(Vec<String>),
}

/// What keeps a side of a move from taking the application's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fence {
    /// The whole server: `read_only` and `super_read_only`.
    #[default]
    Server,
    /// The schemas that move and nothing else: `ALTER SCHEMA ... READ ONLY = 1`, which MySQL has since 8.0.22. The side that
    /// follows has no fence, since it would stop us too: it is watched, and accounts that are named are locked there.
    Schemas,
    /// The tables that move and nothing else: triggers that refuse every write but our own sessions'. On both sides; they stay on the
    /// side that follows for as long as it follows.
    Tables,
}

impl std::fmt::Display for Fence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Schemas => "schemas",
            Self::Tables => "tables",
        })
    }
}

/// A table, or all base tables of a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePattern {
    /// The schema.
    pub schema: String,
    /// The table; `None` for all of them.
    pub table: Option<String>,
}

impl MoveSpec {
    /// Whether the move takes this table.
    pub fn takes(&self, schema: &str, table: &str) -> bool {
        self.tables.iter().any(|p| p.schema == schema && p.table.as_ref().is_none_or(|t| t == table))
    }

    /// The schemas of which the move takes every table, each once.
    pub fn whole_schemas(&self) -> Vec<&str> {
        let mut schemas = self.schemas();
        schemas.retain(|s| self.tables.iter().any(|p| p.schema == *s && p.table.is_none()));
        schemas
    }

    /// The schemas of which the move takes some tables and leaves others, as far as its patterns tell.
    pub fn parted_schemas(&self) -> Vec<&str> {
        let whole = self.whole_schemas();
        let mut schemas = self.schemas();
        schemas.retain(|schema| !whole.contains(schema));
        schemas
    }

    /// The schemas the move touches, each once.
    pub fn schemas(&self) -> Vec<&str> {
        let mut schemas: Vec<_> = self.tables.iter().map(|p| p.schema.as_str()).collect();
        schemas.sort_unstable();
        schemas.dedup();
        schemas
    }
}
