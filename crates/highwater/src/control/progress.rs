//! What long work tells whoever watches it.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// One thing to tell about work that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressUpdate {
    /// A sentence; shown always.
    Line(String),
    /// How far a phase is; the next one of the same phase replaces it.
    Step {
        /// What is being done: `copy`, `drain`, `verify`.
        phase: String,
        /// How much of it is done.
        done: u64,
        /// How much there is, if that is known.
        total: Option<u64>,
        /// What is counted: `rows`, `clients`.
        unit: String,
    },
}

/// 256 updates waiting; a watcher further behind misses some rather than slowing the work down.
const UPDATES_WAITING_MAX: usize = 256;

/// The end of long work that tells; cheap to clone.
///
/// Telling never waits and never fails: nobody may be watching, and a cutover does not slow down for a terminal.
#[derive(Debug, Clone)]
pub struct Progress(mpsc::Sender<ProgressUpdate>);

impl Progress {
    /// A progress and the end that watches it.
    pub fn watched() -> (Self, mpsc::Receiver<ProgressUpdate>) {
        let (sender, receiver) = mpsc::channel(UPDATES_WAITING_MAX);
        (Self(sender), receiver)
    }

    /// A progress that nobody watches.
    pub fn unwatched() -> Self {
        Self::watched().0
    }

    /// Tells a sentence.
    pub fn line(&self, line: impl Into<String>) {
        self.tell(ProgressUpdate::Line(line.into()));
    }

    /// Tells how far a phase is.
    pub fn step(&self, phase: &str, done: u64, total: Option<u64>, unit: &str) {
        self.tell(ProgressUpdate::Step { phase: phase.to_owned(), done, total, unit: unit.to_owned() });
    }

    fn tell(&self, update: ProgressUpdate) {
        // Full or closed: see the type's promise.
        let _ = self.0.try_send(update);
    }
}
