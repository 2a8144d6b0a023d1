//! The one task that decides order: it passes transactions from the stream to the lanes that apply them, keeps the
//! windows, and at the right boundary slips in copied rows and pauses.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use model::{BinlogPosition, GtidSet};
use tokio::sync::{mpsc, oneshot};

use crate::apply::{Lanes, Mark};
use crate::direction::Direction;
use crate::error::{MoveError, Result};
use crate::literal::{Key, Tuple};
use crate::order::{Contradiction, Order};
use crate::select::KeyRange;
use crate::stream::{LoggedStatement, StreamItem};
use crate::window::{Closed, WindowId};
use crate::work::{CopiedRange, Pause, Replay, Work};

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
    /// Stop applying at this point, and tell which keys were touched.
    Compare(oneshot::Sender<ComparePoint>),
}

/// The lanes stand, or will stand, exactly where a window closed; they go on when `resume` is dropped.
#[derive(Debug)]
pub struct ComparePoint {
    /// Keys touched in the window: not to be compared.
    pub touched: HashSet<Key>,
    /// Resolves when the target has everything up to this point.
    pub reached: oneshot::Receiver<()>,
    /// Keeps the lanes where they are.
    pub resume: oneshot::Sender<()>,
}

/// See the module's comment.
pub(crate) struct Sequencer {
    direction: Arc<Direction>,
    order: Order<AtClose>,
    lanes: Lanes,
    /// Windows whose rows are being read, and whether anyone still does.
    reading: Vec<(WindowId, Weak<()>)>,
}

impl Sequencer {
    /// Starts at what the ledger says is applied.
    pub(crate) fn new(direction: Arc<Direction>, applied: GtidSet, lanes: Lanes) -> Self {
        Self { order: Order::new(&direction.tables, applied), direction, lanes, reading: Vec::new() }
    }

    /// Runs until the stream or a lane is gone.
    ///
    /// # Errors
    /// If the stream contradicts itself.
    pub async fn run(
        mut self,
        mut stream: mpsc::Receiver<StreamItem>,
        mut requests: mpsc::Receiver<Request>,
    ) -> Result<()> {
        loop {
            let batch = self.order.batch();
            let has_batch = batch.transactions > 0;
            let room = batch.changes < BATCH_CHANGES_MAX;
            // While the lanes are busy the batch grows; as soon as one has room for it, it goes.
            tokio::select! {
                lane = self.lanes.free_for(batch), if has_batch => {
                    let mut batch = self.order.take_batch();
                    let marks = std::mem::take(&mut batch.marks);
                    self.lanes.give(lane?, Work::Batch(batch), marks)?;
                }
                item = stream.recv(), if room => {
                    let Some(item) = item else { return Err(MoveError::Stopped) };
                    if let StreamItem::Statement(logged) = item {
                        return self.replay(logged).await;
                    }
                    self.pass(item)?;
                    self.close_windows().await?;
                }
                request = requests.recv() => {
                    let Some(request) = request else { return Err(MoveError::Stopped) };
                    self.serve(request);
                    self.close_windows().await?;
                }
            }
        }
    }

    fn pass(&mut self, item: StreamItem) -> Result<()> {
        let transactions = u64::from(matches!(item, StreamItem::Transaction(_)));
        let known = self.order.batch().marks.len();
        let dirty = &self.direction.dirty;
        self.order.pass(item, |table, key| dirty.add(table, key)).map_err(
            |Contradiction { table, gtid }| MoveError::NotExact {
                table,
                evidence: format!("the stream contradicts itself in transaction {gtid}"),
            },
        )?;
        self.direction.progress.received(transactions);
        let batch = self.order.batch_mut();
        let writers = batch.marks[known..].iter().filter_map(|mark| self.lanes.writer(*mark));
        batch.after = writers.chain(batch.after).max();
        Ok(())
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Open { table, wanted, opened } => {
                self.give_up_unwanted();
                let (window, passed) = self.order.open(table);
                self.reading.push((window, wanted));
                // If nobody listens any more, `wanted` is dead too.
                let _ = opened.send((window, passed));
            }
            Request::Close { window, high, then, wanted } => {
                self.reading.retain(|(id, _)| *id != window);
                self.order.close(window, high, then);
                drop(wanted);
            }
        }
    }

    /// A reader that was cancelled leaves its window open; it would record keys for ever.
    fn give_up_unwanted(&mut self) {
        let order = &mut self.order;
        self.reading.retain(|(id, wanted)| {
            let alive = wanted.strong_count() > 0;
            if !alive {
                order.give_up(*id);
            }
            alive
        });
    }

    /// Between two transactions: closes what is due, after giving out what lies before.
    async fn close_windows(&mut self) -> Result<()> {
        let due = self.order.take_due();
        if due.is_empty() {
            return Ok(());
        }
        self.give_batch().await?;
        for closed in due {
            if let Some((work, marks)) = self.work_for(closed) {
                self.lanes.give_in_order(work, marks).await?;
            }
        }
        Ok(())
    }

    async fn give_batch(&mut self) -> Result<()> {
        if self.order.batch().transactions > 0 {
            let mut batch = self.order.take_batch();
            let marks = std::mem::take(&mut batch.marks);
            self.lanes.give_in_order(Work::Batch(batch), marks).await?;
        }
        Ok(())
    }

    /// Gives out what lies before a statement, and the statement itself. Nothing comes after it: every window was opened
    /// over tables as they were before, and may hold rows of both shapes. The lane that executes it ends the pipeline.
    async fn replay(&mut self, logged: LoggedStatement) -> Result<()> {
        self.give_batch().await?;
        self.direction.progress.received(1);
        let mut applied = self.order.passed().clone();
        applied.add(logged.gtid);
        let replay = Replay { gtid: logged.gtid, applied, statement: logged.statement };
        self.lanes.give_in_order(Work::Replay(replay), Vec::new()).await?;
        std::future::pending().await
    }

    fn work_for(&self, closed: Closed<AtClose>) -> Option<(Work, Vec<Mark>)> {
        let touched = closed.touched;
        match closed.payload {
            AtClose::Copy { table, number, range, rows, done } => {
                let rows = self.order.untouched(table, rows, &touched);
                let marks = self.order.marks(table, &rows);
                Some((Work::Copied(CopiedRange { table, number, range, rows, done }), marks))
            }
            AtClose::Compare(point) => {
                let (reached_tx, reached) = oneshot::channel();
                let (resume, resume_rx) = oneshot::channel();
                let told = point.send(ComparePoint { touched, reached, resume });
                let pause = Work::Pause(Pause { reached: reached_tx, resume: resume_rx });
                told.is_ok().then_some((pause, Vec::new()))
            }
        }
    }
}
