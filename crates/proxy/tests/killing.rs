//! `KILL` by the ids that clients know, commands that the door answers itself, and whose turn it is.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use mysql::{Capabilities, ConnectOptions, Connection, Error, Password};
use proxy::{Door, DoorOptions, PinnedPolicy, Rules};
use sandbox::Node;
use tokio::task::LocalSet;
use wire::command::Command;
use world::relay::Wire;
use world::{admin, block_on, cell, client, node, options, rules, sharing_door, until};

const DIALECT: Capabilities = Capabilities::DEPRECATE_EOF;

fn code(result: Result<mysql::QueryResult, Error>) -> u16 {
    match result {
        Err(Error::Server(error)) => error.code,
        other => panic!("{other:?}"),
    }
}

async fn other_account(door: &Door) -> Connection {
    Connection::connect(&ConnectOptions::new("127.0.0.1", door.address().port(), "other", Password::new("o")))
        .await
        .unwrap()
}

#[test]
fn killing_pinging_and_taking_turns() {
    let node = node("killing", 1, &[]);
    block_on(async {
        let mut admin = admin(&node).await;
        admin.query("CREATE USER other@'%' IDENTIFIED BY 'o'").await.unwrap();
        admin.query("GRANT SELECT ON shop.* TO other@'%'").await.unwrap();
    });
    a_client_between_transactions_can_be_killed(&node);
    what_connection_id_told_can_be_killed(&node);
    a_kill_that_meets_the_end_of_a_transaction_finds_its_client_all_the_same(&node);
    a_ping_is_answered_while_the_gate_is_held_and_unknown_commands_as_by_a_server(&node);
    one_accounts_crowd_does_not_keep_another_waiting(&node);
}

fn a_client_between_transactions_can_be_killed(node: &Node) {
    let door = sharing_door(node, 3);
    block_on(async {
        for by_command in [true, false] {
            let mut victim = client(door.address().port(), DIALECT).await;
            let mut killer = client(door.address().port(), DIALECT).await;
            assert_eq!(cell(&mut victim, "SELECT 1").await, "1");
            let id = victim.id();
            // KILL QUERY finds nothing to do, and says so as a server does.
            killer.execute(format!("KILL QUERY {id}")).await.unwrap();
            assert_eq!(cell(&mut victim, "SELECT 2").await, "2");
            // Whose account may not.
            let idle = |s: &proxy::SessionView| s.client_id != id || s.backend_connection_id == 0;
            until("it has no connection", || door.control().sessions().iter().all(idle)).await;
            let mut stranger = other_account(&door).await;
            assert_eq!(code(stranger.query(format!("KILL {id}")).await), 1095);
            assert_eq!(cell(&mut victim, "SELECT 3").await, "3");
            match by_command {
                true => {
                    killer.send_command(Command::PROCESS_KILL, &id.to_le_bytes()).await.unwrap();
                    assert_eq!(killer.read_packet().await.unwrap()[0], 0);
                }
                false => drop(killer.execute(format!("kill connection {id} ;")).await.unwrap()),
            }
            until("it is gone", || door.control().sessions().iter().all(|s| s.client_id != id)).await;
            assert!(matches!(victim.query("DO 1").await, Err(Error::Lost(_))));
            assert_eq!(code(killer.query(format!("KILL {id}")).await), 1094);
            // Oneself.
            let own = killer.id();
            assert_eq!(code(killer.query(format!("KILL {own}")).await), 1317);
            drop((victim, killer));
            // In the middle of a statement.
            let mut victim = client(door.address().port(), DIALECT).await;
            let mut killer = client(door.address().port(), DIALECT).await;
            let id = victim.id();
            victim.send_command(Command::QUERY, b"SELECT SLEEP(60)").await.unwrap();
            let mut admin = admin(node).await;
            let runs = "SELECT COUNT(*) FROM performance_schema.processlist WHERE info = 'SELECT SLEEP(60)'";
            while cell(&mut admin, runs).await != "1" {}
            killer.execute(format!("KILL QUERY {id}")).await.unwrap();
            while let Ok(packet) = victim.read_packet().await {
                if packet[0] == 0xFE || packet[0] == 0xFF {
                    break;
                }
            }
            drop((victim, killer, stranger));
            until("all are gone", || door.control().stats().clients == 0).await;
        }
        // An administrator may kill anybody.
        let mut victim = other_account(&door).await;
        assert_eq!(cell(&mut victim, "SELECT 1").await, "1");
        let password = Password::new(sandbox::ADMIN_PASSWORD);
        let admin = ConnectOptions::new("127.0.0.1", door.address().port(), sandbox::ADMIN_USER, password);
        let mut admin = Connection::connect(&admin).await.unwrap();
        admin.execute(format!("KILL {}", victim.id())).await.unwrap();
        until("it is gone", || door.control().stats().clients == 1).await;
    });
}

/// The kill is on its way to the server when its victim gives the connection back.
fn a_kill_that_meets_the_end_of_a_transaction_finds_its_client_all_the_same(node: &Node) {
    block_on(LocalSet::new().run_until(async {
        let wire = Wire::to(node.address(), b"KILL ").await;
        let wired = options(node);
        let writer = proxy::Backend { port: wire.port, ..wired.writer.clone() };
        let door = Door::start(DoorOptions { writer, rules: Rules { backends_max: 3, ..rules() }, ..wired })
            .unwrap();
        let port = door.address().port();
        let sessions = || door.control().sessions();
        for (n, kill) in ["KILL", "KILL QUERY", "COM_PROCESS_KILL"].into_iter().enumerate() {
            let mut victim = client(port, DIALECT).await;
            let mut bystander = client(port, DIALECT).await;
            let mut killer = client(port, DIALECT).await;
            let id = victim.id();
            let open_of =
                |id: u32| sessions().iter().find(|s| s.client_id == id).map(|s| s.backend_connection_id);
            victim.query("BEGIN").await.unwrap();
            let connection = open_of(id).unwrap();
            wire.hold();
            match kill {
                "COM_PROCESS_KILL" => {
                    killer.send_command(Command::PROCESS_KILL, &id.to_le_bytes()).await.unwrap()
                }
                kill => {
                    let text = format!("{kill} {id}");
                    killer.send_command(Command::QUERY, text.as_bytes()).await.unwrap();
                }
            }
            while wire.caught() == n {
                tokio::task::yield_now().await;
            }
            victim.query("COMMIT").await.unwrap();
            while open_of(id) != Some(0) {
                tokio::task::yield_now().await;
            }
            // Whoever comes next gets another connection than the one that is being killed.
            bystander.query("BEGIN").await.unwrap();
            let bystanders = open_of(bystander.id()).unwrap();
            assert!(bystanders != connection && bystanders != 0);
            let mut admin = admin(node).await;
            let there =
                format!("SELECT COUNT(*) FROM performance_schema.processlist WHERE id = {connection}");
            while cell(&mut admin, &there).await != "0" {}
            wire.release();
            let answer = killer.read_packet().await.unwrap().to_vec();
            assert_eq!(answer[0], 0, "{kill}: {}", String::from_utf8_lossy(&answer));
            match kill {
                "KILL QUERY" => assert_eq!(cell(&mut victim, "SELECT 1").await, "1"),
                _ => {
                    while open_of(id).is_some() {
                        tokio::task::yield_now().await;
                    }
                    assert!(matches!(victim.query("DO 1").await, Err(Error::Lost(_))));
                }
            }
            assert_eq!(cell(&mut bystander, "SELECT @@pseudo_thread_id").await, bystanders.to_string());
            bystander.query("COMMIT").await.unwrap();
            assert_eq!(cell(&mut killer, "SELECT 1").await, "1");
            drop((victim, bystander, killer));
            while door.control().stats().clients > 0 {
                tokio::task::yield_now().await;
            }
        }
    }));
}

fn what_connection_id_told_can_be_killed(node: &Node) {
    let door = sharing_door(node, 1);
    block_on(async {
        let mut victim = client(door.address().port(), DIALECT).await;
        let mut killer = client(door.address().port(), DIALECT).await;
        let told = cell(&mut victim, "SELECT CONNECTION_ID()").await;
        // The killer's own statement runs on that very connection: it is the killer that the server's list shows there.
        assert_eq!(door.control().stats().backends, 1);
        assert_eq!(code(killer.query(format!("KILL {told}")).await), 1317);
        until("the killer is gone", || door.control().stats().clients == 1).await;
        assert_eq!(cell(&mut victim, "SELECT 1").await, "1");
    });
    let door = sharing_door(node, 2);
    block_on(async {
        let mut victim = client(door.address().port(), DIALECT).await;
        let told = cell(&mut victim, "SELECT CONNECTION_ID()").await;
        let id = victim.id();
        // Another client has that connection now, and the killer one of its own.
        let mut other = client(door.address().port(), DIALECT).await;
        other.query("BEGIN").await.unwrap();
        assert_eq!(cell(&mut other, "SELECT @@pseudo_thread_id").await, told);
        let mut killer = client(door.address().port(), DIALECT).await;
        killer.query("BEGIN").await.unwrap();
        other.query("COMMIT").await.unwrap();
        drop(other);
        until("it is gone", || door.control().stats().clients == 2).await;
        // In nobody's hands: it means who was told so, and only that one.
        killer.execute(format!("KILL {told}")).await.unwrap();
        until("it is gone too", || door.control().sessions().iter().all(|s| s.client_id != id)).await;
        assert_eq!(cell(&mut killer, "SELECT 1").await, "1");
    });
}

fn a_ping_is_answered_while_the_gate_is_held_and_unknown_commands_as_by_a_server(node: &Node) {
    let door = sharing_door(node, 2);
    block_on(async {
        let mut client = client(door.address().port(), DIALECT).await;
        client.query("SET autocommit = 0").await.unwrap();
        client.query("COMMIT").await.unwrap();
        let control = door.control();
        control.hold();
        control.drain(Duration::from_secs(10), PinnedPolicy::Close).await.unwrap();
        client.send_command(Command::PING, b"").await.unwrap();
        let held = client.read_packet().await.unwrap();
        control.release();
        client.send_command(Command::PING, b"").await.unwrap();
        assert_eq!(held, client.read_packet().await.unwrap());
        client.send_command(Command::STATISTICS, b"").await.unwrap();
        assert!(client.read_packet().await.unwrap().starts_with(b"Uptime"));
        for (command, code) in [
            (0x07, 1235),
            (0x08, 1235),
            (0x0A, 1235),
            (0x00, 1047),
            (0x0B, 1047),
            (0x30, 1047),
            (0xFF, 1047),
            (0x0D, 1227),
        ] {
            client.send_command(Command(command), b"").await.unwrap();
            let answer = client.read_packet().await.unwrap();
            let error = mysql::ErrPacket::parse(&answer).unwrap();
            assert_eq!(error.code, code, "{command:#x}: {}", error.message);
        }
        assert_eq!(cell(&mut client, "SELECT 1").await, "1");
    });
}

fn one_accounts_crowd_does_not_keep_another_waiting(node: &Node) {
    let door = Door::start(DoorOptions {
        threads: 1,
        rules: Rules { backends_max: 1, queue_max: Duration::from_secs(60), ..rules() },
        ..options(node)
    })
    .unwrap();
    block_on(LocalSet::new().run_until(async {
        const CROWD: usize = 30;
        let mut holder = client(door.address().port(), DIALECT).await;
        let mut crowd = Vec::new();
        for _ in 0..CROWD {
            crowd.push(client(door.address().port(), DIALECT).await);
        }
        let mut others = vec![other_account(&door).await, other_account(&door).await];
        holder.query("BEGIN").await.unwrap();
        let order = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let mut running = Vec::new();
        let all = crowd.drain(..).map(|c| ('c', c)).chain(others.drain(..).map(|c| ('o', c)));
        for (n, (who, mut client)) in all.enumerate() {
            let order = std::rc::Rc::clone(&order);
            running.push(tokio::task::spawn_local(async move {
                client.query("DO SLEEP(0.01)").await.unwrap();
                order.borrow_mut().push(who);
            }));
            until("it waits", || {
                // The tasks run while we look.
                door.control().stats().waiting == n + 1
            })
            .await;
        }
        holder.query("COMMIT").await.unwrap();
        for one in running {
            one.await.unwrap();
        }
        let order = order.borrow();
        let served = order.iter().rposition(|who| *who == 'o').unwrap();
        assert!(served < 8, "the second of the other account came after {served} others: {order:?}");
    }));
}
