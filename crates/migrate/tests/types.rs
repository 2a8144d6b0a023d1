//! Every type the stream carries, in rows that are copied and in rows that are followed.

#![allow(clippy::unwrap_used)]

mod world;

use migrate::{MoveSpec, Mover, MoverOptions, TablePattern};
use mysql::Connection;
use world::{World, caught_up, copied};

const SCHEMA: &str = "
CREATE DATABASE `zoo` DEFAULT CHARACTER SET utf8mb4;
CREATE TABLE zoo.numbers (
  id INT PRIMARY KEY, t TINYINT, tu TINYINT UNSIGNED, s SMALLINT, su SMALLINT UNSIGNED, m MEDIUMINT, mu MEDIUMINT UNSIGNED,
  i INT, iu INT UNSIGNED, b BIGINT, bu BIGINT UNSIGNED, d DECIMAL(65,30), d0 DECIMAL(1,0), d9 DECIMAL(18,9) UNSIGNED,
  f FLOAT, r DOUBLE, f2 FLOAT(7,3), bt BIT(64), b1 BIT(1), y YEAR
);
CREATE TABLE zoo.moments (
  id INT PRIMARY KEY, d DATE, t0 TIME, t3 TIME(3), t6 TIME(6), dt DATETIME, dt1 DATETIME(1), dt6 DATETIME(6),
  ts TIMESTAMP NULL, ts2 TIMESTAMP(2) NULL, ts6 TIMESTAMP(6) NULL
);
CREATE TABLE zoo.texts (
  id INT PRIMARY KEY, c CHAR(10), v VARCHAR(300), l VARCHAR(20) CHARACTER SET latin1, g VARCHAR(20) CHARACTER SET gbk,
  u3 VARCHAR(20) CHARACTER SET utf8mb3, cb CHAR(5) COLLATE utf8mb4_bin, tx LONGTEXT, bi BINARY(8), vb VARBINARY(300), bl LONGBLOB,
  e ENUM('small','naïve','O''Neil'), st SET('a','b','ü'), j JSON
);
CREATE TABLE zoo.computed (
  a INT NOT NULL, `stored` INT GENERATED ALWAYS AS (a * 2) STORED, b VARCHAR(20) NOT NULL DEFAULT (UUID()),
  virtual_one VARCHAR(40) GENERATED ALWAYS AS (CONCAT(b, '!')) VIRTUAL, hidden INT INVISIBLE DEFAULT 5,
  at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), PRIMARY KEY (a), KEY f ((a + 1))
);
CREATE TABLE zoo.`odd ``name``, ü` (`the key` VARCHAR(30) COLLATE utf8mb4_0900_ai_ci, `select` INT, PRIMARY KEY (`the key`));
CREATE TABLE zoo.keyed (
  en ENUM('z','a','m') NOT NULL, de DECIMAL(8,3) NOT NULL, ts TIMESTAMP(6) NOT NULL, bi BINARY(4) NOT NULL,
  la VARCHAR(10) CHARACTER SET latin1 NOT NULL, v INT, PRIMARY KEY (en, de, ts, bi, la)
);
CREATE TABLE zoo.by_enum (e ENUM('z','a','m') PRIMARY KEY, v INT);
CREATE TABLE zoo.rounded (id INT AUTO_INCREMENT PRIMARY KEY, r DOUBLE(20,5), rw DOUBLE(53,30), f FLOAT(20,2), fz FLOAT(8,6) UNSIGNED ZEROFILL, v INT);
CREATE TABLE zoo.by_bits (b BIT(60) PRIMARY KEY, v INT);
CREATE TABLE zoo.by_moment (ts TIMESTAMP(3) PRIMARY KEY, v INT);
INSERT INTO zoo.by_enum VALUES ('z', 1), ('a', 2), ('m', 3);
INSERT INTO zoo.by_bits VALUES (1, 1), (b'111111111111111111111111111111111111111111111111111111111111', 2), (0, 3);
INSERT INTO zoo.by_moment VALUES ('2026-01-01', 1), ('2026-01-01 00:00:00.001', 2), ('2026-07-01', 3);
CREATE TABLE zoo.counted (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, u INT, UNIQUE KEY (u)) AUTO_INCREMENT=77;
CREATE TABLE zoo.parted (id INT NOT NULL, y INT NOT NULL, PRIMARY KEY (id, y)) PARTITION BY RANGE (y)
  (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE)";

/// Rows whose keys begin at `from`, so that one set can be there before the copy and another come by the stream.
async fn insert(source: &mut Connection, from: i32) {
    source
        .query_all("SET NAMES utf8mb4; SET SESSION sql_mode='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'")
        .await
        .unwrap();
    let statements = [
        format!(
            "INSERT INTO zoo.numbers VALUES
             ({from}, -128, 255, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295, -9223372036854775808,
              18446744073709551615, -99999999999999999999999999999999999.999999999999999999999999999999, -9, 999999999.999999999,
              -3.4028234e38, 1.7976931348623157e308, 1234.567, x'8000000000000001', b'1', 2155),
             ({from}+1, 127, 0, 32767, 0, 8388607, 0, 2147483647, 0, 9223372036854775807, 0, 0.000000000000000000000000000001,
              0, 0, 1.17549435e-38, -2.2250738585072014e-308, -0.001, 0, b'0', 0),
             ({from}+2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
             ({from}+3, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, -0.5, 9, 0.000000001, 0.1, -0e0, 3.5, 255, b'1', 1901)"
        ),
        format!(
            "INSERT INTO zoo.moments VALUES
             ({from}, '9999-12-31', '838:59:59', '-838:59:59.000', '-00:00:00.000001', '9999-12-31 23:59:59', '1000-01-01 00:00:00.9',
              '2026-02-29 12:00:00.123456', '2038-01-19 03:14:07', '1970-01-01 12:00:01.99', '2024-02-29 23:59:59.999999'),
             ({from}+1, '0000-00-00', '00:00:00', '00:00:00.001', '-12:34:56.789012', '0000-00-00 00:00:00', '2026-00-00 00:00:00',
              '2026-06-00 01:02:03.000001', '0000-00-00 00:00:00', '0000-00-00 00:00:00', NULL),
             ({from}+2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
        ),
        format!(
            "INSERT INTO zoo.texts VALUES
             ({from}, 'pad  ', 'trail  ', 'caf\u{e9}', '\u{4e2d}\u{6587}\\\\', '\u{20ac}\u{fffd}', 'A', REPEAT('\u{1f3a8}x', 40000), x'0100', x'00ff00',
              REPEAT(x'00ff5c27', 30000), 'na\u{ef}ve', 'a,\u{fc}',
              '{{\"a\": [1, -2.5e0, true, null, \"q\\\\\"\\\\\\\\ \u{1f3a8}\"], \"big\": 18446744073709551615, \"neg\": -9223372036854775808, \"e\": {{}}, \"n\": 1.0}}'),
             ({from}+1, '', '', '', '', '', '', '', x'', x'', x'', 'small', '', '[]'),
             ({from}+2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
             ({from}+3, '''\"\\\\', '\\0\\n\\Z%_', 'x', 'y', 'z', 'a', 'b', 'c', 'd', 'e', 'O''Neil', 'a,b,\u{fc}', 'null')"
        ),
        format!("INSERT INTO zoo.computed (a, b) VALUES ({from}, 'one'), ({from}+1, 'two')"),
        format!("INSERT INTO zoo.computed (a, b, hidden) VALUES ({from}+2, 'three', NULL)"),
        format!("INSERT INTO zoo.`odd ``name``, \u{fc}` VALUES ('Key {from}', 1), ('\u{c4}pfel {from}', 2), ('', {from})
                 ON DUPLICATE KEY UPDATE `select` = {from}"),
        format!(
            "INSERT INTO zoo.keyed VALUES ('z', {from}.125, '2026-01-01 00:00:00.000001', x'0a00', '\u{e9}', 1),
             ('a', {from}.125, '2026-01-01 00:00:00.000001', x'0a00', '\u{e9}', 2), ('m', -{from}.5, '2026-01-01', x'5c27', '', 3)"
        ),
        format!("INSERT INTO zoo.counted (u) VALUES ({from}), ({from}+1), (NULL), (NULL)"),
        format!("INSERT INTO zoo.parted VALUES ({from}, 1990), ({from}, 2020)"),
        // Numbers that are rounded to digits as they are stored must not be rounded again into others.
        format!(
            "INSERT INTO zoo.rounded (r, rw, f, fz, v) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 200)
             SELECT (RAND({from}) - 0.5) * POW(10, i % 15), (RAND() - 0.5) * POW(10, i % 23 - 3), (RAND() - 0.5) * POW(10, i % 17),
             RAND() * 99, i FROM n"
        ),
    ];
    for sql in statements {
        source.execute(&sql).await.unwrap_or_else(|e| panic!("{e} in {sql}"));
    }
    let zero = "INSERT INTO zoo.counted (id, u) VALUES (0, -1) ON DUPLICATE KEY UPDATE u = u - 1";
    source.execute(zero).await.unwrap();
}

async fn start(world: &World) -> Mover {
    let spec = MoveSpec {
        name: "zoo".into(),
        tables: vec![TablePattern { schema: "zoo".into(), table: None }],
        renames: Default::default(),
    };
    Mover::start(MoverOptions { spec, ..world.options() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_supported_type_arrives_exactly() {
    let world = World::new().await;
    let mut source = world.on_source().await;
    source.execute("SET NAMES utf8mb4").await.unwrap();
    source.query_all(SCHEMA).await.unwrap();
    insert(&mut source, 1000).await;
    insert(&mut source, 3000).await;
    let mover = start(&world).await;
    copied(&mover).await;
    caught_up(&world, &mover).await;
    assert_eq!(world.schema_difference("zoo").await, "", "as copied");

    insert(&mut source, 5000).await;
    let changes = [
        "UPDATE zoo.numbers SET id = id + 20000, f = f / 3, r = r / 3, d = d / 7 WHERE id >= 3000",
        "UPDATE zoo.moments SET dt6 = dt6 + INTERVAL 1 MICROSECOND, ts6 = NOW(6) WHERE id < 3000",
        "UPDATE zoo.texts SET v = CONCAT(v, ' '), bi = REVERSE(bi), j = JSON_ARRAY(j, RAND(), -0e0, 1e300) WHERE id < 5000",
        "UPDATE zoo.computed SET a = a + 100000, hidden = 9 WHERE a >= 3000",
        "UPDATE zoo.keyed SET en = 'm', de = de + 0.001, bi = x'ff', ts = ts + INTERVAL 1 SECOND WHERE en = 'z'",
        "UPDATE zoo.parted SET y = 3990 - y",
        "REPLACE INTO zoo.counted (id, u) VALUES (9000, 1001)",
        "DELETE FROM zoo.texts WHERE id IN (1001, 5001)",
        "DELETE FROM zoo.keyed WHERE en = 'a'",
        "UPDATE zoo.by_enum SET v = v + 1",
        "UPDATE zoo.by_bits SET v = v + 1",
        "UPDATE zoo.by_moment SET v = v + 1",
        "DELETE FROM zoo.by_enum WHERE e = 'a'",
        "UPDATE zoo.rounded SET r = r / 3, rw = rw * 7, f = f / 7, fz = fz / 3, v = v + 1 WHERE v % 2 = 0",
    ];
    for sql in changes {
        source.execute(sql).await.unwrap_or_else(|e| panic!("{e} in {sql}"));
    }
    caught_up(&world, &mover).await;
    assert_eq!(world.schema_difference("zoo").await, "", "as followed");
    let verdict = mover.verify(2, &|_| ()).await.unwrap();
    assert_eq!(verdict.different, 0, "{:?}", verdict.tables);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_changes_of_a_case_insensitive_key_are_followed() {
    let world = World::new().await;
    let mut source = world.on_source().await;
    source
        .query_all(
            "SET NAMES utf8mb4; CREATE DATABASE zoo; CREATE TABLE zoo.names (name VARCHAR(20) COLLATE utf8mb4_0900_ai_ci PRIMARY KEY, n INT);
             INSERT INTO zoo.names VALUES ('anna', 1), ('bert', 2), ('c\u{e9}cile', 3)",
        )
        .await
        .unwrap();
    let mover = start(&world).await;
    copied(&mover).await;
    for sql in [
        "UPDATE zoo.names SET name = 'ANNA' WHERE n = 1",
        "START TRANSACTION; UPDATE zoo.names SET name = 'Bert' WHERE n = 2; UPDATE zoo.names SET name = 'BERT', n = 20 WHERE n = 2; COMMIT",
        "START TRANSACTION; DELETE FROM zoo.names WHERE n = 3; INSERT INTO zoo.names VALUES ('CECILE', 4); COMMIT",
        "START TRANSACTION; INSERT INTO zoo.names VALUES ('dora', 5); DELETE FROM zoo.names WHERE name = 'DORA'; COMMIT",
        "START TRANSACTION; SAVEPOINT a; INSERT INTO zoo.names VALUES ('emil', 6); ROLLBACK TO a; INSERT INTO zoo.names VALUES ('Emil', 7); COMMIT",
    ] {
        source.query_all(sql).await.unwrap();
    }
    caught_up(&world, &mover).await;
    assert_eq!(world.schema_difference("zoo").await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_transactions_and_large_rows_are_followed() {
    let world = World::new().await;
    let mut source = world.on_source().await;
    source
        .query_all("CREATE DATABASE zoo; CREATE TABLE zoo.big (id INT PRIMARY KEY, b LONGBLOB); INSERT INTO zoo.big VALUES (0, REPEAT(x'00', 9000000))")
        .await
        .unwrap();
    let mover = start(&world).await;
    copied(&mover).await;
    source.query_all("USE zoo; SET cte_max_recursion_depth = 100000").await.unwrap();
    source
        .execute("INSERT INTO zoo.big WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 50000) SELECT i, REPEAT('x', i % 90) FROM n")
        .await
        .unwrap();
    source.execute("UPDATE zoo.big SET b = REPEAT(x'ff27', 6000000) WHERE id IN (0, 1)").await.unwrap();
    source.execute("DELETE FROM zoo.big WHERE id % 2 = 0 AND id > 0").await.unwrap();
    caught_up(&world, &mover).await;
    assert_eq!(world.schema_difference("zoo").await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_every_type_find_their_row_again_and_no_other() {
    let world = World::new().await;
    let mut source = world.on_source().await;
    let keys: [(&str, &[&str]); 17] = [
        ("YEAR", &["0", "2000", "1901", "2155", "1970"]),
        ("TIME(6)", &["'-838:59:59'", "'838:59:59'", "0", "'-00:00:00.000001'", "'00:00:00.5'"]),
        ("DATE", &["'0000-00-00'", "'2000-00-00'", "'9999-12-31'", "'2026-02-31'", "'2000-01-01'"]),
        (
            "DATETIME(2)",
            &["'0000-00-00'", "'2026-02-31 00:00:00.01'", "'1000-01-01'", "'2026-03-29 02:30:00'"],
        ),
        (
            "TIMESTAMP",
            &["'0000-00-00'", "'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'2026-03-29 02:30:00'"],
        ),
        ("SET('a','b','c')", &["''", "'a'", "'a,c'", "'b'"]),
        ("BIGINT UNSIGNED", &["0", "18446744073709551615", "9223372036854775808", "9223372036854775807"]),
        ("BIGINT", &["-9223372036854775808", "9223372036854775807", "0", "-1"]),
        ("BIT(64)", &["x'ffffffffffffffff'", "x'8000000000000000'", "0", "1"]),
        (
            "DECIMAL(65,30)",
            &["-0.000000000000000000000000000001", "0", "99999999999999999999999999999999999", "-1.5"],
        ),
        ("VARCHAR(20) CHARACTER SET ucs2", &["'a'", "'\u{4e5c}\u{5c27}'", "''", "'b,c'"]),
        ("VARCHAR(20) CHARACTER SET utf16le", &["'a\u{1f3a8}'", "'\u{275c}'", "'\\\\'"]),
        ("VARCHAR(20) CHARACTER SET sjis", &["'\u{30bd}\u{8868}'", "'A'", "'''\\\\'"]),
        ("VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_german2_ci", &["'\u{e4}'", "'b'", "'o '", "''"]),
        ("CHAR(200) COLLATE utf8mb4_general_ci", &["'pad'", "'\u{df}'", "'x\\0y'", "''"]),
        ("BINARY(4)", &["x''", "x'00000001'", "x'20'", "x'ff'"]),
        ("VARBINARY(9)", &["x''", "x'00'", "x'0000'", "x'20'"]),
    ];
    let settings =
        "SET NAMES utf8mb4; SET time_zone='+00:00', sql_mode='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'";
    source.query_all(format!("{settings}; CREATE DATABASE zoo; USE zoo")).await.unwrap();
    for (n, (kind, values)) in keys.iter().enumerate() {
        let rows: Vec<String> = values.iter().enumerate().map(|(i, v)| format!("({v}, {i})")).collect();
        source
            .query_all(format!(
                "CREATE TABLE k{n} (k {kind} NOT NULL PRIMARY KEY, v INT); INSERT INTO k{n} VALUES {}",
                rows.join(",")
            ))
            .await
            .unwrap_or_else(|e| panic!("{e} for {kind}"));
        source
            .query_all(format!("CREATE TABLE d{n} (k {kind} NOT NULL, n INT, v INT, PRIMARY KEY (k, n)); INSERT INTO d{n} SELECT k, v, v FROM k{n}"))
            .await
            .unwrap();
    }
    // Ranges of one row, so that every key is a bound as well.
    let spec = MoveSpec {
        name: "zoo".into(),
        tables: vec![TablePattern { schema: "zoo".into(), table: None }],
        renames: Default::default(),
    };
    let start =
        migrate::Start::Copy(migrate::CopyOptions { readers: 2, chunk_rows: 1, ..Default::default() });
    let mover = Mover::start(MoverOptions { spec, start, ..world.options() }).await.unwrap();
    copied(&mover).await;
    assert_eq!(world.schema_difference("zoo").await, "", "as copied");
    for n in 0..keys.len() {
        for table in ["k", "d"] {
            source
                .query_all(format!("UPDATE {table}{n} SET v = v + 10; DELETE FROM {table}{n} WHERE v = 10"))
                .await
                .unwrap();
        }
    }
    caught_up(&world, &mover).await;
    assert_eq!(world.schema_difference("zoo").await, "", "as followed");
    let verdict = mover.verify(2, &|_| ()).await.unwrap();
    assert_eq!(verdict.different, 0, "{:?}", verdict.tables);
}
