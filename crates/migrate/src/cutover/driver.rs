//! The one task that changes where a move stands: it journals, then acts.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use model::Trouble;
use mysql::{ConnectOptions, Connection};
use tokio::sync::{Mutex, MutexGuard};

use super::fence::{self, Barrier};
use super::guard::{self, Guardrail};
use super::state::{Event, Home, State};
use super::{Hooks, Journal, NotBegun, TrafficGate, objects, recover};
use crate::copy::CopyOptions;
use crate::direction::{MoverOptions, Start};
use crate::error::{MoveError, Side};
use crate::ledger;
use crate::mover::{Mover, RepairPlan, RepairReport, gtid_executed};
use crate::plan::{Fence, MoveSpec, Selection};
use crate::session;
use crate::verify::Verification;

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
    /// How long priming the target may take, before anyone is held.
    pub prime_deadline: Duration,
    /// What the site runs around the phases.
    pub hooks: Hooks,
    /// The replicas of the old side and of the new one, as far as they are known.
    pub replicas: [Vec<ConnectOptions>; 2],
    /// What keeps a side from taking writes.
    pub fence: Fence,
    /// With [`Fence::Schemas`], the accounts that are locked on the side that follows, as `user@host`.
    pub fence_accounts: Vec<String>,
}

impl Default for CutoverOptions {
    fn default() -> Self {
        Self {
            lag_max: Duration::from_secs(1),
            drain_deadline: Duration::from_secs(5),
            fence_deadline: Duration::from_secs(2),
            settle_deadline: Duration::from_secs(5),
            prove_deadline: Duration::from_secs(2),
            prime_deadline: Duration::from_secs(10),
            hooks: Hooks::default(),
            replicas: Default::default(),
            fence: Fence::default(),
            fence_accounts: Vec::new(),
        }
    }
}

/// A move, from its first check to its end.
pub struct MoveDriver<G> {
    spec: MoveSpec,
    /// The same move the other way.
    back: MoveSpec,
    old: ConnectOptions,
    new: ConnectOptions,
    pub(super) copy: CopyOptions,
    pub(super) options: CutoverOptions,
    pub(super) gate: Arc<G>,
    /// Held for as long as a command runs: one at a time.
    pub(super) journal: Mutex<Journal>,
    /// What outsiders see without waiting for a command.
    view: RwLock<View>,
    /// Whether this process has opened the side that serves since a switch that an earlier one did not complete.
    pub(super) opened: AtomicBool,
}

#[derive(Clone)]
struct View {
    state: State,
    mover: Option<Arc<Mover>>,
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
        let driver = Self::open(spec, clusters, journal, copy, options, gate)?;
        driver.mend().await.map_err(NotBegun::into_trouble)?;
        driver.begin(None).await.map_err(NotBegun::into_trouble)?;
        Ok(driver)
    }

    /// Opens the move's journal, and asks no server: what follows is [`MoveDriver::mend`], then [`MoveDriver::begin`], each as
    /// often as it takes.
    ///
    /// # Errors
    /// If the journal cannot be used, or says that the move is finished.
    pub fn open(
        spec: MoveSpec,
        clusters: (ConnectOptions, ConnectOptions),
        journal: &Path,
        copy: CopyOptions,
        options: CutoverOptions,
        gate: Arc<G>,
    ) -> Result<Self, Trouble> {
        let journal = recover::unfinished(journal, &spec.name)?;
        let view = RwLock::new(View { state: journal.state().clone(), mover: None });
        let (old, new) = clusters;
        let (journal, opened) = (Mutex::new(journal), AtomicBool::new(false));
        let back = spec.reversed();
        Ok(Self { spec, back, old, new, copy, options, gate, journal, view, opened })
    }

    /// From now on another kind of fence, if the settings say so.
    pub(super) async fn change_fence(&self, journal: &mut Journal) -> Result<(), NotBegun> {
        let (now, wanted) = (journal.state().fence, self.options.fence);
        if now == wanted {
            return Ok(());
        }
        if now != Fence::Server {
            // Accounts that are locked would be so for ever, and triggers would refuse what the new kind lets in. Of a server's fence nothing is undone: that it is up may be
            // somebody else's wish by now, and a guardrail names it.
            let following = journal.state().home.other();
            let opening = async {
                let mut server = self.fencing(following, Side::Target).await?;
                self.barrier(following).open_for_writes(&mut server, Side::Target).await
            };
            opening.await.map_err(|e| NotBegun::of(&e, journal.state().home))?;
        }
        self.record(journal, Event::FencedBy { fence: wanted }).map_err(NotBegun::Refused)
    }

    /// Where the move stands.
    pub fn state(&self) -> State {
        self.view.read().unwrap_or_else(PoisonError::into_inner).state.clone()
    }

    /// The running direction, if there is one.
    pub fn mover(&self) -> Option<Arc<Mover>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).mover.clone()
    }

    /// The move, as the settings have it.
    pub fn spec(&self) -> &MoveSpec {
        &self.spec
    }

    /// The move as it goes from this side to the other one.
    pub(super) fn spec_from(&self, home: Home) -> &MoveSpec {
        match home {
            Home::Old => &self.spec,
            Home::New => &self.back,
        }
    }

    /// What moves, in the names of this side.
    pub(super) fn moved_at(&self, home: Home) -> Selection<'_> {
        self.spec_from(home).on(Side::Source)
    }

    pub(super) fn at(&self, home: Home) -> &ConnectOptions {
        match home {
            Home::Old => &self.old,
            Home::New => &self.new,
        }
    }

    pub(super) fn record(&self, journal: &mut Journal, event: Event) -> Result<(), Trouble> {
        journal.record(event)?;
        self.view.write().unwrap_or_else(PoisonError::into_inner).state = journal.state().clone();
        Ok(())
    }

    pub(super) fn set_mover(&self, mover: Option<Arc<Mover>>) {
        self.view.write().unwrap_or_else(PoisonError::into_inner).mover = mover;
    }

    pub(super) fn command(&self) -> Result<MutexGuard<'_, Journal>, Trouble> {
        self.journal.try_lock().map_err(|_| {
            Trouble::new(
                format!("another command is at work on move '{}'", self.spec.name),
                "nothing was changed",
                "wait for it; `highwater status` shows what it is",
            )
        })
    }

    pub(super) fn running_mover(&self) -> Result<Arc<Mover>, Trouble> {
        self.mover().ok_or_else(|| {
            Trouble::new(
                format!("move '{}' has no running stream", self.spec.name),
                "traffic is where it was",
                "see the log of the process that runs it, and start it again",
            )
        })
    }

    /// Starts the stream from the serving side to the other one.
    pub(super) async fn start_mover(&self, state: &State) -> Result<(), MoveError> {
        let (source, target) = (self.at(state.home), self.at(state.home.other()));
        let follower = state.home.other();
        let mut following = self.fencing(follower, Side::Target).await?;
        let closed = self.barrier(follower).is_closed(&mut following, Side::Target).await?;
        // While nobody can write there, after a crossing: what is written from here on is ours, or a stranger's.
        let watched_from = gtid_executed(&mut following, Side::Target).await?;
        self.only_follow(&mut following, follower).await?;
        let start = match &state.since {
            None => Start::Copy(self.copy.clone()),
            Some(position) => Start::At(position.clone()),
        };
        let spec = self.spec_from(state.home).clone();
        let options = MoverOptions { spec, source: source.clone(), target: target.clone(), start };
        if let Start::At(_) = &options.start {
            self.forget_older_ledger(&mut following, state).await?;
        }
        // An earlier try has opened it, and come no further: since then nobody has watched it.
        let unwatched = !closed
            && state.since.is_some()
            && ledger::sources(&mut following, &self.spec.name).await?.is_empty();
        let mover = Mover::start_watching(options, Some(watched_from)).await?;
        if !state.accepted_unproven.is_empty() || unwatched {
            // Nobody has proven what this direction begins with.
            mover.forget_proof().await?;
        }
        if mover.progress().all_copied() {
            self.barrier(follower).close_copied(&mut following, Side::Target).await;
        }
        self.set_mover(Some(Arc::new(mover)));
        Ok(())
    }

    /// The move's fence on a side, of the kind that the journal says is in force.
    pub(super) fn barrier(&self, home: Home) -> Barrier<'_> {
        Barrier::new(self.state().fence, self.spec_from(home), &self.options.fence_accounts)
    }

    /// A connection for raising and lowering it.
    pub(super) async fn fencing(&self, home: Home, side: Side) -> Result<Connection, MoveError> {
        fence::connect(&self.barrier(home), self.at(home), side).await
    }

    /// Makes a side follow: read-only to all but us, and without triggers and events that would write to it.
    async fn only_follow(&self, following: &mut Connection, home: Home) -> Result<(), MoveError> {
        let barrier = self.barrier(home);
        if !self.copy.along.objects {
            return barrier.follow_only(following, Side::Target).await;
        }
        // The scheduler is everybody's; what a fence of schemas does instead, it has done before it went up.
        let stopped = match self.state().fence {
            Fence::Server => objects::stop_scheduler(following, &self.moved_at(home)).await?,
            // Single tables have no events.
            Fence::Schemas | Fence::Tables => false,
        };
        barrier.follow_only(following, Side::Target).await?;
        let serving = home.other();
        objects::clear(self.at(serving), self.at(home), self.spec_from(serving)).await?;
        if stopped {
            objects::start_scheduler(following).await?;
        }
        Ok(())
    }

    /// After a switch, on the side that serves now.
    pub(super) async fn enable_events(&self, home: Home) -> Result<(), MoveError> {
        match self.copy.along.objects || self.state().fence == Fence::Schemas {
            true => objects::enable_events(self.at(home), Side::Target, &self.moved_at(home)).await,
            false => Ok(()),
        }
    }

    /// A ledger of this direction from before the last switch says less than the switch itself: everything up to it
    /// is on both sides. One that began at the switch, or has gone on since, says more, and is kept.
    async fn forget_older_ledger(&self, target: &mut Connection, state: &State) -> Result<(), MoveError> {
        let Some(since) = &state.since else { return Ok(()) };
        ledger::create(target).await?;
        for source_uuid in ledger::sources(target, &self.spec.name).await? {
            let name = ledger::LedgerName { move_name: self.spec.name.clone(), source_uuid };
            if let Some(applied) = ledger::read(target, &name).await?
                && !applied.contains(since)
            {
                ledger::end(target, &name).await?;
            }
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

    /// Compares every row, and sums them up; see [`Mover::verify_summing`].
    ///
    /// # Errors
    /// As [`MoveDriver::verify`].
    pub async fn verify_summing(
        &self,
        workers: usize,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Verification, Trouble> {
        let _command = self.command()?;
        self.running_mover()?.verify_summing(workers, seen).await.map_err(|e| e.trouble())
    }

    /// Compares the newest rows of each table; see [`Mover::verify_newest`].
    ///
    /// # Errors
    /// As [`MoveDriver::verify`].
    pub async fn verify_newest(
        &self,
        newest: u64,
        workers: usize,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Verification, Trouble> {
        let _command = self.command()?;
        self.running_mover()?.verify_newest(newest, workers, seen).await.map_err(|e| e.trouble())
    }

    /// What would make rows equal that were found different; see [`Mover::plan_repair`].
    ///
    /// # Errors
    /// As [`MoveDriver::verify`], and if no pass over every row is complete.
    pub async fn plan_repair(&self) -> Result<RepairPlan, Trouble> {
        let _command = self.command()?;
        let state = "nothing was written; traffic is where it was";
        self.running_mover()?.plan_repair().await.map_err(|e| Trouble { state: state.into(), ..e.trouble() })
    }

    /// Writes what a plan says; see [`Mover::repair`].
    ///
    /// # Errors
    /// As [`MoveDriver::verify`], and if the plan is not the last one.
    pub async fn repair(&self, plan: u64, seen: &(dyn Fn(u64) + Sync)) -> Result<RepairReport, Trouble> {
        let _command = self.command()?;
        let state = "rows repaired by then are repaired, and no other was written; traffic is where it was";
        self.running_mover()?
            .repair(plan, seen)
            .await
            .map_err(|e| Trouble { state: state.into(), ..e.trouble() })
    }

    /// What must hold before a crossing may begin, as seen now without asking a server; [`MoveDriver::survey`] asks.
    ///
    /// # Errors
    /// If the stream does not run.
    pub fn guardrails(&self) -> Result<Vec<Guardrail>, Trouble> {
        Ok(guard::look(&*self.running_mover()?, self.options.lag_max))
    }

    /// Ends the stream, and nothing else: another process goes on with the move, by its journal and its ledger. When this returns nothing
    /// of this one reads or writes on either server. [`MoveDriver::begin`] starts it again, as long as nobody else did.
    ///
    /// # Errors
    /// If a command is at work, or a crossing is not mended yet.
    pub async fn halt(&self) -> Result<(), Trouble> {
        let _command = self.may_halt()?;
        if let Some(mover) = self.mover() {
            mover.stop().await;
        }
        self.set_mover(None);
        Ok(())
    }

    /// Whether [`MoveDriver::halt`] would be refused now.
    ///
    /// # Errors
    /// If so.
    pub fn refuse_halt(&self) -> Result<(), Trouble> {
        self.may_halt().map(drop)
    }

    fn may_halt(&self) -> Result<MutexGuard<'_, Journal>, Trouble> {
        let command = self.command()?;
        match self.is_half_way() {
            false => Ok(command),
            true => Err(Trouble::new(
                format!("a crossing of move '{}' was cut short and is not mended yet", self.spec.name),
                "nothing was changed; clients are held until it is",
                "wait until it is; `highwater status` names the server that is waited for",
            )),
        }
    }

    /// Ends the move: removes our tables from both sides. The side that does not serve stays read-only if traffic has
    /// moved, so that nobody writes to it by mistake.
    ///
    /// # Errors
    /// If a server refuses or another command is at work.
    pub async fn finish(&self) -> Result<Home, Trouble> {
        let mut journal = self.command()?;
        self.finish_what_was_begun(&mut journal).await?;
        let home = journal.state().home;
        if let Some(mover) = self.mover() {
            mover.stop().await;
        }
        self.set_mover(None);
        let cleaned = async {
            for side in [home.other(), home] {
                let mut server = session::open(self.at(side), Side::Target).await?;
                ledger::forget(&mut server, &self.spec.name).await?;
                match (side == home.other(), home) {
                    (true, Home::Old) => {
                        self.barrier(side).open_for_writes(&mut server, Side::Target).await?
                    }
                    (true, Home::New) => self.barrier(side).leave_closed(&mut server, Side::Target).await?,
                    (false, _) => {}
                }
            }
            Ok::<(), MoveError>(())
        };
        cleaned.await.map_err(|e| e.trouble())?;
        self.record(&mut journal, Event::Finished)?;
        Ok(home)
    }
}
