//! A gate before a cluster, which every command of those it is for passes, and which holds them while what they use goes elsewhere.
//!
//! A cluster has one for each party of accounts that goes by itself, and one for all others; which of them is a client's is said by
//! its account alone. Who closes the cluster closes all of them. The shared connections behind them are the same.
//!
//! # Exactness
//! Promise: from the moment a drain succeeds until the gate is released, no byte of a command that has to pass it goes to its cluster.
//! (A goodbye to a shared connection that is idle is nobody's command.)
//! A session is *inside* from before the first byte of a command goes out until its answer is complete, or, if that
//! answer leaves a transaction open, until the transaction ends. Entering is: count yourself in, **then** look
//! whether the gate is held; if it is, count yourself out again and wait. Holding is: mark held, **then** look at
//! the counts. All four are sequentially consistent, so for each entry one of two orders holds. If the count came
//! before the drain's look at it, the drain sees it and waits. If it came after, the mark came before too, so the entry
//! sees the mark and backs out without sending anything. Counts are per thread, to share no cache line; while the gate
//! is held a count that once was zero rises only for entries that back out, so to have seen each at zero
//! once is enough.
//!
//! Which cluster serves what is said by the table of [`crate::gate::routes`]. What it sends to a cluster is sent elsewhere only
//! while the gates of all whom it concerns are held and drained, when nobody is inside: a schema's, or everything, all those of
//! its cluster; a party's accounts, that of the party. So whoever is inside, and has looked at the table since it entered, is where the
//! table says until it leaves.
//!
//! A command whose client vanished was sent, and may still run on the server when its session is gone: fencing the
//! server is what ends those, not the gate.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

use tokio::sync::{Notify, watch};

use crate::Backend;
use crate::backend::pool::Pool;

/// Who is inside, on one thread; alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Shard {
    inside: AtomicUsize,
    /// Commands taken from clients.
    pub commands: AtomicU64,
}

/// A cluster and a gate before it.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Its place in the list of gates.
    pub index: usize,
    /// Whose it is: a party of accounts'; `None`: everybody else's.
    pub party: Option<usize>,
    /// The cluster's writer.
    pub backend: Arc<Backend>,
    /// The connections to it that clients share.
    pub pool: Arc<Pool>,
    /// How many hold it: moves may cross at the same time.
    held: AtomicUsize,
    drained: AtomicBool,
    shards: Box<[Shard]>,
    /// Somebody left while the gate was held.
    left: Notify,
    /// Counts holds, switches and releases of all gates, so that everybody who waits looks again.
    turns: Arc<watch::Sender<u64>>,
}

impl Gate {
    /// An open gate to this cluster, for whoever is of no party.
    pub fn new(
        (index, backend): (usize, Backend),
        threads: usize,
        backends_max: usize,
        turns: Arc<watch::Sender<u64>>,
    ) -> Self {
        let pool = Arc::new(Pool::new(backends_max, threads));
        Self::with(index, None, (Arc::new(backend), pool), threads, turns)
    }

    /// Another one to the same cluster.
    pub fn for_party(&self, index: usize, party: usize) -> Self {
        let cluster = (Arc::clone(&self.backend), Arc::clone(&self.pool));
        Self::with(index, Some(party), cluster, self.shards.len(), Arc::clone(&self.turns))
    }

    fn with(
        index: usize,
        party: Option<usize>,
        (backend, pool): (Arc<Backend>, Arc<Pool>),
        threads: usize,
        turns: Arc<watch::Sender<u64>>,
    ) -> Self {
        Self {
            index,
            party,
            backend,
            pool,
            held: AtomicUsize::new(0),
            drained: AtomicBool::new(false),
            shards: (0..threads).map(|_| Shard::default()).collect(),
            left: Notify::new(),
            turns,
        }
    }

    /// Whether both are before the same cluster.
    pub fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.backend, &other.backend)
    }

    /// Whether commands are held.
    pub fn held(&self) -> bool {
        self.held.load(SeqCst) > 0
    }

    /// The counts of each thread.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// To be woken at every hold, switch and release.
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    /// Holds everybody who is not inside, until as many releases.
    pub fn hold(&self) {
        if self.held.fetch_add(1, SeqCst) == 0 {
            self.drained.store(false, SeqCst);
        }
        self.stir();
    }

    /// Lets everybody in again, unless others hold the gate too.
    pub fn release(&self) {
        if self.held.fetch_sub(1, SeqCst) == 1 {
            self.drained.store(false, SeqCst);
        }
        self.stir();
    }

    /// Has every session look at its gate again.
    pub fn stir(&self) {
        self.turns.send_modify(|n| *n += 1);
    }

    /// Waits until nobody is inside. The gate must be held.
    pub async fn drained(&self) {
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            left.as_mut().enable();
            if self.shards.iter().all(|s| s.inside.load(SeqCst) == 0) {
                return;
            }
            left.await;
        }
    }

    /// The drain succeeded, and nothing forbids the switch.
    pub fn set_drained(&self) {
        self.drained.store(self.held(), SeqCst);
    }

    /// Whether whoever passes it may be sent elsewhere: the gate is held, and since then nobody was inside.
    pub fn is_drained(&self) -> bool {
        self.held() && self.drained.load(SeqCst)
    }

    fn leave(&self, shard: usize) {
        self.shards[shard].inside.fetch_sub(1, SeqCst);
        if self.held() {
            self.left.notify_waiters();
        }
    }
}

/// A thread's way to a gate.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The gate.
    pub gate: Arc<Gate>,
    /// Which of its shards is this thread's.
    pub shard: usize,
}

/// Proof that its holder is inside; dropped, it is out.
#[derive(Debug)]
pub(crate) struct Pass(Rc<Lane>);

impl Lane {
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
    use std::time::Duration;

    use super::*;

    fn backend() -> Backend {
        let (server_key, tls) = (mysql::ServerKey::default(), mysql::Tls::default());
        Backend { id: "a".into(), host: "127.0.0.1".into(), port: 1, server_key, tls }
    }

    fn inside(gate: &Gate) -> usize {
        gate.shards.iter().map(|s| s.inside.load(SeqCst)).sum()
    }

    fn new_gate(threads: usize) -> Arc<Gate> {
        Arc::new(Gate::new((0, backend()), threads, 10, Arc::default()))
    }

    fn gate() -> Rc<Lane> {
        Rc::new(Lane { gate: new_gate(1), shard: 0 })
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
    fn a_gate_that_two_hold_stays_held_and_drained_until_both_release() {
        let lane = gate();
        lane.gate.set_drained();
        assert!(!lane.gate.is_drained());
        lane.gate.hold();
        assert!(!lane.gate.is_drained());
        lane.gate.set_drained();
        lane.gate.hold();
        lane.gate.release();
        assert!(lane.gate.is_drained() && lane.enter().is_none());
        lane.gate.release();
        assert!(!lane.gate.is_drained() && lane.enter().is_some());
        lane.gate.hold();
        assert!(!lane.gate.is_drained());
    }

    #[test]
    fn nothing_is_sent_between_drain_and_release() {
        let gate = new_gate(2);
        let (quiet, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let sent: Arc<[AtomicU64; 2]> = Arc::default();
        let senders: Vec<_> = (0..2)
            .map(|shard| {
                let (gate, quiet, stop) = (Arc::clone(&gate), Arc::clone(&quiet), Arc::clone(&stop));
                let sent = Arc::clone(&sent);
                std::thread::spawn(move || {
                    let lane = Rc::new(Lane { gate, shard });
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
            runtime
                .block_on(async { tokio::time::timeout(Duration::from_secs(10), gate.drained()).await })
                .unwrap();
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
