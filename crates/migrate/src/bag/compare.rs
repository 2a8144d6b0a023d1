//! Comparing bags: as multisets, each side as of one point of the stream.
//!
//! First by count and sum of hashes over the whole table, then by parts of the hashes, then value by value, each step only
//! where the one before differs. Values that the stream has touched since are counted again on their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Table;
use mysql::Row;
use tokio::sync::oneshot;

use super::flow::is_exact;
use super::snapshot::{Snapshot, TRIES, never_certain};
use super::{Scratch, digests, has_digest, narrow};
use crate::dirty::InHand;
use crate::error::{Doing, MoveError, Result, Side};
use crate::literal::Key;
use crate::proof::TableVerdict;
use crate::select::{row_digest, row_hash};
use crate::sequencer::{AtClose, ComparePoint};
use crate::verify::{SNAPSHOT, Twin, Verifier};

/// Rows of a part, about: what is held in memory when its values are compared one by one.
const PART_ROWS: u64 = 20_000;
/// Parts at the most.
const PARTS_MAX: u64 = 4_096;
/// Differing parts whose values are read at once; each reading goes over the whole table.
const PARTS_AT_ONCE: usize = 8;

/// What a side has of one value, or of one part of the table: rows, and another count or sum.
type Counts = BTreeMap<String, (u64, String)>;

impl Verifier {
    /// Compares a whole bag.
    pub(crate) async fn bag(&mut self, i: usize, seen: &(dyn Fn(u64) + Sync)) -> Result<TableVerdict> {
        let mut tries = 0;
        loop {
            match self.bag_once(i, seen).await {
                Err(error) if self.gave_way(&mut tries, &error).await? => {}
                outcome => return outcome,
            }
        }
    }

    async fn bag_once(&mut self, i: usize, seen: &(dyn Fn(u64) + Sync)) -> Result<TableVerdict> {
        let tables = Arc::clone(&self.direction.tables);
        let table = &tables[i];
        let mut verdict = self.nothing_compared(i);
        self.snapshots(i, table).await?;
        self.whole_bag(table, &mut verdict).await?;
        self.end_snapshots(table).await?;
        seen(verdict.rows);
        Ok(verdict)
    }

    async fn whole_bag(&mut self, table: &Table, verdict: &mut TableVerdict) -> Result<()> {
        let differs = |value: &str, here: u64, there: u64| {
            verdict.differs_by(&told(value, here, there), here.abs_diff(there));
        };
        let (rows, sum) = self.differing_values(table, differs).await?;
        (verdict.rows, verdict.ranges) = (rows, 1);
        verdict.add_hash(sum.as_deref().map(str::as_bytes))?;
        Ok(())
    }

    /// Compares a bag, each side as its snapshot has it. `differs` is told the hash of each value of which they have not the
    /// same rows, and how many each has. Returns the source's rows, and the sum of their hashes.
    pub(super) async fn differing_values(
        &mut self,
        table: &Table,
        mut differs: impl FnMut(&str, u64, u64) + Send,
    ) -> Result<(u64, Option<String>)> {
        let hash = row_hash(table);
        let whole = Twin::of(table, format!("SELECT 'all', COUNT(*), IFNULL(SUM({hash}), 0) FROM "));
        let (here, there) = self.both_counts(table, &whole).await?;
        let rows = here.get("all").map_or(0, |(rows, _)| *rows);
        if here != there {
            self.differing_parts(table, rows, &mut differs).await?;
        }
        Ok((rows, here.into_values().next().map(|(_, sum)| sum)))
    }

    async fn differing_parts(
        &mut self,
        table: &Table,
        rows: u64,
        differs: &mut (impl FnMut(&str, u64, u64) + Send),
    ) -> Result<()> {
        let hash = row_hash(table);
        let parts = (rows / PART_ROWS).clamp(1, PARTS_MAX);
        // In a table of its own: the server takes no JSON_TABLE, which a JSON column's hash has, in GROUP BY (error 1210).
        let sql = Twin::of(
            table,
            format!("SELECT MOD(h, {parts}), COUNT(*), IFNULL(SUM(h), 0) FROM (SELECT {hash} AS h FROM "),
        )
        .then(&format!(") AS hashes GROUP BY MOD(h, {parts})"));
        let (here, there) = self.both_counts(table, &sql).await?;
        let differing: Vec<String> = differing(&here, &there).map(|(part, ..)| part.clone()).collect();
        for some in differing.chunks(PARTS_AT_ONCE) {
            let sql = Twin::of(table, format!("SELECT h, COUNT(*), '' FROM (SELECT {hash} AS h FROM "))
                .then(&format!(") AS hashes WHERE MOD(h, {parts}) IN ({}) GROUP BY h", some.join(",")));
            let (here, there) = self.both_counts(table, &sql).await?;
            for (value, here, there) in self::differing(&here, &there) {
                differs(value, here, there);
            }
        }
        Ok(())
    }

    /// Proves what is dirty of a bag, as of one point of the stream, or while nothing changes on either side.
    pub(crate) async fn dirty_bag(&mut self, in_hand: &InHand, at_rest: bool) -> Result<()> {
        let mut tries = 0;
        loop {
            match self.dirty_bag_once(in_hand, at_rest).await {
                Err(error) if self.gave_way(&mut tries, &error).await? => {}
                outcome => return outcome,
            }
        }
    }

    async fn dirty_bag_once(&mut self, in_hand: &InHand, at_rest: bool) -> Result<()> {
        let tables = Arc::clone(&self.direction.tables);
        let (i, table) = (in_hand.table, &tables[in_hand.table]);
        let sql = match in_hand.whole || in_hand.keys.is_empty() {
            true => None,
            false => Some(self.count_values(table, &in_hand.keys).await?),
        };
        if !at_rest {
            self.snapshots(i, table).await?;
        }
        match sql {
            Some(sql) => self.compare_values(table, &sql).await?,
            None => {
                let mut verdict = TableVerdict::new(table.name.clone());
                self.whole_bag(table, &mut verdict).await?;
                if let Some(first) = verdict.keys.first() {
                    self.direction.proof.differs_by(&table.name, first, verdict.different);
                }
            }
        }
        if !at_rest {
            self.end_snapshots(table).await?;
        }
        Ok(())
    }

    async fn compare_values(&mut self, table: &Table, sql: &Twin) -> Result<()> {
        let (here, there) = self.both_counts(table, sql).await?;
        for (value, here, there) in differing(&here, &there) {
            self.direction.proof.differs_by(
                &table.name,
                &told(value, here, there),
                here.abs_diff(there).max(1),
            );
        }
        Ok(())
    }

    /// The statement that counts rows of these values. The target says what their digests are.
    async fn count_values(&mut self, table: &Table, values: &[Key]) -> Result<Twin> {
        let doing = format!("tell values of {} apart", table.name);
        let scratch = Scratch::of(table);
        let all: Vec<&Key> = values.iter().collect();
        for sql in [scratch.drop().into_bytes(), scratch.create().into_bytes(), scratch.insert(&all)] {
            self.target.execute(sql).await.doing(Side::Target, &doing)?;
        }
        let found = self.target.rows(scratch.digests()).await.doing(Side::Target, &doing)?;
        self.target.execute(scratch.drop()).await.doing(Side::Target, &doing)?;
        let found = digests(&found)
            .filter(|f| f.len() == values.len())
            .ok_or(mysql::Error::Unexpected("no digest"))
            .doing(Side::Target, &doing)?;
        let select = format!(
            "SELECT d, COUNT(*), IFNULL(SUM(h), 0) FROM (SELECT {} AS d, {} AS h FROM ",
            row_digest(table),
            row_hash(table)
        );
        let mut sql = Twin::of(table, select).then(" WHERE ");
        sql.push(&narrow(table, values.iter()));
        let digests = has_digest(table, found.iter().map(String::as_str));
        Ok(sql.then(&format!(" AND {digests}) AS found GROUP BY d")))
    }

    /// Opens a snapshot on both sides, at the same point of the stream.
    pub(super) async fn snapshots(&mut self, i: usize, table: &Table) -> Result<()> {
        for _ in 0..TRIES {
            let snapshot = Snapshot::open(&mut self.reader, i).await?;
            let seen = snapshot.seen.clone();
            let (point, closed) = oneshot::channel();
            snapshot.close(&self.reader, AtClose::Compare(point)).await?;
            let ComparePoint { touched, reached, resume } = closed.await.map_err(|_| MoveError::Stopped)?;
            if is_exact(&seen, &touched) {
                reached.await.map_err(|_| MoveError::Stopped)?;
                self.target.query_all(SNAPSHOT).await.doing(Side::Target, "open a snapshot")?;
                drop(resume);
                return Ok(());
            }
            drop(resume);
            tokio::time::sleep(super::copy::TRY_PAUSE).await;
        }
        Err(never_certain(&table.name))
    }

    pub(super) async fn end_snapshots(&mut self, table: &Table) -> Result<()> {
        let doing = format!("close the snapshot of {}", table.name);
        self.target.execute("COMMIT").await.doing(Side::Target, &doing)?;
        self.reader.source().execute("COMMIT").await.doing(Side::Source, &doing)?;
        Ok(())
    }

    async fn both_counts(&mut self, table: &Table, sql: &Twin) -> Result<(Counts, Counts)> {
        let doing = format!("compare {}", table.name);
        let (here, there) = (sql.on(Side::Source), sql.on(Side::Target));
        let (here, there) = tokio::join!(self.reader.source().rows(here), self.target.rows(there));
        Ok((counts(&here.doing(Side::Source, &doing)?), counts(&there.doing(Side::Target, &doing)?)))
    }
}

fn counts(rows: &[Row]) -> Counts {
    rows.iter().map(|row| (row.text(0), (row.number(1).unwrap_or(0), row.text(2)))).collect()
}

/// Values of which the sides do not have the same, with the rows that each has.
fn differing<'a>(here: &'a Counts, there: &'a Counts) -> impl Iterator<Item = (&'a String, u64, u64)> {
    let rows = |side: &Counts, value| side.get(value).map_or(0, |(rows, _)| *rows);
    let one_sided = there.keys().filter(|value| !here.contains_key(*value));
    here.keys()
        .chain(one_sided)
        .filter(|value| here.get(*value) != there.get(*value))
        .map(move |value| (value, rows(here, value), rows(there, value)))
}

/// A bag's rows have no name but all their values, which may be megabytes: their hash must do.
fn told(value: &str, here: u64, there: u64) -> String {
    format!("rows with hash {value}: {here} on the source, {there} on the target")
}
