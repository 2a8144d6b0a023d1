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

use migrate::cutover::{CrossingLog, CutoverOptions, Home, Hooks, How, MoveDriver, Phase, Unproven};
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

/// Tables that move, of which one has a trigger of the application's that goes along, beside two that stay.
const SHOP: &str = "CREATE DATABASE shop; USE shop; \
    CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, v INT UNIQUE, CHECK (v > 0)); \
    INSERT INTO orders (v) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i FROM n; \
    CREATE TABLE parts (id INT, v INT NOT NULL, PRIMARY KEY (id)) PARTITION BY HASH (id) PARTITIONS 2; \
    INSERT INTO parts SELECT id, v FROM orders LIMIT 9; \
    CREATE TABLE empty_one (id INT PRIMARY KEY); \
    CREATE TRIGGER counted BEFORE INSERT ON orders FOR EACH ROW SET NEW.v = NEW.v + 1; \
    CREATE TABLE stays (id BIGINT PRIMARY KEY); CREATE TABLE follows_later (id INT PRIMARY KEY); INSERT INTO follows_later VALUES (1)";

/// What lets a moved table be written to without its name, on both servers.
const BESIDES: &str = "CREATE DATABASE besides; USE besides; CREATE TABLE numbers (id INT PRIMARY KEY); INSERT INTO numbers VALUES (1); \
    CREATE VIEW seen AS SELECT * FROM shop.orders; CREATE PROCEDURE emptied() DELETE FROM shop.orders";

/// Who writes past the front door, on both servers.
const DIRECT: &str = "SET GLOBAL log_bin_trust_function_creators = ON; \
    CREATE USER direct@'%' IDENTIFIED BY 'direct'; GRANT ALL ON shop.* TO direct@'%'";

fn named(name: &str, tables: &[&str]) -> MoveSpec {
    let table = |table: &&str| TablePattern { schema: "shop".into(), table: Some((*table).to_owned()) };
    MoveSpec { name: name.into(), tables: tables.iter().map(table).collect(), renames: Default::default() }
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
            // On a machine that is busy a trigger takes many times what it takes else.
            lag_max: Duration::from_secs(10),
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
    let mut gone = site.at(1).await;
    let sql = "XA START 'left'; DELETE FROM shop.empty_one; XA END 'left'; XA PREPARE 'left'";
    gone.query_all(sql).await.unwrap();
    drop(gone);
    let given_up = driver.cross(Home::Old, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(given_up.what.contains("a prepared XA transaction whose connection is gone"), "{given_up:?}");
    assert!(given_up.what.contains(&format!("connection {} of account", reader.id())), "{given_up:?}");
    assert!(!given_up.what.contains(&format!("connection {} of account", stays.id())), "{given_up:?}");
    assert!(given_up.state.contains("everything was put back"), "{given_up:?}");
    assert_eq!(site.fences(1).await, (0, 1, 0));
    site.at(1).await.execute("XA ROLLBACK 'left'").await.unwrap();
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

/// Writes of every kind to the moved tables.
const WRITES: &[&str] = &[
    "INSERT INTO orders (v) VALUES (5000)",
    "INSERT IGNORE INTO orders (v) VALUES (5000)",
    "INSERT INTO orders (v) SELECT id + 5000 FROM besides.numbers",
    "INSERT INTO orders (id, v) VALUES (1, 1) ON DUPLICATE KEY UPDATE v = 5000",
    "REPLACE INTO orders VALUES (1, 5000)",
    "UPDATE orders SET v = v",
    "UPDATE besides.numbers JOIN orders USING (id) SET orders.v = 5000",
    "DELETE orders FROM orders JOIN besides.numbers USING (id)",
    "DELETE FROM parts PARTITION (p1)",
    "DELETE IGNORE FROM orders ORDER BY id LIMIT 1",
    "WITH some AS (SELECT 1 AS id) DELETE FROM orders WHERE id IN (SELECT id FROM some)",
    "UPDATE besides.seen SET v = 5000 LIMIT 1",
    "INSERT INTO besides.seen (v) VALUES (5000)",
    "CALL besides.emptied()",
    "INSERT INTO empty_one VALUES (1)",
];

/// Tries every kind of write as an administrator; none may come through. What only reads does.
async fn assert_closed(server: &mut Connection) {
    server.query_all("USE shop; SET lock_wait_timeout = 10").await.unwrap();
    for write in WRITES {
        let refused = server.execute(write).await.expect_err(write);
        assert_eq!(refused.server_code(), Some(SIGNALLED), "{write}: {refused}");
    }
    server.execute("PREPARE written FROM 'DELETE FROM orders'").await.unwrap();
    assert_eq!(server.execute("EXECUTE written").await.unwrap_err().server_code(), Some(SIGNALLED));
    server.execute("XA START 'new'").await.unwrap();
    assert_eq!(server.execute("DELETE FROM orders").await.unwrap_err().server_code(), Some(SIGNALLED));
    server.query_all("XA END 'new'; XA ROLLBACK 'new'").await.unwrap();
    server.rows("SELECT id FROM orders WHERE id = 1 FOR UPDATE").await.unwrap();
    server.execute("DELETE FROM orders WHERE FALSE").await.unwrap();
}

/// Runs a crossing until it comes to a phase, and lets go of everything there, as a process does that dies.
async fn die_at(phase: Phase, driver: MoveDriver<LockGate>, to: Home) {
    let (told, mut reached) = tokio::sync::mpsc::unbounded_channel();
    let telling = |now| {
        if now == phase {
            told.send(()).unwrap();
        }
    };
    tokio::select! {
        biased;
        _ = reached.recv() => {}
        done = driver.cross(to, Unproven::Refuse, &telling) => panic!("{phase}: {done:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_writes_past_the_fence_and_a_controller_that_dies_leaves_a_known_state() {
    let mut site = Site::new().await;
    let go = site.world.source.dir().join("go");
    let until = format!("touch {0}.held; while [ ! -e {0} ]; do sleep 0.01; done", go.display());
    let waiting = ["sh", "-c", &until].map(str::to_owned).to_vec();
    let hooks = Hooks { after: [(Phase::Prove, waiting)].into(), ..Hooks::default() };
    let driver = site.driver_with(hooks).await;
    proven(&driver).await;

    for server in [0, 1] {
        site.at(server).await.query_all(BESIDES).await.unwrap();
    }
    // While the crossing goes on nothing that no trigger sees gets in either: it waits.
    let mut stranger = site.at(0).await;
    let mut asking = site.at(0).await;
    let held = go.with_extension("held");
    let is_held = async || {
        while !held.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let meanwhile = async {
        is_held().await;
        stranger.execute("SET lock_wait_timeout = 1").await.unwrap();
        let sql = "TRUNCATE TABLE shop.orders";
        let waited = stranger.execute(sql).await.expect_err("it waits").server_code();
        assert_eq!(waited, Some(1205), "{sql}");
        let there = asking.row("SELECT COUNT(*) FROM shop.orders").await.unwrap().unwrap();
        assert_eq!(there.text(0), "900", "who reads goes on");
        std::fs::remove_file(&held).unwrap();
        std::fs::write(&go, "").unwrap();
    };
    let log = CrossingLog::default();
    let (rehearsed, ()) =
        tokio::join!(driver.rehearse(Home::New, Unproven::Refuse, &|_| (), &log), meanwhile);
    rehearsed.unwrap();
    // Without the lock somebody may have been there: that is given up.
    std::fs::remove_file(&go).unwrap();
    let meanwhile = async {
        is_held().await;
        let sql = "SELECT PROCESSLIST_ID FROM performance_schema.session_account_connect_attrs \
                   WHERE ATTR_NAME = 'highwater_role' AND ATTR_VALUE = 'fence-shop'";
        let id = asking.row(sql).await.unwrap().unwrap().text(0);
        asking.execute(format!("KILL {id}")).await.unwrap();
        std::fs::write(&go, "").unwrap();
    };
    let log = CrossingLog::default();
    let (rehearsed, ()) =
        tokio::join!(driver.rehearse(Home::New, Unproven::Refuse, &|_| (), &log), meanwhile);
    let given_up = rehearsed.unwrap_err();
    assert!(given_up.state.contains("everything was put back"), "{given_up:?}");
    assert_eq!(site.fences(0).await, (0, 1, 0));
    assert_closed(&mut site.at(1).await).await;
    drop(driver);

    let mut driver = site.driver().await;
    proven(&driver).await;
    let mut home = 0;
    for phase in [Phase::Fence, Phase::Settle, Phase::Prove, Phase::Switch, Phase::Release] {
        let to = if home == 0 { Home::New } else { Home::Old };
        die_at(phase, driver, to).await;
        if phase == Phase::Prove {
            assert_eq!(site.fences(home).await.0, CLOSED, "fenced by then");
            assert_closed(&mut site.at(home).await).await;
            let node = if home == 0 { &mut site.world.source } else { &mut site.world.target };
            node.kill_nine().unwrap();
            node.restart().unwrap();
            assert_closed(&mut site.at(home).await).await;
        }
        driver = site.driver().await;
        if driver.state().home == to {
            home = 1 - home;
        }
        assert_eq!(driver.state().home == to, phase > Phase::Switch, "{phase}");
        assert_eq!(site.fences(home).await, (0, 1, 0), "{phase}: the side that serves");
        assert_eq!(site.fences(1 - home).await, (CLOSED, 0, 0), "{phase}: the side that follows");
        site.at(home).await.execute("INSERT INTO shop.orders (v) VALUES (NULL)").await.unwrap();
        let refused = site.at(1 - home).await.execute("DELETE FROM shop.orders").await.unwrap_err();
        assert_eq!(refused.server_code(), Some(SIGNALLED), "{phase}");
        proven(&driver).await;
    }

    // What changes a table on the side that serves is carried to the one that follows, which stays closed.
    let mut serving = site.at(home).await;
    serving
        .query_all("ALTER TABLE shop.orders ADD c INT DEFAULT 7; TRUNCATE TABLE shop.parts")
        .await
        .unwrap();
    let done = migrate::gtid_executed(&mut serving, migrate::Side::Source).await.unwrap();
    driver.mover().unwrap().applied(&done).await.unwrap();
    assert_eq!(site.fences(1 - home).await, (CLOSED, 0, 0));
    proven(&driver).await;

    // By a key from a table that stays, rows would be changed past every trigger.
    let key = "CREATE TABLE shop.parent (id INT PRIMARY KEY); ALTER TABLE shop.empty_one \
               ADD CONSTRAINT outside FOREIGN KEY (id) REFERENCES shop.parent (id) ON DELETE CASCADE";
    serving.query_all(key).await.unwrap();
    let done = migrate::gtid_executed(&mut serving, migrate::Side::Source).await.unwrap();
    driver.mover().unwrap().applied(&done).await.unwrap();
    proven(&driver).await;
    let to = if home == 0 { Home::New } else { Home::Old };
    let refused = driver.cross(to, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(refused.what.contains("foreign key outside of shop.empty_one"), "{refused:?}");
}
