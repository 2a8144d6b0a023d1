//! What a stranger has changed on the target is found, all of it and nothing else, and repaired while the source is written to.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use migrate::{CopyOptions, MoveSpec, Mover, MoverOptions, RepairPlan, RepairPlanTable, Start, TablePattern};
use mysql::Connection;
use world::{World, admin, caught_up, copied};

const SCHEMA: &str = "
SET NAMES utf8mb4; SET time_zone = '+00:00'; SET SESSION cte_max_recursion_depth = 100000;
CREATE DATABASE mix DEFAULT CHARACTER SET utf8mb4; USE mix;
CREATE TABLE wide (
  id INT PRIMARY KEY, f FLOAT, r DOUBLE, d DECIMAL(20,6), v VARCHAR(60) COLLATE utf8mb4_0900_ai_ci, n VARCHAR(9),
  c CHAR(9) CHARACTER SET latin1, tx TEXT, j JSON, dt DATETIME(6), ts TIMESTAMP(6) NULL, tm TIME(6), da DATE, y YEAR,
  b BIT(40), e ENUM('a','b','c'), s SET('p','q','r'), bl BLOB, bn BINARY(8), vb VARBINARY(20), g GEOMETRY, i TINYINT,
  u BIGINT UNSIGNED, twice BIGINT AS (i * 2) STORED
);
CREATE TABLE names (name VARCHAR(30) COLLATE utf8mb4_0900_ai_ci PRIMARY KEY, slot INT NOT NULL, UNIQUE KEY (slot));
CREATE TABLE pair (a VARCHAR(9) CHARACTER SET latin1, b INT, v INT, PRIMARY KEY (a, b));
CREATE TABLE bag (a INT, t VARCHAR(20), f FLOAT);
INSERT INTO wide (id, f, r, d, v, n, c, tx, j, dt, ts, tm, da, y, b, e, s, bl, bn, vb, g, i, u)
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 4000)
  SELECT i, i/3, i/7, i/9, CONCAT('naïve ', i), '', CONCAT('é', i), REPEAT('long ', i % 50),
    JSON_OBJECT('n', CAST(i AS DECIMAL(10,0)), 'd', CAST('2026-01-01' AS DATE), 'u', CAST(i AS UNSIGNED), 'f', i * 1e0),
    '2026-01-01 00:00:00.000007' + INTERVAL i SECOND, '2026-02-01 00:00:00.000007' + INTERVAL i SECOND,
    SEC_TO_TIME(i), '2026-03-01' + INTERVAL i % 900 DAY, 1970 + i % 100, i, 1 + i % 2, i % 4,
    CONCAT(UNHEX(SHA2(i, 256)), REPEAT('x', i % 90)), UNHEX(LPAD(HEX(i), 8, '0')), UNHEX(MD5_LIKE), POINT(i, i / 3), i % 100, i
  FROM (SELECT i, LEFT(SHA2(i, 256), 20) AS MD5_LIKE FROM n) AS numbered;
INSERT INTO names SELECT CONCAT('name', id), id * 10 FROM wide WHERE id <= 1000;
INSERT INTO pair SELECT CONCAT('k', id % 7), id, id FROM wide WHERE id <= 1000;
INSERT INTO bag SELECT id, CONCAT('value ', id), 0.5 FROM wide WHERE id <= 1500;
INSERT INTO bag SELECT * FROM bag WHERE a % 3 = 0";

/// How each kind of difference is made, in a row of `wide`.
const CHANGES: &[&str] = &[
    "FLOAT", // one bit, see below
    "DOUBLE",
    "d = d + 0.000001",
    "d = TRUNCATE(d, 1) + 0.05",
    "v = CONCAT(v, ' ')",
    "v = UPPER(v)",
    "v = REPLACE(v, 'ï', 'i')",
    "n = NULL",
    "n = ' '",
    "c = UPPER(c)",
    "tx = CONCAT(tx, '\\0')",
    "j = JSON_OBJECT('n', id, 'd', CAST('2026-01-01' AS DATE), 'u', CAST(id AS UNSIGNED), 'f', id * 1e0)",
    "j = JSON_OBJECT('n', CAST(id AS DECIMAL(10,0)), 'd', '2026-01-01', 'u', CAST(id AS UNSIGNED), 'f', id * 1e0)",
    "j = JSON_OBJECT('n', CAST(id AS DECIMAL(10,0)), 'd', CAST('2026-01-01' AS DATE), 'u', id, 'f', id * 1e0)",
    "j = JSON_OBJECT('n', CAST(id AS DECIMAL(10,0)), 'd', CAST('2026-01-01' AS DATE), 'u', CAST(id AS UNSIGNED), 'f', CAST(id AS DECIMAL(10,1)))",
    "j = JSON_SET(j, '$.x', NULL)",
    "j = NULL",
    "dt = dt + INTERVAL 1 MICROSECOND",
    "ts = ts + INTERVAL 1 MICROSECOND",
    "tm = ADDTIME(tm, '-00:00:00.000001')",
    "da = da + INTERVAL 1 DAY",
    "y = y + 1",
    "b = b ^ 1",
    "e = 'c'",
    "s = s ^ 4",
    "bl = CONCAT(LEFT(bl, 3), CHAR(ASCII(SUBSTRING(bl, 4)) ^ 1), SUBSTRING(bl, 5))",
    "bn = x'00'",
    "vb = CONCAT(vb, x'00')",
    "g = POINT(id, id / 3 + 1e-9)",
    "g = ST_SRID(g, 3857)",
    "i = i + 1",
    "u = u + 9223372036854775808",
];

/// What was planted: per table, the keys that must be reported.
#[derive(Default)]
struct Planted {
    wide: BTreeSet<String>,
    names: BTreeSet<String>,
    pair: BTreeSet<String>,
    bag: BTreeSet<String>,
    /// How rows of `wide` were changed.
    kinds: BTreeMap<String, &'static str>,
    count: usize,
}

/// A stranger at work on the target.
struct Stranger {
    target: Connection,
    random: fastrand::Rng,
}

impl Stranger {
    async fn new(world: &World, random: fastrand::Rng) -> Self {
        let mut target = world.on_target().await;
        target.query_all("SET NAMES utf8mb4; SET time_zone = '+00:00'; USE mix").await.unwrap();
        Self { target, random }
    }

    /// Runs a statement that must find exactly so many rows.
    async fn change(&mut self, sql: &str, rows: u64) {
        let done = loop {
            match self.target.execute(sql).await {
                // Between a lane and him, the server has chosen him; it is as if he had not begun.
                Err(error) if error.server_code() == Some(1213) => {}
                done => break done.unwrap_or_else(|e| panic!("{e} in {sql}")),
            }
        };
        assert_eq!(done.affected_rows, rows, "{sql}");
    }

    async fn plant(&mut self, number: usize) -> Planted {
        let mut planted = Planted::default();
        let mut rows: Vec<u32> = (1..=2000).collect();
        self.random.shuffle(&mut rows);
        let mut few: Vec<u32> = (1..=1000).collect();
        self.random.shuffle(&mut few);
        while planted.count < number {
            match planted.count % 10 {
                0..=6 => self.in_wide(rows.pop().unwrap(), &mut planted).await,
                7 => self.in_names((few.pop().unwrap(), few.pop().unwrap()), &mut planted).await,
                8 => self.in_pair(few.pop().unwrap(), &mut planted).await,
                _ => self.in_bag(few.pop().unwrap(), &mut planted).await,
            }
            planted.count += 1;
        }
        planted
    }

    async fn in_wide(&mut self, id: u32, planted: &mut Planted) {
        // Every kind comes, whatever the seed.
        let kind = planted.wide.len() % (CHANGES.len() + 2);
        let mut key = id;
        match CHANGES.get(kind) {
            Some(&"FLOAT") => {
                let f = self.value(&format!("SELECT f*1e0 FROM wide WHERE id = {id}")).await as f32;
                let flipped = f32::from_bits(f.to_bits() ^ 1 << self.random.u32(0..20));
                self.change(&format!("UPDATE wide SET f = {:e} WHERE id = {id}", f64::from(flipped)), 1)
                    .await;
            }
            Some(&"DOUBLE") => {
                let r = self.value(&format!("SELECT r FROM wide WHERE id = {id}")).await;
                let flipped = f64::from_bits(r.to_bits() ^ 1 << self.random.u32(0..50));
                self.change(&format!("UPDATE wide SET r = {flipped:e} WHERE id = {id}"), 1).await;
            }
            // An UPDATE leaves a document in place that compares equal to the new one, whatever their types.
            Some(change) if change.starts_with("j = JSON_OBJECT") => {
                self.change(&format!("UPDATE wide SET j = NULL WHERE id = {id}"), 1).await;
                self.change(&format!("UPDATE wide SET {change} WHERE id = {id}"), 1).await;
            }
            Some(change) => self.change(&format!("UPDATE wide SET {change} WHERE id = {id}"), 1).await,
            None if kind == CHANGES.len() => {
                self.change(&format!("DELETE FROM wide WHERE id = {id}"), 1).await
            }
            None => {
                key = 1_000_000 + id;
                self.change(&format!("INSERT INTO wide (id, v) VALUES ({key}, 'extra')"), 1).await;
            }
        }
        planted.wide.insert(key.to_string());
        planted.kinds.insert(key.to_string(), CHANGES.get(kind).unwrap_or(&"whole row"));
    }

    async fn value(&mut self, sql: &str) -> f64 {
        self.target.row(sql).await.unwrap().unwrap().number(0).unwrap()
    }

    /// The case of a key, which makes it another key; or two unique values that change hands.
    async fn in_names(&mut self, (one, other): (u32, u32), planted: &mut Planted) {
        let key = |name: String| format!("_utf8mb4'{name}'");
        if self.random.bool() {
            self.change(&format!("UPDATE names SET name = 'NAME{one}' WHERE name = 'name{one}'"), 1).await;
            planted.names.extend([key(format!("name{one}")), key(format!("NAME{one}"))]);
            return;
        }
        for (name, slot) in [(one, -1), (other, one as i32 * 10), (one, other as i32 * 10)] {
            self.change(&format!("UPDATE names SET slot = {slot} WHERE name = 'name{name}'"), 1).await;
        }
        planted.names.extend([key(format!("name{one}")), key(format!("name{other}"))]);
    }

    async fn in_pair(&mut self, b: u32, planted: &mut Planted) {
        let (a, other) = (b % 7, self.random.bool());
        let sql = match other {
            true => format!("UPDATE pair SET v = NULL WHERE a = 'k{a}' AND b = {b}"),
            false => format!("UPDATE pair SET a = 'z' WHERE a = 'k{a}' AND b = {b}"),
        };
        self.change(&sql, 1).await;
        planted.pair.insert(format!("_latin1'k{a}',{b}"));
        if !other {
            planted.pair.insert(format!("_latin1'z',{b}"));
        }
    }

    async fn in_bag(&mut self, a: u32, planted: &mut Planted) {
        let value = |t: &str, f: &str| format!("{a},_utf8mb4'{t}',{f}");
        let as_it_was = value(&format!("value {a}"), "5e-1");
        let sql = match self.random.u32(0..4) {
            0 => format!("INSERT INTO bag VALUES ({a}, 'value {a}', 0.5)"),
            1 => format!("DELETE FROM bag WHERE a = {a} LIMIT 1"),
            2 => {
                planted.bag.insert(value(&format!("VALUE {a} "), "5e-1"));
                format!("UPDATE bag SET t = 'VALUE {a} ' WHERE a = {a} LIMIT 1")
            }
            _ => {
                planted.bag.insert(value(&format!("value {a}"), "5.000000596046448e-1"));
                format!("UPDATE bag SET f = 5.000000596046448e-1 WHERE a = {a} LIMIT 1")
            }
        };
        self.change(&sql, 1).await;
        planted.bag.insert(as_it_was);
    }
}

/// Writers on the source that leave alone what is planted; a stream that meets a row which is gone stops the move.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<u64>>,
}

impl Writers {
    fn start(world: &World, seed: u64, write: fn(&mut fastrand::Rng) -> String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = |n| {
            let (stop, options) = (Arc::clone(&stop), admin(&world.source));
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed + n);
                let mut connection = Connection::connect(&options).await.unwrap();
                connection.query_all("SET NAMES utf8mb4; SET time_zone = '+00:00'; USE mix").await.unwrap();
                let mut done = 0;
                while !stop.load(Ordering::Relaxed) {
                    if connection.query_all(write(&mut random)).await.is_err() {
                        connection.query_all("ROLLBACK").await.unwrap();
                    }
                    done += 1;
                }
                done
            })
        };
        let tasks = (0..2).map(task).collect();
        Self { stop, tasks }
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut done = 0;
        for task in self.tasks {
            done += task.await.unwrap();
        }
        done
    }
}

fn beside(random: &mut fastrand::Rng) -> String {
    let id = random.u32(2001..=4000);
    match random.u32(0..7) {
        0 => format!(
            "UPDATE wide SET f = f + 1, j = JSON_SET(j, '$.n', {id}), bl = REVERSE(bl) WHERE id = {id}"
        ),
        1 => format!("INSERT INTO wide (id, v) VALUES ({}, 'new')", 5_000 + random.u32(0..900_000)),
        2 => format!("DELETE FROM wide WHERE id = {id}"),
        3 => format!("INSERT INTO names VALUES ('new {id}', {})", 100_000 + id),
        4 => format!("UPDATE names SET name = UPPER(name), slot = slot + 10000 WHERE name = 'new {id}'"),
        5 => format!("INSERT INTO bag VALUES ({}, 'new', 1)", 1_001 + id % 500),
        _ => format!("DELETE FROM bag WHERE a = {} LIMIT 1", 1_001 + id % 500),
    }
}

async fn start(world: &World) -> Mover {
    world.on_source().await.query_all(SCHEMA).await.unwrap();
    follow(world).await
}

async fn follow(world: &World) -> Mover {
    let mover = Mover::start(MoverOptions {
        spec: MoveSpec {
            name: "mix".into(),
            tables: vec![TablePattern { schema: "mix".into(), table: None }],
            renames: Default::default(),
        },
        source: admin(&world.source),
        target: admin(&world.target),
        start: Start::Copy(CopyOptions::default()),
    })
    .await
    .unwrap();
    copied(&mover).await;
    mover
}

fn keys<'a>(plan: &'a RepairPlan, table: &str) -> (BTreeSet<String>, &'a RepairPlanTable) {
    let planned = plan.tables.iter().find(|t| t.table.table == table).unwrap();
    let keys: BTreeSet<String> = planned.statements.iter().map(|s| s.key.clone()).collect();
    assert_eq!((keys.len(), planned.not_shown), (planned.statements.len(), 0), "each once");
    (keys, planned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_differences_are_found_and_repaired() {
    let world = World::new().await;
    let mover = start(&world).await;
    let seed = fastrand::u64(..1 << 40);
    println!("seed: {seed}");
    let writers = Writers::start(&world, seed, beside);
    let mut stranger = Stranger::new(&world, fastrand::Rng::with_seed(seed)).await;
    let planted = stranger.plant(1_000).await;
    assert_eq!(planted.count, 1_000);

    let begun = Instant::now();
    let found = mover.verify(2, &|_| ()).await.unwrap();
    println!("{} rows compared, {} differ, after {:?}", found.rows, found.different, begun.elapsed());
    assert_eq!(mover.watched().unsettled(), mover.watched().count());
    assert!(mover.watched().count() >= 1_000, "what he did is named");
    let plan = mover.plan_repair().await.unwrap();
    for (table, expected) in
        [("wide", &planted.wide), ("names", &planted.names), ("pair", &planted.pair), ("bag", &planted.bag)]
    {
        let (reported, planned) = keys(&plan, table);
        let missed: Vec<_> =
            expected.difference(&reported).map(|key| (key, planted.kinds.get(key))).collect();
        let others: Vec<_> = reported.difference(expected).collect();
        assert!(
            missed.is_empty() && others.is_empty(),
            "{table}: {missed:?} not reported, {others:?} not planted"
        );
        let verdict = found.tables.iter().find(|t| t.table.table == table).unwrap();
        if table != "bag" {
            assert_eq!(verdict.different, expected.len() as u64, "{table}");
        }
        println!("{table}: {} statements, such as {}", planned.statements.len(), planned.statements[0].sql);
    }

    let report = mover.repair(plan.id, &|_| ()).await.unwrap();
    println!("repaired: {report:?}");
    assert_eq!((report.different, report.keys_in_flight, mover.proof().different()), (0, 0, 0), "{report:?}");
    let repaired = |table: &str| report.tables.iter().find(|t| t.table.table == table).unwrap();
    for (table, expected) in [("wide", &planted.wide), ("names", &planted.names), ("pair", &planted.pair)] {
        assert_eq!(repaired(table).repaired, expected.len() as u64, "{table}");
    }
    assert_eq!(mover.watched().unsettled(), 0, "every row was compared since, and what differed is repaired");
    assert!(mover.repair(plan.id, &|_| ()).await.is_err(), "a plan is carried out once");

    let again = mover.verify(2, &|_| ()).await.unwrap();
    assert_eq!(again.different, 0, "{:?}", again.tables);
    let statements = writers.stop().await;
    println!("{statements} statements of writers");
    assert!(statements > 200);
    caught_up(&world, &mover).await;
    assert_eq!(world.schema_difference("mix").await, "");
}

/// Rows that were found different, with new values, and under keys that a collation takes for the same.
fn onto_the_wrong_rows(random: &mut fastrand::Rng) -> String {
    let id = random.u32(1..=60);
    match random.u32(0..4) {
        0 => format!("UPDATE wide SET v = '{}', i = i + 1 WHERE id = {id}", random.u64(..)),
        1 => format!("UPDATE names SET name = UPPER(name) WHERE name = 'name{id}'"),
        2 => format!("UPDATE names SET name = LOWER(name), slot = slot + 100000 WHERE name = 'name{id}'"),
        _ => format!("UPDATE pair SET b = b + 1000 WHERE b % 1000 = {id}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_written_to_while_they_are_repaired_end_equal() {
    let world = World::new().await;
    let mover = start(&world).await;
    let seed = fastrand::u64(..1 << 40);
    println!("seed: {seed}");
    let mut stranger = Stranger::new(&world, fastrand::Rng::with_seed(seed)).await;
    let (mut hot, mut cold) = (Vec::new(), 0);
    for round in 0..6 {
        // No row that the stream is to find by its key is gone; names are spelt in another case.
        let sql = "UPDATE wide SET v = 'wrong' WHERE id <= 60 OR id BETWEEN 1000 AND 1500; \
                   UPDATE names SET slot = -slot WHERE slot BETWEEN 1 AND 600; UPDATE pair SET v = -1 WHERE b % 1000 <= 60";
        stranger.target.query_all(sql).await.unwrap();
        let found = mover.verify(2, &|_| ()).await.unwrap();
        assert!(found.different > 500, "{round}: {:?}", found.tables);
        let plan = mover.plan_repair().await.unwrap();
        let writers = Writers::start(&world, seed + round, onto_the_wrong_rows);
        let report = mover.repair(plan.id, &|_| ()).await.unwrap();
        writers.stop().await;
        hot.push(report.keys_in_flight);
        cold += report.repaired;
        caught_up(&world, &mover).await;
        assert_eq!(world.schema_difference("mix").await, "", "{round}: {report:?}");
        // Keys that were in flight are proven again without being asked for, and then differ no more.
        let begun = Instant::now();
        while mover.proof().different() > 0 || mover.keys_in_flight() > 0 {
            assert!(begun.elapsed().as_secs() < 10, "{:?}", mover.proof().verdicts());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    println!("{cold} rows repaired; in flight to the end: {hot:?}");
    assert!(cold > 2_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unique_values_that_have_changed_hands_among_many_rows_are_repaired_together() {
    let world = World::new().await;
    let mover = start(&world).await;
    let mut stranger = Stranger::new(&world, fastrand::Rng::new()).await;
    // Every row has its neighbour's value: more rows than go into one transaction.
    stranger.change("UPDATE names SET slot = -slot", 1_000).await;
    stranger.change("UPDATE names SET slot = IF(slot = -10000, 10, 10 - slot)", 1_000).await;
    assert_eq!(mover.verify(2, &|_| ()).await.unwrap().different, 1_000);
    let plan = mover.plan_repair().await.unwrap();
    let report = mover.repair(plan.id, &|_| ()).await.unwrap();
    assert_eq!(
        (report.repaired, report.different, &report.tables[0].refused),
        (1_000, 0, &None),
        "{report:?}"
    );
    assert_eq!(world.schema_difference("mix").await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_cannot_be_repaired_are_told_and_the_move_goes_on() {
    let world = World::new().await;
    let mover = start(&world).await;
    let mut stranger = Stranger::new(&world, fastrand::Rng::new()).await;
    stranger.change("UPDATE wide SET v = 'wrong' WHERE id IN (7, 8)", 2).await;
    assert_eq!(mover.verify(2, &|_| ()).await.unwrap().different, 2);
    let plan = mover.plan_repair().await.unwrap();
    stranger.target.query_all("START TRANSACTION; SELECT * FROM wide WHERE id = 7 FOR SHARE").await.unwrap();
    let report = mover.repair(plan.id, &|_| ()).await.unwrap();
    let refused = report.tables[0].refused.clone().unwrap();
    println!("{refused}, after {:.1} s", report.seconds);
    assert_eq!((report.repaired, report.different), (0, 2), "{report:?}");
    assert!(refused.contains("locked rows on the target"), "{refused}");

    stranger.target.execute("ROLLBACK").await.unwrap();
    // What is equal by then is left alone, and so is what came later and was not shown.
    let plan = mover.plan_repair().await.unwrap();
    stranger.change("UPDATE wide SET v = 'naïve 7' WHERE id = 7", 1).await;
    stranger.change("UPDATE wide SET v = 'wrong, too' WHERE id = 9", 1).await;
    let report = mover.repair(plan.id, &|_| ()).await.unwrap();
    assert_eq!((report.repaired, report.tables[0].different), (1, 0), "{report:?}");
    assert!(world.schema_difference("mix").await.contains("wrong, too"));
    world.on_source().await.execute("UPDATE mix.wide SET v = 'right' WHERE id = 9").await.unwrap();
    caught_up(&world, &mover).await;
    assert_eq!(world.schema_difference("mix").await, "");

    // Values that no such column can have.
    stranger.change("UPDATE wide SET v = 'wrong' WHERE id = 10", 1).await;
    assert_eq!(mover.verify(2, &|_| ()).await.unwrap().different, 1);
    let plan = mover.plan_repair().await.unwrap();
    stranger.target.query_all("ALTER TABLE wide MODIFY tm VARCHAR(20), MODIFY u VARCHAR(20)").await.unwrap();
    stranger.change("UPDATE wide SET u = 'none' WHERE id = 10", 1).await;
    let report = mover.repair(plan.id, &|_| ()).await.unwrap();
    let refused = report.tables[0].refused.clone().unwrap();
    assert!(report.different > 0 && refused.contains("not of the table's shape"), "{report:?}");
    mover.unless_failed().unwrap();
    world.on_source().await.execute("UPDATE mix.wide SET v = 'right' WHERE id = 11").await.unwrap();
    caught_up(&world, &mover).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_stranger_has_made_huge_are_found_by_hashes_and_repaired() {
    let world = World::new().await;
    let source = &mut world.on_source().await;
    source
        .query_all(
            "CREATE DATABASE mix; CREATE TABLE mix.files (id INT PRIMARY KEY, name VARCHAR(20), b LONGBLOB); \
             INSERT INTO mix.files WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 300) \
             SELECT i, 'file', REPEAT('b', 1000) FROM n",
        )
        .await
        .unwrap();
    let mover = follow(&world).await;
    let mut stranger = Stranger::new(&world, fastrand::Rng::new()).await;
    // 28 MB of the one range there is, where 16 MiB are held; what is small differs as well.
    stranger.change("UPDATE files SET b = REPEAT('x', 1000000) WHERE id % 11 = 0 AND id <= 300", 27).await;
    stranger.change("UPDATE files SET name = 'File' WHERE id IN (1, 299)", 2).await;
    stranger.change("DELETE FROM files WHERE id = 2", 1).await;
    stranger.change("INSERT INTO files VALUES (1000, 'more', REPEAT('x', 1000000))", 1).await;
    let found = mover.verify(2, &|_| ()).await.unwrap();
    assert_eq!((found.different, found.rows), (31, 300));
    let plan = mover.plan_repair().await.unwrap();
    let (keys, planned) = keys(&plan, "files");
    let mut expected: BTreeSet<String> = (1..=27).map(|n| (n * 11).to_string()).collect();
    expected.extend(["1", "299", "2", "1000"].map(str::to_owned));
    assert_eq!(keys, expected);
    assert!(planned.statements.iter().all(|statement| statement.sql.len() < 300), "values are cut");
    let report = mover.repair(plan.id, &|_| ()).await.unwrap();
    assert_eq!((report.repaired, report.different), (31, 0), "{report:?}");
    assert_eq!(world.schema_difference("mix").await, "");
}
