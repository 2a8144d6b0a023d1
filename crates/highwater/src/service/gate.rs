//! The gate of a move: what a crossing asks for, carried out by the front door of this process.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use migrate::Fence;
use migrate::cutover::{Guardrail, Home, Hooks, Phase, TrafficGate};
use model::Trouble;
use proxy::{Backend, Control, PinnedPolicy, SessionPhase, SessionView};

use super::{leavers, three_parts};
use crate::config::MoveRoute;

/// What to do about other moves from the same source.
pub(super) const NOT_ALONE_HINT: &str =
    "`highwater finish` the others, or take them out of highwater.toml and restart";

/// What to do about them where the fence is what would stop them.
const FENCED_HINT: &str = "set `fence = \"schemas\"` for this move, or \"tables\" if it takes single ones, which closes only what moves; or `highwater finish` the others, or \
    take them out of highwater.toml, and restart";

/// What to do about clients of an earlier process.
const LEFT_ELSEWHERE_HINT: &str = "wait until they have left, which has a bound (`status` counts them); SIGTERM to that process ends them between transactions";

/// What to do about clients of tables that stay.
const USERS_HINT: &str = "name the accounts of the application whose tables move in `users` of this move: their clients alone go along; or \
    let all tables of the schemas move";

/// What a crossing closes, as far as it is a gate's business.
pub(super) struct Fenced {
    /// What the fence is around.
    pub by: Fence,
    /// Accounts that cannot log in to the side that follows before the switch, as `user@host`.
    pub accounts: Vec<String>,
    /// The other moves from the same source.
    pub others: Vec<String>,
    /// The route of its own that a move has: only these clients go with it.
    pub route: Option<MoveRoute>,
    /// Whether it leaves tables of its schemas behind, which whoever stays may go on using.
    pub leaves_tables: bool,
}

/// The gate. Until a door is connected to it, it can say where traffic belongs, and refuses to move it.
pub(super) struct DoorGate {
    old: Backend,
    new: Backend,
    fenced: Fenced,
    control: OnceLock<Control>,
    pinned: Mutex<PinnedPolicy>,
    /// Whether a drain has succeeded since the last release: only then may the writer change.
    drained: AtomicBool,
    /// Whether the writer has changed since the last release.
    switched: AtomicBool,
    /// The hooks that keep the clients away, where the settings want no door.
    without_door: Option<Hooks>,
    /// How long the door holds a client at most.
    hold_max: Mutex<Duration>,
    /// Where processes say that have handed their door over.
    state_dir: PathBuf,
}

impl DoorGate {
    pub(super) fn new(
        (old, new): (Backend, Backend),
        fenced: Fenced,
        without_door: Option<Hooks>,
        hold_max: Duration,
        state_dir: PathBuf,
    ) -> Self {
        Self {
            old,
            new,
            fenced,
            control: OnceLock::new(),
            pinned: Mutex::default(),
            drained: AtomicBool::new(false),
            switched: AtomicBool::new(false),
            without_door,
            hold_max: Mutex::new(hold_max),
            state_dir,
        }
    }

    /// From now on this door carries out what a crossing asks for.
    pub(super) fn connect(&self, control: Control) {
        let own = match &self.fenced.route {
            Some(MoveRoute::Schemas(schemas)) => control.of_schemas(schemas),
            Some(MoveRoute::Users { users, .. }) => control.of_users(users),
            None => Some(control),
        };
        let Some(own) = own else {
            return tracing::error!(route = ?self.fenced.route, "the front door has no such route");
        };
        // A second door would be a bug of the wiring; the first one stays.
        let _ = self.control.set(own);
    }

    /// Changes how long the door holds a client at most.
    pub(super) fn set_hold_max(&self, hold_max: Duration) {
        *self.hold_max.lock().unwrap_or_else(PoisonError::into_inner) = hold_max;
    }

    /// What becomes of clients that cannot be moved.
    pub(super) fn set_pinned(&self, policy: PinnedPolicy) {
        *self.pinned.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// Why this move cannot cross by itself, if it cannot, and what to do about it.
    pub(super) fn not_alone(&self) -> Option<(String, &'static str)> {
        let by_door = self.without_door.is_none() && self.fenced.route.is_none();
        if by_door && self.fenced.by != Fence::Server && self.fenced.leaves_tables {
            let what = format!(
                "clients of the tables that stay on cluster '{}' would be taken along by the front door, which cannot tell them apart",
                self.old.id
            );
            return Some((what, USERS_HINT));
        }
        let others: Vec<String> = self.fenced.others.iter().map(|name| format!("'{name}'")).collect();
        if others.is_empty() {
            return None;
        }
        let (is, source) = (if others.len() == 1 { "move" } else { "moves" }, &self.old.id);
        let them = format!("{is} {} of cluster '{source}' would be", others.join(", "));
        if self.fenced.by == Fence::Server {
            return Some((
                format!("{them} stopped by the fence, which closes the whole server"),
                FENCED_HINT,
            ));
        }
        by_door.then(|| {
            (
                format!("{them} taken along by the front door, which sends everything to one writer"),
                NOT_ALONE_HINT,
            )
        })
    }

    /// Why the clients cannot be moved from here, and what to do about it.
    fn cannot_move(&self, to: Home) -> Option<(String, String)> {
        let hint = "set `front_door.cluster` to the move's source".to_owned();
        match (self.control.get().map(|control| control.writer().0.id), &self.without_door) {
            (Some(writer), _) if writer == self.backend(to).id => {
                Some(("the front door already sends traffic there".to_owned(), hint))
            }
            (Some(writer), _) if writer != self.backend(to.other()).id => {
                Some((format!("the front door serves cluster '{writer}', which is not this move's"), hint))
            }
            (Some(_), _) => None,
            (None, Some(hooks)) => missing_hook(hooks),
            (None, None) => Some((
                "this process has no front door, so it cannot move traffic".to_owned(),
                "run `highwater serve`, and let the application connect to it".to_owned(),
            )),
        }
    }

    /// Whether the clients can be moved from here.
    fn door(&self, to: Home) -> Guardrail {
        let (holds, seen, hint) = match (self.cannot_move(to), self.control.get()) {
            (Some((what, hint)), _) => (false, what, hint),
            (None, Some(control)) => (
                true,
                format!(
                    "{} clients there, sent to '{}'{}",
                    control.sessions_there().len(),
                    control.writer().0.id,
                    self.whose()
                ),
                String::new(),
            ),
            (None, None) => (true, "none: hooks keep the clients away".to_owned(), String::new()),
        };
        Guardrail::new("door", holds, seen, hint)
            .limit("clients are sent to the side that serves")
            .why("whoever stands between clients and servers holds them while the writer changes")
    }

    /// Clients of processes that have handed their front door over: nobody here can hold them.
    fn left_elsewhere(&self) -> Option<String> {
        leavers::sentence(&leavers::all(&self.state_dir))
    }

    /// Who goes along, if that is not everybody.
    fn whose(&self) -> String {
        match &self.fenced.route {
            Some(MoveRoute::Schemas(schemas)) => {
                format!("; those of schema {} go along", schemas.join(", "))
            }
            // The others are not among them.
            Some(MoveRoute::Users { users, .. }) => {
                format!("; they are those of account {}", users.join(", "))
            }
            None => String::new(),
        }
    }

    fn backend(&self, home: Home) -> &Backend {
        match home {
            Home::Old => &self.old,
            Home::New => &self.new,
        }
    }
}

/// Whether others than this move's would be stopped by its fence, or taken along.
fn alone(not_alone: Option<(String, &'static str)>) -> Guardrail {
    let alone = not_alone.is_none();
    let (seen, hint) =
        not_alone.unwrap_or_else(|| ("nobody else is stopped or taken along".to_owned(), NOT_ALONE_HINT));
    Guardrail::new("alone", alone, seen, hint)
        .limit("nobody else is stopped or taken along")
        .why("a fence around a server stops every move from there, and a door with one writer takes everybody along")
}

/// Whether all clients there are can be held here.
fn earlier_processes(left: Option<String>) -> Guardrail {
    let (holds, seen) = (left.is_none(), left.unwrap_or_else(|| "none has clients".to_owned()));
    Guardrail::new("earlier processes", holds, seen, LEFT_ELSEWHERE_HINT).limit("none has clients").why(
        "a process that has handed its front door over has clients that are not held with those of this one",
    )
}

/// Clients whose session cannot be taken to another server, each with the reason.
fn pinned(sessions: &[SessionView], policy: PinnedPolicy) -> Guardrail {
    const SHOWN: usize = 6;
    // Whoever is in a transaction may be unpinned at its end; the drain looks again.
    let waits = |s: &&SessionView| matches!(s.phase, SessionPhase::Idle | SessionPhase::Held);
    let all: Vec<String> = sessions
        .iter()
        .filter(waits)
        .filter_map(|s| {
            Some(format!("{} (account '{}'): {}", s.client_id, plain(&s.user), s.pinned.as_ref()?))
        })
        .collect();
    let closes = policy == PinnedPolicy::Close;
    let seen = match (all.len(), closes) {
        (0, _) => "none".to_owned(),
        (n, false) => format!("{n} clients cannot be moved: {}", all[..n.min(SHOWN)].join("; ")),
        (n, true) => format!("{n} clients will be closed: {}", all[..n.min(SHOWN)].join("; ")),
    };
    Guardrail::new(
        "pinned clients",
        all.is_empty() || closes,
        seen,
        "end these sessions, or let them be closed with `--close-pinned` or `cutover.pinned = \"close\"`",
    )
    .limit(if closes { "they are closed" } else { "none" })
    .why("a session with temporary tables, locks or variables is not the same on another server")
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

impl TrafficGate for DoorGate {
    fn guardrails(&self, to: Home) -> Vec<Guardrail> {
        let mut all = vec![alone(self.not_alone()), self.door(to), earlier_processes(self.left_elsewhere())];
        if let Some(control) = self.control.get() {
            let policy = *self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(pinned(&control.sessions_there(), policy));
        }
        all
    }

    fn hold_max(&self) -> Option<Duration> {
        self.control.get().map(|_| *self.hold_max.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn warm(&self, to: Home) -> Result<(), Trouble> {
        let nothing = "nothing was changed; traffic is where it was";
        if let Some((reason, hint)) = self.not_alone() {
            return Err(Trouble::new(format!("cannot start cutover: {reason}"), nothing, hint));
        }
        if let Some(left) = self.left_elsewhere() {
            return Err(Trouble::new(format!("cannot start cutover: {left}"), nothing, LEFT_ELSEWHERE_HINT));
        }
        if let Some((what, hint)) = self.cannot_move(to) {
            return Err(Trouble::new(what, nothing, hint));
        }
        // Without a door, the hooks do it.
        let Some(control) = self.control.get() else { return Ok(()) };
        let report = control.warm(self.backend(to).clone()).await.map_err(|e| three_parts(&e.to_string()))?;
        // Who is locked there until the switch logs in after it.
        let locked = |user: &str| {
            self.fenced.accounts.iter().any(|a| a.rsplit_once('@').is_some_and(|(u, _)| u == user))
        };
        match report.failed.iter().find(|(_, user, _)| !locked(user)) {
            None => Ok(()),
            Some((_, user, reason)) => Err(Trouble::new(
                format!("account '{user}' cannot log in to cluster '{}': {reason}", self.backend(to).id),
                nothing,
                "create the application's accounts there, with the same passwords and grants",
            )),
        }
    }

    fn holds_clients(&self) -> bool {
        self.control.get().is_some()
    }

    fn hold(&self) {
        if let Some(control) = self.control.get() {
            control.hold();
        }
    }

    async fn drain(&self, deadline: Duration) -> Result<(), Trouble> {
        let Some(control) = self.control.get() else { return Ok(()) };
        let policy = *self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        control.drain(deadline, policy).await.map_err(|e| three_parts(&e.to_string()))?;
        self.drained.store(true, Relaxed);
        Ok(())
    }

    fn open_connections(&self) -> Vec<u64> {
        let sessions = self.control.get().map(Control::sessions_there).unwrap_or_default();
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
        // When a move goes on after a restart, the door has been opened to the right side already, or serves a cluster that
        // is none of this move's.
        if control.writer().0.id == backend.id || !self.drained.load(Relaxed) {
            return;
        }
        if let Err(error) = control.switch(backend.clone(), epoch) {
            // A crossing switches only what it has drained: this cannot be the world's fault.
            panic!("the front door refused a switch after a drain: {error}");
        }
        self.switched.store(true, Relaxed);
    }

    fn release(&self) {
        if let Some(control) = self.control.get() {
            self.drained.store(false, Relaxed);
            let stays = !self.switched.swap(false, Relaxed);
            control.release();
            if stays {
                // They would wait on the other side for a switch that did not come, and be too old for the next one.
                control.cool();
            }
        }
    }
}

/// What the hooks must do where no door does it; what is missing, if anything is.
fn missing_hook(hooks: &Hooks) -> Option<(String, String)> {
    let lets_in = hooks.after.contains_key(&Phase::Switch)
        || hooks.before.contains_key(&Phase::Release)
        || hooks.after.contains_key(&Phase::Release);
    let missing = if !hooks.before.contains_key(&Phase::Hold) {
        "before.hold, to keep the clients away"
    } else if hooks.undone.is_none() {
        "undone, to let them in again if it is given up"
    } else if !lets_in {
        "after.switch, before.release or after.release, to let them in on the other side"
    } else {
        return None;
    };
    Some((
        format!("there is no front door, and no hook {missing}"),
        "add it to [cutover.hooks], or set `front_door.enabled = true` and let the application connect there"
            .to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(id: &str) -> Backend {
        Backend {
            id: id.into(),
            host: "127.0.0.1".into(),
            port: 3306,
            server_key: mysql::ServerKey::default(),
            tls: mysql::Tls::default(),
        }
    }

    fn reason(
        by: Fence,
        others: &[&str],
        hooks: Option<Hooks>,
        (route, leaves_tables): (Option<MoveRoute>, bool),
    ) -> Option<String> {
        let others = others.iter().map(|&name| name.to_owned()).collect();
        let fenced = Fenced { by, accounts: Vec::new(), others, route, leaves_tables };
        let gate = DoorGate::new(
            (backend("old"), backend("new")),
            fenced,
            hooks,
            Duration::from_secs(10),
            PathBuf::new(),
        );
        gate.not_alone().map(|(reason, _)| reason)
    }

    #[test]
    fn a_move_among_several_crosses_alone_where_neither_fence_nor_door_takes_the_others_along() {
        let without_door = || Some(Hooks::default());
        let (whole, parted) = ((None, false), (None, true));
        assert_eq!(reason(Fence::Server, &[], None, whole.clone()), None);
        let fence = reason(Fence::Server, &["mail"], without_door(), whole.clone()).unwrap();
        assert!(fence.starts_with("move 'mail' of cluster 'old' would be stopped by the fence"), "{fence}");
        assert_eq!(reason(Fence::Schemas, &["mail"], without_door(), whole.clone()), None);
        let schemas = Some(MoveRoute::Schemas(vec!["shop".to_owned()]));
        assert_eq!(reason(Fence::Schemas, &["mail"], None, (schemas, false)), None);
        let door = reason(Fence::Schemas, &["mail", "shop"], None, whole).unwrap();
        assert!(door.starts_with("moves 'mail', 'shop' of cluster 'old' would be taken along"), "{door}");
        // Of single tables, alone or not, whose clients go must be said; a server's fence stops everybody anyway.
        for others in [[].as_slice(), &["mail"]] {
            let stay = reason(Fence::Schemas, others, None, parted.clone()).unwrap();
            assert!(stay.starts_with("clients of the tables that stay on cluster 'old'"), "{stay}");
            let users = Some(MoveRoute::Users { users: vec!["app".to_owned()], schemas: Vec::new() });
            assert_eq!(reason(Fence::Schemas, others, None, (users, true)), None);
            assert_eq!(reason(Fence::Schemas, others, without_door(), parted.clone()), None);
        }
        assert_eq!(reason(Fence::Server, &[], None, parted), None);
    }
}
