//! What a look ahead finds on real servers, one obstacle at a time.

#![allow(clippy::unwrap_used)]

mod world;

use migrate::CopyOptions;
use migrate::cutover::{CutoverOptions, Guardrail, Home, MoveDriver, Phase, Run, Unproven};
use sandbox::{Mysqld, Node, NodeOptions};
use world::clients::LockGate;
use world::{World, admin, copied, spec};

async fn driver(world: &World, options: CutoverOptions) -> MoveDriver<LockGate> {
    let journal = world.source.dir().join("app.journal");
    let clusters = (admin(&world.source), admin(&world.target));
    let driver =
        MoveDriver::start(spec(), clusters, &journal, CopyOptions::default(), options, LockGate::new());
    let driver = driver.await.unwrap();
    copied(&driver.mover().unwrap()).await;
    assert_eq!(driver.verify(2, &|_| ()).await.unwrap().different, 0);
    driver
}

async fn rail(driver: &MoveDriver<LockGate>, name: &str) -> Guardrail {
    let survey = driver.survey(Home::New, Unproven::Refuse).await.unwrap();
    assert_eq!(survey.run, Run::Cutover);
    let refuses = survey.guardrails.iter().any(Guardrail::refuses);
    assert_eq!(survey.would_begin, !refuses);
    survey.guardrails.into_iter().find(|g| g.name == name).unwrap()
}

const KEYS: &str = "USE app; CREATE TABLE line (id INT PRIMARY KEY, account BIGINT UNSIGNED, \
    CONSTRAINT of_account FOREIGN KEY (account) REFERENCES account (id)); \
    SET foreign_key_checks = 0; INSERT INTO line VALUES (1, 1), (2, NULL), (3, 999999), (4, 999998); \
    CREATE DEFINER = nobody@nowhere SQL SECURITY INVOKER VIEW seen AS SELECT 1 AS one";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_and_definers_that_are_missing_are_named_and_stop_nobody() {
    let world = World::new().await;
    world.fill(500).await;
    world.on_source().await.query_all(KEYS).await.unwrap();
    let driver = driver(&world, CutoverOptions::default()).await;
    let keys = rail(&driver, "foreign keys").await;
    assert_eq!(keys.seen, "2 rows of app.line break 'of_account'");
    assert!(!keys.holds && !keys.refuses(), "{keys:?}");
    let definers = rail(&driver, "definers").await;
    assert_eq!((definers.seen.as_str(), definers.refuses()), ("not on the target: nobody@nowhere", false));
    driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_defined_otherwise_and_a_server_that_writes_along_refuse() {
    let world = World::new().await;
    world.fill(500).await;
    let driver = driver(&world, CutoverOptions::default()).await;
    assert!(rail(&driver, "tables").await.holds);
    assert!(rail(&driver, "replication").await.holds);
    let (mut source, mut target) = (world.on_source().await, world.on_target().await);

    // Past the log, so that neither the stream nor the watch has anything to do with it.
    target.query_all("SET sql_log_bin = 0; ALTER TABLE app.pair ADD KEY stranger (b, y)").await.unwrap();
    let tables = rail(&driver, "tables").await;
    assert_eq!((tables.seen.as_str(), tables.refuses()), ("not alike: app.pair", true));
    let refused = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(refused.what.contains("not alike: app.pair"), "{refused}");
    target.execute("ALTER TABLE app.pair DROP KEY stranger").await.unwrap();

    let channel = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = 'nobody' FOR CHANNEL 'other'",
        world.source.port()
    );
    target.execute(channel).await.unwrap();
    let stopped = rail(&driver, "replication").await;
    assert!(stopped.holds && stopped.seen.contains("channel 'other' from 127.0.0.1:"), "{stopped:?}");
    target.execute("START REPLICA SQL_THREAD FOR CHANNEL 'other'").await.unwrap();
    let runs = rail(&driver, "replication").await;
    assert!(runs.refuses() && runs.seen.ends_with("running"), "{runs:?}");
    target
        .query_all("STOP REPLICA FOR CHANNEL 'other'; RESET REPLICA ALL FOR CHANNEL 'other'")
        .await
        .unwrap();

    source.execute("SET GLOBAL read_only = ON").await.unwrap();
    let fence = rail(&driver, "read_only").await;
    assert!(fence.refuses() && fence.seen.starts_with("on on the source"), "{fence:?}");
    source.execute("SET GLOBAL read_only = OFF").await.unwrap();

    driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap();
    let there = driver.survey(Home::New, Unproven::Refuse).await.unwrap_err();
    assert!(there.what.contains("already"), "{there}");
    assert_eq!(driver.survey(Home::Old, Unproven::Refuse).await.unwrap().run, Run::Rollback);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_of_the_target_are_asked_and_objects_are_counted() {
    let world = World::new().await;
    world.fill(500).await;
    let mut source = world.on_source().await;
    source.query_all("USE app; CREATE EVENT tick ON SCHEDULE EVERY 1 DAY DO SET @a = 1").await.unwrap();
    let alone = Node::start(&Mysqld::find().unwrap(), NodeOptions::new("replica").server_id(3)).unwrap();
    let replicas = [Vec::new(), vec![admin(&alone)]];
    let driver = driver(&world, CutoverOptions { replicas, ..CutoverOptions::default() }).await;
    let replica = rail(&driver, "replica").await;
    assert!(
        !replica.holds && !replica.refuses() && replica.seen.ends_with("does not replicate"),
        "{replica:?}"
    );
    let survey = driver.survey(Home::New, Unproven::Refuse).await.unwrap();
    let objects = survey.estimate.parts.iter().rfind(|p| p.phase == Phase::Prove).unwrap();
    assert!(objects.ms > 0.0 && objects.from.starts_with("1 triggers and events"), "{objects:?}");
    // What is being written right now is in the estimate: a transaction that stays open.
    source.query_all("START TRANSACTION; UPDATE app.account SET balance = 1 WHERE id = 1").await.unwrap();
    let survey = driver.survey(Home::New, Unproven::Refuse).await.unwrap();
    let drain = survey.estimate.parts.iter().find(|p| p.phase == Phase::Drain).unwrap();
    assert!(drain.ms > 0.0 && drain.from.contains(&format!("connection {}", source.id())), "{drain:?}");
    source.execute("ROLLBACK").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_open_for_too_long_is_named_and_so_is_not_knowing() {
    let world = World::new().await;
    world.fill(500).await;
    let options =
        CutoverOptions { drain_deadline: std::time::Duration::from_millis(1), ..CutoverOptions::default() };
    let driver = driver(&world, options).await;
    let mut source = world.on_source().await;
    source.query_all("START TRANSACTION; UPDATE app.account SET note = 'secret' WHERE id = 1").await.unwrap();
    let open = rail(&driver, "open transactions").await;
    assert!(!open.holds && !open.refuses(), "{open:?}");
    let named = format!("connection {} of 'highwater'@'127.0.0.1' for ", source.id());
    assert!(open.seen.contains(&named) && open.seen.contains("idle after UPDATE `app`"), "{open:?}");
    assert!(!open.seen.contains("secret"), "{open:?}");
    source.execute("ROLLBACK").await.unwrap();
    assert_eq!(rail(&driver, "open transactions").await.seen, "none");

    let off = "UPDATE performance_schema.setup_consumers SET ENABLED = 'NO' WHERE NAME = 'events_transactions_current'";
    source.execute(off).await.unwrap();
    let unknown = rail(&driver, "open transactions").await;
    assert!(unknown.seen.contains("does not follow transactions") && !unknown.refuses(), "{unknown:?}");
}
