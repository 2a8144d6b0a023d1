//! Doing again what must be done, until it is: putting the source back after a crossing that was given up, going forward after
//! a switch. A server that does not answer now may in a moment, and a restarted one comes back with its fence.
//!
//! Everything here may run twice: what was given up for want of an answer may have been done all the same. What it must not
//! be is done *later*, when the next crossing relies on something else: see [`super::fence::connect`].

use std::time::Duration;

use model::Trouble;

use super::state::{Event, Home, Recovery, State};
use super::{Journal, MoveDriver, TrafficGate, objects};
use crate::error::{MoveError, Side};
use crate::plan::Fence;

/// How long one try may go without an answer; opening a server takes a few statements.
const TRY: Duration = Duration::from_secs(3);
/// How long one start of the stream may take, which reads the tables' definitions.
const START: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

impl<G: TrafficGate> MoveDriver<G> {
    /// Lets the application write where it wrote before. One try.
    pub(super) async fn lower_fence(&self, home: Home) -> Result<(), MoveError> {
        self.open_side(home, Side::Source).await?;
        self.let_events_run(home).await
    }

    /// Before a fence of schemas goes up, the events in them are marked not to run; when it is down they are to.
    pub(super) async fn let_events_run(&self, home: Home) -> Result<(), MoveError> {
        match self.state().fence {
            Fence::Server | Fence::Tables => Ok(()),
            Fence::Schemas => {
                let moved = self.moved_at(home);
                answered(Side::Source, objects::enable_events(self.at(home), Side::Source, &moved)).await
            }
        }
    }

    /// The same, until it is done or refused: while the source is away nobody can be served there, and when it is back its
    /// fence is too.
    pub(super) async fn lower_fence_at_last(&self, home: Home) -> Result<(), MoveError> {
        again("lower the fence", || self.lower_fence(home)).await
    }

    /// After the switch: the other side must open, the journal says so. One try.
    pub(super) async fn open_new_home(&self, home: Home) -> Result<(), MoveError> {
        self.open_side(home, Side::Target).await
    }

    /// The same, until it is done or refused.
    pub(super) async fn open_new_home_at_last(&self, home: Home) -> Result<(), MoveError> {
        again("open the new side", || self.open_new_home(home)).await
    }

    /// The side that serves, and has been opened, does so when it restarts. One try.
    pub(super) async fn stay_open(&self, home: Home, side: Side) -> Result<(), MoveError> {
        if self.state().fence != Fence::Server {
            return Ok(());
        }
        answered(side, async {
            let mut server = self.fencing(home, side).await?;
            self.barrier(home).stay_open(&mut server, side).await
        })
        .await
    }

    /// The same, until it is done or refused. Clients are served meanwhile.
    pub(super) async fn stay_open_at_last(&self, home: Home, side: Side) -> Result<(), MoveError> {
        again("keep the serving side open when it restarts", || self.stay_open(home, side)).await
    }

    /// Before another command: a crossing that could not be ended, for want of room for the journal or because the new side
    /// refused something, is ended as a restart would end it.
    pub(super) async fn finish_what_was_begun(&self, journal: &mut Journal) -> Result<(), Trouble> {
        let state = journal.state().clone();
        match state.recovery() {
            Recovery::None | Recovery::Over => Ok(()),
            Recovery::PutBack(phase) => {
                self.lower_fence(state.home).await.map_err(|e| e.trouble())?;
                // A door that was opened while this was left behind holds its clients for it.
                self.gate.release();
                self.stay_open(state.home, Side::Source).await.map_err(|e| e.trouble())?;
                self.hooks_after_a_crash(&state).await;
                self.record(journal, Event::Aborted { reason: format!("left behind during {phase}") })
            }
            Recovery::GoForward => {
                let forward = async {
                    self.open_new_home(state.home).await?;
                    self.gate.switch(state.home, state.epoch);
                    self.gate.release();
                    self.stay_open(state.home, Side::Target).await?;
                    if self.mover().is_none() {
                        self.start_mover(&state).await?;
                    }
                    self.enable_events(state.home).await
                };
                forward.await.map_err(|e| e.trouble())?;
                self.hooks_after_a_crash(&state).await;
                self.record(journal, Event::Completed)
            }
        }
    }

    /// Starts the stream, until it runs or is refused. Clients are served meanwhile.
    pub(super) async fn start_mover_at_last(&self, state: &State) -> Result<(), MoveError> {
        again("start the stream", || async {
            match tokio::time::timeout(START, self.start_mover(state)).await {
                Ok(started) => started,
                Err(_) => Err(MoveError::Silent { side: Side::Target, seconds: START.as_secs() }),
            }
        })
        .await
    }

    async fn open_side(&self, home: Home, side: Side) -> Result<(), MoveError> {
        answered(side, async {
            let mut server = self.fencing(home, side).await?;
            self.barrier(home).open_for_writes(&mut server, side).await
        })
        .await
    }
}

/// The answer, or that there was none in time.
pub(super) async fn answered<T>(
    side: Side,
    work: impl Future<Output = Result<T, MoveError>>,
) -> Result<T, MoveError> {
    match tokio::time::timeout(TRY, work).await {
        Ok(done) => done,
        Err(_) => Err(MoveError::Silent { side, seconds: TRY.as_secs() }),
    }
}

/// Tries until it is done, or fails in a way that another try cannot mend.
pub(super) async fn again<F: Future<Output = Result<(), MoveError>>>(
    doing: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<(), MoveError> {
    loop {
        match attempt().await {
            Err(error) if error.can_resume() || matches!(error, MoveError::Silent { .. }) => {
                tracing::warn!(target: "highwater::move", %error, "trying again to {doing}");
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}
