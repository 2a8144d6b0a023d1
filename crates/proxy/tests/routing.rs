//! Accounts and schemas on different clusters behind one door, and a schema that goes from one to the other.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use mysql::{Capabilities, ConnectOptions, Connection, ErrPacket, Error, Password};
use proxy::{Door, DoorOptions, PinnedPolicy, RouteView, Routes};
use sandbox::{Node, SHOP_PASSWORD, SHOP_USER};
use tokio::task::LocalSet;
use wire::command::Command;
use world::{admin, backend, block_on, cell, node, options, until};

const LONG: Duration = Duration::from_secs(10);
const WHERE: &str = "SELECT @@server_id";

/// `a` has shop and orders, `b` has catalog, an old copy of shop, and orders where they will go.
fn clusters() -> (Node, Node) {
    let (a, b) = (node("a", 1, &[]), node("b", 2, &[]));
    block_on(async {
        for (node, schemas) in [(&a, ["orders", "plain"]), (&b, ["orders", "catalog"])] {
            let mut root = admin(node).await;
            for schema in schemas {
                root.query(format!("CREATE DATABASE {schema}")).await.unwrap();
                let name = node.name();
                root.query(format!(
                    "CREATE TABLE {schema}.t (id INT AUTO_INCREMENT PRIMARY KEY, at VARCHAR(9))"
                ))
                .await
                .unwrap();
                root.query(format!("INSERT INTO {schema}.t (at) VALUES ('{name}')")).await.unwrap();
            }
            for schema in ["orders", "plain", "catalog", "ghost"] {
                root.query(format!("GRANT ALL ON {schema}.* TO '{SHOP_USER}'@'%'")).await.unwrap();
            }
            root.query(format!("GRANT CONNECTION_ADMIN ON *.* TO '{SHOP_USER}'@'%'")).await.unwrap();
            root.query("CREATE USER reports IDENTIFIED BY 'reports'").await.unwrap();
            root.query("GRANT SELECT ON *.* TO reports").await.unwrap();
        }
    });
    (a, b)
}

fn door(a: &Node, b: &Node, share: bool) -> Door {
    let schemas = [("orders", a), ("catalog", b), ("ghost", b)];
    let routes = Routes {
        schemas: schemas.map(|(schema, node)| (schema.to_owned(), backend(node))).into(),
        users: [(b"reports".to_vec(), backend(b))].into(),
        ..Routes::default()
    };
    Door::start(DoorOptions { routes, share, ..options(a) }).unwrap()
}

async fn login(door: &Door, user: &str, password: &str, schema: &str) -> Connection {
    let mut options = ConnectOptions::new("127.0.0.1", door.address().port(), user, Password::new(password));
    options.schema = Some(schema.as_bytes().to_vec()).filter(|schema| !schema.is_empty());
    options.capabilities = Capabilities::DEPRECATE_EOF | Capabilities::MULTI_STATEMENTS;
    options.collation = 45;
    Connection::connect(&options).await.unwrap()
}

async fn shop(door: &Door, schema: &str) -> Connection {
    login(door, SHOP_USER, SHOP_PASSWORD, schema).await
}

/// The error of a statement.
async fn refusal(client: &mut Connection, sql: &str) -> ErrPacket {
    match client.query(sql).await {
        Err(Error::Server(error)) => error,
        other => panic!("{sql}: {other:?}"),
    }
}

#[track_caller]
fn is_across(error: &ErrPacket, names: &[&str]) {
    assert_eq!(error.code, 1235, "{error:?}");
    for name in names.iter().chain(&["nothing was executed"]) {
        assert!(error.message.contains(name), "{error:?}");
    }
}

/// Prepares; the number of columns it has.
async fn prepare(client: &mut Connection, text: &str) -> Result<u16, ErrPacket> {
    client.send_command(Command::STMT_PREPARE, text.as_bytes()).await.unwrap();
    let first = client.read_packet().await.unwrap();
    if first[0] == 0xFF {
        return Err(ErrPacket::parse(&first).unwrap());
    }
    let columns = u16::from_le_bytes([first[5], first[6]]);
    for _ in 0..columns {
        client.read_packet().await.unwrap();
    }
    Ok(columns)
}

/// Executes a statement of one text column and no parameters; its last row's text.
async fn execute(client: &mut Connection, id: u8) -> Result<String, ErrPacket> {
    client.send_command(Command::STMT_EXECUTE, &[id, 0, 0, 0, 0, 1, 0, 0, 0]).await.unwrap();
    let mut last = Vec::new();
    loop {
        let packet = client.read_packet().await.unwrap();
        match packet[0] {
            0xFF => return Err(ErrPacket::parse(&packet).unwrap()),
            0xFE => return Ok(String::from_utf8_lossy(last.get(3..).unwrap_or_default()).into_owned()),
            _ => last = packet.to_vec(),
        }
    }
}

#[test]
fn accounts_and_schemas_are_served_by_their_clusters_and_no_statement_crosses() {
    let (a, b) = clusters();
    for share in [true, false] {
        let door = door(&a, &b, share);
        block_on(async {
            for (schema, server) in
                [("", "1"), ("shop", "1"), ("orders", "1"), ("catalog", "2"), ("mysql", "1")]
            {
                let mut c = match schema {
                    "mysql" => login(&door, sandbox::ADMIN_USER, sandbox::ADMIN_PASSWORD, schema).await,
                    _ => shop(&door, schema).await,
                };
                assert_eq!(cell(&mut c, WHERE).await, server, "{schema}");
            }
            for schema in ["", "shop", "orders"] {
                let mut c = login(&door, "reports", "reports", schema).await;
                assert_eq!(cell(&mut c, WHERE).await, "2", "{schema}");
                // Its rule says where all is that it uses.
                assert_eq!(cell(&mut c, "SELECT at FROM orders.t").await, "b");
            }
            there_and_back(&door).await;
            what_is_named(&door).await;
            what_holds_a_session(&door).await;
            statements(&door).await;
            roams(&door).await;
            kill(&door).await;
        });
        assert_eq!(door.control().stats().epoch, 0);
    }
}

async fn there_and_back(door: &Door) {
    let mut c = shop(door, "shop").await;
    c.query("SET time_zone = '+05:30', sql_mode = 'ANSI_QUOTES'").await.unwrap();
    c.query("INSERT INTO item (name) VALUES ('new')").await.unwrap();
    let id = cell(&mut c, "SELECT LAST_INSERT_ID()").await;
    for round in 0..2 {
        for (schema, server) in
            [("catalog", "2"), ("shop", "1"), ("orders", "1"), ("catalog", "2"), ("orders", "1")]
        {
            match round {
                0 => drop(c.query(format!("USE \"{schema}\"")).await.unwrap()),
                _ => {
                    c.send_command(Command::INIT_DB, schema.as_bytes()).await.unwrap();
                    assert_eq!(c.read_packet().await.unwrap()[0], 0);
                }
            }
            assert_eq!(cell(&mut c, WHERE).await, server);
            let state = "SELECT CONCAT_WS(' ', DATABASE(), @@time_zone, @@sql_mode)";
            assert_eq!(cell(&mut c, state).await, format!("{schema} +05:30 ANSI_QUOTES"));
        }
    }
    // Without sharing the number is known to the old connection alone.
    if door.control().stats().backends > 0 {
        assert_eq!(cell(&mut c, "SELECT LAST_INSERT_ID()").await, id);
    }
    // What cannot be used leaves the session where it was.
    for missing in ["ghost", "nowhere"] {
        assert_eq!(
            refusal(&mut c, &format!("USE {missing}")).await.code,
            if missing == "ghost" { 1049 } else { 1044 }
        );
        assert_eq!(cell(&mut c, "SELECT at FROM t").await, "a", "{missing}");
    }
    // One packet that begins with USE is of that schema's cluster.
    let results = c.query_all("USE catalog; SELECT at FROM t; SELECT @@server_id").await.unwrap();
    assert_eq!(results.len(), 3);
    let view = door.control().sessions().into_iter().find(|s| s.schema == "catalog").unwrap();
    assert_eq!(view.cluster, "b");
}

async fn what_is_named(door: &Door) {
    let mut c = shop(door, "shop").await;
    assert_eq!(cell(&mut c, "SELECT at FROM orders.t LIMIT 1").await, "a");
    for sql in [
        "SELECT * FROM catalog.t",
        "SELECT * FROM item JOIN `catalog`.t USING (id)",
        "INSERT INTO catalog.t (at) SELECT name FROM item",
        "SELECT 1; DELETE FROM catalog.t",
        "SELECT 1; USE catalog; DELETE FROM t",
        "SELECT * FROM orders.t, catalog.t",
    ] {
        is_across(
            &refusal(&mut c, sql).await,
            &["'catalog'", "cluster 'b'", "cluster 'a'", "USE catalog first"],
        );
    }
    for (sql, right) in [
        ("SELECT catalog.id FROM item catalog WHERE catalog.id = 3", "3"),
        ("SELECT 'FROM catalog.t' /* FROM catalog.t */", "FROM catalog.t"),
        ("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'catalog'", "0"),
    ] {
        assert_eq!(cell(&mut c, sql).await, right, "{sql}");
    }
    // A copy of the rest that lies about over there is not taken for it.
    c.query("USE catalog").await.unwrap();
    is_across(&refusal(&mut c, "SELECT * FROM shop.item").await, &["'shop'", "cluster 'a'"]);
    is_across(&refusal(&mut c, "SELECT * FROM t, plain.t").await, &["'plain'", "cluster 'a'"]);
    // A text of more than one read of a socket.
    let long = format!("SELECT '{}' FROM shop.item", "x".repeat(200_000));
    is_across(&refusal(&mut c, &long).await, &["'shop'"]);
    let long = format!("SELECT LENGTH('{}') FROM t", "shop.item ".repeat(20_000));
    assert_eq!(cell(&mut c, &long).await, "200000");
    c.query("SET NAMES sjis").await.unwrap();
    is_across(&refusal_of(&mut c, b"SELECT '\x83\x5c' FROM orders.t -- '").await, &["'orders'"]);
}

async fn refusal_of(client: &mut Connection, sql: &[u8]) -> ErrPacket {
    match client.query(sql).await {
        Err(Error::Server(error)) => error,
        other => panic!("{other:?}"),
    }
}

async fn what_holds_a_session(door: &Door) {
    let mut c = shop(door, "shop").await;
    c.query("BEGIN").await.unwrap();
    c.query("INSERT INTO item (name) VALUES ('kept')").await.unwrap();
    is_across(&refusal(&mut c, "USE catalog").await, &["transaction", "cluster 'a'", "end it first"]);
    c.query("COMMIT").await.unwrap();
    c.query("USE catalog").await.unwrap();
    c.query("USE shop").await.unwrap();
    assert_eq!(cell(&mut c, "SELECT COUNT(*) > 0 FROM item WHERE name = 'kept'").await, "1");
    c.query("SET @a = 5").await.unwrap();
    is_across(&refusal(&mut c, "USE catalog").await, &["user variable", "use another connection"]);
    assert_eq!(cell(&mut c, "SELECT @a + @@server_id").await, "6");
}

async fn statements(door: &Door) {
    let mut c = shop(door, "shop").await;
    is_across(&prepare(&mut c, "SELECT at FROM catalog.t").await.unwrap_err(), &["'catalog'"]);
    is_across(&prepare(&mut c, "USE catalog").await.unwrap_err(), &["'catalog'"]);
    assert_eq!(prepare(&mut c, "SELECT name FROM item WHERE id = 3").await.unwrap(), 1);
    assert_eq!(prepare(&mut c, "SELECT at FROM orders.t").await.unwrap(), 1);
    assert_eq!(execute(&mut c, 1).await.unwrap(), "item 3");
    c.query("USE catalog").await.unwrap();
    is_across(&execute(&mut c, 1).await.unwrap_err(), &["'shop'"]);
    is_across(&execute(&mut c, 2).await.unwrap_err(), &["'orders'"]);
    c.query("USE orders").await.unwrap();
    assert_eq!(execute(&mut c, 1).await.unwrap(), "item 3");
    assert_eq!(execute(&mut c, 2).await.unwrap(), "a");
}

async fn roams(door: &Door) {
    let mut c = shop(door, "").await;
    for (sql, server) in [
        ("SELECT @@server_id FROM catalog.t", "2"),
        (WHERE, "2"),
        ("SELECT @@server_id FROM orders.t", "1"),
        ("SELECT @@server_id FROM shop.item LIMIT 1", "1"),
    ] {
        assert_eq!(cell(&mut c, sql).await, server, "{sql}");
    }
    // What cannot be read may name what has no route.
    assert_eq!(cell(&mut c, "SELECT at FROM catalog.t").await, "b");
    assert_eq!(cell(&mut c, "SELECT /*!80000 @@server_id FROM shop.item LIMIT 1 */").await, "1");
    c.query("BEGIN").await.unwrap();
    is_across(&refusal(&mut c, "SELECT * FROM catalog.t").await, &["transaction"]);
    c.query("ROLLBACK").await.unwrap();
    is_across(&refusal(&mut c, "SELECT * FROM catalog.t, shop.item").await, &["'shop'", "'catalog'"]);
    assert_eq!(prepare(&mut c, "SELECT at FROM catalog.t").await.unwrap(), 1);
    assert_eq!(cell(&mut c, "SELECT at FROM orders.t").await, "a");
    assert_eq!(execute(&mut c, 1).await.unwrap(), "b");
}

async fn kill(door: &Door) {
    let (mut killer, mut victim) = (shop(door, "shop").await, shop(door, "catalog").await);
    victim.query("BEGIN").await.unwrap();
    killer.query(format!("KILL QUERY {}", victim.id())).await.unwrap();
    assert_eq!(cell(&mut victim, WHERE).await, "2");
    killer.query(format!("KILL {};", victim.id())).await.unwrap();
    assert!(victim.query("SELECT 1").await.is_err());
    assert_eq!(cell(&mut killer, WHERE).await, "1");
}

fn clients(door: &Door, of: &str) -> (String, usize) {
    let all = door.control().routes();
    let RouteView { cluster, clients, .. } = all.into_iter().find(|route| route.of == of).unwrap();
    (cluster, clients)
}

#[test]
fn a_schema_crosses_and_comes_back_while_others_stay() {
    let (a, b) = clusters();
    let door = door(&a, &b, true);
    let all = door.control();
    assert!(all.of_schemas(["shop"]).is_none() && all.of_schemas(["orders", "catalog"]).is_none());
    let orders = all.of_schemas(["Orders"]).unwrap();
    block_on(LocalSet::new().run_until(async {
        let mut moving = shop(&door, "orders").await;
        let (mut staying, mut roaming) = (shop(&door, "shop").await, shop(&door, "").await);
        let mut beyond = shop(&door, "catalog").await;
        let mut pinned = shop(&door, "shop").await;
        pinned.query("SET @a = 5").await.unwrap();
        prepare(&mut moving, "SELECT at FROM t").await.unwrap();
        prepare(&mut staying, "SELECT at FROM orders.t").await.unwrap();
        assert_eq!(execute(&mut staying, 1).await.unwrap(), "a");
        assert_eq!(cell(&mut roaming, "SELECT at FROM orders.t").await, "a");
        assert_eq!(clients(&door, "schema orders"), ("a".to_owned(), 1));

        let report = orders.warm(backend(&b)).await.unwrap();
        assert_eq!((report.opened, report.failed), (1, Vec::new()));
        // Whoever is inside on the cluster it leaves may have used it.
        staying.query("BEGIN").await.unwrap();
        staying.query("SELECT * FROM orders.t").await.unwrap();
        orders.hold();
        let stuck = orders.drain(Duration::from_millis(30), PinnedPolicy::Refuse).await.unwrap_err();
        assert_eq!(stuck.open.len(), 1);
        staying.query("COMMIT").await.unwrap();
        // Who need not move may be pinned.
        orders.drain(LONG, PinnedPolicy::Refuse).await.unwrap();
        let pins: Vec<_> = orders.sessions_there().into_iter().filter_map(|s| s.pinned).collect();
        assert_eq!(pins, Vec::<String>::new());
        assert_eq!(cell(&mut beyond, "SELECT at FROM t").await, "b");
        let held = tokio::task::spawn_local(async move { (execute(&mut moving, 1).await, moving) });
        let also = tokio::task::spawn_local(async move { (cell(&mut staying, WHERE).await, staying) });
        until("held", || all.stats().held == 2).await;
        orders.switch(backend(&b), 1).unwrap();
        // Who is not held here would be there before it is opened.
        let early =
            tokio::task::spawn_local(async move { (cell(&mut beyond, "SELECT at FROM t").await, beyond) });
        until("held there", || all.stats().held == 3).await;
        assert!(!held.is_finished() && !also.is_finished());
        orders.release();
        let ((after, mut moving), (server, mut staying)) = (held.await.unwrap(), also.await.unwrap());
        assert_eq!((after.unwrap().as_str(), server.as_str()), ("b", "1"));
        assert_eq!(early.await.unwrap().0, "b");
        assert_eq!(cell(&mut moving, WHERE).await, "2");
        assert_eq!(cell(&mut pinned, "SELECT @a + @@server_id").await, "6");
        assert_eq!((orders.writer().0.id, all.writer().0.id), ("b".to_owned(), "a".to_owned()));
        assert_eq!(clients(&door, "schema orders"), ("b".to_owned(), 1));
        // What could be said before cannot any more, prepared or not, and a client without a schema follows.
        is_across(&execute(&mut staying, 1).await.unwrap_err(), &["'orders'"]);
        is_across(&refusal(&mut staying, "INSERT INTO orders.t (at) VALUES ('x')").await, &["cluster 'b'"]);
        is_across(&refusal(&mut pinned, "SELECT * FROM orders.t").await, &["cluster 'b'"]);
        assert_eq!(cell(&mut roaming, "SELECT at FROM orders.t").await, "b");
        moving.query("INSERT INTO t (at) VALUES ('x')").await.unwrap();

        assert!(orders.switch(backend(&a), 2).is_err(), "neither held nor drained");
        orders.hold();
        orders.drain(LONG, PinnedPolicy::Refuse).await.unwrap();
        orders.switch(backend(&a), 2).unwrap();
        orders.release();
        assert_eq!(cell(&mut moving, "SELECT at FROM t").await, "a");
        assert_eq!(execute(&mut staying, 1).await.unwrap(), "a");
        assert_eq!(cell(&mut roaming, "SELECT at FROM orders.t").await, "a");

        // Everything takes along what is on the same cluster, and nothing else.
        all.hold();
        all.drain(LONG, PinnedPolicy::Close).await.unwrap();
        all.switch(backend(&b), 1).unwrap();
        all.release();
        assert_eq!(cell(&mut staying, WHERE).await, "2");
        assert_eq!(cell(&mut moving, "SELECT at FROM t LIMIT 1").await, "b");
        assert!(pinned.query("SELECT 1").await.is_err());
        let stats = all.stats();
        assert_eq!((stats.pinned, stats.epoch), (0, 1));
    }));
}
