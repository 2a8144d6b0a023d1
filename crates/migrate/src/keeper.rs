//! Keeps a direction of a move going: runs the pipeline, and runs it again from the ledger when a connection broke.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::direction::{Direction, Start};
use crate::error::{MoveError, Result, Side};
use crate::ledger::Claim;
use crate::mover::{MoverState, variable};
use crate::pipeline::Pipeline;
use crate::sequencer::Request;
use crate::session;

/// Pause before the pipeline is started again: long enough not to spin, short against what a server needs to restart.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// Connections that write to the target side by side. More than the target's cores gain nothing; two batches that write
/// the same rows follow each other anyway.
const LANES: usize = 4;

/// The task behind a [`crate::Mover`].
pub(crate) struct Keeper {
    pub direction: Arc<Direction>,
    /// Where the sequencer's request channel is published while the pipeline runs.
    pub access: watch::Sender<Option<mpsc::Sender<Request>>>,
    pub state: watch::Sender<MoverState>,
    /// Becomes true when the move is to stop.
    pub stop: watch::Receiver<bool>,
}

impl Keeper {
    pub(crate) async fn keep_going(self) {
        loop {
            let error = match self.run_once().await {
                Ok(()) => MoveError::Stopped,
                Err(error) => error,
            };
            if *self.stop.borrow() {
                return;
            }
            if !error.can_resume() {
                tracing::error!(target: "highwater::move", %error, "the move stopped");
                self.state.send_replace(MoverState::Failed(error.trouble()));
                return;
            }
            tracing::warn!(target: "highwater::move", %error, "reconnecting");
            self.state.send_replace(MoverState::Reconnecting(error.trouble()));
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    }

    async fn run_once(&self) -> Result<()> {
        let direction = &self.direction;
        let mut target = session::open(&direction.options.target, Side::Target).await?;
        let claim = Claim::take(&mut target, &direction.ledger, LANES).await?;
        self.check_same_source().await?;
        let copy = match &direction.options.start {
            Start::Copy(options) => Some(options.clone()),
            Start::At(_) => None,
        };
        self.state.send_replace(MoverState::Running);
        let (access, stop) = (self.access.clone(), self.stop.clone());
        Pipeline { direction: Arc::clone(direction), claim, copy, access, stop }.run().await
    }

    /// After a reconnection: the address may now lead to another server, whose positions mean nothing to ours.
    async fn check_same_source(&self) -> Result<()> {
        let mut source = session::open(&self.direction.options.source, Side::Source).await?;
        let uuid = variable(&mut source, Side::Source, "@@GLOBAL.server_uuid").await?;
        if uuid == self.direction.ledger.source_uuid {
            return Ok(());
        }
        Err(MoveError::Refused {
            what: format!(
                "the source is another server now: {uuid}, not {}",
                self.direction.ledger.source_uuid
            ),
            hint: "point the cluster's address at the old server, or finish this move and begin a new one"
                .into(),
        })
    }
}
