//! What a move is: which tables go, how a pattern in the settings selects them, and what their schemas are called on each side.

use std::collections::BTreeMap;

use model::{Side, TableName};
use serde::{Deserialize, Serialize};

/// One move: a set of tables that goes from one cluster to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveSpec {
    /// The move's name: letters, digits, `-` and `_`.
    pub name: String,
    /// What moves: `schema.*` or `schema.table`, as the source calls them. Who asks a server, or judges what one has said, takes
    /// [`MoveSpec::on`].
    pub tables: Vec<TablePattern>,
    /// Schemas that have another name on the target.
    #[serde(default, skip_serializing_if = "Renames::is_empty")]
    pub renames: Renames,
}

/// Schemas that have another name on the target than on the source. No two have the same there, and none has the name that another
/// schema of the move has on the source: the settings see to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Renames(BTreeMap<String, String>);

impl Renames {
    /// From the source's names to the target's. Who keeps its name is left out.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().filter(|(here, there)| here != there).collect())
    }

    /// Whether every schema keeps its name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name on the source, and on the target, of each schema that has two.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(here, there)| (here.as_str(), there.as_str()))
    }

    /// What the target calls a schema of the source.
    pub fn on_target<'a>(&'a self, schema: &'a str) -> &'a str {
        self.0.get(schema).map_or(schema, String::as_str)
    }

    /// What the source calls a schema of the target.
    pub fn on_source<'a>(&'a self, schema: &'a str) -> &'a str {
        self.iter().find(|(_, there)| *there == schema).map_or(schema, |(here, _)| here)
    }

    /// What the target calls a table of the source.
    pub fn table_on_target(&self, name: &TableName) -> TableName {
        TableName::new(self.on_target(&name.schema), name.table.as_str())
    }

    /// The same schemas, seen from the other side.
    pub fn reversed(&self) -> Self {
        Self(self.0.iter().map(|(here, there)| (there.clone(), here.clone())).collect())
    }
}

/// What a move takes, in the names of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection<'a> {
    patterns: Vec<(&'a str, Option<&'a str>)>,
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
    /// What it takes, in the names of a side.
    pub fn on(&self, side: Side) -> Selection<'_> {
        let schema = |schema| match side {
            Side::Source => schema,
            Side::Target => self.renames.on_target(schema),
        };
        Selection {
            patterns: self.tables.iter().map(|p| (schema(p.schema.as_str()), p.table.as_deref())).collect(),
        }
    }

    /// The same move with rows flowing the other way.
    pub fn reversed(&self) -> Self {
        let patterns = self.on(Side::Target).patterns.into_iter();
        Self {
            name: self.name.clone(),
            tables: patterns
                .map(|(schema, table)| TablePattern {
                    schema: schema.to_owned(),
                    table: table.map(str::to_owned),
                })
                .collect(),
            renames: self.renames.reversed(),
        }
    }
}

impl<'a> Selection<'a> {
    /// Whether the move takes this table.
    pub fn takes(&self, schema: &str, table: &str) -> bool {
        self.patterns.iter().any(|(s, t)| *s == schema && t.is_none_or(|t| t == table))
    }

    /// Each pattern: a schema, and a table unless all of them go.
    pub fn patterns(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + '_ {
        self.patterns.iter().copied()
    }

    /// The schemas of which the move takes every table, each once.
    pub fn whole_schemas(&self) -> Vec<&'a str> {
        let mut schemas = self.schemas();
        schemas.retain(|schema| self.patterns.iter().any(|(s, t)| s == schema && t.is_none()));
        schemas
    }

    /// The schemas of which the move takes some tables and leaves others, as far as its patterns tell.
    pub fn parted_schemas(&self) -> Vec<&'a str> {
        let whole = self.whole_schemas();
        let mut schemas = self.schemas();
        schemas.retain(|schema| !whole.contains(schema));
        schemas
    }

    /// The schemas the move touches, each once.
    pub fn schemas(&self) -> Vec<&'a str> {
        let mut schemas: Vec<_> = self.patterns.iter().map(|(schema, _)| *schema).collect();
        schemas.sort_unstable();
        schemas.dedup();
        schemas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_the_same_seen_from_either_side() {
        let pattern = |schema: &str, table: Option<&str>| TablePattern {
            schema: schema.into(),
            table: table.map(str::to_owned),
        };
        let spec = MoveSpec {
            name: "m".into(),
            tables: vec![pattern("shop", None), pattern("mail", Some("box"))],
            renames: Renames::new([("shop".into(), "store".into()), ("mail".into(), "mail".into())]),
        };
        assert_eq!(spec.on(Side::Source).schemas(), ["mail", "shop"]);
        assert_eq!(spec.on(Side::Target).schemas(), ["mail", "store"]);
        assert_eq!(spec.on(Side::Target).whole_schemas(), ["store"]);
        assert_eq!(spec.on(Side::Target).parted_schemas(), ["mail"]);
        assert!(spec.on(Side::Target).takes("store", "x") && !spec.on(Side::Target).takes("shop", "x"));
        let back = spec.reversed();
        assert_eq!(back.on(Side::Source), spec.on(Side::Target));
        assert_eq!(back.on(Side::Target), spec.on(Side::Source));
        assert_eq!(back.reversed(), spec);
        assert_eq!((back.renames.on_target("store"), back.renames.on_source("shop")), ("shop", "store"));
    }
}
