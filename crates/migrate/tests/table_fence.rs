//! Single tables of a schema fenced by triggers, on a source whose other tables are written to all the time and move with another move:
//! two applications go past every front door and write straight to both servers; nobody accepts at the same time, and what stays
//! never notices.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../../highwater/tests/two_writers/mod.rs"]
mod two_writers;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use migrate::cutover::{CrossingLog, CutoverOptions, Home, Hooks, How, MoveDriver, Unproven};
use migrate::{CopyOptions, Fence, MoveSpec, TablePattern};
use mysql::{ConnectOptions, Connection, Password};
use sandbox::Node;
use two_writers::TwoWriters;
use world::clients::LockGate;
use world::{World, admin};

/// How long a writer that may write may take to be let in.
const LET_IN: Duration = Duration::from_secs(10);

/// What a trigger's SIGNAL says.
const SIGNALLED: u16 = 1644;

/// Tables that move, of which one has a trigger of the application's that goes along, beside two that stay, and what lets a table be
/// written to without its name.
const SHOP: &str = "CREATE DATABASE shop; CREATE DATABASE besides; USE shop; \
    CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, v INT UNIQUE, CHECK (v > 0)); \
    INSERT INTO orders (v) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i FROM n; \
    CREATE TABLE parts (id INT, v INT NOT NULL, PRIMARY KEY (id)) PARTITION BY HASH (id) PARTITIONS 2; \
    INSERT INTO parts SELECT id, v FROM orders LIMIT 9; \
    CREATE TABLE empty_one (id INT PRIMARY KEY); \
    CREATE TRIGGER counted BEFORE INSERT ON orders FOR EACH ROW SET NEW.v = NEW.v + 1; \
    CREATE TABLE stays (id BIGINT PRIMARY KEY); CREATE TABLE follows_later (id INT PRIMARY KEY); INSERT INTO follows_later VALUES (1); \
    CREATE VIEW besides.seen AS SELECT * FROM shop.orders; \
    CREATE PROCEDURE besides.emptied() DELETE FROM shop.orders";

/// Who writes past the front door, on both servers.
const DIRECT: &str = "SET GLOBAL log_bin_trust_function_creators = ON; \
    CREATE USER direct@'%' IDENTIFIED BY 'direct'; GRANT ALL ON shop.* TO direct@'%'";

fn named(name: &str, tables: &[&str]) -> MoveSpec {
    let table = |table: &&str| TablePattern { schema: "shop".into(), table: Some((*table).to_owned()) };
    MoveSpec { name: name.into(), tables: tables.iter().map(table).collect() }
}

fn direct(node: &Node) -> ConnectOptions {
    let mut options = ConnectOptions::new("127.0.0.1", node.port(), "direct", Password::new("direct"));
    options.schema = Some(b"shop".to_vec());
    options
}

struct Site {
    world: World,
}

impl Site {
    async fn new() -> Self {
        let world = World::new().await;
        let mut source = world.on_source().await;
        source.query_all(DIRECT).await.unwrap();
        world.on_target().await.query_all(DIRECT).await.unwrap();
        source.query_all(SHOP).await.unwrap();
        source.execute(two_writers::TABLE).await.unwrap();
        Self { world }
    }

    async fn start(&self, spec: MoveSpec, hooks: Hooks) -> MoveDriver<LockGate> {
        let clusters = (admin(&self.world.source), admin(&self.world.target));
        let options = CutoverOptions {
            fence: Fence::Tables,
            fence_deadline: Duration::from_secs(1),
            hooks,
            ..CutoverOptions::default()
        };
        let copy = CopyOptions { readers: 2, chunk_rows: 500, ..CopyOptions::default() };
        let journal = self.world.source.dir().join(format!("{}.journal", spec.name));
        MoveDriver::start(spec, clusters, &journal, copy, options, LockGate::new()).await.unwrap()
    }

    async fn driver(&self) -> MoveDriver<LockGate> {
        self.driver_with(Hooks::default()).await
    }

    async fn driver_with(&self, hooks: Hooks) -> MoveDriver<LockGate> {
        self.start(named("shop", &["orders", "parts", "empty_one", "beside"]), hooks).await
    }

    async fn at(&self, server: usize) -> Connection {
        match server {
            0 => self.world.on_source().await,
            _ => self.world.on_target().await,
        }
    }

    /// How many triggers of a fence and of the application's a server has, and which fences of servers and schemas are up.
    async fn fences(&self, server: usize) -> (u64, u64, u64) {
        let sql = "SELECT COUNT(IF(TRIGGER_NAME LIKE 'highwater\\_fence\\_%', 1, NULL)), COUNT(IF(TRIGGER_NAME = 'counted', 1, NULL)), \
                   @@GLOBAL.read_only + @@GLOBAL.super_read_only + (SELECT COUNT(*) FROM information_schema.SCHEMATA_EXTENSIONS \
                   WHERE OPTIONS <> '') FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'shop'";
        let row = self.at(server).await.row(sql).await.unwrap().unwrap();
        (row.number(0).unwrap(), row.number(1).unwrap(), row.number(2).unwrap())
    }
}

/// The four moved tables, closed.
const CLOSED: u64 = 12;

async fn proven(driver: &MoveDriver<LockGate>) {
    world::copied(&driver.mover().unwrap()).await;
    let verdict = driver.verify(2, &|_| ()).await.unwrap();
    assert_eq!(verdict.different, 0, "{:?}", verdict.tables);
}

/// Whoever writes to what does not move; no write of his may fail.
struct Neighbour {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<(u64, Duration)>,
}

impl Neighbour {
    fn start(at: ConnectOptions) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut connection = Connection::connect(&at).await.unwrap();
            let (mut written, mut longest) = (0, Duration::ZERO);
            while !ending.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let sql = format!(
                    "INSERT INTO shop.stays VALUES ({written}); INSERT INTO shop.follows_later VALUES ({})",
                    written + 2
                );
                connection.query_all(sql).await.expect("what does not move is never fenced");
                longest = longest.max(begun.elapsed());
                written += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            (written, longest)
        });
        Self { stop, task }
    }

    async fn stop(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_cross_and_come_back_alone_while_the_rest_of_their_schema_is_written_to() {
    let site = Site::new().await;
    let neighbour = Neighbour::start(admin(&site.world.source));
    let other = site.start(named("later", &["follows_later"]), Hooks::default()).await;
    let driver = site.driver().await;
    proven(&driver).await;
    // Not while rows are copied; from the first crossing on, or the first start after the copy.
    assert_eq!(site.fences(1).await, (0, 0, 0));
    driver.rehearse(Home::New, Unproven::Refuse, &|_| (), &CrossingLog::default()).await.unwrap();
    assert_eq!(site.fences(0).await, (0, 1, 0));
    assert_eq!(site.fences(1).await, (CLOSED, 0, 0));
    let writers = TwoWriters::start([direct(&site.world.source), direct(&site.world.target)]);

    let mut home = 0;
    for to in [Home::New, Home::Old, Home::New] {
        writers.wait_for(home, LET_IN).await;
        let seen = writers.so_far().len();
        let report = driver.cross(to, Unproven::Refuse, &|_| ()).await.unwrap();
        println!("{to:?}: held {:.1} ms, {:?}", report.held_ms, report.phases);
        let now = 1 - home;
        writers.wait_for(now, LET_IN).await;
        two_writers::assert_one_at_a_time(&writers.so_far()[seen..], (home, now));
        assert_eq!(site.fences(now).await, (0, 1, 0), "the side that serves");
        assert_eq!(site.fences(home).await, (CLOSED, 0, 0), "the side that follows");
        home = now;
    }

    // A transaction that reads is in the way, by name, and ended if so wished; what does not move is in nobody's way.
    let mut stays = site.at(1).await;
    let sql = "CREATE TABLE shop.t (id INT PRIMARY KEY); START TRANSACTION; INSERT INTO shop.t VALUES (1)";
    stays.query_all(sql).await.unwrap();
    let mut reader = site.at(1).await;
    reader.query_all("START TRANSACTION; SELECT COUNT(*) FROM shop.orders").await.unwrap();
    let given_up = driver.cross(Home::Old, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(given_up.what.contains(&format!("connection {} of account", reader.id())), "{given_up:?}");
    assert!(!given_up.what.contains(&format!("connection {} of account", stays.id())), "{given_up:?}");
    assert!(given_up.state.contains("everything was put back"), "{given_up:?}");
    assert_eq!(site.fences(1).await, (0, 1, 0));
    writers.wait_for(1, LET_IN).await;
    let how = How { unproven: Unproven::Refuse, kill_after: Some(Duration::from_millis(200)) };
    let report = driver.cross(Home::Old, how, &|_| ()).await.unwrap();
    assert!(report.ended.iter().any(|e| e.connection == u64::from(reader.id())), "{:?}", report.ended);
    writers.wait_for(0, LET_IN).await;

    let accepted = writers.stop().await;
    for server in [0, 1] {
        println!("server {server} accepted {}", accepted.iter().filter(|a| a.server == server).count());
    }
    two_writers::assert_all_on(&mut site.at(0).await, &accepted).await;
    proven(&driver).await;
    assert_eq!(driver.mover().unwrap().watched().count(), 0, "nobody can write to the side that follows");

    // A prepared transaction whose connection has gone has no number to name it by.
    let mut gone = site.at(0).await;
    gone.query_all("XA START 'left'; DELETE FROM shop.empty_one; XA END 'left'; XA PREPARE 'left'").await.unwrap();
    drop(gone);
    let given_up = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    println!("{given_up:?}");
    assert_eq!(site.fences(0).await, (0, 1, 0));
    let mut source = site.at(0).await;
    while source.execute("XA ROLLBACK 'left'").await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    // The other move has gone on all the time, and crosses by itself.
    let (written, longest) = neighbour.stop().await;
    println!("what stays was written to {written} times, the longest took {longest:?}");
    proven(&other).await;
    other.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap();
    site.at(1).await.execute("INSERT INTO shop.follows_later VALUES (1000000)").await.unwrap();
    site.at(0).await.execute("INSERT INTO shop.follows_later VALUES (1000000)").await.unwrap_err();
    site.at(0).await.execute("INSERT INTO shop.orders (v) VALUES (1000000)").await.unwrap();

    // The end leaves closed what has moved, and nothing of a move that ended where it began.
    assert_eq!(other.finish().await.unwrap(), Home::New);
    assert_eq!(driver.finish().await.unwrap(), Home::Old);
    assert_eq!(site.fences(0).await, (3, 1, 0));
    assert_eq!(site.fences(1).await, (0, 0, 0));
}
