//! Clients that are idle for too long, backends that the server closes meanwhile, statements that run for too long.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::{Duration, Instant};

use mysql::{Capabilities, Connection, Error};
use proxy::{Door, DoorOptions, Rules, Terms};
use sandbox::Node;
use tokio::io::AsyncReadExt;
use world::raw::Client;
use world::{admin, block_on, cell, client, node, options, rules, until};

const DIALECT: Capabilities = Capabilities::DEPRECATE_EOF;

fn open(node: &Node, backends_max: usize, terms: Terms) -> Door {
    Door::start(DoorOptions { threads: 1, rules: Rules { terms, backends_max, ..rules() }, ..options(node) })
        .unwrap()
}

/// Everything that comes before the end, which must come.
async fn rest(client: &mut Client) -> Vec<u8> {
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), client.stream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    rest
}

async fn logged_in(port: u16) -> Client {
    let mut client = Client::connect(port).await;
    assert_eq!(client.log_in(sandbox::SHOP_USER, sandbox::SHOP_PASSWORD).await.error, None);
    client
}

/// The door has ended it: what it has said is no answer to the next command.
async fn is_ended(client: &mut Connection) {
    let said = client.query("DO 1").await;
    assert!(matches!(said, Err(Error::Wire(_) | Error::Lost(_))), "{said:?}");
}

#[test]
fn what_takes_too_long_ends_and_nothing_else_does() {
    let node = node("limits", 1, &["--wait-timeout=4"]);
    let idle = std::thread::scope(|scope| {
        // Side by side: they wait for the same seconds.
        let parts = [
            scope.spawn(|| a_shared_client_does_not_notice_the_servers_own_timeout(&node)),
            scope.spawn(|| an_idle_client_is_ended_as_a_server_ends_it(&node)),
            scope.spawn(|| a_transaction_has_a_limit_of_its_own(&node)),
            scope.spawn(|| a_statement_that_runs_for_too_long_is_killed_and_its_session_goes_on(&node)),
        ];
        parts.map(std::thread::ScopedJoinHandle::join)
    });
    for part in idle {
        if let Err(panic) = part {
            std::panic::resume_unwind(panic);
        }
    }
}

fn a_shared_client_does_not_notice_the_servers_own_timeout(node: &Node) {
    // Enough backends that nobody asks a client for the one it lingers on.
    let door = open(node, 10, Terms::default());
    block_on(async {
        let port = door.address().port();
        let mut plain = client(port, DIALECT).await;
        // Reports of state come late to these: whether a transaction is open is not known after each result.
        let mut old = client(port, Capabilities(0)).await;
        let mut warned = client(port, DIALECT).await;
        let mut inserted = client(port, DIALECT).await;
        assert_eq!(cell(&mut plain, "SELECT 1").await, "1");
        assert_eq!(cell(&mut old, "SELECT 1").await, "1");
        warned.query("SELECT 1 / 0").await.unwrap();
        inserted.query("INSERT INTO item (name) VALUES ('a')").await.unwrap();
        let id = cell(&mut admin(node).await, "SELECT MAX(id) FROM shop.item").await;
        // Two have given theirs back or will; the server has closed whatever was idle for four seconds.
        let mut admin = admin(node).await;
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(5500) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            admin.query("DO 1").await.unwrap();
        }
        assert_eq!(cell(&mut old, "SELECT 2").await, "2");
        assert_eq!(cell(&mut plain, "SELECT 2").await, "2");
        assert_eq!(warned.rows("SHOW WARNINGS").await.unwrap().len(), 1);
        assert_eq!(cell(&mut inserted, "SELECT LAST_INSERT_ID()").await, id);
        assert_eq!(door.control().stats().door_errors, 0);
    });
}

fn an_idle_client_is_ended_as_a_server_ends_it(node: &Node) {
    let door = open(node, 10, Terms { idle_max: Duration::from_secs(2), ..Terms::default() });
    let lenient = open(node, 10, Terms::default());
    block_on(async {
        // The door's limit, the client's own before a door without, and the server's own word for it.
        let mut through = logged_in(door.address().port()).await;
        let mut own = logged_in(lenient.address().port()).await;
        let mut direct = logged_in(node.port()).await;
        let mut stays = client(lenient.address().port(), DIALECT).await;
        for client in [&mut own, &mut direct] {
            client.send_command(b"SET SESSION wait_timeout = 2").await;
            assert_eq!(client.read().await.unwrap()[0], 0);
        }
        let began = Instant::now();
        let server = rest(&mut direct).await;
        assert_eq!(server[5..7], [0xBF, 0x0F], "4031: {server:?}");
        // Who says something from time to time stays.
        let mut busy = client(door.address().port(), DIALECT).await;
        let began_busy = Instant::now();
        while began_busy.elapsed() < Duration::from_millis(4500) {
            busy.query("DO 1").await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        busy.query("BEGIN").await.unwrap();
        assert_eq!(rest(&mut through).await, server);
        assert_eq!(rest(&mut own).await, server);
        assert!((2..15).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        assert_eq!(cell(&mut stays, "SELECT 1").await, "1");
        // Inside a transaction only its own limit counts.
        tokio::time::sleep(Duration::from_millis(3500)).await;
        busy.query("COMMIT").await.unwrap();
        until("all are gone that were idle", || door.control().stats().clients == 0).await;
        is_ended(&mut busy).await;
        assert_eq!((door.control().stats().idle_ended, lenient.control().stats().idle_ended), (2, 1));
        assert_eq!(door.control().stats().door_errors, 0);
    });
}

fn a_transaction_has_a_limit_of_its_own(node: &Node) {
    let door = open(node, 10, Terms { transaction_idle_max: Duration::from_secs(1), ..Terms::default() });
    block_on(async {
        let mut open = client(door.address().port(), DIALECT).await;
        let mut idle = client(door.address().port(), DIALECT).await;
        idle.query("DO 1").await.unwrap();
        open.query("BEGIN").await.unwrap();
        open.query("UPDATE item SET name = 'locked' WHERE id = 1").await.unwrap();
        until("it is gone", || door.control().stats().clients == 1).await;
        is_ended(&mut open).await;
        // Its locks are gone with it.
        idle.query("UPDATE item SET name = 'mine' WHERE id = 1").await.unwrap();
    });
}

fn a_statement_that_runs_for_too_long_is_killed_and_its_session_goes_on(node: &Node) {
    let door = open(node, 1, Terms { statement_max: Duration::from_secs(1), ..Terms::default() });
    block_on(async {
        let mut slow = client(door.address().port(), DIALECT).await;
        let mut quick = client(door.address().port(), DIALECT).await;
        slow.query("BEGIN").await.unwrap();
        slow.query("INSERT INTO item (name) VALUES ('kept')").await.unwrap();
        let began = Instant::now();
        match slow
            .query(
                "SELECT COUNT(*) FROM item a, item b, item c, item d, item e, item f WHERE a.name > b.name",
            )
            .await
        {
            Err(Error::Server(error)) => assert_eq!(error.code, 1317, "{error:?}"),
            other => panic!("{other:?}"),
        }
        assert!((1..10).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        // The transaction is still open, and so is the session.
        assert_eq!(cell(&mut slow, "SELECT COUNT(*) FROM item WHERE name = 'kept'").await, "1");
        slow.query("ROLLBACK").await.unwrap();
        for _ in 0..3 {
            assert_eq!(cell(&mut quick, "SELECT COUNT(*) FROM item WHERE name = 'kept'").await, "0");
            // SLEEP says 1 if it was interrupted.
            assert_eq!(cell(&mut slow, "SELECT SLEEP(0.2)").await, "0");
        }
        assert_eq!(cell(&mut quick, "SELECT SLEEP(5)").await, "1");
        assert_eq!(door.control().stats().backends, 1);
        assert_eq!(door.control().stats().door_errors, 0);
    });
}
