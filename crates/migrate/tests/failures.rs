//! What a move cannot go on through: it stops, says why and what to do, and goes on from the ledger once that is done.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use migrate::{Mover, MoverState};
use model::Trouble;
use mysql::Connection;
use sandbox::Node;
use world::{World, caught_up, copied};

/// Waits until the move has stopped, and returns what it says.
async fn failure(mover: &Mover) -> Trouble {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while std::time::Instant::now() < deadline {
        if let MoverState::Failed(trouble) = mover.state() {
            return trouble;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it goes on: {:?}", mover.state());
}

async fn applied(target: &mut Connection) -> String {
    let rows = target.rows("SELECT applied FROM highwater.ledger ORDER BY lane").await.unwrap();
    rows.iter().map(|row| row.text(0)).collect::<Vec<_>>().join(";")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_logs_removed_before_they_were_applied_stop_the_move_and_change_nothing() {
    let world = World::new().await;
    world.fill(100).await;
    let mover = world.mover().await;
    copied(&mover).await;
    caught_up(&world, &mover).await;
    mover.stop().await;
    drop(mover);

    let mut source = world.on_source().await;
    source
        .query_all(
            "INSERT INTO app.empty_one VALUES (1); FLUSH BINARY LOGS; INSERT INTO app.empty_one VALUES (2)",
        )
        .await
        .unwrap();
    let last = source.rows("SHOW BINARY LOGS").await.unwrap().last().unwrap().text(0);
    source.execute(format!("PURGE BINARY LOGS TO '{last}'")).await.unwrap();
    let mut target = world.on_target().await;
    for _ in 0..2 {
        let mover = world.mover().await;
        let trouble = failure(&mover).await;
        assert!(trouble.what.contains("1236"), "{trouble:?}");
        assert!(trouble.hint.starts_with("the source no longer has the transactions"), "{trouble:?}");
        assert_eq!(target.row("SELECT COUNT(*) FROM app.empty_one").await.unwrap().unwrap().text(0), "0");
        assert!(applied(&mut target).await.contains(":1-"));
    }
}

/// A server whose tables may not grow: they are in one file, which has a limit. It says what a server with a full disk says.
fn restart_with(node: &mut Node, settings: &str) {
    node.stop().unwrap();
    std::fs::write(node.dir().join("my.cnf"), format!("[mysqld]\n{settings}\n")).unwrap();
    node.restart().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_without_room_stops_the_copy_which_goes_on_when_there_is_some() {
    let mut world = World::new().await;
    world.fill(100).await;
    let mut source = world.on_source().await;
    source
        .query_all(
            "CREATE TABLE app.heavy (id INT PRIMARY KEY, v LONGBLOB); INSERT INTO app.heavy \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 40) SELECT i, REPEAT(CHAR(i), 1000000) FROM n",
        )
        .await
        .unwrap();
    restart_with(
        &mut world.target,
        "innodb_file_per_table=OFF\ninnodb_data_file_path=ibdata1:12M:autoextend:max:32M",
    );

    let mover = world.mover().await;
    let trouble = failure(&mover).await;
    assert!(trouble.what.contains("1114") && trouble.what.contains("on the target"), "{trouble:?}");
    assert_eq!(trouble.hint, "free disk space on the target, then start again");
    drop(mover);

    restart_with(&mut world.target, "innodb_data_file_path=ibdata1:12M:autoextend");
    let mover = world.mover().await;
    copied(&mover).await;
    caught_up(&world, &mover).await;
    assert_eq!(mover.verify(2, &|_| ()).await.unwrap().different, 0);
    assert_eq!(world.difference().await, "");
    // Rows are many bytes, so that ranges were cut; what was left of them was not planned again.
    let done = "SELECT SUM(row_count), SUM(high IS NULL) FROM highwater.ranges WHERE table_name='app.heavy'";
    let done = world.on_target().await.row(done).await.unwrap().unwrap();
    assert_eq!((done.text(0), done.text(1)), ("40".into(), "1".into()));
}
