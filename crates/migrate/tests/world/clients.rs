//! Clients whose every acknowledged write must survive, and the gate that holds them.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use migrate::cutover::{Home, TrafficGate};
use model::Trouble;
use mysql::{ConnectOptions, Connection};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

/// A gate around writers in this process: each holds a read lock while in a transaction.
pub struct LockGate {
    pub home: Arc<RwLock<Home>>,
    held: Mutex<Option<OwnedRwLockWriteGuard<Home>>>,
}

impl LockGate {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { home: Arc::new(RwLock::new(Home::Old)), held: Mutex::new(None) })
    }
}

impl TrafficGate for LockGate {
    async fn warm(&self, _to: Home) -> Result<(), Trouble> {
        Ok(())
    }
    fn hold(&self) {}
    async fn drain(&self, deadline: Duration) -> Result<(), Trouble> {
        let lock = tokio::time::timeout(deadline, Arc::clone(&self.home).write_owned()).await;
        let guard = lock.map_err(|_| Trouble::new("a transaction is open", "held", "end it"))?;
        *self.held.lock().unwrap() = Some(guard);
        Ok(())
    }
    fn switch(&self, to: Home, _epoch: u64) {
        if let Some(home) = self.held.lock().unwrap().as_mut() {
            **home = to;
        } else {
            *self.home.try_write().expect("nobody is in a transaction when a move starts") = to;
        }
    }
    fn release(&self) {
        self.held.lock().unwrap().take();
    }
}

pub struct Clients {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Vec<i64>>>,
}

impl Clients {
    pub fn start(gate: &Arc<LockGate>, old: ConnectOptions, new: ConnectOptions) -> Self {
        static NEXT: AtomicI64 = AtomicI64::new(1);
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..4)
            .map(|_| {
                let (gate, stop, old, new) = (Arc::clone(gate), Arc::clone(&stop), old.clone(), new.clone());
                tokio::spawn(async move {
                    let mut acknowledged = Vec::new();
                    let mut connection: Option<(Home, Connection)> = None;
                    while !stop.load(Ordering::Relaxed) {
                        let home = gate.home.read().await;
                        if connection.as_ref().is_none_or(|(at, _)| at != &*home) {
                            let options = if *home == Home::Old { &old } else { &new };
                            connection = Some((*home, Connection::connect(options).await.unwrap()));
                        }
                        let id = NEXT.fetch_add(1, Ordering::Relaxed);
                        let sql = format!(
                            "START TRANSACTION; INSERT INTO app.empty_one VALUES ({id}); \
                             UPDATE app.account SET balance = balance + 1 WHERE id = {}; COMMIT",
                            1 + id % 50
                        );
                        let (_, server) = connection.as_mut().unwrap();
                        server.query_all(&sql).await.expect("no statement fails across a switch");
                        acknowledged.push(id);
                    }
                    acknowledged
                })
            })
            .collect();
        Self { stop, tasks }
    }

    pub async fn stop(self) -> Vec<i64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in self.tasks {
            all.extend(task.await.unwrap());
        }
        all.sort_unstable();
        all
    }
}
