//! Changing a cluster under its clients: warm, hold, drain, switch, release; and seeing what the door does.
//!
//! A control is for a scope: everything on the writer's cluster, some schemas ([`Control::of_schemas`]), or some accounts
//! ([`Control::of_users`]). While schemas cross, all clients of the cluster they leave are held, and only the scope's own go elsewhere in
//! the switch: a statement may use whatever is on one cluster, so nobody there can be told apart from the scope's clients. While accounts
//! cross, theirs alone are held: whose a client is does not change, and where everybody else goes does not either.
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

use crate::backend::pool::Pool;
use crate::backend::{Identity, Warm};
use crate::figures::digests::Digests;
use crate::figures::held::Held;
use crate::figures::registry::{OpenSession, Seat, SessionPhase, SessionView, Stats};
use crate::gate::routes::Scope;
use crate::{Backend, DoorError, Rules, Shared};

/// Connections that [`Control::warm`] opens at a time.
const WARMING: usize = 16;

/// Steers a [`crate::Door`]; cheap to clone, usable from any thread.
#[derive(Debug, Clone)]
pub struct Control {
    pub(crate) shared: Arc<Shared>,
    scope: Arc<Scope>,
}

/// Where the door sends some clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteView {
    /// Whose: `schema NAME`, `account NAME`, or `everything else`.
    pub of: String,
    /// The cluster.
    pub cluster: String,
    /// Its host and port.
    pub address: String,
    /// Clients there because of it.
    pub clients: usize,
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
    pub(crate) fn new(shared: Arc<Shared>, scope: Scope) -> Self {
        Self { shared, scope: Arc::new(scope) }
    }

    /// The control of these schemas alone; `None` unless there are any, and the door was opened with routes for all of
    /// them, which lead to one cluster.
    pub fn of_schemas<S: AsRef<[u8]>>(&self, schemas: impl IntoIterator<Item = S>) -> Option<Self> {
        let mut names: Vec<Box<[u8]>> =
            schemas.into_iter().map(|s| s.as_ref().to_ascii_lowercase().into()).collect();
        names.sort();
        let table = self.shared.routing.table();
        let entries = names.iter().map(|name| table.entry(name)).collect::<Option<Vec<_>>>()?;
        let first = entries.first()?;
        let together = entries.iter().all(|entry| Arc::ptr_eq(&entry.gate, &first.gate));
        together.then(|| Self::new(Arc::clone(&self.shared), Scope::Schemas(names)))
    }

    /// The control of these accounts alone; `None` unless the door was opened with them as one of the [`Routes::parties`].
    ///
    /// [`Routes::parties`]: crate::Routes::parties
    pub fn of_users<S: AsRef<[u8]>>(&self, users: impl IntoIterator<Item = S>) -> Option<Self> {
        let users = users.into_iter().map(|user| user.as_ref().to_vec()).collect();
        let party = self.shared.routing.table().party(&users)?;
        Some(Self::new(Arc::clone(&self.shared), Scope::Users(party)))
    }

    /// The clients that a crossing of the scope waits for: those that pass the gates it holds.
    fn seats_there(&self) -> Vec<Arc<Seat>> {
        let gates = self.shared.routing.gates_of(&self.scope);
        let mut seats = self.shared.registry.seats();
        seats.retain(|seat| gates.iter().any(|gate| gate.index == seat.gate.load(Relaxed)));
        seats
    }

    /// Whether a client on the scope's cluster goes along in a switch.
    fn goes_along(&self, seat: &Seat) -> bool {
        let table = self.shared.routing.table();
        let detail = seat.detail();
        let user = detail.identity.as_ref().map(|identity| identity.user.as_slice());
        self.scope.takes(user.unwrap_or_default(), detail.schema.as_deref(), &table)
    }

    /// Opens, for every client that will go along, its connection to the next writer, or as many as clients will share there, so that the
    /// switch will cost no logins. Clients are not disturbed; one that cannot log in there is in the report.
    ///
    /// # Errors
    /// None at present; kept for a server that cannot be warmed at all.
    pub async fn warm(&self, next: Backend) -> Result<WarmReport, DoorError> {
        let started = Instant::now();
        let mut report = WarmReport::default();
        let mut opening = JoinSet::new();
        let pool = self.shared.share.then(|| Arc::clone(&self.shared.routing.gate_of(&next).pool));
        let room = pool.as_ref().map(|pool| pool.max());
        let mut seats = self.seats_there();
        seats.retain(|seat| self.goes_along(seat));
        for seat in one_each(seats, room) {
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

    /// Holds every command to the scope's cluster, of accounts only theirs, of whoever is not inside a transaction, from now on. Clients
    /// wait; new ones wait to log in.
    pub fn hold(&self) {
        self.shared.registry.holds.begin();
        self.shared.routing.hold(&self.scope);
    }

    /// Waits until no session that is held is in a command or a transaction on the scope's cluster. From then until
    /// [`Control::release`], not one byte of a command of theirs reaches it.
    ///
    /// # Errors
    /// If that takes longer than `deadline`, or sessions are pinned and the policy is not to close them.
    /// The gate stays held either way.
    pub async fn drain(&self, deadline: Duration, pinned: PinnedPolicy) -> Result<(), DrainError> {
        let gates = self.shared.routing.gates_of(&self.scope);
        let all_out = async {
            for gate in &gates {
                gate.drained().await;
            }
        };
        // Those already at their edge will not come unpinned by waiting.
        self.refuse_pinned(pinned, |phase| {
            phase != SessionPhase::Transaction && phase != SessionPhase::Command
        })?;
        if tokio::time::timeout(deadline, all_out).await.is_err() {
            let mut open = Vec::new();
            for seat in self.seats_there() {
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
        gates.iter().for_each(|gate| gate.set_drained());
        Ok(())
    }

    /// Ends the sessions of these server connections, which may be in a transaction: their clients are told, and the server rolls
    /// back. One whose command is running ends when the server has answered it. They are of clients that the scope holds.
    pub fn end(&self, server_connections: &[u64]) {
        for seat in self.seats_there() {
            if server_connections.contains(&u64::from(seat.backend_id.load(Relaxed))) {
                seat.end();
            }
        }
        self.shared.routing.stir();
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
        let seats = self.seats_there();
        let pinned = seats.iter().filter(|s| s.pinned() && counts(s.phase()) && self.goes_along(s));
        let open: Vec<OpenSession> = pinned
            .map(|seat| {
                let reason = seat.detail().pin.clone().unwrap_or_default();
                registry.open(seat, format!("it cannot be moved: {reason}"))
            })
            .collect();
        if open.is_empty() { Ok(()) } else { Err(DrainError { open }) }
    }

    /// Sends later commands of the scope to the next cluster, whose clients are held from now to the release too (but not for
    /// accounts: nobody else is sent there because of it).
    /// Sessions get their new backend when they next need one.
    ///
    /// # Errors
    /// [`DoorError::NotDrained`] unless the scope is held, a drain has succeeded since, and the epoch is a later one.
    pub fn switch(&self, next: Backend, epoch: u64) -> Result<(), DoorError> {
        self.shared.routing.switch(&self.scope, next, epoch)
    }

    /// Lets held commands go on: to the next cluster after a switch, to the old one without.
    pub fn release(&self) {
        self.shared.routing.release(&self.scope);
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
        let table = self.shared.routing.table();
        for gate in self.shared.routing.gates().iter().filter(|gate| !table.leads_to(gate)) {
            gate.pool.cool();
        }
    }

    /// The cluster that the scope leads to, and the epoch of its last switch.
    pub fn writer(&self) -> (Backend, u64) {
        let entry = self.shared.routing.of_scope(&self.scope);
        ((*entry.gate.backend).clone(), entry.epoch)
    }

    /// Whom the door sends where.
    pub fn routes(&self) -> Vec<RouteView> {
        let table = self.shared.routing.table();
        let view = |of: String, cluster: &Backend| RouteView {
            of,
            cluster: cluster.id.clone(),
            address: format!("{}:{}", cluster.host, cluster.port),
            clients: 0,
        };
        let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let mut views = vec![view("everything else".to_owned(), &table.writer.gate.backend)];
        let schemas =
            table.schemas().map(|(name, entry)| view(format!("schema {}", shown(name)), &entry.gate.backend));
        views.extend(schemas);
        views.extend(
            table.users().map(|(name, gate)| view(format!("account {}", shown(name)), &gate.backend)),
        );
        for seat in self.shared.registry.seats() {
            let detail = seat.detail();
            let Some(identity) = &detail.identity else { continue };
            let schema = detail.schema.as_deref().filter(|schema| table.entry(schema).is_some());
            let of = match (table.of_user(&identity.user), schema) {
                (Some(_), _) => format!("account {}", shown(&identity.user)),
                (None, Some(schema)) => format!("schema {}", shown(&schema.to_ascii_lowercase())),
                (None, None) => "everything else".to_owned(),
            };
            if let Some(view) = views.iter_mut().find(|view| view.of == of) {
                view.clients += 1;
            }
        }
        views
    }

    /// What the door is doing.
    pub fn stats(&self) -> Stats {
        let registry = &self.shared.registry;
        let mut stats = Stats {
            longest_hold_ever: Duration::from_micros(registry.longest_hold_us.load(Relaxed)),
            backend_errors: registry.backend_errors.load(Relaxed),
            door_errors: registry.door_errors.load(Relaxed),
            idle_ended: registry.idle_ended.load(Relaxed),
            epoch: self.shared.routing.of_scope(&self.scope).epoch,
            memory: self.shared.memory.held(),
            memory_max: self.shared.memory.max(),
            memory_refused: self.shared.memory.refused.load(Relaxed),
            memory_ended: self.shared.memory.ended.load(Relaxed),
            ..Stats::default()
        };
        for gate in self.shared.routing.gates() {
            stats.commands += gate.shards().iter().map(|s| s.commands.load(Relaxed)).sum::<u64>();
            if gate.party.is_some() {
                // Its connections are those of the gate beside it.
                continue;
            }
            let figures = gate.pool.figures();
            stats.backends += figures.open;
            stats.backends_idle += figures.idle;
            stats.waiting += figures.waiting;
            stats.waits += gate.pool.waits.load(Relaxed);
        }
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
        self.shared.routing.set_backends_max(rules.backends_max.max(1));
        self.shared.memory.set_max(rules.memory_max);
        self.shared.rules.set(rules);
    }

    /// Every session.
    pub fn sessions(&self) -> Vec<SessionView> {
        self.views(&self.shared.registry.seats())
    }

    /// The sessions that a crossing of the scope waits for; of those that would stay in a switch it does not matter that they are
    /// pinned, so it is not said.
    pub fn sessions_there(&self) -> Vec<SessionView> {
        let seats = self.seats_there();
        let stay: Vec<u32> = seats.iter().filter(|seat| !self.goes_along(seat)).map(|seat| seat.id).collect();
        let mut views = self.views(&seats);
        views.iter_mut().filter(|view| stay.contains(&view.client_id)).for_each(|view| view.pinned = None);
        views
    }

    fn views(&self, seats: &[Arc<Seat>]) -> Vec<SessionView> {
        let gates = self.shared.routing.gates();
        let cluster = |seat: &Seat| gates.get(seat.gate.load(Relaxed)).map(|gate| gate.backend.id.clone());
        let view = |seat: &Arc<Seat>| self.shared.registry.view(seat, cluster(seat).unwrap_or_default());
        let mut views: Vec<SessionView> = seats.iter().map(view).collect();
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
