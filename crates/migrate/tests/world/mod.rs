//! Two servers, tables that are hard to move, and writers that keep changing them.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::print_stdout)]

pub mod clients;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use migrate::{CopyOptions, MoveSpec, Mover, MoverOptions, Start, TablePattern};
use mysql::{ConnectOptions, Connection, Password};
use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Mysqld, Node, NodeOptions};

pub struct World {
    pub source: Node,
    pub target: Node,
}

pub fn admin(node: &Node) -> ConnectOptions {
    ConnectOptions::new("127.0.0.1", node.port(), ADMIN_USER, Password::new(ADMIN_PASSWORD))
}

pub fn spec() -> MoveSpec {
    MoveSpec {
        name: "app".into(),
        tables: vec![TablePattern { schema: "app".into(), table: None }],
        renames: Default::default(),
    }
}

const SCHEMA: &str = "
CREATE DATABASE app;
CREATE TABLE app.account (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  slot INT NOT NULL, balance DECIMAL(12,2) NOT NULL, note VARCHAR(40) CHARACTER SET utf8mb4,
  changed TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), UNIQUE KEY slot (slot)
);
CREATE TABLE app.pair (
  a VARCHAR(20) CHARACTER SET latin1 NOT NULL, b INT NOT NULL, v DOUBLE, f FLOAT, j JSON, bits BIT(12),
  e ENUM('x','y','é') , s SET('p','q','r'), d DATE, t TIME(3), y YEAR, bin BINARY(6), vb VARBINARY(40),
  twice INT GENERATED ALWAYS AS (b * 2) STORED, thrice INT GENERATED ALWAYS AS (b * 3) VIRTUAL,
  PRIMARY KEY (a, b), KEY b (b)
);
CREATE TABLE app.empty_one (id INT PRIMARY KEY)";

impl World {
    pub async fn new() -> Self {
        let mysqld = Mysqld::find().unwrap();
        let source = Node::start(&mysqld, NodeOptions::new("source").server_id(1)).unwrap();
        let target = Node::start(&mysqld, NodeOptions::new("target").server_id(2)).unwrap();
        let world = Self { source, target };
        world.on_source().await.query_all(SCHEMA).await.unwrap();
        world
    }

    pub async fn on_source(&self) -> Connection {
        Connection::connect(&admin(&self.source)).await.unwrap()
    }

    pub async fn on_target(&self) -> Connection {
        Connection::connect(&admin(&self.target)).await.unwrap()
    }

    /// Fills the tables: `rows` accounts and as many pairs.
    pub async fn fill(&self, rows: u32) {
        let mut source = self.on_source().await;
        source.query_all("USE app; SET NAMES utf8mb4").await.unwrap();
        source.execute("SET cte_max_recursion_depth = 10000000").await.unwrap();
        let numbers =
            format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < {rows})");
        source
            .execute(format!(
                "INSERT INTO app.account (slot, balance, note) {numbers} SELECT i*10, i*1.25, CONCAT('naïve ☃ ', i) FROM n"
            ))
            .await
            .unwrap();
        source
            .execute(format!(
                "INSERT INTO app.pair (a,b,v,f,j,bits,e,s,d,t,y,bin,vb) {numbers} SELECT CONCAT('k\\'é', i % 97), i, i/7, \
                 i/3, JSON_OBJECT('n', i, 'x', JSON_ARRAY(1.5e0, 'a\\\\b', NULL, TRUE)), i % 4096, 1 + i % 3, i % 8, \
                 DATE('2020-01-01') + INTERVAL i % 3000 DAY, SEC_TO_TIME(i % 5000 - 2500), 1970 + i % 100, \
                 UNHEX(LPAD(HEX(i), 8, '0')), UNHEX(SHA2(i, 224)) FROM n"
            ))
            .await
            .unwrap();
    }

    pub async fn mover(&self) -> Mover {
        Mover::start(self.options()).await.unwrap()
    }

    pub fn options(&self) -> MoverOptions {
        MoverOptions {
            spec: spec(),
            source: admin(&self.source),
            target: admin(&self.target),
            start: Start::Copy(CopyOptions { readers: 3, chunk_rows: 500, ..CopyOptions::default() }),
        }
    }

    /// What both sides hold, compared by the servers' own words: empty if equal.
    pub async fn difference(&self) -> String {
        let (mut source, mut target) = (self.on_source().await, self.on_target().await);
        let mut found = String::new();
        for table in ["account", "pair", "empty_one"] {
            let sql = format!("SELECT * FROM app.{table} ORDER BY 1, 2");
            let sql = if table == "empty_one" { "SELECT * FROM app.empty_one".into() } else { sql };
            source.execute("SET time_zone='+00:00'").await.unwrap();
            target.execute("SET time_zone='+00:00'").await.unwrap();
            let here = source.rows(&sql).await.unwrap();
            let there = target.rows(&sql).await.unwrap();
            if here.len() != there.len() {
                found += &format!("{table}: {} rows here, {} there; ", here.len(), there.len());
            }
            for (h, t) in here.iter().zip(&there) {
                if let Some(i) = (0..h.len()).find(|&i| h.bytes(i) != t.bytes(i)) {
                    found +=
                        &format!("{table}: row {}: column {i}: {} / {}; ", h.text(0), h.text(i), t.text(i));
                    break;
                }
            }
        }
        found
    }
}

impl World {
    /// Every table of a schema, compared by content and by definition; empty if equal.
    pub async fn schema_difference(&self, schema: &str) -> String {
        let (mut source, mut target) = (self.on_source().await, self.on_target().await);
        let mut found = String::new();
        for server in [&mut source, &mut target] {
            server.query_all("SET NAMES utf8mb4; SET time_zone='+00:00'; SET show_create_table_skip_secondary_engine=0; SET show_gipk_in_create_table_and_information_schema=1").await.unwrap();
        }
        let list = format!(
            "SELECT TABLE_NAME, (SELECT GROUP_CONCAT(CONCAT('`', REPLACE(COLUMN_NAME, '`', '``'), '`') ORDER BY ORDINAL_POSITION) \
             FROM information_schema.COLUMNS c WHERE c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME) \
             FROM information_schema.TABLES t WHERE TABLE_SCHEMA = '{}' AND TABLE_TYPE = 'BASE TABLE'",
            schema.replace('\'', "''")
        );
        for row in source.rows(list).await.unwrap() {
            let name = format!("`{}`.`{}`", schema.replace('`', "``"), row.text(0).replace('`', "``"));
            let create = format!("SHOW CREATE TABLE {name}");
            let (here, there) =
                (source.row(&create).await.unwrap().unwrap(), target.row(&create).await.unwrap().unwrap());
            // The counter is advanced at a cutover, not before.
            let shape = |r: &mysql::Row| {
                r.text(1)
                    .split(" AUTO_INCREMENT=")
                    .map(|s| s.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned())
                    .collect::<String>()
            };
            if shape(&here) != shape(&there) {
                found += &format!("{name} is defined as {} / {}; ", shape(&here), shape(&there));
            }
            let sql = format!("SELECT {} FROM {name}", row.text(1));
            let (mut here, mut there) = (all(&mut source, &sql).await, all(&mut target, &sql).await);
            here.sort();
            there.sort();
            if here != there {
                let bad = here.iter().zip(&there).find(|(h, t)| h != t);
                let shown = bad.map(|(h, t)| format!("{h:?} / {t:?}"));
                found += &format!("{name}: {} rows here, {} there, {shown:?}; ", here.len(), there.len());
            }
        }
        found
    }
}

async fn all(connection: &mut Connection, sql: &str) -> Vec<Vec<String>> {
    let rows = connection.rows(sql).await.unwrap();
    let cell = |r: &mysql::Row, i| r.bytes(i).map_or("NULL".into(), |b| b.escape_ascii().to_string());
    rows.iter().map(|r| (0..r.len()).map(|i| cell(r, i)).collect()).collect()
}

/// Writers that swap unique values, change keys, and touch both tables in one transaction.
pub struct Writers {
    stop: Arc<AtomicBool>,
    pub statements: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    pub fn start(node: &Node, count: u64, rows: u64, seed: u64) -> Self {
        println!("writers' seed: {seed}");
        let stop = Arc::new(AtomicBool::new(false));
        let statements = Arc::new(AtomicU64::new(0));
        let tasks = (0..count)
            .map(|n| {
                let (stop, statements, options) = (Arc::clone(&stop), Arc::clone(&statements), admin(node));
                tokio::spawn(async move {
                    let mut random = fastrand::Rng::with_seed(seed + n);
                    let mut connection = Connection::connect(&options).await.unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        write_once(&mut connection, &mut random, rows).await;
                        statements.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Self { stop, statements, tasks }
    }

    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.statements.load(Ordering::Relaxed)
    }
}

async fn write_once(connection: &mut Connection, random: &mut fastrand::Rng, rows: u64) {
    let (x, y) = (random.u64(1..=rows), random.u64(1..=rows));
    let sql = match random.u32(0..8) {
        0 => format!(
            "INSERT INTO app.account (slot, balance) VALUES ({}, 1.00)",
            -random.i64(1..=2_000_000_000)
        ),
        1 => format!("DELETE FROM app.account WHERE id = {x}"),
        2 => format!("UPDATE app.account SET balance = balance + 1, note = 'changed' WHERE id = {x}"),
        // Swap two unique values: neither order of single updates is free of a collision on the way.
        3 => format!(
            "START TRANSACTION; SELECT slot INTO @s FROM app.account WHERE id = {x}; \
             SELECT slot INTO @t FROM app.account WHERE id = {y}; \
             UPDATE app.account SET slot = -{x} * 100000 - 7 WHERE id = {x} AND @t IS NOT NULL AND {x} <> {y}; \
             UPDATE app.account SET slot = @s WHERE id = {y} AND @s IS NOT NULL AND {x} <> {y}; \
             UPDATE app.account SET slot = @t WHERE id = {x} AND @t IS NOT NULL AND {x} <> {y}; COMMIT"
        ),
        4 => format!("UPDATE app.pair SET b = b + 1000000 WHERE b = {x} LIMIT 1"),
        5 => format!(
            "UPDATE app.pair SET a = UPPER(a), v = v * 1.5, f = f + 0.1, j = JSON_SET(j, '$.n', {y}) WHERE b = {x}"
        ),
        6 => format!(
            "START TRANSACTION; UPDATE app.account SET balance = balance - 1 WHERE id = {x}; \
             INSERT INTO app.pair (a, b) VALUES ('new', {}); DELETE FROM app.pair WHERE b = {y}; COMMIT",
            random.i32(2_000_000..i32::MAX / 4)
        ),
        _ => format!(
            "START TRANSACTION; INSERT INTO app.account (slot, balance) VALUES ({}, 5); \
             DELETE FROM app.account WHERE id = LAST_INSERT_ID(); COMMIT",
            -random.i64(1..=2_000_000_000)
        ),
    };
    // Collisions and deadlocks are part of the load; the transaction is then as if it had never been.
    if connection.query_all(&sql).await.is_err() {
        connection.query_all("ROLLBACK").await.unwrap();
    }
}

/// Waits until the copy is complete.
pub async fn copied(mover: &Mover) {
    let begun = std::time::Instant::now();
    while !mover.progress().all_copied() {
        mover.unless_failed().unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "the copy does not end: {:?}",
            mover.progress().tables()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until everything the source has is applied.
pub async fn caught_up(world: &World, mover: &Mover) {
    let wanted = migrate::gtid_executed(&mut world.on_source().await, migrate::Side::Source).await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), mover.applied(&wanted)).await.expect("catches up").unwrap();
}
