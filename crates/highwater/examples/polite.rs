//! What a copy does to the latency of the source's own clients: before, with no throttle, and with it.
//!
//! `make bench-polite`. Source, target, clients and copy share this machine, so what is measured includes the target's
//! work for the same cores, which a throttle of the source's readers cannot see apart.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement ends where it fails, and prints")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use migrate::throttle::{PaceLimits, Pulse, PulseOptions, Throttle};
use migrate::{CopyOptions, MoveSpec, Mover, MoverOptions, Start, TablePattern};
use mysql::{ConnectOptions, Connection, Password};
use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Mysqld, Node, NodeOptions, SHOP_PASSWORD, SHOP_USER};

const ROWS: u64 = 1_000_000;
const CLIENTS: u64 = 6;
const READERS: usize = 3;

fn account(node: &Node, user: &str, password: &str) -> ConnectOptions {
    ConnectOptions::new("127.0.0.1", node.port(), user, Password::new(password))
}

/// Clients that read and write, with pauses; every statement's latency is kept.
struct Clients {
    latencies: Arc<Mutex<Vec<u32>>>,
    stop: Arc<AtomicBool>,
}

impl Clients {
    fn start(options: &ConnectOptions) -> Self {
        let this = Self { latencies: Arc::default(), stop: Arc::default() };
        for n in 0..CLIENTS {
            let (latencies, stop, options) = (this.latencies.clone(), this.stop.clone(), options.clone());
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(n);
                let mut connection = Connection::connect(&options).await.unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let id = random.u64(1..=ROWS);
                    let statements = [
                        "START TRANSACTION".to_owned(),
                        format!("SELECT v, pad FROM shop.item WHERE id = {id}"),
                        format!("SELECT SUM(v) FROM shop.item WHERE id BETWEEN {id} AND {}", id + 50),
                        format!("UPDATE shop.item SET v = v + 1 WHERE id = {id}"),
                        "COMMIT".to_owned(),
                    ];
                    for sql in statements {
                        let began = Instant::now();
                        connection.query(&sql).await.unwrap();
                        let took = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
                        latencies.lock().unwrap().push(took);
                    }
                    tokio::time::sleep(Duration::from_millis(random.u64(5..25))).await;
                }
            });
        }
        this
    }

    /// Statements a second, median and 99th percentile of a stretch, in milliseconds.
    async fn watch(&self, name: &str, stretch: Duration) -> f64 {
        self.latencies.lock().unwrap().clear();
        tokio::time::sleep(stretch).await;
        let mut seen = std::mem::take(&mut *self.latencies.lock().unwrap());
        seen.sort_unstable();
        let at = |p: f64| f64::from(seen[((seen.len() - 1) as f64 * p) as usize]) / 1e3;
        let mean = seen.iter().map(|us| f64::from(*us)).sum::<f64>() / seen.len() as f64 / 1e3;
        let rate = seen.len() as f64 / stretch.as_secs_f64();
        println!(
            "{name:<28} {rate:>7.0} statements/s   mean {mean:>6.3} ms   p50 {:>6.3} ms   p99 {:>6.3} ms",
            at(0.5),
            at(0.99)
        );
        at(0.99)
    }
}

async fn copy(source: &Node, target: &Node, limits: PaceLimits) -> (Mover, Arc<Throttle>) {
    let (from, to) =
        (account(source, ADMIN_USER, ADMIN_PASSWORD), account(target, ADMIN_USER, ADMIN_PASSWORD));
    let mut there = Connection::connect(&to).await.unwrap();
    there.query_all("DROP DATABASE IF EXISTS shop; DROP DATABASE IF EXISTS highwater").await.unwrap();
    let pulse = Pulse::start(PulseOptions { source: from.clone(), replicas: vec![], limits });
    let throttle = Arc::new(Throttle::new(Some(pulse), READERS, None, Duration::from_millis(200)));
    let tables = vec![TablePattern { schema: "shop".into(), table: None }];
    let start = Start::Copy(CopyOptions {
        readers: READERS,
        chunk_rows: 2_000,
        throttle: Arc::clone(&throttle),
        ..CopyOptions::default()
    });
    let spec = MoveSpec { name: "polite".into(), tables };
    (Mover::start(MoverOptions { spec, source: from, target: to, start }).await.unwrap(), throttle)
}

#[tokio::main]
async fn main() {
    let mysqld = Mysqld::find().unwrap();
    let source = Node::start(&mysqld, NodeOptions::new("old").server_id(1).durable()).unwrap();
    let target = Node::start(&mysqld, NodeOptions::new("new").server_id(2)).unwrap();
    let mut admin = Connection::connect(&account(&source, ADMIN_USER, ADMIN_PASSWORD)).await.unwrap();
    let fill = format!(
        "CREATE DATABASE shop; CREATE TABLE shop.item (id INT PRIMARY KEY, v INT, pad CHAR(120)); \
         SET cte_max_recursion_depth = 100000000; INSERT INTO shop.item \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < {ROWS}) SELECT i, i, SHA2(i, 256) FROM n"
    );
    admin.query_all(fill).await.unwrap();
    let clients = Clients::start(&account(&source, SHOP_USER, SHOP_PASSWORD));
    tokio::time::sleep(Duration::from_secs(5)).await;

    let stretch = Duration::from_secs(12);
    let before = clients.watch("before", stretch).await;
    let none = PaceLimits { latency_rise: None, threads_running: None, replica_lag: None };
    let (mover, _) = copy(&source, &target, none.clone()).await;
    let hard = clients.watch("copy, no throttle", Duration::from_secs(3)).await;
    println!("    {} rows copied in 3 s", mover.progress().rows_copied());
    mover.stop().await;
    drop(mover);
    tokio::time::sleep(Duration::from_secs(3)).await;

    let again = clients.watch("before, again", stretch).await;
    let (mover, throttle) = copy(&source, &target, PaceLimits { latency_rise: Some(0.1), ..none }).await;
    let told = tokio::spawn({
        let (throttle, mover) = (Arc::clone(&throttle), Arc::new(mover));
        let seen = Arc::clone(&mover);
        let telling = async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(3)).await;
                let pace = throttle.pace(seen.progress());
                let reason = pace.reason.unwrap_or_default();
                println!("    {:>8} rows, share {:.3}; {reason}", seen.progress().rows_copied(), pace.share);
            }
        };
        async move {
            telling.await;
            mover
        }
    });
    let polite = clients.watch("copy, throttled", Duration::from_secs(30)).await;
    let mover = told.await.unwrap();
    let pace = throttle.pace(mover.progress());
    println!("    {} rows copied in 30 s; pace at the end {pace:?}", mover.progress().rows_copied());
    let calm = f64::midpoint(before, again);
    println!("p99 against without a copy: no throttle {:.2}, throttled {:.2}", hard / calm, polite / calm);
    clients.stop.store(true, Ordering::Relaxed);
}
