//! One direction of a move, kept going: it runs the pipeline, and runs it again from the ledger when a connection broke.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{GtidSet, Table, TableName, Trouble};
use mysql::ConnectOptions;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::copy::CopyOptions;
use crate::dirty::DirtyKeys;
use crate::error::{Doing, MoveError, Result, Side};
use crate::ledger::{self, LedgerName};
use crate::pipeline::Pipeline;
use crate::plan::MoveSpec;
use crate::progress::Progress;
use crate::proof::Proof;
use crate::schema;
use crate::sequencer::Request;
use crate::session;
use crate::verify::{Verification, Verifier};

/// Pause before the pipeline is started again: long enough not to spin, short against what a server needs to restart.
const RESTART_PAUSE: Duration = Duration::from_millis(200);
/// Pause between rounds of re-proving, so that keys written again and again are proven once a round.
const REPROVE_PAUSE: Duration = Duration::from_millis(50);

/// Where a direction starts when the target has no ledger of it.
#[derive(Debug, Clone)]
pub enum Start {
    /// With a copy of every table.
    Copy(CopyOptions),
    /// At this GTID set: the target has everything up to it.
    At(GtidSet),
}

/// What to move, between which servers.
#[derive(Debug, Clone)]
pub struct MoverOptions {
    /// The move.
    pub spec: MoveSpec,
    /// Where rows come from.
    pub source: ConnectOptions,
    /// Where they go.
    pub target: ConnectOptions,
    /// Where to start.
    pub start: Start,
}

/// What the mover is doing.
#[derive(Debug, Clone)]
pub enum MoverState {
    /// Reading the schema and the ledger.
    Starting,
    /// The pipeline runs; whether it still copies, [`Progress`] tells.
    Running,
    /// A connection broke; trying again.
    Reconnecting(Trouble),
    /// Ended by an error that trying again cannot mend.
    Failed(Trouble),
}

/// A running direction of a move. Dropping it stops the pipeline; what is in the ledger stays.
pub struct Mover {
    options: MoverOptions,
    tables: Arc<Vec<Table>>,
    ledger: LedgerName,
    progress: Arc<Progress>,
    dirty: Arc<DirtyKeys>,
    proof: Arc<Proof>,
    access: watch::Receiver<Option<mpsc::Sender<Request>>>,
    state: watch::Receiver<MoverState>,
    task: JoinHandle<()>,
    prover: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.task.abort();
        self.stop_proving();
    }
}

impl Mover {
    /// Prepares the target (schema, tables, ledger) if the move has not begun, and starts.
    ///
    /// # Errors
    /// If a server cannot be reached or refuses, or the tables cannot be moved.
    pub async fn start(options: MoverOptions) -> Result<Self> {
        let mut source = session::open(&options.source, Side::Source).await?;
        let mut target = session::open(&options.target, Side::Target).await?;
        let tables = Arc::new(schema::read(&mut source, &options.spec).await?);
        let ledger = LedgerName {
            move_name: options.spec.name.clone(),
            source_uuid: variable(&mut source, Side::Source, "@@GLOBAL.server_uuid").await?,
        };
        ledger::create(&mut target).await?;
        let begun = ledger::read(&mut target, &ledger).await?;
        let proof = match (&options.start, begun) {
            (Start::At(applied), None) => {
                ledger::begin(&mut target, &ledger, applied).await?;
                Proof::carried_over(applied.clone())
            }
            (Start::Copy(_), None) => {
                // The position first: a row changed from here on is in the stream, one from before in the copy.
                let executed = gtid_executed(&mut source, Side::Source).await?;
                refuse_existing_rows(&mut target, &tables).await?;
                schema::create(&mut source, &mut target, &tables).await?;
                ledger::begin(&mut target, &ledger, &executed).await?;
                Proof::default()
            }
            (_, Some(_)) => Proof::default(),
        };

        let names: Vec<TableName> = tables.iter().map(|t| t.name.clone()).collect();
        let progress = Arc::new(Progress::new(names));
        let dirty = Arc::new(DirtyKeys::new(tables.len()));
        if proof.complete_as_of().is_some() {
            dirty.start();
        }
        let (access_tx, access) = watch::channel(None);
        let (state_tx, state) = watch::channel(MoverState::Starting);
        let keeper = Keeper {
            options: options.clone(),
            tables: Arc::clone(&tables),
            ledger: ledger.clone(),
            progress: Arc::clone(&progress),
            dirty: Arc::clone(&dirty),
            access: access_tx,
            state: state_tx,
        };
        let proof = Arc::new(proof);
        let task = tokio::spawn(keeper.keep_going());
        let prover = Mutex::new(None);
        Ok(Self { options, tables, ledger, progress, dirty, proof, access, state, task, prover })
    }

    /// Progress so far.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The proof so far.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// The tables.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Keys touched and not yet proven again.
    pub fn keys_in_flight(&self) -> u64 {
        self.dirty.unproven() as u64
    }

    /// What it is doing.
    pub fn state(&self) -> MoverState {
        self.state.borrow().clone()
    }

    /// The name of its ledger.
    pub fn ledger(&self) -> &LedgerName {
        &self.ledger
    }

    /// Waits until everything in `wanted` is applied.
    ///
    /// # Errors
    /// If the move fails meanwhile.
    pub async fn applied(&self, wanted: &GtidSet) -> Result<()> {
        let mut applied = self.progress.applied_set();
        let mut state = self.state.clone();
        loop {
            if applied.borrow_and_update().contains(wanted) {
                return Ok(());
            }
            self.unless_failed()?;
            tokio::select! {
                changed = applied.changed() => changed.map_err(|_| MoveError::Stopped)?,
                changed = state.changed() => changed.map_err(|_| MoveError::Stopped)?,
            }
        }
    }

    /// The error that ended the move, if one did.
    ///
    /// # Errors
    /// That error.
    pub fn unless_failed(&self) -> Result<()> {
        match &*self.state.borrow() {
            MoverState::Failed(trouble) => {
                Err(MoveError::Refused { what: trouble.what.clone(), hint: trouble.hint.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Opens a pair of connections that compares.
    ///
    /// # Errors
    /// If the pipeline does not run or a server cannot be reached.
    pub async fn verifier(&self) -> Result<Verifier> {
        let requests = self.access.borrow().clone().ok_or(MoveError::Stopped)?;
        Verifier::open(
            &self.options.source,
            &self.options.target,
            requests,
            Arc::clone(&self.tables),
            Arc::clone(&self.dirty),
            Arc::clone(&self.proof),
        )
        .await
    }

    /// Compares every row of every table while the stream goes on, then keeps the proof current in the background.
    /// `seen` is told of rows as they are compared.
    ///
    /// # Errors
    /// If a server fails or the copy is not complete.
    pub async fn verify(&self, workers: usize, seen: &(dyn Fn(u64) + Sync)) -> Result<Verification> {
        if !self.progress.all_copied() {
            return Err(MoveError::Refused {
                what: "cannot verify: the copy is not complete".into(),
                hint: "wait until `highwater status` shows every table copied".into(),
            });
        }
        self.stop_proving();
        self.proof.restart();
        self.dirty.reset();
        self.dirty.start();
        let next = std::sync::atomic::AtomicUsize::new(0);
        let lanes = (0..workers.max(1)).map(|_| self.verify_lane(&next, seen));
        let mut verdicts = Vec::new();
        for lane in join_all(lanes).await {
            verdicts.extend(lane?);
        }
        verdicts.sort_by(|a, b| a.table.cmp(&b.table));
        self.proof.complete(self.progress.applied_set().borrow().clone(), verdicts);

        // What was touched meanwhile is proven once here, so that a difference there shows in this answer too.
        let mut verifier = self.verifier().await?;
        let mut left = self.dirty.waiting();
        while left > 0 {
            match verifier.dirty_keys().await? {
                0 => break,
                proven => left = left.saturating_sub(proven),
            }
        }
        self.start_proving();
        let tables = self.proof.verdicts();
        Ok(Verification {
            rows: tables.iter().map(|t| t.rows).sum(),
            different: self.proof.different(),
            as_of: self.progress.applied_set().borrow().clone(),
            keys_in_flight: self.keys_in_flight(),
            tables,
        })
    }

    async fn verify_lane(
        &self,
        next: &std::sync::atomic::AtomicUsize,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<crate::proof::TableVerdict>> {
        let mut verifier = self.verifier().await?;
        let mut verdicts = Vec::new();
        loop {
            let table = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if table >= self.tables.len() {
                return Ok(verdicts);
            }
            verdicts.push(verifier.table(table, seen).await?);
        }
    }

    /// Starts re-proving dirty keys in the background.
    pub fn start_proving(&self) {
        self.stop_proving();
        let this = ProverParts {
            options: self.options.clone(),
            tables: Arc::clone(&self.tables),
            dirty: Arc::clone(&self.dirty),
            proof: Arc::clone(&self.proof),
            progress: Arc::clone(&self.progress),
            access: self.access.clone(),
        };
        *self.prover.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(this.keep_proving()));
    }

    /// Stops re-proving at once; keys in hand become dirty again.
    fn stop_proving(&self) {
        if let Some(task) = self.prover.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }

    /// Stops re-proving between two lots, so that nothing of it is under way on either server.
    pub async fn rest(&self) {
        let task = self.prover.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            self.proof.ask_to_rest();
            // If the caller gives up waiting, the prover is stopped rather than left behind.
            let mut task = StopOnDrop(task);
            let _ = (&mut task.0).await;
        }
    }
}

struct StopOnDrop(JoinHandle<()>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The task behind a [`Mover`].
struct Keeper {
    options: MoverOptions,
    tables: Arc<Vec<Table>>,
    ledger: LedgerName,
    progress: Arc<Progress>,
    dirty: Arc<DirtyKeys>,
    access: watch::Sender<Option<mpsc::Sender<Request>>>,
    state: watch::Sender<MoverState>,
}

impl Keeper {
    async fn keep_going(self) {
        loop {
            let error = match self.run_once().await {
                Ok(()) => MoveError::Stopped,
                Err(error) => error,
            };
            if !error.can_resume() {
                tracing::error!(target: "highwater::move", %error, "the move stopped");
                self.state.send_replace(MoverState::Failed(error.trouble()));
                return;
            }
            tracing::warn!(target: "highwater::move", %error, "reconnecting");
            self.state.send_replace(MoverState::Reconnecting(error.trouble()));
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    }

    async fn run_once(&self) -> Result<()> {
        let mut target = session::open(&self.options.target, Side::Target).await?;
        let applied = ledger::read(&mut target, &self.ledger).await?.ok_or_else(|| MoveError::Refused {
            what: "the ledger on the target is gone".into(),
            hint: "someone removed it; run `highwater finish` and copy again".into(),
        })?;
        self.check_same_source().await?;
        let copy = match &self.options.start {
            Start::Copy(options) => Some(options.clone()),
            Start::At(_) => None,
        };
        self.state.send_replace(MoverState::Running);
        let pipeline = Pipeline {
            source: self.options.source.clone(),
            target: self.options.target.clone(),
            tables: Arc::clone(&self.tables),
            ledger: self.ledger.clone(),
            applied,
            copy,
            progress: Arc::clone(&self.progress),
            dirty: Arc::clone(&self.dirty),
            access: self.access.clone(),
        };
        pipeline.run().await
    }

    /// After a reconnection: the address may now lead to another server, whose positions mean nothing to ours.
    async fn check_same_source(&self) -> Result<()> {
        let mut source = session::open(&self.options.source, Side::Source).await?;
        let uuid = variable(&mut source, Side::Source, "@@GLOBAL.server_uuid").await?;
        if uuid == self.ledger.source_uuid {
            return Ok(());
        }
        Err(MoveError::Refused {
            what: format!("the source is another server now: {uuid}, not {}", self.ledger.source_uuid),
            hint: "point the cluster's address at the old server, or finish this move and begin a new one".into(),
        })
    }
}

/// The task that keeps the proof current.
struct ProverParts {
    options: MoverOptions,
    tables: Arc<Vec<Table>>,
    dirty: Arc<DirtyKeys>,
    proof: Arc<Proof>,
    progress: Arc<Progress>,
    access: watch::Receiver<Option<mpsc::Sender<Request>>>,
}

impl ProverParts {
    async fn keep_proving(self) {
        self.proof.begin_work();
        while !self.proof.is_asked_to_rest() {
            if let Err(error) = self.prove_while_connected().await {
                tracing::debug!(target: "highwater::proof", %error, "re-proving begins again");
            }
            tokio::time::sleep(REPROVE_PAUSE).await;
        }
    }

    async fn prove_while_connected(&self) -> Result<()> {
        let requests = self.access.borrow().clone().ok_or(MoveError::Stopped)?;
        let mut verifier = Verifier::open(
            &self.options.source,
            &self.options.target,
            requests,
            Arc::clone(&self.tables),
            Arc::clone(&self.dirty),
            Arc::clone(&self.proof),
        )
        .await?;
        while !self.proof.is_asked_to_rest() {
            let as_of = self.progress.applied_set().borrow().clone();
            let mut left = self.dirty.waiting();
            while left > 0 && !self.proof.is_asked_to_rest() {
                match verifier.dirty_keys().await? {
                    0 => break,
                    proven => left = left.saturating_sub(proven),
                }
            }
            if left == 0 {
                self.proof.advance(as_of);
            }
            tokio::time::sleep(REPROVE_PAUSE).await;
        }
        Ok(())
    }
}

/// A table with rows that no ledger knows is not ours to write to.
async fn refuse_existing_rows(target: &mut mysql::Connection, tables: &[Table]) -> Result<()> {
    for table in tables {
        let sql = format!("SELECT 1 FROM {} LIMIT 1", table.name.quoted());
        match target.row(sql).await {
            // 1049: unknown schema, 1146: unknown table.
            Err(error) if matches!(error.server_code(), Some(1049 | 1146)) => {}
            Err(error) => return Err(error).doing(Side::Target, format!("look into {}", table.name)),
            Ok(None) => {}
            Ok(Some(_)) => {
                return Err(MoveError::Refused {
                    what: format!("table {} on the target has rows, and no ledger says where they came from", table.name),
                    hint: "empty or drop it on the target, or leave it out of the move".into(),
                });
            }
        }
    }
    Ok(())
}

/// A server's executed GTID set.
///
/// # Errors
/// If the server fails or the set cannot be held.
pub async fn gtid_executed(connection: &mut mysql::Connection, side: Side) -> Result<GtidSet> {
    ledger::parse_set(&variable(connection, side, "@@GLOBAL.gtid_executed").await?)
}

pub(crate) async fn variable(connection: &mut mysql::Connection, side: Side, name: &str) -> Result<String> {
    let row = connection.row(format!("SELECT {name}")).await.doing(side, format!("read {name}"))?;
    Ok(row.map(|r| r.text(0)).unwrap_or_default())
}

/// Runs futures of one type together in this task, and returns their results in order.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(move |cx| {
        let mut all_done = true;
        for (future, output) in &mut pending {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => all_done = false,
                }
            }
        }
        if all_done {
            std::task::Poll::Ready(pending.iter_mut().filter_map(|(_, output)| output.take()).collect())
        } else {
            std::task::Poll::Pending
        }
    })
    .await
}
