//! Whose turn it is to commit.
//!
//! Lanes work ahead side by side but commit one after another, in the stream's order. So the target passes through
//! states of the source only, a ledger is always a prefix of the stream, and what a lane got wrong by running ahead
//! is found before it is committed.

use tokio::sync::watch;

/// The order of commits.
#[derive(Debug)]
pub(crate) struct Turns {
    now: watch::Sender<u64>,
}

impl Turns {
    /// The first turn is 0.
    pub fn new() -> Self {
        Self { now: watch::Sender::new(0) }
    }

    /// The turn whose work has yet to commit.
    pub fn now(&self) -> u64 {
        *self.now.borrow()
    }

    /// Waits until all work before this turn is committed.
    pub async fn come(&self, turn: u64) {
        // The sender lives in self: it cannot be gone.
        let _ = self.now.subscribe().wait_for(|now| *now >= turn).await;
    }

    /// The work of this turn, whose turn it is, is committed.
    pub fn pass(&self, turn: u64) {
        self.now.send_replace(turn + 1);
    }
}
