//! The gate of a move: what a crossing asks for, carried out by the front door of this process.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use migrate::cutover::{Home, TrafficGate};
use model::Trouble;
use proxy::{Backend, Control, PinnedPolicy};

use super::three_parts;

/// The gate. Until a door is connected to it, it can say where traffic belongs, and refuses to move it.
pub(super) struct DoorGate {
    old: Backend,
    new: Backend,
    /// Whether this move is the only one: the door sends everything to one writer, so it cannot serve two moves.
    alone: bool,
    control: OnceLock<Control>,
    pinned: Mutex<PinnedPolicy>,
}

impl DoorGate {
    pub(super) fn new(old: Backend, new: Backend, alone: bool) -> Self {
        Self { old, new, alone, control: OnceLock::new(), pinned: Mutex::default() }
    }

    /// From now on this door carries out what a crossing asks for.
    pub(super) fn connect(&self, control: Control) {
        // A second door would be a bug of the wiring; the first one stays.
        let _ = self.control.set(control);
    }

    /// What becomes of clients that cannot be moved.
    pub(super) fn set_pinned(&self, policy: PinnedPolicy) {
        *self.pinned.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    fn backend(&self, home: Home) -> &Backend {
        match home {
            Home::Old => &self.old,
            Home::New => &self.new,
        }
    }
}

impl TrafficGate for DoorGate {
    async fn warm(&self, to: Home) -> Result<(), Trouble> {
        let nothing = "nothing was changed; traffic is where it was";
        let Some(control) = self.control.get() else {
            let what = "this process has no front door, so it cannot move traffic";
            return Err(Trouble::new(
                what,
                nothing,
                "run `highwater serve`, and let the application connect to it",
            ));
        };
        if !self.alone {
            let what =
                "the front door sends everything to one cluster, so it cannot move one of several moves";
            return Err(Trouble::new(what, nothing, "keep one move in highwater.toml for each process"));
        }
        if control.writer().0.id == self.backend(to).id {
            let what = "the front door already sends traffic there";
            return Err(Trouble::new(what, nothing, "set `front_door.cluster` to the move's source"));
        }
        let report = control.warm(self.backend(to).clone()).await.map_err(|e| three_parts(&e.to_string()))?;
        match report.failed.first() {
            None => Ok(()),
            Some((_, user, reason)) => Err(Trouble::new(
                format!("account '{user}' cannot log in to cluster '{}': {reason}", self.backend(to).id),
                nothing,
                "create the application's accounts there, with the same passwords and grants",
            )),
        }
    }

    fn hold(&self) {
        if let Some(control) = self.control.get() {
            control.hold();
        }
    }

    async fn drain(&self, deadline: Duration) -> Result<(), Trouble> {
        let Some(control) = self.control.get() else { return Ok(()) };
        let policy = *self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        control.drain(deadline, policy).await.map_err(|e| three_parts(&e.to_string()))
    }

    fn switch(&self, to: Home, epoch: u64) {
        let Some(control) = self.control.get() else { return };
        let backend = self.backend(to);
        // When a move starts, the door has been opened to the right side already.
        if control.writer().0.id == backend.id {
            return;
        }
        if let Err(error) = control.switch(backend.clone(), epoch) {
            // A crossing switches only what it has drained: this cannot be the world's fault.
            panic!("the front door refused a switch after a drain: {error}");
        }
    }

    fn release(&self) {
        if let Some(control) = self.control.get() {
            control.release();
        }
    }
}
