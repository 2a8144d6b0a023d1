//! Foreign keys: what they do to rows arrives as the source's own row events, and nothing happens twice.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod world;

use std::time::Duration;

use migrate::check::{Outcome, Server, TargetState, check};
use migrate::schema;
use mysql::Connection;
use sandbox::{Mysqld, Node, NodeOptions};
use world::{World, admin, caught_up, copied};

/// Chains, a diamond, self-references and a cycle, with every action; children are created before their parents.
const FAMILY: &str = "
SET foreign_key_checks = 0;
USE app;
CREATE TABLE a_line (
  id INT PRIMARY KEY, o INT, alt INT, KEY alt (alt),
  CONSTRAINT by_order FOREIGN KEY (o) REFERENCES z_order (id) ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT by_code FOREIGN KEY (alt) REFERENCES z_order (code) ON DELETE SET NULL ON UPDATE CASCADE
);
CREATE TABLE b_note (
  id INT PRIMARY KEY, line INT, o INT, twice INT GENERATED ALWAYS AS (line * 2) VIRTUAL, KEY plain (twice),
  FOREIGN KEY (line) REFERENCES a_line (id) ON DELETE CASCADE ON UPDATE SET NULL,
  FOREIGN KEY (o) REFERENCES z_order (id) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE c_tree (
  id INT PRIMARY KEY, up INT, boss INT,
  FOREIGN KEY (up) REFERENCES c_tree (id) ON DELETE CASCADE,
  FOREIGN KEY (boss) REFERENCES c_tree (id) ON DELETE SET NULL
);
CREATE TABLE d_ring (id INT PRIMARY KEY, e INT, FOREIGN KEY (e) REFERENCES e_ring (id) ON DELETE CASCADE ON UPDATE SET NULL);
CREATE TABLE e_ring (id INT PRIMARY KEY, d INT, FOREIGN KEY (d) REFERENCES d_ring (id) ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE z_order (id INT PRIMARY KEY, code INT NOT NULL, total INT NOT NULL DEFAULT 0, UNIQUE KEY code (code));
INSERT INTO z_order (id, code) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i, -i FROM n;
INSERT INTO a_line SELECT id, 1 + id DIV 3, -1 - id DIV 2 FROM z_order;
INSERT INTO b_note (id, line, o) SELECT id, id, 1 + id DIV 3 FROM z_order;
INSERT INTO c_tree SELECT id, NULLIF(id DIV 4, 0), NULLIF(id DIV 2, 0) FROM z_order;
INSERT INTO d_ring SELECT id, id FROM z_order;
INSERT INTO e_ring SELECT id, 1 + id % 900 FROM z_order";

/// One statement that sets foreign keys in motion.
fn shove(random: &mut fastrand::Rng) -> String {
    let id = random.u32(1..=900);
    let fresh = random.u32(1000..2_000_000_000);
    match random.u32(0..10) {
        0 => format!("DELETE FROM app.z_order WHERE id = {id}"),
        1 => format!("UPDATE app.z_order SET id = {fresh} WHERE id = {id}"),
        2 => format!("UPDATE app.z_order SET code = {fresh}, total = total + 1 WHERE id = {id}"),
        3 => format!("DELETE FROM app.a_line WHERE id = {id}"),
        4 => format!("UPDATE app.a_line SET id = {fresh} WHERE id = {id}"),
        5 => format!("DELETE FROM app.c_tree WHERE id = {id} AND id > 200"),
        6 => format!("DELETE FROM app.e_ring WHERE id = {id} AND id % 20 = 0"),
        7 => format!("UPDATE app.e_ring SET id = {fresh} WHERE id = {id}"),
        8 => format!("REPLACE INTO app.z_order VALUES ({id}, -{id}, 7)"),
        _ => format!(
            "START TRANSACTION; INSERT IGNORE INTO app.z_order VALUES ({id}, -{id}, 0); INSERT INTO app.a_line \
             VALUES ({fresh}, {id}, NULL); UPDATE app.z_order SET id = {fresh} WHERE id = {id}; COMMIT"
        ),
    }
}

async fn shove_for(world: &World, time: Duration, seed: u64) -> u32 {
    println!("seed: {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut source = world.on_source().await;
    let (begun, mut done) = (std::time::Instant::now(), 0);
    while begun.elapsed() < time {
        match source.query_all(shove(&mut random)).await {
            Ok(_) => done += 1,
            Err(_) => drop(source.query_all("ROLLBACK").await.unwrap()),
        }
    }
    done
}

async fn count(server: &mut Connection, sql: &str) -> u64 {
    server.row(sql).await.unwrap().unwrap().number(0).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cascades_arrive_once_while_copying_and_while_following() {
    let world = World::new().await;
    world.on_source().await.query_all(FAMILY).await.unwrap();
    let seed = fastrand::u64(..1 << 40);
    let ((), done) = tokio::join!(
        async {
            let mover = world.mover().await;
            copied(&mover).await;
            tokio::time::sleep(Duration::from_secs(4)).await;
            mover.unless_failed().unwrap();
        },
        shove_for(&world, Duration::from_secs(3), seed),
    );
    assert!(done > 200, "{done}");
    // What a restart reads from the ledger goes on as exactly.
    let mover = world.mover().await;
    assert!(shove_for(&world, Duration::from_secs(1), seed + 1).await > 50);
    copied(&mover).await;
    caught_up(&world, &mover).await;
    assert_eq!(world.schema_difference("app").await, "");

    let tables = mover.tables().to_vec();
    let mut target = world.on_target().await;
    assert_eq!(
        schema::foreign_keys::read(&mut target, migrate::Side::Target, &tables).await.unwrap().len(),
        8
    );
    // Where keys form a ring, MySQL 9.7 itself leaves rows without their parent; what the source has, the target has.
    let here = schema::foreign_keys::broken(&mut world.on_source().await, migrate::Side::Source, &tables)
        .await
        .unwrap();
    assert_eq!(
        schema::foreign_keys::broken(&mut target, migrate::Side::Target, &tables).await.unwrap(),
        here
    );
    assert!(count(&mut target, "SELECT COUNT(*) FROM app.a_line").await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_deleted_without_checks_leaves_its_orphans_and_they_are_found() {
    let world = World::new().await;
    world.on_source().await.query_all(FAMILY).await.unwrap();
    let mover = world.mover().await;
    copied(&mover).await;
    let mut source = world.on_source().await;
    // On the target nothing may cascade either: the source kept the children.
    source.query_all("SET foreign_key_checks = 0; DELETE FROM app.z_order WHERE id = 5").await.unwrap();
    caught_up(&world, &mover).await;
    assert_eq!(world.schema_difference("app").await, "");

    let tables = mover.tables().to_vec();
    let broken = |mut server, side| {
        let tables = tables.clone();
        async move { schema::foreign_keys::broken(&mut server, side, &tables).await.unwrap() }
    };
    let found = broken(world.on_target().await, migrate::Side::Target).await;
    let named: Vec<_> = found.iter().map(|b| (b.key.name.as_str(), b.orphans)).collect();
    assert_eq!(named, [("by_code", 2), ("by_order", 3), ("b_note_ibfk_2", 3)]);
    assert_eq!(found, broken(world.on_source().await, migrate::Side::Source).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_log_cascades_is_refused_and_its_stream_stops() {
    let mysqld = Mysqld::find().unwrap();
    let native = NodeOptions::new("source").server_id(1).arg("--innodb-native-foreign-keys=ON");
    let source = Node::start(&mysqld, native).unwrap();
    let target = Node::start(&mysqld, NodeOptions::new("target").server_id(2)).unwrap();
    let world = World { source, target };
    let sql = "CREATE DATABASE app; USE app; CREATE TABLE p (id INT PRIMARY KEY); \
               CREATE TABLE c (id INT PRIMARY KEY, p INT, CONSTRAINT acts FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE); \
               CREATE TABLE quiet (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id)); \
               INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1, 1)";
    world.on_source().await.query_all(sql).await.unwrap();
    let mut source_asked = Server::connect(&admin(&world.source)).await.unwrap();
    let mut target_asked = Server::connect(&admin(&world.target)).await.unwrap();
    let report =
        check(&mut source_asked, &mut target_asked, &world::spec(), TargetState::Fresh).await.unwrap();
    let found: Vec<_> = report.checks.iter().filter(|c| c.name == "foreign-key-actions").collect();
    assert_eq!((found[0].outcome, found[1].outcome), (Outcome::Refused, Outcome::Passed), "{report}");
    assert!(found[0].evidence.contains("acts of app.c (ON DELETE CASCADE"), "{}", found[0].evidence);
    assert!(!found[0].evidence.contains("app.quiet"), "{}", found[0].evidence);

    // Whoever does not ask is stopped at the first such change, before anything of it is applied.
    let mover = world.mover().await;
    copied(&mover).await;
    world.on_source().await.execute("INSERT INTO app.p VALUES (3)").await.unwrap();
    caught_up(&world, &mover).await;
    world.on_source().await.execute("DELETE FROM app.p WHERE id = 1").await.unwrap();
    let stopped = async {
        while mover.unless_failed().is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        mover.unless_failed().unwrap_err().to_string()
    };
    let error = tokio::time::timeout(Duration::from_secs(20), stopped).await.unwrap();
    assert!(error.contains("a change of app.p that changed rows of other tables"), "{error}");
    let mut target = Connection::connect(&admin(&world.target)).await.unwrap();
    assert_eq!(count(&mut target, "SELECT COUNT(*) FROM app.p").await, 3);
}
