//! A target restored from a physical backup is followed from the backup's GTID set, and proven like any other.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod world;

use migrate::{CopyOptions, Mover, MoverOptions, Side, Start, gtid_executed};
use model::GtidSet;
use mysql::Connection;
use sandbox::{Mysqld, Node, NodeOptions};
use world::{World, Writers, admin, caught_up, copied};

fn options(world: &World, set: &GtidSet) -> MoverOptions {
    let start = Start::Copy(CopyOptions { from_backup: Some(set.clone()), ..CopyOptions::default() });
    MoverOptions { start, ..world.options() }
}

/// The hint and the words of a refusal.
async fn refused(world: &World, set: &GtidSet) -> String {
    Mover::start(options(world, set)).await.err().expect("is refused").to_string()
}

/// Replaces the target by a clone of the source, taken while it is written to; returns the clone's GTID set.
async fn clone_source(world: &mut World) -> GtidSet {
    let mut source = world.on_source().await;
    source.execute("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await.unwrap();
    let data = world.source.dir().join("clone");
    source.execute(format!("CLONE LOCAL DATA DIRECTORY = '{}'", data.display())).await.unwrap();
    let options = NodeOptions::new("clone").server_id(9).data(data);
    world.target = Node::start(&Mysqld::find().unwrap(), options).unwrap();
    gtid_executed(&mut world.on_target().await, Side::Target).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_taken_under_writes_is_followed_and_proven_and_never_copied() {
    let mut world = World::new().await;
    world.fill(5_000).await;
    let seed = fastrand::u64(1..1 << 40);
    let writers = Writers::start(&world.source, 4, 5_000, seed);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let set = clone_source(&mut world).await;
    let mover = Mover::start(options(&world, &set)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    drop(mover);
    // The ledger remembers what the tables are; the set need not be given again, and may be.
    let mover = world.mover().await;
    drop(mover);
    let mover = Mover::start(options(&world, &set)).await.unwrap();
    println!("{} statements", writers.stop().await);
    caught_up(&world, &mover).await;
    copied(&mover).await;
    assert_eq!(mover.progress().rows_copied(), 0);
    let verification = mover.verify(2, &|_| {}).await.unwrap();
    assert_eq!((verification.different, verification.rows > 5_000), (0, true));
    assert_eq!(world.difference().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_no_backup_of_that_point_is_refused_before_anything_is_written() {
    let mut world = World::new().await;
    world.fill(100).await;
    let before = gtid_executed(&mut world.on_source().await, Side::Source).await.unwrap();
    let said = refused(&world, &before).await;
    assert_eq!(said, "the target is no copy of the source: table app.account is not there");

    let mut source = world.on_source().await;
    source.execute("INSERT INTO app.empty_one VALUES (1)").await.unwrap();
    let set = clone_source(&mut world).await;
    let said = refused(&world, &before).await;
    assert_eq!(said, format!("the target has executed {set} of the source's transactions, and not {before}"));
    source.execute("INSERT INTO app.empty_one VALUES (2)").await.unwrap();
    let after = gtid_executed(&mut source, Side::Source).await.unwrap();
    let said = refused(&world, &after).await;
    assert!(said.starts_with("the target has executed "), "{said}");
    let nobody: GtidSet = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().unwrap();
    assert!(refused(&world, &nobody).await.ends_with("is not part of what the source has executed"));

    let mut target: Connection = world.on_target().await;
    target.query_all("SET sql_log_bin=0; ALTER TABLE app.pair ADD KEY later (d)").await.unwrap();
    let said = refused(&world, &set).await;
    assert_eq!(said, "the target is no copy of the source: table app.pair is defined differently there");
    target.query_all("ALTER TABLE app.pair DROP KEY later").await.unwrap();

    source.query_all("FLUSH BINARY LOGS; SET @x = 1").await.unwrap();
    source.execute("INSERT INTO app.empty_one VALUES (3)").await.unwrap();
    source.execute("FLUSH BINARY LOGS").await.unwrap();
    let last = source.rows("SHOW BINARY LOGS").await.unwrap().last().unwrap().text(0);
    source.execute(format!("PURGE BINARY LOGS TO '{last}'")).await.unwrap();
    let said = refused(&world, &set).await;
    assert!(said.starts_with("the source has removed binary logs that the backup needs"), "{said}");
    let ledger = target.row("SELECT COUNT(*) FROM highwater.ledger").await.unwrap().unwrap().text(0);
    assert_eq!(ledger, "0", "nothing was begun");
    let _ = admin(&world.target);
}
