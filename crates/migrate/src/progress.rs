//! What a move has done so far, for whoever watches; written by the pipeline, read by anyone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use model::{GtidSet, TableName};
use tokio::sync::watch;

use crate::work::Batch;

/// Progress of one direction of a move. Outlives restarts of the pipeline.
#[derive(Debug)]
pub struct Progress {
    tables: RwLock<Vec<TableProgress>>,
    /// The statement that the stream waits for, and since when.
    statement: Mutex<Option<(String, Instant)>>,
    applied: watch::Sender<GtidSet>,
    transactions: AtomicU64,
    changes: AtomicU64,
    lag: Mutex<Lag>,
    /// Transactions received and not yet applied.
    backlog: AtomicU64,
    started: Instant,
    /// Rows that an earlier process had copied.
    rows_at_start: AtomicU64,
}

#[derive(Debug)]
struct TableProgress {
    name: TableName,
    rows_copied: AtomicU64,
    rows_estimate: AtomicU64,
    copied: AtomicBool,
    /// Whether what an earlier process copied of it is counted.
    resumed: AtomicBool,
    /// When this process first and last copied a range of it.
    span: Mutex<Option<(Instant, Instant)>>,
    rows_here: AtomicU64,
}

impl TableProgress {
    fn new(name: TableName) -> Self {
        Self {
            name,
            rows_copied: AtomicU64::new(0),
            rows_estimate: AtomicU64::new(0),
            copied: AtomicBool::new(false),
            resumed: AtomicBool::new(false),
            span: Mutex::default(),
            rows_here: AtomicU64::new(0),
        }
    }

    /// Rows per second while this process copied the table.
    fn rate(&self) -> f64 {
        let span = *self.span.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = span.map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        if seconds > 0.0 { self.rows_here.load(Ordering::Relaxed) as f64 / seconds } else { 0.0 }
    }
}

#[derive(Debug, Default)]
struct Lag {
    last: Duration,
    measured: Option<Instant>,
    apply_time: Duration,
}

/// A table's progress at one moment.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    /// The table.
    pub name: TableName,
    /// Rows copied.
    pub rows_copied: u64,
    /// Rows the source says the table has; an estimate.
    pub rows_estimate: u64,
    /// Whether every range is copied.
    pub copied: bool,
    /// Rows per second while this process copied it.
    pub rows_per_second: f64,
}

impl Progress {
    /// Progress of these tables, nothing done yet.
    pub fn new(tables: impl IntoIterator<Item = TableName>) -> Self {
        Self {
            tables: RwLock::new(tables.into_iter().map(TableProgress::new).collect()),
            statement: Mutex::default(),
            applied: watch::Sender::new(GtidSet::default()),
            transactions: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            lag: Mutex::default(),
            backlog: AtomicU64::new(0),
            started: Instant::now(),
            rows_at_start: AtomicU64::new(0),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<TableProgress>> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<TableProgress>> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other tables take the place of those there were; each with the place it had before, if any.
    pub(crate) fn replan(&self, tables: impl Iterator<Item = (TableName, Option<usize>)>) {
        let mut now = self.write();
        let mut old: Vec<Option<TableProgress>> = std::mem::take(&mut *now).into_iter().map(Some).collect();
        *now = tables
            .map(|(name, place)| match place.and_then(|i| old.get_mut(i)?.take()) {
                Some(progress) => TableProgress { name, ..progress },
                None => {
                    // It came by the stream, empty: there is nothing to copy.
                    let new = TableProgress::new(name);
                    new.copied.store(true, Ordering::Release);
                    new
                }
            })
            .collect();
    }

    /// The copy of a table begins anew.
    pub(crate) fn restart(&self, name: &TableName) {
        if let Some(table) = self.write().iter_mut().find(|t| t.name == *name) {
            let fresh = TableProgress::new(name.clone());
            fresh.resumed.store(true, Ordering::Relaxed);
            *table = fresh;
        }
    }

    /// The stream waits for a statement for as long as what is returned lives.
    pub(crate) fn executing(&self, shown: &str) -> Executing<'_> {
        *self.statement.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((shown.to_owned(), Instant::now()));
        Executing(self)
    }

    /// The statement of the stream that is being executed on the target, and for how long.
    pub fn statement(&self) -> Option<(String, Duration)> {
        let statement = self.statement.lock().unwrap_or_else(PoisonError::into_inner);
        statement.as_ref().map(|(shown, since)| (shown.clone(), since.elapsed()))
    }

    /// The GTID set applied, and a way to wait for it to grow.
    pub fn applied_set(&self) -> watch::Receiver<GtidSet> {
        self.applied.subscribe()
    }

    pub(crate) fn set_applied(&self, applied: GtidSet) {
        self.backlog.store(0, Ordering::Relaxed);
        self.applied.send_replace(applied);
    }

    pub(crate) fn received(&self, transactions: u64) {
        self.backlog.fetch_add(transactions, Ordering::Relaxed);
    }

    pub(crate) fn applied(&self, batch: &Batch, lag: Option<Duration>, apply_time: Duration) {
        self.transactions.fetch_add(batch.transactions, Ordering::Relaxed);
        self.changes.fetch_add(batch.changes, Ordering::Relaxed);
        self.backlog.fetch_sub(batch.transactions, Ordering::Relaxed);
        if let Some(last) = lag {
            *self.lock_lag() = Lag { last, measured: Some(Instant::now()), apply_time };
        }
        self.applied.send_replace(batch.applied.clone());
    }

    pub(crate) fn set_estimate(&self, table: usize, rows: u64) {
        self.read()[table].rows_estimate.store(rows, Ordering::Relaxed);
    }

    pub(crate) fn resume_table(&self, table: usize, rows: u64) {
        let tables = self.read();
        tables[table].rows_copied.store(rows, Ordering::Relaxed);
        // Only once: a pipeline that begins anew finds rows that this process has copied.
        if !tables[table].resumed.swap(true, Ordering::Relaxed) {
            self.rows_at_start.fetch_add(rows, Ordering::Relaxed);
        }
    }

    pub(crate) fn range_copied(&self, table: usize, rows: u64) {
        let tables = self.read();
        let table = &tables[table];
        table.rows_copied.fetch_add(rows, Ordering::Relaxed);
        let now = Instant::now();
        let mut span = table.span.lock().unwrap_or_else(PoisonError::into_inner);
        match span.as_mut() {
            // The first range sets the clock: how long it took was not measured.
            None => *span = Some((now, now)),
            Some((_, last)) => {
                *last = now;
                table.rows_here.fetch_add(rows, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn table_copied(&self, table: usize) {
        self.read()[table].copied.store(true, Ordering::Release);
    }

    /// Whether every range of the table is copied.
    pub fn is_copied(&self, table: usize) -> bool {
        self.read()[table].copied.load(Ordering::Acquire)
    }

    /// Whether every range of every table is copied.
    pub fn all_copied(&self) -> bool {
        self.read().iter().all(|t| t.copied.load(Ordering::Acquire))
    }

    /// Every table's progress.
    pub fn tables(&self) -> Vec<TableSnapshot> {
        let snapshot = |t: &TableProgress| TableSnapshot {
            name: t.name.clone(),
            rows_copied: t.rows_copied.load(Ordering::Relaxed),
            rows_estimate: t.rows_estimate.load(Ordering::Relaxed),
            copied: t.copied.load(Ordering::Acquire),
            rows_per_second: t.rate(),
        };
        self.read().iter().map(snapshot).collect()
    }

    /// Rows copied in all.
    pub fn rows_copied(&self) -> u64 {
        self.read().iter().map(|t| t.rows_copied.load(Ordering::Relaxed)).sum()
    }

    /// Rows copied per second since this process began copying.
    pub fn rows_per_second(&self) -> f64 {
        let rows = self.rows_copied().saturating_sub(self.rows_at_start.load(Ordering::Relaxed));
        rows as f64 / self.started.elapsed().as_secs_f64().max(0.001)
    }

    /// Source transactions and row changes applied by this process.
    pub fn applied_counts(&self) -> (u64, u64) {
        (self.transactions.load(Ordering::Relaxed), self.changes.load(Ordering::Relaxed))
    }

    /// How far the target is behind: from the commit on the source to the commit on the target, of the last batch,
    /// plus the time since, if more has been received. The servers' and our own clock must agree for it to be true.
    pub fn lag(&self) -> Duration {
        let lag = self.lock_lag();
        match (self.backlog.load(Ordering::Relaxed), lag.measured) {
            (0, Some(at)) if at.elapsed() > Duration::from_secs(1) => Duration::ZERO,
            (0, _) => lag.last,
            (_, at) => lag.last + at.map_or(Duration::ZERO, |at| at.elapsed()).saturating_sub(lag.apply_time),
        }
    }

    fn lock_lag(&self) -> std::sync::MutexGuard<'_, Lag> {
        self.lag.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A statement is being executed until this is dropped.
#[derive(Debug)]
pub(crate) struct Executing<'a>(&'a Progress);

impl Drop for Executing<'_> {
    fn drop(&mut self) {
        *self.0.statement.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
