//! A move fenced by `ALTER SCHEMA ... READ ONLY = 1`, on a source that goes on serving something else: two applications go past every
//! front door and write straight to both servers; nobody accepts at the same time, and nobody else notices.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../../highwater/tests/two_writers/mod.rs"]
mod two_writers;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use migrate::cutover::{CrossingLog, CutoverOptions, Home, Hooks, MoveDriver, Phase, Unproven};
use migrate::{CopyOptions, Fence, MoveSpec, TablePattern};
use mysql::{ConnectOptions, Connection, Password};
use sandbox::Node;
use two_writers::TwoWriters;
use world::clients::LockGate;
use world::{World, admin};

/// How long a writer that may write may take to be let in.
const LET_IN: Duration = Duration::from_secs(10);

/// What moves, beside a schema that stays, with an event in each.
const SHOP: &str = "CREATE DATABASE shop; USE shop; SET GLOBAL log_bin_trust_function_creators = ON; \
    CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, v INT); \
    INSERT INTO orders (v) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i FROM n; \
    CREATE TABLE ticks (id INT PRIMARY KEY AUTO_INCREMENT, at DATETIME(6)); \
    CREATE TRIGGER counted BEFORE INSERT ON orders FOR EACH ROW SET NEW.v = NEW.v + 1; \
    CREATE EVENT tick ON SCHEDULE EVERY 1 SECOND DO INSERT INTO ticks (at) VALUES (NOW(6)); \
    CREATE TABLE app.tocks (id INT PRIMARY KEY AUTO_INCREMENT); \
    CREATE EVENT app.tock ON SCHEDULE EVERY 1 SECOND DO INSERT INTO app.tocks VALUES (NULL)";

/// Who writes past the front door, on both servers: not to the schema that stays.
const DIRECT: &str = "CREATE USER direct@'%' IDENTIFIED BY 'direct'; GRANT ALL ON shop.* TO direct@'%'";

fn shop() -> MoveSpec {
    MoveSpec {
        name: "shop".into(),
        tables: vec![TablePattern { schema: "shop".into(), table: None }],
        renames: Default::default(),
    }
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
        source.query_all(SHOP).await.unwrap();
        source.execute(two_writers::TABLE).await.unwrap();
        source.query_all(DIRECT).await.unwrap();
        world.on_target().await.query_all(DIRECT).await.unwrap();
        world.on_target().await.execute("SET GLOBAL log_bin_trust_function_creators = ON").await.unwrap();
        Self { world }
    }

    fn journal(&self) -> PathBuf {
        self.world.source.dir().join("shop.journal")
    }

    async fn driver(&self, accounts: &[&str]) -> MoveDriver<LockGate> {
        self.driver_with(accounts, Hooks::default()).await
    }

    async fn driver_with(&self, accounts: &[&str], hooks: Hooks) -> MoveDriver<LockGate> {
        let clusters = (admin(&self.world.source), admin(&self.world.target));
        let options = CutoverOptions {
            fence: Fence::Schemas,
            fence_accounts: accounts.iter().map(|&a| a.to_owned()).collect(),
            fence_deadline: Duration::from_secs(1),
            hooks,
            ..CutoverOptions::default()
        };
        let copy = CopyOptions { readers: 2, chunk_rows: 500, ..CopyOptions::default() };
        let journal = self.journal();
        MoveDriver::start(shop(), clusters, &journal, copy, options, LockGate::new()).await.unwrap()
    }

    async fn at(&self, server: usize) -> Connection {
        match server {
            0 => self.world.on_source().await,
            _ => self.world.on_target().await,
        }
    }

    /// Whether `shop` is read-only, how many accounts are locked by a fence, and which of the servers' own fences are up, persisted or not.
    async fn fences(&self, server: usize) -> (bool, u64, u64) {
        let sql = "SELECT (SELECT COUNT(*) FROM information_schema.SCHEMATA_EXTENSIONS \
                   WHERE SCHEMA_NAME = 'shop' AND OPTIONS = 'READ ONLY=1'), \
                   (SELECT COUNT(*) FROM mysql.user WHERE account_locked = 'Y' AND User = 'direct'), \
                   @@GLOBAL.read_only + @@GLOBAL.super_read_only + \
                   (SELECT COUNT(*) FROM performance_schema.persisted_variables)";
        let row = self.at(server).await.row(sql).await.unwrap().unwrap();
        (row.text(0) == "1", row.number(1).unwrap(), row.number(2).unwrap())
    }

    /// Waits until the event of a schema has run again on a server.
    async fn event_runs(&self, server: usize, table: &str) {
        let mut on = self.at(server).await;
        let sql = format!("SELECT COUNT(*) FROM {table}");
        let before: u64 = on.row(&sql).await.unwrap().unwrap().number(0).unwrap();
        let runs = async {
            while on.row(&sql).await.unwrap().unwrap().number::<u64>(0).unwrap() == before {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LET_IN, runs)
            .await
            .unwrap_or_else(|_| panic!("no event runs for {table} on {server}"));
    }
}

async fn proven(driver: &MoveDriver<LockGate>) {
    world::copied(&driver.mover().unwrap()).await;
    let verdict = driver.verify(2, &|_| ()).await.unwrap();
    assert_eq!(verdict.different, 0, "{:?}", verdict.tables);
}

/// Whoever writes to what does not move; no write of his may fail.
struct Neighbour {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Neighbour {
    fn start(at: ConnectOptions) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ending, counting) = (Arc::clone(&stop), Arc::clone(&written));
        let task = tokio::spawn(async move {
            let mut connection = Connection::connect(&at).await.unwrap();
            while !ending.load(Ordering::Relaxed) {
                let id = counting.fetch_add(1, Ordering::Relaxed);
                let sql = format!("INSERT INTO app.empty_one VALUES ({id})");
                connection.execute(sql).await.expect("what does not move is never fenced");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { stop, written, task }
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.written.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_cross_and_come_back_while_both_servers_are_written_to_and_nobody_else_notices() {
    let site = Site::new().await;
    let neighbour = Neighbour::start(admin(&site.world.source));
    let driver = site.driver(&["direct@%"]).await;
    assert_eq!(site.fences(1).await, (false, 1, 0), "the side that follows");
    let writers = TwoWriters::start([direct(&site.world.source), direct(&site.world.target)]);
    proven(&driver).await;
    site.event_runs(0, "app.tocks").await;

    let mut home = 0;
    for to in [Home::New, Home::Old, Home::New] {
        writers.wait_for(home, LET_IN).await;
        let seen = writers.so_far().len();
        let report = driver.cross(to, Unproven::Refuse, &|_| ()).await.unwrap();
        println!("{to:?}: held {:.1} ms, {:?}", report.held_ms, report.phases);
        let now = 1 - home;
        writers.wait_for(now, LET_IN).await;
        two_writers::assert_one_at_a_time(&writers.so_far()[seen..], (home, now));
        assert_eq!(site.fences(now).await, (false, 0, 0), "the side that serves");
        assert_eq!(site.fences(home).await, (false, 1, 0), "the side that follows");
        site.event_runs(now, "shop.ticks").await;
        home = now;
    }
    site.event_runs(0, "app.tocks").await;

    // A transaction that reads is in the way, by name; ended if so wished. What does not move is in nobody's way.
    let mut stays = site.at(1).await;
    stays.query_all("CREATE DATABASE stays; CREATE TABLE stays.t (id INT PRIMARY KEY); START TRANSACTION; INSERT INTO stays.t VALUES (1)").await.unwrap();
    let mut reader = site.at(1).await;
    reader.query_all("START TRANSACTION; SELECT COUNT(*) FROM shop.orders").await.unwrap();
    let given_up = driver.cross(Home::Old, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(given_up.what.contains(&format!("connection {} of account", reader.id())), "{given_up:?}");
    assert!(!given_up.what.contains(&format!("connection {} of account", stays.id())), "{given_up:?}");
    assert!(given_up.state.contains("everything was put back"), "{given_up:?}");
    assert_eq!(site.fences(1).await, (false, 0, 0));
    writers.wait_for(1, LET_IN).await;
    site.event_runs(1, "shop.ticks").await;
    let how =
        migrate::cutover::How { unproven: Unproven::Refuse, kill_after: Some(Duration::from_millis(200)) };
    let report = driver.cross(Home::Old, how, &|_| ()).await.unwrap();
    assert!(report.ended.iter().any(|e| e.connection == u64::from(reader.id())), "{:?}", report.ended);
    writers.wait_for(0, LET_IN).await;
    stays.execute("COMMIT").await.unwrap();

    let accepted = writers.stop().await;
    for server in [0, 1] {
        println!("server {server} accepted {}", accepted.iter().filter(|a| a.server == server).count());
    }
    two_writers::assert_all_on(&mut site.at(0).await, &accepted).await;
    println!("the neighbour wrote {}", neighbour.stop().await);
    proven(&driver).await;

    // Nobody is locked any more. From the moment on in which the old side is open to the stream, every write there is named.
    drop(driver);
    let driver = site.driver(&[]).await;
    assert_eq!(site.fences(1).await, (false, 0, 0), "what is not in the settings any more is unlocked");
    proven(&driver).await;
    // Their numbers begin again.
    site.at(0).await.execute("DELETE FROM shop.beside").await.unwrap();
    let gone = migrate::gtid_executed(&mut site.at(0).await, migrate::Side::Source).await.unwrap();
    driver.mover().unwrap().applied(&gone).await.unwrap();
    let writers = TwoWriters::start([direct(&site.world.source), direct(&site.world.target)]);
    writers.wait_for(0, LET_IN).await;
    writers.wait_for(1, LET_IN).await;
    while driver.mover().unwrap().watched().count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(refused.what.contains("not ours") && refused.what.contains("shop.beside"), "{refused:?}");
    driver.cross(Home::New, Unproven::Accept, &|_| ()).await.unwrap();
    writers.wait_for(0, LET_IN).await;
    let strays = writers.stop().await;
    let rows = site.at(1).await.rows("SELECT id FROM shop.beside").await.unwrap();
    let there: std::collections::BTreeSet<u64> = rows.iter().map(|r| r.number(0).unwrap()).collect();
    let behind = strays.iter().filter(|a| a.server == 0 && !there.contains(&a.id)).count() as u64;
    let mover = driver.mover().unwrap();
    let read = migrate::gtid_executed(&mut site.at(0).await, migrate::Side::Target).await.unwrap();
    tokio::time::timeout(LET_IN, mover.watched().has_read(&read)).await.unwrap();
    println!("{behind} writes slipped in behind the switch");
    assert!(behind > 0 && mover.watched().count() == behind, "{} named of {behind}", mover.watched().count());

    // The end lets go of everything, and leaves closed what has moved.
    assert_eq!(driver.finish().await.unwrap(), Home::New);
    assert_eq!(site.fences(0).await, (true, 0, 0));
    assert_eq!(site.fences(1).await, (false, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_dies_and_a_source_that_restarts_leave_a_known_state() {
    let mut site = Site::new().await;
    // Locked by somebody else: never opened by us.
    site.at(1).await.execute("CREATE USER other@'%' IDENTIFIED BY 'x' ACCOUNT LOCK").await.unwrap();
    let accounts = ["direct@%", "other@%"];
    // Behind the fence for longer than an event takes to fall due: one that did would end the scheduler, for everyone.
    let stay = ["sleep", "1.5"].map(str::to_owned).to_vec();
    let hooks = Hooks { after: [(Phase::Fence, stay)].into(), ..Hooks::default() };
    let driver = site.driver_with(&accounts, hooks).await;
    proven(&driver).await;
    driver.rehearse(Home::New, Unproven::Refuse, &|_| (), &CrossingLog::default()).await.unwrap();
    for table in ["app.tocks", "shop.ticks"] {
        site.event_runs(0, table).await;
    }
    drop(driver);

    let mut driver = site.driver(&accounts).await;
    proven(&driver).await;
    let mut home = 0;
    for phase in [Phase::Fence, Phase::Prove, Phase::Switch, Phase::Release] {
        let (told, mut reached) = tokio::sync::mpsc::unbounded_channel();
        let to = if home == 0 { Home::New } else { Home::Old };
        {
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
        // Its connections are gone with it, and so is what it had in hand.
        drop(driver);
        if phase == Phase::Prove {
            assert!(site.fences(home).await.0, "fenced by then");
            let node = if home == 0 { &mut site.world.source } else { &mut site.world.target };
            node.kill_nine().unwrap();
            node.restart().unwrap();
            let refused = Connection::connect(&direct(node))
                .await
                .unwrap()
                .execute("INSERT INTO orders (v) VALUES (1)")
                .await;
            assert_eq!(refused.unwrap_err().server_code(), Some(3989), "a fence outlives kill -9");
        }
        driver = site.driver(&accounts).await;
        let state = driver.state();
        if state.home == to {
            home = 1 - home;
        }
        println!("{phase}: home is {:?}", state.home);
        // As the switch begins there is a last look to be taken; after it, it is in the journal.
        assert_eq!(state.home == to, phase > Phase::Switch, "{phase}");
        assert_eq!(site.fences(home).await, (false, 0, 0), "{phase}: the side that serves");
        assert_eq!(site.fences(1 - home).await, (false, 1, 0), "{phase}: the side that follows");
        let (serves, follows) = match home {
            0 => (&site.world.source, &site.world.target),
            _ => (&site.world.target, &site.world.source),
        };
        let mut writer = Connection::connect(&direct(serves)).await.unwrap();
        writer.execute("INSERT INTO orders (v) VALUES (1)").await.unwrap();
        assert_eq!(
            Connection::connect(&direct(follows)).await.unwrap_err().server_code(),
            Some(3118),
            "locked"
        );
        if phase == Phase::Fence || phase == Phase::Release {
            site.event_runs(home, "shop.ticks").await;
        }
        proven(&driver).await;
    }
    let row =
        site.at(1).await.row("SELECT account_locked FROM mysql.user WHERE User = 'other'").await.unwrap();
    assert_eq!(row.unwrap().text(0), "Y", "somebody else's lock");
}
