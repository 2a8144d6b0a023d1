//! A private server really starts, keeps its rows through `kill -9`, and leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Disk, Mysqld, Node, NodeOptions, SHOP_PASSWORD, SHOP_USER};

/// Runs a statement through the client tool; what it printed, or the server's complaint.
fn run(mysqld: &Mysqld, node: &Node, (user, password): (&str, &str), sql: &str) -> Result<String, String> {
    let output = Command::new(mysqld.tool("mysql").expect("the client tool comes with the server"))
        .args(["--no-defaults", "--batch", "--skip-column-names", "--protocol=tcp", "--host=127.0.0.1"])
        .arg(format!("--port={}", node.port()))
        .arg(format!("--user={user}"))
        .env("MYSQL_PWD", password)
        .args(["--execute", sql])
        .output()
        .expect("the client tool runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

const ADMIN: (&str, &str) = (ADMIN_USER, ADMIN_PASSWORD);
const SHOP: (&str, &str) = (SHOP_USER, SHOP_PASSWORD);

#[test]
fn a_node_starts_in_seconds_and_survives_kill_nine() {
    let begun = Instant::now();
    let mysqld = Mysqld::find().unwrap();
    println!("server {} found in {:.2?}", mysqld.version(), begun.elapsed());

    let begun = Instant::now();
    let mut source = Node::start(&mysqld, NodeOptions::new("source").server_id(1).durable()).unwrap();
    println!("first node started in {:.2?}", begun.elapsed());
    let begun = Instant::now();
    let zone = "America/Los_Angeles";
    let target = Node::start(&mysqld, NodeOptions::new("target").server_id(2).time_zone_env(zone)).unwrap();
    let took = begun.elapsed();
    println!("second node started in {took:.2?}");
    assert!(took < Duration::from_secs(30), "a start over the template took {took:?}");

    // Two servers, not one twice; and nothing of their making is in anybody's history.
    let identity = "SELECT @@server_uuid, @@server_id";
    let identities = [&source, &target].map(|node| run(&mysqld, node, ADMIN, identity).unwrap());
    assert_ne!(identities[0], identities[1]);
    assert_eq!(run(&mysqld, &target, ADMIN, "SELECT @@global.gtid_executed").unwrap(), "");
    assert_eq!(run(&mysqld, &target, ADMIN, "SELECT @@system_time_zone IN ('PST', 'PDT')").unwrap(), "1");

    let sql = "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY); INSERT INTO shop.orders VALUES (7)";
    run(&mysqld, &source, SHOP, sql).unwrap();
    assert!(run(&mysqld, &source, SHOP, "CREATE DATABASE other").unwrap_err().contains("Access denied"));
    // What SET PERSIST said must hold after a crash: a fence depends on it.
    run(&mysqld, &source, ADMIN, "SET PERSIST super_read_only = ON").unwrap();

    let port = source.port();
    source.kill_nine().unwrap();
    assert_eq!(source.pid(), None);
    let begun = Instant::now();
    source.restart().unwrap();
    println!("started again after kill -9 in {:.2?}", begun.elapsed());
    assert_eq!(source.port(), port);
    let row = "SELECT id, @@global.super_read_only, @@server_uuid, @@server_id FROM shop.orders";
    assert_eq!(run(&mysqld, &source, ADMIN, row).unwrap(), format!("7\t1\t{}", identities[0]));

    let begun = Instant::now();
    source.stop().unwrap();
    println!("stopped in {:.2?}", begun.elapsed());

    let (pid, dir) = (target.pid().unwrap(), target.dir().to_owned());
    drop(target);
    assert!(!dir.exists());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_node_on_a_disk_of_its_own_waits_when_it_is_full_and_keeps_its_rows_through_kill_nine() {
    if let Err(why) = Disk::can_be_had() {
        println!("not looked at on this machine: {}", why.what);
        return;
    }
    let mysqld = Mysqld::find().unwrap();
    let mut node = Node::start(&mysqld, NodeOptions::new("small").durable().disk(300 << 20)).unwrap();
    assert!(node.data().join("ca.pem").exists());
    run(&mysqld, &node, SHOP, "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, v BLOB)")
        .unwrap();
    run(&mysqld, &node, SHOP, "INSERT INTO shop.orders VALUES (1, 'kept'), (2, '')").unwrap();
    node.disk().unwrap().fill().unwrap();
    // The server may give a little back just after: one statement more might find room, many do not. They need none but in the
    // binary log.
    let grow = "UPDATE shop.orders SET v = REPEAT(UUID(), 200) WHERE id = 2";
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            while !ended.load(Relaxed) {
                let _ = run(&mysqld, &node, SHOP, grow);
            }
        });
        let begun = Instant::now();
        while !std::fs::read_to_string(node.error_log()).unwrap().contains("Disk is full writing") {
            let waits = begun.elapsed() < Duration::from_secs(20);
            ended.fetch_or(!waits, Relaxed);
            assert!(waits, "it does not wait");
            std::thread::sleep(Duration::from_millis(10));
        }
        let kept = run(&mysqld, &node, SHOP, "SELECT v FROM shop.orders WHERE id = 1").unwrap();
        assert_eq!(kept, "kept", "it can be read");
        ended.store(true, Relaxed);
        let pid = node.pid().unwrap();
        Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
        waiting.join().unwrap();
    });
    while !node.has_ended().unwrap() {
        std::thread::sleep(Duration::from_millis(10));
    }
    node.disk().unwrap().free().unwrap();
    node.restart().unwrap();
    assert_eq!(run(&mysqld, &node, SHOP, "SELECT v FROM shop.orders WHERE id = 1").unwrap(), "kept");
    run(&mysqld, &node, SHOP, "INSERT INTO shop.orders VALUES (3, 'room')").unwrap();
}

#[test]
fn a_server_outlives_the_thread_that_started_it() {
    let mysqld = Mysqld::find().unwrap();
    let found = mysqld.clone();
    let node =
        std::thread::spawn(move || Node::start(&found, NodeOptions::new("thread")).unwrap()).join().unwrap();
    assert_eq!(run(&mysqld, &node, ADMIN, "SELECT 1").unwrap(), "1");
}

#[test]
fn a_server_that_cannot_start_says_why_in_three_parts() {
    let mysqld = Mysqld::find().unwrap();
    let options = NodeOptions::new("wrong").arg("--no-such-option=1");
    let error = Node::start(&mysqld, options).unwrap_err();
    assert!(error.what.contains("node 'wrong'") && error.what.contains("ended at its start"), "{error}");
    assert!(error.state.contains("no-such-option"), "{error}");
    assert!(error.to_string().contains("\nhint:  "), "{error}");
}

/// Set for the process that [`a_server_dies_with_its_killed_parent`] starts and kills: this same test once more.
const PARENT_TO_KILL: &str = "SANDBOX_TEST_PARENT_TO_KILL";

#[test]
fn a_server_dies_with_its_killed_parent() {
    let mysqld = Mysqld::find().unwrap();
    if std::env::var_os(PARENT_TO_KILL).is_some() {
        let node = Node::start(&mysqld, NodeOptions::new("orphan")).unwrap();
        println!("\npid={}", node.pid().unwrap());
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    if !["/usr/bin/setpriv", "/bin/setpriv"].iter().any(|path| Path::new(path).exists()) {
        println!("no setpriv on this machine: nothing is promised");
        return;
    }
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_dies_with_its_killed_parent", "--nocapture"])
        .env(PARENT_TO_KILL, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
    let pid = lines.filter_map(|line| line.strip_prefix("pid=").map(str::to_owned)).next().unwrap();
    let server = Path::new("/proc").join(pid);
    assert!(server.exists());

    parent.kill().unwrap();
    parent.wait().unwrap();
    let killed = Instant::now();
    while server.exists() {
        assert!(killed.elapsed() < Duration::from_secs(20), "the server outlived its parent");
        std::thread::sleep(Duration::from_millis(10));
    }
}
