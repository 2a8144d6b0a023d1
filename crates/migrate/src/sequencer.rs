//! The one task that decides order: it passes transactions from the stream to the applier, keeps the windows, and at
//! the right boundary slips in copied rows and pauses.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use model::{BinlogPosition, GtidSet};
use tokio::sync::{mpsc, oneshot};

use crate::direction::Direction;
use crate::error::{MoveError, Result};
use crate::fold::Change;
use crate::literal::{Key, RowShape, Tuple};
use crate::select::KeyRange;
use crate::stream::{StreamItem, Transaction};
use crate::window::{Closed, WindowId, Windows};
use crate::work::{Batch, CopiedRange, Pause, Work};

/// Row changes after which a batch is not made larger: bounds memory, and the work lost in a crash.
const BATCH_CHANGES_MAX: u64 = 5_000;

/// What readers ask of the sequencer.
#[derive(Debug)]
pub enum Request {
    /// Open a window over a table.
    Open {
        /// The table's place in the plan.
        table: usize,
        /// Dead once nobody wants the window any more.
        wanted: Weak<()>,
        /// Told the window's name, and everything the stream had passed when it opened.
        opened: oneshot::Sender<(WindowId, GtidSet)>,
    },
    /// The rows have been read; the log ended at `high` afterwards.
    Close {
        /// Which window.
        window: WindowId,
        /// The end of the source's binary log, read after the rows.
        high: BinlogPosition,
        /// What kept the window wanted; it travels along, so that no earlier request finds it dead.
        wanted: Arc<()>,
        /// What to do when the window closes.
        then: AtClose,
    },
}

/// What to do when a window closes.
#[derive(Debug)]
pub enum AtClose {
    /// Write the rows that were not touched.
    Copy {
        /// The table's place in the plan.
        table: usize,
        /// The range's number.
        number: u32,
        /// Its bounds.
        range: KeyRange,
        /// Rows as read.
        rows: Vec<Tuple>,
        /// Told once they are committed.
        done: oneshot::Sender<()>,
    },
    /// Stop the applier at this point, and tell which keys were touched.
    Compare(oneshot::Sender<ComparePoint>),
}

/// The applier stands, or will stand, exactly where a window closed; it goes on when `resume` is dropped.
#[derive(Debug)]
pub struct ComparePoint {
    /// Keys touched in the window: not to be compared.
    pub touched: HashSet<Key>,
    /// Resolves when the target has everything up to this point.
    pub reached: oneshot::Receiver<()>,
    /// Keeps the applier where it is.
    pub resume: oneshot::Sender<()>,
}

/// See the module's comment.
pub struct Sequencer {
    direction: Arc<Direction>,
    shapes: Vec<RowShape>,
    /// Everything passed to the batch or beyond.
    passed: GtidSet,
    position: BinlogPosition,
    windows: Windows<AtClose>,
    /// Windows whose rows are being read, and whether anyone still does.
    reading: Vec<(WindowId, Weak<()>)>,
    batch: Batch,
}

impl Sequencer {
    /// Starts at what the ledger says is applied.
    pub(crate) fn new(direction: Arc<Direction>, applied: GtidSet) -> Self {
        let shapes: Vec<RowShape> = direction.tables.iter().map(RowShape::of).collect();
        Self {
            batch: Batch::new(shapes.len()),
            direction,
            shapes,
            passed: applied,
            position: BinlogPosition::default(),
            windows: Windows::default(),
            reading: Vec::new(),
        }
    }

    /// Runs until the stream or the applier is gone.
    ///
    /// # Errors
    /// If the stream contradicts itself.
    pub async fn run(
        mut self,
        mut stream: mpsc::Receiver<StreamItem>,
        mut requests: mpsc::Receiver<Request>,
        work: mpsc::Sender<Work>,
    ) -> Result<()> {
        loop {
            let has_batch = self.batch.transactions > 0;
            let room = self.batch.changes < BATCH_CHANGES_MAX;
            // While the applier is busy the batch grows; as soon as it has room, the batch goes.
            tokio::select! {
                permit = work.reserve(), if has_batch => {
                    let Ok(permit) = permit else { return Err(MoveError::Stopped) };
                    permit.send(Work::Batch(self.take_batch()));
                }
                item = stream.recv(), if room => {
                    let Some(item) = item else { return Err(MoveError::Stopped) };
                    self.pass(item)?;
                    self.close_windows(&work).await?;
                }
                request = requests.recv() => {
                    let Some(request) = request else { return Err(MoveError::Stopped) };
                    self.serve(request);
                    self.close_windows(&work).await?;
                }
            }
        }
    }

    fn take_batch(&mut self) -> Batch {
        let mut batch = std::mem::replace(&mut self.batch, Batch::new(self.shapes.len()));
        batch.applied = self.passed.clone();
        batch
    }

    fn pass(&mut self, item: StreamItem) -> Result<()> {
        match item {
            StreamItem::Idle(position) => self.position = position,
            StreamItem::Transaction(transaction) => self.pass_transaction(transaction)?,
        }
        Ok(())
    }

    fn pass_transaction(&mut self, transaction: Transaction) -> Result<()> {
        for (table, change) in transaction.changes {
            self.touch(table, &change);
            self.batch.changes += 1;
            self.batch.tables[table].add(change).map_err(|_| MoveError::NotExact {
                table: self.direction.tables[table].name.clone(),
                evidence: format!("the stream contradicts itself in transaction {}", transaction.gtid),
            })?;
        }
        if let Some(micros) = transaction.commit_micros {
            let (oldest, newest) = self.batch.commit_micros.unwrap_or((micros, micros));
            self.batch.commit_micros = Some((oldest.min(micros), newest.max(micros)));
        }
        self.batch.transactions += 1;
        self.direction.progress.received(1);
        self.passed.add(transaction.gtid);
        self.position = transaction.end;
        Ok(())
    }

    fn touch(&mut self, table: usize, change: &Change) {
        let keys = match change {
            Change::Insert { key, .. } | Change::Delete { key } => [Some(key), None],
            Change::Update { before, key, .. } => [Some(before), Some(key).filter(|k| *k != before)],
        };
        for key in keys.into_iter().flatten() {
            if self.windows.watches(table) {
                self.windows.touch(table, key);
            }
            self.direction.dirty.add(table, key);
        }
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Open { table, wanted, opened } => {
                self.give_up_unwanted();
                let window = self.windows.open(table);
                self.reading.push((window, wanted));
                // If nobody listens any more, `wanted` is dead too.
                let _ = opened.send((window, self.passed.clone()));
            }
            Request::Close { window, high, then, wanted } => {
                self.reading.retain(|(id, _)| *id != window);
                self.windows.close(window, high, then);
                drop(wanted);
            }
        }
    }

    /// A reader that was cancelled leaves its window open; it would record keys for ever.
    fn give_up_unwanted(&mut self) {
        let windows = &mut self.windows;
        self.reading.retain(|(id, wanted)| {
            let alive = wanted.strong_count() > 0;
            if !alive {
                windows.give_up(*id);
            }
            alive
        });
    }

    /// Between two transactions: closes what is due, after sending what lies before.
    async fn close_windows(&mut self, work: &mpsc::Sender<Work>) -> Result<()> {
        let due = self.windows.take_due(&self.position);
        if due.is_empty() {
            return Ok(());
        }
        if self.batch.transactions > 0 {
            let batch = self.take_batch();
            work.send(Work::Batch(batch)).await.map_err(|_| MoveError::Stopped)?;
        }
        for closed in due {
            if let Some(step) = self.step_for(closed) {
                work.send(step).await.map_err(|_| MoveError::Stopped)?;
            }
        }
        Ok(())
    }

    fn step_for(&self, closed: Closed<AtClose>) -> Option<Work> {
        let touched = closed.touched;
        match closed.payload {
            AtClose::Copy { table, number, range, mut rows, done } => {
                let shape = &self.shapes[table];
                if !touched.is_empty() {
                    rows.retain(|row| !touched.contains(&shape.key(row)));
                }
                Some(Work::Copied(CopiedRange { table, number, range, rows, done }))
            }
            AtClose::Compare(point) => {
                let (reached_tx, reached) = oneshot::channel();
                let (resume, resume_rx) = oneshot::channel();
                let told = point.send(ComparePoint { touched, reached, resume });
                told.is_ok().then_some(Work::Pause(Pause { reached: reached_tx, resume: resume_rx }))
            }
        }
    }
}
