//! Copy and follow, on real servers, while writers go on.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use world::{World, Writers, caught_up, copied};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_under_write_load_loses_nothing() {
    let world = World::new().await;
    world.fill(20_000).await;
    let writers = Writers::start(&world.source, 4, 20_000, fastrand::u64(..1 << 40));
    let mover = world.mover().await;
    copied(&mover).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let statements = writers.stop().await;
    caught_up(&world, &mover).await;
    println!("{statements} statements, counts {:?}", mover.progress().applied_counts());
    assert_eq!(world.difference().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_finds_what_differs_and_nothing_else_while_writers_go_on() {
    let world = World::new().await;
    world.fill(20_000).await;
    let mover = world.mover().await;
    copied(&mover).await;
    let writers = Writers::start(&world.source, 4, 20_000, fastrand::u64(..1 << 40));
    let verdict = mover.verify(2, &|_| ()).await.unwrap();
    assert_eq!(verdict.different, 0, "{:?}", verdict.tables);
    assert!(verdict.rows >= 30_000, "{}", verdict.rows);

    let mut target = world.on_target().await;
    target.execute("INSERT INTO app.empty_one VALUES (5)").await.unwrap();
    writers.stop().await;
    caught_up(&world, &mover).await;
    let before = mover.verify_summing(2, &|_| ()).await.unwrap();
    target.execute("UPDATE app.pair SET f = f + 0.001 WHERE b = 500").await.unwrap();
    let found = mover.verify_summing(2, &|_| ()).await.unwrap();
    let pair = |v: &migrate::Verification| v.tables.iter().find(|t| t.table.table == "pair").unwrap().clone();
    let (before, differs) = (pair(&before), pair(&found));
    assert_eq!((before.different, differs.different), (0, 1));
    assert_eq!(
        (before.rows, before.hash),
        (differs.rows, differs.hash),
        "the source's, whether the target has the same or not"
    );
    assert!(before.hash.is_some() && pair(&verdict).hash.is_none(), "only a pass that is asked to sums up");
    assert!(
        found.tables.iter().any(|t| t.table.table == "empty_one" && t.keys == ["5"]),
        "{:?}",
        found.tables
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_of_many_bytes_are_copied_piece_by_piece() {
    let world = World::new().await;
    let mut source = world.on_source().await;
    source
        .query_all(
            "USE app; CREATE TABLE heavy (a INT, b VARCHAR(9) COLLATE utf8mb4_0900_ai_ci, v LONGBLOB, PRIMARY KEY (a, b));
             SET cte_max_recursion_depth = 10000; INSERT INTO heavy WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 90)
             SELECT i DIV 7, CONCAT('k,''', i), REPEAT(CHAR(i), 1000000 * (i % 3)) FROM n; ANALYZE TABLE heavy",
        )
        .await
        .unwrap();
    let mover = world.mover().await;
    // A transaction of several parts, begun while ranges are read.
    source.execute("UPDATE heavy SET v = CONCAT(v, 'x') WHERE a > 3").await.unwrap();
    copied(&mover).await;
    caught_up(&world, &mover).await;
    assert_eq!(world.schema_difference("app").await, "");
    let pieces = world.on_target().await.row("SELECT COUNT(*), SUM(done_at IS NULL), MIN(number) FROM highwater.ranges WHERE table_name='app.heavy'").await.unwrap().unwrap();
    assert!(pieces.number::<u32>(0).unwrap() >= 9 && pieces.text(1) == "0", "{pieces:?}");
    assert!(pieces.text(2).starts_with('-'), "{pieces:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_takes_the_move_over_and_the_first_one_stops() {
    let world = World::new().await;
    world.fill(200).await;
    let first = world.mover().await;
    copied(&first).await;
    let second = world.mover().await;
    let mut source = world.on_source().await;
    let begun = std::time::Instant::now();
    let stopped = loop {
        source
            .execute("INSERT INTO app.account (slot, balance) SELECT MAX(slot) + 1, 1 FROM app.account")
            .await
            .unwrap();
        match first.unless_failed() {
            Err(error) => break error.to_string(),
            Ok(()) => assert!(begun.elapsed() < Duration::from_secs(30), "the first one goes on"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(stopped.contains("another process has taken this move over"), "{stopped}");
    caught_up(&world, &second).await;
    assert_eq!(world.difference().await, "");
}
