//! A crossing: seven phases, one error exit before the switch (`undo.rs`), none after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Trouble;
use mysql::Connection;

use super::clock::PhaseClock;
use super::course::Course;
use super::hooks::{Facts, When};
use super::last_look::last_look;
use super::mend::{again, answered};
use super::point::{ForReal, PointOfNoReturn, Proof, Proven, Purpose, Run};
use super::report::{CrossingLog, CrossingReport};
use super::state::{Event, Home, Phase, State};
use super::stop_point::stop_point;
use super::{Guardrail, Journal, MoveDriver, TrafficGate, fence, guard, objects, prime};
use crate::along;
use crate::error::{Doing, MoveError, Side};
use crate::mover::{Mover, gtid_executed};
use crate::plan::Accounts;
use crate::plan::Fence;
use crate::session;
use crate::verify::Verifier;

/// What to do when not everything is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unproven {
    /// Give up.
    Refuse,
    /// Go on, and record what was accepted.
    Accept,
}

impl Unproven {
    /// Whether a guardrail that does not hold is passed over.
    pub(super) fn accepts(self, guardrail: &Guardrail) -> bool {
        self == Self::Accept && guardrail.acceptable
    }
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
        self.cross_logged(to, how.into(), told, &CrossingLog::default()).await
    }

    /// The same, with a record of it in `log`, also if it is given up.
    ///
    /// # Errors
    /// As [`MoveDriver::cross`].
    pub async fn cross_logged(
        &self,
        to: Home,
        how: How,
        told: &(dyn Fn(Phase) + Sync),
        log: &CrossingLog,
    ) -> Result<CrossingReport, Trouble> {
        let mut journal = self.command()?;
        self.finish_what_was_begun(&mut journal).await?;
        let state = journal.state().clone();
        let mut ready = self.ready::<ForReal>(&state, to, how.unproven, log).await?;
        let mut course = self.course(&mut journal, told, log, ForReal::run(to));
        let before = match self.until_proven::<ForReal>(&mut course, &mut ready, (&state, how)).await {
            Ok(proven) => {
                course.clock.enter(Phase::Switch);
                let looked = async {
                    course.begin(Phase::Switch).await?;
                    self.last_look(&mut ready, proven.proof(), how.unproven).await
                };
                looked.await.map(|()| PointOfNoReturn::reached(proven))
            }
            Err(trouble) => Err(trouble),
        };
        match before {
            Ok(point) => self.beyond(course, ready, &state, point).await,
            Err(trouble) => Err(self.undo(&mut course, &ready, state.home, trouble).await),
        }
    }

    /// Everything that can be done, and refused, before a client is held.
    pub(super) async fn ready<P: Purpose>(
        &self,
        state: &State,
        to: Home,
        unproven: Unproven,
        log: &CrossingLog,
    ) -> Result<Ready, Trouble> {
        log.lock().run = Some(P::run(to));
        if state.home == to {
            let hint = if to == Home::New {
                "to go back: `highwater rollback`"
            } else {
                "there is nothing to go back from"
            };
            return Err(Trouble::new("traffic is there already", "nothing was changed", hint));
        }
        let mover = self.running_mover()?;
        self.refuse_unless_guarded(&mover, to, unproven, log).await?;
        self.gate.warm(to).await?;

        let failed = |e: MoveError| e.trouble();
        let (from, onto) = (self.at(state.home), self.at(to));
        let mut wanted = self.copy.along.clone();
        if to == Home::Old {
            // It has had its accounts all the time, and may have changed some since; none is worth refusing the way back.
            wanted.accounts = Accounts::None;
        }
        along::bring(from, onto, self.spec_from(state.home), &wanted).await.map_err(failed)?;
        let hands = match self.copy.along.objects {
            true => Some(objects::Hands::open(from, onto).await.map_err(failed)?),
            false => None,
        };
        let creating = hands.as_ref().map(objects::Hands::target_id);
        let primed = prime::prime((from, onto), &mover.tables(), self.options.prime_deadline).await;
        log.lock().primed = Some(primed);
        let marking = match state.fence {
            Fence::Server | Fence::Tables => None,
            Fence::Schemas => Some(session::open(from, Side::Source).await.map_err(failed)?),
        };
        let source = self.fencing(state.home, Side::Source).await.map_err(failed)?;
        let mut target = self.fencing(to, Side::Target).await.map_err(failed)?;
        self.barrier(to).close_before_crossing(&mut target, Side::Target).await.map_err(failed)?;
        // A statement that is given up must not go on waiting on the target, in the stream's way.
        let patience =
            format!("SET SESSION lock_wait_timeout = {}", self.options.prove_deadline.as_secs().max(1));
        target.execute(patience).await.doing(Side::Target, "bound its waits").map_err(failed)?;
        let mut verifier = mover.verifier().await.map_err(failed)?;
        self.prove_most(&mover, &mut verifier, unproven).await?;
        Ok(Ready { mover, source, target, verifier, marking, hands, creating })
    }

    pub(super) fn course<'a>(
        &'a self,
        journal: &'a mut Journal,
        told: &'a (dyn Fn(Phase) + Sync),
        log: &'a CrossingLog,
        run: Run,
    ) -> Course<'a> {
        let facts = self.facts(journal.state(), run);
        Course { journal, clock: PhaseClock::new(told), log, hooks: &self.options.hooks, facts }
    }

    /// What hooks are told of a crossing that begins in this state.
    pub(super) fn facts(&self, state: &State, run: Run) -> Facts {
        Facts {
            move_name: self.spec().name.clone(),
            run,
            from: self.at(state.home).address(),
            to: self.at(state.home.other()).address(),
            epoch: state.epoch + 1,
        }
    }

    /// Switch, release, and the stream back: from here there is no way but forward.
    async fn beyond(
        &self,
        mut course: Course<'_>,
        ready: Ready,
        state: &State,
        point: PointOfNoReturn,
    ) -> Result<CrossingReport, Trouble> {
        let (to, epoch) = (state.home.other(), state.epoch + 1);
        let Proof { position, proven_as_of, keys_proven, accepted_unproven: accepted } = point.into_proof();
        let switched = Event::Switched { to, position, epoch, accepted_unproven: accepted.clone() };
        if let Err(trouble) = self.record(course.journal, switched) {
            // Not on disk: it has not happened.
            return Err(self.undo(&mut course, &ready, state.home, trouble).await);
        }
        let Ready { mover, mut target, verifier, .. } = ready;
        // From here on, who writes there may.
        mover.end_watch();
        stop_point("switch").await;
        let barrier = self.barrier(to);
        let opened = match answered(Side::Target, barrier.open_for_writes(&mut target, Side::Target)).await {
            Ok(()) => Ok(()),
            // Again on a connection of its own; each statement may run twice.
            Err(_) => self.open_new_home_at_last(to).await,
        };
        course.note_phases();
        if let Err(error) = opened {
            self.set_mover(None);
            mover.stop().await;
            return Err(stuck_after_switch(&error));
        }
        self.gate.switch(to, epoch);
        course.beyond(Phase::Switch, When::After).await;
        course.clock.enter(Phase::Release);
        course.beyond(Phase::Release, When::Before).await;
        self.gate.release();
        let released_ms = course.note_held();
        stop_point("release").await;
        course.beyond(Phase::Release, When::After).await;
        let held_ms = if self.gate.holds_clients() { released_ms } else { course.note_held() };
        course.note_phases();

        self.set_mover(None);
        drop(verifier);
        // Before the stream back writes to this side: it must not be followed the other way round.
        mover.stop().await;
        let now = course.journal.state().clone();
        self.start_mover_at_last(&now).await.map_err(|e| no_way_back(&e))?;
        self.stay_open_at_last(to, Side::Target).await.map_err(|e| open_for_now(&e))?;
        let enabling = again("enable events", || answered(Side::Target, self.enable_events(to)));
        enabling.await.map_err(|e| events_do_not_run(&e))?;
        self.record(course.journal, Event::Completed)?;
        Ok(CrossingReport {
            home: to,
            epoch,
            phases: course.log.record().phases,
            held_ms,
            keys_proven_at_fence: keys_proven,
            proven_as_of: accepted.is_empty().then_some(proven_as_of),
            accepted_unproven: accepted,
            ended: course.log.record().ended,
            warnings: course.log.failed_hooks(),
        })
    }

    async fn refuse_unless_guarded(
        &self,
        mover: &Mover,
        to: Home,
        unproven: Unproven,
        log: &CrossingLog,
    ) -> Result<(), Trouble> {
        let seen = self.look(mover, to).await;
        log.lock().guardrails.clone_from(&seen);
        match seen.into_iter().find(|g| g.refuses() && !unproven.accepts(g)) {
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
            // What a crossing changes on the target, the next process would take for a stranger's work.
            mover.withdraw_proof().await?;
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
    pub(super) async fn until_proven<P: Purpose>(
        &self,
        course: &mut Course<'_>,
        ready: &mut Ready,
        (state, how): (&State, How),
    ) -> Result<Proven<P>, Trouble> {
        let How { unproven, kill_after } = how;
        let failed = |e: MoveError| e.trouble();
        let from = self.at(state.home);

        self.enter::<P>(course, Phase::Hold).await?;
        self.gate.hold();
        stop_point("hold").await;
        course.end(Phase::Hold).await?;

        self.enter::<P>(course, Phase::Drain).await?;
        let ended = self.drain(state.home, &mut ready.source, kill_after).await?;
        course.log.lock().ended.extend(ended);
        stop_point("drain").await;
        course.end(Phase::Drain).await?;

        self.enter::<P>(course, Phase::Fence).await?;
        if let Some(marking) = &mut ready.marking {
            answered(Side::Source, objects::mark_events(marking, &self.moved_at(state.home)))
                .await
                .map_err(failed)?;
            stop_point("mark").await;
        }
        let patience = fence::Patience { deadline: self.options.fence_deadline, kill_after };
        let ended =
            self.barrier(state.home).raise(from, &mut ready.source, &patience).await.map_err(failed)?;
        course.log.lock().ended.extend(ended);
        stop_point("fence").await;
        course.end(Phase::Fence).await?;

        self.enter::<P>(course, Phase::Settle).await?;
        // After the fence, not before: a transaction that slipped in before it must be in this set.
        let settling = async {
            let position = gtid_executed(&mut ready.source, Side::Source).await?;
            ready.mover.applied(&position).await?;
            Ok(position)
        };
        let position = within(self.options.settle_deadline, "settle", settling).await?;
        course.log.lock().source_at = Some(position.clone());
        stop_point("settle").await;
        course.end(Phase::Settle).await?;

        self.enter::<P>(course, Phase::Prove).await?;
        let proof = self.prove(ready, state.home, position, unproven).await?;
        {
            let mut record = course.log.lock();
            record.target_at = Some(proof.position.clone());
            record.tables = ready.mover.proof().verdicts();
        }
        course.end(Phase::Prove).await?;
        Ok(Proven::new(proof))
    }

    /// What the last moments touched, and what besides rows must be in place.
    async fn prove(
        &self,
        ready: &mut Ready,
        home: Home,
        position: model::GtidSet,
        unproven: Unproven,
    ) -> Result<Proof, Trouble> {
        let mover = &ready.mover;
        let (begun, deadline) = (Instant::now(), self.options.prove_deadline);
        let verifier = &mut ready.verifier;
        let proving = async {
            // A statement may have changed the tables since it was opened; its keys would be those of another plan.
            mover.renew(verifier).await?;
            verifier.dirty_keys_at_rest().await
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
            objects::advance_counters(&mut ready.source, &mut ready.target, &mover.tables()).await?;
            if let Some(hands) = &mut ready.hands {
                hands.raise(self.spec_from(home)).await?;
            }
            Ok(())
        };
        within(left(), "prove", carrying).await?;
        let position_back = within(left(), "prove", gtid_executed(&mut ready.target, Side::Target)).await?;
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
        Ok(Proof {
            position: position_back,
            proven_as_of: position,
            keys_proven,
            accepted_unproven: accepted,
        })
    }

    /// See [`last_look`].
    pub(super) async fn last_look(
        &self,
        ready: &mut Ready,
        proof: &Proof,
        unproven: Unproven,
    ) -> Result<(), Trouble> {
        let barrier = self.barrier(self.state().home);
        let looking = last_look(&barrier, &self.spec().name, ready, proof, unproven);
        match tokio::time::timeout(self.options.prove_deadline, looking).await {
            Ok(seen) => seen,
            Err(_) => Err(Trouble::new(
                "a server did not answer in time just before the switch",
                "",
                "see that both are up and have room on their disks, or raise `cutover.prove_deadline`",
            )),
        }
    }

    async fn enter<P: Purpose>(&self, course: &mut Course<'_>, phase: Phase) -> Result<(), Trouble> {
        course.clock.enter(phase);
        course.note_phases();
        self.record(course.journal, P::entered(phase))?;
        course.begin(phase).await
    }
}

fn open_for_now(error: &MoveError) -> Trouble {
    Trouble::new(
        format!("traffic has moved, but the new side may be read-only when it restarts: {error}"),
        "the new side serves, the stream back runs",
        "mend what it says; the next command, or starting this process again, sees to it",
    )
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

/// What a crossing works with, opened before anyone is held.
pub(super) struct Ready {
    pub mover: Arc<Mover>,
    pub source: Connection,
    pub target: Connection,
    verifier: Verifier,
    /// On the source, where its events must not run behind the fence.
    marking: Option<Connection>,
    /// Where objects go along.
    hands: Option<objects::Hands>,
    /// The connection of those hands on the target.
    pub creating: Option<u32>,
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
