//! Copying: ranges are planned in key order, several are read at a time, each inside its own window.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use model::GtidSet;
use tokio::sync::{mpsc, oneshot};

use crate::along;
use crate::bag::BagCopier;
use crate::behind::Behind;
use crate::direction::Direction;
use crate::error::{MoveError, Result, Side};
use crate::ledger::{self, LedgerRow, PlannedRange};
use crate::literal::{RowShape, literals};
use crate::plan::Along;
use crate::ranges::{self, RangeCutter};
use crate::schema;
use crate::select::{KeyRange, in_range, row_list};
use crate::sequencer::{AtClose, Request};
use crate::session;
use crate::throttle::Throttle;
use crate::window_reader::WindowReader;

/// Ranges planned, and stored, in one go.
const PLAN_AHEAD: usize = 64;

/// Bytes of rows a reader holds before it cuts a range short: twice of it, as rows and as statements, for each reader is
/// what the copy needs at the most, a single larger row apart.
const PIECE_BYTES: usize = 8 << 20;

/// Tables that wait for their indexes before readers wait as well: building them is work for the target, too.
const FILLED_BOUND: usize = 64;

/// How to copy.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// Connections that read from the source at the same time.
    pub readers: usize,
    /// The most rows a range may have.
    pub chunk_rows: u64,
    /// Whether indexes that are not needed meanwhile are added to a table when its rows are there, which is faster.
    pub defer_indexes: bool,
    /// What moves along with the tables.
    pub along: Along,
    /// Who says when a reader may read.
    pub throttle: Arc<Throttle>,
    /// The target was restored from a backup as of this set: there is nothing to copy.
    pub from_backup: Option<GtidSet>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            readers: 3,
            chunk_rows: 5_000,
            defer_indexes: true,
            along: Along::default(),
            throttle: Arc::default(),
            from_backup: None,
        }
    }
}

/// What planner and readers share.
pub(crate) struct Copier {
    pub direction: Arc<Direction>,
    pub options: CopyOptions,
    pub planner: LedgerRow,
    pub requests: mpsc::Sender<Request>,
}

struct Job {
    table: usize,
    planned: PlannedRange,
    countdown: Arc<Countdown>,
}

impl Copier {
    /// Copies every range that the ledger does not call done.
    ///
    /// # Errors
    /// The first error of a reader or of the planner.
    pub async fn run(self) -> Result<()> {
        let copier = Arc::new(self);
        let (jobs_tx, jobs) = mpsc::channel(PLAN_AHEAD);
        let jobs = Arc::new(tokio::sync::Mutex::new(jobs));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..copier.options.readers.max(1) {
            tasks.spawn(Arc::clone(&copier).read_ranges(Arc::clone(&jobs)));
        }
        let (last_range_done, filled) = mpsc::channel(FILLED_BOUND);
        tasks.spawn(Arc::clone(&copier).plan(jobs_tx, last_range_done));
        tasks.spawn(Arc::clone(&copier).complete_tables(filled));
        let (direction, planner) = (Arc::clone(&copier.direction), copier.planner.clone());
        tasks.spawn(BagCopier::run(direction, planner, copier.requests.clone()));
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|_| MoveError::Stopped)??;
        }
        copier.bring_along().await
    }

    /// What goes along with the tables and needs them. Rows do not need it, so a refusal does not stop the stream; a
    /// cutover asks again, and is refused.
    async fn bring_along(&self) -> Result<()> {
        let options = &self.direction.options;
        match along::bring(&options.source, &options.target, &options.spec, &self.options.along).await {
            Err(error @ MoveError::Refused { .. }) => {
                tracing::warn!(target: "highwater::copy", %error, "not everything that goes along is on the target");
                Ok(())
            }
            done => done,
        }
    }

    /// Gives each table that has its rows what it was created without; only then it counts as copied.
    async fn complete_tables(self: Arc<Self>, mut filled: mpsc::Receiver<usize>) -> Result<()> {
        while let Some(table) = filled.recv().await {
            let target = &self.direction.options.target;
            let name = &self.direction.tables[table].name;
            schema::complete(target, &self.direction.ledger.move_name, name).await?;
            self.direction.progress.table_copied(table);
        }
        Ok(())
    }

    async fn plan(
        self: Arc<Self>,
        jobs: mpsc::Sender<Job>,
        last_range_done: mpsc::Sender<usize>,
    ) -> Result<()> {
        let mut source = session::open(&self.direction.options.source, Side::Source).await?;
        let mut target = session::open(&self.direction.options.target, Side::Target).await?;
        // Bags are copied on their own: they have no ranges.
        for (i, table) in self.direction.tables.iter().enumerate().filter(|(_, t)| !t.is_bag()) {
            let (estimate, rows) = ranges::size(&mut source, table, self.options.chunk_rows).await?;
            let known = ledger::planned(&mut target, &self.direction.ledger, table).await?;
            let done_rows = known.iter().filter(|p| p.done).map(|p| p.rows).sum();
            self.direction.progress.set_estimate(i, estimate.max(done_rows));
            self.direction.progress.resume_table(i, done_rows);

            let first_split = known.first().map_or(-1, |first| first.number.min(0) - 1);
            let countdown = Arc::new(Countdown::new(i, first_split, last_range_done.clone()));
            let (mut number, low) = ledger::end_of_plan(&known);
            let mut complete = number > 0 && low.is_none();
            for planned in known.into_iter().filter(|p| !p.done) {
                self.hand_out(&jobs, i, planned, &countdown).await?;
            }
            let mut cutter = RangeCutter::new(table, rows, low);
            while !complete {
                let mut new = Vec::new();
                while new.len() < PLAN_AHEAD && !complete {
                    cutter.resize(self.options.throttle.chunk_rows(rows));
                    let mut behind = Behind::default();
                    let range = loop {
                        match cutter.next(&mut source).await {
                            Ok(range) => break range,
                            Err(error) => behind.catch_up(&self.direction, &mut source, error).await?,
                        }
                    };
                    match range {
                        Some(range) => new.push(PlannedRange { number, range, done: false, rows: 0 }),
                        None => complete = true,
                    }
                    number += 1;
                }
                if !new.is_empty() {
                    ledger::plan(&mut target, &self.planner, table, &new).await?;
                }
                for planned in new {
                    self.hand_out(&jobs, i, planned, &countdown).await?;
                }
            }
            countdown.all_handed_out().await?;
        }
        Ok(())
    }

    async fn hand_out(
        &self,
        jobs: &mpsc::Sender<Job>,
        table: usize,
        planned: PlannedRange,
        countdown: &Arc<Countdown>,
    ) -> Result<()> {
        countdown.handed_out();
        let job = Job { table, planned, countdown: Arc::clone(countdown) };
        jobs.send(job).await.map_err(|_| MoveError::Stopped)
    }

    async fn read_ranges(self: Arc<Self>, jobs: Arc<tokio::sync::Mutex<mpsc::Receiver<Job>>>) -> Result<()> {
        let mut reader = WindowReader::open(&self.direction, self.requests.clone()).await?;
        loop {
            let next = jobs.lock().await.recv().await;
            let Some(job) = next else { return Ok(()) };
            self.copy_range(&mut reader, job).await?;
        }
    }

    /// Copies a planned range: in one go or, if its rows are many bytes, piece by piece.
    async fn copy_range(&self, reader: &mut WindowReader, job: Job) -> Result<()> {
        let mut left = Some(job.planned);
        while let Some(planned) = left {
            left = self.copy_piece(reader, job.table, planned, &job.countdown).await?;
        }
        job.countdown.one_done().await
    }

    /// Copies as much of a range as may be held in memory, and returns what is left of it.
    async fn copy_piece(
        &self,
        reader: &mut WindowReader,
        i: usize,
        planned: PlannedRange,
        countdown: &Countdown,
    ) -> Result<Option<PlannedRange>> {
        let table = &self.direction.tables[i];
        let PlannedRange { number, mut range, .. } = planned;
        let mut sql =
            format!("SELECT {} FROM {}", row_list(table), table.on(Side::Source).quoted()).into_bytes();
        sql.extend_from_slice(&in_range(table, &range));
        sql.extend_from_slice(format!(" ORDER BY {}", table.key_list()).as_bytes());
        let doing = format!("read a range of {}", table.name);
        let shape = RowShape::of(table);
        let mut behind = Behind::default();
        let (read, rows) = loop {
            let attempt = async {
                let turn = self.options.throttle.turn(&self.direction.progress).await;
                let mut read = reader.read(i, &sql, PIECE_BYTES, &doing).await?;
                turn.done(read.rows.len());
                // As literals a row is about as large again: let go of each as it is turned into them.
                let rows =
                    read.rows.drain(..).map(|row| shape.from_text(&row)).collect::<Result<Vec<_>>>()?;
                Ok((read, rows))
            };
            match attempt.await {
                Ok(done) => break done,
                Err(error) => behind.catch_up(&self.direction, reader.source(), error).await?,
            }
        };
        let mut rest = None;
        if let (true, Some(last)) = (read.cut_short, rows.last()) {
            let last: Vec<Vec<u8>> = literals(&shape.key(last)).map(<[u8]>::to_vec).collect();
            let beyond = KeyRange { low: Some(last.clone()), high: range.high.replace(last) };
            rest = Some(PlannedRange { number: countdown.next_split(), range: beyond, done: false, rows: 0 });
        }
        let (done, committed) = oneshot::channel();
        let then = AtClose::Copy { table: i, number, range, rest: rest.clone(), rows, done };
        reader.close(read, then).await?;
        committed.await.map_err(|_| MoveError::Stopped)?;
        Ok(rest)
    }
}

/// Knows when the last range of a table is done, and says so.
struct Countdown {
    table: usize,
    last_range_done: mpsc::Sender<usize>,
    /// Ranges outstanding, plus one until all are handed out.
    outstanding: Mutex<u64>,
    /// The number of the next range that is split off another.
    next_split: AtomicI32,
}

impl Countdown {
    fn new(table: usize, first_split: i32, last_range_done: mpsc::Sender<usize>) -> Self {
        Self { table, last_range_done, outstanding: Mutex::new(1), next_split: AtomicI32::new(first_split) }
    }

    fn next_split(&self) -> i32 {
        self.next_split.fetch_sub(1, Ordering::Relaxed)
    }

    fn handed_out(&self) {
        *self.outstanding.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }

    async fn all_handed_out(&self) -> Result<()> {
        self.one_done().await
    }

    async fn one_done(&self) -> Result<()> {
        let left = {
            let mut outstanding = self.outstanding.lock().unwrap_or_else(PoisonError::into_inner);
            *outstanding -= 1;
            *outstanding
        };
        match left {
            0 => self.last_range_done.send(self.table).await.map_err(|_| MoveError::Stopped),
            _ => Ok(()),
        }
    }
}
