//! Which cluster serves what: an account with a rule of its own, a schema, or everything else.
//!
//! ```text
//! session --account's rule?--> cluster          `switch` changes the entries of one scope, while the gate of the cluster
//!         --schema's entry?--> cluster           they lead to is held and drained; the table's version tells sessions
//!         --else-------------> the writer        to look again
//! ```
//!
//! Accounts that are to go from one cluster to another together are a *party*, which has an entry too, and a gate of its own before
//! each cluster (`gate/hold.rs`). All others with a rule stay where it says.
//!
//! Which schemas and accounts have entries is fixed when the door opens; where they lead is not. Schemas' names are
//! compared without regard to the case of ASCII letters, since some servers do so: where two schemas differ in nothing
//! else, both go where either does.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
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
    /// Accounts that go by themselves, whatever their schemas. An account is of one party at most, and then has no rule of the kind before.
    pub parties: Vec<Party>,
}

/// Accounts whose clients go from one cluster to another together, and nobody with them; see [`crate::Control::of_users`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The accounts' names.
    pub users: BTreeSet<Vec<u8>>,
    /// Schemas that are where they are, named as in [`Routes::schemas`] and none of those: to whoever else, a statement that names one
    /// is refused while they are not on the writer's cluster.
    pub schemas: Vec<String>,
    /// Where they are at first.
    pub backend: Backend,
}

/// What goes elsewhere in a switch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// All that the writer serves, and the schemas and parties whose entries lead to the same cluster.
    Everything,
    /// These schemas.
    Schemas(Vec<Box<[u8]>>),
    /// The accounts of this party.
    Users(usize),
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
    /// Each leads to its own gate.
    parties: Vec<Entry>,
    /// The accounts of the parties.
    members: Arc<BTreeMap<Vec<u8>, usize>>,
    /// The schemas of the parties.
    theirs: Arc<BTreeMap<Box<[u8]>, usize>>,
}

/// The table, and the gates of all clusters it has led to.
#[derive(Debug)]
pub(crate) struct Routing {
    version: AtomicU64,
    table: Mutex<Arc<Table>>,
    /// Of each cluster first that of whoever is of no party, then those of the parties.
    gates: Mutex<Vec<Arc<Gate>>>,
    parties: usize,
    /// Which gates a crossing holds.
    holds: Mutex<BTreeMap<Scope, Vec<Arc<Gate>>>>,
    turns: Arc<watch::Sender<u64>>,
    threads: usize,
    backends_max: AtomicUsize,
    /// Whether any schema has an entry, or is a party's.
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

    /// Where a schema is that has an entry, or is a party's.
    pub fn place_of(&self, schema: &[u8]) -> Option<&Arc<Gate>> {
        let entry = self.entry(schema);
        entry
            .or_else(|| self.parties.get(*self.theirs.get(&*schema.to_ascii_lowercase())?))
            .map(|one| &one.gate)
    }

    /// Where a schema is that is a party's, if that is not where everybody else is sent for it.
    pub fn gone(&self, schema: &[u8]) -> Option<&Arc<Gate>> {
        let party = self.theirs.get(&*schema.to_ascii_lowercase())?;
        self.parties.get(*party).map(|entry| &entry.gate).filter(|gate| !gate.is_beside(&self.writer.gate))
    }

    /// Where an account's rule or party sends it.
    pub fn of_user(&self, user: &[u8]) -> Option<&Arc<Gate>> {
        match self.party_of(user) {
            Some(party) => self.parties.get(party).map(|entry| &entry.gate),
            None => self.users.get(user),
        }
    }

    /// The party that an account goes with.
    pub fn party_of(&self, user: &[u8]) -> Option<usize> {
        self.members.get(user).copied()
    }

    /// The party that these accounts are.
    pub fn party(&self, users: &BTreeSet<Vec<u8>>) -> Option<usize> {
        let first = self.party_of(users.first()?)?;
        let members = self.members.iter().filter(|(_, party)| **party == first).map(|(user, _)| user);
        members.eq(users).then_some(first)
    }

    /// Whether a schema is on this cluster, or whatever has no entry.
    pub fn serves(&self, gate: &Gate) -> bool {
        let schemas = self.schemas.values().map(|entry| &entry.gate);
        schemas.chain([&self.writer.gate]).any(|one| one.is_beside(gate))
    }

    /// Whether anything leads to this cluster.
    pub fn leads_to(&self, gate: &Gate) -> bool {
        let users = self.users.values().chain(self.parties.iter().map(|entry| &entry.gate));
        self.serves(gate) || users.into_iter().any(|one| one.is_beside(gate))
    }

    /// The clusters of the schemas that have entries.
    pub fn schemas(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.schemas.iter().map(|(name, entry)| (&**name, entry))
    }

    /// The clusters of the accounts that have rules or go with a party.
    pub fn users(&self) -> impl Iterator<Item = (&[u8], &Arc<Gate>)> {
        let members = self.members.iter();
        let members = members.filter_map(|(name, party)| Some((name, &self.parties.get(*party)?.gate)));
        self.users.iter().chain(members).map(|(name, gate)| (name.as_slice(), gate))
    }

    /// The entry that a scope goes by.
    fn of_scope(&self, scope: &Scope) -> &Entry {
        let first = match scope {
            Scope::Everything => None,
            Scope::Schemas(schemas) => schemas.first().and_then(|schema| self.entry(schema)),
            Scope::Users(party) => self.parties.get(*party),
        };
        first.unwrap_or(&self.writer)
    }
}

impl Scope {
    /// Whether a session of this account, with this schema, goes along.
    pub fn takes(&self, user: &[u8], schema: Option<&[u8]>, table: &Table) -> bool {
        match (self, table.party_of(user)) {
            (Self::Users(own), party) => party == Some(*own),
            (Self::Everything, Some(_)) => true,
            (Self::Everything, None) => !table.users.contains_key(user),
            (Self::Schemas(_), Some(_)) => false,
            (Self::Schemas(schemas), None) => {
                let goes = |schema: &[u8]| schemas.iter().any(|one| one.eq_ignore_ascii_case(schema));
                !table.users.contains_key(user)
                    && schema.is_some_and(|schema| table.entry(schema).is_some() && goes(schema))
            }
        }
    }
}

impl Routing {
    /// A table that leads to this writer, but for those routes.
    pub fn new(writer: Backend, routes: Routes, threads: usize, backends_max: usize) -> Self {
        let turns = Arc::new(watch::Sender::new(0));
        let gate = Arc::new(Gate::new((0, writer), threads, backends_max, Arc::clone(&turns)));
        let parties = routes.parties.len();
        let beside = (0..parties).map(|party| Arc::new(gate.for_party(1 + party, party)));
        let gates = Mutex::new([Arc::clone(&gate)].into_iter().chain(beside).collect());
        let (mut members, mut theirs) = (BTreeMap::new(), BTreeMap::new());
        for (party, one) in routes.parties.iter().enumerate() {
            members.extend(one.users.iter().map(|user| (user.clone(), party)));
            let schemas = one.schemas.iter().map(|schema| schema.to_ascii_lowercase().into_bytes().into());
            theirs.extend(schemas.map(|schema: Box<[u8]>| (schema, party)));
        }
        let by_schema = !routes.schemas.is_empty() || !theirs.is_empty();
        let mut table = Table {
            version: 1,
            writer: Entry { gate, epoch: 0 },
            schemas: BTreeMap::new(),
            users: BTreeMap::new(),
            parties: Vec::new(),
            members: Arc::new(members),
            theirs: Arc::new(theirs),
        };
        let routing = Self {
            version: AtomicU64::new(table.version),
            table: Mutex::new(Arc::new(table.clone())),
            gates,
            parties,
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
        for (party, Party { backend, .. }) in routes.parties.iter().enumerate() {
            let gate = routing.gate_for(&routing.gate_of(backend), Some(party));
            table.parties.push(Entry { gate, epoch: 0 });
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

    /// The gate of a cluster for whoever is of no party; new ones if the door has not heard of it yet.
    pub fn gate_of(&self, backend: &Backend) -> Arc<Gate> {
        let mut gates = lock(&self.gates);
        if let Some(known) = gates.iter().find(|gate| gate.party.is_none() && *gate.backend == *backend) {
            return Arc::clone(known);
        }
        let of = (gates.len(), backend.clone());
        let gate =
            Arc::new(Gate::new(of, self.threads, self.backends_max.load(SeqCst), Arc::clone(&self.turns)));
        gates.push(Arc::clone(&gate));
        for party in 0..self.parties {
            let beside = gate.for_party(gates.len(), party);
            gates.push(Arc::new(beside));
        }
        gate
    }

    /// All gates before the cluster of this one.
    fn beside(&self, gate: &Gate) -> Vec<Arc<Gate>> {
        let gates = lock(&self.gates);
        gates.iter().filter(|one| one.is_beside(gate)).cloned().collect()
    }

    /// The one of them that is for a party, or for everybody else.
    pub fn gate_for(&self, gate: &Arc<Gate>, party: Option<usize>) -> Arc<Gate> {
        let beside = self.beside(gate).into_iter().find(|one| one.party == party);
        // Each cluster has one for each party.
        beside.unwrap_or_else(|| Arc::clone(gate))
    }

    /// Whether two gates, by their places in the list, are before one cluster.
    pub fn are_beside(&self, one: usize, other: usize) -> bool {
        let of_each = 1 + self.parties;
        one / of_each == other / of_each
    }

    /// The gates of all whom it concerns that what a scope leads to is elsewhere.
    fn of_all_concerned(&self, scope: &Scope, gate: &Arc<Gate>) -> Vec<Arc<Gate>> {
        match scope {
            Scope::Users(_) => vec![Arc::clone(gate)],
            // Any client of the cluster may use it.
            Scope::Everything | Scope::Schemas(_) => self.beside(gate),
        }
    }

    /// The gates that a scope's crossing holds first, and waits for.
    pub fn gates_of(&self, scope: &Scope) -> Vec<Arc<Gate>> {
        self.of_all_concerned(scope, &self.of_scope(scope).gate)
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

    /// Holds the gates of all whom it concerns that a scope goes elsewhere.
    pub fn hold(&self, scope: &Scope) {
        let mut holds = lock(&self.holds);
        if holds.contains_key(scope) {
            return self.stir();
        }
        let gates = self.gates_of(scope);
        gates.iter().for_each(|gate| gate.hold());
        holds.insert(scope.clone(), gates);
    }

    /// Releases what was held for a scope.
    pub fn release(&self, scope: &Scope) {
        let held = lock(&self.holds).remove(scope);
        held.unwrap_or_default().iter().for_each(|gate| gate.release());
    }

    /// Sends later commands of a scope elsewhere. The gates of all whom it concerns before the next cluster are held too, until the
    /// release: somebody who was not held here would be there before the crossing has opened it.
    ///
    /// # Errors
    /// [`DoorError::NotDrained`] if the gates it concerns are not held for this scope and drained, or the epoch is not a later
    /// one.
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
        let Some(held) = holds.get_mut(scope) else { return Err(refused) };
        let concerned = self.of_all_concerned(scope, &now.gate);
        let ready = |gate: &Arc<Gate>| held.iter().any(|one| Arc::ptr_eq(one, gate)) && gate.is_drained();
        if !concerned.iter().all(ready) || epoch <= now.epoch {
            return Err(refused);
        }
        let gate = self.gate_for(&self.gate_of(&next), now.gate.party);
        if !Arc::ptr_eq(&gate, &now.gate) {
            let there = self.of_all_concerned(scope, &gate);
            there.iter().for_each(|gate| gate.hold());
            held.extend(there);
        }
        let mut changed = Table::clone(&table);
        changed.version += 1;
        let to = Entry { gate, epoch };
        let here = |entry: &Entry| entry.gate.is_beside(&now.gate);
        match scope {
            Scope::Everything => {
                for entry in changed.schemas.values_mut().chain(&mut changed.parties).filter(|e| here(e)) {
                    entry.gate = self.gate_for(&to.gate, entry.gate.party);
                }
                changed.writer = to;
            }
            Scope::Users(party) => {
                if let Some(entry) = changed.parties.get_mut(*party) {
                    *entry = to;
                }
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
