//! A backend that goes away: while idle the client does not notice, in a transaction it is told.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use mysql::{Capabilities, Error};
use world::{admin, block_on, cell, client, door, node, until};

const DEPRECATE_EOF: Capabilities = Capabilities::DEPRECATE_EOF;

fn code(result: Result<mysql::QueryResult, Error>) -> u16 {
    match result {
        Err(Error::Server(error)) => error.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn backend_lost_while_idle_is_reconnected_while_in_transaction_is_reported() {
    let mut node = node("lost", 1, &[]);
    let door = door(&node);
    let port = door.address().port();
    block_on(async {
        let mut idle = client(port, DEPRECATE_EOF).await;
        idle.query("SET time_zone = '+03:00'").await.unwrap();
        let mut pinned = client(port, DEPRECATE_EOF).await;
        pinned.query("SET @a = 1").await.unwrap();
        let mut busy = client(port, DEPRECATE_EOF).await;
        busy.query("BEGIN").await.unwrap();
        busy.query("UPDATE item SET name = 'x' WHERE id = 1").await.unwrap();
        node.restart().unwrap();
        until("the server answers", || std::net::TcpStream::connect(node.address()).is_ok()).await;
        assert_eq!(cell(&mut idle, "SELECT @@time_zone").await, "+03:00");
        assert_eq!(code(busy.query("COMMIT").await), 2013);
        assert_eq!(code(pinned.query("SELECT @a").await), 2013);
        assert_eq!(cell(&mut idle, "SELECT name FROM item WHERE id = 1").await, "item 1");
    });
}

#[test]
fn a_statement_whose_answer_was_lost_is_reported_as_of_unknown_outcome() {
    let node = node("cut", 1, &[]);
    let door = door(&node);
    let port = door.address().port();
    block_on(async {
        let mut c = client(port, DEPRECATE_EOF).await;
        let id = cell(&mut c, "SELECT CONNECTION_ID()").await;
        let mut root = admin(&node).await;
        let sleeping = c.query("DO SLEEP(30)");
        let killing = async {
            loop {
                let found = format!(
                    "SELECT COUNT(*) FROM performance_schema.processlist WHERE id = {id} AND info LIKE 'DO%'"
                );
                if cell(&mut root, &found).await == "1" {
                    break;
                }
            }
            root.query(format!("KILL CONNECTION {id}")).await.unwrap();
        };
        let (answer, ()) = tokio::join!(sleeping, killing);
        // The server may still say so itself (1317, 1053) before it closes.
        assert!(matches!(code(answer), 2013 | 1317 | 3169 | 1053));
    });
}

#[test]
fn a_writer_that_cannot_be_reached_is_said_at_once() {
    let mut node = node("down", 1, &[]);
    let door = door(&node);
    node.stop().unwrap();
    block_on(async {
        let attempt = world::try_client(door.address().port(), DEPRECATE_EOF);
        let refused = tokio::time::timeout(Duration::from_secs(3), attempt).await.unwrap().unwrap_err();
        assert_eq!(refused.server_code(), Some(2003), "{refused}");
    });
}

#[test]
fn kill_takes_the_id_the_door_gave_out() {
    let node = node("kill", 1, &[]);
    let door = door(&node);
    let port = door.address().port();
    block_on(async {
        let mut victim = client(port, DEPRECATE_EOF).await;
        let id = victim.id();
        let mut killer = client(port, DEPRECATE_EOF).await;
        let killing = async {
            let running =
                "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'";
            while cell(&mut killer, running).await != "1" {}
            killer.query(format!("KILL QUERY {id};")).await.unwrap();
        };
        let (slept, ()) = tokio::join!(victim.query("SELECT SLEEP(30)"), killing);
        // An interrupted SLEEP returns 1; the connection lives on.
        assert_eq!(slept.unwrap().into_rows().unwrap().rows[0].text(0), "1");
        assert_eq!(cell(&mut victim, "SELECT 5").await, "5");
        assert_eq!(code(killer.query("KILL QUERY 4294967295").await), 1094);
    });
}
