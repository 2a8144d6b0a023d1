//! Writers whose transactions are hard to follow: unique values that change hands, keys that change or only their case,
//! rows deleted and inserted again, several tables at once.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test ends where it fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql::{ConnectOptions, Connection};
use tokio::task::JoinHandle;

/// Keys the writers choose from: few, so that they meet.
const KEYS: u32 = 1_500;

pub struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<(u64, u64)>>,
}

impl Writers {
    pub fn start(source: &ConnectOptions, count: u64, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let writer = |n: u64| {
            let random = fastrand::Rng::with_seed(seed.wrapping_add(n));
            tokio::spawn(write(source.clone(), random, Arc::clone(&stop)))
        };
        Self { tasks: (0..count).map(writer).collect(), stop }
    }

    /// How many transactions they committed, and how many the server refused.
    pub async fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut done, mut refused) = (0, 0);
        for task in self.tasks {
            let (d, r) = task.await.unwrap();
            done += d;
            refused += r;
        }
        (done, refused)
    }
}

async fn write(source: ConnectOptions, mut random: fastrand::Rng, stop: Arc<AtomicBool>) -> (u64, u64) {
    let mut connection = Connection::connect(&source).await.unwrap();
    connection.query_all("USE soak; SET NAMES utf8mb4").await.unwrap();
    let (mut done, mut refused) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let count = if random.bool() { 1 } else { random.usize(2..6) };
        let statements: Vec<String> = (0..count).map(|_| statement(&mut random)).collect();
        let sql = format!("START TRANSACTION; {}; COMMIT", statements.join("; "));
        // Collisions and deadlocks are part of it: the transaction is then as if it had never been.
        match connection.query_all(&sql).await {
            Ok(_) => done += 1,
            Err(error) => {
                assert!(matches!(error.server_code(), Some(1062 | 1205 | 1213)), "{sql}: {error}");
                refused += 1;
                connection.query_all("ROLLBACK").await.unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(random.u64(0..6))).await;
    }
    (done, refused)
}

/// One change, or several that belong together.
fn statement(random: &mut fastrand::Rng) -> String {
    let (x, y) = (random.u32(1..=KEYS), random.u32(1..=KEYS));
    match random.u32(0..18) {
        0 => format!("UPDATE account SET balance = balance + 1, note = 'paid {y}' WHERE id = {x}"),
        1 => swap("account", "slot", &format!("id = {x}"), &format!("id = {y}")),
        2 => format!("DELETE FROM account WHERE id = {x}"),
        3 => format!("INSERT INTO account (id, slot) VALUES ({x}, {y})"),
        4 => format!("DELETE FROM account WHERE id = {x}; INSERT INTO account (id, slot) VALUES ({x}, {y})"),
        // Away to where no other range is, or back.
        5 => format!(
            "UPDATE account SET id = IF(id > 1000000, id - 1000000, id + 1000000) WHERE id % 1000000 = {x}"
        ),
        6 => format!("UPDATE account SET id = {y} WHERE id = {x}"),
        7 => format!("UPDATE account SET slot = -slot WHERE id BETWEEN {x} AND {x} + 8"),
        8 => format!("UPDATE named SET name = UPPER(name), visits = visits + 1 WHERE name = 'n{x}'"),
        9 => format!("UPDATE named SET name = 'ñ{x}' WHERE name = 'N{x}'"),
        10 => format!(
            "DELETE FROM named WHERE name = 'n{x}'; INSERT INTO named (name, code) VALUES ('N{x}', 'C{y}')"
        ),
        11 => format!("DELETE FROM named WHERE name = 'n{x}'"),
        12 => format!(
            "INSERT INTO named (name, code) VALUES ('{}{x}', NULL)",
            if random.bool() { 'n' } else { 'Ñ' }
        ),
        13 => swap("named", "code", &format!("name = 'n{x}'"), &format!("name = 'n{y}'")),
        14 => format!(
            "UPDATE pair SET a = IF(a = BINARY UPPER(a), LOWER(a), CONCAT(UPPER(a), ' ')) WHERE b = {x}"
        ),
        15 => format!(
            "UPDATE pair SET b = IF(b > 1000000, b - 1000000, b + 1000000), v = v * 1.5 WHERE b % 1000000 = {x}"
        ),
        16 => swap(
            "pair",
            "seat",
            &format!("a = 'k{}' AND b = {x}", x % 60),
            &format!("a = 'k{}' AND b = {y}", y % 60),
        ),
        _ => format!(
            "UPDATE account SET balance = balance - 1 WHERE id = {x}; DELETE FROM pair WHERE b = {y}; \
             INSERT INTO pair (a, b, seat) VALUES ('K{}', {y}, NULL); UPDATE named SET visits = visits + 1 WHERE name = 'n{x}'",
            y % 60
        ),
    }
}

/// Two rows swap a unique value, by way of NULL or of a value that nobody has. No order of single updates would do.
fn swap(table: &str, column: &str, one: &str, other: &str) -> String {
    let aside = if table == "account" { "-2000000000 - CAST(CONNECTION_ID() AS SIGNED)" } else { "NULL" };
    format!(
        "SET @one = NULL, @other = NULL; SELECT {column} INTO @one FROM {table} WHERE {one} FOR UPDATE; \
         SELECT {column} INTO @other FROM {table} WHERE {other} FOR UPDATE; \
         SET @both = @one IS NOT NULL AND @other IS NOT NULL AND @one <> @other; \
         UPDATE {table} SET {column} = {aside} WHERE {one} AND @both; \
         UPDATE {table} SET {column} = @one WHERE {other} AND @both; \
         UPDATE {table} SET {column} = @other WHERE {one} AND @both"
    )
}
