//! Cutover and rollback between real servers, with writers whose every acknowledged write must survive.

#![allow(clippy::unwrap_used)]

mod world;

use std::sync::Arc;
use std::time::Duration;

use migrate::CopyOptions;
use migrate::cutover::{CutoverOptions, Home, MoveDriver, Unproven};
use mysql::Connection;
use world::clients::{Clients, LockGate};
use world::{World, admin, spec};

async fn driver(world: &World, gate: &Arc<LockGate>, options: CutoverOptions) -> MoveDriver<LockGate> {
    let journal = world.source.dir().join("app.journal");
    let clusters = (admin(&world.source), admin(&world.target));
    let copy = CopyOptions { readers: 2, chunk_rows: 500, ..CopyOptions::default() };
    MoveDriver::start(spec(), clusters, &journal, copy, options, Arc::clone(gate)).await.unwrap()
}

async fn orders(connection: &mut Connection) -> Vec<i64> {
    let rows = connection.rows("SELECT id FROM app.empty_one ORDER BY id").await.unwrap();
    rows.iter().map(|r| r.number(0).unwrap()).collect()
}

async fn proven(driver: &MoveDriver<LockGate>) {
    world::copied(&driver.mover().unwrap()).await;
    let verdict = driver.verify(2, &|_| ()).await.unwrap();
    assert_eq!(verdict.different, 0, "{:?}", verdict.tables);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_keeps_every_acknowledged_write() {
    let world = World::new().await;
    world.fill(5_000).await;
    let gate = LockGate::new();
    let driver = driver(&world, &gate, CutoverOptions::default()).await;
    let clients = Clients::start(&gate, admin(&world.source), admin(&world.target));
    proven(&driver).await;

    for (to, epoch) in [(Home::New, 1), (Home::Old, 2), (Home::New, 3)] {
        let report = driver.cross(to, Unproven::Refuse, &|_| ()).await.unwrap();
        println!("{to:?}: held {:.1} ms, {:?}", report.held_ms, report.phases);
        assert_eq!((report.home, report.epoch), (to, epoch));
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let acknowledged = clients.stop().await;
    assert!(acknowledged.len() > 200, "{}", acknowledged.len());
    assert_eq!(orders(&mut world.on_target().await).await, acknowledged);
    // The way back is exact too: the old side has them all.
    let wanted = migrate::gtid_executed(&mut world.on_target().await, migrate::Side::Source).await.unwrap();
    driver.mover().unwrap().applied(&wanted).await.unwrap();
    assert_eq!(world.difference().await, "");
    proven(&driver).await;

    assert_eq!(driver.finish().await.unwrap(), Home::New);
    for server in [&mut world.on_source().await, &mut world.on_target().await] {
        assert!(server.rows("SHOW DATABASES LIKE 'highwater'").await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_cutover_leaves_the_source_serving() {
    let world = World::new().await;
    world.fill(1_000).await;
    let gate = LockGate::new();
    let options = CutoverOptions {
        drain_deadline: Duration::from_millis(300),
        fence_deadline: Duration::from_secs(1),
        settle_deadline: Duration::from_millis(500),
        ..CutoverOptions::default()
    };
    let driver = driver(&world, &gate, options).await;

    let refused = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(refused.what.starts_with("cannot start cutover"), "{refused}");
    proven(&driver).await;

    // A transaction that does not end: the drain gives up.
    let open = gate.home.read().await;
    let given_up = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(given_up.what.contains("a transaction is open"), "{given_up}");
    assert!(given_up.state.contains("everything was put back"), "{given_up:?}");
    drop(open);

    // A lock that keeps the source from accepting the fence.
    let mut stray = world.on_source().await;
    stray.execute("LOCK TABLES app.account WRITE").await.unwrap();
    let given_up = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(given_up.what.contains("fence"), "{given_up}");
    stray.execute("UNLOCK TABLES").await.unwrap();
    stray.execute("INSERT INTO app.empty_one VALUES (-1)").await.unwrap();

    // A target that cannot catch up in time.
    let mut blocker = world.on_target().await;
    blocker.query_all("START TRANSACTION; SELECT * FROM app.account WHERE id = 1 FOR UPDATE").await.unwrap();
    stray.execute("UPDATE app.account SET balance = 0 WHERE id = 1").await.unwrap();
    let given_up = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(given_up.what.contains("settle was not done"), "{given_up}");
    blocker.execute("ROLLBACK").await.unwrap();

    let flags = "SELECT @@GLOBAL.read_only, @@GLOBAL.super_read_only, \
                 (SELECT COUNT(*) FROM performance_schema.persisted_variables)";
    let row = stray.row(flags).await.unwrap().unwrap();
    assert_eq!([row.text(0), row.text(1), row.text(2)], ["0", "0", "0"]);
    let clients = Clients::start(&gate, admin(&world.source), admin(&world.target));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(clients.stop().await.len() > 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_controller_knows_where_the_traffic_is() {
    let world = World::new().await;
    world.fill(1_000).await;
    let gate = LockGate::new();
    let first = driver(&world, &gate, CutoverOptions::default()).await;
    proven(&first).await;
    first.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap();
    drop(first);

    let gate = LockGate::new();
    let second = driver(&world, &gate, CutoverOptions::default()).await;
    assert_eq!(*gate.home.read().await, Home::New);
    let clients = Clients::start(&gate, admin(&world.source), admin(&world.target));
    proven(&second).await;
    second.cross(Home::Old, Unproven::Refuse, &|_| ()).await.unwrap();
    let acknowledged = clients.stop().await;
    assert_eq!(orders(&mut world.on_source().await).await, acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_on_its_way_from_a_crossing_that_was_given_up_does_not_arrive_in_a_later_one() {
    let world = World::new().await;
    world.fill(500).await;
    let gate = LockGate::new();
    let driver = driver(&world, &gate, CutoverOptions::default()).await;
    proven(&driver).await;
    // What a crossing, or a process, leaves behind that has sent a statement and got no answer: the server has yet to read it.
    let mut late = Vec::new();
    for server in [&world.source, &world.target] {
        let mut options = admin(server);
        options.attributes = b"\x0ehighwater_role\x05fence".to_vec();
        late.push(Connection::connect(&options).await.unwrap());
    }
    driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap();
    for mut connection in late {
        let refused = connection.execute("SET GLOBAL super_read_only = ON").await.unwrap_err();
        assert!(refused.is_connection_lost(), "it was still to be heard: {refused}");
    }
    world.on_target().await.execute("INSERT INTO app.empty_one VALUES (-7)").await.unwrap();
}
