//! What the door's tests share: real servers, a door before them, and the clients that come with them.

#![allow(dead_code, missing_docs, clippy::unwrap_used)]

pub mod certificates;
pub mod raw;
pub mod relay;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use mysql::{Capabilities, ConnectOptions, Connection, Password, ServerKey, Tls};
use proxy::{Backend, Door, DoorOptions, Entrance, Routes, Rules, Terms};
use sandbox::{Mysqld, Node, NodeOptions, SHOP_PASSWORD, SHOP_USER};

/// A server with the database `shop`, holding 100 items.
pub fn node(name: &str, server_id: u32, args: &[&str]) -> Node {
    let mysqld = Mysqld::find().unwrap_or_else(|e| panic!("{e}"));
    let mut options = NodeOptions::new(name).server_id(server_id);
    for arg in args {
        options = options.arg(*arg);
    }
    let node = Node::start(&mysqld, options).unwrap_or_else(|e| panic!("{e}"));
    block_on(async {
        let mut admin = admin(&node).await;
        for sql in [
            "CREATE DATABASE IF NOT EXISTS shop",
            "CREATE TABLE shop.item (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL)",
            "SET SESSION cte_max_recursion_depth = 1000",
            "INSERT INTO shop.item (name) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) \
             SELECT CONCAT('item ', i) FROM n",
            "ALTER TABLE shop.item AUTO_INCREMENT = 101",
        ] {
            admin.query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
    });
    node
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub fn backend(node: &Node) -> Backend {
    Backend {
        id: node.name().to_owned(),
        host: "127.0.0.1".into(),
        port: node.port(),
        server_key: ServerKey::FetchOnLoopback,
        tls: Tls::default(),
    }
}

pub fn door(node: &Node) -> Door {
    door_holding(node, Duration::from_secs(20))
}

pub fn door_holding(node: &Node, hold_max: Duration) -> Door {
    Door::start(DoorOptions { rules: Rules { hold_max, ..rules() }, ..options(node) }).unwrap()
}

/// A door with rules for its entrance.
pub fn door_with(node: &Node, entrance: Entrance) -> Door {
    Door::start(DoorOptions { rules: Rules { entrance, ..rules() }, ..options(node) }).unwrap()
}

/// A door whose clients share so many backends.
pub fn sharing_door(node: &Node, backends_max: usize) -> Door {
    Door::start(DoorOptions { rules: Rules { backends_max, ..rules() }, ..options(node) }).unwrap()
}

/// A door of two threads, sharing, with room for everybody.
pub fn options(node: &Node) -> DoorOptions {
    options_of(backend(node))
}

/// The same, for a server that somebody else runs.
pub fn options_of(writer: Backend) -> DoorOptions {
    DoorOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        threads: 2,
        writer,
        routes: Routes::default(),
        server_version: "9.7.4".into(),
        share: true,
        rules: rules(),
    }
}

/// Rules that let everybody in, for long.
pub fn rules() -> Rules {
    Rules {
        hold_max: Duration::from_secs(20),
        clients_max: 1000,
        entrance: Entrance::default(),
        backends_max: 100,
        queue_max: Duration::from_secs(10),
        terms: Terms::default(),
        memory_max: usize::MAX,
        observe: proxy::Observe::default(),
    }
}

pub async fn admin(node: &Node) -> Connection {
    let password = Password::new(sandbox::ADMIN_PASSWORD);
    Connection::connect(&ConnectOptions::new("127.0.0.1", node.port(), sandbox::ADMIN_USER, password))
        .await
        .unwrap()
}

/// Logs in as the shop's application, with these capabilities.
pub async fn client(port: u16, capabilities: Capabilities) -> Connection {
    try_client(port, capabilities).await.unwrap()
}

pub async fn try_client(port: u16, capabilities: Capabilities) -> mysql::Result<Connection> {
    Connection::connect(&shop_at(port, capabilities)).await
}

/// The shop's application at a port.
pub fn shop_at(port: u16, capabilities: Capabilities) -> ConnectOptions {
    let mut options = ConnectOptions::new("127.0.0.1", port, SHOP_USER, Password::new(SHOP_PASSWORD));
    options.schema = Some(b"shop".to_vec());
    options.capabilities = capabilities;
    options.collation = 45;
    options
}

/// The one cell of a query's one row.
pub async fn cell(client: &mut Connection, sql: &str) -> String {
    client.row(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")).unwrap().text(0)
}

/// Waits until `done`, or fails after ten seconds.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(10), "still not: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// MySQL's own client at the door, as the shop, with these arguments.
pub fn mysql_client(door: &Door, args: &[&str], sql: &str) -> Command {
    let mysql = sandbox::client_tool("mysql").expect("the mysql client comes with the server");
    let mut command = Command::new(mysql);
    command
        .args([
            "--no-defaults",
            "--host=127.0.0.1",
            "--get-server-public-key",
            "--batch",
            "--skip-column-names",
        ])
        .arg(format!("--port={}", door.address().port()))
        .args([&format!("--user={SHOP_USER}"), &format!("--execute={sql}"), "shop"])
        .args(args)
        .env("MYSQL_PWD", SHOP_PASSWORD);
    command
}

/// What `scripts/test-tools.sh` found or fetched.
pub struct Tools {
    pub python: PathBuf,
    pub python_path: String,
    pub sysbench: PathBuf,
    pub sysbench_lua: PathBuf,
}

pub fn tools() -> Tools {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/test-tools.sh");
    let out = run(Command::new("bash").arg(script));
    let value = |name: &str| {
        let line = out.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("test-tools.sh says nothing of {name}")).to_owned()
    };
    Tools {
        python: value("PYTHON").into(),
        python_path: value("PYTHONPATH"),
        sysbench: value("SYSBENCH").into(),
        sysbench_lua: value("SYSBENCH_LUA").into(),
    }
}

/// Runs a program to its end and returns what it wrote, failing if it failed.
pub fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// sysbench's arguments for a test of the database `shop` behind this port.
pub fn sysbench(tools: &Tools, port: u16, script: &str, threads: u32) -> Command {
    let mut command = Command::new(&tools.sysbench);
    command
        .arg(tools.sysbench_lua.join(format!("{script}.lua")))
        .args([
            "--db-driver=mysql",
            "--mysql-host=127.0.0.1",
            "--mysql-db=shop",
            "--tables=1",
            "--table-size=1000",
        ])
        .arg(format!("--mysql-port={port}"))
        .arg(format!("--mysql-user={SHOP_USER}"))
        .arg(format!("--mysql-password={SHOP_PASSWORD}"))
        .arg(format!("--threads={threads}"));
    command
}
