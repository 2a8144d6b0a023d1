//! The source's own clients: each reads and writes with pauses, and how long every statement took is taken down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mysql::{ConnectOptions, Password};
use sandbox::Node;

use crate::source::SBTEST;
use crate::sql::Sql;
use crate::{Result, failed};

/// What they do, for the report.
pub const SETTINGS: &str = "6 clients, each 5 to 25 ms after the last: a transaction of a row read by key, a sum over 50 rows, \
                            an indexed column changed by key, and its commit; of one of the moved tables";
const CLIENTS: u64 = 6;
/// The copy leaves its own account's statements out of what it takes for the source's latency, so they need another one.
const USER: &str = "client";
const PASSWORD: &str = "client-secret";
/// Multiples of it, a prime near 2^64 over the golden ratio, lie evenly spread however many there are.
const SPREAD: u64 = 11_400_714_819_323_198_549;

/// The clients, at work until they are stopped.
pub struct Clients {
    /// Milliseconds.
    took: Arc<Mutex<Vec<f64>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Clients {
    /// Makes their account, and lets them begin on a table that has so many rows.
    pub fn start(source: &Node, rows: u64) -> Result<Self> {
        let mut admin = Sql::on(source)?;
        admin.execute(&format!("CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'"))?;
        admin.execute(&format!("GRANT ALL ON {SBTEST}.* TO '{USER}'@'%'"))?;
        let account = ConnectOptions::new("127.0.0.1", source.port(), USER, Password::new(PASSWORD));
        let (took, stop) = (Arc::default(), Arc::default());
        let mut clients = Self { took, stop, threads: Vec::new() };
        for number in 0..CLIENTS {
            let sql = Sql::with("source", &account)?;
            let (took, stop) = (Arc::clone(&clients.took), Arc::clone(&clients.stop));
            clients.threads.push(thread::spawn(move || work(sql, number, rows, &took, &stop)));
        }
        Ok(clients)
    }

    /// How long each statement took since this was last asked.
    pub fn taken(&self) -> Vec<f64> {
        std::mem::take(&mut *self.took.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets them end.
    ///
    /// # Errors
    /// The first statement that failed.
    pub fn stop(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(failed("run the source's clients", "one has panicked")))
        })
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // Whoever asked them to stop was told.
        let _ = self.stop();
    }
}

fn work(mut sql: Sql, number: u64, rows: u64, took: &Mutex<Vec<f64>>, stop: &AtomicBool) -> Result<()> {
    let mut step = number << 40;
    while !stop.load(Ordering::Relaxed) {
        step += 1;
        let chosen = step.wrapping_mul(SPREAD) >> 16;
        let id = chosen % rows + 1;
        let statements = [
            "START TRANSACTION".to_owned(),
            format!("SELECT c, pad FROM {SBTEST}.sbtest1 WHERE id = {id}"),
            format!("SELECT SUM(k) FROM {SBTEST}.sbtest1 WHERE id BETWEEN {id} AND {}", id + 49),
            format!("UPDATE {SBTEST}.sbtest1 SET k = k + 1 WHERE id = {id}"),
            "COMMIT".to_owned(),
        ];
        for statement in statements {
            let begun = Instant::now();
            if statement.starts_with("SELECT") {
                sql.rows(&statement)?;
            } else {
                sql.execute(&statement)?;
            }
            let ms = begun.elapsed().as_secs_f64() * 1e3;
            took.lock().unwrap_or_else(PoisonError::into_inner).push(ms);
        }
        thread::sleep(Duration::from_micros(5_000 + chosen % 20_000));
    }
    Ok(())
}
