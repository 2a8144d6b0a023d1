//! Reads the moved tables and what hangs on them from the source, and what the target has of them.
//!
//! information_schema shows an account only what it may see, and does not say that there is more. So where our account
//! lacks the privilege that makes things visible, the fact counts as unread, not as empty.

use std::collections::{BTreeMap, BTreeSet};

use model::TableName;
use mysql::{Connection, Row};

use super::TargetState;
use super::facts::{
    ColumnFacts, ForeignKey, KeyPart, Object, SchemaFacts, ServerFacts, TableFacts, TargetFacts, Unmatched,
};
use super::grants::Scope;
use super::nearest;
use super::rule::{Fact, Unread};
use super::server_reading::{ask, grant};
use crate::ddl::renamed::Unsure;
use crate::error::MoveError;
use crate::plan::{Along, MoveSpec, Selection};
use crate::schema::objects as definitions;
use crate::schema::objects::FENCE_TRIGGERS;
use crate::schema::placement::Placement;

/// No stored statistics, which reading would renew; and the columns of primary keys that the server generated itself,
/// which versions before 8.0.30 do not.
const SETTINGS: &str = "SET SESSION information_schema_stats_expiry = 0 \
                        /*!80030 , show_gipk_in_create_table_and_information_schema = ON */";

/// What to do about metadata that cannot be read; needs nothing but a grant.
const GRANT_SELECT: &str = "grant our account SELECT on the moved schemas";

/// Reads the source.
pub(super) async fn read(
    conn: &mut Connection,
    facts: &ServerFacts,
    spec: &MoveSpec,
    along: &Along,
) -> mysql::Result<SchemaFacts> {
    conn.execute(SETTINGS).await?;
    let moved = &spec.on(model::Side::Source);
    let schemas = texts(moved.schemas());
    let listed = ask(conn, &tables_sql(&schemas), GRANT_SELECT).await?;
    let (tables, unmatched) = match listed {
        Err(unread) => (Err(unread), Vec::new()),
        Ok(rows) => {
            let unmatched = read_unmatched(conn, moved, &rows).await?;
            (read_tables(conn, moved, &schemas, &rows).await?, unmatched)
        }
    };
    // A fence's triggers do not go along.
    let taken =
        |row: &Row| moved.takes(&row.text(0), &row.text(3)) && !row.text(1).starts_with(FENCE_TRIGGERS);
    let sees = |privilege| sees(facts, moved, privilege);
    Ok(SchemaFacts {
        tables,
        unmatched,
        foreign_keys: read_foreign_keys(conn, moved, &schemas).await?,
        triggers: objects(conn, &triggers_sql(&schemas), sees("TRIGGER"), taken).await?,
        events: objects(conn, &events_sql(&schemas), sees("EVENT"), |_| true).await?,
        views: objects(conn, &views_sql(&schemas), sees("SHOW VIEW"), |_| true).await?,
        routines: objects(conn, &routines_sql(&schemas), sees("SHOW_ROUTINE"), |_| true).await?,
        // The last of all, for it changes the session.
        bound_to_names: read_bound_to_names(conn, spec, along).await?,
    })
}

/// Reads what the target has of the move.
pub(super) async fn read_target(
    conn: &mut Connection,
    source: &ServerFacts,
    facts: &ServerFacts,
    spec: &MoveSpec,
    state: TargetState,
    schema: &SchemaFacts,
) -> mysql::Result<TargetFacts> {
    conn.execute(SETTINGS).await?;
    let moved = &spec.on(model::Side::Target);
    let schemas = texts(moved.schemas());
    let names = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA IN ({schemas})"
    );
    let tables = ask(conn, &names, GRANT_SELECT).await?;
    let tables = tables.map(|rows| {
        let names = rows.iter().map(|row| TableName::new(row.text(0), row.text(1)));
        names.filter(|name| moved.takes(&name.schema, &name.table)).collect()
    });
    let collations =
        ask(conn, "SELECT COLLATION_NAME FROM information_schema.COLLATIONS", GRANT_SELECT).await?;
    let taken = |row: &Row| moved.takes(&row.text(0), &row.text(3));
    // No tables yet, no triggers on them; then there is nothing that might be hidden.
    let triggers_shown = if state == TargetState::Fresh { Ok(()) } else { sees(facts, moved, "TRIGGER") };
    let events_shown = sees_everywhere(facts, "EVENT");
    Ok(TargetFacts {
        tables,
        collations: collations.map(|rows| rows.iter().map(|row| row.text(0)).collect()),
        tablespaces: read_tablespaces(conn, facts).await?,
        keyring: match schema.tables.as_ref().is_ok_and(|all| all.iter().any(|t| t.placement.encrypted)) {
            true => read_keyring(conn, facts).await?,
            // To list plugins the server fills a temporary table.
            false => Ok(false),
        },
        triggers: objects(conn, &triggers_sql(&schemas), triggers_shown, taken).await?,
        events: objects(conn, EVENTS_SQL, events_shown, |_| true).await?,
        applied: read_applied(conn, source, spec, state).await?,
    })
}

/// Texts as a list of literals; with an introducer, since our sessions' own character set is binary.
fn texts<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let quoted = |item: T| format!("_utf8mb4'{}'", item.as_ref().replace('\\', "\\\\").replace('\'', "\\'"));
    let all: Vec<String> = items.into_iter().map(quoted).collect();
    all.join(", ")
}

/// Whether our account sees all of a kind in the schemas of the move.
fn sees(facts: &ServerFacts, moved: &Selection<'_>, privilege: &str) -> Result<(), Unread> {
    let grants = facts.grants.as_ref().map_err(Clone::clone)?;
    let seen = moved.schemas().iter().all(|schema| grants.has(privilege, Scope::Schema(schema)))
        // Routines also show to who may SELECT everywhere.
        || privilege == "SHOW_ROUTINE" && grants.has("SELECT", Scope::Server);
    if seen { Ok(()) } else { Err(hidden(facts, privilege)) }
}

fn sees_everywhere(facts: &ServerFacts, privilege: &str) -> Result<(), Unread> {
    let grants = facts.grants.as_ref().map_err(Clone::clone)?;
    if grants.has(privilege, Scope::Server) { Ok(()) } else { Err(hidden(facts, privilege)) }
}

fn hidden(facts: &ServerFacts, privilege: &str) -> Unread {
    Unread {
        error: format!("{} lacks {privilege}, without which the server hides them", facts.account),
        fix: grant(privilege, &facts.quoted_account()),
    }
}

fn tables_sql(schemas: &str) -> String {
    format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, IFNULL(ENGINE, ''), IFNULL(TABLE_COLLATION, ''), \
         IFNULL(CREATE_OPTIONS, ''), IFNULL(DATA_LENGTH, 0) + IFNULL(INDEX_LENGTH, 0) FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA IN ({schemas}) ORDER BY TABLE_SCHEMA, TABLE_NAME"
    )
}

/// Schema, name, definer, and the table it is on.
fn triggers_sql(schemas: &str) -> String {
    format!(
        "SELECT TRIGGER_SCHEMA, TRIGGER_NAME, DEFINER, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS \
         WHERE TRIGGER_SCHEMA IN ({schemas}) ORDER BY 1, 2"
    )
}

/// Schema, name, definer, and the status.
const EVENTS_SQL: &str =
    "SELECT EVENT_SCHEMA, EVENT_NAME, DEFINER, STATUS FROM information_schema.EVENTS ORDER BY 1, 2";

fn events_sql(schemas: &str) -> String {
    EVENTS_SQL.replace(" ORDER", &format!(" WHERE EVENT_SCHEMA IN ({schemas}) ORDER"))
}

fn views_sql(schemas: &str) -> String {
    format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, DEFINER, '' FROM information_schema.VIEWS WHERE TABLE_SCHEMA IN ({schemas}) \
         ORDER BY 1, 2"
    )
}

fn routines_sql(schemas: &str) -> String {
    format!(
        "SELECT ROUTINE_SCHEMA, ROUTINE_NAME, DEFINER, IF(ROUTINE_TYPE <> 'FUNCTION', '', \
         IF(IS_DETERMINISTIC = 'NO' AND SQL_DATA_ACCESS NOT IN ('NO SQL', 'READS SQL DATA'), 'CARELESS', 'FUNCTION')) FROM information_schema.ROUTINES \
         WHERE ROUTINE_SCHEMA IN ({schemas}) ORDER BY 1, 2"
    )
}

async fn objects(
    conn: &mut Connection,
    sql: &str,
    shown: Result<(), Unread>,
    wanted: impl Fn(&Row) -> bool,
) -> mysql::Result<Fact<Vec<Object>>> {
    if let Err(unread) = shown {
        return Ok(Err(unread));
    }
    let object = |row: &Row| Object {
        name: format!("{}.{}", row.text(0), row.text(1)),
        definer: row.text(2),
        status: row.text(3),
    };
    let rows = ask(conn, sql, GRANT_SELECT).await?;
    Ok(rows.map(|rows| rows.iter().filter(|row| wanted(row)).map(object).collect()))
}

/// The patterns that select nothing, each with the nearest name there is.
async fn read_unmatched(
    conn: &mut Connection,
    moved: &Selection<'_>,
    listed: &[Row],
) -> mysql::Result<Vec<Unmatched>> {
    let selects = |schema: &str, table: Option<&str>, kind: &str| {
        listed
            .iter()
            .any(|r| r.text(2) == kind && r.text(0) == schema && table.is_none_or(|t| r.text(1) == t))
    };
    let missing: Vec<_> =
        moved.patterns().filter(|(schema, table)| !selects(schema, *table, "BASE TABLE")).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = _utf8mb4'BASE TABLE' \
               AND TABLE_SCHEMA NOT IN (_utf8mb4'mysql', _utf8mb4'sys', _utf8mb4'performance_schema', \
               _utf8mb4'information_schema', _utf8mb4'highwater') ORDER BY 1, 2";
    let rows = ask(conn, sql, GRANT_SELECT).await?.unwrap_or_default();
    let tables: Vec<String> = rows.iter().map(|row| format!("{}.{}", row.text(0), row.text(1))).collect();
    let mut schemas: Vec<String> = rows.iter().map(|row| format!("{}.*", row.text(0))).collect();
    schemas.dedup();
    let unmatched = missing.into_iter().map(|(schema, table)| {
        let pattern = format!("{schema}.{}", table.unwrap_or("*"));
        let known = if table.is_some() { &tables } else { &schemas };
        Unmatched {
            nearest: nearest::nearest(&pattern, known.iter().map(String::as_str)).map(str::to_owned),
            is_view: table.is_some() && selects(schema, table, "VIEW"),
            pattern,
        }
    });
    Ok(unmatched.collect())
}

async fn read_tables(
    conn: &mut Connection,
    moved: &Selection<'_>,
    schemas: &str,
    listed: &[Row],
) -> mysql::Result<Fact<Vec<TableFacts>>> {
    let columns = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLLATION_NAME, GENERATION_EXPRESSION <> '', EXTRA \
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA IN ({schemas}) ORDER BY 1, 2, ORDINAL_POSITION"
    );
    let keys = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART IS NOT NULL, NULLABLE = 'YES' \
         FROM information_schema.STATISTICS WHERE TABLE_SCHEMA IN ({schemas}) AND NON_UNIQUE = 0 \
         ORDER BY 1, 2, INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX"
    );
    let (columns, keys) =
        match (ask(conn, &columns, GRANT_SELECT).await?, ask(conn, &keys, GRANT_SELECT).await?) {
            (Ok(columns), Ok(keys)) => (columns, keys),
            (Err(unread), _) | (_, Err(unread)) => return Ok(Err(unread)),
        };
    let mut columns_of: BTreeMap<TableName, Vec<ColumnFacts>> = BTreeMap::new();
    for row in &columns {
        columns_of.entry(TableName::new(row.text(0), row.text(1))).or_default().push(column(row));
    }
    let mut keys_of: BTreeMap<TableName, Vec<Vec<KeyPart>>> = BTreeMap::new();
    for parts in keys.chunk_by(|a, b| (0..3).all(|i| a.bytes(i) == b.bytes(i))) {
        let name = TableName::new(parts[0].text(0), parts[0].text(1));
        keys_of.entry(name).or_default().push(parts.iter().map(key_part).collect());
    }
    let base =
        listed.iter().filter(|row| row.text(2) == "BASE TABLE" && moved.takes(&row.text(0), &row.text(1)));
    let mut tables = Vec::new();
    for row in base {
        let name = TableName::new(row.text(0), row.text(1));
        let placement = match read_placement(conn, &name).await? {
            Ok(placement) => placement,
            Err(unread) => return Ok(Err(unread)),
        };
        tables.push(TableFacts {
            placement,
            engine: row.text(3),
            collation: row.text(4),
            partitioned: row.text(5).contains("partitioned"),
            bytes: row.number(6).unwrap_or(0),
            columns: columns_of.remove(&name).unwrap_or_default(),
            keys: keys_of.remove(&name).unwrap_or_default(),
            name,
        });
    }
    Ok(Ok(tables))
}

fn column(row: &Row) -> ColumnFacts {
    ColumnFacts {
        name: row.text(2),
        data_type: row.text(3).to_ascii_lowercase(),
        collation: row.bytes(4).map(|_| row.text(4)),
        generated: row.text(5) == "1",
        auto_increment: row.text(6).contains("auto_increment"),
    }
}

fn key_part(row: &Row) -> KeyPart {
    KeyPart {
        column: row.bytes(3).map(|_| row.text(3)),
        prefix: row.text(4) == "1",
        nullable: row.text(5) == "1",
    }
}

/// Each table's statement by itself: `information_schema` shows a table's tablespace and folder to accounts with PROCESS only,
/// and its name in the form of a file's.
async fn read_placement(conn: &mut Connection, name: &TableName) -> mysql::Result<Fact<Placement>> {
    let rows = ask(conn, &format!("SHOW CREATE TABLE {}", name.as_is().quoted()), GRANT_SELECT).await?;
    Ok(rows.map(|rows| {
        let statement = rows.first().and_then(|row| row.bytes(1));
        statement.map(Placement::of).unwrap_or_default()
    }))
}

async fn read_tablespaces(
    conn: &mut Connection,
    facts: &ServerFacts,
) -> mysql::Result<Fact<BTreeSet<String>>> {
    let sql = "SELECT NAME FROM information_schema.INNODB_TABLESPACES WHERE SPACE_TYPE = _utf8mb4'General'";
    let rows = ask(conn, sql, &grant("PROCESS", &facts.quoted_account())).await?;
    Ok(rows.map(|rows| rows.iter().map(|row| row.text(0)).collect()))
}

/// A keyring is a component since 8.0.24, and a plugin before.
async fn read_keyring(conn: &mut Connection, facts: &ServerFacts) -> mysql::Result<Fact<bool>> {
    let fix = format!("GRANT SELECT ON performance_schema.* TO {};", facts.quoted_account());
    let component = "SELECT COUNT(*) FROM performance_schema.keyring_component_status \
                     WHERE STATUS_KEY = _utf8mb4'Component_status' AND STATUS_VALUE = _utf8mb4'Active'";
    let plugin = "SELECT COUNT(*) FROM information_schema.PLUGINS \
                  WHERE PLUGIN_NAME LIKE _utf8mb4'keyring%' AND PLUGIN_STATUS = _utf8mb4'ACTIVE'";
    let any = |rows: Vec<Row>| rows.first().is_some_and(|row| row.number::<u64>(0).unwrap_or(0) > 0);
    match ask(conn, component, &fix).await?.map(any) {
        Ok(true) => Ok(Ok(true)),
        // No such table before 8.0.24.
        Err(unread) if !unread.error.contains("1146") => Ok(Err(unread)),
        _ => Ok(ask(conn, plugin, &fix).await?.map(any)),
    }
}

async fn read_foreign_keys(
    conn: &mut Connection,
    moved: &Selection<'_>,
    schemas: &str,
) -> mysql::Result<Fact<Vec<ForeignKey>>> {
    let sql = format!(
        "SELECT CONSTRAINT_NAME, CONSTRAINT_SCHEMA, TABLE_NAME, UNIQUE_CONSTRAINT_SCHEMA, REFERENCED_TABLE_NAME, \
         UPDATE_RULE, DELETE_RULE FROM information_schema.REFERENTIAL_CONSTRAINTS \
         WHERE CONSTRAINT_SCHEMA IN ({schemas}) OR UNIQUE_CONSTRAINT_SCHEMA IN ({schemas}) ORDER BY 2, 3, 1"
    );
    let foreign_key = |row: &Row| ForeignKey {
        name: row.text(0),
        child: TableName::new(row.text(1), row.text(2)),
        parent: TableName::new(row.text(3), row.text(4)),
        on_update: row.text(5),
        on_delete: row.text(6),
    };
    let moves = |name: &TableName| moved.takes(&name.schema, &name.table);
    let rows = ask(conn, &sql, GRANT_SELECT).await?;
    Ok(rows
        .map(|rows| rows.iter().map(foreign_key).filter(|k| moves(&k.child) || moves(&k.parent)).collect()))
}

/// See [`SchemaFacts::bound_to_names`].
async fn read_bound_to_names(
    conn: &mut Connection,
    spec: &MoveSpec,
    along: &Along,
) -> mysql::Result<Fact<Vec<String>>> {
    if spec.renames.is_empty() || !along.objects {
        return Ok(Ok(Vec::new()));
    }
    let moved = spec.on(model::Side::Source);
    match definitions::read(conn, model::Side::Source, &moved, definitions::ALL).await {
        Ok(all) => {
            let bound = all.iter().filter_map(|object| {
                let Unsure(why) = object.in_names_of_target(&spec.renames).err()?;
                Some(format!("{object} holds {why}"))
            });
            Ok(Ok(bound.collect()))
        }
        Err(MoveError::Server { error, .. }) if error.is_connection_lost() => Err(error),
        Err(error) => Ok(Err(Unread { error: error.to_string(), fix: error.trouble().hint })),
    }
}

async fn read_applied(
    conn: &mut Connection,
    source: &ServerFacts,
    spec: &MoveSpec,
    state: TargetState,
) -> mysql::Result<Fact<Option<String>>> {
    if state == TargetState::Fresh {
        return Ok(Ok(None));
    }
    let sql = format!(
        "SELECT applied FROM highwater.ledger WHERE move_name = {} AND source_uuid = {}",
        texts([&spec.name]),
        texts([source.variables.find("server_uuid").unwrap_or_default()])
    );
    let rows = ask(conn, &sql, "grant our account SELECT on highwater.*").await?;
    // A row for each lane: what is applied is their union.
    let union = |rows: Vec<Row>| rows.iter().map(|row| row.text(0)).collect::<Vec<_>>().join(",");
    Ok(rows.map(|rows| (!rows.is_empty()).then(|| union(rows))))
}

/// The schemas a move may not take, for they are the servers' own or ours.
pub(super) fn reserved(schema: &str) -> bool {
    let own: BTreeSet<&str> =
        ["mysql", "sys", "performance_schema", "information_schema", "highwater"].into();
    own.contains(schema.to_ascii_lowercase().as_str())
}
