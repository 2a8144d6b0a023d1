//! The one way back before the switch: what is on the target goes, the fence goes down, the clients go on where they were.

use std::time::Instant;

use model::Trouble;
use mysql::Connection;

use super::course::Course;
use super::crossing::Ready;
use super::mend::{again, answered};
use super::state::{Event, Home, Phase, State, Step};
use super::{MoveDriver, Run, TrafficGate, objects};
use crate::error::{MoveError, Side};
use crate::mover::Mover;
use crate::plan::Fence;

/// What came of putting everything back.
pub(super) struct PutBack {
    cleared: Result<(), MoveError>,
    lowered: Result<(), MoveError>,
    /// Milliseconds that lowering the fence took.
    pub lower_ms: f64,
    /// Milliseconds from the beginning of hold until the clients went on.
    pub held_ms: f64,
    undone: Result<(), Trouble>,
}

impl PutBack {
    pub fn failed(&self) -> bool {
        self.cleared.is_err() || self.lowered.is_err() || self.undone.is_err()
    }
}

impl<G: TrafficGate> MoveDriver<G> {
    /// The one error exit: lowers the fence, releases the clients where they were, and says what came of it.
    pub(super) async fn undo(
        &self,
        course: &mut Course<'_>,
        ready: &Ready,
        home: Home,
        cause: Trouble,
    ) -> Trouble {
        course.note_phases();
        let put = self.put_back(course, &ready.mover, None, (home, ready.creating)).await;
        self.put_back_badly(course, put, cause)
    }

    /// Puts everything back and lets the clients go on where they were. `source` is a connection that may be used for that.
    pub(super) async fn put_back(
        &self,
        course: &mut Course<'_>,
        mover: &Mover,
        source: Option<&mut Connection>,
        (home, creating): (Home, Option<u32>),
    ) -> PutBack {
        let reached = match course.journal.state().step {
            Step::Crossing(phase) | Step::Rehearsing(phase) => phase,
            Step::Steady | Step::Switched | Step::Finished => Phase::Hold,
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
        let begun = Instant::now();
        // Who has not been fenced is not waited for: it may be away for long, and clients are to know.
        let lowered = match source {
            _ if reached < Phase::Fence => Ok(()),
            Some(source) => {
                let opening = async {
                    self.barrier(home).open_for_writes(source, Side::Source).await?;
                    self.let_events_run(home).await
                };
                match answered(Side::Source, opening).await {
                    Ok(()) => Ok(()),
                    Err(_) => self.lower_fence_at_last(home).await,
                }
            }
            None => self.lower_fence_at_last(home).await,
        };
        let lower_ms = begun.elapsed().as_secs_f64() * 1000.0;
        self.gate.release();
        let released_ms = course.note_held();
        let lowered = match lowered {
            Ok(()) if reached >= Phase::Fence => self.stay_open_at_last(home, Side::Source).await,
            lowered => lowered,
        };
        let undone = course.undone().await;
        // Without a door the clients go on when the hook has let them.
        let held_ms = if self.gate.holds_clients() { released_ms } else { course.note_held() };
        let cleared = match (cleared, creating) {
            (Err(_), Some(connection)) => self.follow_again(course.journal.state(), connection).await,
            (cleared, _) => {
                mover.start_proving();
                cleared
            }
        };
        PutBack { cleared, lowered, lower_ms, held_ms, undone }
    }

    /// Records that a crossing was given up, and says in what state that leaves things.
    pub(super) fn put_back_badly(&self, course: &mut Course<'_>, put: PutBack, cause: Trouble) -> Trouble {
        let PutBack { cleared, lowered, undone, .. } = put;
        let recorded = match course.journal.state().step {
            Step::Crossing(_) | Step::Rehearsing(_) => {
                self.record(course.journal, Event::Aborted { reason: cause.what.clone() })
            }
            _ => Ok(()),
        };
        let state = match (&lowered, &recorded, &undone) {
            (Ok(()), Ok(()), _) if let Err(e) = &cleared => {
                format!(
                    "traffic is where it was; the stream is stopped, for the target still has triggers or events: {e}"
                )
            }
            (Err(e), ..) => format!("the source may still be read-only: {e}"),
            (_, Err(e), _) => format!("everything was put back, but the journal could not be written: {e}"),
            (.., Err(e)) => format!(
                "everything of ours was put back and traffic is where it was, but what your hooks did may not be: {e}"
            ),
            _ => "everything was put back; traffic is where it was".to_owned(),
        };
        let hint = match (&lowered, undone) {
            (Err(_), _) => match self.state().fence {
                Fence::Server => "SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF on the source".to_owned(),
                Fence::Schemas => "ALTER SCHEMA ... READ ONLY = 0 for each schema of the move, and ALTER EVENT ... ENABLE for its events \
                                   that are DISABLE ON REPLICA, on the source"
                    .to_owned(),
                Fence::Tables => "DROP TRIGGER for each trigger of the moved tables on the source whose name begins with highwater_fence_"
                    .to_owned(),
            },
            (Ok(()), _) if cleared.is_err() => {
                "start this process again: it removes them and goes on".to_owned()
            }
            (Ok(()), Err(undone)) => format!("do by hand what the hook was to do; {}", undone.hint),
            (Ok(()), Ok(())) => cause.hint,
        };
        let what = match course.facts.run {
            Run::Rehearsal => format!("the rehearsal was given up: {}", cause.what),
            Run::Cutover | Run::Rollback => format!("cutover was given up: {}", cause.what),
        };
        Trouble::new(what, state, hint)
    }

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
        objects::clear(from, onto, self.spec_from(home)).await
    }
}
