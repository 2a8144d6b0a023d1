//! Indexes added when the rows are there: the definition comes out as the source's, to the byte, and a crash in between
//! is made good.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use migrate::{CopyOptions, MoverOptions, Start};
use mysql::Connection;
use world::{World, Writers, caught_up, copied};

const SHAPES: &str = "
USE app;
CREATE TABLE many (
  id INT AUTO_INCREMENT, a INT, b VARCHAR(30) CHARACTER SET latin1, c TEXT, d INT NOT NULL, e INT DEFAULT 3 INVISIBLE,
  v INT GENERATED ALWAYS AS (a + d) VIRTUAL, s INT GENERATED ALWAYS AS (a * d) STORED, j JSON,
  PRIMARY KEY (id), KEY first_a (a), UNIQUE KEY null_u (b), UNIQUE KEY whole (d), KEY prefix (c(5), b(3)),
  KEY down (a DESC, d), KEY hidden (d) INVISIBLE, KEY on_virtual (v), KEY on_stored (s, a) USING BTREE COMMENT 'it''s, (here) \\\\ `x`',
  KEY `na``me, (1)` (e), KEY block (b) KEY_BLOCK_SIZE = 8, FULLTEXT KEY words (c), KEY after_words (e, a)
) COMMENT 'KEY `x` (`y`), \\' )';
CREATE TABLE expressions (id INT PRIMARY KEY, a INT, t VARCHAR(20), j JSON, KEY plain (a), KEY lower_t ((LOWER(t))), KEY two (a, t),
  KEY arr ((CAST(j->'$.n' AS UNSIGNED ARRAY))), KEY last (t, a), UNIQUE KEY u ((a + 1)));
CREATE TABLE numbered (a INT NOT NULL, n INT NOT NULL AUTO_INCREMENT, u INT NOT NULL UNIQUE, KEY before_it (a), KEY n (n), KEY after_it (a, u)) AUTO_INCREMENT = 77;
CREATE TABLE child (id INT PRIMARY KEY, x INT, p INT, y INT, q INT, KEY x (x), KEY y (y, x), KEY z (q),
  CONSTRAINT `f-k` FOREIGN KEY (p) REFERENCES parent (id), CONSTRAINT g FOREIGN KEY (q) REFERENCES parent (loose));
CREATE TABLE parts (id INT NOT NULL, d DATE NOT NULL, v INT, PRIMARY KEY (id, d), KEY v (v), KEY d (d, v)) ROW_FORMAT = COMPRESSED
  PARTITION BY RANGE (YEAR(d)) (PARTITION `p,(1)` VALUES LESS THAN (2020), PARTITION p2 VALUES LESS THAN MAXVALUE);
INSERT INTO parts SELECT id, '2019-01-01' + INTERVAL id DAY, slot FROM account;
INSERT INTO many (a, b, c, d) SELECT id, CONCAT('b', id), CONCAT('some words ', id), id FROM account;
INSERT INTO expressions SELECT id, id, CONCAT('T', id), JSON_OBJECT('n', JSON_ARRAY(id, 1)) FROM account;
INSERT INTO numbered (a, u) SELECT id % 7, id FROM account;
INSERT INTO parent SELECT id, id % 5 FROM account;
INSERT INTO child SELECT id, id, id, id, id % 5 FROM account";

/// The parent's own index is not unique, which the server takes when asked to.
async fn world() -> World {
    let world = World::new().await;
    world.fill(3_000).await;
    let mut source = world.on_source().await;
    source
        .query_all(
            "SET NAMES utf8mb4; SET foreign_key_checks = 0, restrict_fk_on_non_standard_key = OFF; USE app; \
             CREATE TABLE parent (id INT PRIMARY KEY, loose INT, KEY aa (id, loose), KEY loose (loose), KEY zz (loose, id))",
        )
        .await
        .unwrap();
    source.query_all(SHAPES).await.unwrap();
    world
}

async fn indexes(server: &mut Connection) -> Vec<String> {
    let sql = "SELECT DISTINCT CONCAT(TABLE_NAME, '.', INDEX_NAME) n FROM information_schema.STATISTICS \
               WHERE TABLE_SCHEMA = 'app' AND NON_UNIQUE ORDER BY n";
    server.rows(sql).await.unwrap().iter().map(|r| r.text(0)).collect()
}

async fn noted(target: &mut Connection) -> u64 {
    target.row("SELECT COUNT(*) FROM highwater.indexes").await.unwrap().unwrap().number(0).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_index_is_where_the_source_has_it_while_writers_go_on() {
    let world = world().await;
    let writers = Writers::start(&world.source, 2, 3_000, fastrand::u64(..1 << 40));
    let mover = world.mover().await;
    copied(&mover).await;
    writers.stop().await;
    caught_up(&world, &mover).await;
    assert_eq!(world.schema_difference("app").await, "");
    assert_eq!(noted(&mut world.on_target().await).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_rows_and_indexes_is_made_good() {
    let world = world().await;
    let mut target = world.on_target().await;
    // The server's own lock keeps the indexes from being added; rows get in.
    let mover = world.mover().await;
    target
        .query_all("START TRANSACTION; SELECT COUNT(*) FROM app.many; SELECT COUNT(*) FROM app.child")
        .await
        .unwrap();
    let lacking: Vec<String> = indexes(&mut world.on_source().await).await;
    let begun = std::time::Instant::now();
    while indexes(&mut world.on_target().await).await.contains(&"account.note".to_owned()) {
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let there = indexes(&mut world.on_target().await).await;
    for kept in [
        "child.z",
        "child.f-k",
        "numbered.n",
        "numbered.before_it",
        "parent.loose",
        "expressions.lower_t",
        "many.words",
    ] {
        assert!(there.contains(&kept.to_owned()), "{kept} of {there:?}");
    }
    for later in ["many.first_a", "many.hidden", "many.na`me, (1)"] {
        assert!(
            lacking.contains(&later.to_owned()) && !there.contains(&later.to_owned()),
            "{later} of {there:?}"
        );
    }
    assert!(!mover.progress().all_copied());
    drop(mover);
    drop(target);
    // Half of them were added by hand, or by a statement whose answer was lost.
    let mut target = world.on_target().await;
    // Not by their text in the process list: beside them run statements of ours with bytes that are no text there.
    let waiting = "SELECT PROCESSLIST_ID FROM performance_schema.threads JOIN \
                   performance_schema.events_statements_current s USING (THREAD_ID) \
                   WHERE s.EVENT_NAME = 'statement/sql/alter_table' AND s.END_EVENT_ID IS NULL";
    for row in target.rows(waiting).await.unwrap() {
        let _ = target.execute(format!("KILL {}", row.text(0))).await;
    }
    while !target.rows(waiting).await.unwrap().is_empty() {}
    if !indexes(&mut target).await.contains(&"many.first_a".to_owned()) {
        target.execute("ALTER TABLE app.many ADD KEY first_a (a)").await.unwrap();
    }

    let mover = world.mover().await;
    copied(&mover).await;
    caught_up(&world, &mover).await;
    assert_eq!(world.schema_difference("app").await, "");
    assert_eq!(noted(&mut target).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn left_to_the_option_every_index_is_there_from_the_start() {
    let world = world().await;
    let copy = CopyOptions { readers: 3, chunk_rows: 500, defer_indexes: false, ..CopyOptions::default() };
    let options = MoverOptions { start: Start::Copy(copy), ..world.options() };
    let mover = migrate::Mover::start(options).await.unwrap();
    assert_eq!(indexes(&mut world.on_target().await).await, indexes(&mut world.on_source().await).await);
    assert_eq!(noted(&mut world.on_target().await).await, 0);
    copied(&mover).await;
    assert_eq!(world.schema_difference("app").await, "");
}
