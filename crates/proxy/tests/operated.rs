//! A door as its operators see it: what statements cost, what may change while it is open, how its clients leave.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use mysql::{Capabilities, Error};
use mysql_async::prelude::Queryable;
use proxy::{DigestFigures, Door, DoorOptions, Entrance, Observe, Rules, UserRule};
use world::{admin, block_on, cell, client, node, options, rules, try_client, until};

const DIALECT: Capabilities = Capabilities::DEPRECATE_EOF;

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> u16 {
    match result {
        Err(Error::Server(error) | Error::Login { error, .. }) => error.code,
        other => panic!("{other:?}"),
    }
}

fn figures<'a>(all: &'a [DigestFigures], text: &str) -> &'a DigestFigures {
    all.iter().find(|d| d.text == text).unwrap_or_else(|| panic!("no {text} in {all:#?}"))
}

#[test]
fn what_statements_cost_is_told_by_digest_and_the_slow_ones_one_by_one() {
    let node = node("operated", 1, &[]);
    let observe = Observe { digests: true, slow: Some(Duration::from_millis(150)), slow_values: true };
    let door =
        Door::start(DoorOptions { rules: Rules { observe, backends_max: 1, ..rules() }, ..options(&node) })
            .unwrap();
    let port = door.address().port();
    let mut slow = door.slow_statements().unwrap();
    assert!(door.slow_statements().is_none());
    block_on(async {
        let mut a = client(port, DIALECT).await;
        for n in 0..20 {
            cell(&mut a, &format!("SELECT {n} + 1 /* {n} */")).await;
        }
        code(a.query("SELECT nothing FROM nowhere WHERE a = 'secret'").await);
        let url = format!(
            "mysql://{}:{}@127.0.0.1:{port}/shop?prefer_socket=false",
            sandbox::SHOP_USER,
            sandbox::SHOP_PASSWORD
        );
        let mut prepares = mysql_async::Conn::from_url(url).await.unwrap();
        assert_eq!(prepares.exec_first("SELECT ? + 1", (4,)).await.unwrap(), Some(5));
        prepares.disconnect().await.unwrap();
        // One client has the only connection; the other waits for it.
        let mut b = client(port, DIALECT).await;
        a.query("BEGIN").await.unwrap();
        let waits = tokio::spawn(async move { cell(&mut b, "SELECT 'waited'").await });
        until("somebody waits", || door.control().stats().waiting == 1).await;
        a.query("DO SLEEP(0.2)").await.unwrap();
        a.query("COMMIT").await.unwrap();
        waits.await.unwrap();

        // A statement is counted when its answer has been sent.
        let counted = || door.control().digests(false).digests.iter().any(|d| d.text == "SELECT ?");
        until("the last one is counted", counted).await;
        let digests = door.control().digests(false);
        assert!(digests.counting && digests.evicted == 0 && digests.other.is_none());
        let plus = figures(&digests.digests, "SELECT ? + ?");
        assert_eq!((plus.user.as_str(), plus.count, plus.errors), ("shop", 21, 0));
        assert!(
            plus.bytes > 20 * 30 && plus.p50 > Duration::ZERO && plus.p50 <= plus.p99 && plus.p99 <= plus.max
        );
        assert!(plus.total >= plus.max && plus.waited == Duration::ZERO);
        let failed = figures(&digests.digests, "SELECT nothing FROM nowhere WHERE a = ?");
        assert_eq!((failed.count, failed.errors), (1, 1));
        let waited = figures(&digests.digests, "SELECT ?");
        assert!(waited.waited >= Duration::from_millis(150) && waited.total >= waited.waited, "{waited:?}");

        let mut told = [slow.recv().await.unwrap(), slow.recv().await.unwrap()];
        told.sort_by(|a, b| a.text.cmp(&b.text));
        let [sleep, wait] = &told;
        assert_eq!((&*sleep.text, sleep.values.as_deref()), ("DO SLEEP (...)", Some("DO SLEEP(0.2)")));
        assert_eq!(
            (sleep.user.as_str(), sleep.schema.as_deref(), sleep.failed),
            ("shop", Some("shop"), false)
        );
        assert!(
            sleep.took >= Duration::from_millis(200)
                && sleep.backend_connection_id > 0
                && sleep.from.is_loopback()
        );
        assert_eq!((&*wait.text, wait.waited > Duration::from_millis(150)), ("SELECT ?", true));

        // Counted anew, and then no more.
        assert_eq!(door.control().digests(true).digests.len(), digests.digests.len());
        assert!(door.control().digests(false).digests.is_empty());
        door.control().set_rules(rules());
        cell(&mut a, "SELECT 5").await;
        assert!(door.control().digests(false).digests.is_empty());
    });
}

#[test]
fn rules_change_under_clients_who_stay_and_all_are_seen_out_between_transactions() {
    let node = node("ruled", 1, &[]);
    let door =
        Door::start(DoorOptions { rules: Rules { backends_max: 4, ..rules() }, ..options(&node) }).unwrap();
    let (control, port) = (door.control(), door.address().port());
    block_on(async {
        let mut all = Vec::new();
        for _ in 0..4 {
            let mut one = client(port, DIALECT).await;
            one.query("BEGIN").await.unwrap();
            cell(&mut one, "SELECT 1").await;
            all.push(one);
        }
        assert_eq!(control.stats().backends, 4);

        // Fewer connections: the first commits close theirs, the last ones are shared by all.
        let users = [(b"shop".to_vec(), UserRule { clients_max: Some(5), ..UserRule::default() })];
        let entrance = Entrance { users: users.into(), handshakes_max: 1, ..Entrance::default() };
        let rules = Rules { backends_max: 2, entrance, clients_max: 6, ..rules() };
        control.set_rules(rules.clone());
        for one in &mut all {
            one.query("COMMIT").await.unwrap();
        }
        for one in &mut all {
            cell(one, "SELECT 2").await;
        }
        until("two are left", || control.stats().backends == 2).await;
        // More again: who waits is served at once.
        all[0].query("BEGIN").await.unwrap();
        all[1].query("BEGIN").await.unwrap();
        cell(&mut all[0], "SELECT 3").await;
        cell(&mut all[1], "SELECT 3").await;
        let mut third = all.pop().unwrap();
        let waits = tokio::spawn(async move {
            cell(&mut third, "SELECT 3").await;
            third
        });
        until("somebody waits", || control.stats().waiting == 1).await;
        control.set_rules(Rules { backends_max: 3, ..rules.clone() });
        all.push(waits.await.unwrap());
        // A limit of the account's own, which counts those who came when there was one.
        let mut late = Vec::new();
        for _ in 0..2 {
            late.push(client(port, DIALECT).await);
        }
        assert_eq!(code(try_client(port, DIALECT).await), 1040);
        control.set_rules(Rules { clients_max: 100, ..rules });

        // All leave: who is between transactions at once, the others when theirs is over; nobody comes in.
        let leaving = {
            let control = control.clone();
            tokio::spawn(async move { control.see_out(Duration::ZERO, None, |_| {}).await })
        };
        until("four have gone", || control.stats().clients == 2).await;
        assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
        assert_eq!(code(late[0].query("SELECT 1").await), 1053);
        cell(&mut all[0], "SELECT 4").await;
        all[0].query("COMMIT").await.unwrap();
        all[1].query("ROLLBACK").await.unwrap();
        let seen = leaving.await.unwrap();
        assert_eq!((seen.clients, seen.by_themselves, seen.ended, seen.remaining), (6, 0, 6, 0));

        let mut root = admin(&node).await;
        let left = cell(&mut root, "SELECT COUNT(*) FROM information_schema.innodb_trx").await;
        assert_eq!(left, "0");
    });
}
