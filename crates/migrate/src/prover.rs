//! Keeps a proof current: proves dirty keys again, in the background, for as long as the move runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::bag::BagPace;
use crate::direction::Access;
use crate::error::{MoveError, Result};
use crate::ledger::proven::KeptProof;
use crate::verify::Verifier;
use crate::watch::Watched;

mod keep;
mod resume;

use keep::Keeping;
pub(crate) use keep::keep;
pub(crate) use resume::warn_of;

/// Pause between rounds, so that keys written again and again are proven once a round.
const ROUND_PAUSE: Duration = Duration::from_millis(50);

/// A running prover. Dropping it stops it at once; keys in its hand are then dirty again.
#[derive(Debug)]
pub(crate) struct Prover {
    rest: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Prover {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prover {
    /// Starts one, which first makes the proof of an earlier process hold, if there is one.
    pub(crate) fn start(
        access: watch::Receiver<Option<Access>>,
        watched: Arc<Watched>,
        kept: Option<KeptProof>,
    ) -> Self {
        let rest = Arc::new(AtomicBool::new(false));
        let work = Work { access, watched, rest: Arc::clone(&rest) };
        Self { rest, task: tokio::spawn(work.go_on(kept)) }
    }

    /// Stops it between two lots, so that nothing of it is under way on either server.
    pub(crate) async fn rest(mut self) {
        self.rest.store(true, Ordering::Release);
        // It only ends by being asked to, or by a panic, after which it rests all the more.
        let _ = (&mut self.task).await;
    }
}

struct Work {
    access: watch::Receiver<Option<Access>>,
    watched: Arc<Watched>,
    rest: Arc<AtomicBool>,
}

impl Work {
    fn is_to_rest(&self) -> bool {
        self.rest.load(Ordering::Acquire)
    }

    async fn told_to_rest(&self) {
        while !self.is_to_rest() {
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    async fn go_on(self, kept: Option<KeptProof>) {
        if let Some(kept) = &kept {
            tokio::select! {
                () = resume::resume(&self.access, &self.watched, kept) => {}
                () = self.told_to_rest() => {}
            }
        }
        while !self.is_to_rest() {
            if let Err(error) = self.prove_while_connected().await {
                tracing::debug!(target: "highwater::proof", %error, "re-proving begins again");
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    async fn prove_while_connected(&self) -> Result<()> {
        let access = self.access.borrow().clone().ok_or(MoveError::Stopped)?;
        let direction = &Arc::clone(&access.direction);
        let mut verifier = Verifier::open(access).await?;
        let mut pace = BagPace::default();
        let mut keeping = Keeping::default();
        while !self.is_to_rest() {
            for doubted in direction.proof.doubted() {
                if let Some(table) = direction.tables.iter().position(|t| t.name == doubted) {
                    direction.proof.settle(verifier.table(table, &|_| ()).await?);
                }
            }
            keeping.begin(&mut verifier).await?;
            let as_of = direction.progress.applied_set().borrow().clone();
            let mut left = direction.dirty.waiting();
            while left > 0 && !self.is_to_rest() {
                match verifier.dirty_keys_in_time(&mut pace).await? {
                    0 => break,
                    proven => left = left.saturating_sub(proven),
                }
            }
            if left == 0 {
                direction.proof.advance(as_of);
            }
            keeping.end(&mut verifier, &self.watched).await?;
            tokio::time::sleep(ROUND_PAUSE).await;
        }
        Ok(())
    }
}
