//! One source is split between two clusters: by schema, and by table of one schema.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod site;

use std::time::{Duration, Instant};

use mysql::{ConnectOptions, Connection};
use sandbox::{ADMIN_USER, Mysqld, Node, NodeOptions};
use site::Site;

const ROWS: u32 = 3_000;

/// What the two moves take, as lines of their sections: by schema and by table.
const BY_TABLE: [&str; 2] = ["tables = ['one.*', 'two.b']", "tables = ['two.c']"];
/// The same by schema, each behind a fence of its own.
const BY_SCHEMA: [&str; 2] =
    ["tables = ['one.*']\nfence = 'schemas'", "tables = ['two.*']\nfence = 'schemas'"];

/// A site whose source has two schemas, and the settings of two moves to two clusters.
async fn split([left, right]: [&str; 2]) -> (Site, Node) {
    let site = Site::new("");
    let third = Node::start(&Mysqld::find().unwrap(), NodeOptions::new("third").server_id(3)).unwrap();
    let mut old = site.on(&site.old).await;
    for table in ["one.a", "two.b", "two.c", "two.stays"] {
        let schema = &table[..3];
        let sql = format!(
            "CREATE DATABASE IF NOT EXISTS {schema}; CREATE TABLE {table} (id INT PRIMARY KEY, v INT); \
             SET cte_max_recursion_depth = 100000; INSERT INTO {table} \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < {ROWS}) SELECT i, i FROM n"
        );
        old.query_all(sql).await.unwrap();
    }
    let cluster = |name: &str, port: u16| {
        format!(
            "[clusters.{name}]\nhost = '127.0.0.1'\nport = {port}\nuser = '{ADMIN_USER}'\npassword_file = 'password'\n"
        )
    };
    let settings = format!(
        "state_dir = 'state'\n{}{}{}\
         [moves.left]\nsource = 'old'\ntarget = 'new'\n{left}\n\
         [moves.right]\nsource = 'old'\ntarget = 'third'\n{right}\n\
         [front_door]\nlisten = '127.0.0.1:0'\ncluster = 'old'\n",
        cluster("old", site.old.port()),
        cluster("new", site.new.port()),
        cluster("third", third.port())
    );
    std::fs::write(site.dir.join("highwater.toml"), settings).unwrap();
    (site, third)
}

fn states(site: &Site) -> Vec<(String, String)> {
    let Some(status) = site.status() else { return Vec::new() };
    let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
    status["moves"].as_array().unwrap().iter().map(|m| (text(&m["name"]), text(&m["state"]))).collect()
}

fn wait_for(site: &Site, moves: &[&str]) {
    let until = Instant::now() + Duration::from_secs(60);
    let wanted: Vec<_> = moves.iter().map(|m| ((*m).to_owned(), "following".to_owned())).collect();
    while states(site) != wanted {
        assert!(Instant::now() < until, "{:?}", states(site));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// `schema.table:sum` of every table of the two schemas that is on a server.
async fn tables(site: &Site, node: &Node) -> Vec<String> {
    let mut server = site.on(node).await;
    let list = "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) FROM information_schema.TABLES \
                WHERE TABLE_SCHEMA IN ('one', 'two') ORDER BY 1";
    let mut found = Vec::new();
    for row in server.rows(list).await.unwrap() {
        let sum = format!("SELECT SUM(v) FROM {}", row.text(0));
        found.push(format!("{}:{}", row.text(0), server.row(sum).await.unwrap().unwrap().text(0)));
    }
    found
}

/// Waits until a server has just these.
async fn becomes(site: &Site, node: &Node, wanted: &[String]) {
    let until = Instant::now() + Duration::from_secs(20);
    while tables(site, node).await != wanted {
        assert!(Instant::now() < until, "{:?}, not {wanted:?}", tables(site, node).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_source_is_split_by_schema_and_by_table_and_each_move_has_its_own_ledger() {
    let (site, third) = split(BY_TABLE).await;
    let sum = u64::from(ROWS) * u64::from(ROWS + 1) / 2;
    let mut running = site.start("copy");
    wait_for(&site, &["left", "right"]);
    // Both follow, each what is its own.
    let mut old = site.on(&site.old).await;
    let write = "UPDATE one.a SET v = v + 1 WHERE id = 1; UPDATE two.b SET v = v + 2 WHERE id = 1; \
                 UPDATE two.c SET v = v + 3 WHERE id = 1; UPDATE two.stays SET v = v + 4 WHERE id = 1";
    old.query_all(format!("START TRANSACTION; {write}; COMMIT")).await.unwrap();
    becomes(&site, &site.new, &[format!("one.a:{}", sum + 1), format!("two.b:{}", sum + 2)]).await;
    becomes(&site, &third, &[format!("two.c:{}", sum + 3)]).await;

    running.kill_nine();
    old.query_all(write).await.unwrap();
    // One of them alone, then all again: each goes on from its own ledger.
    let mut running = site.start_with(&["copy", "--move", "right"]);
    wait_for(&site, &["right"]);
    becomes(&site, &third, &[format!("two.c:{}", sum + 6)]).await;
    running.kill_nine();
    let _running = site.start("serve");
    wait_for(&site, &["left", "right"]);
    becomes(&site, &site.new, &[format!("one.a:{}", sum + 2), format!("two.b:{}", sum + 4)]).await;
    for name in ["left", "right"] {
        assert!(site.done(&["verify", "--move", name]).contains("every row is equal"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cutover_that_would_stop_another_move_is_refused_by_name() {
    let (site, _third) = split(BY_TABLE).await;
    let _running = site.start("serve");
    wait_for(&site, &["left", "right"]);
    for name in ["left", "right"] {
        site.done(&["verify", "--move", name]);
    }
    let rails = site.done(&["cutover", "--move", "left", "--dry-run"]);
    assert!(rails.contains("alone") && rails.contains("move 'right' of cluster 'old'"), "{rails}");
    let said = site.refused(&["cutover", "--move", "left"]);
    assert!(
        said.starts_with("error: cannot start cutover: move 'right' of cluster 'old' would be stopped"),
        "{said}"
    );
    assert!(said.contains("set `fence = \"schemas\"` for this move"), "{said}");
    let mut old = site.on(&site.old).await;
    old.execute("UPDATE two.stays SET v = 0 WHERE id = 1").await.unwrap();
    let said = site.refused(&["cutover"]);
    assert!(said.contains("several moves, and none was named"), "{said}");
}

/// A client of the front door in a schema.
async fn client(site: &Site, schema: &str) -> Connection {
    let status = site.status().unwrap();
    let listen = status["door"]["listen"].as_str().unwrap().to_owned();
    let port = listen.rsplit(':').next().unwrap().parse().unwrap();
    let schema = Some(schema.as_bytes().to_vec());
    Connection::connect(&ConnectOptions { port, schema, ..site.admin(&site.old) }).await.unwrap()
}

/// The server a client's statements go to, seen behind a write of its own.
async fn writes_to(client: &mut Connection, table: &str) -> String {
    client.execute(format!("UPDATE {table} SET v = v + 1 WHERE id = 2")).await.unwrap();
    client.row("SELECT @@server_id").await.unwrap().unwrap().text(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_of_schemas_cross_one_by_one_and_back_while_clients_of_the_other_go_on() {
    let (site, third) = split(BY_SCHEMA).await;
    let sum = u64::from(ROWS) * u64::from(ROWS + 1) / 2;
    let _running = site.start("serve");
    wait_for(&site, &["left", "right"]);
    let (mut one, mut two) = (client(&site, "one").await, client(&site, "two").await);
    for name in ["left", "right"] {
        site.done(&["verify", "--move", name]);
    }
    // How often each has written, and where to.
    assert_eq!((writes_to(&mut one, "a").await, writes_to(&mut two, "b").await), ("1".into(), "1".into()));
    site.done(&["cutover", "--move", "left"]);
    assert_eq!((writes_to(&mut one, "a").await, writes_to(&mut two, "b").await), ("2".into(), "1".into()));
    // Together no statement can use them now; one by one a client can.
    let across = one.execute("UPDATE one.a, two.b SET a.v = 0, b.v = 0").await.unwrap_err();
    assert_eq!(across.server_code(), Some(1235), "{across}");
    one.execute("USE two").await.unwrap();
    assert_eq!(writes_to(&mut one, "b").await, "1");
    one.execute("USE one").await.unwrap();
    site.done(&["cutover", "--move", "right"]);
    assert_eq!((writes_to(&mut one, "a").await, writes_to(&mut two, "b").await), ("2".into(), "3".into()));
    site.done(&["rollback", "--move", "left"]);
    assert_eq!((writes_to(&mut one, "a").await, writes_to(&mut two, "b").await), ("1".into(), "3".into()));
    // Every write is on both servers of its move, once.
    becomes(&site, &site.new, &[format!("one.a:{}", sum + 4)]).await;
    let rest = [format!("two.b:{}", sum + 5), format!("two.c:{sum}"), format!("two.stays:{sum}")];
    becomes(&site, &third, &rest).await;
    becomes(&site, &site.old, &[&[format!("one.a:{}", sum + 4)], &rest[..]].concat()).await;
    for name in ["left", "right"] {
        assert!(site.done(&["verify", "--move", name]).contains("every row is equal"));
    }
    let said = site.done(&["finish", "--move", "right"]);
    assert!(
        said.contains("in place of [moves.right] the settings need `schemas = { two = \"third\" }`"),
        "{said}"
    );
}
