//! Every kind of event that a binary log may hold, followed: compressed, tagged, prepared, partial.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::{Duration, Instant};

use migrate::{MoveSpec, Mover, MoverOptions, MoverState, TablePattern};
use model::GtidSet;
use mysql::Connection;
use world::{World, caught_up, copied};

const SCHEMA: &str = "
CREATE DATABASE zoo;
CREATE TABLE zoo.beasts (id INT PRIMARY KEY, name VARCHAR(100), note LONGTEXT, j JSON, n INT, k JSON, UNIQUE KEY (name));
INSERT INTO zoo.beasts (id, name) VALUES (1, 'ape'), (2, 'bee'), (3, 'cat')";

async fn begin(world: &World, sql: &str) -> Connection {
    let mut source = world.on_source().await;
    source.query_all("SET NAMES utf8mb4; SET cte_max_recursion_depth = 1000000").await.unwrap();
    source.query_all(SCHEMA).await.unwrap();
    if !sql.is_empty() {
        run(&mut source, sql).await;
    }
    source
}

async fn run(server: &mut Connection, sql: &str) {
    server.query_all(sql).await.unwrap_or_else(|e| panic!("{e} in {sql}"));
}

fn options(world: &World) -> MoverOptions {
    let spec = MoveSpec {
        name: "zoo".into(),
        tables: vec![TablePattern { schema: "zoo".into(), table: None }],
        renames: Default::default(),
    };
    MoverOptions { spec, ..world.options() }
}

async fn start(world: &World) -> Mover {
    let mover = Mover::start(options(world)).await.unwrap();
    copied(&mover).await;
    mover
}

async fn equal(world: &World, mover: &Mover) {
    caught_up(world, mover).await;
    assert_eq!(world.schema_difference("zoo").await, "");
    let verdict = mover.verify(1, &|_| ()).await.unwrap();
    assert_eq!(verdict.different, 0, "{:?}", verdict.tables);
}

/// Waits until the target has, or has not, rows with this id.
async fn shows(world: &World, id: u32, there: bool) {
    let mut target = world.on_target().await;
    let begun = Instant::now();
    let sql = format!("SELECT COUNT(*) FROM zoo.beasts WHERE id = {id}");
    while (target.row(&sql).await.unwrap().unwrap().text(0) == "1") != there {
        assert!(begun.elapsed() < Duration::from_secs(20), "row {id} there: {}", !there);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the ledger's rows say together.
async fn ledger(world: &World) -> GtidSet {
    let sql = "SELECT applied FROM highwater.ledger WHERE move_name = 'zoo'";
    let mut applied = GtidSet::default();
    for row in world.on_target().await.rows(sql).await.unwrap() {
        applied.union(&row.text(0).parse().unwrap());
    }
    applied
}

async fn executed(source: &mut Connection) -> GtidSet {
    migrate::gtid_executed(source, migrate::Side::Source).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_transactions_are_followed_like_any_other() {
    let world = World::new().await;
    let mut source = begin(&world, "").await;
    let mover = start(&world).await;
    run(&mut source, "USE zoo; SET SESSION binlog_transaction_compression = ON").await;
    for level in [1, 3, 22] {
        run(
            &mut source,
            &format!(
                "SET SESSION binlog_transaction_compression_level_zstd = {level}; START TRANSACTION;
                 INSERT INTO beasts (id, name, note) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 20000)
                   SELECT i + {level} * 100000, CONCAT('beast ', {level}, ' ', i), REPEAT('moo ', i % 100) FROM n;
                 UPDATE beasts SET name = CONCAT('re', name) WHERE id % 3 = 0 AND id >= {level} * 100000; COMMIT;
                 DELETE FROM beasts WHERE id % 5 = 0;
                 INSERT INTO beasts (id, name, note) VALUES ({level} * 1000, 'big {level}', REPEAT(RANDOM_BYTES(500), 20000))
                   ON DUPLICATE KEY UPDATE note = NULL"
            )
            .replace("RANDOM_BYTES(500)", "HEX(RANDOM_BYTES(500))"),
        )
        .await;
        run(&mut source, "UPDATE beasts SET n = 7 WHERE id = 1").await;
    }
    run(
        &mut source,
        "SET SESSION binlog_transaction_compression = OFF; UPDATE beasts SET n = 8 WHERE id = 1",
    )
    .await;
    equal(&world, &mover).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tagged_transactions_are_in_the_ledger_and_a_restart_goes_on_after_them() {
    let world = World::new().await;
    let before = "SET gtid_next = 'AUTOMATIC:early'; UPDATE zoo.beasts SET n = 1; SET gtid_next = AUTOMATIC";
    let mut source = begin(&world, before).await;
    let mover = start(&world).await;
    for (id, tag) in [(10, "nightly"), (11, "a_tag_of_thirty_two_characters__"), (12, "nightly")] {
        run(
            &mut source,
            &format!("SET gtid_next = 'AUTOMATIC:{tag}'; INSERT INTO zoo.beasts (id) VALUES ({id})"),
        )
        .await;
    }
    run(&mut source, "SET gtid_next = AUTOMATIC; INSERT INTO zoo.beasts (id) VALUES (13)").await;
    equal(&world, &mover).await;
    let applied = ledger(&world).await.to_string();
    assert!(applied.contains(":nightly:1-2") && applied.contains(":early:1"), "{applied}");
    mover.stop().await;
    drop(mover);

    run(&mut source, "SET gtid_next = 'AUTOMATIC:nightly'; INSERT INTO zoo.beasts (id) VALUES (20)").await;
    let mover = start(&world).await;
    run(&mut source, "DELETE FROM zoo.beasts WHERE id = 10").await;
    equal(&world, &mover).await;
    assert!(ledger(&world).await.to_string().contains(":nightly:1-4"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_transaction_takes_effect_when_it_is_decided_also_after_a_restart() {
    let world = World::new().await;
    let mut source = begin(&world, "").await;
    let mover = start(&world).await;
    for (name, id) in [("'kept','b\u{e9}',5", 100), ("'undone'", 101), ("'later'", 102)] {
        run(
            &mut source,
            &format!(
                "XA START {name}; INSERT INTO zoo.beasts (id) VALUES ({id}); UPDATE zoo.beasts SET n = {id} WHERE id = {id};
                 XA END {name}; XA PREPARE {name}"
            ),
        )
        .await;
    }
    run(&mut source, "XA START 'once'; INSERT INTO zoo.beasts (id) VALUES (103); XA END 'once'; XA COMMIT 'once' ONE PHASE")
        .await;
    shows(&world, 103, true).await;
    for id in [100, 101, 102] {
        shows(&world, id, false).await;
    }
    run(&mut source, "XA COMMIT 'kept','b\u{e9}',5; XA ROLLBACK 'undone'").await;
    shows(&world, 100, true).await;
    // What is only in memory is not in the ledger: there is a hole where it was prepared.
    assert!(!ledger(&world).await.contains(&executed(&mut source).await));
    mover.stop().await;
    drop(mover);

    run(&mut source, "UPDATE zoo.beasts SET n = 5 WHERE id = 100").await;
    let mover = start(&world).await;
    run(&mut source, "INSERT INTO zoo.beasts (id) VALUES (104)").await;
    shows(&world, 104, true).await;
    shows(&world, 102, false).await;
    run(&mut source, "XA COMMIT 'later'").await;
    equal(&world, &mover).await;
    assert_eq!(ledger(&world).await, executed(&mut source).await);
    shows(&world, 101, false).await;
    shows(&world, 102, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_and_prepared_at_once_is_followed_too() {
    let world = World::new().await;
    let mut source = begin(&world, "SET SESSION binlog_transaction_compression = ON").await;
    let mover = start(&world).await;
    run(
        &mut source,
        "SET gtid_next = 'AUTOMATIC:xa'; XA START 'c'; INSERT INTO zoo.beasts (id) VALUES (100); XA END 'c'; XA PREPARE 'c';
         SET gtid_next = AUTOMATIC; INSERT INTO zoo.beasts (id) VALUES (101); XA COMMIT 'c'",
    )
    .await;
    equal(&world, &mover).await;
    shows(&world, 100, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_does_not_begin_while_a_transaction_is_prepared() {
    let world = World::new().await;
    let mut source = begin(&world, "").await;
    run(&mut source, "XA START 'x'; DELETE FROM zoo.beasts WHERE id = 1; XA END 'x'; XA PREPARE 'x'").await;
    let error = Mover::start(options(&world)).await.err().unwrap().trouble();
    assert!(error.what.contains("prepared state") && error.hint.contains("XA RECOVER"), "{error:?}");
    run(&mut source, "XA ROLLBACK 'x'").await;
    let mover = start(&world).await;
    equal(&world, &mover).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partial_json_updates_are_applied_to_the_document_before_them() {
    let world = World::new().await;
    let document = r#"'{"a": [1, [2, {"deep": "x"}], 3], "k": "a longer text that can be updated in place", "n": {"m": 1.5}}'"#;
    let mut source = begin(
        &world,
        &format!("UPDATE zoo.beasts SET j = {document}, k = '[]' WHERE id < 3; SET SESSION binlog_row_value_options = 'PARTIAL_JSON'"),
    )
    .await;
    let mover = start(&world).await;
    for change in [
        "j = JSON_SET(j, '$.k', 'short'), k = JSON_ARRAY_APPEND(k, '$', 1)",
        "j = JSON_REPLACE(j, '$.a[1][1].deep', 'y'), n = 6",
        "j = JSON_REMOVE(j, '$.a[1][0]', '$.n')",
        "j = JSON_ARRAY_INSERT(j, '$.a[0]', CAST('2020-01-01' AS DATE)), k = '{\"whole\": 1}'",
        "j = JSON_SET(j, '$.\"new \\\\\"name\\\\\"\"', 2.50, '$.\u{fc}', CAST(7 AS UNSIGNED), '$.a[9]', NULL)",
        "j = JSON_SET(j, '$.a[last]', x'00ff', '$.now', TIMESTAMP'2026-11-24 12:00:00.5')",
        "j = JSON_SET(j, '$.z', 1, '$.z', 2, '$.t', TIME'-10:11:12')",
        "j = JSON_REMOVE(j, '$.a[last]'), k = NULL",
        "j = JSON_SET(j, '$.k', REPEAT('long ', 20000))",
        "j = JSON_REMOVE(j, '$.k'), k = '5'",
    ] {
        run(&mut source, &format!("UPDATE zoo.beasts SET {change}")).await;
        run(&mut source, "UPDATE zoo.beasts SET j = JSON_SET(j, '$.last', id) WHERE id = 2").await;
    }
    // That the log did hold partial images is what this test is about.
    let log = source.row("SHOW BINARY LOG STATUS").await.unwrap().unwrap().text(0);
    let events = source.rows(format!("SHOW BINLOG EVENTS IN '{log}'")).await.unwrap();
    assert!(events.iter().filter(|e| e.text(2) == "Update_rows_partial").count() >= 10);
    equal(&world, &mover).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_image_that_is_not_whole_stops_the_move_by_name() {
    let world = World::new().await;
    let mut source = begin(&world, "SET SESSION binlog_row_image = 'MINIMAL'").await;
    let mover = start(&world).await;
    run(&mut source, "UPDATE zoo.beasts SET n = 9 WHERE id = 1").await;
    let begun = Instant::now();
    loop {
        if let MoverState::Failed(trouble) = mover.state() {
            assert!(trouble.what.contains("zoo.beasts without all its columns"), "{trouble:?}");
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the move goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
