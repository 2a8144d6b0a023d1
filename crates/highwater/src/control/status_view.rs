//! What outsiders see of the running process; apart from its internal state, which is free to change.

use serde::{Deserialize, Serialize};

/// The state of everything, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// The version of the running program.
    pub version: String,
    /// The moves, by name.
    pub moves: Vec<MoveView>,
    /// The front door, if this process has one.
    pub door: Option<DoorView>,
    /// Processes that have handed their front door over and still have clients.
    #[serde(default)]
    pub leaving: Vec<LeavingView>,
}

/// A process that has handed its front door over and sees its clients out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeavingView {
    /// Its process id.
    pub pid: u32,
    /// Its clients.
    pub clients: u64,
}

/// One move.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MoveView {
    /// Its name.
    pub name: String,
    /// The cluster that had the data when the move began.
    pub source: String,
    /// The cluster that gets it.
    pub target: String,
    /// What it is doing: `starting`, `copying`, `following`, `switched`, `reconnecting`, `waiting`, `stopped`.
    pub state: String,
    /// The clusters that cannot be reached, and that it waits for.
    #[serde(default)]
    pub waiting_for: Vec<String>,
    /// The cluster that takes the application's writes to these tables.
    pub serving: String,
    /// Its tables.
    pub tables: Vec<TableView>,
    /// Rows copied.
    pub rows_done: u64,
    /// Rows there are, as far as the source's statistics tell.
    pub rows_estimate: u64,
    /// Rows copied per second, lately.
    pub rows_per_s: f64,
    /// Seconds until the copy is done, if that can be told.
    pub eta_s: Option<u64>,
    /// How far the target is behind, in milliseconds, once the stream is followed.
    pub lag_ms: Option<u64>,
    /// How fast its readers may go, while there is anything to read.
    #[serde(default)]
    pub pace: Option<PaceView>,
    /// The GTID set applied.
    pub applied: String,
    /// What verification has established, if it has begun.
    pub proof: Option<ProofView>,
    /// Who else writes to the target.
    #[serde(default)]
    pub watch: Option<WatchView>,
    /// Why the move has stopped, reconnects or waits, if it does.
    pub trouble: Option<model::Trouble>,
}

/// One table of a move.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TableView {
    /// `schema.table`.
    pub name: String,
    /// Rows copied.
    pub rows_done: u64,
    /// Rows there are, as far as the source's statistics tell.
    pub rows_estimate: u64,
    /// Whether every row is copied.
    pub done: bool,
    /// Rows copied per second, lately.
    pub rows_per_s: f64,
}

/// How fast the readers of a move may go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PaceView {
    /// The part of the time in which they may work: 0 is a pause, 1 is always.
    pub share: f64,
    /// Why it is not 1.
    pub reason: Option<String>,
    /// Rows in a second at most, if that is limited.
    pub rows_per_s_max: Option<u64>,
    /// Why the latency of the source's own statements is not looked at, if it cannot be.
    pub blind: Option<String>,
}

/// How much is proven equal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProofView {
    /// The GTID set as of which every row outside of `keys_in_flight` is proven equal; none before the first pass.
    pub proven_as_of: Option<String>,
    /// Why what was proven before, such as by an earlier process, holds no more, until the next pass begins.
    #[serde(default)]
    pub begun_anew: Option<String>,
    /// Keys written since they were last proven.
    pub keys_in_flight: u64,
    /// Rows found different.
    pub differences: u64,
}

/// A reason for which clients keep a connection to the server to themselves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PinView {
    /// The reason.
    pub reason: String,
    /// How many clients.
    pub clients: u64,
}

/// What is known of writes on the target that are not ours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WatchView {
    /// Whether the target's log is being read.
    pub watched: bool,
    /// Why not, if it cannot be.
    pub reason: Option<String>,
    /// Writes that are not ours, and that no later pass over every row has found harmless.
    pub foreign_writes: u64,
    /// The first of them.
    pub writes: Vec<migrate::ForeignWrite>,
}

/// The front door.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DoorView {
    /// The address clients connect to.
    pub listen: String,
    /// Clients connected.
    pub clients: u64,
    /// Of those, the ones whose statement is held.
    pub held: u64,
    /// Of those, the ones in a transaction.
    pub in_transaction: u64,
    /// Of those, the ones that cannot be moved to another server.
    pub pinned: u64,
    /// Connections to the server that clients share.
    #[serde(default)]
    pub backends: u64,
    /// Of those, the ones that serve nobody at the moment.
    #[serde(default)]
    pub backends_idle: u64,
    /// Clients whose statement waits for one.
    #[serde(default)]
    pub waiting: u64,
    /// Statements that had to wait since the start.
    #[serde(default)]
    pub waits: u64,
    /// Why clients keep a connection to themselves, most first.
    #[serde(default)]
    pub pins: Vec<PinView>,
    /// Whom it sends where, if not all to one cluster.
    #[serde(default)]
    pub routes: Vec<RouteView>,
    /// Commands served since the start.
    pub commands: u64,
    /// Memory held for clients, in bytes.
    #[serde(default)]
    pub memory: u64,
    /// The most it may hold, in bytes, if that is bounded.
    #[serde(default)]
    pub memory_max: Option<u64>,
    /// Clients refused since the start because there was no more.
    #[serde(default)]
    pub memory_refused: u64,
    /// Clients ended since the start because they held most of it and did not get on.
    #[serde(default)]
    pub memory_ended: u64,
}

/// Where the front door sends some clients.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteView {
    /// `schema NAME`, `account NAME`, or `everything else`.
    pub of: String,
    /// The cluster.
    pub cluster: String,
    /// Clients that are there because of it.
    pub clients: u64,
}
