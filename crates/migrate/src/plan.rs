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

    /// The schemas the move touches, each once.
    pub fn schemas(&self) -> Vec<&str> {
        let mut schemas: Vec<_> = self.tables.iter().map(|p| p.schema.as_str()).collect();
        schemas.sort_unstable();
        schemas.dedup();
        schemas
    }
}
