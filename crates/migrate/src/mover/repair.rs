//! Repairing what a pass has found different: first what would be written is shown, then, if that is wanted, written.
//!
//! Only rows that were shown are written, and of those only the ones that are still wrong when it is their turn. The source
//! is only read.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use model::{GtidSet, TableName};
use serde::{Deserialize, Serialize};

use super::Mover;
use crate::direction::Direction;
use crate::error::{MoveError, Result};
use crate::literal::Key;
use crate::verify::{RepairStatement, RepairedTable};

/// Bytes of statements shown; they go through one answer of the running process.
const SHOWN_BYTES: usize = 8 << 20;

/// What a repair would write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairPlan {
    /// Names it, for who wants it carried out.
    pub id: u64,
    /// Per table with rows that differ.
    pub tables: Vec<RepairPlanTable>,
}

/// What a repair would write to a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairPlanTable {
    /// The table.
    pub table: TableName,
    /// One statement for each row, or value of a table without a key.
    pub statements: Vec<RepairStatement>,
    /// How many more there are that are not shown.
    pub not_shown: u64,
}

/// What a repair has done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepairReport {
    /// Per table of the plan.
    pub tables: Vec<RepairedTable>,
    /// Rows written or removed.
    pub repaired: u64,
    /// Rows of any table that still differ.
    pub different: u64,
    /// Keys of the plan that the stream touches all the time: they are proven again on their own.
    pub keys_in_flight: u64,
    /// The position that holds as of.
    pub as_of: GtidSet,
    /// How long it took.
    pub seconds: f64,
}

/// A plan, as it is carried out.
pub(super) struct Planned {
    id: u64,
    direction: Arc<Direction>,
    rows: Vec<(usize, Rows)>,
}

enum Rows {
    OfKeys(Vec<Key>),
    /// By the hashes of their values.
    OfBag(Vec<String>),
}

impl Mover {
    /// What would make the rows equal that were found different.
    ///
    /// # Errors
    /// If no pass over every row is complete, or a server fails.
    pub async fn plan_repair(&self) -> Result<RepairPlan> {
        self.unless_copying()?;
        if self.last_pass.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Err(MoveError::Refused {
                what: "cannot repair: no pass over every row has told which rows differ".into(),
                hint: "run `highwater verify --repair`, which makes one first".into(),
            });
        }
        let direction = self.now();
        let mut verifier = self.verifier_of(&direction).await?;
        let (mut tables, mut rows, mut room) = (Vec::new(), Vec::new(), SHOWN_BYTES);
        for verdict in self.proof.verdicts().into_iter().filter(|verdict| verdict.different > 0) {
            let Some(i) = direction.tables.iter().position(|t| t.name == verdict.table) else { continue };
            let mut planned =
                RepairPlanTable { table: verdict.table.clone(), statements: Vec::new(), not_shown: 0 };
            let mut tell = |statement: RepairStatement| match room.checked_sub(statement.bytes()) {
                Some(left) => {
                    room = left;
                    planned.statements.push(statement);
                }
                None => planned.not_shown += 1,
            };
            let wrong = match direction.tables[i].is_bag() {
                true => Rows::OfBag(verifier.bag_repair_plan(i, &mut tell).await?),
                false => {
                    let keys = verdict.wrong.keys().cloned().collect();
                    Rows::OfKeys(verifier.repair_plan(i, keys, &mut tell).await?)
                }
            };
            rows.push((i, wrong));
            tables.push(planned);
        }
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let id = planned.as_ref().map_or(1, |last| last.id + 1);
        *planned = Some(Planned { id, direction, rows });
        Ok(RepairPlan { id, tables })
    }

    /// Carries out the plan that was shown last, and compares its rows again. `seen` is told of rows as they are written.
    ///
    /// # Errors
    /// If it is another plan, the tables have changed since, or a server fails; what was written by then is written.
    pub async fn repair(&self, id: u64, seen: &(dyn Fn(u64) + Sync)) -> Result<RepairReport> {
        let begun = Instant::now();
        let planned =
            self.planned.lock().unwrap_or_else(PoisonError::into_inner).take_if(|last| last.id == id);
        let current = planned.filter(|planned| Arc::ptr_eq(&planned.direction, &self.now()));
        let Some(Planned { direction, rows, .. }) = current else {
            return Err(MoveError::Refused {
                what: "cannot repair: what was shown is not what would be written any more".into(),
                hint: "run `highwater verify --repair` again".into(),
            });
        };
        let mut verifier = self.verifier_of(&direction).await?;
        let mut tables = Vec::new();
        for (i, rows) in rows {
            tables.push(match rows {
                Rows::OfKeys(keys) => verifier.repair(i, keys, seen).await?,
                Rows::OfBag(hashes) => verifier.bag_repair(i, &hashes).await?,
            });
        }
        let (last_pass, different) =
            (*self.last_pass.lock().unwrap_or_else(PoisonError::into_inner), self.proof.different());
        // Every row was compared since those writes, and what differed is equal now.
        if let (Some(foreign_writes), 0) = (last_pass, different) {
            self.watched().settle(foreign_writes);
        }
        Ok(RepairReport {
            repaired: tables.iter().map(|t| t.repaired).sum(),
            different,
            keys_in_flight: tables.iter().map(|t| t.keys_in_flight).sum(),
            as_of: self.applied_now(),
            seconds: begun.elapsed().as_secs_f64(),
            tables,
        })
    }
}
