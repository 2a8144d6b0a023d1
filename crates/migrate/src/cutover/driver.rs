//! The one task that changes where a move stands: it journals, then acts.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use model::{GtidSet, Trouble};
use mysql::{ConnectOptions, Connection};
use tokio::sync::{Mutex, MutexGuard};

use super::guard::{self, Guardrail};
use super::report::{CrossingReport, PhaseTime};
use super::state::{Event, Home, Phase, State, Step};
use super::{Journal, TrafficGate, fence, objects};
use crate::copy::CopyOptions;
use crate::direction::{MoverOptions, Start};
use crate::error::{MoveError, Side};
use crate::ledger;
use crate::mover::{Mover, gtid_executed};
use crate::plan::MoveSpec;
use crate::session;
use crate::verify::{Verification, Verifier};

/// Deadlines and limits of a crossing.
#[derive(Debug, Clone)]
pub struct CutoverOptions {
    /// The most the target may be behind when a crossing begins.
    pub lag_max: Duration,
    /// How long open transactions may take to finish.
    pub drain_deadline: Duration,
    /// How long the source may take to accept the fence.
    pub fence_deadline: Duration,
    /// How long the target may take to catch up behind the fence.
    pub settle_deadline: Duration,
    /// How long proving what the last moments touched may take.
    pub prove_deadline: Duration,
}

impl Default for CutoverOptions {
    fn default() -> Self {
        Self {
            lag_max: Duration::from_secs(1),
            drain_deadline: Duration::from_secs(5),
            fence_deadline: Duration::from_secs(2),
            settle_deadline: Duration::from_secs(5),
            prove_deadline: Duration::from_secs(2),
        }
    }
}

/// A move, from its first check to its end.
pub struct MoveDriver<G> {
    spec: MoveSpec,
    old: ConnectOptions,
    new: ConnectOptions,
    copy: CopyOptions,
    options: CutoverOptions,
    gate: Arc<G>,
    /// Held for as long as a command runs: one at a time.
    journal: Mutex<Journal>,
    /// What outsiders see without waiting for a command.
    view: RwLock<View>,
}

#[derive(Clone)]
struct View {
    state: State,
    mover: Option<Arc<Mover>>,
}

/// Every row is proven equal behind the fence, and where the stream back begins is known. It cannot be aborted.
struct PointOfNoReturn {
    position: GtidSet,
    proven_as_of: GtidSet,
    keys_proven: u64,
}

impl<G: TrafficGate> MoveDriver<G> {
    /// Opens the move's journal, mends what a crash left behind, and starts the stream in the direction the journal
    /// says. The gate is switched to the side that serves.
    ///
    /// # Errors
    /// If the journal cannot be used, a server cannot be reached, or the move cannot start.
    pub async fn start(
        spec: MoveSpec,
        clusters: (ConnectOptions, ConnectOptions),
        journal: &Path,
        copy: CopyOptions,
        options: CutoverOptions,
        gate: Arc<G>,
    ) -> Result<Self, Trouble> {
        let journal = Journal::open(journal)?;
        let view = RwLock::new(View { state: journal.state().clone(), mover: None });
        let (old, new) = clusters;
        let driver = Self { spec, old, new, copy, options, gate, journal: Mutex::new(journal), view };
        driver.recover().await?;
        Ok(driver)
    }

    async fn recover(&self) -> Result<(), Trouble> {
        let mut journal = self.journal.lock().await;
        let state = journal.state().clone();
        if state.step == Step::Finished {
            let hint = "remove its section from highwater.toml, or its journal to begin anew";
            return Err(Trouble::new(
                format!("move '{}' is finished", self.spec.name),
                "nothing was changed",
                hint,
            ));
        }
        match state.step {
            Step::Crossing(phase) => {
                self.lower_fence(state.home).await.map_err(|e| e.trouble())?;
                self.record(&mut journal, Event::Aborted { reason: format!("restarted during {phase}") })?;
                tracing::warn!(target: "highwater::move", %phase, "an unfinished crossing was undone");
            }
            Step::Switched => {
                self.open_new_home(state.home).await.map_err(|e| e.trouble())?;
                tracing::warn!(target: "highwater::move", "a crossing that had switched is being completed");
            }
            Step::Steady | Step::Finished => {}
        }
        self.gate.switch(state.home, state.epoch);
        self.start_mover(&state).await.map_err(|e| e.trouble())?;
        if state.step == Step::Switched {
            self.record(&mut journal, Event::Completed)?;
        }
        Ok(())
    }

    /// Where the move stands.
    pub fn state(&self) -> State {
        self.view.read().unwrap_or_else(PoisonError::into_inner).state.clone()
    }

    /// The running direction, if there is one.
    pub fn mover(&self) -> Option<Arc<Mover>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).mover.clone()
    }

    /// The move.
    pub fn spec(&self) -> &MoveSpec {
        &self.spec
    }

    fn at(&self, home: Home) -> &ConnectOptions {
        match home {
            Home::Old => &self.old,
            Home::New => &self.new,
        }
    }

    fn record(&self, journal: &mut Journal, event: Event) -> Result<(), Trouble> {
        journal.record(event)?;
        self.view.write().unwrap_or_else(PoisonError::into_inner).state = journal.state().clone();
        Ok(())
    }

    fn set_mover(&self, mover: Option<Arc<Mover>>) {
        self.view.write().unwrap_or_else(PoisonError::into_inner).mover = mover;
    }

    fn command(&self) -> Result<MutexGuard<'_, Journal>, Trouble> {
        self.journal.try_lock().map_err(|_| {
            Trouble::new(
                format!("another command is at work on move '{}'", self.spec.name),
                "nothing was changed",
                "wait for it; `highwater status` shows what it is",
            )
        })
    }

    fn running_mover(&self) -> Result<Arc<Mover>, Trouble> {
        self.mover().ok_or_else(|| {
            Trouble::new(
                format!("move '{}' has no running stream", self.spec.name),
                "traffic is where it was",
                "see the log of the process that runs it, and start it again",
            )
        })
    }

    /// Starts the stream from the serving side to the other one.
    async fn start_mover(&self, state: &State) -> Result<(), MoveError> {
        let (source, target) = (self.at(state.home), self.at(state.home.other()));
        let mut following = session::open(target, Side::Target).await?;
        fence::follow_only(&mut following, Side::Target).await?;
        let start = match &state.since {
            None => Start::Copy(self.copy.clone()),
            Some(position) => Start::At(position.clone()),
        };
        let options =
            MoverOptions { spec: self.spec.clone(), source: source.clone(), target: target.clone(), start };
        if let Start::At(_) = &options.start {
            self.forget_older_ledger(&mut following, state).await?;
        }
        self.set_mover(Some(Arc::new(Mover::start(options).await?)));
        Ok(())
    }

    /// A ledger of this direction from before the last switch says less than the switch itself: everything up to it
    /// is on both sides. One that began at the switch, or has gone on since, says more, and is kept.
    async fn forget_older_ledger(&self, target: &mut Connection, state: &State) -> Result<(), MoveError> {
        let Some(since) = &state.since else { return Ok(()) };
        let mut source = session::open(self.at(state.home), Side::Source).await?;
        let source_uuid = crate::mover::variable(&mut source, Side::Source, "@@GLOBAL.server_uuid").await?;
        let name = ledger::LedgerName { move_name: self.spec.name.clone(), source_uuid };
        ledger::create(target).await?;
        if let Some(applied) = ledger::read(target, &name).await?
            && !applied.contains(since)
        {
            ledger::end(target, &name).await?;
        }
        Ok(())
    }

    /// Compares every row; see [`Mover::verify`].
    ///
    /// # Errors
    /// If a server fails, the copy is not complete, or another command is at work.
    pub async fn verify(&self, workers: usize, seen: &(dyn Fn(u64) + Sync)) -> Result<Verification, Trouble> {
        let _command = self.command()?;
        self.running_mover()?.verify(workers, seen).await.map_err(|e| e.trouble())
    }

    /// What must hold before a crossing may begin, as seen now.
    ///
    /// # Errors
    /// If the stream does not run.
    pub fn guardrails(&self) -> Result<Vec<Guardrail>, Trouble> {
        Ok(guard::look(&*self.running_mover()?, self.options.lag_max))
    }

    /// Moves the traffic to `to`.
    ///
    /// # Errors
    /// If it is there already, a guardrail does not hold, or a phase before the switch fails: then everything is put
    /// back and the clients go on where they were.
    pub async fn cross(&self, to: Home, told: &(dyn Fn(Phase) + Sync)) -> Result<CrossingReport, Trouble> {
        let mut journal = self.command()?;
        let state = journal.state().clone();
        if state.home == to {
            let hint = if to == Home::New {
                "to go back: `highwater rollback`"
            } else {
                "there is nothing to go back from"
            };
            return Err(Trouble::new("traffic is there already", "nothing was changed", hint));
        }
        let mover = self.running_mover()?;
        self.refuse_unless_guarded(&mover)?;
        self.gate.warm(to).await?;

        let failed = |e: MoveError| e.trouble();
        let mut source = session::open(self.at(state.home), Side::Source).await.map_err(failed)?;
        let mut target = session::open(self.at(to), Side::Target).await.map_err(failed)?;
        let mut verifier = mover.verifier().await.map_err(failed)?;
        self.prove_most(&mover, &mut verifier).await?;

        let mut clock = PhaseClock::new(told);
        let before = self
            .up_to_the_point_of_no_return(
                &mut journal,
                &mover,
                &mut Ends { source: &mut source, target: &mut target, verifier: &mut verifier },
                &state,
                &mut clock,
            )
            .await;
        let point = match before {
            Ok(point) => point,
            Err(trouble) => return Err(self.undo(&mut journal, &mover, state.home, trouble).await),
        };

        let epoch = state.epoch + 1;
        clock.enter(Phase::Switch);
        let switched = Event::Switched { to, position: point.position.clone(), epoch };
        if let Err(trouble) = self.record(&mut journal, switched) {
            // Not on disk: it has not happened.
            return Err(self.undo(&mut journal, &mover, state.home, trouble).await);
        }
        let opened = match fence::open_for_writes(&mut target, Side::Target).await {
            Ok(()) => Ok(()),
            Err(_) => self.open_new_home(to).await,
        };
        opened.map_err(|e| self.stuck_after_switch(&e))?;
        self.gate.switch(to, epoch);
        clock.enter(Phase::Release);
        self.gate.release();
        let (phases, held_ms) = clock.finish();

        self.set_mover(None);
        drop((mover, verifier));
        let now = journal.state().clone();
        self.start_mover(&now).await.map_err(|e| self.no_way_back(&e))?;
        self.record(&mut journal, Event::Completed)?;
        Ok(CrossingReport {
            home: to,
            epoch,
            phases,
            held_ms,
            keys_proven_at_fence: point.keys_proven,
            proven_as_of: point.proven_as_of,
        })
    }

    fn refuse_unless_guarded(&self, mover: &Mover) -> Result<(), Trouble> {
        match guard::look(mover, self.options.lag_max).into_iter().find(|g| !g.holds) {
            None => Ok(()),
            Some(g) => Err(Trouble::new(
                format!("cannot start cutover: {}", g.seen),
                "nothing was changed; traffic is where it was",
                g.hint,
            )),
        }
    }

    /// Proves what is dirty now, while clients still go on, so that only the last moments remain behind the fence.
    async fn prove_most(&self, mover: &Mover, verifier: &mut Verifier) -> Result<(), Trouble> {
        let proving = async {
            mover.rest().await;
            verifier.dirty_keys().await
        };
        match within(self.options.settle_deadline, "settle", proving).await {
            Ok(_) => Ok(()),
            Err(cause) => {
                mover.start_proving();
                let what = format!("cannot start cutover: {}", cause.what);
                Err(Trouble::new(what, "nothing was changed; traffic is where it was", cause.hint))
            }
        }
    }

    /// Hold, drain, fence, settle, prove. Whatever fails here is undone by the caller.
    async fn up_to_the_point_of_no_return(
        &self,
        journal: &mut Journal,
        mover: &Mover,
        ends: &mut Ends<'_>,
        state: &State,
        clock: &mut PhaseClock<'_>,
    ) -> Result<PointOfNoReturn, Trouble> {
        let failed = |e: MoveError| e.trouble();

        self.enter(journal, clock, Phase::Hold)?;
        self.gate.hold();

        self.enter(journal, clock, Phase::Drain)?;
        self.gate.drain(self.options.drain_deadline).await?;

        self.enter(journal, clock, Phase::Fence)?;
        fence::raise(self.at(state.home), ends.source, self.options.fence_deadline).await.map_err(failed)?;

        self.enter(journal, clock, Phase::Settle)?;
        // After the fence, not before: a transaction that slipped in before it must be in this set.
        let position = gtid_executed(ends.source, Side::Source).await.map_err(failed)?;
        within(self.options.settle_deadline, "settle", mover.applied(&position)).await?;

        self.enter(journal, clock, Phase::Prove)?;
        let proving = async {
            let keys = ends.verifier.dirty_keys_at_rest().await?;
            objects::advance_counters(ends.source, ends.target, mover.tables()).await?;
            Ok(keys)
        };
        let keys_proven = within(self.options.prove_deadline, "prove", proving).await?;
        let different = mover.proof().different();
        if different > 0 || mover.keys_in_flight() > 0 {
            return Err(Trouble::new(
                format!("not proven: {different} rows differ, {} are unproven", mover.keys_in_flight()),
                "",
                "run `highwater verify` and see which",
            ));
        }
        let position_back = gtid_executed(ends.target, Side::Target).await.map_err(failed)?;
        Ok(PointOfNoReturn { position: position_back, proven_as_of: position, keys_proven })
    }

    fn enter(&self, journal: &mut Journal, clock: &mut PhaseClock<'_>, phase: Phase) -> Result<(), Trouble> {
        clock.enter(phase);
        self.record(journal, Event::Entered { phase })
    }

    /// The one error exit: lowers the fence, releases the clients where they were, and says what came of it.
    async fn undo(&self, journal: &mut Journal, mover: &Mover, home: Home, cause: Trouble) -> Trouble {
        let lowered = self.lower_fence(home).await;
        self.gate.release();
        mover.start_proving();
        let recorded = match matches!(journal.state().step, Step::Crossing(_)) {
            true => self.record(journal, Event::Aborted { reason: cause.what.clone() }),
            false => Ok(()),
        };
        let state = match (&lowered, &recorded) {
            (Err(e), _) => format!("the source may still be read-only: {e}"),
            (_, Err(e)) => format!("everything was put back, but the journal could not be written: {e}"),
            _ => "everything was put back; traffic is where it was".to_owned(),
        };
        let hint = match lowered {
            Err(_) => "SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF on the source".to_owned(),
            Ok(()) => cause.hint,
        };
        Trouble::new(format!("cutover was given up: {}", cause.what), state, hint)
    }

    async fn lower_fence(&self, home: Home) -> Result<(), MoveError> {
        let mut server = session::open(self.at(home), Side::Source).await?;
        fence::open_for_writes(&mut server, Side::Source).await
    }

    /// After the switch, on a new connection: the other side must open, the journal says so.
    async fn open_new_home(&self, home: Home) -> Result<(), MoveError> {
        let mut server = session::open(self.at(home), Side::Target).await?;
        fence::open_for_writes(&mut server, Side::Target).await
    }

    fn stuck_after_switch(&self, error: &MoveError) -> Trouble {
        Trouble::new(
            format!("the switch is decided, but the new side cannot be opened: {error}"),
            "both sides are read-only and clients are held; no write is lost",
            "mend the new side and start this process again: it goes on from here",
        )
    }

    fn no_way_back(&self, error: &MoveError) -> Trouble {
        Trouble::new(
            format!("traffic has moved, but the stream back did not start: {error}"),
            "the new side serves; a rollback is not possible until the stream back runs",
            "mend what it says and start this process again: it goes on from the journal",
        )
    }

    /// Ends the move: removes our tables from both sides. The side that does not serve stays read-only if traffic has
    /// moved, so that nobody writes to it by mistake.
    ///
    /// # Errors
    /// If a server refuses or another command is at work.
    pub async fn finish(&self) -> Result<Home, Trouble> {
        let mut journal = self.command()?;
        let home = journal.state().home;
        self.set_mover(None);
        let cleaned = async {
            for side in [home.other(), home] {
                let mut server = session::open(self.at(side), Side::Target).await?;
                ledger::forget(&mut server, &self.spec.name).await?;
                if side == home.other() && home == Home::Old {
                    fence::open_for_writes(&mut server, Side::Target).await?;
                }
            }
            Ok::<(), MoveError>(())
        };
        cleaned.await.map_err(|e| e.trouble())?;
        self.record(&mut journal, Event::Finished)?;
        Ok(home)
    }
}

/// The connections a crossing works with, opened before anyone is held.
struct Ends<'a> {
    source: &'a mut Connection,
    target: &'a mut Connection,
    verifier: &'a mut Verifier,
}

async fn within<T>(
    deadline: Duration,
    phase: &str,
    work: impl Future<Output = Result<T, MoveError>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(deadline, work).await {
        Ok(done) => done.map_err(|e| e.trouble()),
        Err(_) => Err(Trouble::new(
            format!("{phase} was not done within {deadline:?}"),
            "",
            format!("try again when load is lower, or raise `cutover.{phase}_deadline`"),
        )),
    }
}

/// Measures the phases.
struct PhaseClock<'a> {
    told: &'a (dyn Fn(Phase) + Sync),
    entered: Vec<(Phase, Instant)>,
}

impl<'a> PhaseClock<'a> {
    fn new(told: &'a (dyn Fn(Phase) + Sync)) -> Self {
        Self { told, entered: Vec::new() }
    }

    fn enter(&mut self, phase: Phase) {
        self.entered.push((phase, Instant::now()));
        (self.told)(phase);
    }

    /// Each phase's duration, and that of all together, in milliseconds.
    fn finish(self) -> (Vec<PhaseTime>, f64) {
        let ms = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1000.0;
        let end = Instant::now();
        let ends = self.entered.iter().skip(1).map(|(_, at)| *at).chain([end]);
        let phases = self
            .entered
            .iter()
            .zip(ends)
            .map(|((phase, at), to)| PhaseTime { phase: *phase, ms: ms(*at, to) });
        let all = self.entered.first().map_or(0.0, |(_, at)| ms(*at, end));
        (phases.collect(), all)
    }
}
