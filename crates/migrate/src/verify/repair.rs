//! Repairing rows of tables with a key: what would be written, and writing it.
//!
//! Both read the source inside a window, by key. To show what would be written, the target is looked at where the window
//! closes; to write it, a lane does so in its turn there, and keys that the stream touched in the window are left for the
//! next try: the stream has brought their newest rows, and they are proven again in any case.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::TableName;
use mysql::Row;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::statement::RepairStatement;
use super::{KEYS_AT_ONCE, Twin, Verifier};
use crate::error::{MoveError, Result, Side};
use crate::literal::{Key, RowShape};
use crate::select::{in_keys, whole_row_list};
use crate::sequencer::AtClose;
use crate::work::{Refusal, Repaired};

/// Bytes of rows held of each side at a time. A lot of keys with more is halved, down to one key.
const LOT_BYTES: usize = 8 << 20;
/// The same for rows that can only be written together.
const TOGETHER_BYTES: usize = 256 << 20;
/// How often keys are tried that the stream touches each time.
const ROUNDS: usize = 10;

/// What a repair has done to a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairedTable {
    /// The table.
    pub table: TableName,
    /// Rows written or removed; of a bag, equal ones counted each.
    pub repaired: u64,
    /// Keys that were written to by the stream whenever they were tried: they are proven again on their own.
    pub keys_in_flight: u64,
    /// Rows that still differ, as compared again afterwards.
    pub different: u64,
    /// Why rows could not be written, if any could not.
    pub refused: Option<String>,
}

impl RepairedTable {
    pub(crate) fn new(table: TableName) -> Self {
        Self { table, repaired: 0, keys_in_flight: 0, different: 0, refused: None }
    }

    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        self.refused = Some(match refusal {
            Refusal::InTheWay => {
                "other rows of the target, which were not found different, are in the way, or \
                                  someone else writes there at this moment"
                    .into()
            }
            Refusal::Server(why) => why.clone(),
        });
    }
}

impl Verifier {
    /// What would make the rows of these keys equal, as of now. Keys that are equal by now are told the proof, those that the
    /// stream touches meanwhile are left out. Returns those that are wrong.
    ///
    /// # Errors
    /// If a server fails or the pipeline has ended.
    pub(crate) async fn repair_plan(
        &mut self,
        i: usize,
        keys: Vec<Key>,
        tell: &mut (dyn FnMut(RepairStatement) + Send),
    ) -> Result<Vec<Key>> {
        let tables = Arc::clone(&self.direction.tables);
        let (table, shape) = (&tables[i], RowShape::of(&tables[i]));
        let mut wrong = Vec::new();
        let mut lots = Lots::of(keys);
        while let Some(lot) = lots.next() {
            let sql = self.whole_rows(i, &lot);
            let doing = self.comparing(i);
            let read = self.reader.read(i, &sql.on(Side::Source), LOT_BYTES, &doing).await?;
            if read.cut_short {
                lots.halve(lot);
                continue;
            }
            let (here, touched) = self.snapshot_where_it_closes(read).await?;
            let there = self.rows_there(i, &sql.on(Side::Target)).await?;
            self.end_snapshot().await?;
            let Some(there) = there else {
                lots.halve(lot);
                continue;
            };
            let here = by_key(&shape, &here)?;
            let there = by_key(&shape, &there)?;
            let (differing, equal): (Vec<Key>, Vec<Key>) = lot
                .into_iter()
                .filter(|key| !touched.contains(key))
                .partition(|key| here.get(key) != there.get(key));
            self.direction.proof.mended(&table.name, equal.iter());
            for key in differing {
                let tuple = |row: Option<&&Row>| row.map(|row| shape.from_text(row)).transpose();
                let (here, there) = (tuple(here.get(&key))?, tuple(there.get(&key))?);
                tell(RepairStatement::of_row(table, &key, here.as_ref(), there.as_ref()));
                wrong.push(key);
            }
        }
        Ok(wrong)
    }

    /// Makes the rows of these keys what the source's are, and compares them again.
    ///
    /// # Errors
    /// If a server fails or the pipeline has ended. What was written by then is written.
    pub(crate) async fn repair(
        &mut self,
        i: usize,
        keys: Vec<Key>,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<RepairedTable> {
        let mut outcome = RepairedTable::new(self.direction.tables[i].name.clone());
        let mut left = keys.clone();
        for _ in 0..ROUNDS {
            let (mut again, mut in_the_way) = (Vec::new(), Vec::new());
            let mut lots = Lots::of(left);
            while let Some(lot) = lots.next() {
                let Some(repaired) = self.repair_lot(i, &lot, LOT_BYTES).await? else {
                    lots.halve(lot);
                    continue;
                };
                outcome.repaired += repaired.written;
                seen(repaired.written);
                again.extend(untold(lot, &repaired));
                match repaired.refused {
                    Some(Refusal::InTheWay) => in_the_way.extend(repaired.keys),
                    Some(refusal) => outcome.refuse(&refusal),
                    None => {}
                }
            }
            // A unique value that has to change hands between rows of two lots: all of those go together.
            if !in_the_way.is_empty() {
                again.extend(self.repair_together(i, in_the_way, &mut outcome, seen).await?);
            }
            left = again;
            if left.is_empty() {
                break;
            }
        }
        (outcome.different, outcome.keys_in_flight) = self.compare_again(i, keys).await?;
        Ok(outcome)
    }

    async fn repair_together(
        &mut self,
        i: usize,
        keys: Vec<Key>,
        outcome: &mut RepairedTable,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Key>> {
        match self.repair_lot(i, &keys, TOGETHER_BYTES).await? {
            None => {
                let many = "the rows that have to be written together are too many bytes";
                outcome.refuse(&Refusal::Server(many.into()));
                Ok(Vec::new())
            }
            Some(repaired) => {
                outcome.repaired += repaired.written;
                seen(repaired.written);
                if let Some(refusal) = &repaired.refused {
                    outcome.refuse(refusal);
                }
                Ok(untold(keys, &repaired))
            }
        }
    }

    /// Repairs one lot in a transaction of its own; nothing if its rows are more bytes than may be held, which those of a
    /// single key never are.
    async fn repair_lot(&mut self, i: usize, lot: &[Key], bytes_max: usize) -> Result<Option<Repaired>> {
        let sql = self.whole_rows(i, lot);
        let doing = format!("read rows of {} to repair them", self.direction.tables[i].name);
        let mut read = self.reader.read(i, &sql.on(Side::Source), bytes_max, &doing).await?;
        if read.cut_short {
            return Ok(None);
        }
        let (done, repaired) = oneshot::channel();
        let rows = std::mem::take(&mut read.rows);
        let then = AtClose::Repair { table: i, keys: lot.to_vec(), rows, done };
        self.reader.close(read, then).await?;
        repaired.await.map(Some).map_err(|_| MoveError::Stopped)
    }

    /// Compares keys, and tells the proof. How many differ, and how many the stream touched each time they were tried.
    async fn compare_again(&mut self, i: usize, keys: Vec<Key>) -> Result<(u64, u64)> {
        let (mut different, mut left) = (0, keys);
        for _ in 0..ROUNDS {
            let mut in_flight = Vec::new();
            for lot in left.chunks(KEYS_AT_ONCE) {
                let mut sql = self.keyed_hashes(i);
                sql.push(&in_keys(&self.direction.tables[i], lot));
                let (here, there, touched) = self.both(i, &sql).await?;
                let differing = self.differing(i, &here, &there, &touched)?;
                self.judge(i, lot, &differing, &touched);
                different += differing.len() as u64;
                in_flight.extend(lot.iter().filter(|key| touched.contains(*key)).cloned());
            }
            left = in_flight;
        }
        Ok((different, left.len() as u64))
    }

    fn whole_rows(&self, i: usize, keys: &[Key]) -> Twin {
        let table = &self.direction.tables[i];
        let mut sql = Twin::of(table, format!("SELECT {} FROM ", whole_row_list(table)));
        sql.push(&in_keys(table, keys));
        sql
    }
}

/// Keys in lots, which may turn out to be too large.
struct Lots(Vec<Vec<Key>>);

impl Lots {
    fn of(keys: Vec<Key>) -> Self {
        Self(keys.chunks(KEYS_AT_ONCE).map(<[Key]>::to_vec).collect())
    }

    fn next(&mut self) -> Option<Vec<Key>> {
        self.0.pop()
    }

    /// Puts a lot back as two. The window over what was read of it is given up.
    fn halve(&mut self, mut lot: Vec<Key>) {
        let other = lot.split_off(lot.len() / 2);
        self.0.extend([other, lot].into_iter().filter(|lot| !lot.is_empty()));
    }
}

/// Keys of a lot that the stream has touched.
fn untold(lot: Vec<Key>, repaired: &Repaired) -> Vec<Key> {
    let told: HashSet<&Key> = repaired.keys.iter().collect();
    lot.into_iter().filter(|key| !told.contains(key)).collect()
}

fn by_key<'a>(shape: &RowShape, rows: &'a [Row]) -> Result<HashMap<Key, &'a Row>> {
    rows.iter().map(|row| Ok((shape.key(&shape.from_text(row)?), row))).collect()
}
