//! Keeps a direction of a move going: runs the pipeline, and runs it again from the ledger when a connection broke or a
//! statement of the stream has changed the tables.

use std::sync::Arc;
use std::time::Duration;

use model::GtidSet;
use mysql::Connection;
use tokio::sync::watch;

use crate::ddl::Scope;
use crate::direction::{Access, Direction, Start};
use crate::error::{MoveError, Result, Side};
use crate::failover;
use crate::ledger::{Claim, LedgerName, due};
use crate::mover::{MoverState, variable};
use crate::pipeline::Pipeline;
use crate::reshape;
use crate::session;

/// Pause before the pipeline is started again: long enough not to spin, short against what a server needs to restart.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// How long a run that is to stop may take to notice.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Connections that write to the target side by side. More than the target's cores gain nothing; two batches that write
/// the same rows follow each other anyway.
const LANES: usize = 4;

/// The task behind a [`crate::Mover`].
pub(crate) struct Keeper {
    /// The direction as it is now; another one each time a statement of the stream changes the tables.
    pub direction: watch::Sender<Arc<Direction>>,
    /// What the ledger said when those tables were read; until the first run, which need not read them again.
    pub as_of: Option<GtidSet>,
    /// Where the sequencer's request channel is published while the pipeline runs.
    pub access: watch::Sender<Option<Access>>,
    pub state: watch::Sender<MoverState>,
    /// Becomes true when the move is to stop.
    pub stop: watch::Receiver<bool>,
}

impl Keeper {
    pub(crate) async fn keep_going(mut self) {
        loop {
            let mut stop = self.stop.clone();
            let given_up = async {
                // An error means that the mover is gone, which is as good as being told.
                let _ = stop.wait_for(|stop| *stop).await;
                tokio::time::sleep(STOP_GRACE).await;
            };
            let error = tokio::select! {
                outcome = self.run_once() => match outcome {
                    Ok(()) => MoveError::Stopped,
                    Err(error) => error,
                },
                // A server that does not answer does not keep us from stopping.
                () = given_up => return,
            };
            if *self.stop.borrow() {
                return;
            }
            if matches!(error, MoveError::Reshaped) {
                // At once, and without alarm: the connections are sound.
                continue;
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

    async fn run_once(&mut self) -> Result<()> {
        let before = Arc::clone(&self.direction.borrow());
        let mut target = session::open(&before.options.target, Side::Target).await?;
        let (ledger, lower_case) = self.whose_ledger(&mut target, &before).await?;
        let claim = Claim::take(&mut target, &ledger, LANES).await?;
        self.state.send_replace(MoverState::Running);
        let as_of = self.as_of.take();
        let direction = if as_of.as_ref() == Some(&claim.applied) {
            before
        } else {
            let tables = reshape::tables_as_of(&mut target, &ledger, &before.options.spec.renames).await?;
            reshape::renewed(&before, tables, &claim.applied)
        };
        let direction = match direction.ledger == ledger {
            true => direction,
            false => Arc::new(direction.followed_from(ledger)),
        };
        if as_of.is_some() {
            // Who had the move before us may have gone on until we took it over.
            direction.changes.begin_at(claim.applied.clone());
        }
        self.direction.send_replace(Arc::clone(&direction));
        let created = due::due(&mut target, &direction.ledger).await?.filter(|d| d.created).map(|d| d.gtid);
        let scope = Scope::of_source(&direction.options.spec, &direction.tables, lower_case);
        let copy = match &direction.options.start {
            Start::Copy(options) => Some(options.clone()),
            Start::At(_) => None,
        };
        let (access, stop) = (self.access.clone(), self.stop.clone());
        Pipeline { direction, claim, copy, access, scope, created, stop }.run().await
    }

    /// The ledger of the server that the source's address leads to now, which may have taken another one's place, and whether
    /// that writes names in lower case.
    async fn whose_ledger(
        &self,
        target: &mut Connection,
        direction: &Direction,
    ) -> Result<(LedgerName, bool)> {
        let mut source = session::open(&direction.options.source, Side::Source).await?;
        let ledger = failover::ledger_of(&mut source, target, &direction.ledger.move_name).await?;
        let lower_case = variable(&mut source, Side::Source, "@@GLOBAL.lower_case_table_names").await?;
        Ok((ledger, lower_case != "0"))
    }
}
