//! Writing to the target: several lanes work side by side and commit in the stream's order.
//!
//! ```text
//!              ┌── lane 0: execute ahead ── wait for its turn ── commit ──┐
//! sequencer ───┼── lane 1: execute ahead ── wait for its turn ── commit ──┼──▶ target
//!              └── lane n: ...                                            ┘
//! ```

mod bags;
mod conflicts;
pub mod effect;
mod lane;
mod repair;
mod replay;
pub mod schedule;
mod session_of;
mod statements;
mod turns;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::direction::Direction;
use crate::error::{MoveError, Result};
use crate::ledger::Claim;
use crate::work::{Batch, Work};

pub use conflicts::Mark;
use lane::Lane;
use schedule::Schedule;
pub(crate) use statements::NOT_STRICT;
use turns::Turns;

/// Row changes that make a batch worth a commit of its own while others are under way. Smaller ones wait and grow:
/// four small commits one after another would take longer than one.
const PARALLEL_CHANGES_MIN: u64 = 400;

/// Work, and the turn in which it commits.
struct Job {
    turn: u64,
    work: Work,
}

/// A lane that waits for work.
pub(crate) struct FreeLane(oneshot::Sender<Job>);

/// The lanes as the sequencer sees them.
pub(crate) struct Lanes {
    free: mpsc::Receiver<FreeLane>,
    turns: Arc<Turns>,
    schedule: Schedule,
}

impl Lanes {
    /// Connects a lane for each ledger row of the claim, and starts them among the pipeline's stages.
    ///
    /// # Errors
    /// If the target cannot be reached.
    pub async fn open(
        direction: &Arc<Direction>,
        claim: &Claim,
        stages: &mut JoinSet<Result<()>>,
    ) -> Result<Self> {
        let turns = Arc::new(Turns::new());
        let (free_tx, free) = mpsc::channel(claim.lanes());
        for row in claim.rows() {
            let lane = Lane::open(Arc::clone(direction), row, Arc::clone(&turns)).await?;
            stages.spawn(work_until_told(lane, free_tx.clone()));
        }
        Ok(Self { free, turns, schedule: Schedule::new(PARALLEL_CHANGES_MIN) })
    }

    /// Which work may go when.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Waits until a batch that still grows may and should go. Cancel-safe.
    ///
    /// # Errors
    /// If the lanes are gone.
    pub async fn free_for(&mut self, batch: &Batch) -> Result<FreeLane> {
        loop {
            let now = self.turns.now();
            if self.schedule.may_go(batch, now) {
                return self.free().await;
            }
            self.turns.come(now + 1).await;
        }
    }

    async fn free(&mut self) -> Result<FreeLane> {
        self.free.recv().await.ok_or(MoveError::Stopped)
    }

    /// Gives work to a lane; it commits after all work given before.
    ///
    /// # Errors
    /// If the lane is gone.
    pub fn give(&mut self, lane: FreeLane, work: Work, marks: Vec<Mark>) -> Result<()> {
        let turn = self.schedule.begin(marks, self.turns.now());
        lane.0.send(Job { turn, work }).map_err(|_| MoveError::Stopped)
    }

    /// Waits until all work given so far is committed. If a lane fails, the pipeline ends, and this wait with it.
    pub async fn all_committed(&self) {
        self.turns.come(self.schedule.next_turn()).await;
    }

    /// Gives work as soon as a lane is free and all work that writes the same keys has committed.
    ///
    /// # Errors
    /// If the lanes are gone.
    pub async fn give_in_order(&mut self, work: Work, marks: Vec<Mark>) -> Result<()> {
        self.turns.come(self.schedule.first_turn_for(&marks)).await;
        let lane = self.free().await?;
        self.give(lane, work, marks)
    }
}

async fn work_until_told(mut lane: Lane, free: mpsc::Sender<FreeLane>) -> Result<()> {
    loop {
        let (given, job) = oneshot::channel();
        free.send(FreeLane(given)).await.map_err(|_| MoveError::Stopped)?;
        let Job { turn, work } = job.await.map_err(|_| MoveError::Stopped)?;
        lane.perform(turn, work).await?;
    }
}
