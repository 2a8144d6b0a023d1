//! One direction of a move, as those who start, watch and question it see it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{GtidSet, Table, TableName, Trouble};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::changes::LastChanges;
use crate::copy::CopyOptions;
use crate::direction::{Access, Direction, MoverOptions, Start};
use crate::dirty::DirtyKeys;
use crate::error::{Doing, MoveError, Result, Side};
use crate::failover;
use crate::keeper::Keeper;
use crate::ledger::proven::{self, Kept, KeptProof};
use crate::ledger::{self, LedgerName, plan};
use crate::opening;
use crate::plan::MoveSpec;
use crate::progress::Progress;
use crate::proof::Proof;
use crate::prover::{self, Prover};
use crate::reshape;
use crate::schema;
use crate::seed;
use crate::session;
use crate::verify::Verifier;
use crate::watch::{Watch, Watched};
use repair::Planned;

mod newest;
mod pass;
mod repair;

pub use repair::{RepairPlan, RepairPlanTable, RepairReport};

/// How long a comparison waits for the pipeline it needs.
const PIPELINE_WAIT: Duration = Duration::from_secs(10);

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
    /// The direction as it is now.
    direction: watch::Receiver<Arc<Direction>>,
    progress: Arc<Progress>,
    proof: Arc<Proof>,
    access: watch::Receiver<Option<Access>>,
    state: watch::Receiver<MoverState>,
    task: JoinHandle<()>,
    prover: Mutex<Option<Prover>>,
    watch: Watch,
    stop: watch::Sender<bool>,
    /// How many foreign writes there were when the last complete pass began.
    last_pass: Mutex<Option<u64>>,
    /// What was last shown that a repair would write.
    planned: Mutex<Option<Planned>>,
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Mover {
    /// Prepares the target (schema, tables, ledger) if the move has not begun, and starts.
    ///
    /// # Errors
    /// If a server cannot be reached or refuses, or the tables cannot be moved.
    pub async fn start(options: MoverOptions) -> Result<Self> {
        Self::start_watching(options, None).await
    }

    /// The same, with the target watched from a position on at which nobody could have written to it; else from now on.
    ///
    /// # Errors
    /// As [`Mover::start`].
    pub(crate) async fn start_watching(options: MoverOptions, from: Option<GtidSet>) -> Result<Self> {
        let mut source = session::open(&options.source, Side::Source).await?;
        let mut target = session::open(&options.target, Side::Target).await?;
        session::adopt(&mut target, &options.target).await;
        // Before anything is written: what is written from here on is ours, or a stranger's.
        let watched_from = match from {
            Some(from) => from,
            None => gtid_executed(&mut target, Side::Target).await?,
        };
        ledger::create(&mut target).await?;
        let ledger = failover::ledger_of(&mut source, &mut target, &options.spec.name).await?;
        let begun = ledger::read(&mut target, &ledger).await?;
        let spec = &options.spec;
        let mut kept = None;
        let (proof, tables, as_of) = match (&options.start, begun) {
            (Start::At(applied), None) => {
                // The side that follows from here on has the tables as they were there; the other one may have gone on.
                let tables = schema::read(&mut target, Side::Target, spec).await?;
                plan::set_tables(&mut target, &ledger, tables.iter().map(|t| &t.name)).await?;
                ledger::begin(&mut target, &ledger, applied).await?;
                (Proof::carried_over(applied.clone()), tables, applied.clone())
            }
            (Start::Copy(CopyOptions { from_backup: Some(set), .. }), None) => {
                let tables = schema::read(&mut source, Side::Source, spec).await?;
                plan::set_tables(&mut target, &ledger, tables.iter().map(|t| &t.name)).await?;
                seed::adopt((&mut source, &mut target), (&tables, &spec.renames), &ledger, set).await?;
                (Proof::default(), tables, set.clone())
            }
            (Start::Copy(CopyOptions { from_backup: Some(set), .. }), Some(applied))
                if !applied.contains(set) =>
            {
                return Err(MoveError::Refused {
                    what: format!("move '{}' has begun already, and not at this backup", ledger.move_name),
                    hint: "leave --from-backup out to go on with it, or `highwater finish` it first".into(),
                });
            }
            (Start::Copy(copy), None) => {
                let how = schema::Creation {
                    move_name: &ledger.move_name,
                    renames: &spec.renames,
                    defer_indexes: copy.defer_indexes,
                };
                let (tables, executed) = opening::prepare(&mut source, &mut target, spec, how).await?;
                plan::set_tables(&mut target, &ledger, tables.iter().map(|t| &t.name)).await?;
                ledger::begin(&mut target, &ledger, &executed).await?;
                (Proof::default(), tables, executed)
            }
            // What moves as of the ledger is beside the ledger; the source may be ahead.
            (_, Some(applied)) => {
                let proof = match proven::kept(&mut target, &ledger, &applied).await? {
                    Kept::Nothing => Proof::default(),
                    Kept::Void(why) => {
                        prover::warn_of(&why);
                        Proof::begun_anew_because(why)
                    }
                    Kept::Proof(proof) => {
                        kept = Some(proof);
                        Proof::resuming()
                    }
                };
                let tables = reshape::tables_as_of(&mut target, &ledger, &spec.renames).await?;
                refuse_other_names(spec, &tables)?;
                (proof, tables, applied)
            }
        };

        let names: Vec<TableName> = tables.iter().map(|t| t.name.clone()).collect();
        let bags = (0..tables.len()).filter(|&i| tables[i].is_bag());
        let dirty = Arc::new(DirtyKeys::new(tables.len()).with_bags(bags));
        let proven = proof.complete_as_of().is_some() || kept.is_some();
        if proven {
            dirty.start();
        }
        // An earlier process has not seen what was written since it kept its proof.
        let watched_from = kept.as_ref().map_or(watched_from, |kept: &KeptProof| kept.target_read.clone());
        let (progress, proof) = (Arc::new(Progress::new(names)), Arc::new(proof));
        if let Start::At(_) = options.start {
            (0..tables.len()).for_each(|i| progress.table_copied(i));
        }
        let changes = Arc::new(LastChanges::new(tables.len(), as_of.clone()));
        let direction = Direction {
            options,
            tables: Arc::new(tables),
            ledger,
            progress: Arc::clone(&progress),
            dirty,
            changes,
            proof: Arc::clone(&proof),
            reshaping: Arc::default(),
        };
        let (direction_tx, direction) = watch::channel(Arc::new(direction));
        let (access_tx, access) = watch::channel(None);
        let (state_tx, mut state) = watch::channel(MoverState::Starting);
        let stop = watch::Sender::new(false);
        let keeper = Keeper {
            direction: direction_tx,
            as_of: Some(as_of),
            access: access_tx,
            state: state_tx,
            stop: stop.subscribe(),
        };
        let task = tokio::spawn(keeper.keep_going());
        let watch = Watch::start(direction.clone(), watched_from);
        // Who asks right after this is told that it runs, or why not. An error means that it has ended, which shows as well.
        let _ = state.wait_for(|state| !matches!(state, MoverState::Starting)).await;
        let mover = Self {
            direction,
            progress,
            proof,
            access,
            state,
            task,
            prover: Mutex::default(),
            watch,
            stop,
            last_pass: Mutex::default(),
            planned: Mutex::default(),
        };
        if proven {
            drop(mover.set_prover(Some(mover.prover(kept))));
        }
        Ok(mover)
    }

    /// Ends the stream. When this returns, nothing of it reads the source or writes to the target any more: a stream
    /// the other way may begin.
    pub async fn stop(&self) {
        self.rest().await;
        self.end_watch();
        self.stop.send_replace(true);
        // The keeper's end of the channel goes away with it.
        let mut state = self.state.clone();
        while state.changed().await.is_ok() {}
    }

    /// Progress so far.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The proof so far.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// What was written to the target that is not ours.
    pub fn watched(&self) -> &Watched {
        self.watch.watched()
    }

    /// Ends the watch of the target: whoever writes to it from now on may.
    pub(crate) fn end_watch(&self) {
        self.watch.end();
    }

    /// Forgets that the servers were proven equal; the next pass over every row begins anew.
    ///
    /// # Errors
    /// If the target refuses: the next process would not know of it.
    pub(crate) async fn forget_proof(&self) -> Result<()> {
        self.rest().await;
        self.proof.restart();
        self.now().dirty.reset();
        self.withdraw_proof().await
    }

    /// Takes back what is proven from where the next process would find it.
    ///
    /// # Errors
    /// If the target refuses.
    pub(crate) async fn withdraw_proof(&self) -> Result<()> {
        let mut target = session::open(&self.now().options.target, Side::Target).await?;
        proven::withdraw(&mut target, &self.ledger()).await
    }

    /// The tables, as they are now.
    pub fn tables(&self) -> Arc<Vec<Table>> {
        Arc::clone(&self.now().tables)
    }

    fn applied_now(&self) -> GtidSet {
        self.progress.applied_set().borrow().clone()
    }

    /// The direction as it is now.
    fn now(&self) -> Arc<Direction> {
        Arc::clone(&self.direction.borrow())
    }

    /// Keys touched and not yet proven again.
    pub fn keys_in_flight(&self) -> u64 {
        self.now().dirty.unproven() as u64
    }

    /// What it is doing.
    pub fn state(&self) -> MoverState {
        self.state.borrow().clone()
    }

    /// The name of its ledger.
    pub fn ledger(&self) -> LedgerName {
        self.now().ledger.clone()
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
        let mut access = self.access.clone();
        // A move that has just started, or reconnects, has its pipeline in a moment.
        let running = async { access.wait_for(Option::is_some).await.ok().and_then(|r| r.clone()) };
        let Some(access) = tokio::time::timeout(PIPELINE_WAIT, running).await.ok().flatten() else {
            self.unless_failed()?;
            return Err(MoveError::Stopped);
        };
        Verifier::open(access).await
    }

    /// Starts re-proving dirty keys in the background, in place of whoever did.
    pub fn start_proving(&self) {
        drop(self.set_prover(Some(self.prover(None))));
    }

    fn prover(&self, kept: Option<KeptProof>) -> Prover {
        Prover::start(self.access.clone(), Arc::clone(self.watch.watched()), kept)
    }

    /// Stops re-proving between two lots, so that nothing of it is under way on either server. If the caller gives up
    /// waiting, it is stopped where it is.
    pub async fn rest(&self) {
        if let Some(prover) = self.set_prover(None) {
            prover.rest().await;
        }
    }

    /// Returns the prover there was.
    fn set_prover(&self, prover: Option<Prover>) -> Option<Prover> {
        std::mem::replace(&mut *self.prover.lock().unwrap_or_else(PoisonError::into_inner), prover)
    }
}

/// What has begun under one name goes on under it.
fn refuse_other_names(spec: &MoveSpec, tables: &[Table]) -> Result<()> {
    let schemas = spec.on(Side::Target).schemas();
    match tables.iter().find(|table| !schemas.contains(&table.name.schema.as_str())) {
        None => Ok(()),
        Some(table) => Err(MoveError::Refused {
            what: format!(
                "move '{}' has begun with table {} on the target, a schema that its settings do not give it now",
                spec.name, table.name
            ),
            hint: "put `tables` and `rename` of the move back to what they were, or `highwater finish` it and begin anew".into(),
        }),
    }
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
