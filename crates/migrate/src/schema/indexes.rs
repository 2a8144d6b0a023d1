//! Indexes that are added when a table's rows are there, which is faster than keeping them while the rows arrive.
//!
//! Left for later are plain indexes over columns, and only as many that adding them at the end of the list puts every
//! index where the source has it: SHOW CREATE TABLE must come out the same. Kept are unique ones (invariant 2 rests on
//! them), those an AUTO_INCREMENT column or a foreign key needs, and those the server cannot build while the stream
//! writes to the table: FULLTEXT, SPATIAL, and indexes over expressions (error 1846: "LOCK=NONE is not supported").
//!
//! What is left for later is written to `highwater.indexes` before the table is created, and struck out when it is
//! added. The source's definition at the end would not do: an index that was added there meanwhile is the stream's
//! to bring.

use std::collections::HashSet;

use model::TableName;
use mysql::{ConnectOptions, Connection};

use super::statement::{CreateTable, Index, IndexKind};
use super::{quote_bytes, quote_text};
use crate::error::{Doing, Result, Side};
use crate::session;

/// Indexes of one table that are left for later.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    /// Place among the items of the statement, name, definition.
    indexes: Vec<(usize, Vec<u8>, Vec<u8>)>,
}

impl Deferred {
    /// Chooses from a table's definition. `in_use` are columns that a foreign key may need an index on.
    pub fn from(table: &CreateTable<'_>, in_use: &HashSet<String>) -> Self {
        let numbered = table.auto_increment();
        let needed = |index: &Index| {
            index.kind != IndexKind::Plain
                || index.columns.iter().any(Option::is_none)
                || index.columns.first().is_none_or(|first| {
                    let name = first.as_deref().and_then(|f| std::str::from_utf8(f).ok());
                    *first == numbered || name.is_none_or(|n| in_use.contains(&n.to_lowercase()))
                })
        };
        let mut indexes = Vec::new();
        for (place, item) in table.items.iter().enumerate() {
            match item.index() {
                // The server lists FULLTEXT indexes after all others (sql_table.cc, sort_keys).
                Some(index) if index.kind == IndexKind::FullText => {}
                // What is added comes last, so what comes before one that stays must stay as well.
                Some(index) if needed(&index) => indexes.clear(),
                Some(index) => indexes.push((place, index.name, item.text.to_vec())),
                None => {}
            }
        }
        Self { indexes }
    }

    /// Whether the item in this place is left for later.
    pub fn holds(&self, place: usize) -> bool {
        self.indexes.iter().any(|(p, ..)| *p == place)
    }
}

/// Writes down what a table is about to be created without, in place of what was written before.
pub(super) async fn remember(
    target: &mut Connection,
    move_name: &str,
    table: &TableName,
    later: &Deferred,
) -> Result<()> {
    let mut sql = format!("START TRANSACTION; DELETE FROM highwater.indexes WHERE {};", of(move_name, table));
    for (place, name, definition) in &later.indexes {
        sql.push_str(&format!(
            "INSERT INTO highwater.indexes (move_name, table_name, place, name, definition) VALUES ('{move_name}', {}, \
             {place}, {}, {});",
            quote_text(&table.to_string()),
            quote_bytes(name),
            quote_bytes(definition)
        ));
    }
    sql.push_str("COMMIT");
    target.query_all(sql).await.doing(Side::Target, format!("note the indexes of {table}"))?;
    Ok(())
}

fn of(move_name: &str, table: &TableName) -> String {
    format!("move_name='{move_name}' AND table_name={}", quote_text(&table.to_string()))
}

/// The name, as an expression, of the lock that whoever changes the definition of one of a move's tables holds. Definitions
/// tell whether a statement of the stream has happened: nobody else may change them meanwhile.
pub(crate) fn definitions_lock(move_name: &str) -> String {
    format!("CONCAT('highwater ', LEFT(SHA2('{move_name}', 256), 40))")
}

/// Adds the indexes that a table was created without, on a connection of its own, while the stream goes on. A table that
/// has them already is left alone, so that it may be asked again after a crash.
///
/// # Errors
/// If the target refuses.
pub async fn complete(target: &ConnectOptions, move_name: &str, table: &TableName) -> Result<()> {
    let mut hand = session::open(target, Side::Target).await?;
    // The lock goes with the connection.
    let sql = format!("DO GET_LOCK({}, -1)", definitions_lock(move_name));
    hand.execute(sql).await.doing(Side::Target, "wait for a statement of the stream to end")?;
    complete_under_lock(target, move_name, table).await
}

/// The same, for one who holds the lock.
///
/// # Errors
/// If the target refuses.
pub(crate) async fn complete_under_lock(
    target: &ConnectOptions,
    move_name: &str,
    table: &TableName,
) -> Result<()> {
    let mut target = session::open(target, Side::Target).await?;
    let sql = format!(
        "SELECT name, definition FROM highwater.indexes WHERE {} ORDER BY place",
        of(move_name, table)
    );
    let noted = target.rows(sql).await.doing(Side::Target, "read which indexes are left")?;
    if noted.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT DISTINCT INDEX_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        quote_text(&table.schema),
        quote_text(&table.table)
    );
    let there = target.rows(sql).await.doing(Side::Target, format!("read the indexes of {table}"))?;
    let missing: Vec<&[u8]> = noted
        .iter()
        .filter(|index| there.iter().all(|t| t.bytes(0) != index.bytes(0)))
        .filter_map(|index| index.bytes(1))
        .collect();
    if !missing.is_empty() {
        let begun = std::time::Instant::now();
        add(&mut target, table, &missing).await?;
        tracing::info!(target: "highwater::copy", %table, indexes = missing.len(), took = ?begun.elapsed(), "indexes added");
    }
    let sql = format!("DELETE FROM highwater.indexes WHERE {}", of(move_name, table));
    target.execute(sql).await.doing(Side::Target, "note that the indexes are there")?;
    Ok(())
}

async fn add(target: &mut Connection, table: &TableName, definitions: &[&[u8]]) -> Result<()> {
    let doing = format!("add {} indexes to {table}", definitions.len());
    // Definitions hold comments, as text.
    target.execute("SET NAMES utf8mb4").await.doing(Side::Target, "set the character set")?;
    let alter = |lock: &str| {
        let mut sql = format!("ALTER TABLE {}", table.as_is().quoted()).into_bytes();
        for definition in definitions {
            sql.extend_from_slice(b" ADD ");
            sql.extend_from_slice(definition);
            sql.push(b',');
        }
        sql.extend_from_slice(format!(" ALGORITHM=INPLACE, LOCK={lock}").as_bytes());
        sql
    };
    let added = match target.execute(alter("NONE")).await {
        // 1799: what the stream wrote meanwhile outgrew innodb_online_alter_log_max_size; then the stream has to wait.
        Err(error) if error.server_code() == Some(1799) => target.execute(alter("SHARED")).await,
        other => other,
    };
    added.doing(Side::Target, doing)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(items: &str, in_use: &[&str], wanted: &[&str]) {
        let sql = format!("CREATE TABLE `t` (`id` int AUTO_INCREMENT, {items}) ENGINE=InnoDB");
        let table = CreateTable::parse(sql.as_bytes()).unwrap();
        let later = Deferred::from(&table, &in_use.iter().map(|c| (*c).to_owned()).collect());
        let names: Vec<_> =
            later.indexes.iter().map(|(_, name, _)| String::from_utf8(name.clone()).unwrap()).collect();
        assert_eq!(names, wanted, "{items}");
    }

    #[test]
    fn plain_indexes_are_left_for_later_and_unique_ones_are_not() {
        check(
            "PRIMARY KEY (`id`), UNIQUE KEY `u` (`a`), KEY `a` (`a`), KEY `b` (`b`(3) DESC)",
            &[],
            &["a", "b"],
        );
        check("KEY `v` (`a`) /*!80000 INVISIBLE */, FULLTEXT KEY `f` (`c`)", &[], &["v"]);
        check("`a` int, PRIMARY KEY (`id`)", &[], &[]);
    }

    #[test]
    fn what_is_needed_or_cannot_be_added_beside_the_stream_stays_and_so_does_what_comes_before_it() {
        check("KEY `a` (`a`), KEY `auto` (`id`,`a`), KEY `b` (`b`)", &[], &["b"]);
        check("KEY `a` (`a`), KEY `fk` (`p`), KEY `b` (`b`), KEY `c` (`b`,`p`)", &["p"], &["b", "c"]);
        check("KEY `a` (`a`), KEY `e` ((lower(`c`))), KEY `b` (`b`)", &[], &["b"]);
        check("KEY `a` (`a`), KEY `e` (`a`,(`b` + 1))", &[], &[]);
        check("KEY `a` (`a`), SPATIAL KEY `s` (`g`), KEY `b` (`b`)", &[], &["b"]);
        check("KEY `a` (`a`), FULLTEXT KEY `f` (`c`)", &[], &["a"]);
    }
}
