//! The only file that connects the stages: every channel of a move, and its bound.
//!
//! ```text
//! source ── TransactionReader ──▶ Sequencer ──▶ Lanes ──▶ target
//!   │                               ▲   ▲
//!   └── Copier: plan, readers ──────┘   └────── Verifier: ranges, dirty keys
//! ```

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::apply::Lanes;
use crate::bag;
use crate::copy::{Copier, CopyOptions};
use crate::ddl::Scope;
use crate::direction::{Access, Direction};
use crate::error::{MoveError, Result};
use crate::ledger::Claim;
use crate::sequencer::Sequencer;
use crate::stream::{Streamed, TransactionReader};

/// Transactions decoded and waiting for the sequencer.
const STREAM_BOUND: usize = 256;
/// Bytes of changes they may hold together; a single larger one passes alone.
const STREAM_BYTES: usize = 32 << 20;
/// Requests waiting for the sequencer.
const REQUEST_BOUND: usize = 64;

/// How long a stage may take to tell why it ended, after another one has noticed.
const CAUSE_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

/// One run of the pipeline.
pub(crate) struct Pipeline {
    pub direction: Arc<Direction>,
    /// The ledger, which says where to go on.
    pub claim: Claim,
    /// `None` where nothing is to be copied, as on the way back.
    pub copy: Option<CopyOptions>,
    /// Where the sequencer's request channel is published while the pipeline runs.
    pub access: watch::Sender<Option<Access>>,
    /// Which statements concern the move.
    pub scope: Scope,
    /// The transaction whose table is created, and whose rows are to come.
    pub created: Option<String>,
    /// Becomes true when the pipeline is to end.
    pub stop: watch::Receiver<bool>,
}

impl Pipeline {
    /// Runs until a stage fails or the pipeline is told to stop. When this returns, every stage has ended.
    pub(crate) async fn run(self) -> Result<()> {
        let (stream_tx, stream) = mpsc::channel(STREAM_BOUND);
        let (requests_tx, requests) = mpsc::channel(REQUEST_BOUND);

        let direction = self.direction;
        let applied = self.claim.applied.clone();
        direction.progress.set_applied(applied.clone());
        let source = &direction.options.source;
        let mut reader =
            TransactionReader::open(source, &direction.tables, self.scope, self.created, &applied).await?;

        let mut stages = JoinSet::new();
        let lanes = Lanes::open(&direction, &self.claim, &mut stages).await?;
        let (target, copying) = (&direction.options.target, self.copy.is_some());
        let here = bag::done(target, &direction.ledger, &direction.tables, copying).await?;
        let sequencer = Sequencer::new(Arc::clone(&direction), applied, lanes, &here);
        let budget = Arc::new(Semaphore::new(STREAM_BYTES));
        stages.spawn(async move {
            loop {
                let item = reader.next().await?;
                let bytes = item.bytes().min(STREAM_BYTES) as u32;
                let share =
                    Arc::clone(&budget).acquire_many_owned(bytes).await.map_err(|_| MoveError::Stopped)?;
                stream_tx.send(Streamed { item, share }).await.map_err(|_| MoveError::Stopped)?;
            }
        });
        stages.spawn(sequencer.run(stream, requests));
        if let Some(options) = self.copy {
            let direction = Arc::clone(&direction);
            let copier =
                Copier { direction, options, planner: self.claim.planner(), requests: requests_tx.clone() };
            stages.spawn(copier.run());
        }
        let ledger = self.claim.planner();
        self.access.send_replace(Some(Access { direction, requests: requests_tx, ledger }));
        let mut stop = self.stop;
        let outcome = tokio::select! {
            outcome = first_failure(&mut stages) => outcome,
            // An error means that the mover is gone, which is as good as being told.
            _ = stop.wait_for(|stop| *stop) => Err(MoveError::Stopped),
        };
        self.access.send_replace(None);
        stages.shutdown().await;
        outcome
    }
}

/// Waits until a stage fails; the copier alone may end well. A stage that only saw another one go away says so with
/// [`MoveError::Stopped`]; the one that went away then has a moment to tell the real cause.
async fn first_failure(stages: &mut JoinSet<Result<()>>) -> Result<()> {
    let mut last_moment = None;
    loop {
        let ended = match last_moment {
            None => stages.join_next().await,
            Some(until) => match tokio::time::timeout_at(until, stages.join_next()).await {
                Ok(ended) => ended,
                Err(_) => return Err(MoveError::Stopped),
            },
        };
        match ended {
            None => return Err(MoveError::Stopped),
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(MoveError::Stopped))) => {
                last_moment.get_or_insert_with(|| tokio::time::Instant::now() + CAUSE_WAIT);
            }
            Some(Ok(Err(error))) => return Err(error),
            Some(Err(panic)) => {
                let what = format!("a stage of the move failed: {panic}");
                return Err(MoveError::Refused { what, hint: "this is a bug; please report it".into() });
            }
        }
    }
}
