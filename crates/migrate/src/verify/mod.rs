//! Verification: the same ranges on both servers, each as of one point of the stream.
//!
//! The source's side is read inside a window. Where the window closes, the lanes stand still just long enough for
//! a snapshot to be opened on the target, which is then compared at leisure. Keys the stream touched in the window
//! are left out: they are dirty, and proven again on their own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{GtidSet, TableName};
use mysql::{Connection, Row};
use tokio::sync::oneshot;

use crate::bag::BagPace;
use crate::direction::{Access, Direction};
use crate::error::{Doing, MoveError, Result, Side};
use crate::ledger::LedgerRow;
use crate::literal::{Key, RowShape};
use crate::proof::TableVerdict;
use crate::ranges;
use crate::select::{in_keys, key_list, row_hash};
use crate::sequencer::{AtClose, ComparePoint};
use crate::session;
use crate::window_reader::{ReadRows, WindowReader};

mod range;
mod repair;
mod statement;
mod twin;
mod wrong;

pub use repair::RepairedTable;
pub use statement::RepairStatement;
pub(crate) use twin::Twin;
pub(crate) use wrong::Wrong;

/// Keys proven in one go: bounds the statement's size.
pub(crate) const KEYS_AT_ONCE: usize = 500;
/// Values of a bag proven in one go; more than of keys, since each lot may read the whole table.
const BAG_VALUES_AT_ONCE: usize = 5_000;
/// The most rows of a range to verify.
pub(crate) const RANGE_ROWS: u64 = 20_000;
/// How often a comparison is made before a deadlock is the answer. Each may lose with even odds while somebody changes definitions
/// without a pause, and ten in a row were lost in a test that does.
const TRIES: u32 = 60;
/// As how many of them it counts that a lock was not had in the time for that, which is long.
const WAITED_IN_VAIN: u32 = 6;

pub(crate) const SNAPSHOT: &str =
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

/// A pair of connections that compares.
pub struct Verifier {
    pub(crate) reader: WindowReader,
    pub(crate) target: Connection,
    pub(crate) direction: Arc<Direction>,
    /// A row of the ledger, by which it is known whether that is still ours.
    pub(crate) ledger: LedgerRow,
    /// Whether rows that are compared are summed up as well: a pass of which a proof is to be kept. It costs a SHA-256 of
    /// each row.
    pub(crate) sums: bool,
}

impl Verifier {
    /// Connects to both sides.
    ///
    /// # Errors
    /// If that fails.
    pub(crate) async fn open(Access { direction, requests, ledger }: Access) -> Result<Self> {
        let reader = WindowReader::open(&direction, requests).await?;
        let target = session::open(&direction.options.target, Side::Target).await?;
        Ok(Self { reader, target, direction, ledger, sums: false })
    }

    /// The verdict of a table to begin with.
    pub(crate) fn nothing_compared(&self, table: usize) -> TableVerdict {
        let name = self.direction.tables[table].name.clone();
        if self.sums { TableVerdict::summing(name) } else { TableVerdict::new(name) }
    }

    /// Whether it compares the tables as this direction has them.
    pub(crate) fn is_of(&self, direction: &Arc<Direction>) -> bool {
        Arc::ptr_eq(&self.direction, direction)
    }

    /// Compares a whole table, telling `seen` the rows of each range.
    ///
    /// # Errors
    /// If a server fails or the pipeline has ended.
    pub async fn table(&mut self, table: usize, seen: &(dyn Fn(u64) + Sync)) -> Result<TableVerdict> {
        let tables = Arc::clone(&self.direction.tables);
        if tables[table].is_bag() {
            return self.bag(table, seen).await;
        }
        let mut verdict = self.nothing_compared(table);
        let (_, rows) = ranges::size(self.reader.source(), &tables[table], RANGE_ROWS).await?;
        let (mut low, mut ended) = (None, false);
        while !ended {
            let direction = Arc::clone(&self.direction);
            let _turn = match direction.throttle() {
                Some(throttle) => Some(throttle.turn(&direction.progress).await),
                None => None,
            };
            // Keys in flight are dirty: they are proven again on their own.
            let compared = self.range(table, low, rows, &mut verdict).await?;
            seen(compared.rows);
            ended = compared.high.is_none();
            low = compared.high;
        }
        Ok(verdict)
    }

    /// Proves one lot of dirty keys, and how many that were; 0 if there are none.
    ///
    /// # Errors
    /// If a server fails or the pipeline has ended; the keys are then dirty again.
    pub async fn dirty_keys(&mut self) -> Result<usize> {
        self.dirty_keys_in_time(&mut BagPace::default()).await
    }

    /// The same, but leaves bags alone that have to rest.
    ///
    /// # Errors
    /// As [`Verifier::dirty_keys`].
    pub(crate) async fn dirty_keys_in_time(&mut self, pace: &mut BagPace) -> Result<usize> {
        let lot = |i| if pace.may_read(i) { self.lot(i) } else { 0 };
        let Some(in_hand) = self.direction.dirty.take(lot) else { return Ok(0) };
        let begun = Instant::now();
        if self.direction.tables[in_hand.table].is_bag() {
            self.dirty_bag(&in_hand, false).await?;
            pace.was_read(in_hand.table, begun.elapsed());
        } else {
            self.keys_in_window(in_hand.table, &in_hand.keys).await?;
        }
        let count = in_hand.count();
        in_hand.proven();
        Ok(count)
    }

    fn lot(&self, table: usize) -> usize {
        if self.direction.tables[table].is_bag() { BAG_VALUES_AT_ONCE } else { KEYS_AT_ONCE }
    }

    async fn keys_in_window(&mut self, table: usize, keys: &[Key]) -> Result<()> {
        let mut sql = self.keyed_hashes(table);
        sql.push(&in_keys(&self.direction.tables[table], keys));
        let (here, there, touched) = self.both(table, &sql).await?;
        self.judge(table, keys, &self.differing(table, &here, &there, &touched)?, &touched);
        Ok(())
    }

    /// Tells the proof what became of keys that were compared; of those touched meanwhile nothing is known.
    fn judge(&self, table: usize, keys: &[Key], differing: &[Key], touched: &HashSet<Key>) {
        let (name, proof) = (&self.direction.tables[table].name, &self.direction.proof);
        differing.iter().for_each(|key| proof.differs(name, key));
        let differing: HashSet<&Key> = differing.iter().collect();
        proof.mended(name, keys.iter().filter(|key| !differing.contains(key) && !touched.contains(*key)));
    }

    /// Proves every dirty key while nothing changes on either side: the source is fenced and the stream applied.
    ///
    /// # Errors
    /// If a server fails.
    pub async fn dirty_keys_at_rest(&mut self) -> Result<u64> {
        let mut proven = 0;
        while let Some(in_hand) = self.direction.dirty.take(|i| self.lot(i)) {
            let (table, keys) = (in_hand.table, &in_hand.keys);
            if self.direction.tables[table].is_bag() {
                self.dirty_bag(&in_hand, true).await?;
                proven += in_hand.count() as u64;
                in_hand.proven();
                continue;
            }
            let mut sql = self.keyed_hashes(table);
            sql.push(&in_keys(&self.direction.tables[table], keys));
            let (here, there) = (sql.on(Side::Source), sql.on(Side::Target));
            let (here, there) = tokio::join!(self.reader.source().rows(here), self.target.rows(there));
            let here = here.doing(Side::Source, "prove keys")?;
            let there = there.doing(Side::Target, "prove keys")?;
            let untouched = HashSet::new();
            self.judge(table, keys, &self.differing(table, &here, &there, &untouched)?, &untouched);
            proven += keys.len() as u64;
            in_hand.proven();
        }
        Ok(proven)
    }

    pub(crate) fn keyed_hashes(&self, table: usize) -> Twin {
        let table = &self.direction.tables[table];
        Twin::of(table, format!("SELECT {}, {} FROM ", key_list(table), row_hash(table)))
    }

    /// Whether a comparison failed for another statement's sake, and may be made again from its beginning. A plain SELECT
    /// takes locks on definitions, so it can be a deadlock's victim: the first one of a table takes the schema's
    /// while it holds the table's, ALTER DATABASE the other way round.
    pub(crate) async fn gave_way(&mut self, tries: &mut u32, error: &MoveError) -> Result<bool> {
        *tries += if error.is_deadlock() { 1 } else { WAITED_IN_VAIN };
        if !error.is_lock_conflict() || *tries >= TRIES {
            return Ok(false);
        }
        // Not in step with whoever it was.
        tokio::time::sleep(Duration::from_millis(u64::from(*tries))).await;
        self.target.execute("ROLLBACK").await.doing(Side::Target, "give up the snapshot")?;
        self.reader.source().execute("ROLLBACK").await.doing(Side::Source, "give up the snapshot")?;
        Ok(true)
    }

    /// Runs a statement on the source inside a window and on the target where the window closes.
    pub(crate) async fn both(
        &mut self,
        table: usize,
        sql: &Twin,
    ) -> Result<(Vec<Row>, Vec<Row>, HashSet<Key>)> {
        let mut tries = 0;
        loop {
            match self.both_once(table, sql).await {
                Err(error) if self.gave_way(&mut tries, &error).await? => {}
                outcome => return outcome,
            }
        }
    }

    async fn both_once(&mut self, table: usize, sql: &Twin) -> Result<(Vec<Row>, Vec<Row>, HashSet<Key>)> {
        let doing = self.comparing(table);
        let read = self.reader.read(table, &sql.on(Side::Source), usize::MAX, &doing).await?;
        let (here, touched) = self.snapshot_where_it_closes(read).await?;
        let there = self.target.rows(sql.on(Side::Target)).await.doing(Side::Target, doing)?;
        self.end_snapshot().await?;
        Ok((here, there, touched))
    }

    /// Closes a window and opens a snapshot of the target at that point. Returns the window's rows and the keys that the
    /// stream touched meanwhile.
    pub(crate) async fn snapshot_where_it_closes<R>(
        &mut self,
        read: ReadRows<R>,
    ) -> Result<(Vec<R>, HashSet<Key>)> {
        let (point, closed) = oneshot::channel();
        let here = self.reader.close(read, AtClose::Compare(point)).await?;
        let ComparePoint { touched, reached, resume } = closed.await.map_err(|_| MoveError::Stopped)?;
        reached.await.map_err(|_| MoveError::Stopped)?;
        self.target.query_all(SNAPSHOT).await.doing(Side::Target, "open a snapshot")?;
        drop(resume);
        Ok((here, touched))
    }

    pub(crate) async fn end_snapshot(&mut self) -> Result<()> {
        self.target.execute("COMMIT").await.doing(Side::Target, "close the snapshot")?;
        Ok(())
    }

    pub(crate) fn comparing(&self, table: usize) -> String {
        format!("compare {}", self.direction.tables[table].name)
    }

    /// Keys whose hashes differ, or that only one side has.
    pub(crate) fn differing(
        &self,
        table: usize,
        here: &[Row],
        there: &[Row],
        touched: &HashSet<Key>,
    ) -> Result<Vec<Key>> {
        let shape = RowShape::of(&self.direction.tables[table]);
        let hash_at = self.direction.tables[table].key.len();
        let mut expected = HashMap::with_capacity(here.len());
        for row in here {
            expected.insert(shape.key_from_text(row)?, row.bytes(hash_at));
        }
        let mut differing = Vec::new();
        for row in there {
            let key = shape.key_from_text(row)?;
            if expected.remove(&key) != Some(row.bytes(hash_at)) {
                differing.push(key);
            }
        }
        differing.extend(expected.into_keys());
        differing.retain(|key| !touched.contains(key));
        Ok(differing)
    }
}

/// The outcome of a pass over every range of every table, or of a spot check.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Verification {
    /// Per table.
    pub tables: Vec<TableVerdict>,
    /// Rows compared.
    pub rows: u64,
    /// Keys that differ.
    pub different: u64,
    /// The position the verdict holds as of.
    pub as_of: GtidSet,
    /// Keys the stream had touched since, still to be proven. Of a spot check: keys that it could not compare, since they
    /// were written to time and again.
    pub keys_in_flight: u64,
    /// How long it took.
    pub seconds: f64,
    /// What was applied when this process began to see which tables the stream changes.
    pub watched_since: GtidSet,
    /// Of a spot check, how many of each table's newest rows were compared. It proves nothing of the others.
    pub newest: Option<u64>,
    /// Tables that a spot check left out: they have more rows than that, and no key that says which are the newest.
    pub left_out: Vec<TableName>,
}
