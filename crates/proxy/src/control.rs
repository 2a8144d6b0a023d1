//! Changing the writer under the clients: warm, hold, drain, switch, release; and seeing what the door does.
//!
//! ```text
//! hold --> drain --ok--> switch --> release     later commands go to the next writer
//!            \--not in time, or pinned--------> release     they go on with the old one
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::backend::{Identity, Warm};
use crate::digests::Digests;
use crate::held::Held;
use crate::pool::Pool;
use crate::registry::{OpenSession, Seat, SessionPhase, SessionView, Stats};
use crate::{Backend, DoorError, Rules, Shared};

/// Connections that [`Control::warm`] opens at a time.
const WARMING: usize = 16;

/// Steers a [`crate::Door`]; cheap to clone, usable from any thread.
#[derive(Debug, Clone)]
pub struct Control {
    pub(crate) shared: Arc<Shared>,
}

/// What [`Control::warm`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WarmReport {
    /// Connections opened.
    pub opened: usize,
    /// Sessions whose login the next server refused or could not take: client id, account, reason.
    pub failed: Vec<(u32, String, String)>,
    /// How long it took.
    pub took: Duration,
}

/// What becomes of sessions that cannot be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PinnedPolicy {
    /// The drain fails, naming them.
    #[default]
    Refuse,
    /// They are closed at the switch.
    Close,
}

/// Why a drain failed: these sessions stand in the way. The gate is still held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", shown(.open))]
pub struct DrainError {
    /// The sessions, each with the reason.
    pub open: Vec<OpenSession>,
}

fn shown(open: &[OpenSession]) -> String {
    let named: Vec<String> = open
        .iter()
        .take(5)
        .map(|s| {
            format!(
                "{} (account '{}', server connection {}): {}",
                s.client_id, s.user, s.backend_connection_id, s.reason
            )
        })
        .collect();
    format!(
        "error: {} sessions stand in the way of the switch: {}\nstate: commands are still held; nothing was changed\nhint:  release, end these sessions, and try again",
        open.len(),
        named.join("; ")
    )
}

impl Control {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Opens, for every client, its connection to the next writer, or as many as clients will share there, so that the
    /// switch will cost no logins. Clients are not disturbed; one that cannot log in there is in the report.
    ///
    /// # Errors
    /// None at present; kept for a server that cannot be warmed at all.
    pub async fn warm(&self, next: Backend) -> Result<WarmReport, DoorError> {
        let started = Instant::now();
        let mut report = WarmReport::default();
        let mut opening = JoinSet::new();
        let pool = self.shared.share.then(|| self.shared.gate.next_pool(&next));
        let room = pool.as_ref().map(|pool| pool.max());
        for seat in one_each(self.shared.registry.seats(), room) {
            if opening.len() >= WARMING {
                note(&mut report, opening.join_next().await);
            }
            let (next, shared, pool) = (next.clone(), Arc::clone(&self.shared), pool.clone());
            opening.spawn(async move {
                // Without an identity it is not logged in yet: it will go to whoever is the writer then.
                let identity = seat.detail().identity.clone()?;
                let warmed = match pool {
                    Some(pool) => warm_pool(&shared, &pool, next, &identity).await,
                    None => warm_seat(&seat, next, &identity).await,
                };
                let user = || String::from_utf8_lossy(&identity.user).into_owned();
                Some(warmed.map_err(|error| (seat.id, user(), error.to_string())))
            });
        }
        while let Some(joined) = opening.join_next().await {
            note(&mut report, Some(joined));
        }
        report.took = started.elapsed();
        Ok(report)
    }

    /// Holds every command of whoever is not inside a transaction, from now on. Clients wait; new ones wait to log in.
    pub fn hold(&self) {
        self.shared.registry.holds.begin();
        self.shared.gate.hold();
    }

    /// Waits until no session is in a command or a transaction. From then until [`Control::release`], not one byte
    /// of a command reaches the writer.
    ///
    /// # Errors
    /// If that takes longer than `deadline`, or sessions are pinned and the policy is not to close them.
    /// The gate stays held either way.
    pub async fn drain(&self, deadline: Duration, pinned: PinnedPolicy) -> Result<(), DrainError> {
        let gate = &self.shared.gate;
        // Those already at their edge will not come unpinned by waiting.
        self.refuse_pinned(pinned, |phase| {
            phase != SessionPhase::Transaction && phase != SessionPhase::Command
        })?;
        if !gate.drained(deadline).await {
            let mut open = Vec::new();
            for seat in self.shared.registry.seats() {
                let reason = match seat.phase() {
                    SessionPhase::Command => "a command is running",
                    SessionPhase::Transaction => "a transaction, lock or cursor is open",
                    SessionPhase::Idle | SessionPhase::Held | SessionPhase::Waiting => continue,
                };
                open.push(self.shared.registry.open(&seat, reason.to_owned()));
            }
            return Err(DrainError { open });
        }
        self.refuse_pinned(pinned, |_| true)?;
        gate.set_drained();
        Ok(())
    }

    /// Ends the sessions of these server connections, which may be in a transaction: their clients are told, and the server rolls
    /// back. One whose command is running ends when the server has answered it.
    pub fn end(&self, server_connections: &[u64]) {
        for seat in self.shared.registry.seats() {
            if server_connections.contains(&u64::from(seat.backend_id.load(Relaxed))) {
                seat.end();
            }
        }
        self.shared.gate.stir();
    }

    fn refuse_pinned(
        &self,
        policy: PinnedPolicy,
        counts: impl Fn(SessionPhase) -> bool,
    ) -> Result<(), DrainError> {
        if policy == PinnedPolicy::Close {
            return Ok(());
        }
        let registry = &self.shared.registry;
        let seats = registry.seats();
        let pinned = seats.iter().filter(|s| s.pinned() && counts(s.phase()));
        let open: Vec<OpenSession> = pinned
            .map(|seat| {
                let reason = seat.detail().pin.clone().unwrap_or_default();
                registry.open(seat, format!("it cannot be moved: {reason}"))
            })
            .collect();
        if open.is_empty() { Ok(()) } else { Err(DrainError { open }) }
    }

    /// Sends later commands to the next writer. Sessions get their new backend when they next need one.
    ///
    /// # Errors
    /// [`DoorError::NotDrained`] unless the gate is held, a drain has succeeded since, and the epoch is a later one.
    pub fn switch(&self, next: Backend, epoch: u64) -> Result<(), DoorError> {
        let name = next.id.clone();
        if self.shared.gate.switch(next, epoch) {
            return Ok(());
        }
        let route = self.shared.gate.route();
        Err(DoorError::NotDrained {
            next: name,
            epoch,
            writer: route.writer.id.clone(),
            current: route.epoch,
        })
    }

    /// Lets held commands go on: to the next writer after a switch, to the old one without.
    pub fn release(&self) {
        self.shared.gate.release();
    }

    /// How long statements have been held since the last hold began; one that is held still is not among them.
    pub fn held(&self) -> Held {
        self.shared.registry.holds.view()
    }

    /// Closes the connections that [`Control::warm`] has opened and no client has taken.
    pub fn cool(&self) {
        for seat in self.shared.registry.seats() {
            seat.detail().warm = None;
        }
    }

    /// The writer, and its epoch.
    pub fn writer(&self) -> (Backend, u64) {
        let route = self.shared.gate.route();
        ((*route.writer).clone(), route.epoch)
    }

    /// What the door is doing.
    pub fn stats(&self) -> Stats {
        let registry = &self.shared.registry;
        let gate = &self.shared.gate;
        let pool = gate.route().pool;
        let figures = pool.figures();
        let mut stats = Stats {
            backends: figures.open,
            backends_idle: figures.idle,
            waiting: figures.waiting,
            waits: pool.waits.load(Relaxed),
            longest_hold_ever: Duration::from_micros(registry.longest_hold_us.load(Relaxed)),
            commands: gate.shards().iter().map(|s| s.commands.load(Relaxed)).sum(),
            backend_errors: registry.backend_errors.load(Relaxed),
            door_errors: registry.door_errors.load(Relaxed),
            idle_ended: registry.idle_ended.load(Relaxed),
            epoch: gate.epoch(),
            ..Stats::default()
        };
        for seat in registry.seats() {
            stats.clients += 1;
            stats.pinned += usize::from(seat.pinned());
            stats.keeping += usize::from(seat.keeps() && !seat.pinned());
            match seat.phase() {
                SessionPhase::Idle | SessionPhase::Waiting => {}
                SessionPhase::Command => stats.busy += 1,
                SessionPhase::Transaction => stats.in_transaction += 1,
                SessionPhase::Held => {
                    stats.held += 1;
                    stats.longest_hold = stats.longest_hold.max(registry.since(&seat));
                }
            }
        }
        stats.longest_hold_ever = stats.longest_hold_ever.max(stats.longest_hold);
        stats
    }

    /// Why sessions keep a backend connection to themselves, and how many do for each reason; most frequent first.
    pub fn pins(&self) -> Vec<(String, usize)> {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for seat in self.shared.registry.seats().iter().filter(|seat| seat.pinned() || seat.keeps()) {
            let detail = seat.detail();
            if let Some(reason) = detail.pin.as_deref().or(detail.keeps) {
                *counts.entry(reason.to_owned()).or_default() += 1;
            }
        }
        let mut pins: Vec<(String, usize)> = counts.into_iter().collect();
        pins.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        pins
    }

    /// The figures of statements by digest and account; `anew`: and counts from nothing from now on.
    pub fn digests(&self, anew: bool) -> Digests {
        self.shared.observing.tables.view(anew)
    }

    /// Slow statements that were not written down, because too many waited for it.
    pub fn slow_lost(&self) -> u64 {
        self.shared.observing.slow_lost.load(Relaxed)
    }

    /// Changes the rules for what happens from now on.
    pub fn set_rules(&self, rules: Rules) {
        self.shared.observing.set(rules.observe);
        self.shared.gate.set_backends_max(rules.backends_max.max(1));
        self.shared.rules.set(rules);
    }

    /// Every session.
    pub fn sessions(&self) -> Vec<SessionView> {
        let registry = &self.shared.registry;
        let mut views: Vec<SessionView> = registry.seats().iter().map(|seat| registry.view(seat)).collect();
        views.sort_by_key(|view| view.client_id);
        views
    }
}

/// The seats for each of which one connection is opened ahead: all of them, or, for a pool with so much room, as many of
/// each identity as its share of the clients, and one at least.
fn one_each(seats: Vec<Arc<Seat>>, room: Option<usize>) -> Vec<Arc<Seat>> {
    let Some(room) = room else { return seats };
    let total = seats.len();
    let mut by_identity: HashMap<usize, Vec<Arc<Seat>>> = HashMap::new();
    for seat in seats {
        let identity = seat.detail().identity.as_ref().map(|identity| Arc::as_ptr(identity) as usize);
        if let Some(identity) = identity {
            by_identity.entry(identity).or_default().push(seat);
        }
    }
    let shares = by_identity.into_values().flat_map(|mut seats| {
        seats.truncate((room * seats.len() / total.max(1)).max(1));
        seats
    });
    shares.collect()
}

/// Opens the client's own connection to the next writer.
async fn warm_seat(seat: &Seat, next: Backend, identity: &Arc<Identity>) -> mysql::Result<()> {
    let schema = seat.detail().schema.clone();
    let warm = Warm::open(&next, Arc::clone(identity), schema).await?;
    let mut detail = seat.detail();
    if detail.identity.as_ref().is_some_and(|now| Arc::ptr_eq(now, identity)) {
        detail.warm = Some(Box::new(warm));
    }
    Ok(())
}

/// Opens a connection of the client's account for the next writer's pool.
async fn warm_pool(
    shared: &Shared,
    pool: &Arc<Pool>,
    next: Backend,
    identity: &Arc<Identity>,
) -> mysql::Result<()> {
    let account = shared.proven.of(identity);
    let login = Arc::new(account.identity(identity.collation));
    let warm = Warm::open(&next, login, None).await?;
    account.prove(pool.serial, true);
    pool.stock(account, warm);
    Ok(())
}

type Warmed = Option<Result<(), (u32, String, String)>>;

fn note(report: &mut WarmReport, joined: Option<Result<Warmed, tokio::task::JoinError>>) {
    match joined {
        Some(Ok(Some(Ok(())))) => report.opened += 1,
        Some(Ok(Some(Err(failed)))) => report.failed.push(failed),
        _ => {}
    }
}
