//! A copy is a guest on the source: it waits when told to, or when the source, a replica or the target has no room for it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use migrate::throttle::{Order, PaceLimits, Pulse, PulseOptions, Throttle};
use migrate::{CopyOptions, Mover, MoverOptions, Start};
use sandbox::{Mysqld, Node, NodeOptions};
use world::{World, admin, caught_up, copied};

const CHUNK_TIME: Duration = Duration::from_millis(200);

fn options(world: &World, throttle: &Arc<Throttle>) -> MoverOptions {
    let start = Start::Copy(CopyOptions {
        readers: 2,
        chunk_rows: 200,
        throttle: Arc::clone(throttle),
        ..CopyOptions::default()
    });
    MoverOptions { start, ..world.options() }
}

/// A pulse that looks at nothing but what a test is about.
fn pulse(world: &World, replicas: Vec<mysql::ConnectOptions>, limits: PaceLimits) -> Arc<Pulse> {
    Pulse::start(PulseOptions { source: admin(&world.source), replicas, limits })
}

const NO_LIMITS: PaceLimits =
    PaceLimits { latency_rise: None, threads_running: None, replica_lag: Some(Duration::from_secs(2)) };

/// Waits until the pace is paused for a reason that holds `what`.
async fn paused(throttle: &Throttle, mover: &Mover, what: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let pace = throttle.pace(mover.progress());
        if pace.share == 0.0 && pace.reason.as_deref().is_some_and(|r| r.contains(what)) {
            return;
        }
        assert!(Instant::now() < until, "the pace is {pace:?}, and not a pause because of {what:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// That no row is copied for a while.
async fn stands_still(mover: &Mover) {
    // What is being read now still comes.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = mover.progress().rows_copied();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(mover.progress().rows_copied(), before);
    assert!(!mover.progress().all_copied());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_paused_by_command_reads_nothing_while_the_stream_goes_on() {
    let world = World::new().await;
    world.fill(20_000).await;
    let throttle = Arc::new(Throttle::new(None, 2, None, CHUNK_TIME));
    throttle.give_order(Order { paused: true, rows_per_second: None });
    let mover = Mover::start(options(&world, &throttle)).await.unwrap();
    stands_still(&mover).await;
    assert_eq!(mover.progress().rows_copied(), 0);
    world.on_source().await.execute("INSERT INTO app.account (slot, balance) VALUES (-5, 1)").await.unwrap();
    caught_up(&world, &mover).await;
    let sql = "SELECT COUNT(*) FROM app.account WHERE slot = -5";
    assert_eq!(world.on_target().await.row(sql).await.unwrap().unwrap().text(0), "1");

    throttle.give_order(Order::default());
    copied(&mover).await;
    caught_up(&world, &mover).await;
    assert_eq!(world.difference().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_per_second_are_limited_by_command_and_freed_at_once() {
    let world = World::new().await;
    world.fill(20_000).await;
    let throttle = Arc::new(Throttle::new(None, 2, None, CHUNK_TIME));
    throttle.give_order(Order { paused: false, rows_per_second: Some(2_000) });
    let mover = Mover::start(options(&world, &throttle)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let rows = mover.progress().rows_copied();
    assert!((1_000..=5_000).contains(&rows), "{rows} rows in two seconds");
    throttle.give_order(Order::default());
    copied(&mover).await;
    assert_eq!(world.difference().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_waits_for_a_replica_that_is_behind_and_goes_on_when_it_has_caught_up() {
    let world = World::new().await;
    let replica = Node::start(&Mysqld::find().unwrap(), NodeOptions::new("replica").server_id(3)).unwrap();
    let mut on_replica = mysql::Connection::connect(&admin(&replica)).await.unwrap();
    let source = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='{}', SOURCE_PASSWORD='{}', \
         SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1; START REPLICA",
        world.source.port(),
        sandbox::ADMIN_USER,
        sandbox::ADMIN_PASSWORD
    );
    on_replica.query_all(source).await.unwrap();
    world.fill(20_000).await;
    let pulse = pulse(&world, vec![admin(&replica)], NO_LIMITS);
    let throttle = Arc::new(Throttle::new(Some(pulse), 2, None, CHUNK_TIME));
    throttle.give_order(Order { paused: false, rows_per_second: Some(3_000) });
    // Someone locks a table on the replica: its applier waits, and falls behind.
    let executed =
        world.on_source().await.row("SELECT @@GLOBAL.gtid_executed").await.unwrap().unwrap().text(0);
    let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', 60)");
    assert_eq!(on_replica.row(wait).await.unwrap().unwrap().text(0), "0");
    on_replica.execute("LOCK TABLES app.account WRITE").await.unwrap();
    let mover = Mover::start(options(&world, &throttle)).await.unwrap();
    world.on_source().await.execute("UPDATE app.account SET balance = 9 WHERE id = 1").await.unwrap();
    paused(&throttle, &mover, &format!("replica 127.0.0.1:{} is ", replica.port())).await;
    stands_still(&mover).await;

    on_replica.query_all("UNLOCK TABLES; STOP REPLICA").await.unwrap();
    paused(&throttle, &mover, "does not replicate").await;
    on_replica.execute("START REPLICA").await.unwrap();
    throttle.give_order(Order::default());
    copied(&mover).await;
    caught_up(&world, &mover).await;
    assert_eq!(world.difference().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_waits_while_the_source_has_too_many_statements_running() {
    let world = World::new().await;
    world.fill(20_000).await;
    let limits = PaceLimits { threads_running: Some(4), ..NO_LIMITS };
    let throttle = Arc::new(Throttle::new(Some(pulse(&world, vec![], limits)), 2, None, CHUNK_TIME));
    throttle.give_order(Order { paused: false, rows_per_second: Some(3_000) });
    let mover = Mover::start(options(&world, &throttle)).await.unwrap();
    let mut crowd = Vec::new();
    for _ in 0..8 {
        let mut one = world.on_source().await;
        crowd.push(tokio::spawn(async move { one.row("SELECT SLEEP(4)").await.map(|_| ()) }));
    }
    paused(&throttle, &mover, "statements running, the limit is 4").await;
    stands_still(&mover).await;
    for one in crowd {
        one.await.unwrap().unwrap();
    }
    throttle.give_order(Order::default());
    copied(&mover).await;
    assert_eq!(world.difference().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_others_are_told_from_ours_and_measured_before_the_copy_begins() {
    let world = World::new().await;
    world.fill(20_000).await;
    let mut source = world.on_source().await;
    source
        .query_all("CREATE USER app IDENTIFIED BY 'app-password'; GRANT ALL ON app.* TO app")
        .await
        .unwrap();
    let clients = mysql::ConnectOptions::new(
        "127.0.0.1",
        world.source.port(),
        "app",
        mysql::Password::new("app-password"),
    );
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let client = tokio::spawn(async move {
        let mut connection = mysql::Connection::connect(&clients).await.unwrap();
        while !*stopped.borrow() {
            connection.row("SELECT * FROM app.account WHERE id = 7").await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let limits = PaceLimits { latency_rise: Some(0.1), ..NO_LIMITS };
    let pulse = pulse(&world, vec![], limits);
    let throttle = Arc::new(Throttle::new(Some(Arc::clone(&pulse)), 2, None, CHUNK_TIME));
    let mover = Mover::start(options(&world, &throttle)).await.unwrap();
    paused(&throttle, &mover, "measuring").await;
    assert_eq!(pulse.blind(), None);
    copied(&mover).await;
    stop.send(true).unwrap();
    client.await.unwrap();
    assert_eq!(world.difference().await, "");
}
