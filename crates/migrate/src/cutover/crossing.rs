//! A crossing: seven phases, one error exit before the switch, none after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{GtidSet, Trouble};
use mysql::Connection;

use super::in_the_way::{self, InTheWay};
use super::mend::{again, answered};
use super::report::{CrossingReport, PhaseTime};
use super::state::{Event, Home, Phase, State, Step};
use super::stop_point::stop_point;
use super::{Journal, MoveDriver, TrafficGate, fence, guard, objects};
use crate::error::{Doing, MoveError, Side};
use crate::mover::{Mover, gtid_executed};
use crate::schema;
use crate::verify::Verifier;

/// Every row is proven equal behind the fence, or the operator has accepted what is not, and where the stream back begins is known. It cannot be aborted.
struct PointOfNoReturn {
    position: GtidSet,
    proven_as_of: GtidSet,
    keys_proven: u64,
    /// What is not proven, and accepted by the operator.
    accepted_unproven: Vec<String>,
    /// Who was ended on the way.
    ended: Vec<InTheWay>,
}

/// What to do when not everything is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unproven {
    /// Give up.
    Refuse,
    /// Go on, and record what was accepted.
    Accept,
}

/// How an operator wants a crossing made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct How {
    /// What to do when not everything is proven.
    pub unproven: Unproven,
    /// End whoever has a transaction or lock open for so long past the beginning of the drain, and of the fence; `None` gives
    /// up at their deadlines instead.
    pub kill_after: Option<Duration>,
}

impl From<Unproven> for How {
    fn from(unproven: Unproven) -> Self {
        Self { unproven, kill_after: None }
    }
}

impl<G: TrafficGate> MoveDriver<G> {
    /// Moves the traffic to `to`.
    ///
    /// # Errors
    /// If it is there already, a guardrail does not hold, or a phase before the switch fails: then everything is put
    /// back and the clients go on where they were.
    pub async fn cross(
        &self,
        to: Home,
        how: impl Into<How>,
        told: &(dyn Fn(Phase) + Sync),
    ) -> Result<CrossingReport, Trouble> {
        let how = how.into();
        let unproven = how.unproven;
        let mut journal = self.command()?;
        self.finish_what_was_begun(&mut journal).await?;
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
        self.refuse_unless_guarded(&mover, unproven)?;
        self.gate.warm(to).await?;

        let failed = |e: MoveError| e.trouble();
        let (from, onto) = (self.at(state.home), self.at(to));
        schema::bring(from, onto, self.spec(), self.copy.along).await.map_err(failed)?;
        let mut hands = match self.copy.along.objects {
            true => Some(objects::Hands::open(from, onto).await.map_err(failed)?),
            false => None,
        };
        let creating = hands.as_ref().map(objects::Hands::target_id);
        let mut source = fence::connect(self.at(state.home), Side::Source).await.map_err(failed)?;
        let mut target = fence::connect(self.at(to), Side::Target).await.map_err(failed)?;
        // A statement that is given up must not go on waiting on the target, in the stream's way.
        let patience =
            format!("SET SESSION lock_wait_timeout = {}", self.options.prove_deadline.as_secs().max(1));
        target.execute(patience).await.doing(Side::Target, "bound its waits").map_err(failed)?;
        let mut verifier = mover.verifier().await.map_err(failed)?;
        self.prove_most(&mover, &mut verifier, unproven).await?;

        let mut clock = PhaseClock::new(told);
        let before = self
            .up_to_the_point_of_no_return(
                &mut journal,
                &mover,
                &mut Ends {
                    source: &mut source,
                    target: &mut target,
                    verifier: &mut verifier,
                    hands: hands.as_mut(),
                },
                (&state, how),
                &mut clock,
            )
            .await;
        let point = match before {
            Ok(point) => point,
            Err(trouble) => {
                return Err(self.undo(&mut journal, &mover, (state.home, creating), trouble).await);
            }
        };
        self.beyond(&mut journal, (mover, target, verifier), (&state, creating), point, clock).await
    }

    /// Switch, release, and the stream back: from here there is no way but forward.
    async fn beyond(
        &self,
        journal: &mut Journal,
        (mover, mut target, verifier): (Arc<Mover>, Connection, Verifier),
        (state, creating): (&State, Option<u32>),
        point: PointOfNoReturn,
        mut clock: PhaseClock<'_>,
    ) -> Result<CrossingReport, Trouble> {
        let (to, epoch) = (state.home.other(), state.epoch + 1);
        clock.enter(Phase::Switch);
        let accepted = point.accepted_unproven;
        let switched =
            Event::Switched { to, position: point.position, epoch, accepted_unproven: accepted.clone() };
        if let Err(trouble) = self.record(journal, switched) {
            // Not on disk: it has not happened.
            return Err(self.undo(journal, &mover, (state.home, creating), trouble).await);
        }
        // From here on, who writes there may.
        mover.end_watch();
        stop_point("switch").await;
        let opened = match answered(Side::Target, fence::open_for_writes(&mut target, Side::Target)).await {
            Ok(()) => Ok(()),
            // Again on a connection of its own; each statement may run twice.
            Err(_) => self.open_new_home_at_last(to).await,
        };
        if let Err(error) = opened {
            self.set_mover(None);
            mover.stop().await;
            return Err(stuck_after_switch(&error));
        }
        self.gate.switch(to, epoch);
        clock.enter(Phase::Release);
        self.gate.release();
        let (phases, held_ms) = clock.finish();
        stop_point("release").await;

        self.set_mover(None);
        drop(verifier);
        // Before the stream back writes to this side: it must not be followed the other way round.
        mover.stop().await;
        let now = journal.state().clone();
        self.start_mover_at_last(&now).await.map_err(|e| no_way_back(&e))?;
        let enabling = again("enable events", || answered(Side::Target, self.enable_events(to)));
        enabling.await.map_err(|e| events_do_not_run(&e))?;
        self.record(journal, Event::Completed)?;
        Ok(CrossingReport {
            home: to,
            epoch,
            phases,
            held_ms,
            keys_proven_at_fence: point.keys_proven,
            proven_as_of: accepted.is_empty().then_some(point.proven_as_of),
            accepted_unproven: accepted,
            ended: point.ended,
        })
    }

    fn refuse_unless_guarded(&self, mover: &Mover, unproven: Unproven) -> Result<(), Trouble> {
        let accepted = |g: &guard::Guardrail| g.acceptable && unproven == Unproven::Accept;
        match guard::look(mover, self.options.lag_max).into_iter().find(|g| !g.holds && !accepted(g)) {
            None => Ok(()),
            Some(g) => Err(Trouble::new(
                format!("cannot start cutover: {}", g.seen),
                "nothing was changed; traffic is where it was",
                g.hint,
            )),
        }
    }

    /// Proves what is dirty now, while clients still go on, so that only the last moments remain behind the fence.
    async fn prove_most(
        &self,
        mover: &Mover,
        verifier: &mut Verifier,
        unproven: Unproven,
    ) -> Result<(), Trouble> {
        let proving = async {
            mover.rest().await;
            verifier.dirty_keys().await
        };
        match within(self.options.settle_deadline, "settle", proving).await {
            Ok(_) => Ok(()),
            // What that leaves unproven is found, and recorded, behind the fence. A comparison that was broken off leaves its
            // connections in the middle of an answer.
            Err(cause) if unproven == Unproven::Accept => {
                tracing::warn!(target: "highwater::move", cause = %cause.what, "going on unproven");
                *verifier = mover.verifier().await.map_err(|e| e.trouble())?;
                Ok(())
            }
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
        (state, how): (&State, How),
        clock: &mut PhaseClock<'_>,
    ) -> Result<PointOfNoReturn, Trouble> {
        let How { unproven, kill_after } = how;
        let failed = |e: MoveError| e.trouble();

        self.enter(journal, clock, Phase::Hold)?;
        self.gate.hold();
        stop_point("hold").await;

        self.enter(journal, clock, Phase::Drain)?;
        let mut ended = self.drain(ends.source, kill_after).await?;
        stop_point("drain").await;

        self.enter(journal, clock, Phase::Fence)?;
        let patience = fence::Patience { deadline: self.options.fence_deadline, kill_after };
        let raising = fence::raise(self.at(state.home), ends.source, &patience);
        ended.extend(raising.await.map_err(failed)?);
        stop_point("fence").await;

        self.enter(journal, clock, Phase::Settle)?;
        // After the fence, not before: a transaction that slipped in before it must be in this set.
        let settling = async {
            let position = gtid_executed(ends.source, Side::Source).await?;
            mover.applied(&position).await?;
            Ok(position)
        };
        let position = within(self.options.settle_deadline, "settle", settling).await?;
        stop_point("settle").await;

        self.enter(journal, clock, Phase::Prove)?;
        let (begun, deadline) = (Instant::now(), self.options.prove_deadline);
        let proving = async {
            // A statement may have changed the tables since it was opened; its keys would be those of another plan.
            mover.renew(ends.verifier).await?;
            ends.verifier.dirty_keys_at_rest().await
        };
        let mut accepted = Vec::new();
        let keys_proven = match within(deadline, "prove", proving).await {
            Ok(keys) => keys,
            Err(cause) if unproven == Unproven::Accept => {
                accepted.push(cause.what);
                0
            }
            Err(cause) => return Err(cause),
        };
        let left = || match accepted.is_empty() {
            true => deadline.saturating_sub(begun.elapsed()),
            false => deadline,
        };
        let carrying = async {
            objects::advance_counters(ends.source, ends.target, &mover.tables()).await?;
            if let Some(hands) = ends.hands.as_deref_mut() {
                hands.raise(self.spec()).await?;
            }
            Ok(())
        };
        within(left(), "prove", carrying).await?;
        let position_back = within(left(), "prove", gtid_executed(ends.target, Side::Target)).await?;
        let looked_at = tokio::time::timeout(left(), mover.watched().has_read(&position_back)).await;
        let mut missing = guard::unproven(mover);
        if looked_at.is_err() {
            missing.push(Trouble::new(
                "not proven: the target's own log was not read to its end, so someone else may have written there",
                "",
                "try again when load is lower, or raise `cutover.prove_deadline`",
            ));
        }
        accepted.extend(missing.iter().map(|missing| missing.what.clone()));
        if let Some(missing) = missing.into_iter().next()
            && unproven == Unproven::Refuse
        {
            return Err(missing);
        }
        stop_point("prove").await;
        Ok(PointOfNoReturn {
            position: position_back,
            proven_as_of: position,
            keys_proven,
            accepted_unproven: accepted,
            ended,
        })
    }

    /// Waits until no client is in a statement or transaction, and ends those who still are if the operator says so. Returns
    /// whom.
    async fn drain(
        &self,
        source: &mut Connection,
        kill_after: Option<Duration>,
    ) -> Result<Vec<InTheWay>, Trouble> {
        let (begun, deadline) = (Instant::now(), self.options.drain_deadline);
        let killing = kill_after.map(|after| after.min(deadline));
        let first = self.gate.drain(killing.unwrap_or(deadline)).await;
        let (Err(_), Some(after)) = (&first, killing) else { return first.map(|()| Vec::new()) };
        let open = self.gate.open_connections();
        // Who cannot be moved is refused at once, and is not who is meant.
        if begun.elapsed() < after || open.is_empty() {
            return first.map(|()| Vec::new());
        }
        let ending = answered(Side::Source, async {
            let named = in_the_way::named(source, Phase::Drain, &open).await?;
            in_the_way::end(source, &named).await?;
            Ok(named)
        });
        let ended = ending.await.map_err(|e| e.trouble())?;
        self.gate.end(&open);
        self.gate.drain(deadline.saturating_sub(after).max(Duration::from_secs(1))).await?;
        Ok(ended)
    }

    fn enter(&self, journal: &mut Journal, clock: &mut PhaseClock<'_>, phase: Phase) -> Result<(), Trouble> {
        clock.enter(phase);
        self.record(journal, Event::Entered { phase })
    }

    /// The one error exit: lowers the fence, releases the clients where they were, and says what came of it.
    async fn undo(
        &self,
        journal: &mut Journal,
        mover: &Mover,
        (home, creating): (Home, Option<u32>),
        cause: Trouble,
    ) -> Trouble {
        let reached = match journal.state().step {
            Step::Crossing(phase) => phase,
            _ => Phase::Hold,
        };
        // Before the first write that the stream would carry to triggers on the target.
        let cleared = match creating.filter(|_| reached >= Phase::Prove) {
            Some(connection) => answered(Side::Target, self.withdraw_objects(home, connection)).await,
            None => Ok(()),
        };
        if cleared.is_err() {
            mover.stop().await;
            self.set_mover(None);
        }
        // Who has not been fenced is not waited for: it may be away for long, and clients are to know.
        let lowered = match reached >= Phase::Fence {
            true => self.lower_fence_at_last(home).await,
            false => Ok(()),
        };
        self.gate.release();
        let cleared = match (cleared, creating) {
            (Err(_), Some(connection)) => self.follow_again(journal.state(), connection).await,
            (cleared, _) => {
                mover.start_proving();
                cleared
            }
        };
        let recorded = match matches!(journal.state().step, Step::Crossing(_)) {
            true => self.record(journal, Event::Aborted { reason: cause.what.clone() }),
            false => Ok(()),
        };
        let state = match (&lowered, &recorded) {
            (Ok(()), Ok(())) if let Err(e) = &cleared => {
                format!(
                    "traffic is where it was; the stream is stopped, for the target still has triggers or events: {e}"
                )
            }
            (Err(e), _) => format!("the source may still be read-only: {e}"),
            (_, Err(e)) => format!("everything was put back, but the journal could not be written: {e}"),
            _ => "everything was put back; traffic is where it was".to_owned(),
        };
        let hint = match lowered {
            Err(_) => "SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF on the source".to_owned(),
            Ok(()) if cleared.is_err() => "start this process again: it removes them and goes on".to_owned(),
            Ok(()) => cause.hint,
        };
        Trouble::new(format!("cutover was given up: {}", cause.what), state, hint)
    }
}

impl<G: TrafficGate> MoveDriver<G> {
    /// The stream was stopped because the target did not let go of its triggers and events: clears it when it does, and
    /// goes on. Clients are served meanwhile.
    async fn follow_again(&self, state: &State, creating: u32) -> Result<(), MoveError> {
        let clearing = || answered(Side::Target, self.withdraw_objects(state.home, creating));
        again("remove triggers and events from the target", clearing).await?;
        self.start_mover_at_last(state).await
    }

    /// Takes back what was created on the side that goes on following.
    async fn withdraw_objects(&self, home: Home, connection: u32) -> Result<(), MoveError> {
        let (from, onto) = (self.at(home), self.at(home.other()));
        objects::end_connection(onto, connection).await?;
        objects::clear(from, onto, self.spec()).await
    }
}

fn events_do_not_run(error: &MoveError) -> Trouble {
    Trouble::new(
        format!("traffic has moved, but not every event was enabled: {error}"),
        "the new side serves, the stream back runs; events stay DISABLE ON REPLICA",
        "mend what it says; the next command, or starting this process again, enables them",
    )
}

fn stuck_after_switch(error: &MoveError) -> Trouble {
    Trouble::new(
        format!("the switch is decided, but the new side cannot be opened: {error}"),
        "both sides are read-only and clients are held; no write is lost",
        "mend the new side, then give the command again or start this process again: it goes on from here",
    )
}

fn no_way_back(error: &MoveError) -> Trouble {
    Trouble::new(
        format!("traffic has moved, but the stream back did not start: {error}"),
        "the new side serves; a rollback is not possible until the stream back runs",
        "mend what it says and start this process again: it goes on from the journal",
    )
}

/// The connections a crossing works with, opened before anyone is held.
struct Ends<'a> {
    source: &'a mut Connection,
    target: &'a mut Connection,
    verifier: &'a mut Verifier,
    /// Where objects go along.
    hands: Option<&'a mut objects::Hands>,
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
