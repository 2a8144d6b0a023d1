//! What the sequencer hands to the lanes, in the order of the stream.

use std::collections::{BTreeMap, HashSet};

use model::{Gtid, GtidSet};
use mysql::Row;
use tokio::sync::{mpsc, oneshot};

use crate::apply::Mark;
use crate::bag::BagFold;
use crate::ddl::Statement;
use crate::fold::TableFold;
use crate::ledger::PlannedRange;
use crate::literal::{Key, Tuple};
use crate::select::KeyRange;

/// A step of the target's history.
#[derive(Debug)]
pub enum Work {
    /// Changes of one or more whole source transactions.
    Batch(Batch),
    /// A transaction too large to be held in memory, part by part as it arrives; the part that counts a transaction is the
    /// last.
    Huge(mpsc::Receiver<Batch>),
    /// Copied rows, valid at this point of the stream.
    Copied(CopiedRange),
    /// A step of copying a bag.
    Bag(BagStep),
    /// Rows that were proven wrong are made what the source's are.
    Repair(Repair),
    /// Someone wants to look at the target exactly here.
    Pause(Pause),
    /// A statement that changes moved tables: the last work of a pipeline.
    Replay(Replay),
}

/// Whole source transactions, folded.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Net effect per table of the plan.
    pub tables: Vec<TableFold>,
    /// Net effect per bag.
    pub bags: BTreeMap<usize, BagFold>,
    /// Number of transactions, also those that change no moved table.
    pub transactions: u64,
    /// Number of row changes before folding.
    pub changes: u64,
    /// Their bytes.
    pub bytes: usize,
    /// Everything applied once this batch is.
    pub applied: GtidSet,
    /// Commit time of the oldest and newest transaction, in microseconds since the epoch.
    pub commit_micros: Option<(u64, u64)>,
    /// Every key touched, once for each time.
    pub marks: Vec<Mark>,
    /// The last turn under way that writes one of these keys.
    pub after: Option<u64>,
}

impl Batch {
    /// An empty batch for a plan of so many tables.
    pub fn new(tables: usize) -> Self {
        Self { tables: (0..tables).map(|_| TableFold::default()).collect(), ..Self::default() }
    }
}

/// Rows of a range whose window has closed, without those the stream touched in it.
#[derive(Debug)]
pub struct CopiedRange {
    /// The table's place in the plan.
    pub table: usize,
    /// The range's number.
    pub number: i32,
    /// Its bounds.
    pub range: KeyRange,
    /// What is left of the range as it was planned, under a number of its own, if its rows were too many bytes.
    pub rest: Option<PlannedRange>,
    /// The rows.
    pub rows: Vec<Tuple>,
    /// Told once the rows are committed.
    pub done: oneshot::Sender<()>,
}

/// A step of copying a bag. Its rows count as copied only when the last step has committed; what comes before is removed
/// if the copy has to begin again.
#[derive(Debug)]
pub struct BagStep {
    /// The table's place in the plan.
    pub table: usize,
    /// What is to be done.
    pub what: BagWork,
    /// Told once it is committed.
    pub done: oneshot::Sender<()>,
}

/// See [`BagStep`].
#[derive(Debug)]
pub enum BagWork {
    /// Remove some of what an earlier attempt has left.
    Clear,
    /// Rows of the snapshot.
    Rows(Vec<Tuple>),
    /// All rows of the snapshot are here, so many: apply what the stream has changed since, and call the table copied.
    Finish {
        /// Rows of the snapshot.
        rows: u64,
        /// What was held back.
        held: BagFold,
    },
}

/// Rows of the target that were proven wrong, and what they have to be. Whatever comes of it, the move goes on.
#[derive(Debug)]
pub struct Repair {
    /// The table's place in the plan.
    pub table: usize,
    /// What is to be done.
    pub what: RepairWork,
    /// Told once it is committed or given up.
    pub done: oneshot::Sender<Repaired>,
}

/// See [`Repair`].
#[derive(Debug)]
pub enum RepairWork {
    /// The rows of these keys are to be these, and no others.
    Rows {
        /// Keys that the stream did not touch since the rows were read.
        keys: HashSet<Key>,
        /// The source's rows as they are at this point, whole; also of keys that collations take for one of these.
        rows: Vec<Row>,
    },
    /// Rows of a bag that are too many or too few. Counts add up with those of the stream in any order, so this is right at
    /// any point after they were counted.
    Bag(BagFold),
}

/// What came of a [`Repair`].
#[derive(Debug, Default)]
pub struct Repaired {
    /// Keys whose rows were looked at.
    pub keys: Vec<Key>,
    /// Rows that were not what they have to be, and now are.
    pub written: u64,
    /// Why nothing was written.
    pub refused: Option<Refusal>,
}

/// Why rows were not repaired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The target has one of the rows, or of their unique values, somewhere else.
    InTheWay,
    /// The target's server refuses, without the values it may name.
    Server(String),
}

/// The lanes stop at this point until `resume` is dropped.
#[derive(Debug)]
pub struct Pause {
    /// Told when everything before this point is committed on the target.
    pub reached: oneshot::Sender<()>,
    /// Resolves when the lanes may go on.
    pub resume: oneshot::Receiver<()>,
}

/// A statement to be executed on the target.
#[derive(Debug)]
pub struct Replay {
    /// Its transaction.
    pub gtid: Gtid,
    /// Everything applied once it is.
    pub applied: GtidSet,
    /// What it says.
    pub statement: Box<Statement>,
}
