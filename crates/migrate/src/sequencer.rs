//! The one task that decides order: it passes transactions from the stream to the lanes that apply them, keeps the
//! windows, and at the right boundary slips in copied rows and pauses.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use model::{BinlogPosition, GtidSet};
use mysql::Row;
use tokio::sync::{mpsc, oneshot};

use crate::apply::{Lanes, Mark};
use crate::bag::{self, Bags};
use crate::direction::Direction;
use crate::error::{MoveError, Result};
use crate::ledger::PlannedRange;
use crate::literal::{Key, Tuple};
use crate::order::{Contradiction, Order};
use crate::select::KeyRange;
use crate::stream::{LoggedStatement, StreamItem, Streamed};
use crate::window::{Closed, WindowId};
use crate::work::{BagStep, BagWork, Batch, CopiedRange, Pause, Repair, RepairWork, Repaired, Replay, Work};

/// Row changes after which a batch is not made larger: bounds memory, and the work lost in a crash.
const BATCH_CHANGES_MAX: u64 = 5_000;
/// Bytes of changes after which it is not made larger either.
const BATCH_BYTES_MAX: usize = 8 << 20;

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
    /// A step of copying a bag whose changes are held back, or passed over.
    Bag(BagStep),
    /// Rows of a bag that are too many or too few.
    Repair(Repair),
    /// New connections reach another server than the one whose log is followed, which may live on.
    SourceMoved,
}

/// What to do when a window closes.
#[derive(Debug)]
pub enum AtClose {
    /// Write the rows that were not touched.
    Copy {
        /// The table's place in the plan.
        table: usize,
        /// The range's number.
        number: i32,
        /// Its bounds.
        range: KeyRange,
        /// What is left of the range as it was planned, if its rows were too many bytes.
        rest: Option<PlannedRange>,
        /// Rows as read.
        rows: Vec<Tuple>,
        /// Told once they are committed.
        done: oneshot::Sender<()>,
    },
    /// From here on hold back the changes of a bag, if the snapshot opened in the window is the table as it is here.
    Hold {
        /// The table's place in the plan.
        table: usize,
        /// What the source had shown just before the snapshot.
        seen: GtidSet,
        /// Whether rows gained need not be held back.
        gains_pass: bool,
        /// Told whether it is.
        held: oneshot::Sender<bool>,
    },
    /// Make the rows of these keys what was read, but for those that were touched.
    Repair {
        /// The table's place in the plan.
        table: usize,
        /// The keys.
        keys: Vec<Key>,
        /// Rows as read, whole.
        rows: Vec<Row>,
        /// Told what came of it.
        done: oneshot::Sender<Repaired>,
    },
    /// Stop applying at this point, and tell which keys were touched.
    Compare(oneshot::Sender<ComparePoint>),
}

/// The lanes stand, or will stand, exactly where a window closed; they go on when `resume` is dropped.
#[derive(Debug)]
pub struct ComparePoint {
    /// Keys touched in the window: not to be compared. Of a bag, the transactions that touched it.
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
    /// Takes the parts of a huge transaction under way to the lane that executes it.
    huge: Option<mpsc::Sender<Batch>>,
    /// Tables changed by the transaction that is passing.
    changing: Vec<usize>,
}

impl Sequencer {
    /// Starts at what the ledger says is applied. Bags that are not `here` have yet to be copied.
    pub(crate) fn new(
        direction: Arc<Direction>,
        applied: GtidSet,
        lanes: Lanes,
        here: &HashSet<usize>,
    ) -> Self {
        let mut order = Order::new(&direction.tables, applied);
        *order.bags() = Bags::of(&direction.tables, here);
        Self { order, direction, lanes, reading: Vec::new(), huge: None, changing: Vec::new() }
    }

    /// Runs until the stream or a lane is gone.
    ///
    /// # Errors
    /// If the stream contradicts itself.
    pub async fn run(
        mut self,
        mut stream: mpsc::Receiver<Streamed>,
        mut requests: mpsc::Receiver<Request>,
    ) -> Result<()> {
        loop {
            let batch = self.order.batch();
            let has_batch = batch.transactions > 0;
            let room = batch.changes < BATCH_CHANGES_MAX && batch.bytes < BATCH_BYTES_MAX;
            // While the lanes are busy the batch grows; as soon as one has room for it, it goes.
            tokio::select! {
                lane = self.lanes.free_for(batch), if has_batch => {
                    let (batch, marks) = self.take_batch();
                    self.lanes.give(lane?, batch, marks)?;
                }
                item = stream.recv(), if room => {
                    let Some(Streamed { item, .. }) = item else { return Err(MoveError::Stopped) };
                    match (item, &self.huge) {
                        (StreamItem::Statement(logged), _) => return self.replay(logged).await,
                        (part @ StreamItem::Part(_), _) | (part, Some(_)) => self.pass_part(part).await?,
                        (item, None) => self.pass(item)?,
                    }
                    self.close_windows().await?;
                }
                // A window opened within a transaction would not know what was touched before in it.
                request = requests.recv(), if self.huge.is_none() => {
                    let Some(request) = request else { return Err(MoveError::Stopped) };
                    self.serve(request).await?;
                    self.close_windows().await?;
                }
            }
        }
    }

    /// Passes a part of a huge transaction, or its end, to the lane that executes it while it still arrives.
    async fn pass_part(&mut self, item: StreamItem) -> Result<()> {
        let is_last = matches!(item, StreamItem::Transaction(_));
        let parts = match self.huge.take() {
            Some(parts) => parts,
            None => {
                self.give_batch().await?;
                let (parts, received) = mpsc::channel(1);
                self.lanes.give_in_order(Work::Huge(received), Vec::new()).await?;
                parts
            }
        };
        self.pass(item)?;
        let mut part = self.order.take_batch();
        part.marks = Vec::new();
        parts.send(part).await.map_err(|_| MoveError::Stopped)?;
        if is_last {
            // Nothing runs ahead of it: its keys are too many to be remembered as in flight.
            self.lanes.all_committed().await;
            return Ok(());
        }
        self.huge = Some(parts);
        Ok(())
    }

    fn pass(&mut self, item: StreamItem) -> Result<()> {
        let transaction = match &item {
            StreamItem::Transaction(transaction) => Some(transaction.gtid),
            _ => None,
        };
        let known = self.order.batch().marks.len();
        let (dirty, changing) = (&self.direction.dirty, &mut self.changing);
        let touched = |table, key: &Key| {
            dirty.add(table, key);
            if changing.last() != Some(&table) && !changing.contains(&table) {
                changing.push(table);
            }
        };
        self.order.pass(item, touched).map_err(|Contradiction { table }| {
            let evidence = "the stream inserts a row that is there, or removes one that is not".into();
            MoveError::NotExact { table, evidence }
        })?;
        if let Some(gtid) = transaction {
            self.direction.changes.changed(self.changing.drain(..), gtid);
        }
        self.direction.progress.received(u64::from(transaction.is_some()));
        if let Some(table) = self.order.bags().overfull() {
            return Err(too_much_held(&self.direction.tables[table].name));
        }
        self.lanes.schedule().note(self.order.batch_mut(), known);
        Ok(())
    }

    /// Takes the batch, and the marks of what it writes.
    fn take_batch(&mut self) -> (Work, Vec<Mark>) {
        with_marks(self.order.take_batch())
    }

    /// Between two transactions: gives out a step of copying a bag. With the last one, what was held back goes out, so
    /// everything before this point must be given out before it.
    async fn bag_step(&mut self, mut step: BagStep) -> Result<()> {
        let mut marks = Vec::new();
        if let BagWork::Finish { held, .. } = &mut step.what {
            self.give_batch().await?;
            *held = self.order.bags().release(step.table);
            marks = bag::recorded(step.table, held);
        }
        self.lanes.give_in_order(Work::Bag(step), marks).await
    }

    async fn give_batch(&mut self) -> Result<()> {
        if self.order.batch().transactions > 0 {
            let (batch, marks) = self.take_batch();
            self.lanes.give_in_order(batch, marks).await?;
        }
        Ok(())
    }

    async fn serve(&mut self, request: Request) -> Result<()> {
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
            Request::Bag(step) => self.bag_step(step).await?,
            Request::SourceMoved => return Err(MoveError::SourceMoved),
            Request::Repair(repair) => {
                let marks = match &repair.what {
                    RepairWork::Bag(fold) => bag::recorded(repair.table, fold),
                    RepairWork::Rows { keys, .. } => marks_of(repair.table, keys),
                };
                self.lanes.give_in_order(Work::Repair(repair), marks).await?;
            }
        }
        Ok(())
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
        if self.huge.is_some() {
            return Ok(());
        }
        let due = self.order.take_due();
        if let Some(batch) = due.batch {
            let (batch, marks) = with_marks(batch);
            self.lanes.give_in_order(batch, marks).await?;
        }
        for closed in due.closed {
            if let Some((work, marks)) = self.work_for(closed) {
                self.lanes.give_in_order(work, marks).await?;
            }
        }
        Ok(())
    }

    /// Gives out what lies before a statement, and the statement itself. Nothing comes after it: every window was opened
    /// over tables as they were before, and may hold rows of both shapes. The lane that executes it ends the pipeline.
    async fn replay(&mut self, logged: LoggedStatement) -> Result<()> {
        self.give_batch().await?;
        self.direction.progress.received(1);
        self.direction.changes.any_changed(logged.gtid);
        let mut applied = self.order.passed().clone();
        applied.add(logged.gtid);
        let replay = Replay { gtid: logged.gtid, applied, statement: logged.statement };
        self.lanes.give_in_order(Work::Replay(replay), Vec::new()).await?;
        std::future::pending().await
    }

    fn work_for(&mut self, closed: Closed<AtClose>) -> Option<(Work, Vec<Mark>)> {
        let touched = closed.touched;
        match closed.payload {
            AtClose::Copy { table, number, range, rest, rows, done } => {
                let rows = self.order.untouched(table, rows, &touched);
                let marks = self.order.marks(table, &rows);
                Some((Work::Copied(CopiedRange { table, number, range, rest, rows, done }), marks))
            }
            AtClose::Hold { table, seen, gains_pass, held } => {
                let exact = self.order.bags().hold(table, &seen, &touched, gains_pass);
                // If nobody listens any more, the copy has ended, and the pipeline with it.
                let _ = held.send(exact);
                None
            }
            AtClose::Repair { table, keys, rows, done } => {
                let keys: HashSet<Key> = keys.into_iter().filter(|key| !touched.contains(key)).collect();
                let marks = marks_of(table, &keys);
                let what = RepairWork::Rows { keys, rows };
                Some((Work::Repair(Repair { table, what, done }), marks))
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

/// A batch as work, and the marks of everything it writes: later work waits for it by these.
fn with_marks(mut batch: Batch) -> (Work, Vec<Mark>) {
    let mut marks = std::mem::take(&mut batch.marks);
    marks.extend(batch.bags.iter().flat_map(|(table, fold)| bag::recorded(*table, fold)));
    (Work::Batch(batch), marks)
}

fn marks_of(table: usize, keys: &HashSet<Key>) -> Vec<Mark> {
    keys.iter().map(|key| Mark::of(table, key)).collect()
}

fn too_much_held(table: &model::TableName) -> MoveError {
    MoveError::Refused {
        what: format!(
            "table {table} has no key, and while its rows are read more of it changes than can be held back"
        ),
        hint: "start again when it is written to less, or add a key, for example ALTER TABLE ... ADD COLUMN id BIGINT \
               UNSIGNED AUTO_INCREMENT INVISIBLE PRIMARY KEY"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::schedule::Schedule;
    use crate::bag::BagFold;

    #[test]
    fn work_on_a_bag_waits_for_every_batch_that_changes_it() {
        let mut fold = BagFold::default();
        fold.count(b"1".as_slice().into(), -1);
        let mut batch = Batch::new(1);
        batch.bags.insert(0, fold.clone());
        let mut schedule = Schedule::new(1);
        let turn = schedule.begin(with_marks(batch).1, 0);
        let waits_for: Vec<_> = bag::waits(0, &fold).into_iter().map(|mark| schedule.writer(mark)).collect();
        assert_eq!(waits_for, [Some(turn), Some(turn)]);
    }
}
