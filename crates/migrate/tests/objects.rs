//! Views, routines, triggers, events and accounts, carried through a cutover and back.

#![allow(clippy::unwrap_used)]

mod world;

use std::sync::Arc;
use std::time::Duration;

use migrate::CopyOptions;
use migrate::cutover::{CutoverOptions, Home, MoveDriver, TrafficGate, Unproven};
use model::Trouble;
use mysql::Connection;
use world::{World, admin, caught_up, copied, spec};

/// A gate with nobody behind it.
struct NoClients;

impl TrafficGate for NoClients {
    async fn warm(&self, _to: Home) -> Result<(), Trouble> {
        Ok(())
    }
    fn hold(&self) {}
    async fn drain(&self, _deadline: Duration) -> Result<(), Trouble> {
        Ok(())
    }
    fn switch(&self, _to: Home, _epoch: u64) {}
    fn release(&self) {}
}

const OBJECTS: &str = r"
SET NAMES utf8mb4;
SET GLOBAL log_bin_trust_function_creators = ON;
USE app;
CREATE USER shopkeeper@'10.%' IDENTIFIED BY 'x';
GRANT ALL ON app.* TO shopkeeper@'10.%';
CREATE TABLE audit (n INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(60) CHARACTER SET utf8mb4, at INT);
";

const MORE: &str = r"
SET NAMES utf8mb4;
USE app;
CREATE FUNCTION dbl(x BIGINT) RETURNS BIGINT DETERMINISTIC RETURN x * 2;
CREATE FUNCTION careless() RETURNS INT RETURN RAND() * 100;
CREATE SQL SECURITY INVOKER VIEW z_later AS SELECT id, dbl(id) AS doubled, 'naïve ☃' AS `a ``b` FROM account;
CREATE ALGORITHM = MERGE VIEW a_needs_later AS SELECT * FROM z_later WHERE doubled > 1 WITH LOCAL CHECK OPTION;
CREATE PROCEDURE `it's; here`(IN a VARCHAR(20), OUT b INT) COMMENT 'a; b' BEGIN DECLARE c VARCHAR(10); SET c = 'x;☃'; SELECT COUNT(*) INTO b FROM account; END;
CREATE TRIGGER second BEFORE INSERT ON account FOR EACH ROW SET NEW.note = CONCAT(IFNULL(NEW.note, ''), '2');
CREATE TRIGGER third BEFORE INSERT ON account FOR EACH ROW SET NEW.note = CONCAT(NEW.note, '3');
CREATE TRIGGER `first ☃` BEFORE INSERT ON account FOR EACH ROW PRECEDES second SET NEW.note = CONCAT(IFNULL(NEW.note, ''), '1');
CREATE DEFINER = shopkeeper@'10.%' TRIGGER audited AFTER UPDATE ON account FOR EACH ROW INSERT INTO audit (what, at) VALUES ('ünder', NEW.id);
CREATE TRIGGER logged AFTER INSERT ON account FOR EACH ROW BEGIN INSERT INTO audit (what, at) VALUES (NEW.note, NEW.id); END;
CREATE EVENT tick ON SCHEDULE EVERY 1 SECOND ON COMPLETION PRESERVE COMMENT 'ENABLE' DO INSERT INTO audit (what) VALUES ('ON COMPLETION');
CREATE EVENT asleep ON SCHEDULE AT '2037-01-01 00:00:00' DISABLE DO SET @a = 'é';
SET NAMES latin1; SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'; SET time_zone = '+03:00';
";

/// Sent under latin1: not UTF-8.
const LATIN: &[u8] = b"CREATE PROCEDURE app.latin() SELECT '\xe9\\', \"id\" FROM \"account\"; \
CREATE EVENT app.latin ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01 12:00:00' DO SET @x = '\xe9\\'; \
CREATE TRIGGER app.latin BEFORE DELETE ON app.account FOR EACH ROW SET @x = '\xe9\\'";

async fn world() -> World {
    let world = World::new().await;
    world.fill(2_000).await;
    let mut source = world.on_source().await;
    source.query_all(OBJECTS.trim().trim_end_matches(';')).await.unwrap();
    // Created when the schema had another default, which parameters and variables took.
    source.query_all("ALTER DATABASE app COLLATE latin1_german1_ci; USE app").await.unwrap();
    source.execute("CREATE PROCEDURE older(IN p VARCHAR(9)) SELECT p").await.unwrap();
    source.query_all("ALTER DATABASE app COLLATE utf8mb4_0900_ai_ci").await.unwrap();
    source.query_all(MORE.trim().trim_end_matches(';')).await.unwrap();
    source.query_all(LATIN).await.unwrap();
    let mut target = world.on_target().await;
    let sql = "SET GLOBAL log_bin_trust_function_creators = ON; CREATE USER shopkeeper@'10.%' IDENTIFIED BY 'x'; \
               GRANT ALL ON app.* TO shopkeeper@'10.%'";
    target.query_all(sql).await.unwrap();
    world
}

/// Everything SHOW CREATE tells of an object, bytes and all, but for the time it was created.
async fn shown(server: &mut Connection, kinds: &[&str]) -> Vec<String> {
    server.query_all("SET SESSION character_set_results = NULL; USE app").await.unwrap();
    let list = "SELECT ROUTINE_TYPE, ROUTINE_NAME, '', '', '', 0 FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'app' \
        UNION ALL SELECT 'VIEW', TABLE_NAME, '', '', '', 0 FROM information_schema.VIEWS WHERE TABLE_SCHEMA = 'app' \
        UNION ALL SELECT 'TRIGGER', TRIGGER_NAME, EVENT_OBJECT_TABLE, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER \
        FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'app' \
        UNION ALL SELECT 'EVENT', EVENT_NAME, STATUS, '', '', 0 FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'app' \
        ORDER BY 1, 3, 4, 5, 6, 2";
    let mut all = Vec::new();
    for row in server.rows(list).await.unwrap().iter().filter(|r| kinds.contains(&r.text(0).as_str())) {
        let sql = format!("SHOW CREATE {} `{}`", row.text(0), row.text(1).replace('`', "``"));
        let create = server.row(sql).await.unwrap().unwrap();
        let cells = create.len() - usize::from(row.text(0) == "TRIGGER");
        let cell = |i| create.bytes(i).unwrap().escape_ascii().to_string();
        let place: Vec<String> = (0..row.len()).map(|i| row.text(i)).collect();
        all.push(format!("{place:?} {:?}", (0..cells).map(cell).collect::<Vec<_>>()));
    }
    all
}

const QUIET: &[&str] = &["FUNCTION", "PROCEDURE", "VIEW"];
const ACTIVE: &[&str] = &["TRIGGER", "EVENT"];

async fn driver(world: &World, options: CutoverOptions) -> Result<MoveDriver<NoClients>, Trouble> {
    let journal = world.source.dir().join("app.journal");
    let clusters = (admin(&world.source), admin(&world.target));
    MoveDriver::start(spec(), clusters, &journal, CopyOptions::default(), options, Arc::new(NoClients)).await
}

async fn proven(driver: &MoveDriver<NoClients>) {
    copied(&driver.mover().unwrap()).await;
    let verdict = driver.verify(2, &|_| ()).await.unwrap();
    assert_eq!(verdict.different, 0, "{:?}", verdict.tables);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_go_there_and_back_to_the_byte_and_fire_on_one_side_only() {
    let world = world().await;
    let (mut old, mut new) = (world.on_source().await, world.on_target().await);
    let (quiet, active) = (shown(&mut old, QUIET).await, shown(&mut old, ACTIVE).await);
    assert_eq!((quiet.len(), active.len()), (7, 9), "{quiet:#?} {active:#?}");
    let driver = driver(&world, CutoverOptions::default()).await.unwrap();
    proven(&driver).await;
    // Rows that triggers wrote on the source arrive as rows.
    old.query_all("INSERT INTO app.account (slot, balance) VALUES (-1, 1); UPDATE app.account SET slot = -2 WHERE slot = 10")
        .await
        .unwrap();
    assert!(shown(&mut new, ACTIVE).await.is_empty());

    let mut serving = (&mut new, &mut old);
    for to in [Home::New, Home::Old, Home::New] {
        driver.cross(to, Unproven::Refuse, &|_| ()).await.unwrap();
        assert_eq!(shown(serving.0, QUIET).await, quiet);
        assert_eq!(shown(serving.0, ACTIVE).await, active);
        assert!(shown(serving.1, ACTIVE).await.is_empty());
        let scheduler = serving.1.row("SELECT @@GLOBAL.event_scheduler").await.unwrap().unwrap();
        assert_eq!(scheduler.text(0), "ON");
        let sql = format!(
            "INSERT INTO app.account (slot, balance) VALUES ({}, 1)",
            -10 - i32::from(to == Home::New)
        );
        let inserted = serving.0.execute(sql).await;
        assert!(inserted.is_ok() || to == Home::New, "{inserted:?}");
        let note =
            serving.0.row("SELECT note FROM app.account ORDER BY id DESC LIMIT 1").await.unwrap().unwrap();
        assert_eq!(note.text(0), "123");
        // The event runs where it should.
        let ticks = "SELECT COUNT(*) FROM app.audit WHERE what = 'ON COMPLETION'";
        let before = serving.0.row(ticks).await.unwrap().unwrap().number::<u64>(0);
        tokio::time::sleep(Duration::from_millis(2200)).await;
        assert!(serving.0.row(ticks).await.unwrap().unwrap().number::<u64>(0) > before);
        driver.mover().unwrap().unless_failed().unwrap();
        std::mem::swap(&mut serving.0, &mut serving.1);
    }
    let wanted = migrate::gtid_executed(&mut world.on_target().await, migrate::Side::Source).await.unwrap();
    driver.mover().unwrap().applied(&wanted).await.unwrap();
    new.query_all("DROP EVENT app.tick").await.unwrap();
    assert_eq!(world.difference().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crossing_given_up_leaves_no_trigger_behind_and_the_stream_exact() {
    let world = world().await;
    let mut old = world.on_source().await;
    let active = shown(&mut old, ACTIVE).await;
    let options = CutoverOptions { prove_deadline: Duration::from_millis(1500), ..CutoverOptions::default() };
    let driver = driver(&world, options).await.unwrap();
    proven(&driver).await;

    while shown(&mut world.on_target().await, QUIET).await.len() < 7 {}
    // The triggers' table is locked on the target, and the deadline passes.
    let mut blocker = world.on_target().await;
    blocker.query_all("START TRANSACTION; SELECT COUNT(*) FROM app.account").await.unwrap();
    let given_up = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(given_up.what.contains("prove was not done"), "{given_up}");
    assert!(given_up.state.contains("everything was put back"), "{given_up:?}");
    assert!(shown(&mut world.on_target().await, ACTIVE).await.is_empty());
    blocker.execute("ROLLBACK").await.unwrap();
    assert_eq!(shown(&mut old, ACTIVE).await, active);
    old.query_all("INSERT INTO app.account (slot, balance) VALUES (-77, 1)").await.unwrap();
    caught_up(&world, &driver.mover().unwrap()).await;
    driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap();
    assert_eq!(shown(&mut world.on_target().await, ACTIVE).await, active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_created_or_is_there_otherwise_is_refused_by_name() {
    let world = world().await;
    let mut target = world.on_target().await;
    target
        .query_all("DROP USER shopkeeper@'10.%'; SET GLOBAL log_bin_trust_function_creators = OFF")
        .await
        .unwrap();
    let driver = driver(&world, CutoverOptions::default()).await.unwrap();
    // The stream goes on without them.
    proven(&driver).await;
    let refused = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(refused.what.contains("function app.careless"), "{refused:?}");
    target.query_all("SET GLOBAL log_bin_trust_function_creators = ON; DROP PROCEDURE app.latin; CREATE PROCEDURE app.latin() SELECT 1").await.unwrap();
    let refused = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(
        refused.what.contains("procedure app.latin is on the target with another definition"),
        "{refused:?}"
    );
    assert!(refused.hint.contains("DROP PROCEDURE `app`.`latin`"), "{refused:?}");
    target.query_all("DROP PROCEDURE app.latin").await.unwrap();
    driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap();
}
