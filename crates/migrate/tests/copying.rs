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
    target.execute("UPDATE app.pair SET f = f + 0.001 WHERE b = 500").await.unwrap();
    let found = mover.verify(2, &|_| ()).await.unwrap();
    assert!(
        found.tables.iter().any(|t| t.table.table == "empty_one" && t.keys == ["5"]),
        "{:?}",
        found.tables
    );
}
