//! Whose ledger it is: a process that applies claims the ledger first, and every commit of it holds only while nobody
//! else has.

use model::{GtidSet, Table};
use mysql::Connection;

use super::LedgerName;
use crate::error::{Doing, MoveError, Result, Side};
use crate::schema::quote_text;
use crate::work::CopiedRange;

/// The ledger of one direction, claimed: a row for each lane, and what was applied before.
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
        let values: Vec<String> = (0..lanes)
            .map(|lane| {
                format!("('{}','{}',{lane},'{owner}',0,'{applied}')", name.move_name, name.source_uuid)
            })
            .collect();
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
        (0..self.lanes).map(|lane| LedgerRow {
            name: self.name.clone(),
            matches: format!("{} AND lane={lane} AND owner='{}'", self.name.matches(), self.owner),
        })
    }
}

/// A lane's row of the ledger. Each of its statements changes exactly one row, or someone else has claimed the ledger.
#[derive(Debug, Clone)]
pub(crate) struct LedgerRow {
    name: LedgerName,
    matches: String,
}

impl LedgerRow {
    /// The direction whose ledger it is.
    pub fn name(&self) -> &LedgerName {
        &self.name
    }

    /// The statement that says what is applied now.
    pub fn update(&self, applied: &GtidSet) -> String {
        format!("UPDATE highwater.ledger SET applied='{applied}', commits=commits+1 WHERE {}", self.matches)
    }

    /// The statement that holds the ledger for work that applies nothing of the stream.
    pub fn hold(&self) -> String {
        format!("UPDATE highwater.ledger SET commits=commits+1 WHERE {}", self.matches)
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
