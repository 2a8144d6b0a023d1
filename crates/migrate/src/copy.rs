//! Copying: ranges are planned in key order, several are read at a time, each inside its own window.

use std::sync::{Arc, Mutex, PoisonError};

use model::GtidSet;
use tokio::sync::{mpsc, oneshot};

use crate::direction::Direction;
use crate::error::{MoveError, Result, Side};
use crate::ledger::{self, PlannedRange};
use crate::literal::RowShape;
use crate::ranges::{self, RangeCutter};
use crate::select::{in_range, row_list};
use crate::sequencer::{AtClose, Request};
use crate::session;
use crate::throttle::Throttle;
use crate::window_reader::WindowReader;

/// Ranges planned, and stored, in one go.
const PLAN_AHEAD: usize = 64;

/// How to copy.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// Connections that read from the source at the same time.
    pub readers: usize,
    /// The most rows a range may have.
    pub chunk_rows: u64,
    /// Who says when a reader may read.
    pub throttle: Arc<Throttle>,
    /// The target was restored from a backup as of this set: there is nothing to copy.
    pub from_backup: Option<GtidSet>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { readers: 3, chunk_rows: 5_000, throttle: Arc::default(), from_backup: None }
    }
}

/// What planner and readers share.
pub(crate) struct Copier {
    pub direction: Arc<Direction>,
    pub options: CopyOptions,
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
        tasks.spawn(Arc::clone(&copier).plan(jobs_tx));
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|_| MoveError::Stopped)??;
        }
        Ok(())
    }

    async fn plan(self: Arc<Self>, jobs: mpsc::Sender<Job>) -> Result<()> {
        let mut source = session::open(&self.direction.options.source, Side::Source).await?;
        let mut target = session::open(&self.direction.options.target, Side::Target).await?;
        for (i, table) in self.direction.tables.iter().enumerate() {
            let (estimate, rows) = ranges::size(&mut source, table, self.options.chunk_rows).await?;
            let known = ledger::planned(&mut target, &self.direction.ledger, table).await?;
            let done_rows = known.iter().filter(|p| p.done).map(|p| p.rows).sum();
            self.direction.progress.set_estimate(i, estimate.max(done_rows));
            self.direction.progress.resume_table(i, done_rows);

            let countdown = Arc::new(Countdown::new(i, Arc::clone(&self.direction)));
            let (mut number, mut low) = (0, None);
            let mut complete = false;
            if let Some(last) = known.last() {
                (number, low) = (last.number + 1, last.range.high.clone());
                complete = low.is_none();
            }
            for planned in known.into_iter().filter(|p| !p.done) {
                self.hand_out(&jobs, i, planned, &countdown).await?;
            }
            let mut cutter = RangeCutter::new(table, rows, low);
            while !complete {
                let mut new = Vec::new();
                while new.len() < PLAN_AHEAD && !complete {
                    cutter.resize(self.options.throttle.chunk_rows(rows));
                    match cutter.next(&mut source).await? {
                        Some(range) => new.push(PlannedRange { number, range, done: false, rows: 0 }),
                        None => complete = true,
                    }
                    number += 1;
                }
                if !new.is_empty() {
                    ledger::plan(&mut target, &self.direction.ledger, table, &new).await?;
                }
                for planned in new {
                    self.hand_out(&jobs, i, planned, &countdown).await?;
                }
            }
            countdown.all_handed_out();
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
        let mut reader = WindowReader::open(&self.direction.options.source, self.requests.clone()).await?;
        loop {
            let next = jobs.lock().await.recv().await;
            let Some(job) = next else { return Ok(()) };
            self.copy_range(&mut reader, job).await?;
        }
    }

    async fn copy_range(&self, reader: &mut WindowReader, job: Job) -> Result<()> {
        let table = &self.direction.tables[job.table];
        let PlannedRange { number, range, .. } = job.planned;
        let mut sql = format!("SELECT {} FROM {}", row_list(table), table.name.quoted()).into_bytes();
        sql.extend_from_slice(&in_range(table, &range));
        let turn = self.options.throttle.turn(&self.direction.progress).await;
        let read = reader.read(job.table, &sql, &format!("read a range of {}", table.name)).await?;
        turn.done(read.rows.len());

        let shape = RowShape::of(table);
        let rows = read.rows.iter().map(|row| shape.from_text(row)).collect::<Result<_>>()?;
        let (done, committed) = oneshot::channel();
        let then = AtClose::Copy { table: job.table, number, range, rows, done };
        reader.close(read, then).await?;
        committed.await.map_err(|_| MoveError::Stopped)?;
        job.countdown.one_done();
        Ok(())
    }
}

/// Knows when the last range of a table is done.
struct Countdown {
    table: usize,
    direction: Arc<Direction>,
    /// Ranges outstanding, plus one until all are handed out.
    outstanding: Mutex<u64>,
}

impl Countdown {
    fn new(table: usize, direction: Arc<Direction>) -> Self {
        Self { table, direction, outstanding: Mutex::new(1) }
    }

    fn handed_out(&self) {
        *self.outstanding.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }

    fn all_handed_out(&self) {
        self.one_done();
    }

    fn one_done(&self) {
        let mut outstanding = self.outstanding.lock().unwrap_or_else(PoisonError::into_inner);
        *outstanding -= 1;
        if *outstanding == 0 {
            self.direction.progress.table_copied(self.table);
        }
    }
}
