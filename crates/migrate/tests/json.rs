//! JSON documents with every type of scalar, copied and followed: the same types at every path.

#![allow(clippy::unwrap_used)]

mod world;

use migrate::{MoveSpec, Mover, MoverOptions, TablePattern};
use mysql::Connection;
use world::{World, caught_up, copied};

/// Column types whose values JSON_ARRAY takes as they are, and a value of each.
const COLUMNS: &[(&str, &str)] = &[
    ("ts TIMESTAMP(3) NULL", "'2020-01-01 10:00:00.123'"),
    ("zero TIMESTAMP NULL", "'0000-00-00 00:00:00'"),
    ("dt DATETIME(2)", "'1999-12-31 23:59:59.99'"),
    ("zd DATETIME", "'0000-00-00'"),
    ("da DATE", "'2020-02-31'"),
    ("ti TIME(3)", "'-838:59:58.125'"),
    ("b9 BIT(9)", "b'100000001'"),
    ("b64 BIT(64)", "x'ffffffffffffffff'"),
    ("b1 BIT(1)", "b'0'"),
    ("tb TINYBLOB", "x'00ff5c27'"),
    ("bl BLOB", "REPEAT(x'00ff5c27', 200)"),
    ("mb MEDIUMBLOB", "x''"),
    ("lb LONGBLOB", "REPEAT(x'00ff', 40000)"),
    ("bi BINARY(4)", "x'0102'"),
    ("vb VARBINARY(3000)", "REPEAT(x'5c', 2999)"),
    ("y YEAR", "2020"),
    ("e ENUM('a','b')", "'b'"),
    ("s SET('x','y')", "'x,y'"),
    ("f FLOAT", "0.1"),
    ("d DOUBLE", "-2.180337339807616e-221"),
    ("de DECIMAL(10,3)", "1.500"),
    ("d0 DECIMAL(20,0)", "-12345678901234567890"),
    ("dx DECIMAL(65,30)", "-0.000000000000000000000000000001"),
    ("bu BIGINT UNSIGNED", "18446744073709551615"),
    ("tu TINYINT UNSIGNED", "5"),
    ("bs BIGINT", "-9223372036854775808"),
    ("g GEOMETRY", "ST_GeomFromText('POINT(1 2)')"),
];

/// Documents by expression, for what columns do not give.
const EXPRESSIONS: &[&str] = &[
    "'null'",
    "'{}'",
    "'[[], {}, [[]], {\"\": {}}]'",
    "'{\"a\": 1, \"b\": [1, 2.0, -0.0, 1e300, \"1\", true, null], \"c\": {\"d\": {\"e\": [[[\"x\"]]]}}}'",
    "'18446744073709551615'",
    "CAST(1.50 AS JSON)",
    "CAST(CAST('2020-01-01' AS DATE) AS JSON)",
    "CAST(x'00' AS JSON)",
    "CAST(CAST(5 AS UNSIGNED) AS JSON)",
    "JSON_ARRAY(100/3, 0.5, -0.50, 5., CAST(5 AS DECIMAL(30,10)), SUM(1.10), AVG(1))",
    "JSON_OBJECT('plain', CAST('{\"k\": [1, 2]}' AS JSON), 'a''\"\\\\\u{fc}\\n', JSON_ARRAY(1, JSON_OBJECT('p', 1.5), \
       CAST('[1, {\"q\": 2}]' AS JSON), JSON_ARRAY(JSON_ARRAY(NOW(6)))), 'z', JSON_ARRAY(CAST(3 AS UNSIGNED), 3))",
    "JSON_ARRAY('base64:type15:AP8=', '2020-01-01', '1.5', x'00ff', DATE'2020-01-01', 1.5, 1.5e0)",
    "JSON_OBJECT('big', JSON_ARRAY(REPEAT('x', 70000), 1.5), 'more', REPEAT('y', 70000))",
    "(SELECT JSON_ARRAYAGG(JSON_OBJECT('i', i, 'h', i / 2)) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 \
       FROM n WHERE i < 3000) SELECT i FROM n) t)",
];

async fn run(server: &mut Connection, sql: &str) {
    server.query_all(sql).await.unwrap_or_else(|e| panic!("{e} in {sql}"));
}

async fn prepared(world: &World) -> Connection {
    let mut source = world.on_source().await;
    run(
        &mut source,
        "SET NAMES utf8mb4; SET time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES', cte_max_recursion_depth = 10000;
         CREATE DATABASE zoo; CREATE DATABASE aside; USE aside; CREATE TABLE zoo.docs (id INT AUTO_INCREMENT PRIMARY KEY, j JSON, k JSON)",
    )
    .await;
    for (i, (column, value)) in COLUMNS.iter().enumerate() {
        run(&mut source, &format!("CREATE TABLE t{i} ({column}); INSERT INTO t{i} VALUES ({value})")).await;
    }
    source
}

async fn insert(source: &mut Connection) {
    for (i, (column, _)) in COLUMNS.iter().enumerate() {
        let name = column.split(' ').next().unwrap();
        let documents = [
            format!("JSON_ARRAY({name}, 'same', {name})"),
            format!("JSON_OBJECT('deep', JSON_ARRAY(1, JSON_OBJECT('{name}', {name})), 'x', 1.5e0)"),
        ];
        for document in documents {
            run(source, &format!("INSERT INTO zoo.docs (j, k) SELECT {document}, NULL FROM t{i}")).await;
        }
    }
    for document in EXPRESSIONS {
        run(source, &format!("INSERT INTO zoo.docs (j, k) SELECT {document}, '[1]' FROM (SELECT 1) t")).await;
    }
}

/// Every document with its size (except of those with a DECIMAL, which is padded to its column's precision, and shows
/// nothing of that but the size) and, for every value in it, the type and the text.
async fn contents(server: &mut Connection) -> Vec<String> {
    run(server, "SET NAMES utf8mb4; SET group_concat_max_len = 100000000").await;
    let all = |path| {
        format!(
            "(SELECT GROUP_CONCAT(CONCAT(JSON_TYPE(v), ' ', v) ORDER BY n SEPARATOR '\n') FROM \
             JSON_TABLE(j, '{path}' COLUMNS (n FOR ORDINALITY, v JSON PATH '$')) t)"
        )
    };
    let sql = format!(
        "SELECT CONCAT_WS('|', id, JSON_STORAGE_SIZE(j) - JSON_STORAGE_FREE(j), JSON_TYPE(j), j, {}, {}) FROM zoo.docs ORDER BY id",
        all("$**.*"),
        all("$**[*]")
    );
    server.rows(sql).await.unwrap().iter().map(|row| without_padding(row.text(0))).collect()
}

fn without_padding(document: String) -> String {
    if !document.contains("DECIMAL") {
        return document;
    }
    let mut parts: Vec<_> = document.split('|').collect();
    parts.remove(1);
    parts.join("|")
}

async fn compare(world: &World) {
    let here = contents(&mut world.on_source().await).await;
    let there = contents(&mut world.on_target().await).await;
    assert_eq!(here.len(), there.len());
    for (here, there) in here.iter().zip(&there) {
        let short = |s: &str| s.chars().take(1500).collect::<String>();
        assert!(here == there, "\n{}\n{}", short(here), short(there));
    }
}

async fn start(world: &World) -> Mover {
    let spec = MoveSpec {
        name: "zoo".into(),
        tables: vec![TablePattern { schema: "zoo".into(), table: None }],
        renames: Default::default(),
    };
    let mover = Mover::start(MoverOptions { spec, ..world.options() }).await.unwrap();
    copied(&mover).await;
    mover
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scalar_of_a_document_keeps_its_type() {
    let world = World::new().await;
    let mut source = prepared(&world).await;
    insert(&mut source).await;
    let mover = start(&world).await;
    caught_up(&world, &mover).await;
    compare(&world).await;

    insert(&mut source).await;
    run(&mut source, "UPDATE zoo.docs SET j = JSON_ARRAY(j, 2.50), k = JSON_OBJECT('k', j) WHERE id % 3 = 0")
        .await;
    caught_up(&world, &mover).await;
    compare(&world).await;
    let verdict = mover.verify(1, &|_| ()).await.unwrap();
    assert_eq!(verdict.different, 0, "{:?}", verdict.tables);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_lost_a_type_is_found_by_verify() {
    let world = World::new().await;
    let mut source = prepared(&world).await;
    run(
        &mut source,
        "INSERT INTO zoo.docs (j) VALUES (JSON_ARRAY(1.5)), (JSON_ARRAY(DATE'2020-01-01')), (JSON_ARRAY(CAST(1 AS UNSIGNED))),
           ('[1.5]'), ('[\"a\"]')",
    )
    .await;
    let mover = start(&world).await;
    caught_up(&world, &mover).await;
    // The same text everywhere, and in three documents no longer the same value.
    // An UPDATE straight to it would change nothing: to the server 1.5 is 1.5.
    let update =
        "UPDATE zoo.docs SET k = CAST(j AS CHAR CHARACTER SET utf8mb4); UPDATE zoo.docs SET j = NULL;
        UPDATE zoo.docs SET j = k, k = NULL";
    run(&mut world.on_target().await, update).await;
    let verdict = mover.verify(1, &|_| ()).await.unwrap();
    assert_eq!(verdict.different, 3, "{:?}", verdict.tables);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubles_of_a_document_keep_their_last_bit() {
    let world = World::new().await;
    let mut source = prepared(&world).await;
    let doubles = "INSERT INTO zoo.docs (j) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 3000)
        SELECT JSON_ARRAY(RAND() * POW(10, FLOOR(RAND() * 600) - 300) * IF(RAND() < 0.5, -1, 1), IF(i % 2, 1.5, NULL)) FROM n";
    run(&mut source, doubles).await;
    let mover = start(&world).await;
    run(&mut source, doubles).await;
    caught_up(&world, &mover).await;
    compare(&world).await;
}
