//! Two applications on one cluster, each with accounts of its own; those of one go to another cluster, and nobody with them.

#![allow(clippy::unwrap_used)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use mysql::{Capabilities, ConnectOptions, Connection, Password};
use proxy::{Control, Door, DoorOptions, Party, PinnedPolicy, Routes};
use sandbox::Node;
use tokio::task::LocalSet;
use world::{admin, backend, block_on, cell, node, options, until};

const LONG: Duration = Duration::from_secs(10);
const WHERE: &str = "SELECT @@server_id";

/// `a` serves both applications, whose tables are in one schema, and a schema `orders`; `b` has what will be used there.
fn clusters() -> (Node, Node) {
    let (a, b) = (node("a", 1, &[]), node("b", 2, &[]));
    block_on(async {
        for node in [&a, &b] {
            let mut root = admin(node).await;
            for sql in [
                "CREATE TABLE shop.done (id INT AUTO_INCREMENT PRIMARY KEY, who VARCHAR(20))",
                "CREATE DATABASE orders",
                "CREATE TABLE orders.t (id INT PRIMARY KEY)",
                "CREATE DATABASE theirs",
                "CREATE TABLE theirs.t (id INT PRIMARY KEY)",
            ] {
                root.query(sql).await.unwrap();
            }
            for user in ["app_a", "jobs_a", "app_b"] {
                root.query(format!("CREATE USER {user} IDENTIFIED BY '{user}'")).await.unwrap();
                root.query(format!("GRANT ALL ON *.* TO {user}")).await.unwrap();
            }
        }
    });
    (a, b)
}

/// A door before `a`, by which app_a and jobs_a can go; and a schema `theirs` with them, and the schema orders by itself.
fn door(a: &Node, share: bool, by_schema: bool) -> Door {
    let users = ["app_a", "jobs_a"].map(|user| user.as_bytes().to_vec()).into();
    let theirs = by_schema.then(|| "theirs".to_owned()).into_iter().collect();
    let schemas = by_schema.then(|| ("orders".to_owned(), backend(a))).into_iter().collect();
    let routes = Routes {
        schemas,
        parties: vec![Party { users, schemas: theirs, backend: backend(a) }],
        ..Routes::default()
    };
    Door::start(DoorOptions { routes, share, ..options(a) }).unwrap()
}

fn party(door: &Door) -> Control {
    door.control().of_users(["jobs_a", "app_a"]).unwrap()
}

async fn login(door: &Door, user: &str) -> Connection {
    login_in(door, user, "shop").await
}

async fn login_in(door: &Door, user: &str, schema: &str) -> Connection {
    let mut options = ConnectOptions::new("127.0.0.1", door.address().port(), user, Password::new(user));
    options.schema = Some(schema.as_bytes().to_vec());
    options.capabilities = Capabilities::DEPRECATE_EOF;
    options.collation = 45;
    Connection::connect(&options).await.unwrap()
}

async fn cross(control: &Control, to: &Node, epoch: u64) {
    control.warm(backend(to)).await.unwrap();
    control.hold();
    control.drain(LONG, PinnedPolicy::Refuse).await.unwrap();
    control.switch(backend(to), epoch).unwrap();
    control.release();
}

/// How many clients an account has, and where.
fn clients(door: &Door, user: &str) -> (String, usize) {
    let all = door.control().routes();
    let route = all.into_iter().find(|route| route.of == format!("account {user}")).unwrap();
    (route.cluster, route.clients)
}

#[test]
fn accounts_cross_alone_and_nobody_else_waits_or_is_waited_for() {
    let (a, b) = clusters();
    for share in [true, false] {
        let door = door(&a, share, false);
        assert!(door.control().of_users(["app_a"]).is_none() && door.control().of_users(["app_b"]).is_none());
        block_on(LocalSet::new().run_until(alone(&door, &a, &b)));
        block_on(LocalSet::new().run_until(in_the_way(&door, &b)));
    }
    let door = door(&a, true, true);
    block_on(LocalSet::new().run_until(beside_routes_of_schemas(&door, &a, &b)));
    block_on(under_load(&door, &a, &b));
}

async fn alone(door: &Door, a: &Node, b: &Node) {
    let party = party(door);
    let (mut moving, mut staying) = (login(door, "app_a").await, login(door, "app_b").await);
    moving.query("SET time_zone = '+05:30'").await.unwrap();
    assert_eq!((cell(&mut moving, WHERE).await, cell(&mut staying, WHERE).await), ("1".into(), "1".into()));
    // Who stays may be in a transaction, and pinned.
    let mut inside = login(door, "app_b").await;
    inside.query("SET @pinned = 1").await.unwrap();
    inside.query("BEGIN").await.unwrap();
    inside.query("INSERT INTO done (who) VALUES ('inside')").await.unwrap();
    let report = party.warm(backend(b)).await.unwrap();
    assert_eq!((report.opened, report.failed), (1, Vec::new()));
    party.hold();
    party.drain(LONG, PinnedPolicy::Refuse).await.unwrap();
    let waits = tokio::task::spawn_local(async move { (cell(&mut moving, WHERE).await, moving) });
    let port = door.address().port();
    let comes = tokio::task::spawn_local(async move {
        let mut options = ConnectOptions::new("127.0.0.1", port, "jobs_a", Password::new("jobs_a"));
        options.schema = Some(b"shop".to_vec());
        let mut late = Connection::connect(&options).await.unwrap();
        (cell(&mut late, WHERE).await, late)
    });
    until("held", || door.control().stats().held == 2).await;
    // Everybody else goes on, before the switch and after it; also who logs in now.
    assert_eq!(cell(&mut staying, WHERE).await, "1");
    party.switch(backend(b), 1).unwrap();
    assert_eq!(cell(&mut inside, "SELECT @pinned + @@server_id").await, "2");
    assert_eq!(cell(&mut login(door, "app_b").await, WHERE).await, "1");
    inside.query("COMMIT").await.unwrap();
    assert!(!waits.is_finished() && !comes.is_finished());
    party.release();
    let ((there, mut moving), (also, mut late)) = (waits.await.unwrap(), comes.await.unwrap());
    assert_eq!((there.as_str(), also.as_str()), ("2", "2"));
    assert_eq!(cell(&mut moving, "SELECT @@time_zone").await, "+05:30");
    assert_eq!(cell(&mut staying, WHERE).await, "1");
    assert_eq!((party.writer().0.id, party.writer().1), ("b".to_owned(), 1));
    assert_eq!((door.control().writer().0.id, door.control().stats().epoch), ("a".to_owned(), 0));
    assert_eq!((clients(door, "app_a"), clients(door, "jobs_a")), (("b".into(), 1), ("b".into(), 1)));
    // By the id it was greeted with a client is reached wherever it is.
    moving.query("BEGIN").await.unwrap();
    staying.query(format!("KILL {}", moving.id())).await.unwrap();
    assert!(moving.query("SELECT 1").await.is_err());
    // The way back, by its own epochs.
    assert!(party.switch(backend(a), 2).is_err(), "neither held nor drained");
    cross(&party, a, 2).await;
    assert_eq!(cell(&mut late, WHERE).await, "1");
    // On one cluster a server's own id means a client of any account.
    let id = cell(&mut late, "SELECT CONNECTION_ID()").await;
    late.query("BEGIN").await.unwrap();
    staying.query(format!("KILL {id}")).await.unwrap();
    assert!(late.query("SELECT 1").await.is_err());
    assert!(staying.query("SELECT 1").await.is_ok());
}

/// Only a client that goes along keeps the others from it.
async fn in_the_way(door: &Door, b: &Node) {
    let party = party(door);
    let mut other = login(door, "app_b").await;
    other.query("BEGIN").await.unwrap();
    let mut busy = login(door, "app_a").await;
    busy.query("BEGIN").await.unwrap();
    busy.query("INSERT INTO done (who) VALUES ('busy')").await.unwrap();
    party.hold();
    let stuck = party.drain(Duration::from_millis(30), PinnedPolicy::Refuse).await.unwrap_err();
    assert_eq!(stuck.open.iter().map(|open| open.user.as_str()).collect::<Vec<_>>(), ["app_a"]);
    assert!(party.switch(backend(b), 9).is_err());
    party.release();
    busy.query("COMMIT").await.unwrap();
    busy.query("SET @pinned = 1").await.unwrap();
    party.hold();
    let stuck = party.drain(LONG, PinnedPolicy::Refuse).await.unwrap_err();
    assert!(stuck.open.len() == 1 && stuck.open[0].reason.contains("user variable"), "{stuck:?}");
    party.release();
    assert_eq!(cell(&mut busy, "SELECT @pinned").await, "1");
    // Whoever takes everything along takes these too, and waits for all.
    let all = door.control();
    all.hold();
    let stuck = all.drain(Duration::from_millis(30), PinnedPolicy::Close).await.unwrap_err();
    assert_eq!(stuck.open.iter().map(|open| open.user.as_str()).collect::<Vec<_>>(), ["app_b"]);
    all.release();
    assert!(other.query("ROLLBACK").await.is_ok());
}

/// A schema that goes elsewhere cannot be meant by who stays with all it uses.
async fn beside_routes_of_schemas(door: &Door, a: &Node, b: &Node) {
    let (party, orders) = (party(door), door.control().of_schemas(["orders"]).unwrap());
    let mut app = login(door, "app_a").await;
    let mut inside = login_in(door, "jobs_a", "orders").await;
    app.query("SELECT COUNT(*) FROM orders.t JOIN shop.done").await.unwrap();
    // While it crosses, all of its cluster are held.
    inside.query("BEGIN").await.unwrap();
    orders.hold();
    let stuck = orders.drain(Duration::from_millis(30), PinnedPolicy::Refuse).await.unwrap_err();
    assert_eq!(stuck.open[0].user, "jobs_a");
    inside.query("COMMIT").await.unwrap();
    orders.drain(LONG, PinnedPolicy::Refuse).await.unwrap();
    orders.switch(backend(b), 1).unwrap();
    orders.release();
    is_away(&mut app, "SELECT COUNT(*) FROM orders.t JOIN shop.done").await;
    is_away(&mut app, "USE orders").await;
    // It is in that schema: what a name without one means is over there.
    is_away(&mut inside, "SELECT COUNT(*) FROM t").await;
    assert_eq!(cell(&mut app, WHERE).await, "1");
    inside.query("USE shop").await.unwrap();
    assert_eq!(cell(&mut inside, WHERE).await, "1");
    // Where both are they can be used together again.
    let (mut other, mut among) = (login(door, "app_b").await, login_in(door, "app_b", "theirs").await);
    for client in [&mut other, &mut among] {
        client.query("SELECT COUNT(*) FROM theirs.t JOIN shop.done").await.unwrap();
    }
    cross(&party, b, 1).await;
    app.query("SELECT COUNT(*) FROM theirs.t").await.unwrap();
    // What has gone with them is not read, or written, where it was.
    for sql in ["SELECT COUNT(*) FROM theirs.t", "INSERT INTO Theirs.t VALUES (1)", "USE theirs"] {
        has_gone(&mut other, sql).await;
    }
    has_gone(&mut among, "SELECT COUNT(*) FROM t").await;
    among.query("USE shop").await.unwrap();
    assert_eq!((cell(&mut other, WHERE).await, cell(&mut among, WHERE).await), ("1".into(), "1".into()));
    app.query("SELECT COUNT(*) FROM orders.t JOIN shop.done").await.unwrap();
    inside.query("USE orders").await.unwrap();
    assert_eq!(cell(&mut inside, WHERE).await, "2");
    cross(&orders, a, 2).await;
    cross(&party, a, 2).await;
}

async fn is_away(client: &mut Connection, sql: &str) {
    let refused = client.query(sql).await.unwrap_err();
    assert_eq!(refused.server_code(), Some(1235), "{sql}: {refused}");
    let said = refused.to_string();
    assert!(
        said.contains("is served by cluster 'a'") && said.contains("'orders' is on cluster 'b'"),
        "{said}"
    );
}

async fn has_gone(client: &mut Connection, sql: &str) {
    let refused = client.query(sql).await.unwrap_err();
    assert_eq!(refused.server_code(), Some(1235), "{sql}: {refused}");
    let said = refused.to_string().to_lowercase();
    assert!(said.contains("schema 'theirs' is on cluster 'b'") && said.contains("account 'app_b'"), "{said}");
}

/// Writes until it is told to stop: the servers that have taken what it wrote, each with how much.
async fn writes(mut client: Connection, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> [u64; 2] {
    let mut by_server = [0; 2];
    while !stop.load(SeqCst) {
        client.query("BEGIN").await.unwrap();
        client.query("INSERT INTO done (who) VALUES (SUBSTRING_INDEX(USER(), '@', 1))").await.unwrap();
        let server = cell(&mut client, WHERE).await;
        client.query("COMMIT").await.unwrap();
        by_server[usize::from(server == "2")] += 1;
        done.fetch_add(1, SeqCst);
    }
    by_server
}

/// How many rows an account has written on a server.
async fn written(node: &Node, who: &str) -> u64 {
    let sql = format!("SELECT COUNT(*) FROM shop.done WHERE who = '{who}'");
    cell(&mut admin(node).await, &sql).await.parse().unwrap()
}

async fn under_load(door: &Door, a: &Node, b: &Node) {
    for node in [a, b] {
        admin(node).await.query("DELETE FROM shop.done").await.unwrap();
    }
    let (stop, done): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
    let mut clients = Vec::new();
    for user in ["app_a", "app_a", "app_b", "jobs_a", "app_b", "app_a", "app_b"] {
        clients.push((user, login(door, user).await));
    }
    let all = LocalSet::new();
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|(user, client)| {
            let writing = writes(client, Arc::clone(&stop), Arc::clone(&done));
            (user, all.spawn_local(writing))
        })
        .collect();
    let counts = all
        .run_until(async {
            let party = party(door);
            for (to, epoch) in [(b, 3), (a, 4), (b, 5)] {
                let before = done.load(SeqCst);
                until("they write", || done.load(SeqCst) > before + 100).await;
                cross(&party, to, epoch).await;
            }
            let before = done.load(SeqCst);
            until("they write", || done.load(SeqCst) > before + 100).await;
            stop.store(true, SeqCst);
            let mut counts = [[0; 2]; 2];
            for (user, task) in tasks {
                let counted = task.await.unwrap();
                for (server, n) in counted.into_iter().enumerate() {
                    counts[usize::from(user == "app_b")][server] += n;
                }
            }
            counts
        })
        .await;
    // No statement has failed, each is where its client was, and the other application never left.
    let [[app_a, app_a_there], [app_b, app_b_there]] = counts;
    assert!(app_a > 0 && app_a_there > 0 && app_b > 0, "{counts:?}");
    assert_eq!(app_b_there, 0);
    assert_eq!(written(a, "app_b").await, app_b);
    assert_eq!(written(b, "app_b").await, 0);
    assert_eq!(written(a, "app_a").await + written(a, "jobs_a").await, app_a);
    assert_eq!(written(b, "app_a").await + written(b, "jobs_a").await, app_a_there);
}
