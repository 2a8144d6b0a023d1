//! Which cluster serves what: an account with a rule of its own, a schema, or everything else.
//!
//! ```text
//! session --account's rule?--> cluster          `switch` changes the entries of one scope, while the gate of the cluster
//!         --schema's entry?--> cluster           they lead to is held and drained; the table's version tells sessions
//!         --else-------------> the writer        to look again
//! ```
//!
//! Which schemas and accounts have entries is fixed when the door opens; where they lead is not. Schemas' names are
//! compared without regard to the case of ASCII letters, since some servers do so: where two schemas differ in nothing
//! else, both go where either does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::gate::hold::{Gate, Lane};
use crate::{Backend, DoorError};

/// Where a door sends whom at first, beside what goes to its writer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes {
    /// By schema. Names must be of ASCII letters, digits, `_`, `$` and `-`: others are not found in a statement's text.
    pub schemas: BTreeMap<String, Backend>,
    /// By account, whatever its schema; these stay.
    pub users: BTreeMap<Vec<u8>, Backend>,
}

/// What goes elsewhere in a switch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// All that the writer serves, and the schemas whose entries lead to the same cluster.
    Everything,
    /// These schemas.
    Schemas(Vec<Box<[u8]>>),
}

/// An entry of the table.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub gate: Arc<Gate>,
    /// The epoch of its last switch.
    pub epoch: u64,
}

/// Where everything leads, as of some version.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// Starts at 1.
    pub version: u64,
    pub writer: Entry,
    schemas: BTreeMap<Box<[u8]>, Entry>,
    users: BTreeMap<Vec<u8>, Arc<Gate>>,
}

/// The table, and the gates of all clusters it has led to.
#[derive(Debug)]
pub(crate) struct Routing {
    version: AtomicU64,
    table: Mutex<Arc<Table>>,
    gates: Mutex<Vec<Arc<Gate>>>,
    /// Which gates a crossing holds.
    holds: Mutex<BTreeMap<Scope, Vec<Arc<Gate>>>>,
    turns: Arc<watch::Sender<u64>>,
    threads: usize,
    backends_max: AtomicUsize,
    /// Whether any schema has an entry.
    pub by_schema: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A schema that every server has of its own, and that no route leads to.
pub(crate) fn is_system(schema: &[u8]) -> bool {
    let all: [&[u8]; 4] = [b"mysql", b"sys", b"information_schema", b"performance_schema"];
    all.iter().any(|system| schema.eq_ignore_ascii_case(system))
}

impl Table {
    /// Where a schema is; `None`: on every server.
    pub fn of_schema(&self, schema: &[u8]) -> Option<&Arc<Gate>> {
        if self.schemas.is_empty() {
            return Some(&self.writer.gate);
        }
        if is_system(schema) {
            return None;
        }
        Some(self.entry(schema).map_or(&self.writer.gate, |entry| &entry.gate))
    }

    /// The schema's own entry.
    pub fn entry(&self, schema: &[u8]) -> Option<&Entry> {
        self.schemas.get(&*schema.to_ascii_lowercase())
    }

    /// Where an account's rule sends it.
    pub fn of_user(&self, user: &[u8]) -> Option<&Arc<Gate>> {
        self.users.get(user)
    }

    /// Whether a schema is on this cluster, or whatever has no entry.
    pub fn serves(&self, gate: &Arc<Gate>) -> bool {
        let schemas = self.schemas.values().map(|entry| &entry.gate);
        schemas.chain([&self.writer.gate]).any(|one| Arc::ptr_eq(one, gate))
    }

    /// Whether anything leads to this cluster.
    pub fn leads_to(&self, gate: &Arc<Gate>) -> bool {
        self.serves(gate) || self.users.values().any(|one| Arc::ptr_eq(one, gate))
    }

    /// The clusters of the schemas that have entries.
    pub fn schemas(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.schemas.iter().map(|(name, entry)| (&**name, entry))
    }

    /// The clusters of the accounts that have rules.
    pub fn users(&self) -> impl Iterator<Item = (&[u8], &Arc<Gate>)> {
        self.users.iter().map(|(name, gate)| (name.as_slice(), gate))
    }

    /// The entry that a scope goes by.
    fn of_scope(&self, scope: &Scope) -> &Entry {
        let first = match scope {
            Scope::Everything => None,
            Scope::Schemas(schemas) => schemas.first().and_then(|schema| self.entry(schema)),
        };
        first.unwrap_or(&self.writer)
    }
}

impl Scope {
    /// Whether a session with this schema goes along.
    pub fn takes(&self, schema: Option<&[u8]>, table: &Table) -> bool {
        match self {
            Self::Everything => true,
            Self::Schemas(schemas) => schema.is_some_and(|schema| {
                table.entry(schema).is_some() && schemas.iter().any(|one| one.eq_ignore_ascii_case(schema))
            }),
        }
    }
}

impl Routing {
    /// A table that leads to this writer, but for those routes.
    pub fn new(writer: Backend, routes: Routes, threads: usize, backends_max: usize) -> Self {
        let turns = Arc::new(watch::Sender::new(0));
        let gate = Arc::new(Gate::new((0, writer), threads, backends_max, Arc::clone(&turns)));
        let entry = Entry { gate: Arc::clone(&gate), epoch: 0 };
        let (schemas, users) = (BTreeMap::new(), BTreeMap::new());
        let mut table = Table { version: 1, writer: entry, schemas, users };
        let by_schema = !routes.schemas.is_empty();
        let routing = Self {
            version: AtomicU64::new(table.version),
            table: Mutex::new(Arc::new(table.clone())),
            gates: Mutex::new(vec![gate]),
            holds: Mutex::default(),
            turns,
            threads,
            backends_max: AtomicUsize::new(backends_max),
            by_schema,
        };
        for (schema, backend) in routes.schemas {
            let entry = Entry { gate: routing.gate_of(&backend), epoch: 0 };
            table.schemas.insert(schema.to_ascii_lowercase().into_bytes().into(), entry);
        }
        for (user, backend) in routes.users {
            table.users.insert(user, routing.gate_of(&backend));
        }
        *lock(&routing.table) = Arc::new(table);
        routing
    }

    /// Changes with every switch.
    pub fn version(&self) -> u64 {
        self.version.load(SeqCst)
    }

    /// The table.
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&lock(&self.table))
    }

    /// The gates of all clusters so far.
    pub fn gates(&self) -> Vec<Arc<Gate>> {
        lock(&self.gates).clone()
    }

    /// The gate of a cluster; a new one if the door has not heard of it yet.
    pub fn gate_of(&self, backend: &Backend) -> Arc<Gate> {
        let mut gates = lock(&self.gates);
        if let Some(known) = gates.iter().find(|gate| *gate.backend == *backend) {
            return Arc::clone(known);
        }
        let of = (gates.len(), backend.clone());
        let gate =
            Arc::new(Gate::new(of, self.threads, self.backends_max.load(SeqCst), Arc::clone(&self.turns)));
        gates.push(Arc::clone(&gate));
        gate
    }

    /// Changes how many connections to a cluster clients share at most.
    pub fn set_backends_max(&self, max: usize) {
        // Under the lock, so that no gate is made with the number from before and then passed over.
        let gates = lock(&self.gates);
        self.backends_max.store(max, SeqCst);
        gates.iter().for_each(|gate| gate.pool.set_max(max));
    }

    /// To be woken at every hold, switch and release.
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    /// Has every session look at its gate again.
    pub fn stir(&self) {
        self.turns.send_modify(|n| *n += 1);
    }

    /// Where a scope leads now, and since which epoch.
    pub fn of_scope(&self, scope: &Scope) -> Entry {
        lock(&self.table).of_scope(scope).clone()
    }

    /// Holds the cluster a scope leads to.
    pub fn hold(&self, scope: &Scope) {
        let mut holds = lock(&self.holds);
        if holds.contains_key(scope) {
            return self.stir();
        }
        let gate = self.of_scope(scope).gate;
        gate.hold();
        holds.insert(scope.clone(), vec![gate]);
    }

    /// Releases what was held for a scope.
    pub fn release(&self, scope: &Scope) {
        let held = lock(&self.holds).remove(scope);
        held.unwrap_or_default().iter().for_each(|gate| gate.release());
    }

    /// Sends later commands of a scope elsewhere. The next cluster is held too, until the release: somebody who was not
    /// held here would be there before the crossing has opened it.
    ///
    /// # Errors
    /// [`DoorError::NotDrained`] if the cluster it leads to is not held for this scope and drained, or the epoch is not a
    /// later one.
    pub fn switch(&self, scope: &Scope, next: Backend, epoch: u64) -> Result<(), DoorError> {
        let mut holds = lock(&self.holds);
        let mut table = lock(&self.table);
        let now = table.of_scope(scope).clone();
        let refused = DoorError::NotDrained {
            next: next.id.clone(),
            epoch,
            writer: now.gate.backend.id.clone(),
            current: now.epoch,
        };
        let Some(held) = holds.get_mut(scope).filter(|held| held.iter().any(|g| Arc::ptr_eq(g, &now.gate)))
        else {
            return Err(refused);
        };
        if !now.gate.is_drained() || epoch <= now.epoch {
            return Err(refused);
        }
        let gate = self.gate_of(&next);
        if !Arc::ptr_eq(&gate, &now.gate) {
            gate.hold();
            held.push(Arc::clone(&gate));
        }
        let mut changed = Table::clone(&table);
        changed.version += 1;
        let to = Entry { gate, epoch };
        let here = |entry: &Entry| Arc::ptr_eq(&entry.gate, &now.gate);
        match scope {
            Scope::Everything => {
                changed.schemas.values_mut().filter(|e| here(e)).for_each(|e| e.gate = Arc::clone(&to.gate));
                changed.writer = to;
            }
            Scope::Schemas(schemas) => {
                for schema in schemas {
                    if let Some(entry) = changed.schemas.get_mut(&*schema.to_ascii_lowercase()) {
                        *entry = to.clone();
                    }
                }
            }
        }
        let version = changed.version;
        *table = Arc::new(changed);
        self.version.store(version, SeqCst);
        self.stir();
        Ok(())
    }
}

/// A thread's ways to all gates.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub routing: Arc<Routing>,
    pub shard: usize,
    lanes: RefCell<Vec<Rc<Lane>>>,
    /// The table as this thread saw it last.
    seen: RefCell<Arc<Table>>,
}

impl Lanes {
    /// A thread's ways.
    pub fn new(routing: Arc<Routing>, shard: usize) -> Self {
        let seen = RefCell::new(routing.table());
        Self { routing, shard, lanes: RefCell::default(), seen }
    }

    /// The table.
    pub fn table(&self) -> Arc<Table> {
        let mut seen = self.seen.borrow_mut();
        if seen.version != self.routing.version() {
            *seen = self.routing.table();
        }
        Arc::clone(&seen)
    }

    /// The way to a gate.
    pub fn to(&self, gate: &Arc<Gate>) -> Rc<Lane> {
        let mut lanes = self.lanes.borrow_mut();
        if let Some(known) = lanes.iter().find(|lane| Arc::ptr_eq(&lane.gate, gate)) {
            return Rc::clone(known);
        }
        let lane = Rc::new(Lane { gate: Arc::clone(gate), shard: self.shard });
        lanes.push(Rc::clone(&lane));
        lane
    }

    /// The ways this thread has gone.
    pub fn all(&self) -> Vec<Rc<Lane>> {
        self.lanes.borrow().clone()
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
