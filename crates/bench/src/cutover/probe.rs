//! A client that writes all the time, and, refused or cut off, connects and tries again at once: what it waits for one write to
//! be accepted is the same thing whoever switches, and however.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysql::{ConnectOptions, Connection};
use tokio::task::JoinHandle;

use crate::{Result, failed};

/// Between two writes, and between two tries of one.
const PAUSE: Duration = Duration::from_millis(2);

/// A write: when it was first tried, and when it was accepted.
pub(super) type Write = (Instant, Instant);

pub(super) struct Probe {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Write>>,
}

impl Probe {
    pub async fn start(at: ConnectOptions) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(write(at, Arc::clone(&stop)));
        Self { stop, task }
    }

    pub async fn stop(self) -> Result<Vec<Write>> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.map_err(|e| failed("probe", e))
    }
}

async fn write(at: ConnectOptions, stop: Arc<AtomicBool>) -> Vec<Write> {
    let mut accepted = Vec::new();
    let mut open: Option<Connection> = None;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => match Connection::connect(&at).await {
                    Ok(connection) => connection,
                    Err(_) => {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
            };
            if connection.execute("UPDATE probe SET n = n + 1 WHERE id = 1").await.is_ok() {
                accepted.push((began, Instant::now()));
                open = Some(connection);
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
    accepted
}

/// The longest that a write under way at some time between two moments took, in seconds.
pub(super) fn longest(writes: &[Write], from: Instant, to: Instant) -> f64 {
    let under_way = writes.iter().filter(|(began, ended)| *ended >= from && *began <= to);
    under_way.map(|(began, ended)| (*ended - *began).as_secs_f64()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_counts_where_it_overlaps() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let writes = [(at(0), at(10)), (at(20), at(60)), (at(70), at(75))];
        assert_eq!(longest(&writes, at(30), at(40)), 0.04);
        assert_eq!(longest(&writes, at(61), at(100)), 0.005);
        assert_eq!(longest(&writes, at(90), at(100)), 0.0);
    }
}
