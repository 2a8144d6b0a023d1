//! Many clients on few backend connections: none sees anything of another, none waits for ever.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::{Duration, Instant};

use mysql::{Capabilities, Connection, ErrPacket, Error};
use proxy::{Door, DoorOptions, PinnedPolicy, Rules, SessionPhase};
use tokio::task::LocalSet;
use wire::command::Command;
use world::{admin, backend, block_on, cell, client, node, options, rules, sharing_door, until};

const DIALECT: Capabilities = Capabilities::DEPRECATE_EOF;
const LONG: Duration = Duration::from_secs(10);

fn code(result: Result<mysql::QueryResult, Error>) -> u16 {
    match result {
        Err(Error::Server(error)) => error.code,
        other => panic!("{other:?}"),
    }
}

async fn rows(client: &mut Connection, sql: &str) -> usize {
    client.rows(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")).len()
}

#[test]
fn two_clients_on_one_backend_have_settings_of_their_own() {
    let node = node("settings", 1, &[]);
    let door = sharing_door(&node, 1);
    block_on(async {
        for dialect in [DIALECT, Capabilities(0)] {
            let mut a = client(door.address().port(), dialect).await;
            let mut b = client(door.address().port(), dialect).await;
            for (set, asked, mine, theirs) in [
                ("SET time_zone = '+05:30'", "@@time_zone", "+05:30", "SYSTEM"),
                ("SET sql_mode = 'ANSI_QUOTES'", "@@sql_mode", "ANSI_QUOTES", ""),
                ("SET sql_select_limit = 7", "@@sql_select_limit", "7", ""),
                ("SET optimizer_switch = 'mrr=off'", "@@optimizer_switch LIKE '%mrr=off%'", "1", "0"),
                ("SET NAMES latin1", "@@collation_connection", "latin1_swedish_ci", "utf8mb4_general_ci"),
                (
                    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
                    "@@collation_connection",
                    "utf8mb4_bin",
                    "utf8mb4_general_ci",
                ),
                (
                    "SET character_set_results = NULL",
                    "COALESCE(@@character_set_results, 'none')",
                    "none",
                    "utf8mb4",
                ),
                ("SET autocommit = 0", "@@autocommit", "0", "1"),
                (
                    "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                    "@@transaction_isolation",
                    "SERIALIZABLE",
                    "REPEATABLE-READ",
                ),
                ("SET last_insert_id = 5", "LAST_INSERT_ID()", "5", "0"),
                ("USE information_schema", "DATABASE()", "information_schema", "shop"),
            ] {
                let asked = format!("SELECT {asked}");
                let before = cell(&mut b, &asked).await;
                a.query(set).await.unwrap();
                assert_eq!(cell(&mut b, &asked).await, before, "{set}");
                if !theirs.is_empty() {
                    assert_eq!(before, theirs, "{set}");
                }
                assert_eq!(cell(&mut a, &asked).await, mine, "{set}");
                a.query("ROLLBACK").await.unwrap();
            }
            assert_eq!(door.control().stats().backends, 1);
        }
        assert_eq!(door.control().stats().pinned, 0);
    });
}

#[test]
fn what_a_statement_left_behind_is_told_to_its_own_client_only() {
    let node = node("behind", 1, &[]);
    let door = sharing_door(&node, 1);
    block_on(async {
        for dialect in [DIALECT, Capabilities(0)] {
            let mut a = client(door.address().port(), dialect).await;
            let mut b = client(door.address().port(), dialect).await;
            // A generated id, and an explicit one that the server only echoes.
            a.query("INSERT INTO item (name) VALUES ('a')").await.unwrap();
            let id = cell(&mut a, "SELECT MAX(id) FROM item").await;
            assert_eq!(cell(&mut b, "SELECT LAST_INSERT_ID()").await, "0");
            a.query(format!("INSERT INTO item (id, name) VALUES ({id}0, 'b')")).await.unwrap();
            assert_eq!(cell(&mut b, "SELECT LAST_INSERT_ID()").await, "0");
            assert_eq!(cell(&mut a, "SELECT LAST_INSERT_ID()").await, id);
            b.query("SELECT LAST_INSERT_ID(77)").await.unwrap();
            assert_eq!(cell(&mut a, "SELECT LAST_INSERT_ID()").await, id);
            assert_eq!(cell(&mut b, "SELECT LAST_INSERT_ID()").await, "77");
            // Warnings and errors, while the other's statements come in between.
            a.query("SELECT 1 / 0").await.unwrap();
            assert_eq!(rows(&mut b, "SHOW WARNINGS").await, 0);
            assert_eq!(cell(&mut b, "SELECT @@warning_count").await, "0");
            let shown = a.rows("show warnings ;").await.unwrap();
            assert_eq!((shown.len(), shown[0].text(1).as_str()), (1, "1365"));
            assert_eq!(code(a.query("SELECT nonsense").await), 1054);
            b.query("DO 1").await.unwrap();
            assert_eq!(rows(&mut b, "SHOW WARNINGS").await, 0);
            assert_eq!(a.rows("SHOW WARNINGS").await.unwrap()[0].text(1), "1054");
            // What can no longer be told is not told wrongly.
            a.query("SELECT 1 / 0").await.unwrap();
            b.query("DO 1").await.unwrap();
            assert_eq!(code(a.query("SELECT @@warning_count").await), 1105);
            a.query("UPDATE item SET name = CONCAT(name, 'c') WHERE id <= 3").await.unwrap();
            b.query("DO 1").await.unwrap();
            assert_eq!(code(a.query("SELECT ROW_COUNT()").await), 1105);
            // From now on its backend is its own, and the answer right.
            a.query("UPDATE item SET name = CONCAT(name, 'd') WHERE id <= 4").await.unwrap();
            assert_eq!(cell(&mut a, "SELECT ROW_COUNT()").await, "4");
            until("it is counted", || door.control().stats().keeping == 1).await;
            drop((a, b));
            until("gone", || door.control().stats().clients == 0).await;
        }
    });
}

#[test]
fn what_cannot_be_restored_keeps_its_backend_and_is_counted() {
    let node = node("pins", 1, &[]);
    let door = sharing_door(&node, 3);
    block_on(async {
        admin(&node).await.query("CREATE PROCEDURE shop.p() BEGIN DO GET_LOCK('p', 0); END").await.unwrap();
        for (sets, asked, mine, theirs) in [
            ("CREATE TEMPORARY TABLE t SELECT 5 AS i", "SELECT COUNT(*) FROM t", "1", ""),
            ("SET @a = 5", "SELECT COALESCE(@a, 'none')", "5", "none"),
            ("DO GET_LOCK('x', 0)", "SELECT IS_USED_LOCK('x') = CONNECTION_ID()", "1", "0"),
            ("CALL p()", "SELECT IS_USED_LOCK('p') = CONNECTION_ID()", "1", "0"),
            ("PREPARE s FROM 'SELECT 5'", "EXECUTE s", "5", ""),
            (
                "BEGIN",
                "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = CONNECTION_ID()",
                "",
                "",
            ),
            ("LOCK TABLES item READ", "SELECT COUNT(*) > 1 FROM item", "1", ""),
        ] {
            let port = door.address().port();
            let (mut a, mut b) = (client(port, DIALECT).await, client(port, DIALECT).await);
            a.query(sets).await.unwrap();
            if theirs.is_empty() {
                let _ = b.query("SELECT 1 FROM item LIMIT 1").await.unwrap();
            } else {
                assert_eq!(cell(&mut b, asked).await, theirs, "{sets}");
            }
            if !mine.is_empty() {
                assert_eq!(cell(&mut a, asked).await, mine, "{sets}");
            }
            let id = a.id();
            let kept = |s: &proxy::SessionView| {
                s.pinned.is_some() || s.keeps.is_some() || s.phase == SessionPhase::Transaction
            };
            until(sets, || door.control().sessions().iter().any(|s| s.client_id == id && kept(s))).await;
            let stats = door.control().stats();
            let counted: usize = door.control().pins().iter().map(|(_, n)| n).sum();
            assert_eq!(counted, stats.pinned + stats.keeping, "{sets}");
            drop((a, b));
            until("gone", || door.control().stats().clients == 0).await;
            // The connection of a session that was pinned serves nobody else.
            let mut next = client(port, DIALECT).await;
            assert_eq!(cell(&mut next, "SELECT COALESCE(@a, 'none')").await, "none");
            drop(next);
            until("gone", || door.control().stats().clients == 0).await;
        }
    });
}

#[test]
fn a_transaction_and_a_set_transaction_stay_with_their_client() {
    let node = node("transactions", 1, &[]);
    let door = sharing_door(&node, 2);
    block_on(async {
        let port = door.address().port();
        let (mut a, mut b) = (client(port, DIALECT).await, client(port, DIALECT).await);
        a.query("BEGIN").await.unwrap();
        a.query("UPDATE item SET name = 'mine' WHERE id = 1").await.unwrap();
        assert_eq!(cell(&mut b, "SELECT name FROM item WHERE id = 1").await, "item 1");
        assert_eq!(cell(&mut a, "SELECT name FROM item WHERE id = 1").await, "mine");
        a.query("ROLLBACK").await.unwrap();
        a.query("SET TRANSACTION READ ONLY").await.unwrap();
        b.query("UPDATE item SET name = 'theirs' WHERE id = 2").await.unwrap();
        assert_eq!(code(a.query("UPDATE item SET name = 'x' WHERE id = 2").await), 1792);
        a.query("SELECT 1 FROM item LIMIT 1").await.unwrap();
        a.query("UPDATE item SET name = 'y' WHERE id = 2").await.unwrap();
        // A client that leaves inside a transaction leaves nothing of it behind.
        a.query("BEGIN").await.unwrap();
        a.query("UPDATE item SET name = 'lost' WHERE id = 3").await.unwrap();
        drop(a);
        until("gone", || door.control().stats().clients == 1).await;
        b.query("UPDATE item SET name = 'kept' WHERE id = 3").await.unwrap();
        assert_eq!(cell(&mut b, "SELECT name FROM item WHERE id = 3").await, "kept");
    });
}

async fn prepare(c: &mut Connection, text: &str, definitions: usize) -> Vec<u8> {
    c.send_command(Command::STMT_PREPARE, text.as_bytes()).await.unwrap();
    let first = c.read_packet().await.unwrap();
    assert_eq!(first[0], 0, "{:?}", ErrPacket::parse(&first));
    for _ in 0..definitions {
        c.read_packet().await.unwrap();
    }
    first[1..5].to_vec()
}

/// Executes with one four-byte parameter; the type is sent only if `typed`. Returns the last row.
async fn execute(c: &mut Connection, id: &[u8], typed: bool, parameter: u32) -> Result<Vec<u8>, u16> {
    let types: &[u8] = if typed { b"\x00\x01\x03\x00" } else { b"\x00\x00" };
    let body = [id, b"\0\x01\0\0\0", types, &parameter.to_le_bytes()].concat();
    c.send_command(Command::STMT_EXECUTE, &body).await.unwrap();
    let mut row = Vec::new();
    loop {
        let packet = c.read_packet().await.unwrap();
        match packet[0] {
            0xFE => return Ok(row),
            0xFF => return Err(ErrPacket::parse(&packet).unwrap().code),
            _ => row = packet.to_vec(),
        }
    }
}

#[test]
fn prepared_statements_are_their_clients_own_and_prepared_once_per_backend() {
    let node = node("prepared", 1, &[]);
    let door = sharing_door(&node, 1);
    block_on(async {
        let port = door.address().port();
        let mut all = Vec::new();
        for n in 0..5 {
            let mut c = client(port, DIALECT).await;
            // The second one has other statements under the same ids.
            if n == 1 {
                prepare(&mut c, "SELECT 'first', ?", 3).await;
            }
            let id = prepare(&mut c, "SELECT name FROM item WHERE id = ?", 2).await;
            all.push((c, id));
        }
        assert_eq!((all[0].1[0], all[1].1[0]), (1, 2));
        assert_eq!(execute(&mut all[0].0, &[2, 0, 0, 0], true, 1).await, Err(1243));
        for round in 0..3 {
            for (n, (c, id)) in all.iter_mut().enumerate() {
                let row = execute(c, id, round == 0, n as u32 + 1).await.unwrap();
                assert!(row.ends_with(format!("item {}", n + 1).as_bytes()), "{row:?}");
            }
        }
        let mut root = admin(&node).await;
        let open = "SELECT variable_value FROM performance_schema.global_status WHERE variable_name = 'Prepared_stmt_count'";
        assert_eq!(cell(&mut root, open).await, "2");
        // Names without a schema keep meaning what they meant when the statement was prepared.
        root.query_all("CREATE DATABASE other; CREATE TABLE other.item SELECT 1 AS id, 'elsewhere' AS name")
            .await
            .unwrap();
        root.query("GRANT ALL ON other.* TO 'shop'@'%'").await.unwrap();
        let c = &mut all[0].0;
        c.query("USE other").await.unwrap();
        assert_eq!(cell(c, "SELECT name FROM item").await, "elsewhere");
        // Another client's reset takes the statements off the backend, and that client's own with them.
        let (reset, gone) = &mut all[4];
        reset.send_command(Command::RESET_CONNECTION, b"").await.unwrap();
        let answer = reset.read_packet().await.unwrap();
        assert_eq!(answer[0], 0, "{:?}", ErrPacket::parse(&answer));
        assert_eq!(execute(reset, gone, true, 1).await, Err(1243));
        let (c, id) = &mut all[0];
        assert!(execute(c, id, false, 2).await.unwrap().ends_with(b"item 2"));
        assert_eq!(cell(c, "SELECT DATABASE()").await, "other");
    });
}

#[test]
fn a_client_waits_in_line_and_not_for_ever() {
    let node = node("line", 1, &[]);
    let door = Door::start(DoorOptions {
        rules: Rules { backends_max: 1, queue_max: Duration::from_millis(500), ..rules() },
        ..options(&node)
    })
    .unwrap();
    let control = door.control();
    block_on(LocalSet::new().run_until(async {
        let port = door.address().port();
        let mut a = client(port, DIALECT).await;
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push(client(port, DIALECT).await);
        }
        a.query("BEGIN").await.unwrap();
        a.query("SELECT * FROM item LIMIT 1").await.unwrap();
        let began = Instant::now();
        let Err(Error::Server(error)) = others[0].query("DELETE FROM item").await else {
            panic!("not refused")
        };
        assert_eq!(error.code, 1203);
        assert!(error.message.contains("nothing was executed"), "{}", error.message);
        assert!((450..3000).contains(&(began.elapsed().as_millis() as u64)));
        // They are served in the order in which they came.
        let order = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let mut tasks = Vec::new();
        for (n, mut c) in others.into_iter().enumerate() {
            let order = std::rc::Rc::clone(&order);
            tasks.push(tokio::task::spawn_local(async move {
                c.query("INSERT INTO item (name) VALUES ('x')").await.unwrap();
                order.borrow_mut().push(n);
                c
            }));
            until("it waits", || control.stats().waiting == n + 1).await;
        }
        let waiting = control.sessions().iter().filter(|s| s.phase == SessionPhase::Waiting).count();
        assert_eq!(waiting, 3);
        a.query("COMMIT").await.unwrap();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.borrow(), [0, 1, 2]);
        assert_eq!(cell(&mut a, "SELECT COUNT(*) FROM item").await, "103");
        // One that leaves while it waits has no effect.
        let mut gone = client(port, DIALECT).await;
        a.query("BEGIN").await.unwrap();
        let sent = tokio::time::timeout(Duration::from_millis(100), gone.query("DELETE FROM item")).await;
        assert!(sent.is_err());
        drop(gone);
        until("gone", || control.stats().clients == 1).await;
        a.query("COMMIT").await.unwrap();
        assert_eq!(cell(&mut a, "SELECT COUNT(*) FROM item").await, "103");
    }));
}

#[test]
fn a_backend_left_in_the_middle_of_an_answer_serves_nobody_else() {
    let node = node("middle", 1, &[]);
    let door = sharing_door(&node, 1);
    block_on(async {
        let port = door.address().port();
        for n in 0..20 {
            let mut c = client(port, DIALECT).await;
            let before = cell(&mut c, "SELECT CONNECTION_ID()").await;
            let sql = "SELECT a.id, REPEAT('x', 2000), b.id FROM item a, item b, item c LIMIT 200000";
            c.send_command(Command::QUERY, sql.as_bytes()).await.unwrap();
            for _ in 0..n % 7 {
                c.read_packet().await.unwrap();
            }
            drop(c);
            let mut next = client(port, DIALECT).await;
            assert_eq!(cell(&mut next, &format!("SELECT {n}")).await, n.to_string());
            assert_ne!(cell(&mut next, "SELECT CONNECTION_ID()").await, before);
            assert_eq!(door.control().stats().backends, 1);
        }
    });
}

#[test]
fn a_kill_hits_the_client_it_names_or_nobody() {
    let node = node("kills", 1, &[]);
    let door = sharing_door(&node, 2);
    block_on(async {
        let port = door.address().port();
        let (mut victim, mut killer) = (client(port, DIALECT).await, client(port, DIALECT).await);
        let mut bystander = client(port, DIALECT).await;
        for round in 0..50 {
            assert_eq!(cell(&mut victim, "SELECT 1").await, "1");
            // The victim is idle and has no connection that a KILL could be meant for.
            let id = victim.id();
            until("it has none", || {
                let sessions = door.control().sessions();
                sessions.iter().any(|s| s.client_id == id && s.backend_connection_id == 0)
            })
            .await;
            // As of any client that runs nothing, the answer is OK.
            killer.query(format!("KILL QUERY {id}")).await.unwrap();
            assert_eq!(cell(&mut bystander, &format!("SELECT {round}")).await, round.to_string());
        }
    });
}

#[test]
fn many_clients_on_few_backends_are_moved_to_another_writer() {
    let (a, b) = (node("a", 1, &[]), node("b", 2, &[]));
    let door = sharing_door(&a, 4);
    let control = door.control();
    block_on(LocalSet::new().run_until(async {
        let port = door.address().port();
        let mut all = Vec::new();
        for n in 0..40 {
            let mut c = client(port, DIALECT).await;
            c.query(format!("SET sql_select_limit = {}", 1000 + n)).await.unwrap();
            all.push((n, c));
        }
        let stop = std::rc::Rc::new(std::cell::Cell::new(false));
        let tasks: Vec<_> = all
            .into_iter()
            .map(|(n, mut c)| {
                let stop = std::rc::Rc::clone(&stop);
                tokio::task::spawn_local(async move {
                    let (mut served, mut last) = (0, String::new());
                    while !stop.get() {
                        c.query("BEGIN").await.unwrap();
                        c.query("INSERT INTO item (name) VALUES ('x')").await.unwrap();
                        c.query("COMMIT").await.unwrap();
                        let row = c.row("SELECT @@sql_select_limit, @@server_id").await.unwrap().unwrap();
                        assert_eq!(row.text(0), (1000 + n).to_string());
                        last = row.text(1);
                        served += 1;
                    }
                    (served, last)
                })
            })
            .collect();
        for epoch in 1..=4 {
            let next = if epoch % 2 == 1 { &b } else { &a };
            let report = control.warm(backend(next)).await.unwrap();
            assert_eq!((report.opened, report.failed.len()), (4, 0));
            control.hold();
            control.drain(LONG, PinnedPolicy::Refuse).await.unwrap();
            control.switch(backend(next), epoch).unwrap();
            control.release();
            let before = control.stats().commands;
            until("traffic goes on", || control.stats().commands > before + 400).await;
            // Those to the writer before go one by one, as their sessions look at the gate.
            until("only the new ones are left", || control.stats().backends <= 4).await;
        }
        stop.set(true);
        for task in tasks {
            let (served, last) = task.await.unwrap();
            assert!(served > 0 && last == "1", "{served} {last}");
        }
        assert_eq!(control.stats().door_errors, 0);
    }));
}

#[test]
fn logins_are_checked_however_many_share() {
    let node = node("logins", 1, &[]);
    let door = sharing_door(&node, 2);
    block_on(async {
        let port = door.address().port();
        let mut good = client(port, DIALECT).await;
        let mut options =
            mysql::ConnectOptions::new("127.0.0.1", port, sandbox::SHOP_USER, mysql::Password::new("wrong"));
        options.capabilities = DIALECT;
        let refused = Connection::connect(&options).await.unwrap_err();
        assert_eq!(refused.server_code(), Some(1045), "{refused}");
        options.password = mysql::Password::new(sandbox::SHOP_PASSWORD);
        options.schema = Some(b"nosuch".to_vec());
        let refused = Connection::connect(&options).await.unwrap_err();
        assert!(matches!(refused.server_code(), Some(1044 | 1049)), "{refused}");
        options.schema = None;
        let mut bare = Connection::connect(&options).await.unwrap();
        assert_eq!(cell(&mut bare, "SELECT COALESCE(DATABASE(), 'none')").await, "none");
        assert_eq!(cell(&mut good, "SELECT DATABASE()").await, "shop");
        assert_eq!(cell(&mut bare, "SELECT COALESCE(DATABASE(), 'none')").await, "none");
    });
}

#[test]
fn without_sharing_every_client_has_a_backend_of_its_own() {
    let node = node("own", 1, &[]);
    let door = Door::start(DoorOptions {
        share: false,
        rules: Rules { backends_max: 1, ..rules() },
        ..options(&node)
    })
    .unwrap();
    block_on(async {
        let port = door.address().port();
        let (mut a, mut b) = (client(port, DIALECT).await, client(port, DIALECT).await);
        let id = cell(&mut a, "SELECT CONNECTION_ID()").await;
        assert_ne!(cell(&mut b, "SELECT CONNECTION_ID()").await, id);
        a.query("UPDATE item SET name = 'd' WHERE id <= 4").await.unwrap();
        b.query("DO 1").await.unwrap();
        assert_eq!(cell(&mut a, "SELECT ROW_COUNT()").await, "4");
        assert_eq!(cell(&mut a, "SELECT CONNECTION_ID()").await, id);
        assert_eq!(door.control().stats().backends, 0);
    });
}
