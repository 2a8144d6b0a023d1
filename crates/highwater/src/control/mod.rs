//! How one `highwater` command asks the running process: a socket in the state directory, one JSON line a message.
//!
//! ```text
//! client                      process
//!   Request  ------------------>
//!            <------------------  Progress, any number of times
//!            <------------------  Done(value) or Failed(trouble), exactly once
//! ```
//! Invariant: a request that was read is carried out to its end, whether or not the client stays to hear of it; half
//! a cutover is worse than either outcome.

mod client;
mod digest_view;
mod hand_over;
mod progress;
mod server;
mod sockets;
mod status_view;

use std::path::{Path, PathBuf};

use model::Trouble;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use client::Client;
pub use digest_view::{DigestView, DigestsView};
pub use hand_over::{Offer, PROTOCOL, Predecessor, Successor, TakeOver};
pub use progress::{Progress, ProgressUpdate};
pub use server::{ControlSocket, Host};
pub use status_view::{
    DoorView, LeavingView, MoveView, PaceView, PinView, ProofView, RouteView, StatusView, TableView,
    WatchView,
};

/// A request's line is at most this long; ours have a few hundred bytes.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// A reply's line is at most this long: a status of a hundred thousand tables fits.
const REPLY_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// What the running process may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What state everything is in; answered with a [`StatusView`].
    Status,
    /// Pause, resume or limit the readers of a move, or of all of them; answered with their paces.
    Throttle {
        /// The move; `None` for all.
        move_name: Option<String>,
        /// What is to change; nothing, to ask only.
        change: Option<ThrottleChange>,
    },
    /// Compare a move's rows; answered with a [`migrate::Verification`], whether or not they are equal.
    Verify {
        /// The move.
        move_name: String,
        /// Only so many of each table's newest rows.
        #[serde(default)]
        newest: Option<u64>,
        /// Sum up the rows of each table as well, which a proof that is kept needs.
        #[serde(default, skip_serializing_if = "is_false")]
        sums: bool,
    },
    /// Make rows of the target equal that a pass has found different.
    Repair {
        /// The move.
        move_name: String,
        /// The plan to carry out, answered with a [`migrate::RepairReport`]; without one, it is made, and is the answer: a
        /// [`migrate::RepairPlan`].
        #[serde(default)]
        plan: Option<u64>,
    },
    /// Make the target the writer.
    Cutover {
        /// The move.
        move_name: String,
        /// How.
        how: Crossing,
    },
    /// Make the old source the writer again.
    Rollback {
        /// The move.
        move_name: String,
        /// How.
        how: Crossing,
    },
    /// Give up the way back and end the move.
    Finish {
        /// The move.
        move_name: String,
    },
    /// Say what statements cost; answered with a [`DigestsView`].
    Digests {
        /// And count from nothing from now on.
        #[serde(default)]
        anew: bool,
    },
    /// Hand the front door's sockets to the process that asks; answered with an [`Offer`], after which the connection goes on as
    /// [`Predecessor`] and [`Successor`] say.
    HandOver(TakeOver),
    /// Read the settings again; answered with the keys that have changed.
    Reload,
    /// See the front door's clients out, and end the process in good order; answered when it is about to end.
    Stop {
        /// How long clients may stay, in milliseconds; then they are ended between transactions.
        #[serde(default)]
        within_ms: u64,
        /// How much longer an open transaction may take to end; what the settings say, if nothing.
        #[serde(default)]
        kill_after_ms: Option<u64>,
    },
}

/// How a crossing is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crossing {
    /// Whether it is.
    pub mode: CrossingMode,
    /// Close the connections of pinned clients instead of refusing.
    pub close_pinned: bool,
    /// Go on although not everything is proven, and record it.
    pub accept_unproven: bool,
    /// End who is in the way so many milliseconds after the drain, or the fence, has begun.
    #[serde(default)]
    pub kill_after_ms: Option<u64>,
}

/// Whether a crossing is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrossingMode {
    /// It is.
    #[default]
    Real,
    /// Only say what would happen.
    DryRun,
    /// As far as the switch, and back.
    Rehearsal,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// The user of the process that asked, as the system tells it.
    pub user: String,
}

/// What an operator changes about a move's readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ThrottleChange {
    /// No reader works until they are resumed.
    Pause,
    /// They go on.
    Resume,
    /// At most so many rows in a second; 0 for any number.
    Limit(u64),
}

/// A line of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Progress(ProgressUpdate),
    Done(Value),
    Failed(Trouble),
}

/// What was not asked for is not sent: a process of an earlier version takes no fields that it does not know.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("highwater.sock")
}

#[cfg(test)]
mod tests;
