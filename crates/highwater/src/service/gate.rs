//! The gate of a move: what a crossing asks for, carried out by the front door of this process.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use migrate::cutover::{Home, TrafficGate};
use model::Trouble;
use proxy::{Backend, Control, PinnedPolicy, SessionPhase};

use super::three_parts;

/// What to do about other moves from the same source.
pub(super) const NOT_ALONE_HINT: &str = "`highwater finish` the others, take them out of highwater.toml and restart; \
    fences of single schemas (ALTER SCHEMA ... READ ONLY = 1) are not built yet";

/// The gate. Until a door is connected to it, it can say where traffic belongs, and refuses to move it.
pub(super) struct DoorGate {
    old: Backend,
    new: Backend,
    /// The other moves from the same source: the door sends everything to one writer, and the fence closes the whole
    /// source, so this move cannot cross without them.
    others: Vec<String>,
    control: OnceLock<Control>,
    pinned: Mutex<PinnedPolicy>,
}

impl DoorGate {
    pub(super) fn new(old: Backend, new: Backend, others: Vec<String>) -> Self {
        Self { old, new, others, control: OnceLock::new(), pinned: Mutex::default() }
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

    /// Why this move cannot cross by itself, if it cannot.
    pub(super) fn not_alone(&self) -> Option<String> {
        let others: Vec<String> = self.others.iter().map(|name| format!("'{name}'")).collect();
        let (is, source) = (if others.len() == 1 { "move" } else { "moves" }, &self.old.id);
        (!others.is_empty()).then(|| {
            format!(
                "{is} {} of cluster '{source}' would be stopped by the fence, which closes the whole server",
                others.join(", ")
            )
        })
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
        if let Some(reason) = self.not_alone() {
            return Err(Trouble::new(format!("cannot start cutover: {reason}"), nothing, NOT_ALONE_HINT));
        }
        if control.writer().0.id == self.backend(to).id {
            let what = "the front door already sends traffic there";
            return Err(Trouble::new(what, nothing, "set `front_door.cluster` to the move's source"));
        }
        if control.writer().0.id != self.backend(to.other()).id {
            let what = format!(
                "the front door serves cluster '{}', which is not this move's",
                control.writer().0.id
            );
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

    fn open_connections(&self) -> Vec<u64> {
        let sessions = self.control.get().map(Control::sessions).unwrap_or_default();
        let open =
            sessions.iter().filter(|s| matches!(s.phase, SessionPhase::Command | SessionPhase::Transaction));
        open.map(|s| u64::from(s.backend_connection_id)).filter(|id| *id != 0).collect()
    }

    fn end(&self, connections: &[u64]) {
        if let Some(control) = self.control.get() {
            control.end(connections);
        }
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
