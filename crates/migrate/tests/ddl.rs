//! Statements that change tables, while they are copied and while they are followed: the target ends equal by content and
//! by definition, and a crash between the statement and the ledger neither loses it nor does it twice.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use migrate::Mover;
use mysql::Connection;
use world::{World, Writers, caught_up, copied};

async fn run(source: &mut Connection, statements: &[&str]) {
    for sql in statements {
        source.query_all(sql).await.unwrap_or_else(|e| panic!("{e} in {sql}"));
    }
}

async fn names(connection: &mut Connection) -> Vec<String> {
    let sql = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA='app' ORDER BY 1";
    connection.rows(sql).await.unwrap().iter().map(|r| r.text(0)).collect()
}

/// Equal by what there is, by definition, by content, and by the move's own comparison.
async fn check_equal(world: &World, mover: &Mover) {
    copied(mover).await;
    caught_up(world, mover).await;
    assert_eq!(names(&mut world.on_source().await).await, names(&mut world.on_target().await).await);
    assert_eq!(world.schema_difference("app").await, "");
    let verdict = mover.verify(2, &|_| ()).await.unwrap();
    assert_eq!(verdict.different, 0, "{:?}", verdict.tables);
    let moved: Vec<String> = mover.tables().iter().map(|t| t.name.table.clone()).collect();
    assert_eq!(moved, names(&mut world.on_source().await).await);
}

const STATEMENTS: &[&str] = &[
    "USE app; SET NAMES utf8mb4",
    "CREATE TABLE notes (id INT PRIMARY KEY AUTO_INCREMENT, body VARCHAR(40), at TIMESTAMP NULL)",
    "INSERT INTO notes (body) VALUES ('one'), ('two'), ('three')",
    // Columns: added in place, first, instantly, with a default taken from the session.
    "ALTER TABLE notes ADD COLUMN n INT NOT NULL DEFAULT 7, ALGORITHM=INSTANT",
    "INSERT INTO notes (body, n) VALUES ('four', 8)",
    "ALTER TABLE notes ADD COLUMN `größe` ENUM('klein','groß') CHARACTER SET latin1 DEFAULT 'groß' COMMENT 'it''s; ''ü''' FIRST",
    "SET SESSION time_zone='+05:30', timestamp=1700000000.25; \
     ALTER TABLE notes ADD COLUMN made TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), \
     ADD COLUMN fixed TIMESTAMP NOT NULL DEFAULT '2020-02-03 04:05:06'; SET timestamp=DEFAULT",
    "INSERT INTO notes (body) VALUES ('five')",
    "SET SESSION time_zone='SYSTEM'; ALTER TABLE notes ADD COLUMN by_system TIMESTAMP NOT NULL DEFAULT '2021-07-01 01:02:03'",
    "ALTER TABLE notes MODIFY COLUMN n BIGINT UNSIGNED NULL AFTER id, CHANGE COLUMN body text_of VARCHAR(200) NOT NULL",
    "UPDATE notes SET n = NULL WHERE id = 2",
    "SET SESSION sql_mode=''; ALTER TABLE notes MODIFY n TINYINT NOT NULL; SET SESSION sql_mode=DEFAULT",
    "ALTER TABLE notes RENAME COLUMN text_of TO body, DROP COLUMN at, ALGORITHM=INSTANT",
    "UPDATE notes SET body = CONCAT(body, '!') WHERE id < 4",
    // Indexes and constraints.
    "CREATE UNIQUE INDEX body ON notes (body)",
    "CREATE INDEX shortened ON notes (body(5), (n + 1))",
    "ALTER TABLE notes ADD INDEX (n), ADD CONSTRAINT sane CHECK (n < 100), ALTER INDEX shortened INVISIBLE",
    "ALTER TABLE notes RENAME INDEX shortened TO shorter",
    "DROP INDEX n ON notes",
    "CREATE TABLE replies (id INT PRIMARY KEY, note INT, CONSTRAINT fk FOREIGN KEY (note) REFERENCES notes (id) ON DELETE RESTRICT)",
    "INSERT INTO replies VALUES (1, 1), (2, 1), (3, 2)",
    "ALTER TABLE replies DROP FOREIGN KEY fk, ADD INDEX note2 (note, id)",
    // A key is numbered, widened, replaced.
    "CREATE TABLE rows_of (a VARCHAR(20) NOT NULL, b INT NOT NULL, PRIMARY KEY (a, b))",
    "INSERT INTO rows_of VALUES ('x', 1), ('X ', 2), ('ä', 3)",
    "ALTER TABLE rows_of DROP PRIMARY KEY, ADD COLUMN id INT NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST, AUTO_INCREMENT=50",
    "INSERT INTO rows_of (a, b) VALUES ('y', 4)",
    "ALTER TABLE rows_of MODIFY id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT",
    "DELETE FROM rows_of WHERE a = 'ä'",
    "ALTER TABLE rows_of CONVERT TO CHARACTER SET latin1 COLLATE latin1_german2_ci",
    // Tables come like others, from selections, and go.
    "CREATE TABLE notes_copy LIKE notes",
    "INSERT INTO notes_copy SELECT * FROM notes",
    "CREATE TABLE picked (PRIMARY KEY (id)) SELECT id, body FROM notes WHERE id <> 3",
    "UPDATE picked SET body = 'picked' WHERE id = 1",
    "CREATE TABLE IF NOT EXISTS picked (other INT PRIMARY KEY)",
    "CREATE TEMPORARY TABLE passing (a INT); INSERT INTO passing VALUES (1); DROP TEMPORARY TABLE passing",
    "TRUNCATE TABLE notes_copy",
    "INSERT INTO notes_copy (body, n) VALUES ('first again', 1)",
    "CREATE TABLE short_lived (id INT PRIMARY KEY); INSERT INTO short_lived VALUES (1)",
    "DROP TABLE IF EXISTS short_lived, never_there",
    // Names.
    "RENAME TABLE picked TO tmp, notes_copy TO picked, tmp TO notes_copy",
    "INSERT INTO picked (body, n) VALUES ('in what was notes_copy', 2)",
    "ALTER TABLE notes_copy RENAME TO `odd ``name``, ü`, ADD COLUMN z INT",
    "INSERT INTO `odd ``name``, ü` VALUES (99, 'z', 1)",
    "CREATE TABLE twin_a (id INT PRIMARY KEY, v INT); CREATE TABLE twin_b LIKE twin_a",
    "INSERT INTO twin_a VALUES (1, 1); INSERT INTO twin_b VALUES (2, 2)",
    "RENAME TABLE twin_a TO twin_c, twin_b TO twin_a, twin_c TO twin_b",
    "INSERT INTO twin_a VALUES (3, 3)",
    // Defaults of the schema, partitions, generated columns.
    "ALTER DATABASE app DEFAULT CHARACTER SET utf8mb3 COLLATE utf8mb3_bin",
    "CREATE TABLE by_default (v VARCHAR(5) PRIMARY KEY); INSERT INTO by_default VALUES ('a'), ('A')",
    "SET collation_server=latin1_swedish_ci; CREATE TABLE tiny (id INT PRIMARY KEY) ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
    "CREATE TABLE parts (id INT, y INT, PRIMARY KEY (id, y)) PARTITION BY RANGE (y) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))",
    "INSERT INTO parts VALUES (1, 5), (2, 15), (3, 16)",
    "ALTER TABLE parts ADD PARTITION (PARTITION p2 VALUES LESS THAN MAXVALUE)",
    "INSERT INTO parts VALUES (4, 400)",
    "ALTER TABLE parts TRUNCATE PARTITION p1",
    "ALTER TABLE parts DROP PARTITION p0",
    "ALTER TABLE parts REMOVE PARTITIONING",
    "ALTER TABLE notes ADD COLUMN twice INT GENERATED ALWAYS AS (n * 2) STORED, ADD COLUMN hidden INT INVISIBLE DEFAULT 3",
    "UPDATE notes SET n = n + 1 WHERE id = 1",
    // Not replayed: other objects.
    "CREATE DEFINER=CURRENT_USER TRIGGER trg BEFORE INSERT ON tiny FOR EACH ROW SET @x = 1; DROP TRIGGER trg",
    "CREATE VIEW seen AS SELECT id FROM notes; RENAME TABLE seen TO sight; DROP VIEW sight",
    "CREATE PROCEDURE p() SELECT 1; DROP PROCEDURE p; ANALYZE TABLE notes; OPTIMIZE TABLE tiny",
    "ALTER TABLE notes ENGINE=InnoDB",
    "SET sql_mode='ANSI_QUOTES'; ALTER TABLE \"notes\" ADD COLUMN \"q\" INT DEFAULT 4; SET sql_mode=DEFAULT",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_is_repeated_exactly_while_the_target_follows() {
    let world = World::new().await;
    let mover = world.mover().await;
    copied(&mover).await;
    let mut source = world.on_source().await;
    run(&mut source, STATEMENTS).await;
    check_equal(&world, &mover).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_are_repeated_on_the_way_back_as_well() {
    let world = World::new().await;
    world.fill(500).await;
    let mover = world.mover().await;
    copied(&mover).await;
    caught_up(&world, &mover).await;
    mover.stop().await;
    let (mut old, mut new) = (world.on_source().await, world.on_target().await);
    let since = migrate::gtid_executed(&mut new, migrate::Side::Source).await.unwrap();
    // The side that serves has gone on before the stream back looks at it.
    run(&mut new, &["USE app", "ALTER TABLE account ADD COLUMN c INT DEFAULT 3"]).await;
    let back = Mover::start(migrate::MoverOptions {
        source: world::admin(&world.target),
        target: world::admin(&world.source),
        start: migrate::Start::At(since),
        ..world.options()
    })
    .await
    .unwrap();
    run(
        &mut new,
        &[
            "UPDATE account SET c = id",
            "CREATE TABLE later (id INT PRIMARY KEY); INSERT INTO later VALUES (1)",
            "RENAME TABLE account TO _account_old, later TO account",
            "ALTER TABLE pair DROP PRIMARY KEY, ADD PRIMARY KEY (b, a)",
            "DELETE FROM pair WHERE b < 9",
            "DROP TABLE empty_one",
        ],
    )
    .await;
    let wanted = migrate::gtid_executed(&mut new, migrate::Side::Source).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), back.applied(&wanted)).await.unwrap().unwrap();
    assert_eq!(names(&mut old).await, names(&mut new).await);
    assert_eq!(world.schema_difference("app").await, "");
    proven(&back).await;
    assert_eq!(back.proof().different(), 0, "{:?}", back.proof().verdicts());
}

/// Few rows to a range, so that statements come by in the middle of a table.
async fn slow_mover(world: &World) -> Mover {
    let start =
        migrate::Start::Copy(migrate::CopyOptions { readers: 2, chunk_rows: 50, ..Default::default() });
    Mover::start(migrate::MoverOptions { start, ..world.options() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_during_the_copy_under_write_load_leave_both_sides_equal() {
    let world = World::new().await;
    world.fill(20_000).await;
    let writers = Writers::start(&world.source, 3, 20_000, fastrand::u64(..1 << 40));
    let mover = slow_mover(&world).await;
    let mut source = world.on_source().await;
    run(&mut source, &["USE app", "ALTER TABLE account ADD COLUMN early INT NOT NULL DEFAULT 4"]).await;
    let ranges =
        "SELECT COUNT(*) FROM highwater.ranges WHERE table_name='app.account' AND done_at IS NOT NULL";
    let mut target = world.on_target().await;
    while target.row(ranges).await.unwrap().unwrap().text(0).parse::<u32>().unwrap() < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The key changes: what is copied of this table was cut by another one.
    let key = "ALTER TABLE account DROP PRIMARY KEY, MODIFY id BIGINT UNSIGNED NOT NULL, ADD PRIMARY KEY (slot, id)";
    run(&mut source, &[key]).await;
    let account =
        |mover: &Mover| mover.progress().tables().into_iter().find(|t| t.name.table == "account").unwrap();
    assert!(!account(&mover).copied, "the copy was too fast to be met by a statement");
    run(&mut source, &["ALTER TABLE account DROP PRIMARY KEY, MODIFY id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY"]).await;
    for sql in [
        "ALTER TABLE account ADD COLUMN extra INT NOT NULL DEFAULT 5",
        "ALTER TABLE pair DROP COLUMN y, ADD COLUMN late VARCHAR(10) DEFAULT 'x'",
        "ALTER TABLE account MODIFY note VARCHAR(60) CHARACTER SET utf8mb4, MODIFY extra BIGINT",
        "CREATE TABLE side (id INT PRIMARY KEY); INSERT INTO side VALUES (1), (2)",
        "TRUNCATE TABLE empty_one; INSERT INTO empty_one VALUES (1)",
        "ALTER TABLE pair DROP PRIMARY KEY, ADD PRIMARY KEY (b, a)",
        "RENAME TABLE side TO beside",
        "ALTER TABLE account DROP COLUMN extra",
        "DROP TABLE beside",
    ] {
        run(&mut source, &[sql]).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    copied(&mover).await;
    writers.stop().await;
    check_equal(&world, &mover).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_online_schema_change_swaps_its_shadow_table_in_under_write_load() {
    let world = World::new().await;
    world.fill(5_000).await;
    let writers = Writers::start(&world.source, 3, 5_000, fastrand::u64(..1 << 40));
    let mover = world.mover().await;
    copied(&mover).await;
    mover.verify(2, &|_| ()).await.unwrap();
    let mut source = world.on_source().await;
    let columns = "id, slot, balance, note, changed";
    let new = "NEW.id, NEW.slot, NEW.balance, NEW.note, NEW.changed";
    run(
        &mut source,
        &[
            "USE app",
            "CREATE TABLE _account_new LIKE account",
            "ALTER TABLE _account_new ADD COLUMN added INT NOT NULL DEFAULT 1, DROP INDEX slot, ADD INDEX slot (slot), \
             MODIFY note VARCHAR(80) CHARACTER SET utf8mb4",
            &format!("CREATE TRIGGER a AFTER INSERT ON account FOR EACH ROW REPLACE INTO _account_new ({columns}) VALUES ({new})"),
            &format!("CREATE TRIGGER b AFTER UPDATE ON account FOR EACH ROW BEGIN \
                      DELETE FROM _account_new WHERE id = OLD.id; REPLACE INTO _account_new ({columns}) VALUES ({new}); END"),
            "CREATE TRIGGER c AFTER DELETE ON account FOR EACH ROW DELETE FROM _account_new WHERE id = OLD.id",
        ],
    )
    .await;
    for low in (0..5_000).step_by(500) {
        let sql = format!(
            "INSERT IGNORE INTO _account_new ({columns}) SELECT {columns} FROM account WHERE id > {low} AND id <= {} FOR SHARE",
            low + 500
        );
        // Deadlocks with the writers are part of the load.
        while source.execute(&sql).await.is_err() {}
    }
    run(&mut source, &["RENAME TABLE account TO _account_old, _account_new TO account"]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    run(&mut source, &["DROP TRIGGER a; DROP TRIGGER b; DROP TRIGGER c", "DROP TABLE _account_old"]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    writers.stop().await;
    caught_up(&world, &mover).await;
    // What had been proven stays so, and the new table was followed from its birth: no new pass is needed.
    proven(&mover).await;
    assert_eq!(mover.proof().different(), 0, "{:?}", mover.proof().verdicts());
    check_equal(&world, &mover).await;
}

/// Waits until nothing is in doubt.
async fn proven(mover: &Mover) {
    let wait = async {
        while mover.proof().complete_as_of().is_none() || mover.keys_in_flight() > 0 {
            mover.unless_failed().unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the proof is complete again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_a_statement_has_rewritten_is_compared_again() {
    let world = World::new().await;
    world.fill(1_000).await;
    let mover = world.mover().await;
    copied(&mover).await;
    mover.verify(2, &|_| ()).await.unwrap();
    let mut source = world.on_source().await;
    // A difference that only a comparison of the whole table can find.
    world.on_target().await.execute("UPDATE app.account SET note = 'foreign' WHERE id = 77").await.unwrap();
    run(&mut source, &["ALTER TABLE app.account ADD COLUMN more INT DEFAULT 9"]).await;
    caught_up(&world, &mover).await;
    proven(&mover).await;
    let verdicts = mover.proof().verdicts();
    assert!(verdicts.iter().any(|v| v.table.table == "account" && v.keys == ["77"]), "{verdicts:?}");
}

/// Starts a move, lets a statement of the source get stuck on the target behind a lock, and ends the move there as a crash
/// would: the statement is written down and not executed, the ledger does not have it.
async fn crash_at(world: &World, prepare: &[&str], locked: &str, statement: &str) {
    let mut source = world.on_source().await;
    run(&mut source, prepare).await;
    let mover = world.mover().await;
    copied(&mover).await;
    caught_up(world, &mover).await;
    let mut blocker = world.on_target().await;
    blocker.query_all(format!("START TRANSACTION; SELECT * FROM {locked} LIMIT 1")).await.unwrap();
    run(&mut source, &[statement]).await;
    let mut looker = world.on_target().await;
    let waiting = "SELECT PROCESSLIST_ID FROM performance_schema.threads \
                   WHERE PROCESSLIST_STATE = 'Waiting for table metadata lock'";
    let id = loop {
        mover.unless_failed().unwrap();
        if let Some(row) = looker.row(waiting).await.unwrap() {
            break row.text(0);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(mover.progress().statement().is_some());
    drop(mover);
    let killed = looker.execute(format!("KILL {id}")).await;
    assert!(killed.is_ok() || killed.unwrap_err().server_code() == Some(1094), "it may be gone already");
    while looker.row(waiting).await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    blocker.execute("ROLLBACK").await.unwrap();
}

const TWINS: &[&str] = &[
    "USE app; CREATE TABLE twin_a (id INT PRIMARY KEY, v INT); CREATE TABLE twin_b LIKE twin_a",
    "INSERT INTO twin_a VALUES (1, 1); INSERT INTO twin_b VALUES (2, 2)",
];
const EXCHANGE: &str = "RENAME TABLE app.twin_a TO app.x, app.twin_b TO app.twin_a, app.x TO app.twin_b";
const ADD: &str = "ALTER TABLE app.account ADD COLUMN c INT DEFAULT 3";
const SELECTED: &str = "CREATE TABLE app.picked (PRIMARY KEY (id)) SELECT id, slot FROM app.account";

async fn check_goes_on(world: &World) {
    let mover = world.mover().await;
    run(&mut world.on_source().await, &["INSERT INTO app.empty_one VALUES (42)"]).await;
    check_equal(world, &mover).await;
    let left = world
        .on_target()
        .await
        .rows("SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA='highwater' AND (TABLE_NAME LIKE 'd\\_%' OR TABLE_NAME LIKE 'e\\_%')")
        .await
        .unwrap();
    assert_eq!(left.len(), 0, "no mark of a rename is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_the_statement_is_executed_does_not_lose_it() {
    let world = World::new().await;
    world.fill(300).await;
    crash_at(&world, &[], "app.account", ADD).await;
    check_goes_on(&world).await;
    drop(world);

    let world = World::new().await;
    crash_at(&world, TWINS, "app.twin_a", EXCHANGE).await;
    check_goes_on(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_the_statement_and_the_ledger_does_not_repeat_it() {
    let world = World::new().await;
    world.fill(300).await;
    crash_at(&world, &[], "app.account", ADD).await;
    // What the server would have done, had it gone on with the statement after its client was gone.
    world.on_target().await.execute(ADD).await.unwrap();
    check_goes_on(&world).await;
    drop(world);

    // The tables are alike, so that only the mark tells that their names have been exchanged.
    let world = World::new().await;
    crash_at(&world, TWINS, "app.twin_a", EXCHANGE).await;
    let mut target = world.on_target().await;
    let mark = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA='highwater' AND TABLE_NAME LIKE 'd\\_%'";
    let due = target.row(mark).await.unwrap().unwrap().text(0);
    let done = due.replacen("d_", "e_", 1);
    target.execute(format!("{EXCHANGE}, highwater.{due} TO highwater.{done}")).await.unwrap();
    check_goes_on(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_between_a_table_and_its_selected_rows_brings_the_rows() {
    let world = World::new().await;
    world.fill(300).await;
    let mover = world.mover().await;
    copied(&mover).await;
    caught_up(&world, &mover).await;
    drop(mover);
    run(&mut world.on_source().await, &[SELECTED]).await;
    for _ in 0..3 {
        let mover = world.mover().await;
        tokio::time::sleep(Duration::from_millis(40)).await;
        drop(mover);
    }
    check_goes_on(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_repeated_stops_the_move_with_a_hint() {
    let world = World::new().await;
    let mover = world.mover().await;
    copied(&mover).await;
    let mut source = world.on_source().await;
    run(&mut source, &["CREATE DATABASE elsewhere; CREATE TABLE elsewhere.t (id INT PRIMARY KEY)"]).await;
    caught_up(&world, &mover).await;
    run(&mut source, &["RENAME TABLE elsewhere.t TO app.t"]).await;
    let wait = async {
        while mover.unless_failed().is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
    match mover.state() {
        migrate::MoverState::Failed(trouble) => {
            assert!(trouble.what.contains("renames elsewhere.t"), "{trouble:?}");
            assert!(trouble.hint.contains("schema.*"), "{trouble:?}");
        }
        other => panic!("{other:?}"),
    }
}
