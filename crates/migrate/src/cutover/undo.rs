//! The one way back before the switch: what is on the target goes, the fence goes down, the clients go on where they were.

use std::time::{Duration, Instant};

use model::Trouble;
use mysql::Connection;

use super::course::Course;
use super::crossing::Ready;
use super::state::{Event, Home, Step};
use super::{MoveDriver, Run, TrafficGate, fence, objects};
use crate::error::{MoveError, Side};
use crate::mover::Mover;

/// How long taking back triggers and events may take, for clients wait meanwhile; past it the stream is stopped instead.
const WITHDRAW_DEADLINE: Duration = Duration::from_secs(3);

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
        // Before the first write that the stream would carry to triggers on the target.
        let cleared = match creating {
            Some(connection) => {
                let withdrawing = self.withdraw_objects(home, connection);
                match tokio::time::timeout(WITHDRAW_DEADLINE, withdrawing).await {
                    Ok(done) => done,
                    Err(_) => Err(MoveError::Stopped),
                }
            }
            None => Ok(()),
        };
        if cleared.is_err() {
            mover.stop().await;
            self.set_mover(None);
        }
        let begun = Instant::now();
        let lowered = match source {
            Some(source) => fence::open_for_writes(source, Side::Source).await,
            None => Err(MoveError::Stopped),
        };
        let lowered = match lowered {
            Ok(()) => Ok(()),
            Err(_) => self.lower_fence(home).await,
        };
        let lower_ms = begun.elapsed().as_secs_f64() * 1000.0;
        self.gate.release();
        if cleared.is_ok() {
            mover.start_proving();
        }
        let released_ms = course.note_held();
        let undone = course.undone().await;
        // Without a door the clients go on when the hook has let them.
        let held_ms = if self.gate.holds_clients() { released_ms } else { course.note_held() };
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
            (Err(_), _) => {
                "SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF on the source".to_owned()
            }
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

    /// Takes back what was created on the side that goes on following.
    async fn withdraw_objects(&self, home: Home, connection: u32) -> Result<(), MoveError> {
        let (from, onto) = (self.at(home), self.at(home.other()));
        objects::end_connection(onto, connection).await?;
        objects::clear(from, onto, self.spec()).await
    }
}
