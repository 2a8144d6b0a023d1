//! `check` on two real servers: it finds what is wrong, says what to do about it, and leaves no trace.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use migrate::check::{Check, CheckOptions, CheckReport, Outcome, Server, Side, TargetState, check};
use migrate::{MoveSpec, TablePattern};
use mysql::{ConnectOptions, Connection, Password};
use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Mysqld, Node, NodeOptions};

const SHOP: &str = "CREATE DATABASE shop;
CREATE TABLE shop.customers (id INT PRIMARY KEY, name VARCHAR(40), seen TIMESTAMP NULL);
CREATE TABLE shop.orders (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, customer INT NOT NULL, placed DATETIME, doc JSON,
  twice INT GENERATED ALWAYS AS (customer * 2), FOREIGN KEY (customer) REFERENCES shop.customers (id));
INSERT INTO shop.customers VALUES (1, 'Ann', NOW());
INSERT INTO shop.orders (customer, placed) VALUES (1, NOW())";

/// Two servers, the shop on the first.
struct Pair {
    source: Node,
    target: Node,
}

impl Pair {
    async fn new(source: NodeOptions, target: NodeOptions) -> Self {
        let mysqld = Mysqld::find().unwrap();
        let source = Node::start(&mysqld, source.server_id(1)).unwrap();
        let target = Node::start(&mysqld, target.server_id(2)).unwrap();
        let pair = Self { source, target };
        pair.on_source(SHOP).await;
        pair
    }

    async fn alike() -> Self {
        Self::new(NodeOptions::new("source").durable(), NodeOptions::new("target").durable()).await
    }

    async fn on_source(&self, sql: &str) {
        connect(&self.source).await.query_all(sql).await.unwrap();
    }

    async fn on_target(&self, sql: &str) {
        connect(&self.target).await.query_all(sql).await.unwrap();
    }

    async fn check(&self, options: impl Into<CheckOptions>) -> CheckReport {
        self.check_tables(&[("shop", None)], options).await
    }

    async fn check_tables(
        &self,
        tables: &[(&str, Option<&str>)],
        options: impl Into<CheckOptions>,
    ) -> CheckReport {
        let (mut source, mut target) = (server(&self.source).await, server(&self.target).await);
        check(&mut source, &mut target, &spec(tables), options).await.unwrap()
    }
}

fn spec(tables: &[(&str, Option<&str>)]) -> MoveSpec {
    let pattern = |(schema, table): &(&str, Option<&str>)| TablePattern {
        schema: (*schema).to_owned(),
        table: table.map(str::to_owned),
    };
    MoveSpec {
        name: "shop".into(),
        tables: tables.iter().map(pattern).collect(),
        renames: Default::default(),
    }
}

fn account(node: &Node, user: &str, password: &str) -> ConnectOptions {
    ConnectOptions::new("127.0.0.1", node.port(), user, Password::new(password))
}

async fn connect(node: &Node) -> Connection {
    Connection::connect(&account(node, ADMIN_USER, ADMIN_PASSWORD)).await.unwrap()
}

async fn server(node: &Node) -> Server {
    Server::connect(&account(node, ADMIN_USER, ADMIN_PASSWORD)).await.unwrap()
}

/// As an account that may do little.
async fn server_as_mover(node: &Node) -> Server {
    Server::connect(&account(node, "mover", "mover-secret")).await.unwrap()
}

fn names(report: &CheckReport, outcome: Outcome) -> BTreeSet<&'static str> {
    report.with(outcome).map(|c| c.name).collect()
}

fn named<'a>(report: &'a CheckReport, name: &str) -> &'a Check {
    report.checks.iter().find(|c| c.name == name).unwrap()
}

#[tokio::test]
async fn a_clean_pair_passes() {
    let pair = Pair::alike().await;
    let report = pair.check(TargetState::Fresh).await;
    assert_eq!(report.refused(), 0, "{report}");
    // root@localhost can lift a fence, on these servers as on most.
    assert_eq!(names(&report, Outcome::Warned), ["other-writers"].into(), "{report}");
    assert_eq!(named(&report, "tables-exist").evidence, "2 tables");
    assert_eq!(named(&report, "generated-columns").evidence, "1 generated column");
    assert!(named(&report, "data-size").evidence.contains("KiB in 2 tables"), "{report}");

    let underway = pair.check(TargetState::Underway).await;
    assert_eq!(names(&underway, Outcome::Refused), ["gtid-purged", "target-tables"].into(), "{underway}");
    // What the README says.
    assert!(report.checks.len() > 70, "{} checks", report.checks.len());
}

/// What happened to the marketplace: `SYSTEM` on a machine in California there, on one in UTC here.
#[tokio::test]
async fn time_zone_mismatch_is_caught() {
    let source = NodeOptions::new("source").time_zone_env("America/Los_Angeles");
    let pair = Pair::new(source, NodeOptions::new("target")).await;
    let report = pair.check(TargetState::Fresh).await;
    let zone = named(&report, "time-zone");
    assert_eq!(zone.outcome, Outcome::Refused, "{report}");
    assert!(zone.evidence.contains("source: time_zone = SYSTEM, system_time_zone = P"), "{}", zone.evidence);
    assert!(
        zone.evidence.contains("target: time_zone = SYSTEM, system_time_zone = UTC"),
        "{}",
        zone.evidence
    );
    assert!(zone.evidence.contains("1 TIMESTAMP and 1 DATETIME columns move"), "{}", zone.evidence);
    let fix = zone.fix.clone().unwrap();
    assert!(fix.contains("SET PERSIST time_zone = 'America/Los_Angeles';"), "{fix}");

    let accept = vec!["time-zone".to_owned()];
    let accepted = pair.check(CheckOptions { accept, ..TargetState::Fresh.into() }).await;
    let zone = named(&accepted, "time-zone");
    assert_eq!((zone.outcome, zone.accepted), (Outcome::Warned, true));

    let zones = "SELECT COUNT(*) FROM mysql.time_zone_name";
    if connect(&pair.target).await.row(zones).await.unwrap().unwrap().text(0) != "0" {
        run_fix(&mut connect(&pair.target).await, &fix).await;
        let report = pair.check(TargetState::Fresh).await;
        assert_eq!(named(&report, "time-zone").outcome, Outcome::Warned, "{report}");
        // In SYSTEM an hour that exists twice is read as the second, in the same zone by name as the first.
        let time = named(&report, "behaviour-time");
        assert_eq!((time.outcome, time.evidence.lines().count()), (Outcome::Warned, 1), "{report}");
        assert!(time.evidence.starts_with("repeated-hour: '1793525400 "), "{}", time.evidence);
    }
}

/// Runs what a fix says, as an operator would paste it.
async fn run_fix(server: &mut Connection, fix: &str) {
    for line in fix.lines().filter(|line| !line.starts_with("--")) {
        server.query_all(line).await.unwrap_or_else(|e| panic!("{line}: {e}"));
    }
}

#[tokio::test]
async fn each_refusal_names_its_fix() {
    let pair = Pair::alike().await;
    pair.on_source(
        "SET GLOBAL binlog_format = 'MIXED', binlog_row_image = 'MINIMAL', \
           binlog_order_commits = OFF, max_allowed_packet = 1073741824, \
           show_gipk_in_create_table_and_information_schema = OFF;
         CREATE TABLE shop.log (line TEXT);
         CREATE TABLE shop.numbered (n INT AUTO_INCREMENT, KEY (n));
         CREATE TABLE shop.old (id INT PRIMARY KEY) ENGINE = MyISAM;
         CREATE TABLE shop.notes (id INT PRIMARY KEY, o BIGINT UNSIGNED, CONSTRAINT cut FOREIGN KEY (o) \
           REFERENCES shop.orders (id) ON DELETE CASCADE);
         CREATE DATABASE crm;
         CREATE TABLE crm.calls (id INT PRIMARY KEY, o BIGINT UNSIGNED, CONSTRAINT away FOREIGN KEY (o) \
           REFERENCES shop.orders (id));
         CREATE TRIGGER shop.audit AFTER INSERT ON shop.log FOR EACH ROW SET @n = 1;
         CREATE EVENT shop.sweep ON SCHEDULE EVERY 1 DAY DO SET @n = 1;
         CREATE DEFINER = 'gone'@'%' VIEW shop.v AS SELECT 1;
         XA START 'x'; INSERT INTO shop.customers VALUES (2, 'Ben', NULL); XA END 'x'; XA PREPARE 'x'",
    )
    .await;
    pair.on_target(
        "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY);
         CREATE EVENT shop.sweep ON SCHEDULE EVERY 1 DAY DO SET @n = 1;
         CREATE TRIGGER shop.audit AFTER INSERT ON shop.orders FOR EACH ROW SET @n = 1;
         SET GLOBAL local_infile = ON, max_connections = 100, super_read_only = ON",
    )
    .await;
    let report = pair.check(TargetState::Fresh).await;
    let refused = names(&report, Outcome::Refused);
    for name in [
        "binlog-format",
        "binlog-row-image",
        "binlog-order-commits",
        "max-allowed-packet",
        "storage-engine",
        "foreign-keys-inside",
        "xa-prepared",
        "target-tables",
        "target-triggers",
        "target-events",
        "target-writable",
    ] {
        assert!(refused.contains(name), "{name} is not refused\n{report}");
    }
    let warned = names(&report, Outcome::Warned);
    for name in ["row-key", "definers", "local-infile", "max-connections"] {
        assert!(warned.contains(name), "{name} is not warned about\n{report}");
    }
    for check in report.checks.iter().filter(|c| c.outcome != Outcome::Passed) {
        assert!(check.fix.as_ref().is_some_and(|f| !f.is_empty()), "{} names no fix", check.name);
    }

    // Those that are statements, run as given.
    let by_statement = [
        "target-writable",
        "target-triggers",
        "target-events",
        "target-tables",
        "max-allowed-packet",
        "local-infile",
        "max-connections",
        "binlog-format",
        "binlog-row-image",
        "binlog-order-commits",
        "storage-engine",
        "row-key",
    ];
    for name in by_statement {
        for check in report.checks.iter().filter(|c| c.name == name && c.outcome != Outcome::Passed) {
            let node = if check.side == Side::Source { &pair.source } else { &pair.target };
            run_fix(&mut connect(node).await, check.fix.as_deref().unwrap()).await;
        }
    }
    pair.on_source("XA ROLLBACK 'x'; DROP TABLE crm.calls; DROP TRIGGER shop.audit").await;
    let report = pair.check(TargetState::Fresh).await;
    assert_eq!(report.refused(), 0, "{report}");
}

/// What a table's statement asks of the server, and who follows the source: a real tablespace, folder and replica.
#[tokio::test]
async fn places_that_the_target_lacks_and_replicas_nobody_spares_are_named() {
    let folder = std::env::temp_dir().join(format!("highwater-check-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let elsewhere = folder.to_str().unwrap();
    let source = NodeOptions::new("source").arg(format!("--innodb-directories={elsewhere}"));
    let pair = Pair::new(source, NodeOptions::new("target")).await;
    pair.on_source(&format!(
        "CREATE TABLESPACE fast ADD DATAFILE 'fast.ibd';
         CREATE TABLE shop.hot (id INT PRIMARY KEY) TABLESPACE fast;
         CREATE TABLE shop.cold (id INT PRIMARY KEY) DATA DIRECTORY '{elsewhere}'"
    ))
    .await;
    let report = pair.check(TargetState::Fresh).await;
    assert_eq!(names(&report, Outcome::Refused), ["data-directories", "tablespaces"].into(), "{report}");
    let spaces = named(&report, "tablespaces");
    assert_eq!(spaces.evidence, "not on the target: fast");
    run_fix(&mut connect(&pair.target).await, spaces.fix.as_deref().unwrap()).await;
    let folders = named(&report, "data-directories");
    assert!(folders.evidence.contains(elsewhere), "{}", folders.evidence);
    // That the server says the same.
    let sql = format!("CREATE TABLE cold (id INT PRIMARY KEY) DATA DIRECTORY '{elsewhere}'");
    pair.on_target("CREATE DATABASE tried").await;
    let refused = connect(&pair.target).await.query_all(format!("USE tried; {sql}")).await;
    assert!(refused.is_err_and(|e| e.to_string().contains("3121")));

    assert_eq!(named(&report, "source-replicas").outcome, Outcome::Passed, "{report}");
    let port = pair.source.port();
    pair.on_target(&format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, SOURCE_USER='{ADMIN_USER}', \
           SOURCE_PASSWORD='{ADMIN_PASSWORD}', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1;
         START REPLICA IO_THREAD"
    ))
    .await;
    let mut source = connect(&pair.source).await;
    let registered = async { while source.rows("SHOW REPLICAS").await.unwrap().is_empty() {} };
    tokio::time::timeout(Duration::from_secs(30), registered).await.unwrap();
    let report = pair.check(TargetState::Fresh).await;
    let replicas = named(&report, "source-replicas");
    assert_eq!(replicas.outcome, Outcome::Warned, "{report}");
    assert!(replicas.evidence.contains("one that does not report its host"), "{}", replicas.evidence);
    assert!(!names(&report, Outcome::Refused).contains("tablespaces"), "{report}");
    let spared = vec![format!("127.0.0.1:{}", pair.target.port())];
    let report = pair.check(CheckOptions { spared, ..TargetState::Fresh.into() }).await;
    assert_eq!(named(&report, "source-replicas").outcome, Outcome::Passed, "{report}");
    drop(pair);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn an_unknown_table_is_refused_with_the_nearest_name() {
    let pair = Pair::alike().await;
    pair.on_source("CREATE VIEW shop.recent AS SELECT id FROM shop.orders").await;
    let move_of =
        [("shop", Some("order")), ("sho", None), ("shop", Some("customers")), ("shop", Some("recent"))];
    let report = pair.check_tables(&move_of, TargetState::Fresh).await;
    let check = named(&report, "tables-exist");
    assert_eq!(check.outcome, Outcome::Refused);
    assert_eq!(
        check.evidence,
        "unknown table in a move: shop.order, unknown table in a move: sho.*, unknown table in a move: shop.recent (a view)"
    );
    let fix = check.fix.clone().unwrap();
    assert!(fix.contains("write shop.orders in place of shop.order in"), "{fix}");
    assert!(fix.contains("write shop.* in place of sho.*"), "{fix}");

    let system = pair.check_tables(&[("mysql", None)], TargetState::Fresh).await;
    assert_eq!(named(&system, "tables-exist").outcome, Outcome::Refused);
}

/// Waits until the server's own thread has put every GTID so far into its table, which it does at leisure.
async fn settle(node: &Node) {
    let left = "SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, IFNULL((SELECT GROUP_CONCAT(source_uuid, ':', \
                interval_start, '-', interval_end) FROM mysql.gtid_executed), ''))";
    let mut server = connect(node).await;
    let done = async { while !server.row(left).await.unwrap().unwrap().text(0).is_empty() {} };
    tokio::time::timeout(Duration::from_secs(30), done).await.unwrap();
}

/// All that a server writes for someone who only reads: transactions, and rows of its own tables.
async fn traces(node: &Node) -> Vec<(String, String)> {
    let mut server = connect(node).await;
    let rows = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Innodb_rows_inserted', 'Innodb_rows_updated', \
                'Innodb_rows_deleted', 'Innodb_system_rows_inserted', 'Innodb_system_rows_updated', \
                'Innodb_system_rows_deleted')";
    let mut all: Vec<_> = server.rows(rows).await.unwrap().iter().map(|r| (r.text(0), r.text(1))).collect();
    assert_eq!(all.len(), 6);
    let gtids = server.row("SELECT @@GLOBAL.gtid_executed").await.unwrap().unwrap();
    all.push(("gtid_executed".into(), gtids.text(0)));
    all
}

#[tokio::test]
async fn check_writes_nothing() {
    // Persistent statistics are the server's own writing, at times of its choosing.
    let quiet =
        |name| NodeOptions::new(name).arg("--innodb-stats-persistent=OFF").arg("--event-scheduler=OFF");
    let pair = Pair::new(quiet("source"), quiet("target")).await;
    settle(&pair.source).await;
    let before = (traces(&pair.source).await, traces(&pair.target).await);
    pair.check(TargetState::Fresh).await;
    pair.check(TargetState::Underway).await;
    assert_eq!((traces(&pair.source).await, traces(&pair.target).await), before);

    // The same question asked carelessly does leave a trace, so the test would see one.
    let mut server = connect(&pair.source).await;
    server
        .rows("SELECT DATA_LENGTH FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop'")
        .await
        .unwrap();
    assert_ne!(traces(&pair.source).await, before.0);
}

#[tokio::test]
async fn what_an_account_may_not_read_never_passes() {
    let pair = Pair::alike().await;
    for node in [&pair.source, &pair.target] {
        let sql = "CREATE USER mover@'%' IDENTIFIED BY 'mover-secret'; GRANT SELECT ON `shop`.* TO mover@'%'";
        connect(node).await.query_all(sql).await.unwrap();
    }
    let mut source = server_as_mover(&pair.source).await;
    let mut target = server_as_mover(&pair.target).await;
    let report = check(&mut source, &mut target, &spec(&[("shop", None)]), TargetState::Fresh).await.unwrap();
    let unread = |c: &&Check| c.evidence.starts_with("could not be read: ");
    let dark: BTreeSet<_> = report.checks.iter().filter(unread).map(|c| c.name).collect();
    for name in [
        "xa-prepared",
        "binlog-filters",
        "other-writers",
        "open-transactions",
        "triggers",
        "events",
        "definers",
    ] {
        assert!(dark.contains(name), "{name}\n{report}");
    }
    assert!(report.checks.iter().filter(unread).all(|c| c.outcome != Outcome::Passed && c.fix.is_some()));
    let lacking = named(&report, "privileges-copy");
    assert_eq!(lacking.evidence, "mover@% lacks REPLICATION CLIENT, REPLICATION SLAVE on *.*");
    assert!(!report.to_string().contains("mover-secret"));

    // Every GRANT the report asks for is one the server takes, and then there is nothing left to refuse.
    for check in report.checks.iter().filter(|c| c.outcome != Outcome::Passed) {
        let node = if check.side == Side::Source { &pair.source } else { &pair.target };
        for grant in check.fix.iter().flat_map(|f| f.lines()).filter(|line| line.starts_with("GRANT")) {
            connect(node).await.query_all(grant).await.unwrap_or_else(|e| panic!("{grant}: {e}"));
        }
    }
    let mut source = server_as_mover(&pair.source).await;
    let mut target = server_as_mover(&pair.target).await;
    let report = check(&mut source, &mut target, &spec(&[("shop", None)]), TargetState::Fresh).await.unwrap();
    assert_eq!(report.refused(), 0, "{report}");
    assert_eq!(report.checks.iter().filter(unread).count(), 0, "{report}");
}
