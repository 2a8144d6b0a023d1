//! Who may come in, how many at a time, how fast, and from where.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::{Duration, Instant};

use mysql::{Capabilities, Connection};
use proxy::{Door, Entrance, Network, UserRule};
use sandbox::{Node, SHOP_PASSWORD, SHOP_USER};
use world::raw::{Client, connect_saying};
use world::{block_on, client, door_with, node, try_client, until};

const LOOPBACK: &str = "127.0.0.0/8";

fn networks(texts: &[&str]) -> Vec<Network> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn ruled(node: &Node, rule: UserRule, balancers: &[&str]) -> Door {
    let users = [(SHOP_USER.as_bytes().to_vec(), rule)].into();
    door_with(node, Entrance { users, proxy_protocol_from: networks(balancers), ..Entrance::default() })
}

/// The header of a balancer that passes on a connection from this IPv4 address.
fn passed_on(from: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend_from_slice(&from);
    header.extend_from_slice(&[127, 0, 0, 1, 0xC3, 0x50, 0x0C, 0xEA]);
    header
}

#[test]
fn a_balancer_says_whose_connection_it_passes_on_and_rules_and_errors_go_by_that() {
    let node = node("balancer", 1, &[]);
    let rule = UserRule { from: networks(&["10.0.0.0/8"]), ..UserRule::default() };
    let door = ruled(&node, rule, &[LOOPBACK]);
    let port = door.address().port();
    block_on(async {
        let from = async |address, password: &str| {
            let stream = connect_saying(port, &passed_on(address)).await;
            Client::over(stream).await.unwrap().log_in(SHOP_USER, password).await
        };
        assert_eq!(from([10, 1, 2, 3], SHOP_PASSWORD).await.error, None);
        let told = from([10, 1, 2, 3], "wrong").await.refused(1045);
        assert_eq!(told, "Access denied for user 'shop'@'10.1.2.3' (using password: YES)");
        // Whoever may not come from there does not learn either that the password was right: it is asked for in full,
        // where the same one has the fast path now.
        assert_eq!(from([10, 1, 2, 3], SHOP_PASSWORD).await.way, ["fast"]);
        let kept_out = from([11, 1, 2, 3], SHOP_PASSWORD).await;
        assert_eq!(kept_out.way, ["full"]);
        let told = kept_out.refused(1045);
        assert_eq!(told, "Access denied for user 'shop'@'11.1.2.3' (using password: YES)");
        // Its own connections, such as health checks, come from where they come from.
        let own = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        let mut own = Client::over(connect_saying(port, own).await).await.unwrap();
        let told = own.log_in(SHOP_USER, SHOP_PASSWORD).await.refused(1045);
        assert!(told.contains("'shop'@'127.0.0.1'"), "{told}");
    });
}

#[test]
fn a_balancer_that_does_not_say_is_not_let_in() {
    let node = node("mute", 1, &[]);
    let mut door = door_with(
        &node,
        Entrance {
            proxy_protocol_from: networks(&[LOOPBACK]),
            login_max: Duration::from_secs(1),
            ..Entrance::default()
        },
    );
    let good = passed_on([10, 1, 2, 3]);
    let changed = |at: usize, to: u8| {
        let mut bad = good.clone();
        bad[at] = to;
        bad
    };
    let bad = [
        Vec::new(),
        good[..15].to_vec(),
        good[..27].to_vec(),
        changed(0, b'x'),
        changed(12, 0x11),
        changed(12, 0x2F),
        changed(13, 0x12),
        changed(14, 0xFF),
        changed(15, 11),
        b"PROXY TCP4 10.1.2.3 127.0.0.1 50000 3306\r\n".to_vec(),
        // A login without a header.
        [&[40, 0, 0, 1], &[0; 40][..]].concat(),
    ];
    block_on(async {
        for header in bad {
            let stream = connect_saying(door.address().port(), &header).await;
            assert!(Client::over(stream).await.is_none(), "greeted after {header:?}");
        }
        // In pieces it is as good as whole.
        let mut stream = connect_saying(door.address().port(), &good[..5]).await;
        stream.send_now(&good[5..20]);
        stream.send_now(&good[20..]);
        assert!(Client::over(stream).await.is_some());
        until("nobody else is left", || door.control().stats().clients <= 1).await;
        // Who is not listed is no balancer: its header is no login either.
        door = door_with(
            &node,
            Entrance { proxy_protocol_from: networks(&["10.0.0.0/8"]), ..Entrance::default() },
        );
        let mut stranger = Client::over(connect_saying(door.address().port(), &good).await).await.unwrap();
        let told = stranger.prove(&[], "").await;
        told.refused(1835);
        client(door.address().port(), Capabilities(0)).await;
    });
}

#[test]
fn an_account_has_as_many_clients_as_it_may_and_no_more() {
    let node = node("places", 1, &[]);
    let rule = UserRule { clients_max: Some(2), ..UserRule::default() };
    let door = ruled(&node, rule, &[]);
    let port = door.address().port();
    let log_in = async || try_client(port, Capabilities(0)).await;
    let refused = |result: mysql::Result<Connection>| {
        let error = result.unwrap_err();
        assert_eq!(error.server_code(), Some(1203), "{error}");
        assert!(error.to_string().contains("User shop already has more than"), "{error}");
    };
    block_on(async {
        let first = log_in().await.unwrap();
        let _second = log_in().await.unwrap();
        refused(log_in().await);
        // A wrong password does not tell whether there is room.
        Client::connect(port).await.log_in(SHOP_USER, "wrong").await.refused(1045);
        drop(first);
        until("it has left", || door.control().stats().clients == 1).await;
        let mut third = Client::connect(port).await;
        assert_eq!(third.log_in(SHOP_USER, SHOP_PASSWORD).await.error, None);
        refused(log_in().await);
        // Who becomes somebody else leaves its place.
        let admin = third.change_user(sandbox::ADMIN_USER, sandbox::ADMIN_PASSWORD).await;
        assert_eq!(admin.error, None);
        let _fourth = log_in().await.unwrap();
        third.change_user(SHOP_USER, SHOP_PASSWORD).await.refused(1203);
    });
}

#[test]
fn a_client_that_says_nothing_is_closed_and_meanwhile_others_wait_their_turn() {
    let node = node("silent", 1, &[]);
    let login_max = Duration::from_secs(2);
    let entrance = Entrance { login_max, handshakes_max: 1, ..Entrance::default() };
    let door = door_with(&node, entrance);
    let port = door.address().port();
    block_on(async {
        let began = Instant::now();
        // Both threads have one each, or one has two of them to see off in turn.
        let silent = [Client::connect(port).await, Client::connect(port).await];
        let mut logged_in = client(port, Capabilities(0)).await;
        assert!(began.elapsed() >= login_max, "it waited for a place");
        for mut one in silent {
            assert_eq!(one.read().await, None, "closed without a word");
        }
        // Whoever is logged in takes no place.
        let _more = [client(port, Capabilities(0)).await, client(port, Capabilities(0)).await];
        logged_in.execute("DO 1").await.unwrap();
        assert_eq!(door.control().stats().clients, 3);
    });
}

#[test]
fn clients_beyond_the_rate_wait_and_none_is_refused() {
    let node = node("rate", 1, &[]);
    let entrance = Entrance { logins_per_second: 20, ..Entrance::default() };
    let door = door_with(&node, entrance);
    let port = door.address().port();
    block_on(async {
        // One at a time, so that the two threads' shares add up however the kernel deals.
        let began = Instant::now();
        for _ in 0..30 {
            client(port, Capabilities(0)).await;
        }
        // 30 at 20 a second, less a burst of two per thread.
        assert!(began.elapsed() > Duration::from_millis(1000), "{:?}", began.elapsed());
        assert_eq!(door.control().stats().door_errors, 0);
    });
}
