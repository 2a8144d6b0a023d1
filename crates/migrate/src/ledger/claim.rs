//! Whose ledger it is: a process that applies claims the ledger first, and every commit of it holds only while nobody
//! else has. Planning ranges is held to the same: a planner of before would cut a table by a key that is gone.

use model::{GtidSet, Table};
use mysql::Connection;

use super::LedgerName;
use crate::error::{Doing, MoveError, Result, Side};
use crate::schema::quote_text;
use crate::work::CopiedRange;

/// The place of the planner's row among those of the lanes.
const PLANNER: i32 = -1;

/// The ledger of one direction, claimed: a row for each lane and one for the planner, and what was applied before.
#[derive(Debug)]
pub(crate) struct Claim {
    name: LedgerName,
    owner: String,
    lanes: usize,
    /// Everything applied when it was claimed.
    pub applied: GtidSet,
}

impl Claim {
    /// Takes the ledger over from whoever had it, with so many lanes. From now on no other process can commit.
    ///
    /// # Errors
    /// If there is no ledger, or the target refuses.
    pub async fn take(target: &mut Connection, name: &LedgerName, lanes: usize) -> Result<Self> {
        let owner: String = wire::auth::nonce()?.iter().take(16).map(|b| format!("{b:02x}")).collect();
        let claiming = "claim the ledger";
        target.execute("START TRANSACTION").await.doing(Side::Target, claiming)?;
        let sql = format!("SELECT applied FROM highwater.ledger WHERE {} FOR UPDATE", name.matches());
        let rows = target.rows(sql).await.doing(Side::Target, claiming)?;
        let applied = super::union(&rows)?.ok_or_else(|| MoveError::Refused {
            what: "the ledger on the target is gone".into(),
            hint: "someone removed it; run `highwater finish` and copy again".into(),
        })?;
        let LedgerName { move_name, source_uuid } = name;
        let mut values = vec![format!("('{move_name}','{source_uuid}',{PLANNER},'{owner}',0,'')")];
        values.extend(
            (0..lanes).map(|lane| format!("('{move_name}','{source_uuid}',{lane},'{owner}',0,'{applied}')")),
        );
        let sql = format!(
            "DELETE FROM highwater.ledger WHERE {}; INSERT INTO highwater.ledger \
             (move_name, source_uuid, lane, owner, commits, applied) VALUES {}; COMMIT",
            name.matches(),
            values.join(",")
        );
        target.query_all(sql).await.doing(Side::Target, claiming)?;
        Ok(Self { name: name.clone(), owner, lanes, applied })
    }

    /// Number of lanes.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Each lane's row.
    pub fn rows(&self) -> impl Iterator<Item = LedgerRow> + '_ {
        (0..self.lanes).map(|lane| self.row(lane as i32))
    }

    /// The planner's row, which is there until the ledger is claimed again or a statement has changed the tables.
    pub fn planner(&self) -> LedgerRow {
        self.row(PLANNER)
    }

    fn row(&self, lane: i32) -> LedgerRow {
        LedgerRow { name: self.name.clone(), owner: self.owner.clone(), lane }
    }
}

/// The statement that ends the planning of this run: ranges planned from now on would be cut by what tables were before.
pub(crate) fn planning_ended(name: &LedgerName) -> String {
    format!("DELETE FROM highwater.ledger WHERE {} AND lane={PLANNER}", name.matches())
}

/// A lane's row of the ledger, or the planner's. Each of its statements changes exactly one row, or someone else has claimed
/// the ledger.
#[derive(Debug, Clone)]
pub(crate) struct LedgerRow {
    name: LedgerName,
    owner: String,
    lane: i32,
}

impl LedgerRow {
    /// The direction whose ledger it is.
    pub fn name(&self) -> &LedgerName {
        &self.name
    }

    /// The statement that says what is applied now.
    pub fn update(&self, applied: &GtidSet) -> String {
        format!("UPDATE highwater.ledger SET applied='{applied}', commits=commits+1 WHERE {}", self.matches())
    }

    /// The statement that holds the ledger for work that applies nothing of the stream.
    pub fn hold(&self) -> String {
        format!("UPDATE highwater.ledger SET commits=commits+1 WHERE {}", self.matches())
    }

    fn matches(&self) -> String {
        format!("{} AND lane={} AND owner='{}'", self.name.matches(), self.lane, self.owner)
    }

    /// The condition that only rows of the ledger meet while nobody else has claimed it.
    pub(super) fn is_owner(&self) -> String {
        format!("{} AND owner='{}'", self.name.matches(), self.owner)
    }

    /// Whether nobody else has claimed the ledger.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn is_ours(&self, target: &mut Connection) -> Result<bool> {
        let sql = format!("SELECT COUNT(*) FROM highwater.ledger WHERE {}", self.is_owner());
        let row = target.row(sql).await.doing(Side::Target, "see whose ledger it is")?;
        Ok(row.is_some_and(|r| r.text(0) != "0"))
    }

    /// The statement that says a range is copied, with the bounds it was copied in.
    pub fn range_done(&self, table: &Table, copied: &CopiedRange) -> String {
        format!(
            "UPDATE highwater.ranges SET high={}, row_count={}, done_at=NOW(3) WHERE move_name='{}' AND table_name={} \
             AND number={} AND done_at IS NULL",
            super::ranges::encode_bound(copied.range.high.as_deref()),
            copied.rows.len(),
            self.name.move_name,
            quote_text(&table.name.to_string()),
            copied.number
        )
    }

    /// The statement that says a bag, which is one range, is copied.
    pub fn bag_done(&self, table: &Table, rows: u64) -> String {
        format!(
            "UPDATE highwater.ranges SET row_count={rows}, done_at=NOW(3) WHERE move_name='{}' AND table_name={} \
             AND number=0 AND done_at IS NULL",
            self.name.move_name,
            quote_text(&table.name.to_string())
        )
    }
}
