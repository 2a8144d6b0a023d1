//! The spot check: the newest rows of each table by key order, in place of all of them.
//!
//! It proves nothing of older rows, so it neither begins nor completes a proof; but what it finds different, a complete
//! proof is told. The source alone says which key the newest rows lie above. From there the comparison is open to the
//! end of the table, so that rows are found too which only the target has.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use model::{Table, quote_ident};

use super::Mover;
use super::pass::join_all;
use crate::direction::Direction;
use crate::error::{Doing, Result, Side};
use crate::literal::{Key, RowShape};
use crate::proof::TableVerdict;
use crate::ranges;
use crate::select::{in_keys, key_list};
use crate::verify::{KEYS_AT_ONCE, RANGE_ROWS, Verification, Verifier};

/// How often keys are compared again that were written to while they were compared.
const ROUNDS: usize = 10;

impl Mover {
    /// Compares the last `newest` rows of each table by key order, while the stream goes on. `seen` is told of rows as
    /// they are compared.
    ///
    /// # Errors
    /// If a server fails or the copy is not complete.
    pub async fn verify_newest(
        &self,
        newest: u64,
        workers: usize,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Verification> {
        self.unless_copying()?;
        loop {
            let direction = self.now();
            match self.newest_once(&direction, newest, workers, seen).await {
                Err(error) if self.changed_since(&direction, &error).await => {}
                outcome => return outcome,
            }
        }
    }

    async fn newest_once(
        &self,
        direction: &Arc<Direction>,
        newest: u64,
        workers: usize,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Verification> {
        let begun = Instant::now();
        let next = AtomicUsize::new(0);
        let lanes = (0..workers.max(1)).map(|_| self.newest_lane(direction, newest, &next, seen));
        let mut found = Vec::new();
        for lane in join_all(lanes).await {
            found.extend(lane?);
        }
        let (mut tables, mut left_out, mut keys_in_flight) = (Vec::new(), Vec::new(), 0);
        for (table, looked) in found {
            match looked {
                Some((verdict, in_flight)) => {
                    self.proof.found(&verdict);
                    keys_in_flight += in_flight;
                    tables.push(verdict);
                }
                None => left_out.push(direction.tables[table].name.clone()),
            }
        }
        if tables.iter().any(|verdict| verdict.different > 0) {
            // Whatever becomes of this process.
            self.withdraw_proof().await?;
        }
        tables.sort_by(|a, b| a.table.cmp(&b.table));
        left_out.sort();
        Ok(Verification {
            rows: tables.iter().map(|t| t.rows).sum(),
            different: tables.iter().map(|t| t.different).sum(),
            as_of: self.applied_now(),
            keys_in_flight,
            seconds: begun.elapsed().as_secs_f64(),
            watched_since: direction.changes.since(),
            newest: Some(newest),
            left_out,
            tables,
        })
    }

    async fn newest_lane(
        &self,
        direction: &Arc<Direction>,
        newest: u64,
        next: &AtomicUsize,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<(usize, Option<(TableVerdict, u64)>)>> {
        let mut verifier = self.verifier_of(direction).await?;
        let mut found = Vec::new();
        loop {
            let table = next.fetch_add(1, Ordering::Relaxed);
            if table >= direction.tables.len() {
                return Ok(found);
            }
            let begun_at = self.applied_now();
            let looked = verifier.newest(table, newest, seen).await?;
            let compared = |(verdict, in_flight): (TableVerdict, _)| {
                (verdict.compared_between(begun_at, self.applied_now()), in_flight)
            };
            found.push((table, looked.map(compared)));
        }
    }
}

impl Verifier {
    /// Compares the newest rows of a table; nothing if no key says which they are. With the verdict, how many keys could
    /// not be compared, since they were written to time and again.
    async fn newest(
        &mut self,
        i: usize,
        newest: u64,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Option<(TableVerdict, u64)>> {
        let direction = Arc::clone(&self.direction);
        let table = &direction.tables[i];
        let (rows, range_rows) = ranges::size(self.reader.source(), table, RANGE_ROWS).await?;
        if table.is_bag() {
            return match rows <= newest {
                true => Ok(Some((self.bag(i, seen).await?, 0))),
                false => Ok(None),
            };
        }
        let mut verdict = TableVerdict::new(table.name.clone());
        let mut in_flight = Vec::new();
        let mut low = self.below_newest(table, newest).await?;
        let mut ended = false;
        while !ended {
            let _turn = match direction.throttle() {
                Some(throttle) => Some(throttle.turn(&direction.progress).await),
                None => None,
            };
            let compared = self.range(i, low, range_rows, &mut verdict).await?;
            seen(compared.rows);
            // There need not be a proof under way that would come back to them.
            in_flight.extend(compared.in_flight);
            ended = compared.high.is_none();
            low = compared.high;
        }
        let in_flight = self.in_flight_again(i, in_flight, &mut verdict).await?;
        Ok(Some((verdict, in_flight)))
    }

    /// The key just below the newest rows; none if the table has no more than those.
    async fn below_newest(&mut self, table: &Table, newest: u64) -> Result<Option<Vec<Vec<u8>>>> {
        let order: Vec<_> =
            table.key.iter().map(|&i| format!("{} DESC", quote_ident(&table.columns[i].name))).collect();
        let sql = format!(
            "SELECT {} FROM {} ORDER BY {} LIMIT 1 OFFSET {newest}",
            key_list(table),
            table.on(Side::Source).quoted(),
            order.join(", ")
        );
        let doing = format!("find the newest rows of {}", table.name);
        let row = self.reader.source().row(sql).await.doing(Side::Source, doing)?;
        row.map(|row| RowShape::of(table).key_parts(&row)).transpose()
    }

    /// Compares keys again until the stream leaves them alone meanwhile, and how many it did not.
    async fn in_flight_again(
        &mut self,
        i: usize,
        mut keys: Vec<Key>,
        verdict: &mut TableVerdict,
    ) -> Result<u64> {
        for _ in 0..ROUNDS {
            for lot in std::mem::take(&mut keys).chunks(KEYS_AT_ONCE) {
                self.newest_keys(i, lot, verdict, &mut keys).await?;
            }
        }
        Ok(keys.len() as u64)
    }

    /// Compares the rows of these keys by their hashes. Keys that were touched meanwhile are put into `in_flight`.
    async fn newest_keys(
        &mut self,
        i: usize,
        keys: &[Key],
        verdict: &mut TableVerdict,
        in_flight: &mut Vec<Key>,
    ) -> Result<()> {
        let mut sql = self.keyed_hashes(i);
        sql.push(&in_keys(&self.direction.tables[i], keys));
        let (here, there, touched) = self.both(i, &sql).await?;
        for key in self.differing(i, &here, &there, &HashSet::new())? {
            match touched.contains(&key) {
                true => in_flight.push(key),
                false => verdict.differs(&key),
            }
        }
        Ok(())
    }
}
