//! What a process does first with what it finds in the journal: mends a crossing that was cut short, then starts the stream.
//!
//! The two are apart because they need different servers. Mending needs the side that serves, and nothing else; the stream needs
//! both. So whoever stands between clients and servers can let clients in as soon as the first is done, with the other
//! side dead. *Serving* is the side the journal names; its other side follows, read-only by a setting that outlives restarts.
//!
//! | journal | serving side down | following side down |
//! |---|---|---|
//! | steady, before or after a switch | clients are told that the writer cannot be reached | clients are served; the stream waits |
//! | in a crossing or rehearsal, not switched | clients are held: its fence may be up. When it is back the fence goes down, the crossing is given up, and they go on | the fence goes down, the crossing is given up, clients are served; the stream waits, and what the crossing created on the following side is removed before it starts |
//! | switched, not completed | clients are held: nobody takes writes, and only this side ever will. When it is back it is opened, and they go on | it is opened, clients are served; the stream back waits |
//! | finished | nothing runs | nothing runs |
//!
//! With both down it is as in the column of the serving side. No cell asks the following side which of the two serves: the
//! journal was on disk before either was opened or fenced, so it knows, and a server that comes back decides nothing.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use model::Trouble;

use super::mend::answered;
use super::state::{Event, Home, Recovery};
use super::{Journal, MoveDriver, TrafficGate};
use crate::error::{MoveError, Side};

/// Why a move does not run yet.
#[derive(Debug)]
pub enum NotBegun {
    /// A server cannot be reached or does not answer: it can be tried again when it is back.
    Away {
        /// Which one.
        server: Home,
        /// What was seen.
        why: String,
        /// The same as an operator reads it.
        trouble: Trouble,
    },
    /// The servers answer, and something passing is in the way, such as a lock: it can be tried again.
    Passing(Trouble),
    /// Trying again cannot mend it.
    Refused(Trouble),
}

impl NotBegun {
    /// As an operator reads it.
    pub fn into_trouble(self) -> Trouble {
        match self {
            Self::Away { trouble, .. } | Self::Passing(trouble) | Self::Refused(trouble) => trouble,
        }
    }

    /// What an error means, seen from the direction in which rows come from `source`.
    pub(super) fn of(error: &MoveError, source: Home) -> Self {
        let server = match error.away() {
            Some(Side::Source) => source,
            Some(Side::Target) => source.other(),
            None if error.can_resume() => return Self::Passing(error.trouble()),
            None => return Self::Refused(error.trouble()),
        };
        let why = match error {
            MoveError::Server { error, .. } => error.to_string(),
            other => other.to_string(),
        };
        Self::Away { server, why, trouble: error.trouble() }
    }
}

impl<G: TrafficGate> MoveDriver<G> {
    /// Whether a crossing was cut short and this process has not mended it: the side that serves may refuse writes.
    pub fn is_half_way(&self) -> bool {
        match self.state().recovery() {
            Recovery::PutBack(_) => true,
            Recovery::GoForward => !self.opened.load(Relaxed),
            Recovery::None | Recovery::Over => false,
        }
    }

    /// Mends what a crash has left of a crossing, on the side that serves alone; then the gate's clients, who may be held
    /// for it, go on. May be done again.
    ///
    /// # Errors
    /// If that server is away or refuses.
    pub async fn mend(&self) -> Result<(), NotBegun> {
        let mut journal = self.journal.lock().await;
        let state = journal.state().clone();
        match state.recovery() {
            Recovery::PutBack(phase) => {
                self.lower_fence(state.home).await.map_err(|e| NotBegun::of(&e, state.home))?;
                self.gate.switch(state.home, state.epoch);
                self.gate.release();
                self.stay_open(state.home, Side::Source).await.map_err(|e| NotBegun::of(&e, state.home))?;
                self.hooks_after_a_crash(&state).await;
                let given_up = Event::Aborted { reason: format!("restarted during {phase}") };
                self.record(&mut journal, given_up).map_err(NotBegun::Refused)?;
                tracing::warn!(target: "highwater::move", %phase, "an unfinished crossing was undone");
            }
            Recovery::GoForward if !self.opened.load(Relaxed) => {
                let of = |error: MoveError| NotBegun::of(&error, state.home.other());
                self.open_new_home(state.home).await.map_err(of)?;
                self.events_without_the_other_side(state.home).await;
                self.hooks_after_a_crash(&state).await;
                self.gate.switch(state.home, state.epoch);
                self.opened.store(true, Relaxed);
                self.gate.release();
                tracing::warn!(target: "highwater::move", "a crossing that had switched is being completed");
            }
            Recovery::GoForward | Recovery::None | Recovery::Over => {
                self.gate.switch(state.home, state.epoch);
            }
        }
        Ok(())
    }

    /// Starts the stream from the side that serves to the other one, and ends a crossing that had switched. What has been
    /// mended need not be; `patience` bounds how long the stream's start may take.
    ///
    /// # Errors
    /// If a server is away or refuses, or the move cannot start.
    pub async fn begin(&self, patience: Option<Duration>) -> Result<(), NotBegun> {
        let mut journal = self.journal.lock().await;
        // The kind of fence is changed only where nothing is under way: until here it was undone as it was made.
        if self.mover().is_none() && journal.state().recovery() == Recovery::None {
            self.change_fence(&mut journal).await?;
        }
        let state = journal.state().clone();
        if self.mover().is_none() {
            let starting = self.start_mover(&state);
            let started = match patience {
                None => starting.await,
                Some(patience) => tokio::time::timeout(patience, starting)
                    .await
                    .unwrap_or(Err(MoveError::Silent { side: Side::Target, seconds: patience.as_secs() })),
            };
            started.map_err(|e| NotBegun::of(&e, state.home))?;
        }
        if state.recovery() == Recovery::GoForward {
            let of = |error: MoveError| NotBegun::of(&error, state.home.other());
            self.stay_open(state.home, Side::Target).await.map_err(of)?;
            self.enable_events(state.home).await.map_err(of)?;
            self.record(&mut journal, Event::Completed).map_err(NotBegun::Refused)?;
            self.opened.store(false, Relaxed);
        }
        Ok(())
    }

    /// The side that serves needs its events, however long the other one is away. What fails here is said when the stream has
    /// started, and it is done again.
    async fn events_without_the_other_side(&self, home: Home) {
        if let Err(error) = answered(Side::Target, self.enable_events(home)).await {
            tracing::warn!(target: "highwater::move", %error, "not every event of the side that serves is enabled yet");
        }
    }
}

/// The journal of a move that is not finished.
///
/// # Errors
/// If it cannot be used, or the move is.
pub(super) fn unfinished(path: &Path, move_name: &str) -> Result<Journal, Trouble> {
    let journal = Journal::open(path)?;
    if journal.state().recovery() == Recovery::Over {
        return Err(Trouble::new(
            format!("move '{move_name}' is finished"),
            "nothing was changed",
            "remove its section from highwater.toml, or its journal to begin anew",
        ));
    }
    Ok(journal)
}
