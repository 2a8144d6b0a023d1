//! What is applied, kept in the target and written in the same transaction as the rows.
//!
//! `highwater.ledger` holds, per move and source, the GTID set applied, one row for each lane that applies: what is
//! applied is their union. One more row, with nothing applied, belongs to whoever plans. `highwater.ranges` holds the key
//! ranges to be copied, and which of them are done; `highwater.indexes` what tables are still without; `highwater.accounts`
//! which accounts are ours.

mod claim;
pub(crate) mod due;
pub(crate) mod plan;
pub(crate) mod proven;
pub(crate) mod ranges;

use model::{GtidSet, Table};
use mysql::{Connection, Row};

use crate::error::{Doing, MoveError, Result, Side};
use crate::schema::quote_text;

pub(crate) use claim::{Claim, LedgerRow, planning_ended};
pub use ranges::{PlannedRange, planned};
pub(crate) use ranges::{end_of_plan, insert_planned, plan};

/// The schema that holds our tables. It is never part of a move.
pub const SCHEMA: &str = "highwater";
/// The table in it that every transaction of ours changes.
pub(crate) const TABLE: &str = "ledger";

const CREATE: &str = "CREATE DATABASE IF NOT EXISTS highwater;
CREATE TABLE IF NOT EXISTS highwater.ledger (
  move_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  source_uuid CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  lane INT NOT NULL,
  owner CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  commits BIGINT NOT NULL,
  applied LONGTEXT CHARACTER SET ascii NOT NULL,
  PRIMARY KEY (move_name, source_uuid, lane)
) ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS highwater.ranges (
  move_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  table_name VARBINARY(512) NOT NULL,
  number INT NOT NULL,
  low LONGBLOB NULL,
  high LONGBLOB NULL,
  row_count BIGINT NULL,
  done_at TIMESTAMP(3) NULL,
  PRIMARY KEY (move_name, table_name, number)
) ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS highwater.indexes (
  move_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  table_name VARBINARY(512) NOT NULL,
  place INT NOT NULL,
  name VARBINARY(256) NOT NULL,
  definition LONGBLOB NOT NULL,
  PRIMARY KEY (move_name, table_name, place)
) ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS highwater.tables (
  move_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  source_uuid CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  schema_name VARBINARY(256) NOT NULL,
  table_name VARBINARY(256) NOT NULL,
  PRIMARY KEY (move_name, source_uuid, schema_name, table_name)
) ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS highwater.statements (
  move_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  source_uuid CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  gtid VARCHAR(160) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  before_it LONGBLOB NOT NULL,
  created BOOLEAN NOT NULL,
  PRIMARY KEY (move_name, source_uuid)
) ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS highwater.accounts (
  move_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  account VARBINARY(1024) NOT NULL,
  on_source CHAR(64) CHARACTER SET ascii NULL,
  on_target CHAR(64) CHARACTER SET ascii NULL,
  PRIMARY KEY (move_name, account)
) ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS highwater.proofs (
  move_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  source_uuid CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  target_uuid CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  proven LONGTEXT CHARACTER SET ascii NOT NULL,
  target_read LONGTEXT CHARACTER SET ascii NOT NULL,
  PRIMARY KEY (move_name, source_uuid)
) ENGINE=InnoDB";

/// Names one direction of one move: rows of a given source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerName {
    /// The move.
    pub move_name: String,
    /// The source's `server_uuid`.
    pub source_uuid: String,
}

impl LedgerName {
    fn matches(&self) -> String {
        format!("move_name='{}' AND source_uuid='{}'", self.move_name, self.source_uuid)
    }
}

/// Creates our tables on the target if they are not there.
///
/// # Errors
/// If the target refuses.
pub async fn create(target: &mut Connection) -> Result<()> {
    target.query_all(CREATE).await.doing(Side::Target, "create the ledger")?;
    Ok(())
}

/// What is applied, if the move has begun in this direction.
///
/// # Errors
/// If the ledger cannot be read.
pub async fn read(target: &mut Connection, name: &LedgerName) -> Result<Option<GtidSet>> {
    let sql = format!("SELECT applied FROM highwater.ledger WHERE {}", name.matches());
    union(&target.rows(sql).await.doing(Side::Target, "read the ledger")?)
}

/// The sources of which there is a ledger of this move.
///
/// # Errors
/// If it cannot be read.
pub(crate) async fn sources(target: &mut Connection, move_name: &str) -> Result<Vec<String>> {
    let sql =
        format!("SELECT DISTINCT source_uuid FROM highwater.ledger WHERE move_name='{move_name}' ORDER BY 1");
    let rows = target.rows(sql).await.doing(Side::Target, "read whose ledgers there are")?;
    Ok(rows.iter().map(|row| row.text(0)).collect())
}

/// Makes the ledger of one source that of another, and forgets what was proven. Whoever had claimed it has it no more.
///
/// # Errors
/// If the target refuses.
pub(crate) async fn hand_over(target: &mut Connection, from: &LedgerName, to: &LedgerName) -> Result<()> {
    let mut sql = format!("START TRANSACTION; {}", proven::withdrawn(from));
    for table in ["ledger", "tables", "statements"] {
        sql += &format!(
            "; UPDATE highwater.{table} SET source_uuid='{}' WHERE {}",
            to.source_uuid,
            from.matches()
        );
    }
    target.query_all(sql + "; COMMIT").await.doing(Side::Target, "hand the ledger over")?;
    Ok(())
}

/// What the ledger rows of a direction say together; `None` if there are none.
fn union(rows: &[Row]) -> Result<Option<GtidSet>> {
    let mut applied = None;
    for row in rows {
        applied.get_or_insert_with(GtidSet::default).union(&parse_set(&row.text(0))?);
    }
    Ok(applied)
}

/// Begins a direction of a move at a GTID set, in place of whatever was there of it.
///
/// # Errors
/// If the target refuses.
pub async fn begin(target: &mut Connection, name: &LedgerName, applied: &GtidSet) -> Result<()> {
    let sql = format!(
        "START TRANSACTION; {}; DELETE FROM highwater.ledger WHERE {}; INSERT INTO highwater.ledger \
         (move_name, source_uuid, lane, owner, commits, applied) VALUES ('{}', '{}', 0, '', 0, '{applied}'); COMMIT",
        proven::withdrawn(name),
        name.matches(),
        name.move_name,
        name.source_uuid
    );
    target.query_all(sql).await.doing(Side::Target, "begin the ledger")?;
    Ok(())
}

/// Begins a direction of a move at a GTID set, with tables that are there whole: each has one range, which is done.
///
/// # Errors
/// If the target refuses.
pub(crate) async fn adopt(
    target: &mut Connection,
    name: &LedgerName,
    applied: &GtidSet,
    tables: &[Table],
) -> Result<()> {
    let LedgerName { move_name, source_uuid } = name;
    let done: Vec<String> = tables
        .iter()
        .map(|table| {
            let table = quote_text(&table.name.to_string());
            format!("('{move_name}',{table},0,NULL,NULL,NULL,NOW(3))")
        })
        .collect();
    let sql = format!(
        "START TRANSACTION; DELETE FROM highwater.ranges WHERE move_name='{move_name}'; INSERT INTO highwater.ranges \
         (move_name, table_name, number, low, high, row_count, done_at) VALUES {}; INSERT INTO highwater.ledger \
         (move_name, source_uuid, lane, owner, commits, applied) VALUES ('{move_name}', '{source_uuid}', 0, '', 0, '{applied}'); \
         COMMIT",
        done.join(",")
    );
    target.query_all(sql).await.doing(Side::Target, "begin the ledger at the backup")?;
    Ok(())
}

/// Ends a direction of a move, so that it can begin anew elsewhere in the stream.
///
/// # Errors
/// If the target refuses.
pub async fn end(target: &mut Connection, name: &LedgerName) -> Result<()> {
    let sql = format!("{}; DELETE FROM highwater.ledger WHERE {}", proven::withdrawn(name), name.matches());
    target.query_all(sql).await.doing(Side::Target, "end the ledger")?;
    Ok(())
}

/// Removes every trace of a move.
///
/// # Errors
/// If the target refuses.
pub async fn forget(target: &mut Connection, move_name: &str) -> Result<()> {
    let exists = "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME='highwater'";
    let row = target.row(exists).await.doing(Side::Target, "look for the ledger")?;
    if row.is_none_or(|r| r.text(0) == "0") {
        return Ok(());
    }
    let sql = format!(
        "DELETE FROM highwater.ledger WHERE move_name='{move_name}'; DELETE FROM highwater.ranges \
         WHERE move_name='{move_name}'; DELETE FROM highwater.indexes WHERE move_name='{move_name}'; \
         DELETE FROM highwater.tables WHERE move_name='{move_name}'; \
         DELETE FROM highwater.statements WHERE move_name='{move_name}'; \
         DELETE FROM highwater.accounts WHERE move_name='{move_name}'; \
         DELETE FROM highwater.proofs WHERE move_name='{move_name}'"
    );
    target.query_all(sql).await.doing(Side::Target, "clear the ledger")?;
    let left =
        target.row("SELECT COUNT(*) FROM highwater.ledger").await.doing(Side::Target, "read the ledger")?;
    if left.is_some_and(|r| r.text(0) == "0") {
        target.execute("DROP DATABASE highwater").await.doing(Side::Target, "drop the ledger")?;
    }
    Ok(())
}

/// Commits something, to see that the target still can: a server whose disk is full waits in its first commit, and until then looks
/// well. It is more than the last block of its binary log may have room for, and leaves nothing in the table.
///
/// # Errors
/// If the target refuses.
pub(crate) async fn commit_a_trifle(target: &mut Connection, move_name: &str) -> Result<()> {
    let sql = format!(
        "START TRANSACTION; INSERT INTO highwater.indexes VALUES ('{move_name}', '', -1, '', REPEAT('x', 8192)); \
         DELETE FROM highwater.indexes WHERE move_name='{move_name}' AND table_name='' AND place=-1; COMMIT"
    );
    target.query_all(sql).await.doing(Side::Target, "commit something")?;
    Ok(())
}

pub(crate) fn parse_set(text: &str) -> Result<GtidSet> {
    text.parse().map_err(|e| MoveError::Refused {
        what: format!("the GTID set cannot be used: {e}"),
        hint: "see `highwater check`".into(),
    })
}
