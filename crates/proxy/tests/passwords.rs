//! Which passwords open the door, by which exchange, and what those are told who have the wrong one.
//!
//! `full` is the exchange in which a client sends its password, `fast` the one in which it only proves that it knows it.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::{Duration, Instant};

use mysql::Password;
use proxy::{Door, DoorOptions, Entrance, UserRule};
use sandbox::{Node, SHOP_PASSWORD, SHOP_USER};
use world::certificates::Certificates;
use world::raw::{Client, Ended};
use world::{admin, block_on, door, door_with, node, options};

async fn plain(door: &Door, user: &str, password: &str) -> Ended {
    Client::connect(door.address().port()).await.log_in(user, password).await
}

async fn sql(node: &Node, statement: &str) {
    admin(node).await.execute(statement).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
}

#[test]
fn the_first_login_sends_the_password_and_later_ones_need_not() {
    let node = node("first", 1, &[]);
    let certificates = Certificates::make("first");
    let tls = proxy::DoorTls::new(&certificates.cert("server"), &certificates.key("server"), None).unwrap();
    let door = door_with(&node, Entrance { tls: Some(tls), ..Entrance::default() });
    let port = door.address().port();
    let under_tls = async |user: &str, password: &str| {
        let mut client = Client::connect(port).await;
        client.begin_tls(&certificates.cert("ca")).await;
        let ended = client.log_in(user, password).await;
        assert_ne!(client.cell("SELECT CURRENT_USER()").await, "");
        ended
    };
    block_on(async {
        sql(&node, "CREATE USER other IDENTIFIED BY 'other''s'").await;
        sql(&node, "CREATE USER nothing IDENTIFIED BY ''").await;
        // Under the door's RSA key first, then under TLS.
        assert_eq!(plain(&door, SHOP_USER, SHOP_PASSWORD).await, Ended::well(&["full"]));
        assert_eq!(plain(&door, SHOP_USER, SHOP_PASSWORD).await, Ended::well(&["fast"]));
        assert_eq!(under_tls(SHOP_USER, SHOP_PASSWORD).await, Ended::well(&["fast"]));
        // The other way round.
        assert_eq!(under_tls("other", "other's").await, Ended::well(&["full"]));
        assert_eq!(under_tls("other", "other's").await, Ended::well(&["fast"]));
        assert_eq!(plain(&door, "other", "other's").await, Ended::well(&["fast"]));
        assert_eq!(plain(&door, "nothing", "").await, Ended::well(&[]));
        plain(&door, "nothing", "x").await.refused(1045);
        // On one connection, from one account to the other and back.
        let mut client = Client::connect(port).await;
        assert_eq!(client.log_in(SHOP_USER, SHOP_PASSWORD).await.way, ["fast"]);
        assert_eq!(client.change_user("other", "other's").await, Ended::well(&["switch", "fast"]));
        assert_eq!(client.cell("SELECT CURRENT_USER()").await, "other@%");
        client.change_user(SHOP_USER, "other's").await.refused(1045);
    });
}

#[test]
fn a_wrong_password_never_passes_also_after_a_right_one() {
    let node = node("wrong", 1, &[]);
    let door = door(&node);
    block_on(async {
        plain(&door, SHOP_USER, "before anybody").await.refused(1045);
        assert_eq!(plain(&door, SHOP_USER, SHOP_PASSWORD).await.way, ["full"]);
        for wrong in ["", "shop-secre", "shop-secret ", "SHOP-SECRET", "shop-secret\u{1}"] {
            let ended = plain(&door, SHOP_USER, wrong).await;
            assert!(!ended.way.contains(&"fast"), "{wrong}");
            let using = if wrong.is_empty() { "NO" } else { "YES" };
            let told = format!("Access denied for user 'shop'@'127.0.0.1' (using password: {using})");
            assert_eq!(ended.refused(1045), told);
        }
        // The wrong ones have not made the door forget the right one.
        assert_eq!(plain(&door, SHOP_USER, SHOP_PASSWORD).await, Ended::well(&["fast"]));
        // Another account does not pass with it.
        sql(&node, "CREATE USER other IDENTIFIED BY 'other'").await;
        plain(&door, "other", SHOP_PASSWORD).await.refused(1045);
    });
}

#[test]
fn what_the_server_no_longer_accepts_the_door_forgets() {
    let node = node("changed", 1, &[]);
    let door = Door::start(DoorOptions { share: false, ..options(&node) }).unwrap();
    block_on(async {
        sql(&node, "CREATE USER app IDENTIFIED BY 'old'").await;
        assert_eq!(plain(&door, "app", "old").await.way, ["full"]);
        assert_eq!(plain(&door, "app", "old").await.way, ["fast"]);
        sql(&node, "ALTER USER app IDENTIFIED BY 'new'").await;
        let stale = plain(&door, "app", "old").await;
        assert_eq!(stale.way, ["fast"]);
        stale.refused(1045);
        let stale = plain(&door, "app", "old").await;
        assert_eq!(stale.way, ["full"], "it is no longer remembered");
        stale.refused(1045);
        assert_eq!(plain(&door, "app", "new").await, Ended::well(&["full"]));
        assert_eq!(plain(&door, "app", "new").await, Ended::well(&["fast"]));
        // Changed again, and the new one is used before the door has met a refusal.
        sql(&node, "ALTER USER app IDENTIFIED BY 'newest'").await;
        assert_eq!(plain(&door, "app", "newest").await, Ended::well(&["full"]));
        plain(&door, "app", "new").await.refused(1045);
        assert_eq!(plain(&door, "app", "newest").await, Ended::well(&["fast"]));

        sql(&node, "ALTER USER app ACCOUNT LOCK").await;
        let told = plain(&door, "app", "newest").await.refused(3118);
        assert!(told.contains("'app'@'127.0.0.1'") && told.contains("locked"), "{told}");
        sql(&node, "ALTER USER app ACCOUNT UNLOCK").await;
        assert_eq!(plain(&door, "app", "newest").await, Ended::well(&["full"]));
        sql(&node, "DROP USER app").await;
        plain(&door, "app", "newest").await.refused(1045);
        sql(&node, "CREATE USER app IDENTIFIED BY 'again' PASSWORD EXPIRE").await;
        plain(&door, "app", "again").await.refused(1862);
    });
}

#[test]
fn where_backends_are_shared_a_password_that_was_changed_opens_the_door_for_seconds_at_most() {
    let node = node("believed", 1, &[]);
    let door = door(&node);
    block_on(async {
        sql(&node, "CREATE USER app IDENTIFIED BY 'old'").await;
        assert_eq!(plain(&door, "app", "old").await.way, ["full"]);
        sql(&node, "ALTER USER app IDENTIFIED BY 'new'").await;
        let begun = Instant::now();
        while plain(&door, "app", "old").await.error.is_none() {
            assert!(begun.elapsed().as_secs() < 5);
        }
        plain(&door, "app", "old").await.refused(1045);
        assert_eq!(plain(&door, "app", "new").await, Ended::well(&["full"]));
    });
}

#[test]
fn a_server_that_restarts_and_remembers_nobody_is_told_the_password_again() {
    let mut node = node("cold", 1, &[]);
    let door = door(&node);
    block_on(plain(&door, SHOP_USER, SHOP_PASSWORD));
    node.restart().unwrap();
    block_on(async {
        assert_eq!(plain(&door, SHOP_USER, SHOP_PASSWORD).await, Ended::well(&["fast"]));
    });
}

#[test]
fn an_unknown_user_is_told_the_same_as_a_wrong_password_after_as_long() {
    let node = node("unknown", 1, &[]);
    let elsewhere = UserRule { from: vec!["10.0.0.0/8".parse().unwrap()], ..UserRule::default() };
    let users = [(b"kept-out".to_vec(), elsewhere)].into();
    let door = door_with(&node, Entrance { users, ..Entrance::default() });
    block_on(async {
        sql(&node, "CREATE USER `kept-out` IDENTIFIED BY 'right'").await;
        plain(&door, SHOP_USER, SHOP_PASSWORD).await;
        let cases = [("nosuch", "x"), (SHOP_USER, "x"), ("kept-out", "right")];
        let mut took = [const { Vec::<Duration>::new() }; 3];
        for _ in 0..15 {
            for (case, (user, password)) in cases.iter().enumerate() {
                let began = Instant::now();
                let ended = plain(&door, user, password).await;
                took[case].push(began.elapsed());
                assert_eq!(ended.way, ["full"]);
                let told = format!("Access denied for user '{user}'@'127.0.0.1' (using password: YES)");
                assert_eq!(ended.refused(1045), told);
            }
        }
        let median = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times[times.len() / 2]
        };
        let medians = took.each_mut().map(median);
        println!("median refusals: {medians:?}");
        // The door itself keeps the third out. Without asking the server it would be done in a fraction of the time.
        let [nosuch, _, kept_out] = medians;
        assert!(kept_out < nosuch * 3 && nosuch < kept_out * 3, "{medians:?}");
    });
}

#[test]
fn clients_of_the_old_plugin_are_switched_or_checked_against_the_settings() {
    let node = node("old-plugin", 1, &[]);
    let known = |password: &str| UserRule { password: Some(Password::new(password)), ..UserRule::default() };
    let users = [(b"app".to_vec(), known("app's")), (b"stale".to_vec(), known("before"))].into();
    let with = door_with(&node, Entrance { users, ..Entrance::default() });
    let without = door(&node);
    block_on(async {
        sql(&node, "CREATE USER app IDENTIFIED BY 'app''s'").await;
        sql(&node, "CREATE USER stale IDENTIFIED BY 'after'").await;
        let native = async |door: &Door, user: &str, password: &str| {
            Client::connect(door.address().port()).await.log_in_native(user, password).await
        };
        let oldest = async |door: &Door, user: &str, password: &str| {
            Client::connect(door.address().port()).await.log_in_without_plugins(user, password).await
        };
        // Not in the settings: the client is asked to use the plugin of today.
        assert_eq!(native(&without, SHOP_USER, SHOP_PASSWORD).await, Ended::well(&["switch", "full"]));
        assert_eq!(native(&without, SHOP_USER, SHOP_PASSWORD).await, Ended::well(&["switch", "fast"]));
        native(&without, SHOP_USER, "x").await.refused(1045);
        // One that cannot be asked needs them.
        oldest(&without, SHOP_USER, SHOP_PASSWORD).await.refused(1251);
        assert_eq!(oldest(&with, "app", "app's").await, Ended::well(&[]));
        assert_eq!(native(&with, "app", "app's").await, Ended::well(&[]));
        for (user, password) in [("app", "x"), (SHOP_USER, SHOP_PASSWORD), ("nosuch", "x")] {
            let told = oldest(&with, user, password).await.refused(1045);
            assert!(told.starts_with(&format!("Access denied for user '{user}'@'127.0.0.1'")), "{told}");
        }
        // The settings' password is a way in only if the server takes it, and others may still be right.
        oldest(&with, "stale", "before").await.refused(1045);
        assert_eq!(native(&with, "stale", "after").await, Ended::well(&["switch", "full"]));
    });
}
