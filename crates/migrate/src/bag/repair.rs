//! Repairing bags: of each value that differs, the target is given as many rows as the source has.
//!
//! Both sides are counted as of one point of the stream. What is missing or too many there is as many at any later point,
//! since the stream adds the same to both: so the difference may be written at any time after, once, by a lane.

use std::collections::HashMap;
use std::sync::Arc;

use model::Table;
use mysql::{Connection, Row};
use tokio::sync::oneshot;

use super::BagFold;
use crate::error::{Doing, MoveError, Result, Side};
use crate::literal::{Key, RowShape};
use crate::select::{row_hash, row_list};
use crate::sequencer::Request;
use crate::verify::{RepairStatement, RepairedTable, Twin, Verifier};
use crate::work::{Repair, RepairWork};

/// Values repaired at a time.
const VALUES_MAX: usize = 10_000;
/// Bytes of values held.
const BYTES_MAX: usize = 64 << 20;

impl Verifier {
    /// The hashes of values of a bag that differ as of now, and what would make their rows the source's.
    ///
    /// # Errors
    /// If a server fails or the pipeline has ended.
    pub(crate) async fn bag_repair_plan(
        &mut self,
        i: usize,
        tell: &mut (dyn FnMut(RepairStatement) + Send),
    ) -> Result<Vec<String>> {
        let tables = Arc::clone(&self.direction.tables);
        let table = &tables[i];
        self.snapshots(i, table).await?;
        let mut hashes = Vec::new();
        let differs = |hash: &str, _, _| {
            // They go into statements.
            if hashes.len() < VALUES_MAX && hash.bytes().all(|b| b.is_ascii_digit()) {
                hashes.push(hash.to_owned());
            }
        };
        self.differing_values(table, differs).await?;
        let missing = self.missing(table, &hashes).await?;
        self.end_snapshots(table).await?;
        for (value, rows) in missing.lost().map(|(v, n)| (v, -(n as i64))) {
            tell(RepairStatement::of_value(table, value, rows));
        }
        for (value, rows) in missing.gained() {
            tell(RepairStatement::of_value(table, value, rows as i64));
        }
        Ok(hashes)
    }

    /// Gives the target as many rows of these values as the source has, and compares the whole bag again.
    ///
    /// # Errors
    /// If a server fails or the pipeline has ended.
    pub(crate) async fn bag_repair(&mut self, i: usize, hashes: &[String]) -> Result<RepairedTable> {
        let tables = Arc::clone(&self.direction.tables);
        let table = &tables[i];
        let mut outcome = RepairedTable::new(table.name.clone());
        self.snapshots(i, table).await?;
        let missing = self.missing(table, hashes).await?;
        self.end_snapshots(table).await?;
        if !missing.is_empty() {
            let (done, repaired) = oneshot::channel();
            let repair = Repair { table: i, what: RepairWork::Bag(missing), done };
            self.reader.request(Request::Repair(repair)).await?;
            let repaired = repaired.await.map_err(|_| MoveError::Stopped)?;
            outcome.repaired = repaired.written;
            if let Some(refusal) = &repaired.refused {
                outcome.refuse(refusal);
            }
        }
        let begun_at = self.direction.progress.applied_set().borrow().clone();
        let verdict = self.bag(i, &|_| ()).await?;
        outcome.different = verdict.different;
        let as_of = self.direction.progress.applied_set().borrow().clone();
        self.direction.proof.settle(verdict.compared_between(begun_at, as_of));
        Ok(outcome)
    }

    /// How many rows of these values the target's snapshot has too few, or, negative, too many.
    async fn missing(&mut self, table: &Table, hashes: &[String]) -> Result<BagFold> {
        let mut missing = BagFold::default();
        if hashes.is_empty() {
            return Ok(missing);
        }
        let sql = Twin::of(table, format!("SELECT {} FROM ", row_list(table))).then(&format!(
            " WHERE {} IN ({})",
            row_hash(table),
            hashes.join(",")
        ));
        let doing = format!("read rows of {} to repair them", table.name);
        let (here, there) = tokio::join!(
            counted(self.reader.source(), Side::Source, table, &sql, &doing),
            counted(&mut self.target, Side::Target, table, &sql, &doing)
        );
        for (value, rows) in here? {
            missing.count(value, rows);
        }
        for (value, rows) in there? {
            missing.count(value, -rows);
        }
        Ok(missing)
    }
}

/// How often each row is there, of those a statement finds.
async fn counted(
    server: &mut Connection,
    side: Side,
    table: &Table,
    sql: &Twin,
    doing: &str,
) -> Result<HashMap<Key, i64>> {
    let shape = RowShape::of(table);
    let mut counts = HashMap::new();
    let mut bytes = 0;
    let columns = server.start_rows(sql.on(side)).await.doing(side, doing)?.len();
    while let Some(packet) = server.next_row().await.doing(side, doing)? {
        if bytes > BYTES_MAX {
            continue;
        }
        let value = shape.key(&shape.from_text(&Row::parse(packet, columns).doing(side, doing)?)?);
        bytes += if counts.contains_key(&value) { 0 } else { value.len() };
        *counts.entry(value).or_insert(0) += 1;
    }
    match bytes > BYTES_MAX {
        false => Ok(counts),
        true => Err(MoveError::Refused {
            what: format!(
                "the rows of {} that differ are too many bytes to be repaired at a time",
                table.name
            ),
            hint: "drop the table on the target, run `highwater finish` and copy again".into(),
        }),
    }
}
