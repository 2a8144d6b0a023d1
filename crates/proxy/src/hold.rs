//! The gate that every command passes, and that holds them all while the writer changes.
//!
//! # Exactness
//! Promise: from the moment a drain succeeds until the gate is released, no byte of a command goes to the old backend.
//! A session is *inside* from before the first byte of a command goes out until its answer is complete, or, if that
//! answer leaves a transaction open, until the transaction ends. Entering is: count yourself in, **then** look
//! whether the gate is held; if it is, count yourself out again and wait. Holding is: mark held, **then** look at
//! the counts. All four are sequentially consistent, so for each entry one of two orders holds. If the count came
//! before the drain's look at it, the drain sees it and waits. If it came after, the mark came before too, so the entry
//! sees the mark and backs out without sending anything. Counts are per thread, to share no cache line; while the gate
//! is held a count that once was zero rises only for entries that back out, so to have seen each at zero
//! once is enough. The epoch changes only while the gate is held and drained, when nobody is inside.
//!
//! A command whose client vanished was sent, and may still run on the server when its session is gone: fencing the
//! server is what ends those, not the gate.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::Backend;
use crate::pool::Pool;

/// Where commands go.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// The writer.
    pub writer: Arc<Backend>,
    /// How often it has changed.
    pub epoch: u64,
    /// The connections to it that clients share.
    pub pool: Arc<Pool>,
}

/// Who is inside, on one thread; alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Shard {
    inside: AtomicUsize,
    /// Commands taken from clients.
    pub commands: AtomicU64,
}

/// The gate.
#[derive(Debug)]
pub(crate) struct Gate {
    held: AtomicBool,
    drained: AtomicBool,
    epoch: AtomicU64,
    shards: Box<[Shard]>,
    route: Mutex<Route>,
    /// The pool of a writer to come, with what was opened ahead.
    next: Mutex<Option<(Backend, Arc<Pool>)>>,
    backends_max: AtomicUsize,
    /// Somebody left while the gate was held.
    left: Notify,
    /// Counts holds, switches and releases, so that everybody who waits looks again.
    turns: watch::Sender<u64>,
}

impl Gate {
    /// An open gate to this writer.
    pub fn new(writer: Backend, threads: usize, backends_max: usize) -> Self {
        let pool = Arc::new(Pool::new(backends_max, threads));
        Self {
            held: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            shards: (0..threads).map(|_| Shard::default()).collect(),
            route: Mutex::new(Route { writer: Arc::new(writer), epoch: 0, pool }),
            next: Mutex::default(),
            backends_max: AtomicUsize::new(backends_max),
            left: Notify::new(),
            turns: watch::Sender::new(0),
        }
    }

    /// Whether commands are held.
    pub fn held(&self) -> bool {
        self.held.load(SeqCst)
    }

    /// How often the writer has changed. Constant for whoever is inside.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(SeqCst)
    }

    /// The writer.
    pub fn route(&self) -> Route {
        self.lock_route().clone()
    }

    fn lock_route(&self) -> MutexGuard<'_, Route> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts of each thread.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// To be woken at every hold, switch and release.
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    /// Holds everybody who is not inside.
    pub fn hold(&self) {
        self.drained.store(false, SeqCst);
        self.held.store(true, SeqCst);
        self.turns.send_modify(|n| *n += 1);
    }

    /// Lets everybody in again.
    pub fn release(&self) {
        self.drained.store(false, SeqCst);
        self.held.store(false, SeqCst);
        self.turns.send_modify(|n| *n += 1);
    }

    /// Has every session look at the gate again.
    pub fn stir(&self) {
        self.turns.send_modify(|n| *n += 1);
    }

    /// Waits until nobody is inside; `false` if that takes longer than `deadline`. The gate must be held.
    pub async fn drained(&self, deadline: Duration) -> bool {
        let all_out = async {
            loop {
                let mut left = std::pin::pin!(self.left.notified());
                left.as_mut().enable();
                if self.shards.iter().all(|s| s.inside.load(SeqCst) == 0) {
                    return;
                }
                left.await;
            }
        };
        tokio::time::timeout(deadline, all_out).await.is_ok()
    }

    /// The drain succeeded, and nothing forbids the switch.
    pub fn set_drained(&self) {
        self.drained.store(self.held(), SeqCst);
    }

    /// Sends later commands elsewhere; `false` if the gate is not held and drained, or the epoch is not a later one.
    pub fn switch(&self, next: Backend, epoch: u64) -> bool {
        let mut route = self.lock_route();
        if !self.held() || !self.drained.load(SeqCst) || epoch <= route.epoch {
            return false;
        }
        let pool = self.next_pool(&next);
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *route = Route { writer: Arc::new(next), epoch, pool };
        self.epoch.store(epoch, SeqCst);
        true
    }

    /// The pool that this server will have if it becomes the writer.
    pub fn next_pool(&self, next: &Backend) -> Arc<Pool> {
        let mut prepared = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        match &*prepared {
            Some((backend, pool)) if backend == next => Arc::clone(pool),
            _ => {
                let pool = Arc::new(Pool::new(self.backends_max.load(SeqCst), self.shards.len()));
                *prepared = Some((next.clone(), Arc::clone(&pool)));
                pool
            }
        }
    }

    /// Changes how many connections to a writer clients share at most.
    pub fn set_backends_max(&self, max: usize) {
        self.backends_max.store(max, SeqCst);
        if let Some((_, pool)) = &*self.next.lock().unwrap_or_else(PoisonError::into_inner) {
            pool.set_max(max);
        }
        self.route().pool.set_max(max);
    }

    fn leave(&self, shard: usize) {
        self.shards[shard].inside.fetch_sub(1, SeqCst);
        if self.held() {
            self.left.notify_waiters();
        }
    }
}

/// A thread's way to the gate.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The gate.
    pub gate: Arc<Gate>,
    /// Which of its shards is this thread's.
    pub shard: usize,
    /// The route as this thread saw it last.
    route: RefCell<Route>,
}

/// Proof that its holder is inside; dropped, it is out.
#[derive(Debug)]
pub(crate) struct Pass(Rc<Lane>);

impl Lane {
    /// A thread's way to the gate.
    pub fn new(gate: Arc<Gate>, shard: usize) -> Self {
        let route = RefCell::new(gate.route());
        Self { gate, shard, route }
    }

    /// The connections to the writer that clients share.
    pub fn pool(&self) -> Arc<Pool> {
        let mut route = self.route.borrow_mut();
        if route.epoch != self.gate.epoch() {
            *route = self.gate.route();
        }
        Arc::clone(&route.pool)
    }

    /// Enters, unless the gate is held.
    pub fn enter(self: &Rc<Self>) -> Option<Pass> {
        self.gate.shards[self.shard].inside.fetch_add(1, SeqCst);
        let pass = Pass(Rc::clone(self));
        // Dropping the pass counts us out.
        (!self.gate.held()).then_some(pass)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.gate.leave(self.0.shard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend() -> Backend {
        let (server_key, tls) = (mysql::ServerKey::default(), mysql::Tls::default());
        Backend { id: "a".into(), host: "127.0.0.1".into(), port: 1, server_key, tls }
    }

    fn inside(gate: &Gate) -> usize {
        gate.shards.iter().map(|s| s.inside.load(SeqCst)).sum()
    }

    fn gate() -> Rc<Lane> {
        Rc::new(Lane::new(Arc::new(Gate::new(backend(), 1, 10)), 0))
    }

    #[test]
    fn who_is_inside_when_the_gate_is_held_stays_and_others_wait() {
        let lane = gate();
        let pass = lane.enter().unwrap();
        lane.gate.hold();
        assert!(lane.enter().is_none());
        assert_eq!(inside(&lane.gate), 1);
        drop(pass);
        assert_eq!(inside(&lane.gate), 0);
        lane.gate.release();
        assert!(lane.enter().is_some());
    }

    #[test]
    fn only_a_held_and_drained_gate_switches_and_only_forward() {
        let lane = gate();
        lane.gate.set_drained();
        assert!(!lane.gate.switch(backend(), 1));
        lane.gate.hold();
        assert!(!lane.gate.switch(backend(), 1));
        lane.gate.set_drained();
        assert!(lane.gate.switch(backend(), 1));
        assert!(!lane.gate.switch(backend(), 1));
        assert_eq!(lane.gate.epoch(), 1);
    }

    #[test]
    fn nothing_is_sent_between_drain_and_release() {
        let gate = Arc::new(Gate::new(backend(), 2, 10));
        let (quiet, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let sent: Arc<[AtomicU64; 2]> = Arc::default();
        let senders: Vec<_> = (0..2)
            .map(|shard| {
                let (gate, quiet, stop) = (Arc::clone(&gate), Arc::clone(&quiet), Arc::clone(&stop));
                let sent = Arc::clone(&sent);
                std::thread::spawn(move || {
                    let lane = Rc::new(Lane::new(gate, shard));
                    while !stop.load(SeqCst) {
                        if let Some(_inside) = lane.enter() {
                            assert!(!quiet.load(SeqCst), "sent while the gate was drained");
                            sent[shard].fetch_add(1, SeqCst);
                        }
                    }
                })
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for round in 0..100 {
            gate.hold();
            assert!(runtime.block_on(gate.drained(Duration::from_secs(10))));
            quiet.store(true, SeqCst);
            std::thread::yield_now();
            quiet.store(false, SeqCst);
            gate.release();
            let before = sent[round % 2].load(SeqCst);
            while sent[round % 2].load(SeqCst) == before && senders.iter().all(|s| !s.is_finished()) {
                std::thread::yield_now();
            }
        }
        stop.store(true, SeqCst);
        for sender in senders {
            sender.join().unwrap();
        }
    }
}
