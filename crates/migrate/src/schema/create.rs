//! Creates the schemas and the tables on the target, as the source shows them.
//!
//! Indexes that nothing needs during the copy may be left for later; see [`super::indexes`]. In what order tables are
//! created does not matter: our sessions do not check foreign keys, and the server lets a child be created before its
//! parent then.

use model::{Table, quote_ident};
use mysql::Connection;

use super::foreign_keys;
use super::indexes::{self, Deferred};
use super::statement::CreateTable;
use crate::ddl::renamed::{self, Unsure};
use crate::error::{Doing, MoveError, Result, Side};
use crate::plan::Renames;

/// How to create the tables.
#[derive(Debug, Clone, Copy)]
pub struct Creation<'a> {
    /// The move, as the ledger knows it.
    pub move_name: &'a str,
    /// Schemas that have another name on the target.
    pub renames: &'a Renames,
    /// Whether indexes are left for when the rows are there.
    pub defer_indexes: bool,
}

/// A session variable, its value, and whether the statements would do something else without it. Where they would only
/// fail, our account need not have the privilege to set it.
type Setting = (&'static str, &'static str, bool);

/// What makes a server take a CREATE TABLE exactly as another one printed it, whatever its defaults are.
const FAITHFUL: &[Setting] = &[
    // A TIMESTAMP without a default would get one.
    ("explicit_defaults_for_timestamp", "ON", true),
    // Options that a server with this off has taken must be taken again.
    ("innodb_strict_mode", "OFF", false),
    // A foreign key to a key that is not unique.
    ("restrict_fk_on_non_standard_key", "OFF", false),
    // A table whose row key is a unique key: it must be taken, and get no column of the server's own.
    ("sql_require_primary_key", "OFF", false),
    ("sql_generate_invisible_primary_key", "OFF", true),
];

/// What makes a server print all there is.
const OUTSPOKEN: &[Setting] = &[
    ("sql_quote_show_create", "ON", true),
    ("show_create_table_verbosity", "OFF", true),
    ("show_create_table_skip_secondary_engine", "OFF", true),
    ("show_gipk_in_create_table_and_information_schema", "ON", true),
];

/// Creates the schemas and the tables on the target, as the source shows them. Tables that are there are left alone.
/// Both connections are left with other settings than our others have; they should be closed.
///
/// # Errors
/// If a server refuses.
pub async fn create(
    source: &mut Connection,
    target: &mut Connection,
    tables: &[Table],
    how: Creation<'_>,
) -> Result<()> {
    // Comments, defaults and labels are text: here, and only here, the connection's character set matters.
    source.execute("SET NAMES utf8mb4").await.doing(Side::Source, "set the character set")?;
    target.execute("SET NAMES utf8mb4").await.doing(Side::Target, "set the character set")?;
    set(source, Side::Source, OUTSPOKEN).await?;
    set(target, Side::Target, FAITHFUL).await?;
    let keys = foreign_keys::read(source, Side::Source, tables).await?;
    let mut last_schema = None;
    for table in tables {
        let (here, schema) = (table.on(Side::Source), &table.name.schema);
        if last_schema != Some(schema) {
            let shown =
                show_create(source, &format!("DATABASE IF NOT EXISTS {}", quote_ident(here.schema))).await?;
            let shown =
                renamed::schema(&shown, how.renames).map_err(|unsure| not_certain(here.schema, unsure))?;
            target.execute(shown).await.doing(Side::Target, format!("create schema {schema}"))?;
            last_schema = Some(schema);
        }
        let shown = show_create(source, &format!("TABLE {}", here.quoted())).await?;
        let shown =
            renamed::table(&shown, how.renames).map_err(|unsure| not_certain(&here.to_string(), unsure))?;
        let body = shown.strip_prefix(b"CREATE TABLE ").unwrap_or(&shown);
        let parsed = CreateTable::parse(body).ok_or_else(|| not_understood(table))?;
        let mut later = Deferred::default();
        if how.defer_indexes {
            later = Deferred::from(&parsed, &foreign_keys::columns_in_use(&keys, here));
            // Before the table is there: one that is created without its indexes must be known to lack them.
            indexes::remember(target, how.move_name, &table.name, &later).await?;
        }
        target
            .query(format!("USE {}", quote_ident(schema)))
            .await
            .doing(Side::Target, "choose the schema")?;
        let sql = [b"CREATE TABLE IF NOT EXISTS ".as_slice(), &parsed.as_created(|item| !later.holds(item))]
            .concat();
        target.execute(sql).await.doing(Side::Target, format!("create table {}", table.name))?;
    }
    Ok(())
}

fn not_understood(table: &Table) -> MoveError {
    MoveError::Refused {
        what: format!("the definition of {} cannot be taken apart", table.name),
        hint: "leave it out of the move, and please report the output of SHOW CREATE TABLE".into(),
    }
}

/// What is defined with names of schemas that cannot all be replaced with certainty.
fn not_certain(what: &str, Unsure(why): Unsure) -> MoveError {
    MoveError::Refused {
        what: format!("the definition of {what} cannot be written anew for the target: it holds {why}"),
        hint: "give the schema another name in the move's `rename`, or leave this out of the move".into(),
    }
}

/// Sets those of the variables that the server has, with another value.
async fn set(server: &mut Connection, side: Side, wanted: &[Setting]) -> Result<()> {
    let names: Vec<String> = wanted.iter().map(|(name, ..)| format!("'{name}'")).collect();
    let sql = format!(
        "SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.session_variables WHERE VARIABLE_NAME IN ({})",
        names.join(",")
    );
    for row in server.rows(sql).await.doing(side, "read the session's settings")? {
        let found = wanted.iter().find(|(name, value, _)| *name == row.text(0) && *value != row.text(1));
        let Some((name, value, needed)) = found else { continue };
        match server.execute(format!("SET SESSION {name} = {value}")).await {
            // 1227: it takes a privilege.
            Err(error) if !needed && error.server_code() == Some(1227) => {}
            done => drop(done.doing(side, format!("set {name} for our session"))?),
        }
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
