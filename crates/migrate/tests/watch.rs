//! A write on the target that is not ours is named; nothing of ours is; a cutover minds.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use migrate::cutover::{CutoverOptions, Home, Journal, MoveDriver, TrafficGate, Unproven};
use migrate::{CopyOptions, ForeignWrite, Mover, Reading};
use model::Trouble;
use mysql::{ConnectOptions, Connection, Password};
use world::{World, Writers, admin, caught_up, copied, spec};

/// Nobody stands between the clients and the servers.
struct OpenGate;

impl TrafficGate for OpenGate {
    async fn warm(&self, _to: Home) -> Result<(), Trouble> {
        Ok(())
    }
    fn hold(&self) {}
    async fn drain(&self, _deadline: Duration) -> Result<(), Trouble> {
        Ok(())
    }
    fn switch(&self, _to: Home, _epoch: u64) {}
    fn release(&self) {}
}

async fn driver(world: &World) -> MoveDriver<OpenGate> {
    let journal = world.source.dir().join("app.journal");
    let clusters = (admin(&world.source), admin(&world.target));
    let copy = CopyOptions { readers: 2, chunk_rows: 500, ..CopyOptions::default() };
    let options = CutoverOptions::default();
    MoveDriver::start(spec(), clusters, &journal, copy, options, Arc::new(OpenGate)).await.unwrap()
}

/// An account of the target whose password is its name.
fn target_account(world: &World, name: &str) -> ConnectOptions {
    ConnectOptions::new("127.0.0.1", world.target.port(), name, Password::new(name))
}

/// Waits until there are so many writes that are not ours, at most a second.
async fn named(mover: &Mover, count: usize) -> Vec<ForeignWrite> {
    let begun = Instant::now();
    loop {
        let writes = mover.watched().writes();
        if writes.len() >= count {
            println!("named within {:?}: {}", begun.elapsed(), writes[count - 1]);
            return writes;
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "not named: {:?}", mover.watched().reading());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn watched(mover: &Mover) {
    let begun = Instant::now();
    while mover.watched().reading() != Reading::Yes {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", mover.watched().reading());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What the target has is looked at, and none of it is said to be foreign but what is.
async fn nothing_else_is_named(world: &World, mover: &Mover, count: u64) {
    let target = migrate::gtid_executed(&mut world.on_target().await, migrate::Side::Target).await.unwrap();
    let reading = mover.watched().has_read(&target);
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("the log is read to its end");
    assert_eq!(mover.watched().reading(), Reading::Yes);
    assert_eq!(mover.watched().count(), count, "{:?}", mover.watched().writes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_write_is_named_within_a_second_under_load_and_nothing_of_ours_is() {
    let world = World::new().await;
    let source = &mut world.on_source().await;
    source
        .query_all("CREATE TABLE app.bag (v INT, w VARCHAR(20)); INSERT INTO app.bag VALUES (1, 'secret')")
        .await
        .unwrap();
    world.fill(20_000).await;
    let writers = Writers::start(&world.source, 3, 20_000, fastrand::u64(..1 << 40));
    let mover = world.mover().await;
    watched(&mover).await;

    // While it copies.
    let mut rogue = world.on_target().await;
    rogue.execute("INSERT INTO app.empty_one VALUES (77)").await.unwrap();
    let write = named(&mover, 1).await.remove(0);
    assert_eq!(
        (write.table.as_str(), write.inserted, write.updated, write.deleted),
        ("app.empty_one", 1, 0, 0)
    );
    assert_eq!((write.keys, write.more), (vec!["77".to_owned()], false));
    assert_eq!(write.thread, Some(rogue.id()));
    assert!(write.account.unwrap().starts_with(sandbox::ADMIN_USER), "whose connection it is");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64;
    assert!(now.abs_diff(write.at_micros.unwrap()) < 5_000_000);
    let executed = migrate::gtid_executed(&mut rogue, migrate::Side::Target).await.unwrap();
    assert!(executed.contains(&write.gtid.parse().unwrap()), "{}", write.gtid);
    rogue.execute("DELETE FROM app.empty_one WHERE id = 77").await.unwrap();
    assert_eq!(named(&mover, 2).await[1].deleted, 1);

    // While it follows, many rows at once, of several tables, in a session with another row image.
    copied(&mover).await;
    rogue.execute("SET SESSION binlog_row_image = 'MINIMAL'").await.unwrap();
    rogue
        .query_all(
            "START TRANSACTION; INSERT INTO app.empty_one VALUES (5), (6), (7); \
             UPDATE app.empty_one SET id = 8 WHERE id = 7; COMMIT",
        )
        .await
        .unwrap();
    let write = named(&mover, 3).await.remove(2);
    assert_eq!((write.inserted, write.updated, write.more), (3, 1, false));
    assert_eq!(write.keys, ["5", "6", "7", "8"]);
    rogue.execute("DELETE FROM app.empty_one WHERE id < 10").await.unwrap();
    assert_eq!(named(&mover, 4).await[3].keys, ["5", "6", "8"]);
    // A table without a key: the row is nobody's business.
    rogue.execute("INSERT INTO app.bag VALUES (2, 'secret')").await.unwrap();
    let write = named(&mover, 5).await.remove(4);
    assert_eq!((write.table.as_str(), write.inserted, write.keys.len()), ("app.bag", 1, 0));
    assert!(!write.to_string().contains("secret"), "{write}");
    rogue.execute("DELETE FROM app.bag WHERE v = 2").await.unwrap();
    named(&mover, 6).await;

    // Tables that do not move, and what is rolled back, concern nobody. XA transactions do once they are committed.
    rogue
        .query_all(
            "CREATE DATABASE other; CREATE TABLE other.t (a INT PRIMARY KEY); INSERT INTO other.t VALUES (1)",
        )
        .await
        .unwrap();
    rogue.query_all("START TRANSACTION; INSERT INTO app.empty_one VALUES (91); ROLLBACK").await.unwrap();
    let xa = "XA START 'x'; INSERT INTO app.empty_one VALUES (92); XA END 'x'; XA PREPARE 'x'";
    rogue.query_all(xa).await.unwrap();
    rogue.execute("XA ROLLBACK 'x'").await.unwrap();
    nothing_else_is_named(&world, &mover, 6).await;
    rogue.query_all(xa).await.unwrap();
    rogue.execute("XA COMMIT 'x'").await.unwrap();
    assert_eq!(named(&mover, 7).await[6].keys, ["92"]);
    rogue.execute("DELETE FROM app.empty_one WHERE id = 92").await.unwrap();
    named(&mover, 8).await;

    // Statements too.
    rogue
        .query_all(
            "ANALYZE TABLE app.account; CREATE TABLE other.u (a INT PRIMARY KEY); TRUNCATE TABLE other.t",
        )
        .await
        .unwrap();
    nothing_else_is_named(&world, &mover, 8).await;
    rogue.execute("ALTER TABLE app.empty_one COMMENT 'mine'").await.unwrap();
    let write = named(&mover, 9).await.remove(8);
    assert_eq!((write.table.as_str(), write.thread), ("app.empty_one", Some(rogue.id())));
    assert!(write.statement.unwrap().contains("ALTER TABLE app.empty_one"));
    rogue.execute("ALTER TABLE app.empty_one COMMENT ''").await.unwrap();
    named(&mover, 10).await;

    // One that is not understood, and may have touched the tables, is told as well.
    rogue
        .query_all("USE app; CREATE TABLE other.v (a INT PRIMARY KEY); CREATE TABLE empty_two LIKE other.v")
        .await
        .unwrap();
    let write = named(&mover, 11).await.remove(10);
    assert!(
        write
            .to_string()
            .starts_with("app.*: CREATE TABLE app.empty_two LIKE other.v, which does not move, at"),
        "{write}"
    );
    rogue.execute("DROP TABLE empty_two").await.unwrap();

    // A transaction of any size is named, with the first of its keys.
    source.query_all("CREATE TABLE app.wide (id INT PRIMARY KEY, v LONGTEXT); CREATE TABLE app.passing (a INT PRIMARY KEY); \
                      ALTER TABLE app.passing ADD b INT; INSERT INTO app.passing VALUES (1, 2); TRUNCATE app.passing; \
                      DROP TABLE app.passing").await.unwrap();
    caught_up(&world, &mover).await;
    rogue.execute("SET SESSION binlog_row_image = 'FULL', cte_max_recursion_depth = 100000").await.unwrap();
    let many = "INSERT INTO app.wide WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 5000) \
                SELECT i, REPEAT('x', 1000) FROM n";
    rogue.execute(many).await.unwrap();
    let write = named(&mover, 12).await.remove(11);
    assert!(write.more && write.inserted > 100 && write.inserted < 5000, "{write}");
    assert_eq!(write.keys[..2], ["1", "2"]);
    rogue.execute("DELETE FROM app.wide").await.unwrap();
    named(&mover, 13).await;
    // And one of ours is ours, whatever its size: the ledger's row comes last.
    source.execute("SET SESSION cte_max_recursion_depth = 100000").await.unwrap();
    source.execute(many).await.unwrap();

    let statements = writers.stop().await;
    caught_up(&world, &mover).await;
    nothing_else_is_named(&world, &mover, 13).await;
    let (transactions, _) = mover.progress().applied_counts();
    println!(
        "{statements} statements of writers, {transactions} transactions applied, 13 foreign writes named"
    );
    assert!(transactions > 100);
    assert_eq!(world.difference().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cutover_refuses_because_of_a_strangers_write_unless_that_is_accepted_and_recorded() {
    let world = World::new().await;
    world.fill(2_000).await;
    let driver = driver(&world).await;
    let mover = driver.mover().unwrap();
    copied(&mover).await;
    assert_eq!(driver.verify(2, &|_| ()).await.unwrap().different, 0);
    watched(&mover).await;
    assert!(driver.guardrails().unwrap().iter().all(|g| g.holds), "{:?}", driver.guardrails());

    // Undone at once, but who knows what else he does.
    let mut rogue = world.on_target().await;
    rogue.execute("UPDATE app.account SET balance = balance + 1 WHERE id = 42").await.unwrap();
    rogue.execute("UPDATE app.account SET balance = balance - 1 WHERE id = 42").await.unwrap();
    named(&mover, 2).await;
    let refused = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(refused.what.contains("app.account: 1 updated, key (42)"), "{refused}");
    assert!(refused.hint.contains("--accept-unproven"), "{refused}");
    assert_eq!(driver.state().epoch, 0);
    // A pass over every row, begun since, proves that no harm was done.
    assert_eq!(driver.verify(2, &|_| ()).await.unwrap().different, 0);
    assert!(driver.guardrails().unwrap().iter().all(|g| g.holds), "{:?}", driver.guardrails());

    rogue.execute("UPDATE app.account SET balance = balance + 1 WHERE id = 43").await.unwrap();
    named(&mover, 1).await;
    // Its key is compared again without being asked for: the difference is found.
    let begun = Instant::now();
    while mover.proof().different() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "what he wrote is not proven again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(refused.what.contains("key (43)"), "{refused}");
    assert!(driver.verify(2, &|_| ()).await.unwrap().different > 0);
    let refused = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(refused.what.contains("key (43)"), "a pass that finds a difference settles nothing: {refused}");

    let report = driver.cross(Home::New, Unproven::Accept, &|_| ()).await.unwrap();
    assert!(report.accepted_unproven[0].contains("app.account: 1 updated, key (43)"), "{report:?}");
    assert!(report.accepted_unproven.iter().any(|what| what.contains("1 rows differ")), "{report:?}");
    assert_eq!(report.proven_as_of, None);
    let journal = world.source.dir().join("app.journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    assert!(
        text.contains("\"accepted_unproven\":[\"not proven: a write on the target is not ours"),
        "{text}"
    );
    assert_eq!(Journal::open(&journal).unwrap().state().accepted_unproven, report.accepted_unproven);

    // What was accepted is not called proven on the way back, and the application's own writes are nobody's foreign writes.
    let mover = driver.mover().unwrap();
    assert_eq!(mover.proof().complete_as_of(), None);
    rogue.execute("UPDATE app.account SET balance = balance + 1 WHERE id = 44").await.unwrap();
    rogue.execute("UPDATE app.account SET balance = 0 WHERE id = 43").await.unwrap();
    watched(&mover).await;
    let wanted = migrate::gtid_executed(&mut world.on_target().await, migrate::Side::Source).await.unwrap();
    mover.applied(&wanted).await.unwrap();
    assert_eq!(mover.watched().count(), 0, "{:?}", mover.watched().writes());
    let refused = driver.cross(Home::Old, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(refused.what.contains("no pass over every row is complete"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_loses_its_connection_misses_nothing_and_one_that_may_not_read_stops_no_move() {
    let world = World::new().await;
    world.fill(500).await;
    // Whose a transaction is shows within a compressed one as well.
    world.on_target().await.execute("SET GLOBAL binlog_transaction_compression = ON").await.unwrap();
    let mover = world.mover().await;
    copied(&mover).await;
    watched(&mover).await;
    let mut rogue = world.on_target().await;
    let dumps = "SELECT ID FROM performance_schema.processlist WHERE COMMAND LIKE 'Binlog Dump%'";
    let id = rogue.row(dumps).await.unwrap().unwrap().text(0);
    // Prepared before, committed after.
    let xa = "XA START 'x'; INSERT INTO app.empty_one VALUES (9); XA END 'x'; XA PREPARE 'x'";
    rogue.query_all(xa).await.unwrap();
    nothing_else_is_named(&world, &mover, 0).await;
    let around = format!(
        "INSERT INTO app.empty_one VALUES (1); KILL {id}; INSERT INTO app.empty_one VALUES (2); XA COMMIT 'x'"
    );
    rogue.query_all(&around).await.unwrap();
    let begun = Instant::now();
    while mover.watched().count() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", mover.watched());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    nothing_else_is_named(&world, &mover, 3).await;
    // A process that comes later knows our connections by what they say of themselves, with no privilege at all.
    let ours = "SELECT COUNT(*) FROM performance_schema.session_account_connect_attrs \
                WHERE ATTR_NAME = 'program_name' AND ATTR_VALUE = 'highwater'";
    assert!(rogue.row(ours).await.unwrap().unwrap().number(0).unwrap_or(0) >= 4);
    rogue.execute("CREATE USER nobody@'%' IDENTIFIED BY 'nobody'").await.unwrap();
    let mut nobody = Connection::connect(&target_account(&world, "nobody")).await.unwrap();
    assert_eq!(nobody.row(ours).await.unwrap().unwrap().number(0), Some(0));
    drop(mover);
    rogue.execute("DELETE FROM app.empty_one").await.unwrap();

    // Without the privilege.
    rogue
        .query_all(
            "CREATE USER partly@'%' IDENTIFIED BY 'partly'; GRANT ALL ON *.* TO partly@'%'; \
             REVOKE REPLICATION SLAVE ON *.* FROM partly@'%'",
        )
        .await
        .unwrap();
    let mut options = world.options();
    options.target = target_account(&world, "partly");
    let mover = Mover::start(options).await.unwrap();
    let begun = Instant::now();
    let reason = loop {
        if let Reading::No(reason) = mover.watched().reading() {
            break reason;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", mover.watched().reading());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(reason.contains("REPLICATION SLAVE"), "{reason}");
    world.on_source().await.execute("INSERT INTO app.empty_one VALUES (3)").await.unwrap();
    caught_up(&world, &mover).await;
    assert_eq!(world.difference().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_has_compared_may_be_accepted_and_what_is_not_copied_may_not() {
    let world = World::new().await;
    world.fill(30_000).await;
    let driver = driver(&world).await;
    let refused = driver.cross(Home::New, Unproven::Accept, &|_| ()).await.unwrap_err();
    assert!(refused.what.contains("tables copied"), "{refused}");
    copied(&driver.mover().unwrap()).await;
    let refused = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(refused.what.contains("no pass over every row is complete"), "{refused}");
    let report = driver.cross(Home::New, Unproven::Accept, &|_| ()).await.unwrap();
    assert_eq!(report.accepted_unproven, ["not proven: no pass over every row is complete"]);
    assert_eq!((report.proven_as_of, world.difference().await), (None, String::new()));

    // Once everything is proven there is nothing to accept, and the next journal entry says so.
    assert_eq!(driver.verify(2, &|_| ()).await.unwrap().different, 0);
    let report = driver.cross(Home::Old, Unproven::Accept, &|_| ()).await.unwrap();
    assert!(report.accepted_unproven.is_empty() && report.proven_as_of.is_some(), "{report:?}");
    assert!(driver.state().accepted_unproven.is_empty());
}
