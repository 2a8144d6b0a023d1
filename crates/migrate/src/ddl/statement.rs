//! A statement that changes tables: what it does, and the session it means it in.

use model::TableName;
use wire::binlog::StatusVars;

use crate::plan::Renames;

/// What a statement does to a moved table, or to a moved schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// There is a new, empty table.
    Created(TableName),
    /// A table is gone, with its rows.
    Dropped(TableName),
    /// A table has another name.
    Renamed {
        /// Its name before.
        from: TableName,
        /// Its name now.
        to: TableName,
    },
    /// A table has another definition.
    Altered {
        /// The table.
        table: TableName,
        /// Whether its rows may be others now: anything but indexes, constraints and options.
        rows: bool,
    },
    /// A table is empty.
    Truncated(TableName),
    /// A partly copied table is emptied, and its copy begins anew.
    Restarted(TableName),
    /// A schema has other defaults, or is new or gone.
    Schema(String),
}

impl Effect {
    /// The same on the target, which calls some schemas otherwise.
    pub(super) fn in_names_of_target(self, renames: &Renames) -> Self {
        let table = |name: TableName| renames.table_on_target(&name);
        match self {
            Self::Created(name) => Self::Created(table(name)),
            Self::Dropped(name) => Self::Dropped(table(name)),
            Self::Renamed { from, to } => Self::Renamed { from: table(from), to: table(to) },
            Self::Altered { table: name, rows } => Self::Altered { table: table(name), rows },
            Self::Truncated(name) => Self::Truncated(table(name)),
            Self::Restarted(name) => Self::Restarted(table(name)),
            Self::Schema(name) => Self::Schema(renames.on_target(&name).to_owned()),
        }
    }
}

/// A statement to be executed on the target, with the names that the target has; what is shown has the source's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What the operator may see: verb and tables, no values.
    pub shown: String,
    /// The statement.
    pub sql: Vec<u8>,
    /// What it does, in order.
    pub effects: Vec<Effect>,
    /// The schema to execute it in, if it names tables without theirs.
    pub schema: Option<String>,
    /// The rest of the session it was written in.
    pub status: StatusVars,
    /// When it began, in seconds since the epoch.
    pub timestamp: u32,
    /// Its transaction goes on with rows of the table it creates (`CREATE TABLE ... SELECT`).
    pub rows_follow: bool,
    /// The table that it creates another one like.
    pub like: Option<TableName>,
    /// Whether the new rows depend on which other rows there are: numbers given by AUTO_INCREMENT.
    pub numbers_rows: bool,
}

impl Statement {
    /// Every table named by an effect, each once.
    pub fn tables(&self) -> Vec<&TableName> {
        let mut names = Vec::new();
        for effect in &self.effects {
            match effect {
                Effect::Created(t)
                | Effect::Dropped(t)
                | Effect::Truncated(t)
                | Effect::Restarted(t)
                | Effect::Altered { table: t, .. } => names.push(t),
                Effect::Renamed { from, to } => names.extend([from, to]),
                Effect::Schema(_) => {}
            }
        }
        names.sort();
        names.dedup();
        names
    }

    /// The tables whose definition must be the source's, in every part, when it is executed.
    pub fn relies_on(&self) -> Vec<&TableName> {
        let there_before = self.effects.iter().filter_map(|effect| match effect {
            Effect::Altered { table, .. } | Effect::Renamed { from: table, .. } => Some(table),
            _ => None,
        });
        let mut tables: Vec<&TableName> = there_before.collect();
        tables.extend(&self.like);
        tables.sort();
        tables.dedup();
        tables
    }

    /// Whether it only exchanges names among tables: the same names are there before and after.
    pub fn exchanges_names(&self) -> bool {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for table in self.tables() {
            // A name is taken before if its first mention takes a table away from it, and after if its last gives it one.
            let mentions = self.effects.iter().filter_map(|effect| match effect {
                Effect::Renamed { from, .. } if from == table => Some(true),
                Effect::Renamed { to, .. } if to == table => Some(false),
                _ => None,
            });
            let mentions: Vec<bool> = mentions.collect();
            if mentions.first() == Some(&true) {
                before.push(table);
            }
            if mentions.last() == Some(&false) {
                after.push(table);
            }
        }
        !before.is_empty() && before == after
    }
}

/// The name that a table of this name had before these effects; `None` if there was no such table.
pub(crate) fn origin(name: &TableName, effects: &[Effect]) -> Option<TableName> {
    let mut name = name.clone();
    for effect in effects.iter().rev() {
        match effect {
            Effect::Renamed { from, to } if *to == name => name = from.clone(),
            Effect::Created(table) if *table == name => return None,
            _ => {}
        }
    }
    Some(name)
}

/// The name a table has after these effects.
pub(crate) fn destiny(name: &TableName, effects: &[Effect]) -> TableName {
    let mut name = name.clone();
    for effect in effects {
        match effect {
            Effect::Renamed { from, to } if *from == name => name = to.clone(),
            _ => {}
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> TableName {
        TableName::new("s", name)
    }

    fn renames(pairs: &[(&str, &str)]) -> Statement {
        let effects =
            pairs.iter().map(|(from, to)| Effect::Renamed { from: table(from), to: table(to) }).collect();
        Statement {
            shown: String::new(),
            sql: Vec::new(),
            effects,
            schema: None,
            status: StatusVars::default(),
            timestamp: 0,
            rows_follow: false,
            like: None,
            numbers_rows: false,
        }
    }

    #[test]
    fn names_are_followed_through_renames_both_ways() {
        let shadow = renames(&[("t", "_old"), ("_new", "t")]);
        assert_eq!(origin(&table("t"), &shadow.effects), Some(table("_new")));
        assert_eq!(origin(&table("_old"), &shadow.effects), Some(table("t")));
        assert_eq!(destiny(&table("t"), &shadow.effects), table("_old"));
        assert!(!shadow.exchanges_names());
        assert_eq!(origin(&table("x"), &[Effect::Created(table("x"))]), None);
    }

    #[test]
    fn an_exchange_of_names_is_seen() {
        let swap = renames(&[("a", "tmp"), ("b", "a"), ("tmp", "b")]);
        assert!(swap.exchanges_names());
        assert_eq!(origin(&table("b"), &swap.effects), Some(table("a")));
        assert!(!renames(&[("a", "b")]).exchanges_names());
    }
}
