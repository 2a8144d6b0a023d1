//! Foreign keys of the moved tables: which columns they need an index on, and whether every one holds.
//!
//! Our sessions check none (`foreign_key_checks=0`): rows arrive in the stream's order, and what a key does to other
//! rows arrives as rows of its own. So whether the keys hold on the target is a question for the end.

use std::collections::HashSet;

use model::{Located, Table, TableName, quote_ident};
use mysql::{Connection, Row};

use super::quote_text;
use crate::error::{Doing, Result, Side};

/// A foreign key, with the names of the server that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// The table that has it.
    pub child: TableName,
    /// The table it refers to.
    pub parent: TableName,
    /// Its columns, each with the one it refers to.
    pub columns: Vec<(String, String)>,
}

/// A foreign key that some rows do not keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The key.
    pub key: ForeignKey,
    /// Rows of the child that refer to no row of the parent.
    pub orphans: u64,
}

/// The foreign keys that the given tables have.
///
/// # Errors
/// If they cannot be read.
pub async fn read(server: &mut Connection, side: Side, tables: &[Table]) -> Result<Vec<ForeignKey>> {
    let moved: HashSet<Located<'_>> = tables.iter().map(|t| t.on(side)).collect();
    let mut schemas: Vec<String> = moved.iter().map(|t| quote_text(t.schema)).collect();
    schemas.sort_unstable();
    schemas.dedup();
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, COLUMN_NAME, \
         REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_NAME IS NOT NULL \
         AND TABLE_SCHEMA IN ({}) ORDER BY 1, 2, 3, ORDINAL_POSITION",
        schemas.join(",")
    );
    let rows = server.rows(sql).await.doing(side, "read the foreign keys")?;
    let keys = rows.chunk_by(|a, b| (0..3).all(|i| a.bytes(i) == b.bytes(i))).filter_map(foreign_key);
    Ok(keys.filter(|key| moved.contains(&key.child.as_is())).collect())
}

/// Which of the tables have rows whose change changes rows of another table, or of their own, through a foreign key.
///
/// # Errors
/// If the source does not tell.
pub(crate) async fn cascading(source: &mut Connection, tables: &[Table]) -> Result<HashSet<usize>> {
    let sql = "SELECT UNIQUE_CONSTRAINT_SCHEMA, REFERENCED_TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS \
               WHERE DELETE_RULE NOT IN ('RESTRICT', 'NO ACTION') OR UPDATE_RULE NOT IN ('RESTRICT', 'NO ACTION')";
    let rows = source.rows(sql).await.doing(Side::Source, "read the foreign keys")?;
    let parents: HashSet<TableName> = rows.iter().map(|r| TableName::new(r.text(0), r.text(1))).collect();
    Ok(tables
        .iter()
        .enumerate()
        .filter(|(_, t)| parents.contains(&t.on(Side::Source).to_name()))
        .map(|(i, _)| i)
        .collect())
}

/// The foreign keys by which a table that stays changes one of these.
///
/// # Errors
/// If the source does not tell.
pub(crate) async fn acting_from_outside(
    source: &mut Connection,
    tables: &[Table],
) -> Result<Vec<ForeignKey>> {
    let sql = "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS \
               WHERE DELETE_RULE NOT IN ('RESTRICT', 'NO ACTION') OR UPDATE_RULE NOT IN ('RESTRICT', 'NO ACTION')";
    let rows = source.rows(sql).await.doing(Side::Source, "read the foreign keys")?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let acts = |key: &ForeignKey| {
        let child = (&key.child.schema, &key.child.table, &key.name);
        rows.iter().any(|row| (&row.text(0), &row.text(1), &row.text(2)) == child)
    };
    let stays = |key: &ForeignKey| !tables.iter().any(|table| table.name == key.parent);
    let mut keys = read(source, Side::Source, tables).await?;
    keys.retain(|key| stays(key) && acts(key));
    Ok(keys)
}

fn foreign_key(parts: &[Row]) -> Option<ForeignKey> {
    let first = parts.first()?;
    Some(ForeignKey {
        name: first.text(2),
        child: TableName::new(first.text(0), first.text(1)),
        parent: TableName::new(first.text(3), first.text(4)),
        columns: parts.iter().map(|row| (row.text(5), row.text(6))).collect(),
    })
}

/// The columns of a table that some foreign key, its own or another table's, may need an index on; in lower case, since
/// a key may spell a column otherwise than the table does.
pub(super) fn columns_in_use(keys: &[ForeignKey], table: Located<'_>) -> HashSet<String> {
    let own = keys.iter().filter(|k| k.child.as_is() == table).flat_map(|k| k.columns.iter().map(|(c, _)| c));
    let others =
        keys.iter().filter(|k| k.parent.as_is() == table).flat_map(|k| k.columns.iter().map(|(_, p)| p));
    own.chain(others).map(|name| name.to_lowercase()).collect()
}

/// Looks whether every foreign key of the tables holds, with one query per key, and returns those that do not. A source
/// may have such rows as well: whoever wrote them had `foreign_key_checks` off.
///
/// # Errors
/// If the server refuses.
pub async fn broken(server: &mut Connection, side: Side, tables: &[Table]) -> Result<Vec<Broken>> {
    let mut found = Vec::new();
    for key in read(server, side, tables).await? {
        let doing = format!("look for rows that break foreign key {} of {}", key.name, key.child);
        let row = server.row(count_orphans(&key)).await.doing(side, doing)?;
        let orphans = row.and_then(|r| r.number(0)).unwrap_or(0);
        if orphans > 0 {
            found.push(Broken { key, orphans });
        }
    }
    Ok(found)
}

/// A row with a NULL in any column of the key refers to nothing and breaks nothing (MATCH SIMPLE, the only one there is).
fn count_orphans(key: &ForeignKey) -> String {
    let mut refers = Vec::new();
    let mut equal = Vec::new();
    for (child, parent) in &key.columns {
        refers.push(format!("c.{} IS NOT NULL", quote_ident(child)));
        equal.push(format!("p.{} = c.{}", quote_ident(parent), quote_ident(child)));
    }
    format!(
        "SELECT COUNT(*) FROM {} c WHERE {} AND NOT EXISTS (SELECT 1 FROM {} p WHERE {})",
        key.child.as_is().quoted(),
        refers.join(" AND "),
        key.parent.as_is().quoted(),
        equal.join(" AND ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ForeignKey {
        ForeignKey {
            name: "fk".into(),
            child: TableName::new("s", "line`s"),
            parent: TableName::new("s", "orders"),
            columns: vec![("o".into(), "id".into()), ("n".into(), "no".into())],
        }
    }

    #[test]
    fn a_row_that_refers_to_nothing_is_no_orphan() {
        assert_eq!(
            count_orphans(&key()),
            "SELECT COUNT(*) FROM `s`.`line``s` c WHERE c.`o` IS NOT NULL AND c.`n` IS NOT NULL AND NOT EXISTS \
             (SELECT 1 FROM `s`.`orders` p WHERE p.`id` = c.`o` AND p.`no` = c.`n`)"
        );
    }

    #[test]
    fn both_ends_of_a_key_are_in_use() {
        let keys = [key()];
        assert_eq!(columns_in_use(&keys, keys[0].child.as_is()), ["o", "n"].map(String::from).into());
        assert_eq!(columns_in_use(&keys, keys[0].parent.as_is()), ["id", "no"].map(String::from).into());
        assert!(columns_in_use(&keys, TableName::new("s", "other").as_is()).is_empty());
    }
}
