//! The order of everything: transactions as they pass, the windows they pass through, and the batch they gather in.
//!
//! Pure: no channel, no clock, no server. [`crate::sequencer`] drives it in production, `tests/model` in every order
//! there is.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use model::{BinlogPosition, Gtid, GtidSet, Table, TableName};

use crate::apply::Mark;
use crate::bag::{self, Bags};
use crate::fold::Change;
use crate::literal::{Key, RowShape, Tuple};
use crate::stream::{StreamItem, Transaction};
use crate::window::{Closed, WindowId, Windows};
use crate::work::Batch;

/// The stream contradicts itself: it inserts a row that is there, or removes one that is not.
#[derive(Debug)]
pub struct Contradiction {
    /// In which table.
    pub table: TableName,
}

/// What the lanes are to be given at a boundary where windows close; nothing at any other.
#[derive(Debug)]
pub struct Due<P> {
    /// What passed before, if anything: it must be there before the rows that hold from here on.
    pub batch: Option<Batch>,
    /// The windows that close here, oldest first.
    pub closed: Vec<Closed<P>>,
}

/// See the module's comment. `P` is what the opener of a window wants done when it closes.
#[derive(Debug, Clone)]
pub struct Order<P> {
    names: Arc<[TableName]>,
    shapes: Arc<[RowShape]>,
    /// Everything passed to the batch or beyond.
    passed: GtidSet,
    position: BinlogPosition,
    windows: Windows<P>,
    bags: Bags,
    batch: Batch,
}

impl<P> Order<P> {
    /// Starts at what the ledger says is applied.
    pub fn new(tables: &[Table], applied: GtidSet) -> Self {
        Self {
            names: tables.iter().map(|t| t.name.clone()).collect(),
            shapes: tables.iter().map(RowShape::of).collect(),
            passed: applied,
            position: BinlogPosition::default(),
            windows: Windows::default(),
            bags: Bags::of(tables, &HashSet::new()),
            batch: Batch::new(tables.len()),
        }
    }

    /// Passes what the stream yields. After a part, nothing but more of its transaction may pass, and no window may be
    /// opened or closed, until that transaction has. `touched` is told every key that a transaction touches.
    ///
    /// # Errors
    /// If a transaction contradicts what passed before it.
    pub fn pass(
        &mut self,
        item: StreamItem,
        mut touched: impl FnMut(usize, &Key),
    ) -> Result<(), Contradiction> {
        match item {
            StreamItem::Idle(position) => self.position = position,
            StreamItem::Transaction(transaction) => self.pass_transaction(transaction, &mut touched)?,
            StreamItem::Statement(statement) => self.passed.add(statement.gtid),
            StreamItem::Part(changes) => self.pass_changes(changes, None, &mut touched)?,
        }
        Ok(())
    }

    fn pass_changes(
        &mut self,
        changes: Vec<(usize, Change)>,
        gtid: Option<Gtid>,
        touched: &mut impl FnMut(usize, &Key),
    ) -> Result<(), Contradiction> {
        for (table, change) in changes {
            self.batch.changes += 1;
            self.batch.bytes += change.bytes();
            if self.bags.has(table) {
                if self.windows.watches(table) {
                    self.windows.touch(table, &bag::touch_of(gtid));
                }
                change.keys().for_each(|value| touched(table, value));
                self.bags.take(table, change, &mut self.batch.bags);
                continue;
            }
            for key in change.keys() {
                self.windows.touch(table, key);
                touched(table, key);
                self.batch.marks.push(Mark::of(table, key));
            }
            let contradiction = |_| Contradiction { table: self.names[table].clone() };
            self.batch.tables[table].add(change).map_err(contradiction)?;
        }
        Ok(())
    }

    fn pass_transaction(
        &mut self,
        transaction: Transaction,
        touched: &mut impl FnMut(usize, &Key),
    ) -> Result<(), Contradiction> {
        self.pass_changes(transaction.changes, Some(transaction.gtid), touched)?;
        if let Some(micros) = transaction.commit_micros {
            let (oldest, newest) = self.batch.commit_micros.unwrap_or((micros, micros));
            self.batch.commit_micros = Some((oldest.min(micros), newest.max(micros)));
        }
        self.batch.transactions += 1;
        self.passed.add(transaction.gtid);
        if let Some(prepare) = transaction.decides {
            self.passed.add(prepare);
        }
        self.position = transaction.end;
        Ok(())
    }

    /// The transactions gathered and not yet taken.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The bags, and how far their copies are.
    pub(crate) fn bags(&mut self) -> &mut Bags {
        &mut self.bags
    }

    /// The batch, to note what it has to wait for.
    pub fn batch_mut(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Takes the batch, and what is applied once it is; a new one begins.
    pub fn take_batch(&mut self) -> Batch {
        let mut batch = std::mem::replace(&mut self.batch, Batch::new(self.shapes.len()));
        batch.applied = self.passed.clone();
        batch
    }

    /// Everything passed to the batch or beyond.
    pub fn passed(&self) -> &GtidSet {
        &self.passed
    }

    /// Opens a window over a table, and says what the stream has passed: its rows may be read once the source shows
    /// all of that.
    pub fn open(&mut self, table: usize) -> (WindowId, GtidSet) {
        (self.windows.open(table), self.passed.clone())
    }

    /// The rows of a window are read, and the log ended at `high` afterwards.
    pub fn close(&mut self, window: WindowId, high: BinlogPosition, then: P) {
        self.windows.close(window, high, then);
    }

    /// Forgets a window whose rows will not come.
    pub fn give_up(&mut self, window: WindowId) {
        self.windows.give_up(window);
    }

    /// Takes out what must be given to the lanes here, between two transactions, before anything else passes.
    pub fn take_due(&mut self) -> Due<P> {
        let closed = self.windows.take_due(&self.position);
        let batch = (!closed.is_empty() && self.batch.transactions > 0).then(|| self.take_batch());
        Due { batch, closed }
    }

    /// The rows read in a window that hold where it closes: those whose key was not touched in it.
    pub fn untouched(&self, table: usize, mut rows: Vec<Tuple>, touched: &HashSet<Key>) -> Vec<Tuple> {
        if !touched.is_empty() {
            rows.retain(|row| !touched.contains(&self.shapes[table].key(row)));
        }
        rows
    }

    /// The mark of each row's key.
    pub fn marks(&self, table: usize, rows: &[Tuple]) -> Vec<Mark> {
        rows.iter().map(|row| Mark::of(table, &self.shapes[table].key(row))).collect()
    }
}

/// By what decides about what comes: the model tells its states apart by it. Turns are left out, which only the lanes'
/// schedule can relate to the present.
impl<P: Hash> Hash for Order<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.passed, &self.position, &self.windows, &self.batch.tables, self.batch.transactions)
            .hash(state);
    }
}
