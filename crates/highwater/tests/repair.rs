//! `highwater verify --repair`: what it shows, what it asks, and what it writes where.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod site;

use std::io::Write;
use std::process::{Command, Stdio};

use mysql::Connection;
use serde_json::{Value, json};
use site::{Running, Site, assert_three_parts};

const TABLES: &str = "
CREATE DATABASE shop;
CREATE TABLE shop.plain (id INT PRIMARY KEY, v VARCHAR(200));
CREATE TABLE shop.bag (v INT, w VARCHAR(20));
INSERT INTO shop.plain WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 900) SELECT i, i FROM n;
INSERT INTO shop.bag SELECT id, 'some' FROM shop.plain";

async fn following() -> (Site, Running, Connection, Connection) {
    let site = Site::new("");
    let (mut old, new) = (site.on(&site.old).await, site.on(&site.new).await);
    old.query_all(TABLES).await.unwrap();
    let running = site.start("serve");
    site.wait_for(&["following"]);
    site.caught_up().await;
    (site, running, old, new)
}

async fn executed(server: &mut Connection) -> String {
    server.row("SELECT @@GLOBAL.gtid_executed").await.unwrap().unwrap().text(0)
}

/// A stranger changes a row of the table with a key, removes one, adds one, and does the same to the bag.
async fn meddle(new: &mut Connection) {
    let meddling = "UPDATE shop.plain SET v = REPEAT('x', 150) WHERE id = 7; DELETE FROM shop.plain WHERE id = 8; \
                    INSERT INTO shop.plain VALUES (9000, 'new'); INSERT INTO shop.bag VALUES (7, 'some'); \
                    DELETE FROM shop.bag WHERE v = 8";
    new.query_all(meddling).await.unwrap();
}

const STATEMENTS: [&str; 5] = [
    "  UPDATE `shop`.`plain` SET `v` = _utf8mb4'7' WHERE `id` = 7;",
    "  INSERT INTO `shop`.`plain` (`id`, `v`) VALUES (8, _utf8mb4'8');",
    "  DELETE FROM `shop`.`plain` WHERE `id` = 9000;",
    "  DELETE FROM `shop`.`bag` WHERE `v` <=> 7 AND `w` <=> _utf8mb4'some' LIMIT 1;",
    "  INSERT INTO `shop`.`bag` (`v`, `w`) VALUES (8, _utf8mb4'some');",
];

/// The program at a terminal of its own, told `answer`: exit code, and all that was on the terminal.
fn at_a_terminal(site: &Site, args: &str, answer: &str) -> (Option<i32>, String) {
    let line = format!("{} {args}", env!("CARGO_BIN_EXE_highwater"));
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(&site.dir);
    let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_is_shown_and_asked_for_and_makes_a_cutover_possible() {
    let (site, _running, mut old, mut new) = following().await;
    assert!(site.done(&["verify", "--repair"]).starts_with("move shop: every row is equal\n"));
    meddle(&mut new).await;
    let source = executed(&mut old).await;

    // Nobody to ask: it is shown, and not written.
    let output = site.run(&["verify", "--repair"]);
    let (shown, said) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_three_parts(&said);
    assert!(said.contains("nobody sits at a terminal") && said.contains("`--yes`"), "{said}");
    for statement in STATEMENTS {
        assert!(shown.lines().any(|line| line == statement), "no {statement:?} in {shown}");
    }
    assert!(!shown.contains("xxx"), "what is there now is not shown");

    // Somebody who does not agree, and somebody who does.
    for answer in ["n\n", "\n"] {
        let (code, terminal) = at_a_terminal(&site, "verify --repair", answer);
        assert!(code == Some(1) && terminal.contains("the repair was not agreed to"), "{code:?} {terminal}");
        assert!(
            terminal.contains("Write 5 to the target? Nothing is written to the source. [y/N]"),
            "{terminal}"
        );
    }
    assert!(site.refused(&["verify"]).contains("highwater verify --repair"));
    assert!(site.refused(&["cutover"]).contains("not ours"));
    let (code, terminal) = at_a_terminal(&site, "verify --repair", "y\n");
    assert_eq!(code, Some(0), "{terminal}");
    assert!(terminal.contains("move shop: every row that differed is equal now"), "{terminal}");
    assert_eq!(site.difference_in("shop", 2).await, "");
    assert_eq!(executed(&mut old).await, source, "nothing is written to the source");

    // For programs, with everything in one answer.
    meddle(&mut new).await;
    let answer: Value = serde_json::from_str(&site.done(&["verify", "--repair", "--yes", "--json"])).unwrap();
    assert_eq!(
        (&answer["different"], &answer["repair"]["report"]["different"]),
        (&json!(5), &json!(0)),
        "{answer}"
    );
    assert_eq!(answer["repair"]["report"]["repaired"], 5);
    let tables = answer["repair"]["plan"]["tables"].as_array().unwrap();
    let keys = |table: &Value| -> Vec<String> {
        let mut keys: Vec<String> = table["statements"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["key"].as_str().unwrap().to_owned())
            .collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&tables[0]), ["7,_utf8mb4'some'", "8,_utf8mb4'some'"]);
    assert_eq!(keys(&tables[1]), ["7", "8", "9000"]);
    assert_eq!(site.difference_in("shop", 2).await, "");

    // What the stranger did is settled by it: the pass came after, and what it found is repaired.
    site.done(&["cutover"]);
    assert_eq!(site.state(), "switched");
}
