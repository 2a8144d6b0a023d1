//! Names and options that are hard to carry: the target's definition equals the source's, and rows arrive.

#![allow(clippy::unwrap_used)]

mod world;

use migrate::{MoveSpec, Mover, MoverOptions, TablePattern};
use world::{World, caught_up, copied};

const SCHEMA: &str = "we`ird '\"☃ select";

const TABLES: &str = r#"
SET NAMES utf8mb4;
SET innodb_strict_mode = OFF, explicit_defaults_for_timestamp = OFF, sql_mode = '';
CREATE DATABASE `we``ird '"☃ select` CHARACTER SET latin2 COLLATE latin2_czech_cs;
USE `we``ird '"☃ select`;
CREATE TABLE `table` (`select` INT PRIMARY KEY, `from ``x``` VARCHAR(20), `naïve ☃` INT, `'q'` INT, `"d"` TEXT, `a,b (c)` INT,
  KEY `key` (`a,b (c)`), KEY `☃ key` (`naïve ☃`), KEY `'` (`'q'`, `from ``x```(3)),
  CONSTRAINT `chk ☃` CHECK (`naïve ☃` > -5), CONSTRAINT `off` CHECK (`'q'` <> 7) NOT ENFORCED) COMMENT = 'it''s "a" \\ ☃ `c`';
CREATE TABLE `back``tick` (id INT AUTO_INCREMENT PRIMARY KEY, e ENUM('a,b', 'c)''d', '☃') CHARACTER SET utf8mb4 DEFAULT '☃' COMMENT '\n\t', up INT,
  CONSTRAINT `f``k` FOREIGN KEY (up) REFERENCES `back``tick` (id) ON DELETE SET NULL) AUTO_INCREMENT = 4242 STATS_PERSISTENT = 0;
CREATE TABLE `UPPER lower` (id INT PRIMARY KEY, ts TIMESTAMP, other TIMESTAMP NULL DEFAULT '2001-01-01 00:00:01',
  z DATE NOT NULL DEFAULT '0000-00-00', u VARCHAR(36) DEFAULT (UUID()), b VARBINARY(4) DEFAULT 0x00FF, n DECIMAL(6,2) NOT NULL DEFAULT 1.50)
  ROW_FORMAT = FIXED KEY_BLOCK_SIZE = 3 DEFAULT CHARSET = gbk;
CREATE TABLE compressed (id INT PRIMARY KEY, v TEXT, KEY v (v(10))) COMPRESSION = 'zlib' DEFAULT CHARSET = utf8mb4 COLLATE utf8mb4_bin;
CREATE TABLE redundant (id INT PRIMARY KEY, v INT, KEY v (v)) ROW_FORMAT = REDUNDANT MAX_ROWS = 1000 AVG_ROW_LENGTH = 50;
CREATE TABLE `p#1` (id INT NOT NULL, r CHAR(3) CHARACTER SET latin1, PRIMARY KEY (id, r), KEY r (r)) PARTITION BY LIST COLUMNS (r)
  SUBPARTITION BY HASH (id) SUBPARTITIONS 2 (PARTITION `north, (1)` VALUES IN ('a', 'b''c') COMMENT = 'x)', PARTITION `☃` VALUES IN ('d', NULL));
INSERT INTO `table` VALUES (1, 'x', 1, 1, 'd', 2), (2, NULL, NULL, NULL, NULL, NULL);
INSERT INTO `back``tick` (e, up) VALUES ('☃', NULL), ('c)''d', 4242), ('a,b', 4242);
INSERT INTO `UPPER lower` (id) VALUES (1), (2);
INSERT INTO compressed VALUES (1, REPEAT('v', 5000));
INSERT INTO redundant VALUES (1, 1);
INSERT INTO `p#1` VALUES (1, 'a'), (2, 'd'), (3, 'b''c')
"#;

fn weird() -> MoveSpec {
    MoveSpec {
        name: "weird".into(),
        tables: vec![TablePattern { schema: SCHEMA.into(), table: None }],
        renames: Default::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_options_of_every_kind_arrive_to_the_byte() {
    let world = World::new().await;
    world.on_source().await.query_all(TABLES.trim()).await.unwrap();
    // A target with other defaults than the source's.
    let defaults = "SET GLOBAL innodb_strict_mode = ON, character_set_server = latin1, sql_require_primary_key = ON, \
                    sql_generate_invisible_primary_key = ON, explicit_defaults_for_timestamp = OFF";
    world.on_target().await.query_all(defaults).await.unwrap();
    let mover = Mover::start(MoverOptions { spec: weird(), ..world.options() }).await.unwrap();
    copied(&mover).await;
    let more = "SET NAMES utf8mb4; USE `we``ird '\"☃ select`; UPDATE `table` SET `naïve ☃` = 9, `from ``x``` = 'y'; \
                DELETE FROM `back``tick` WHERE id = 4242; INSERT INTO `p#1` VALUES (9, 'd'); UPDATE `UPPER lower` SET id = id + 5";
    world.on_source().await.query_all(more).await.unwrap();
    caught_up(&world, &mover).await;
    assert_eq!(world.schema_difference(SCHEMA).await, "");
    let verdict = mover.verify(2, &|_| ()).await.unwrap();
    assert_eq!((verdict.different, verdict.rows > 8), (0, true), "{:?}", verdict.tables);
}
