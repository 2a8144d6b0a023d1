//! The writer changes under the clients: they are held, moved with their settings, and lose nothing.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use mysql::{Capabilities, ErrPacket, Error};
use mysql_async::prelude::Queryable;
use proxy::{DoorError, PinnedPolicy};
use sandbox::{SHOP_PASSWORD, SHOP_USER};
use tokio::task::LocalSet;
use wire::command::Command;
use world::{admin, backend, block_on, cell, client, door, door_holding, node, run, sysbench, tools, until};

const DEPRECATE_EOF: Capabilities = Capabilities::DEPRECATE_EOF;
const LONG: Duration = Duration::from_secs(10);

#[test]
fn a_held_client_continues_on_the_new_writer_with_its_settings_and_statements() {
    let (a, b) = (node("a", 1, &[]), node("b", 2, &[]));
    let door = door(&a);
    let control = door.control();
    block_on(LocalSet::new().run_until(async {
        let options = mysql_async::OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(door.address().port())
            .user(Some(SHOP_USER))
            .pass(Some(SHOP_PASSWORD))
            .db_name(Some("shop"))
            // Else it asks the server for its socket and goes around the door.
            .prefer_socket(Some(false));
        let mut c = mysql_async::Conn::new(options).await.unwrap();
        c.query_drop("SET NAMES utf8mb4 COLLATE utf8mb4_bin").await.unwrap();
        c.query_drop("SET time_zone = '+05:30', sql_mode = 'ANSI_QUOTES', sql_select_limit = 7")
            .await
            .unwrap();
        c.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, autocommit = 1")
            .await
            .unwrap_err();
        c.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await.unwrap();
        let statement = c.prep("SELECT name, @@server_id FROM item WHERE id = ?").await.unwrap();
        let before: Option<(String, u32)> = c.exec_first(&statement, (3,)).await.unwrap();
        assert_eq!(before, Some(("item 3".into(), 1)));
        c.query_drop("INSERT INTO item (name) VALUES ('new')").await.unwrap();
        c.query_drop("USE information_schema").await.unwrap();
        c.query_drop("USE shop").await.unwrap();

        let report = control.warm(backend(&b)).await.unwrap();
        assert_eq!((report.opened, report.failed.len()), (1, 0));
        control.hold();
        let held = tokio::task::spawn_local(async move {
            let after: Option<(String, u32)> = c.exec_first(&statement, (4,)).await.unwrap();
            (c, after)
        });
        until("held", || control.stats().held == 1).await;
        let early = control.switch(backend(&b), 1);
        assert!(matches!(early, Err(DoorError::NotDrained { .. })));
        control.drain(LONG, PinnedPolicy::Refuse).await.unwrap();
        control.switch(backend(&b), 1).unwrap();
        assert!(!held.is_finished());
        control.release();
        let (mut c, after) = held.await.unwrap();
        assert_eq!(after, Some(("item 4".into(), 2)));
        let settings: Option<(String, String, String, u64, String, String, u64)> = c
            .query_first(
                "SELECT @@collation_connection, @@time_zone, @@sql_mode, @@sql_select_limit, \
                 @@transaction_isolation, DATABASE(), LAST_INSERT_ID()",
            )
            .await
            .unwrap();
        let (collation, zone, mode, limit, isolation, schema, last_id) = settings.unwrap();
        assert_eq!(
            (collation.as_str(), zone.as_str(), mode.as_str()),
            ("utf8mb4_bin", "+05:30", "ANSI_QUOTES")
        );
        assert_eq!((limit, isolation.as_str(), schema.as_str(), last_id), (7, "READ-COMMITTED", "shop", 101));
        let stats = control.stats();
        assert_eq!((stats.epoch, stats.pinned, stats.door_errors), (1, 0, 0));
        assert!(stats.longest_hold_ever > Duration::ZERO);
        c.disconnect().await.unwrap();
    }));
}

#[test]
fn a_statement_keeps_its_parameter_types_or_is_refused_when_its_table_has_changed() {
    let (a, b) = (node("a", 1, &[]), node("b", 2, &[]));
    let door = door(&a);
    let control = door.control();
    block_on(async {
        admin(&b).await.query("ALTER TABLE shop.item ADD COLUMN more INT").await.unwrap();
        let mut c = client(door.address().port(), DEPRECATE_EOF).await;
        for (text, definitions) in
            [("SELECT name, @@server_id FROM item WHERE id = ?", 3), ("SELECT * FROM item", 2)]
        {
            c.send_command(Command::STMT_PREPARE, text.as_bytes()).await.unwrap();
            for _ in 0..=definitions {
                c.read_packet().await.unwrap();
            }
        }
        // The types come with the first execution only.
        c.send_command(Command::STMT_EXECUTE, b"\x01\0\0\0\0\x01\0\0\0\0\x01\x03\0\x02\0\0\0").await.unwrap();
        assert!(last_row(&mut c).await.starts_with(b"\0\0\x06item 2\x01"));
        control.hold();
        control.drain(LONG, PinnedPolicy::Refuse).await.unwrap();
        control.switch(backend(&b), 1).unwrap();
        control.release();
        for _ in 0..2 {
            c.send_command(Command::STMT_EXECUTE, b"\x01\0\0\0\0\x01\0\0\0\0\x00\x02\0\0\0").await.unwrap();
            assert!(last_row(&mut c).await.starts_with(b"\0\0\x06item 2\x02"));
        }
        for _ in 0..2 {
            c.send_command(Command::STMT_EXECUTE, b"\x02\0\0\0\0\x01\0\0\0").await.unwrap();
            let refused = ErrPacket::parse(&c.read_packet().await.unwrap()).unwrap();
            assert_eq!(refused.code, 1615);
        }
    });
}

/// The last row of a binary result.
async fn last_row(c: &mut mysql::Connection) -> Vec<u8> {
    let mut row = Vec::new();
    loop {
        let packet = c.read_packet().await.unwrap();
        match packet[0] {
            0xFE => return row,
            0xFF => panic!("{:?}", ErrPacket::parse(&packet)),
            _ => row = packet.to_vec(),
        }
    }
}

#[test]
fn an_open_transaction_finishes_before_the_drain() {
    let (a, b) = (node("a", 1, &[]), node("b", 2, &[]));
    let door = door(&a);
    let control = door.control();
    block_on(LocalSet::new().run_until(async {
        let mut c = client(door.address().port(), DEPRECATE_EOF).await;
        c.execute("BEGIN").await.unwrap();
        c.execute("UPDATE item SET name = 'x' WHERE id = 1").await.unwrap();
        control.hold();
        let stuck = control.drain(Duration::from_millis(50), PinnedPolicy::Refuse).await.unwrap_err();
        assert_eq!(stuck.open.len(), 1);
        assert_eq!((stuck.open[0].user.as_str(), stuck.open[0].backend_connection_id > 0), (SHOP_USER, true));
        assert!(stuck.to_string().contains("transaction"), "{stuck}");
        // Held, but inside: it goes on to its end.
        let draining = tokio::task::spawn_local({
            let control = control.clone();
            async move { control.drain(LONG, PinnedPolicy::Refuse).await }
        });
        assert_eq!(cell(&mut c, "SELECT @@server_id").await, "1");
        assert!(!draining.is_finished());
        c.execute("COMMIT").await.unwrap();
        draining.await.unwrap().unwrap();
        control.switch(backend(&b), 5).unwrap();
        control.release();
        assert_eq!(cell(&mut c, "SELECT @@server_id").await, "2");
        assert_eq!(cell(&mut admin(&a).await, "SELECT name FROM shop.item WHERE id = 1").await, "x");
    }));
}

#[test]
fn locks_cursors_and_failed_procedures_count_as_transactions() {
    let a = node("a", 1, &[]);
    let door = door(&a);
    let control = door.control();
    block_on(async {
        for old_dialect in [false, true] {
            let capabilities = if old_dialect { Capabilities(0) } else { DEPRECATE_EOF };
            let mut c = client(door.address().port(), capabilities).await;
            let short = Duration::from_millis(30);
            for (begin, end) in [
                ("LOCK TABLES item READ", "UNLOCK TABLES"),
                ("SET TRANSACTION READ ONLY", "SELECT 1 FROM item LIMIT 1"),
                ("CALL half_done()", "ROLLBACK"),
            ] {
                c.query(
                    "CREATE PROCEDURE IF NOT EXISTS half_done() BEGIN START TRANSACTION; \
                         DELETE FROM item WHERE id = 50; SIGNAL SQLSTATE '45000'; END",
                )
                .await
                .unwrap();
                let _ = c.query(begin).await;
                control.hold();
                assert!(control.drain(short, PinnedPolicy::Refuse).await.is_err(), "{begin}");
                c.query(end).await.unwrap();
                if end.starts_with("SELECT") && old_dialect {
                    // Its end is not reported to the old dialect with the rows: the door asks, when it is held again.
                    control.hold();
                }
                control.drain(LONG, PinnedPolicy::Refuse).await.unwrap_or_else(|e| panic!("{begin}: {e}"));
                control.release();
            }
        }
    });
}

#[test]
fn an_aborted_hold_goes_on_with_the_old_writer() {
    let a = node("a", 1, &[]);
    let door = door(&a);
    let control = door.control();
    block_on(LocalSet::new().run_until(async {
        let mut c = client(door.address().port(), DEPRECATE_EOF).await;
        c.execute("SET @kept = 5").await.unwrap();
        control.hold();
        let held = tokio::task::spawn_local(async move { cell(&mut c, "SELECT @kept + @@server_id").await });
        until("held", || control.stats().held == 1).await;
        control.release();
        assert_eq!(held.await.unwrap(), "6");
        assert_eq!(control.stats().epoch, 0);
    }));
}

#[test]
fn a_hold_that_lasts_too_long_is_an_error_that_clients_retry() {
    let a = node("a", 1, &[]);
    let door = door_holding(&a, Duration::from_millis(100));
    let control = door.control();
    block_on(async {
        let mut c = client(door.address().port(), DEPRECATE_EOF).await;
        control.hold();
        let Err(Error::Server(error)) = c.query("DELETE FROM item").await else { panic!("not held") };
        assert_eq!(error.code, 1205);
        assert!(error.message.contains("nothing was executed"), "{}", error.message);
        let refused = world::try_client(door.address().port(), DEPRECATE_EOF).await;
        assert_eq!(refused.unwrap_err().server_code(), Some(1205));
        control.release();
        assert_eq!(cell(&mut c, "SELECT COUNT(*) FROM item").await, "100");
    });
}

#[test]
fn a_client_that_left_while_held_has_no_effect() {
    let a = node("a", 1, &[]);
    let door = door(&a);
    let control = door.control();
    block_on(async {
        let mut c = client(door.address().port(), DEPRECATE_EOF).await;
        control.hold();
        let given_up = tokio::time::timeout(Duration::from_millis(100), c.query("DELETE FROM item")).await;
        assert!(given_up.is_err());
        drop(c);
        until("gone", || control.stats().clients == 0).await;
        control.release();
        let mut c = client(door.address().port(), DEPRECATE_EOF).await;
        assert_eq!(cell(&mut c, "SELECT COUNT(*) FROM item").await, "100");
    });
}

#[test]
fn a_pinned_session_is_named() {
    let (a, b) = (node("a", 1, &[]), node("b", 2, &[]));
    let door = door(&a);
    let control = door.control();
    block_on(async {
        let port = door.address().port();
        for pins in
            ["SET @a = 1", "CREATE TEMPORARY TABLE t (i INT)", "SELECT GET_LOCK('x', 1)", "SELECT 1 INTO @b"]
        {
            let mut c = client(port, DEPRECATE_EOF).await;
            c.query(pins).await.unwrap();
            control.hold();
            let named = control.drain(LONG, PinnedPolicy::Refuse).await.unwrap_err();
            assert_eq!(named.open.len(), 1, "{pins}");
            assert_eq!(named.open[0].user, SHOP_USER);
            assert!(named.to_string().contains("cannot be moved"), "{named}");
            assert!(control.switch(backend(&b), 9).is_err(), "{pins}");
            control.release();
            drop(c);
            until("gone", || control.stats().clients == 0).await;
        }
        // Ordinary settings and prepared statements do not pin.
        let mut free = client(port, DEPRECATE_EOF).await;
        free.query("SET NAMES utf8mb4").await.unwrap();
        let mut pinned = client(port, DEPRECATE_EOF).await;
        pinned.query("SET @a = 1").await.unwrap();
        control.hold();
        control.drain(LONG, PinnedPolicy::Close).await.unwrap();
        control.switch(backend(&b), 9).unwrap();
        control.release();
        assert_eq!(cell(&mut free, "SELECT @@server_id").await, "2");
        until("the pinned one closed", || control.stats().clients == 1).await;
        assert!(pinned.query("SELECT 1").await.is_err());
    });
}

#[test]
fn traffic_is_moved_back_and_forth_without_an_error_and_the_drained_server_hears_nothing() {
    let (a, b) = (node("a", 1, &[]), node("b", 2, &[]));
    let door = door(&a);
    let control = door.control();
    let (tools, port) = (tools(), door.address().port());
    for node in [&a, &b] {
        run(sysbench(&tools, node.port(), "oltp_read_only", 1).arg("prepare"));
    }
    let load = |script: &str, more: &str| {
        let mut command = sysbench(&tools, port, script, 8);
        command.args(["--time=6", "--db-ps-mode=auto", more, "run"]);
        std::thread::spawn(move || run(&mut command))
    };
    let loads = [load("oltp_read_only", "--verbosity=3"), load("oltp_point_select", "--skip-trx=on")];
    block_on(async {
        until("traffic", || control.stats().commands > 1000).await;
        for epoch in 1..=6 {
            let (old, next) = if epoch % 2 == 1 { (&a, &b) } else { (&b, &a) };
            let mut ear = admin(old).await;
            control.warm(backend(next)).await.unwrap();
            control.hold();
            control.drain(LONG, PinnedPolicy::Refuse).await.unwrap();
            let heard = "SELECT SUM(variable_value) FROM performance_schema.global_status WHERE variable_name IN \
                         ('Com_stmt_execute', 'Com_stmt_prepare', 'Com_begin', 'Com_commit', 'Com_set_option')";
            let before = cell(&mut ear, heard).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(cell(&mut ear, heard).await, before);
            control.switch(backend(next), epoch).unwrap();
            assert_eq!(cell(&mut ear, heard).await, before);
            control.release();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    for load in loads {
        let said = load.join().unwrap();
        assert!(said.contains("ignored errors:                      0"), "{said}");
    }
    assert_eq!(control.stats().door_errors, 0);
}
