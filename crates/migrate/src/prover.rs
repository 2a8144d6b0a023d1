//! Keeps a proof current: proves dirty keys again, in the background, for as long as the move runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::bag::BagPace;
use crate::direction::Access;
use crate::error::{MoveError, Result};
use crate::verify::Verifier;

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
    /// Starts one.
    pub(crate) fn start(access: watch::Receiver<Option<Access>>) -> Self {
        let rest = Arc::new(AtomicBool::new(false));
        let work = Work { access, rest: Arc::clone(&rest) };
        Self { rest, task: tokio::spawn(work.go_on()) }
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
    rest: Arc<AtomicBool>,
}

impl Work {
    fn is_to_rest(&self) -> bool {
        self.rest.load(Ordering::Acquire)
    }

    async fn go_on(self) {
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
        while !self.is_to_rest() {
            for doubted in direction.proof.doubted() {
                if let Some(table) = direction.tables.iter().position(|t| t.name == doubted) {
                    direction.proof.settle(verifier.table(table, &|_| ()).await?);
                }
            }
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
            tokio::time::sleep(ROUND_PAUSE).await;
        }
        Ok(())
    }
}
