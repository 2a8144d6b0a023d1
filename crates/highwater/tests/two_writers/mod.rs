//! Two applications that go past the front door: an account without privileges writes straight to each of two servers, all
//! the time. What a server accepted, and when, is remembered: no two may accept at the same time, and nothing accepted may be
//! missing in the end.

#![allow(dead_code, clippy::unwrap_used, reason = "a test ends where it fails")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mysql::{ConnectOptions, Connection};
use tokio::task::JoinHandle;

/// Between two tries: many in the few milliseconds in which a crossing could let both in.
const PAUSE: Duration = Duration::from_millis(1);
/// A try that has no answer by then is given up; its row may be there or not.
const PATIENCE: Duration = Duration::from_secs(2);

/// The table they write to, which must be among those that move.
pub const TABLE: &str = "CREATE TABLE shop.beside (id BIGINT PRIMARY KEY, server INT NOT NULL)";

/// A write that a server accepted.
#[derive(Debug, Clone, Copy)]
pub struct Accepted {
    pub server: usize,
    pub id: u64,
    pub began: Instant,
    pub ended: Instant,
}

pub struct TwoWriters {
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<Accepted>>>,
    /// Writes that each server has answered, refused ones too.
    answered: Arc<[AtomicU64; 2]>,
    tasks: Vec<JoinHandle<()>>,
}

impl TwoWriters {
    pub fn start(servers: [ConnectOptions; 2]) -> Self {
        let (stop, accepted, answered) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::default());
        let tasks = servers.into_iter().enumerate();
        let tasks = tasks
            .map(|(server, at)| {
                tokio::spawn(write(
                    server,
                    at,
                    Arc::clone(&stop),
                    Arc::clone(&accepted),
                    Arc::clone(&answered),
                ))
            })
            .collect();
        Self { stop, accepted, answered, tasks }
    }

    /// What was accepted until now, in order of the answers.
    pub fn so_far(&self) -> Vec<Accepted> {
        self.accepted.lock().unwrap().clone()
    }

    /// Waits until a server has accepted a write that began after now.
    pub async fn wait_for(&self, server: usize, within: Duration) {
        let now = Instant::now();
        while !self.so_far().iter().any(|a| a.server == server && a.began > now) {
            assert!(now.elapsed() < within, "server {server} accepts no write of the application");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until a server has answered so many more writes, one way or the other.
    pub async fn tries(&self, server: usize, more: u64, within: Duration) {
        let (now, before) = (Instant::now(), self.answered[server].load(Ordering::Relaxed));
        while self.answered[server].load(Ordering::Relaxed) < before + more {
            assert!(now.elapsed() < within, "server {server} does not answer the application");
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub async fn stop(self) -> Vec<Accepted> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        Arc::into_inner(self.accepted).unwrap().into_inner().unwrap()
    }
}

async fn write(
    server: usize,
    at: ConnectOptions,
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<Accepted>>>,
    answered: Arc<[AtomicU64; 2]>,
) {
    let mut open: Option<Connection> = None;
    let mut id = (server as u64 + 1) << 40;
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(PAUSE).await;
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => match Connection::connect(&at).await {
                Ok(connection) => connection,
                Err(_) => continue,
            },
        };
        id += 1;
        let sql = format!("INSERT INTO beside VALUES ({id}, {server})");
        let began = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, connection.execute(sql)).await;
        if matches!(answer, Ok(Ok(_) | Err(mysql::Error::Server(_)))) {
            answered[server].fetch_add(1, Ordering::Relaxed);
        }
        match answer {
            Ok(Ok(_)) => {
                accepted.lock().unwrap().push(Accepted { server, id, began, ended: Instant::now() });
                open = Some(connection);
            }
            // Refused; the connection goes on unless it was cut.
            Ok(Err(mysql::Error::Server(refused))) if refused.code == 1290 => open = Some(connection),
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Panics if the two servers accepted anything at the same time in a stretch in which the writer changed from one to the other
/// once, or not at all.
pub fn assert_one_at_a_time(accepted: &[Accepted], (from, to): (usize, usize)) {
    let stranger = accepted.iter().find(|a| a.server != from && a.server != to);
    assert!(stranger.is_none(), "a server that was not to be written to accepted {stranger:?}");
    if from == to {
        return;
    }
    let last = accepted.iter().filter(|a| a.server == from).map(|a| a.began).max();
    let first = accepted.iter().filter(|a| a.server == to).map(|a| a.ended).min();
    if let (Some(last), Some(first)) = (last, first) {
        assert!(
            last < first,
            "server {from} still accepted a write {:?} after server {to} had accepted one",
            last - first
        );
    }
}

/// Panics if a write that was accepted is not on this server.
pub async fn assert_all_on(server: &mut Connection, accepted: &[Accepted]) {
    let rows = server.rows("SELECT id FROM shop.beside").await.unwrap();
    let there: std::collections::BTreeSet<u64> = rows.iter().map(|r| r.number(0).unwrap()).collect();
    let missing: Vec<_> = accepted.iter().filter(|a| !there.contains(&a.id)).collect();
    assert!(missing.is_empty(), "{} accepted writes are gone, the first {:?}", missing.len(), missing[0]);
}
