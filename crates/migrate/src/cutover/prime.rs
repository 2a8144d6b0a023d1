//! Priming: before anyone is held, the target gets statistics that fit its rows, and has in memory what the source's
//! clients read most. It would otherwise answer its first queries with the plans of empty tables, from the disk.
//!
//! What is hot, the source's `performance_schema` knows by index; which part of it, nobody does. The highest values of an index are
//! taken, which are the newest rows where keys grow. All of it is bounded in time, and what fails is said and stops nobody.
//!
//! `ANALYZE TABLE` makes later statements wait for earlier ones of the same table on MySQL before 8.0.24, where it
//! flushes the table's definition: there it is left out.

use std::fmt::Write;
use std::time::{Duration, Instant};

use model::{Located, Table, TableName, quote_ident};
use mysql::{ConnectOptions, Connection};
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Result, Side};
use crate::schema::quote_text;
use crate::session;

/// Indexes looked at, those read most first.
const HOT_INDEXES: usize = 64;

/// Entries read of each.
const HOT_ENTRIES: u32 = 20_000;

/// What was done to the target before anyone was held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Primed {
    /// Tables whose statistics were made anew.
    pub analyzed: u64,
    /// Indexes of which the newest entries were read.
    pub indexes: u64,
    /// Entries read of them.
    pub entries: u64,
    /// Milliseconds it took.
    pub ms: u64,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// Primes the target for at most `bound`.
pub(super) async fn prime(
    (source, target): (&ConnectOptions, &ConnectOptions),
    tables: &[Table],
    bound: Duration,
) -> Primed {
    let begun = Instant::now();
    let mut primed = Primed::default();
    // Each half of its own, so that many tables do not leave the memory cold.
    let halves = async {
        let analyzed = within(bound / 2, analyze(target, tables, &mut primed)).await;
        let warmed =
            within(bound.saturating_sub(begun.elapsed()), warm((source, target), tables, &mut primed)).await;
        [analyzed.map(|why| format!("statistics: {why}")), warmed.map(|why| format!("memory: {why}"))]
    };
    let left_out = halves.await;
    primed.left_out.extend(left_out.into_iter().flatten());
    primed.ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    for why in &primed.left_out {
        tracing::info!(target: "highwater::move", "not all of the target was primed: {why}");
    }
    primed
}

/// Why it was not done to its end, if it was not.
async fn within(bound: Duration, work: impl Future<Output = Result<()>>) -> Option<String> {
    match tokio::time::timeout(bound, work).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("not done within {bound:?}")),
    }
}

async fn analyze(target: &ConnectOptions, tables: &[Table], primed: &mut Primed) -> Result<()> {
    let mut target = session::open(target, Side::Target).await?;
    if !analyzes_without_waiting(target.server_version()) {
        let version = target.server_version().to_owned();
        primed.left_out.push(format!("statistics: MySQL {version} would make the stream wait"));
        return Ok(());
    }
    target.execute("SET SESSION lock_wait_timeout = 1").await.doing(Side::Target, "bound its waits")?;
    for table in tables {
        let sql = format!("ANALYZE NO_WRITE_TO_BINLOG TABLE {}", table.on(Side::Target).quoted());
        let rows = target.rows(sql).await.doing(Side::Target, format!("analyze {}", table.name))?;
        // An error comes as a row.
        match rows.iter().find(|row| row.text(2) == "Error") {
            Some(row) => primed.left_out.push(format!("statistics of {}: {}", table.name, row.text(3))),
            None => primed.analyzed += 1,
        }
    }
    Ok(())
}

/// Whether ANALYZE TABLE leaves the table's definition where it is: from 8.0.24 on.
fn analyzes_without_waiting(version: &str) -> bool {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next()) >= (8, 0, 24)
}

async fn warm(
    (source, target): (&ConnectOptions, &ConnectOptions),
    tables: &[Table],
    primed: &mut Primed,
) -> Result<()> {
    let mut source = session::open(source, Side::Source).await?;
    let mut target = session::open(target, Side::Target).await?;
    for (table, index) in hot(&mut source, tables).await? {
        let Some(columns) = order_of(&mut target, &table, &index).await? else { continue };
        let row = target.row(newest(&table, &index, &columns)).await;
        let row = row.doing(Side::Target, format!("read the newest rows of {table}"))?;
        primed.indexes += 1;
        primed.entries += row.and_then(|row| row.number(0)).unwrap_or(0);
    }
    Ok(())
}

/// The indexes of moved tables that were read most on the source, our own reading included; the tables by their names on the target.
async fn hot(source: &mut Connection, tables: &[Table]) -> Result<Vec<(TableName, String)>> {
    let mut schemas: Vec<String> = tables.iter().map(|t| quote_text(t.on(Side::Source).schema)).collect();
    schemas.sort_unstable();
    schemas.dedup();
    let sql = format!(
        "SELECT OBJECT_SCHEMA, OBJECT_NAME, INDEX_NAME FROM performance_schema.table_io_waits_summary_by_index_usage \
         WHERE OBJECT_TYPE = 'TABLE' AND INDEX_NAME IS NOT NULL AND COUNT_FETCH > 0 AND OBJECT_SCHEMA IN ({}) \
         ORDER BY COUNT_FETCH DESC",
        schemas.join(",")
    );
    let rows = source.rows(sql).await.doing(Side::Source, "ask what is read most")?;
    let named = rows.iter().filter_map(|row| {
        let (schema, table) = (row.text(0), row.text(1));
        let here = Located { schema: &schema, table: &table };
        Some((tables.iter().find(|t| t.on(Side::Source) == here)?.name.clone(), row.text(2)))
    });
    Ok(named.take(HOT_INDEXES).collect())
}

/// The columns of an index as the target has it, each with its direction; none if it cannot be read in its order: it is not there,
/// or has an expression or the beginning of a column.
async fn order_of(
    target: &mut Connection,
    table: &TableName,
    index: &str,
) -> Result<Option<Vec<(String, bool)>>> {
    let sql = format!(
        "SELECT COLUMN_NAME, COLLATION, SUB_PART IS NULL AND COLUMN_NAME IS NOT NULL AND INDEX_TYPE = 'BTREE' \
         AND IS_VISIBLE = 'YES' FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} AND INDEX_NAME = {} ORDER BY SEQ_IN_INDEX",
        quote_text(&table.schema),
        quote_text(&table.table),
        quote_text(index)
    );
    let rows = target.rows(sql).await.doing(Side::Target, "read an index's columns")?;
    let readable = !rows.is_empty() && rows.iter().all(|row| row.text(2) == "1");
    Ok(readable.then(|| rows.iter().map(|row| (row.text(0), row.text(1) == "D")).collect()))
}

/// Reads the highest entries of an index, and counts them.
fn newest(table: &TableName, index: &str, columns: &[(String, bool)]) -> String {
    let mut order = String::new();
    for (column, descending) in columns {
        let comma = if order.is_empty() { "" } else { ", " };
        let direction = if *descending { "ASC" } else { "DESC" };
        // A String takes everything.
        let _ = write!(order, "{comma}{} {direction}", quote_ident(column));
    }
    format!(
        "SELECT COUNT(*) FROM (SELECT 1 FROM {} FORCE INDEX ({}) ORDER BY {order} LIMIT {HOT_ENTRIES}) newest",
        table.as_is().quoted(),
        quote_ident(index)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entries_are_the_highest_ones_in_the_index_s_own_order() {
        let columns = [("shop`id".to_owned(), false), ("at".to_owned(), true)];
        assert_eq!(
            newest(&TableName::new("s", "orders"), "by_shop", &columns),
            "SELECT COUNT(*) FROM (SELECT 1 FROM `s`.`orders` FORCE INDEX (`by_shop`) ORDER BY `shop``id` DESC, `at` ASC \
             LIMIT 20000) newest"
        );
    }

    #[test]
    fn statistics_are_left_alone_where_that_would_make_the_stream_wait() {
        for (version, analyzes) in
            [("8.0.23", false), ("8.0.24-15", true), ("9.7.4", true), ("8.4.0", true), ("5.7.44-log", false)]
        {
            assert_eq!(analyzes_without_waiting(version), analyzes, "{version}");
        }
    }
}
