//! Locks of the servers' own on definitions of tables, which statements of ours wait for, or stand in the way of.

#![allow(clippy::unwrap_used)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mysql::Connection;
use world::{World, caught_up, copied};

/// Waits until a query of performance_schema finds something.
async fn until(server: &mut Connection, from: &str) {
    let sql = format!("SELECT COUNT(*) FROM performance_schema.{from}");
    let begun = std::time::Instant::now();
    while server.row(&sql).await.unwrap().unwrap().text(0) == "0" {
        assert!(begun.elapsed().as_secs() < 20, "{from}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A table is opened anew once the cache of definitions has been flushed. That takes the schema's lock while the table's is held;
/// ALTER DATABASE takes them the other way round, and the reader is the victim: error 1213 of a plain SELECT.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_that_meets_a_change_of_its_schema_is_made_again() {
    let world = World::new().await;
    world.fill(300).await;
    let keyless = "CREATE TABLE app.keyless (n INT) SELECT id AS n FROM app.account";
    world.on_source().await.execute(keyless).await.unwrap();
    let mover = world.mover().await;
    copied(&mover).await;

    let ended = Arc::new(AtomicBool::new(false));
    let (mut schema, mut reader) = (world.on_target().await, world.on_target().await);
    let altering = tokio::spawn({
        let ended = Arc::clone(&ended);
        async move {
            while !ended.load(Ordering::Relaxed) {
                for collation in ["utf8mb4_bin", "utf8mb4_0900_ai_ci"] {
                    schema
                        .query_all(format!("ALTER DATABASE app COLLATE {collation}; FLUSH TABLES"))
                        .await
                        .unwrap();
                }
            }
        }
    });
    let reading = tokio::spawn({
        let ended = Arc::clone(&ended);
        async move {
            let mut victims = 0_u32;
            while !ended.load(Ordering::Relaxed) {
                match reader.rows("SELECT * FROM app.empty_one").await {
                    Ok(_) => {}
                    Err(error) if error.server_code() == Some(1213) => victims += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            victims
        }
    });
    let begun = std::time::Instant::now();
    let mut passes = 0;
    while passes < 5 || begun.elapsed().as_secs() < 5 {
        let verdict = mover.verify(2, &|_| ()).await.unwrap();
        assert_eq!((verdict.different, verdict.rows), (0, 900));
        passes += 1;
    }
    ended.store(true, Ordering::Relaxed);
    altering.await.unwrap();
    let victims = reading.await.unwrap();
    println!("{passes} passes, {victims} victims among plain readers");
    assert!(victims > 0, "nothing met here");
}

/// The lane in turn waits behind an ALTER TABLE, which waits for a lane that has run ahead, which waits for its turn. No
/// server sees that circle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_ahead_of_its_turn_lets_a_change_of_its_table_pass() {
    const OF_PAIR: &str = "metadata_locks WHERE OBJECT_SCHEMA = 'app' AND OBJECT_NAME = 'pair' AND LOCK_TYPE";
    let world = World::new().await;
    world.fill(700).await;
    let mover = world.mover().await;
    copied(&mover).await;
    caught_up(&world, &mover).await;

    let (mut source, mut target) = (world.on_source().await, world.on_target().await);
    let mut in_turn = world.on_target().await;
    in_turn.query_all("START TRANSACTION; SELECT * FROM app.account WHERE id = 5 FOR UPDATE").await.unwrap();
    let first = "START TRANSACTION; UPDATE app.account SET note = 'a' WHERE id = 5; UPDATE app.pair SET v = 1 WHERE b = 5; COMMIT";
    source.query_all(first).await.unwrap();
    until(&mut target, "data_lock_waits").await;
    // Fewer rows would wait for more, instead of for a turn.
    source.execute("UPDATE app.pair SET v = 2 WHERE b > 100").await.unwrap();
    until(&mut target, &format!("{OF_PAIR} = 'SHARED_WRITE' AND LOCK_STATUS = 'GRANTED'")).await;
    let mut altering = world.on_target().await;
    let altered = tokio::spawn(async move { altering.execute("ALTER TABLE app.pair ADD INDEX v (v)").await });
    until(&mut target, &format!("{OF_PAIR} = 'EXCLUSIVE' AND LOCK_STATUS = 'PENDING'")).await;
    in_turn.execute("COMMIT").await.unwrap();

    caught_up(&world, &mover).await;
    altered.await.unwrap().unwrap();
    assert_eq!(world.difference().await, "");
}
