//! What was proven is proven after a restart, but for what has been touched on either side since.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod world;

use std::time::{Duration, Instant};

use migrate::{Mover, Side, gtid_executed};
use model::GtidSet;
use world::{World, caught_up, copied};

/// Waits until something is so, at most ten seconds.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What is kept of the proof: the source's position.
async fn kept(world: &World) -> Option<GtidSet> {
    let row = world.on_target().await.row("SELECT proven FROM highwater.proofs").await.unwrap();
    row.map(|row| row.text(0).parse().unwrap())
}

async fn proven(world: &World) -> Mover {
    let mover = world.mover().await;
    copied(&mover).await;
    assert_eq!(mover.verify(2, &|_| ()).await.unwrap().different, 0);
    mover
}

/// Starts again; whether everything is proven then, without another pass.
async fn is_proven_again(world: &World) -> (Mover, bool) {
    let mover = world.mover().await;
    let begun = Instant::now();
    while mover.proof().complete_as_of().is_none() && begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let proven = mover.proof().complete_as_of().is_some();
    println!("proven: {proven}, after {:?}", begun.elapsed());
    (mover, proven)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_were_touched_before_a_crash_are_proven_again_after_it() {
    let world = World::new().await;
    world.fill(3_000).await;
    let mut mover = proven(&world).await;
    let mut source = world.on_source().await;
    let mut tries = 0;
    // A crash while the last changes are applied and what is kept is older: within a second that is so.
    loop {
        let before = gtid_executed(&mut source, Side::Source).await.unwrap();
        until("it is kept that all is proven", async || {
            kept(&world).await.is_some_and(|k| k.contains(&before))
        })
        .await;
        source
            .execute("UPDATE app.account SET balance = balance + 1 WHERE id BETWEEN 100 AND 149")
            .await
            .unwrap();
        caught_up(&world, &mover).await;
        drop(mover);
        let now = gtid_executed(&mut source, Side::Source).await.unwrap();
        if !kept(&world).await.unwrap().contains(&now) {
            break;
        }
        tries += 1;
        assert!(tries < 20, "what is kept is always the newest");
        mover = is_proven_again(&world).await.0;
    }
    // Nobody can see this, but who compares these keys again. Others are not compared: they were not touched.
    let mut target = world.on_target().await;
    target
        .query_all("SET sql_log_bin = 0; UPDATE app.account SET balance = -1 WHERE id IN (120, 2000)")
        .await
        .unwrap();
    let (mover, proven) = is_proven_again(&world).await;
    assert!(proven);
    until("the difference is found", async || mover.proof().different() == 1).await;
    assert_eq!(mover.proof().verdicts()[0].keys, ["120"]);
    // It is no proof any more, and the next process knows.
    until("it is taken back", async || kept(&world).await.is_none()).await;
    drop(mover);
    let (mover, proven) = is_proven_again(&world).await;
    assert!(!proven);
    let found = mover.verify(2, &|_| ()).await.unwrap();
    assert_eq!((found.different, kept(&world).await), (2, None));
    let plan = mover.plan_repair().await.unwrap();
    assert_eq!(mover.repair(plan.id, &|_| ()).await.unwrap().different, 0);
    until("it is kept again", async || kept(&world).await.is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_write_while_nothing_runs_is_named_and_proven_again() {
    let world = World::new().await;
    world.fill(2_000).await;
    let mover = proven(&world).await;
    assert!(kept(&world).await.is_some(), "a pass that has told its verdict is kept");
    drop(mover);
    let mut target = world.on_target().await;
    target.execute("UPDATE app.account SET balance = -1 WHERE id = 77").await.unwrap();
    let (mut source, before) = (world.on_source().await, kept(&world).await);
    source.execute("UPDATE app.account SET balance = -2 WHERE id = 78").await.unwrap();
    let (mover, proven) = is_proven_again(&world).await;
    assert!(proven);
    assert_eq!(
        (mover.watched().count(), mover.watched().unsettled()),
        (1, 1),
        "{:?}",
        mover.watched().writes()
    );
    assert_eq!(mover.watched().writes()[0].keys, ["77"]);
    until("the difference is found", async || mover.proof().different() == 1).await;
    until("it is taken back", async || kept(&world).await != before).await;
    assert_eq!(kept(&world).await, None);

    // Once that is repaired there is nothing left of it, and another restart names nothing.
    copied(&mover).await;
    assert_eq!(mover.verify(2, &|_| ()).await.unwrap().different, 1);
    let plan = mover.plan_repair().await.unwrap();
    assert_eq!(mover.repair(plan.id, &|_| ()).await.unwrap().different, 0);
    until("it is kept again", async || kept(&world).await.is_some()).await;
    drop(mover);
    let (mover, proven) = is_proven_again(&world).await;
    assert_eq!((proven, mover.watched().count(), mover.proof().different()), (true, 0, 0));
    caught_up(&world, &mover).await;
    assert_eq!(world.difference().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_is_void_where_it_cannot_be_known_what_has_happened_since() {
    let world = World::new().await;
    world.fill(1_000).await;
    let mut mover = proven(&world).await;
    let (mut source, mut target) = (world.on_source().await, world.on_target().await);

    // A statement that changes tables: its table is compared again first, and then all is kept again.
    source.execute("ALTER TABLE app.account ADD COLUMN more INT NOT NULL DEFAULT 5, FORCE").await.unwrap();
    caught_up(&world, &mover).await;
    let altered = gtid_executed(&mut source, Side::Source).await.unwrap();
    until("it is kept again", async || kept(&world).await.is_some_and(|k| k.contains(&altered))).await;
    drop(mover);
    let (again, proven) = is_proven_again(&world).await;
    assert_eq!((proven, again.watched().count()), (true, 0), "{:?}", again.watched().writes());
    drop(again);

    // The target's log does not reach back any more.
    target.execute("UPDATE app.account SET balance = -1 WHERE id = 5").await.unwrap();
    target.execute("FLUSH BINARY LOGS").await.unwrap();
    // The server keeps what someone reads, and is not told at once that the watch has gone.
    until("the log is purged", async || {
        target.execute("PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY").await.unwrap();
        !target.row("SELECT @@GLOBAL.gtid_purged").await.unwrap().unwrap().text(0).is_empty()
    })
    .await;
    mover = world.mover().await;
    let why = mover.proof().begun_anew().unwrap();
    assert_eq!(why, "the target's binary log does not reach back to it any more");
    drop(mover);
    target.execute("UPDATE highwater.proofs SET target_uuid = UUID()").await.unwrap();
    mover = world.mover().await;
    let why = mover.proof().begun_anew().unwrap();
    assert_eq!(why, "the target is another server than the one it was made of");
    copied(&mover).await;
    assert_eq!(mover.verify(2, &|_| ()).await.unwrap().different, 1);
    assert_eq!(mover.proof().begun_anew(), None);
    let plan = mover.plan_repair().await.unwrap();
    mover.repair(plan.id, &|_| ()).await.unwrap();
    until("it is kept again", async || kept(&world).await.is_some()).await;

    // A spot check has found a difference that no log shows.
    target
        .query_all(
            "SET sql_log_bin = 0; UPDATE app.account SET balance = -1 WHERE id = 900; SET sql_log_bin = 1",
        )
        .await
        .unwrap();
    assert!(mover.verify_newest(1_000, 2, &|_| ()).await.unwrap().different > 0);
    assert_eq!(kept(&world).await, None);
    drop(mover);
    assert!(!is_proven_again(&world).await.1);
}
