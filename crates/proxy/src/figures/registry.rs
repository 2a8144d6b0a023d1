//! Who is connected, as seen from outside the sessions: what `sessions`, `stats`, `drain` and `warm` look at.
//!
//! A session writes a few relaxed atomics per transaction edge; everything else here is touched rarely.

use std::collections::HashMap;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::backend::{Identity, Warm};
use crate::figures::held::Holds;
use crate::session::Kick;

/// The first connection id of the door: ids of servers stay far below, so no `KILL` can take one for the other.
pub(crate) const FIRST_ID: u32 = 1 << 31;

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionPhase {
    /// Waiting for its client.
    Idle,
    /// Its command waits for the writer to change.
    Held,
    /// A command is running.
    Command,
    /// A transaction, lock or cursor is open.
    Transaction,
    /// Its command waits for a backend connection.
    Waiting,
}

/// A session, as others see it.
#[derive(Debug)]
pub(crate) struct Seat {
    pub id: u32,
    phase: AtomicU8,
    /// Microseconds since the registry was made.
    since: AtomicU64,
    /// Its backend's connection id on the server; 0 while it has none.
    pub backend_id: AtomicU32,
    /// The gate it passes, by its place in the list, and so the cluster it is sent to.
    pub gate: AtomicUsize,
    /// Somebody has asked the server to kill something there. See [`Seat::leave_backend`].
    killed: AtomicBool,
    pinned: AtomicBool,
    /// The operator wants it gone.
    ended: AtomicBool,
    /// It has been killed.
    dismissed: AtomicBool,
    /// What `CONNECTION_ID()` told it last; 0 if it never asked.
    pub told_id: AtomicU32,
    keeps: AtomicBool,
    detail: Mutex<Detail>,
}

/// The parts of a seat that change rarely.
#[derive(Debug, Default)]
pub(crate) struct Detail {
    pub pin: Option<String>,
    /// Why its backend cannot be lent to others.
    pub keeps: Option<&'static str>,
    /// `None` until the login.
    pub identity: Option<Arc<Identity>>,
    pub schema: Option<Vec<u8>>,
    /// A connection to the next writer, opened ahead.
    pub warm: Option<Box<Warm>>,
    /// Wakes the session.
    pub kick: Option<Arc<Kick>>,
}

impl Seat {
    /// The parts that change rarely.
    pub fn detail(&self) -> MutexGuard<'_, Detail> {
        self.detail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The phase.
    pub fn phase(&self) -> SessionPhase {
        match self.phase.load(Relaxed) {
            0 => SessionPhase::Idle,
            1 => SessionPhase::Held,
            2 => SessionPhase::Command,
            3 => SessionPhase::Transaction,
            _ => SessionPhase::Waiting,
        }
    }

    /// Whether the session cannot be moved.
    pub fn pinned(&self) -> bool {
        self.pinned.load(Relaxed)
    }

    /// Has the session end where it next looks at the gate.
    pub fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    /// Whether it is to end.
    pub fn ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Has the session end as one whose connection was killed: without a word.
    pub fn dismiss(&self) {
        self.dismissed.store(true, SeqCst);
        let kick = self.detail().kick.clone();
        if let Some(kick) = kick {
            kick.kick();
        }
    }

    /// Whether it was killed.
    pub fn dismissed(&self) -> bool {
        self.dismissed.load(SeqCst)
    }

    /// Whether the session's backend cannot be lent to others.
    pub fn keeps(&self) -> bool {
        self.keeps.load(Relaxed)
    }

    /// Says why the session's backend cannot be lent to others, or that it can.
    pub fn set_keeps(&self, reason: Option<&'static str>) {
        self.keeps.store(reason.is_some(), Relaxed);
        self.detail().keeps = reason;
    }

    /// Names the connection to kill if this session is to be killed; 0 if there is none now.
    ///
    /// A `KILL` takes effect some time after it was sent, and must not hit the connection's next user. So this first marks
    /// the seat, then reads the connection, while [`Seat::leave_backend`] first takes the connection's name away, then reads
    /// the mark: one of the two sees the other.
    pub fn to_kill(&self) -> u32 {
        self.killed.store(true, SeqCst);
        self.backend_id.load(SeqCst)
    }

    /// The session gives its connection back; `false` if it must be closed instead, because somebody may have killed it.
    pub fn leave_backend(&self) -> bool {
        self.backend_id.store(0, SeqCst);
        !self.killed.swap(false, SeqCst)
    }

    /// Says why the session cannot be moved, or that it can.
    pub fn set_pin(&self, reason: Option<&str>) {
        self.pinned.store(reason.is_some(), Relaxed);
        self.detail().pin = reason.map(str::to_owned);
    }
}

/// A session that stands in the way of a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// The id the client was greeted with.
    pub client_id: u32,
    /// Its account.
    pub user: String,
    /// Its connection's id on the server.
    pub backend_connection_id: u32,
    /// How long it has been so.
    pub since: Duration,
    /// What it does, or why it cannot be moved.
    pub reason: String,
}

/// A session, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// The id the client was greeted with.
    pub client_id: u32,
    /// Its account; empty before the login.
    pub user: String,
    /// Its default schema.
    pub schema: String,
    /// The cluster it is sent to.
    pub cluster: String,
    /// Its connection's id on the server; 0 while it has none.
    pub backend_connection_id: u32,
    /// What it is doing.
    pub phase: SessionPhase,
    /// For how long.
    pub since: Duration,
    /// Why it cannot be moved, if so.
    pub pinned: Option<String>,
    /// Why its backend connection cannot be lent to others, though it could be moved.
    pub keeps: Option<&'static str>,
}

/// What the door is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Clients connected.
    pub clients: usize,
    /// Running a command.
    pub busy: usize,
    /// Held at the gate.
    pub held: usize,
    /// With a transaction, lock or cursor open, and no command running.
    pub in_transaction: usize,
    /// That cannot be moved.
    pub pinned: usize,
    /// Whose backend connection cannot be lent to others, though they could be moved.
    pub keeping: usize,
    /// Backend connections that clients share: open.
    pub backends: usize,
    /// Of those, idle.
    pub backends_idle: usize,
    /// Clients waiting for a backend connection.
    pub waiting: usize,
    /// How often a client had to wait for one.
    pub waits: u64,
    /// How long the longest-held client has been waiting.
    pub longest_hold: Duration,
    /// The longest hold since the start.
    pub longest_hold_ever: Duration,
    /// Commands taken from clients.
    pub commands: u64,
    /// Errors that servers answered with.
    pub backend_errors: u64,
    /// Errors of the door's own, and sessions lost.
    pub door_errors: u64,
    /// Clients closed because they were idle for too long.
    pub idle_ended: u64,
    /// The epoch of the last switch.
    pub epoch: u64,
    /// Memory held for clients, in bytes.
    pub memory: usize,
    /// The most there may be, in bytes; `usize::MAX`: without a bound.
    pub memory_max: usize,
    /// Clients refused because of it.
    pub memory_refused: u64,
    /// Clients ended because of it: they held most, and did not get on.
    pub memory_ended: u64,
}

/// All sessions of a door.
#[derive(Debug)]
pub(crate) struct Registry {
    seats: Mutex<HashMap<u32, Arc<Seat>>>,
    last_id: AtomicU32,
    started: Instant,
    pub longest_hold_us: AtomicU64,
    /// Since the last hold began.
    pub holds: Holds,
    pub backend_errors: AtomicU64,
    pub door_errors: AtomicU64,
    /// Clients closed because they were idle for too long.
    pub idle_ended: AtomicU64,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            seats: Mutex::default(),
            last_id: AtomicU32::new(FIRST_ID),
            started: Instant::now(),
            longest_hold_us: AtomicU64::new(0),
            holds: Holds::default(),
            backend_errors: AtomicU64::new(0),
            door_errors: AtomicU64::new(0),
            idle_ended: AtomicU64::new(0),
        }
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seats a client, unless `clients_max` are seated already.
    pub fn sit(&self, clients_max: usize) -> Option<Arc<Seat>> {
        let mut seats = self.lock();
        if seats.len() >= clients_max {
            return None;
        }
        let id = loop {
            let id = self.last_id.fetch_add(1, Relaxed) | FIRST_ID;
            if !seats.contains_key(&id) {
                break id;
            }
        };
        let seat = Arc::new(Seat {
            id,
            phase: AtomicU8::new(0),
            since: AtomicU64::new(self.now_us()),
            backend_id: AtomicU32::new(0),
            gate: AtomicUsize::new(0),
            killed: AtomicBool::new(false),
            pinned: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            dismissed: AtomicBool::new(false),
            told_id: AtomicU32::new(0),
            keeps: AtomicBool::new(false),
            detail: Mutex::default(),
        });
        seats.insert(id, Arc::clone(&seat));
        Some(seat)
    }

    /// How many clients are logged in.
    pub fn guests(&self) -> usize {
        self.seats().iter().filter(|seat| seat.detail().identity.is_some()).count()
    }

    /// How many clients there are, logged in or not.
    pub fn seated(&self) -> usize {
        self.lock().len()
    }

    /// The id that was given last.
    pub fn last_id(&self) -> u32 {
        self.last_id.load(Relaxed)
    }

    /// Gives ids from there on.
    pub fn go_on_after(&self, id: u32) {
        self.last_id.store(id | FIRST_ID, Relaxed);
    }

    /// The client has left.
    pub fn stand_up(&self, id: u32) {
        self.lock().remove(&id);
    }

    /// Every seat.
    pub fn seats(&self) -> Vec<Arc<Seat>> {
        self.lock().values().cloned().collect()
    }

    /// The seat with this id.
    pub fn seat(&self, id: u32) -> Option<Arc<Seat>> {
        self.lock().get(&id).cloned()
    }

    /// Whom a connection id of the server's means, of those who pass such gates: the session that has that connection, else
    /// the one that was told this id and has another or none by now, if it was only one.
    pub fn known_as(&self, server_id: u32, is_there: impl Fn(usize) -> bool) -> Option<Arc<Seat>> {
        let seats = self.lock();
        let there = || seats.values().filter(|seat| is_there(seat.gate.load(SeqCst)));
        if let Some(seat) = there().find(|seat| seat.backend_id.load(SeqCst) == server_id) {
            return Some(Arc::clone(seat));
        }
        let mut told = there().filter(|seat| seat.told_id.load(Relaxed) == server_id);
        let one = told.next()?;
        told.next().is_none().then(|| Arc::clone(one))
    }

    /// Enters a phase, now.
    pub fn set_phase(&self, seat: &Seat, phase: SessionPhase) {
        seat.phase.store(phase as u8, Relaxed);
        if phase != SessionPhase::Idle {
            seat.since.store(self.now_us(), Relaxed);
        }
    }

    /// A client was held for so long.
    pub fn held_for(&self, held: Duration) {
        self.longest_hold_us.fetch_max(held.as_micros() as u64, Relaxed);
        self.holds.count(held);
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// How long a seat has been in its phase.
    pub fn since(&self, seat: &Seat) -> Duration {
        Duration::from_micros(self.now_us().saturating_sub(seat.since.load(Relaxed)))
    }

    /// A seat as it stands in the way, for this reason.
    pub fn open(&self, seat: &Seat, reason: String) -> OpenSession {
        OpenSession {
            client_id: seat.id,
            user: user_of(&seat.detail()),
            backend_connection_id: seat.backend_id.load(Relaxed),
            since: self.since(seat),
            reason,
        }
    }

    /// A seat, for display.
    pub fn view(&self, seat: &Seat, cluster: String) -> SessionView {
        let (phase, since) = (seat.phase(), self.since(seat));
        let detail = seat.detail();
        SessionView {
            client_id: seat.id,
            user: user_of(&detail),
            schema: String::from_utf8_lossy(detail.schema.as_deref().unwrap_or_default()).into_owned(),
            cluster,
            backend_connection_id: seat.backend_id.load(Relaxed),
            phase,
            since,
            pinned: detail.pin.clone(),
            keeps: detail.keeps,
        }
    }
}

fn user_of(detail: &Detail) -> String {
    let user = detail.identity.as_ref().map(|i| i.user.as_slice()).unwrap_or_default();
    String::from_utf8_lossy(user).into_owned()
}
