//! What a statement in the binary log means to a move.
//!
//! Row changes arrive as row events, so a statement logged as text is a transaction's edge, or changes something other
//! than rows. What it names is found by its tokens, never by looking for a name in its text. One that changes moved tables
//! is executed on the target in its own turn (see `apply/replay.rs`); one that may change them in a way that is not
//! understood stops the move.

mod lexer;
mod parse;
pub(crate) mod renamed;
mod statement;

use std::collections::HashSet;

use model::{Side, Table, TableName, quote_ident};
use wire::binlog::QueryEvent;

use crate::error::{MoveError, Result};
use crate::plan::{MoveSpec, Renames, Selection};

pub(crate) use lexer::Dialect;
use lexer::Unreadable;
use parse::{Change, Kind, Parsed};
use renamed::{Named, Unsure};
pub use statement::{Effect, Statement};
pub(crate) use statement::{destiny, origin};

/// What to do at a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A transaction's changes follow.
    Begin,
    /// The transaction that began ends here.
    Commit,
    /// A statement that does not concern us: a transaction of its own, unless one has begun.
    Aside,
    /// A statement to execute on the target.
    Replay(Box<Statement>),
}

/// What moves, at this point of one server's log. Names are that server's; what is to be done comes out with the target's.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// What moves, seen from the server whose log it is.
    spec: MoveSpec,
    tables: HashSet<TableName>,
    /// Whether that server writes all names in lower case (`lower_case_table_names` is not 0).
    lower_case: bool,
}

impl Scope {
    /// The move's tables as they are now, in the source's log.
    pub fn of_source(spec: &MoveSpec, tables: &[Table], lower_case: bool) -> Self {
        Self::new(spec.clone(), tables, Side::Source, lower_case)
    }

    /// The same in the target's own log.
    pub fn of_target(spec: &MoveSpec, tables: &[Table], lower_case: bool) -> Self {
        let spec = MoveSpec { renames: Renames::default(), ..spec.reversed() };
        Self::new(spec, tables, Side::Target, lower_case)
    }

    fn new(spec: MoveSpec, tables: &[Table], side: Side, lower_case: bool) -> Self {
        Self { spec, tables: tables.iter().map(|t| t.on(side).to_name()).collect(), lower_case }
    }

    fn here(&self) -> Selection<'_> {
        self.spec.on(Side::Source)
    }

    /// Whether a table that has rows in the stream is one the move must know.
    pub fn takes(&self, name: &TableName) -> bool {
        self.here().takes(&name.schema, &name.table)
    }

    fn on_target(&self, name: &TableName) -> TableName {
        self.spec.renames.table_on_target(name)
    }

    /// What a statement means; it began at `timestamp`.
    ///
    /// # Errors
    /// If it may change a moved table in a way that cannot be repeated exactly.
    pub fn meaning(&self, query: &QueryEvent, timestamp: u32) -> Result<Meaning> {
        // Nearly every statement in a log of rows is one of these.
        match query.sql.as_slice() {
            b"BEGIN" => return Ok(Meaning::Begin),
            b"COMMIT" => return Ok(Meaning::Commit),
            _ => {}
        }
        let dialect = Dialect::of(&query.status);
        let change = match parse::parse(&query.sql, dialect, &query.schema, self.lower_case) {
            Ok(Parsed::Begin) => return Ok(Meaning::Begin),
            Ok(Parsed::Commit) => return Ok(Meaning::Commit),
            Ok(Parsed::Harmless) => return Ok(Meaning::Aside),
            Ok(Parsed::Change(change)) => change,
            Ok(Parsed::Unknown(_)) | Err(_) if !self.may_concern(query) => return Ok(Meaning::Aside),
            Ok(Parsed::Unknown(shown)) => {
                return Err(stop(format!(
                    "a statement that may change a moved table ({shown} …, default schema '{}')",
                    query.schema
                )));
            }
            Err(Unreadable(why)) => {
                return Err(stop(format!(
                    "a statement that may change a moved table and holds {why} (default schema '{}')",
                    query.schema
                )));
            }
        };
        let Some(change) = self.concern(change)? else { return Ok(Meaning::Aside) };
        if let Some(code) = query.status.unknown {
            return Err(stop(format!("{} with session variable {code}, which is not known", change.shown)));
        }
        let renames = &self.spec.renames;
        let sql = match change.sql {
            Some(sql) => sql.into_bytes(),
            None => renamed::replaced(&query.sql[..change.end], &change.schemas, renames)
                .map_err(|Unsure(why)| stop(format!("{} with {why}", change.shown)))?,
        };
        let effects = change.effects.into_iter();
        Ok(Meaning::Replay(Box::new(Statement {
            shown: change.shown,
            sql,
            effects: effects.map(|effect| effect.in_names_of_target(renames)).collect(),
            schema: change.unqualified.then(|| renames.on_target(&query.schema).to_owned()),
            status: query.status.clone(),
            timestamp,
            rows_follow: change.rows_follow,
            like: change.like.map(|model| self.on_target(&model)),
            numbers_rows: change.numbers_rows,
        })))
    }

    /// Whether a statement that is not understood may touch a moved schema: judged by its text alone, on the safe side.
    fn may_concern(&self, query: &QueryEvent) -> bool {
        let text = String::from_utf8_lossy(&query.sql).to_lowercase();
        self.here().schemas().iter().any(|s| *s == query.schema || text.contains(&s.to_lowercase()))
    }

    fn moves(&self, name: &TableName) -> bool {
        self.tables.contains(name)
    }

    /// What a change does to moved tables; `None` if nothing.
    fn concern(&self, change: Change) -> Result<Option<Concern>> {
        let Change { kind, unqualified, end, schemas } = change;
        let concern = |shown: String, effects: Vec<Effect>| Concern {
            shown,
            effects,
            unqualified,
            end,
            schemas: schemas.clone(),
            sql: None,
            rows_follow: false,
            like: None,
            numbers_rows: false,
        };
        Ok(match kind {
            Kind::CreateTable { table, like, if_not_exists, rows_follow } => {
                if !self.takes(&table) || (if_not_exists && self.moves(&table)) {
                    return Ok(None);
                }
                let shown = format!("CREATE TABLE {table}");
                if let Some(model) = like.as_ref().filter(|model| !self.moves(model)) {
                    return Err(stop(format!("{shown} LIKE {model}, which does not move")));
                }
                let effects = vec![Effect::Created(table)];
                Some(Concern { rows_follow, like, ..concern(shown, effects) })
            }
            Kind::AlterTable { table, renamed, rows, numbers_rows } => {
                let shown = format!("ALTER TABLE {table}");
                if let Some(to) = &renamed
                    && !self.may_rename(&table, to)?
                {
                    return Ok(None);
                }
                if !self.known(&table, &shown)? {
                    return Ok(None);
                }
                let mut effects = vec![Effect::Altered { table: table.clone(), rows }];
                effects.extend(renamed.map(|to| Effect::Renamed { from: table, to }));
                Some(Concern { numbers_rows, ..concern(shown, effects) })
            }
            Kind::AlterIndex { table } => {
                let shown = format!("an index statement on {table}");
                let effects = vec![Effect::Altered { table: table.clone(), rows: false }];
                self.known(&table, &shown)?.then(|| concern(shown, effects))
            }
            Kind::DropTables { tables } => {
                let dropped: Vec<TableName> = tables.into_iter().filter(|t| self.moves(t)).collect();
                if dropped.is_empty() {
                    return Ok(None);
                }
                let each: Vec<_> =
                    dropped.iter().map(|table| self.on_target(table).as_is().quoted()).collect();
                let sql = format!("DROP TABLE {}", each.join(", "));
                let shown = format!("DROP TABLE {}", named(&dropped));
                let effects = dropped.into_iter().map(Effect::Dropped).collect();
                Some(Concern { sql: Some(sql), unqualified: false, ..concern(shown, effects) })
            }
            Kind::RenameTables { pairs } => self.rename(pairs)?.map(|(sql, shown, effects)| Concern {
                sql: Some(sql),
                unqualified: false,
                ..concern(shown, effects)
            }),
            Kind::Truncate { table } => {
                let shown = format!("TRUNCATE TABLE {table}");
                let sql = Some(format!("TRUNCATE TABLE {}", self.on_target(&table).as_is().quoted()));
                let effects = vec![Effect::Truncated(table.clone())];
                self.known(&table, &shown)?.then(|| Concern {
                    sql,
                    unqualified: false,
                    ..concern(shown, effects)
                })
            }
            Kind::CreateSchema(schema) if self.here().schemas().contains(&schema.as_str()) => {
                Some(concern(format!("CREATE DATABASE {schema}"), vec![Effect::Schema(schema)]))
            }
            Kind::AlterSchema(schema) if self.here().schemas().contains(&schema.as_str()) => {
                Some(concern(format!("ALTER DATABASE {schema}"), vec![Effect::Schema(schema)]))
            }
            Kind::DropSchema(schema) => self.drop_schema(&schema)?.map(|effects| Concern {
                sql: Some(format!("DROP DATABASE {}", quote_ident(self.spec.renames.on_target(&schema)))),
                ..concern(format!("DROP DATABASE {schema}"), effects)
            }),
            Kind::CreateSchema(_) | Kind::AlterSchema(_) => None,
            Kind::Inexact { table, why } if self.takes(&table) || self.moves(&table) => {
                return Err(stop(format!("a statement on table {table} that cannot be repeated: {why}")));
            }
            Kind::Inexact { .. } => None,
        })
    }

    /// Whether a table moves; one that matches the move's patterns and is not known to it is more than a surprise.
    fn known(&self, table: &TableName, shown: &str) -> Result<bool> {
        if self.takes(table) && !self.moves(table) {
            return Err(stop(format!("{shown}, a table that the move does not have")));
        }
        Ok(self.moves(table))
    }

    /// Whether a rename is of a table that moves, and stays in the move.
    fn may_rename(&self, from: &TableName, to: &TableName) -> Result<bool> {
        match (self.moves(from), self.takes(to)) {
            (true, true) => Ok(true),
            (true, false) => Err(MoveError::Refused {
                what: format!("the source renames {from} to {to}, which takes it out of the move"),
                hint: "name the whole schema in the move's `tables` (schema.*), run `highwater finish` and copy again"
                    .into(),
            }),
            // In a schema that moves whole, what is not a table of the move is a view.
            (false, true) if !self.takes(from) => Err(MoveError::Refused {
                what: format!("the source renames {from}, which does not move, to {to}, which does: its rows are not here"),
                hint: "name the whole schema in the move's `tables` (schema.*), so that the tables schema changes work on \
                       move as well; then run `highwater finish` and copy again"
                    .into(),
            }),
            (false, _) => Ok(false),
        }
    }

    fn rename(&self, pairs: Vec<(TableName, TableName)>) -> Result<Option<(String, String, Vec<Effect>)>> {
        // Each pair finds the names as the pairs before it left them.
        let mut now = self.clone();
        let mut renamed = Vec::new();
        for (from, to) in pairs {
            if now.may_rename(&from, &to)? {
                now.tables.remove(&from);
                now.tables.insert(to.clone());
                renamed.push((from, to));
            }
        }
        if renamed.is_empty() {
            return Ok(None);
        }
        let each = |show: &dyn Fn(&TableName) -> String| {
            let shown: Vec<_> =
                renamed.iter().map(|(from, to)| format!("{} TO {}", show(from), show(to))).collect();
            format!("RENAME TABLE {}", shown.join(", "))
        };
        let sql = each(&|table| self.on_target(table).as_is().quoted());
        let shown = each(&TableName::to_string);
        let effects = renamed.into_iter().map(|(from, to)| Effect::Renamed { from, to }).collect();
        Ok(Some((sql, shown, effects)))
    }

    fn drop_schema(&self, schema: &str) -> Result<Option<Vec<Effect>>> {
        let mut tables: Vec<TableName> = self.tables.iter().filter(|t| t.schema == schema).cloned().collect();
        tables.sort();
        if self.here().patterns().any(|(s, table)| s == schema && table.is_some()) {
            return Err(stop(format!("DROP DATABASE {schema}, of which only some tables move")));
        }
        if !self.here().schemas().contains(&schema) {
            return Ok(None);
        }
        let mut effects: Vec<Effect> = tables.into_iter().map(Effect::Dropped).collect();
        effects.push(Effect::Schema(schema.to_owned()));
        Ok(Some(effects))
    }
}

/// A change of moved tables.
struct Concern {
    shown: String,
    effects: Vec<Effect>,
    unqualified: bool,
    end: usize,
    /// The schemas that the statement's own text names.
    schemas: Vec<Named>,
    /// What to execute in place of the statement's own text.
    sql: Option<String>,
    rows_follow: bool,
    like: Option<TableName>,
    numbers_rows: bool,
}

fn named(tables: &[TableName]) -> String {
    tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How an error begins that says by which statement the stream is stopped.
pub(crate) const STOPPED_BY: &str = "the binary log of the source holds ";

fn stop(what: String) -> MoveError {
    MoveError::Refused {
        what: format!("{STOPPED_BY}{what}"),
        hint: "the target cannot follow past it: run `highwater finish`, leave such statements out while the move runs, and \
               copy again"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use wire::binlog::StatusVars;

    use super::*;
    use crate::plan::TablePattern;

    fn scope(renames: &[(&str, &str)]) -> Scope {
        let tables = vec![
            TablePattern { schema: "shop".into(), table: None },
            TablePattern { schema: "one".into(), table: Some("t".into()) },
        ];
        let renames = Renames::new(renames.iter().map(|(here, there)| ((*here).into(), (*there).into())));
        let here = [("shop", "t"), ("shop", "u"), ("one", "t")].map(|(s, t)| Table {
            name: renames.table_on_target(&TableName::new(s, t)),
            source_schema: s.into(),
            columns: Vec::new(),
            key: Vec::new(),
        });
        Scope::of_source(&MoveSpec { name: "m".into(), tables, renames }, &here, false)
    }

    fn meaning(schema: &str, sql: &str) -> Result<Meaning> {
        scope(&[]).meaning(&query(schema, sql), 0)
    }

    fn query(schema: &str, sql: &str) -> QueryEvent {
        let status = StatusVars::default();
        QueryEvent { thread_id: 1, schema: schema.into(), status, sql: sql.as_bytes().to_vec() }
    }

    fn replayed(schema: &str, sql: &str) -> String {
        match meaning(schema, sql) {
            Ok(Meaning::Replay(statement)) => String::from_utf8(statement.sql).unwrap(),
            other => panic!("{sql}: {other:?}"),
        }
    }

    fn check_aside(schema: &str, sql: &str) {
        assert_eq!(meaning(schema, sql).unwrap(), Meaning::Aside, "{sql}");
    }

    fn check_stops(schema: &str, sql: &str, says: &str) {
        let error = meaning(schema, sql).unwrap_err();
        assert!(error.to_string().contains(says), "{sql}: {error}");
        assert!(!error.trouble().hint.is_empty());
    }

    #[test]
    fn what_does_not_move_is_left_aside() {
        check_aside("other", "ALTER TABLE t ADD c INT COMMENT 'shop.t'");
        check_aside("other", "ALTER TABLE shop_t ADD shop INT");
        check_aside("one", "ALTER TABLE u ADD c INT");
        check_aside("shop", "DROP TABLE IF EXISTS nothing");
        check_aside("shop", "CREATE TABLE IF NOT EXISTS t (a INT)");
        check_aside("shop", "CREATE VIEW v AS SELECT * FROM t");
        check_aside("shop", "RENAME TABLE a_view TO another");
        check_aside("other", "INSERT INTO x VALUES (1)");
        check_aside("", "DROP DATABASE other");
        check_aside("other", "TRUNCATE t");
    }

    #[test]
    fn what_moves_is_replayed_and_only_that() {
        assert_eq!(replayed("shop", "ALTER TABLE t ADD c INT"), "ALTER TABLE t ADD c INT");
        assert_eq!(replayed("", "DROP TABLE other.x, `shop`.`u`"), "DROP TABLE `shop`.`u`");
        assert_eq!(replayed("shop", "truncate t"), "TRUNCATE TABLE `shop`.`t`");
        assert_eq!(
            replayed("shop", "RENAME TABLE t TO _t_old, a_view TO b, u TO t"),
            "RENAME TABLE `shop`.`t` TO `shop`.`_t_old`, `shop`.`u` TO `shop`.`t`"
        );
        assert_eq!(replayed("", "DROP DATABASE shop"), "DROP DATABASE `shop`");
        assert_eq!(replayed("shop", "CREATE TABLE x LIKE t"), "CREATE TABLE x LIKE t");
        for sql in
            ["CREATE TABLE x LIKE t", "ALTER TABLE t ADD c INT, RENAME TO x", "RENAME TABLE t TO x, x TO y"]
        {
            let Ok(Meaning::Replay(statement)) = meaning("shop", sql) else { panic!("{sql}") };
            assert!(statement.relies_on().contains(&&TableName::new("shop", "t")), "{sql}");
        }
    }

    #[test]
    fn what_is_replayed_has_the_names_of_the_target() {
        let scope = scope(&[("shop", "store"), ("one", "two")]);
        let check = |schema: &str, sql: &str, within: Option<&str>, wanted: &str, tables: &[(&str, &str)]| {
            let Ok(Meaning::Replay(statement)) = scope.meaning(&query(schema, sql), 0) else {
                panic!("{sql}")
            };
            assert_eq!(String::from_utf8(statement.sql.clone()).unwrap(), wanted);
            assert_eq!(statement.schema.as_deref(), within, "{sql}");
            let tables: Vec<_> = tables.iter().map(|(s, t)| TableName::new(*s, *t)).collect();
            assert_eq!(statement.tables(), tables.iter().collect::<Vec<_>>(), "{sql}");
        };
        let t = ("store", "t");
        check("shop", "ALTER TABLE t ADD shop INT", Some("store"), "ALTER TABLE t ADD shop INT", &[t]);
        check(
            "other",
            "ALTER TABLE shop . `t` ADD c INT COMMENT 'shop.t', ADD FOREIGN KEY (c) REFERENCES one.t (a)",
            None,
            "ALTER TABLE `store` . `t` ADD c INT COMMENT 'shop.t', ADD FOREIGN KEY (c) REFERENCES `two`.t (a)",
            &[t],
        );
        let sql = "CREATE TABLE shop.x (shop INT, CHECK (shop.x.shop > 1 AND x.shop < 1.5))";
        let wanted = "CREATE TABLE `store`.x (shop INT, CHECK (`store`.x.shop > 1 AND x.shop < 1.5))";
        check("", sql, None, wanted, &[("store", "x")]);
        let like = [("store", "x")];
        check("one", "CREATE TABLE shop.x LIKE t", Some("two"), "CREATE TABLE `store`.x LIKE t", &like);
        check("", "CREATE INDEX shop ON shop.t (shop)", None, "CREATE INDEX shop ON `store`.t (shop)", &[t]);
        check(
            "shop",
            "RENAME TABLE t TO x, shop.u TO t",
            None,
            "RENAME TABLE `store`.`t` TO `store`.`x`, `store`.`u` TO `store`.`t`",
            &[t, ("store", "u"), ("store", "x")],
        );
        check("shop", "DROP TABLE u", None, "DROP TABLE `store`.`u`", &[("store", "u")]);
        check("shop", "TRUNCATE u", None, "TRUNCATE TABLE `store`.`u`", &[("store", "u")]);
        check("", "ALTER DATABASE shop CHARSET utf8mb4", None, "ALTER DATABASE `store` CHARSET utf8mb4", &[]);
        let taken =
            scope.meaning(&query("shop", "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES store.t (a)"), 0);
        assert!(taken.unwrap_err().to_string().contains("on the target"));
        // A schema of the source that has the name of ours on the target is none of ours.
        assert_eq!(scope.meaning(&query("store", "ALTER TABLE t ADD c INT"), 0).unwrap(), Meaning::Aside);
    }

    #[test]
    fn what_cannot_be_exact_stops_the_move_by_name() {
        check_stops("shop", "INSERT INTO t VALUES ('secret')", "INSERT INTO");
        check_stops("other", "LOAD DATA INFILE 'x' INTO TABLE shop.t", "LOAD DATA");
        check_stops("one", "RENAME TABLE _t_new TO t", "which does not move");
        check_stops("one", "RENAME TABLE t TO _t_old", "out of the move");
        check_stops("shop", "CREATE TABLE x LIKE other.y", "LIKE other.y");
        check_stops("shop", "ALTER TABLE nobody ADD x INT", "does not have");
        check_stops("shop", "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u", "EXCHANGE");
        check_stops("", "DROP DATABASE one", "only some tables");
        let secret = meaning("shop", "INSERT INTO t VALUES ('secret')").unwrap_err();
        assert!(!secret.to_string().contains("secret"));
    }
}
