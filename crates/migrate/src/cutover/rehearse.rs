//! A rehearsal: everything up to the switch, with the clients held; then everything is put back.
//!
//! What it makes is a `Proven<Rehearsing>`, and nothing takes one further.

use model::Trouble;

use super::course::Course;
use super::crossing::{Ready, Unproven};
use super::point::{Proven, Purpose, Rehearsing};
use super::report::{CrossingLog, RehearsalReport};
use super::state::{Event, Home, Phase, State};
use super::{MoveDriver, TrafficGate};

impl<G: TrafficGate> MoveDriver<G> {
    /// Goes through everything up to the switch with the clients held, and puts it back: how long a real crossing would
    /// take, without one.
    ///
    /// # Errors
    /// As [`MoveDriver::cross`]; traffic is where it was either way.
    pub async fn rehearse(
        &self,
        to: Home,
        unproven: Unproven,
        told: &(dyn Fn(Phase) + Sync),
        log: &CrossingLog,
    ) -> Result<RehearsalReport, Trouble> {
        let mut journal = self.command()?;
        self.finish_what_was_begun(&mut journal).await?;
        let state = journal.state().clone();
        let mut ready = self.ready::<Rehearsing>(&state, to, unproven, log).await?;
        let mut course = self.course(&mut journal, told, log, Rehearsing::run(to));
        let proven = async {
            let gone_through =
                self.until_proven::<Rehearsing>(&mut course, &mut ready, (&state, unproven.into()));
            let proven = gone_through.await?;
            self.last_look(&mut ready, proven.proof(), unproven).await?;
            Ok(proven)
        };
        match proven.await {
            Ok(proven) => self.rehearsed(course, ready, &state, &proven).await,
            Err(trouble) => Err(self.undo(&mut course, &ready, state.home, trouble).await),
        }
    }

    /// The end of a rehearsal: everything is put back, as after an error.
    async fn rehearsed(
        &self,
        mut course: Course<'_>,
        mut ready: Ready,
        state: &State,
        proven: &Proven<Rehearsing>,
    ) -> Result<RehearsalReport, Trouble> {
        let proof = proven.proof();
        let (_, until_proven_ms) = course.clock.read();
        course.clock.enter(Phase::Release);
        let put = self
            .put_back(&mut course, &ready.mover, Some(&mut ready.source), (state.home, ready.creating))
            .await;
        course.note_phases();
        let stall_ms = until_proven_ms + put.lower_ms;
        if put.failed() {
            let cause = Trouble::new("it went well as far as the switch", "", "");
            return Err(self.put_back_badly(&mut course, put, cause));
        }
        self.record(course.journal, Event::Rehearsed { stall_ms: stall_ms.round() as u64 })?;
        Ok(RehearsalReport {
            home: state.home,
            stall_ms,
            held_ms: put.held_ms,
            phases: course.log.record().phases,
            keys_proven_at_fence: proof.keys_proven,
            proven_as_of: proof.accepted_unproven.is_empty().then(|| proof.proven_as_of.clone()),
            accepted_unproven: proof.accepted_unproven.clone(),
        })
    }
}
