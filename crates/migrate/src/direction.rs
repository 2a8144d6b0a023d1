//! What every part of one direction of a move shares.

use std::sync::Arc;

use model::{GtidSet, Table};
use mysql::ConnectOptions;
use tokio::sync::mpsc;

use crate::changes::LastChanges;
use crate::copy::CopyOptions;
use crate::dirty::DirtyKeys;
use crate::ledger::{LedgerName, LedgerRow};
use crate::plan::MoveSpec;
use crate::progress::Progress;
use crate::proof::Proof;
use crate::reshape::Pending;
use crate::sequencer::Request;
use crate::throttle::Throttle;

/// Where a direction starts when the target has no ledger of it.
#[derive(Debug, Clone)]
pub enum Start {
    /// With a copy of every table.
    Copy(CopyOptions),
    /// At this GTID set: the target has everything up to it.
    At(GtidSet),
}

/// What to move, between which servers.
#[derive(Debug, Clone)]
pub struct MoverOptions {
    /// The move.
    pub spec: MoveSpec,
    /// Where rows come from.
    pub source: ConnectOptions,
    /// Where they go.
    pub target: ConnectOptions,
    /// Where to start.
    pub start: Start,
}

/// One direction of a move: fixed facts, and what its parts write and read together. When a statement of the stream changes
/// the tables, a new one takes its place (see [`crate::reshape`]).
#[derive(Debug)]
pub(crate) struct Direction {
    pub options: MoverOptions,
    pub tables: Arc<Vec<Table>>,
    pub ledger: LedgerName,
    pub progress: Arc<Progress>,
    pub dirty: Arc<DirtyKeys>,
    pub changes: Arc<LastChanges>,
    pub proof: Arc<Proof>,
    pub reshaping: Arc<Pending>,
}

/// How to reach a running pipeline, and what its tables are: the places in the plan that requests name are those of this
/// direction and no other.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub direction: Arc<Direction>,
    pub requests: mpsc::Sender<Request>,
    /// A row of the ledger, by which it is known whether that is still ours.
    pub ledger: LedgerRow,
}

impl Direction {
    /// Who says when the source may be read; nobody on the way back, where nothing is copied.
    pub fn throttle(&self) -> Option<&Throttle> {
        match &self.options.start {
            Start::Copy(copy) => Some(&copy.throttle),
            Start::At(_) => None,
        }
    }
}
