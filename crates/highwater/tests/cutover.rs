//! Traffic moves through the front door, and back, and no acknowledged order is lost on the way.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod site;

use std::time::{Duration, Instant};

use mysql::Connection;
use site::Site;
use site::shop::{every_order_is_there, orders_of, served};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cutover_loses_no_order() {
    let site = Site::new("").with_shop().await;
    let _serve = served(&site).await;
    let shoppers = site.shoppers(site.through_door(), 24).await;
    orders_of(&shoppers, 50).await;

    let dry: serde_json::Value =
        serde_json::from_str(&site.done(&["cutover", "--dry-run", "--json"])).unwrap();
    assert!(dry["guardrails"].as_array().unwrap().iter().all(|g| g["holds"] == true), "{dry}");
    assert_eq!(site.state(), "following", "a dry run changes nothing");

    let report: serde_json::Value = serde_json::from_str(&site.done(&["cutover", "--json"])).unwrap();
    println!("held {} ms: {}", report["held_ms"], report["phases"]);
    orders_of(&shoppers, 50).await;
    assert_eq!(site.state(), "switched");
    let mut on_old = Connection::connect(&Site::shop_at(site.old.port())).await.unwrap();
    let refused = on_old.execute("UPDATE stock SET quantity = 0").await.unwrap_err();
    assert_eq!(refused.server_code(), Some(1290), "the old side is fenced: {refused}");
    every_order_is_there(&site, shoppers, &site.new).await;

    let done_already = site.refused(&["cutover"]);
    assert!(done_already.contains("already"), "{done_already}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback_keeps_orders_made_after_the_switch() {
    let site = Site::new("").with_shop().await;
    let mut serve = served(&site).await;
    let shoppers = site.shoppers(site.through_door(), 24).await;
    for (command, state) in [("cutover", "switched"), ("rollback", "following"), ("cutover", "switched")] {
        orders_of(&shoppers, 30).await;
        site.done(&[command]);
        assert_eq!(site.state(), state);
    }
    orders_of(&shoppers, 30).await;
    every_order_is_there(&site, shoppers, &site.new).await;

    // The process dies; the next one finds the traffic where it was, and the way back open.
    site.proof_is_kept(&site.old).await;
    serve.kill_nine();
    let _serve = site.start("serve");
    site.wait_for(&["switched"]);
    let shoppers = site.shoppers(site.through_door(), 12).await;
    orders_of(&shoppers, 20).await;
    // So is the proof that the switch was made on, and what was kept current of it since.
    site.proven();
    site.done(&["rollback"]);
    orders_of(&shoppers, 20).await;
    every_order_is_there(&site, shoppers, &site.old).await;
    site.done(&["finish"]);
    for node in [&site.old, &site.new] {
        let left = site.on(node).await.rows("SHOW DATABASES LIKE 'highwater'").await.unwrap();
        assert!(left.is_empty(), "finish leaves nothing of ours behind");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_cutover_leaves_the_source_serving() {
    let site = Site::new("drain_deadline = '500ms'").with_shop().await;
    let _serve = served(&site).await;
    let shoppers = site.shoppers(site.through_door(), 12).await;
    orders_of(&shoppers, 20).await;

    let mut dawdler = Connection::connect(&site.through_door()).await.unwrap();
    dawdler.query_all("START TRANSACTION; UPDATE categories SET name = name WHERE id = 1").await.unwrap();
    let given_up = site.refused(&["cutover"]);
    assert!(given_up.contains("account 'shop'"), "it says whose transaction it was: {given_up}");
    assert!(given_up.contains("everything was put back"), "{given_up}");
    orders_of(&shoppers, 20).await;
    dawdler.execute("COMMIT").await.unwrap();

    dawdler.execute("SET @mine = 1").await.unwrap();
    let pinned = site.refused(&["cutover"]);
    assert!(pinned.contains("cannot be moved"), "{pinned}");
    orders_of(&shoppers, 20).await;
    drop(dawdler);
    site.done(&["cutover", "--close-pinned"]);
    orders_of(&shoppers, 20).await;
    every_order_is_there(&site, shoppers, &site.new).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_write_on_the_target_is_named_and_goes_past_a_cutover_only_when_accepted() {
    let site = Site::new("").with_shop().await;
    let _serve = served(&site).await;
    let shoppers = site.shoppers(site.through_door(), 12).await;
    orders_of(&shoppers, 20).await;
    let watch = || site.status().unwrap()["moves"][0]["watch"].clone();
    assert_eq!((watch()["watched"].clone(), watch()["foreign_writes"].clone()), (true.into(), 0.into()));
    assert!(site.done(&["status"]).contains("nobody but us writes to the target"));

    let mut stranger = site.on(&site.new).await;
    let begun = Instant::now();
    stranger.execute("UPDATE shop.categories SET name = CONCAT(name, '!') WHERE id = 3").await.unwrap();
    while watch()["foreign_writes"] == 0 {
        assert!(begun.elapsed() < Duration::from_secs(1), "not named: {}", watch());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("in `status` after {:?}", begun.elapsed());
    let write = &watch()["writes"][0];
    assert_eq!(
        (&write["table"], &write["updated"], &write["keys"]),
        (&"shop.categories".into(), &1.into(), &["3"][..].into())
    );
    assert_eq!(write["thread"], stranger.id());
    let told = site.done(&["status"]);
    assert!(
        told.contains("1 WRITE ON THE TARGET IS NOT OURS")
            && told.contains("shop.categories: 1 updated, key (3)"),
        "{told}"
    );

    let dry: serde_json::Value =
        serde_json::from_str(&site.done(&["cutover", "--dry-run", "--json"])).unwrap();
    let rail = dry["guardrails"].as_array().unwrap().iter().find(|g| g["name"] == "watch").unwrap();
    assert_eq!((&rail["holds"], &rail["acceptable"]), (&false.into(), &true.into()));
    let refused = site.refused(&["cutover"]);
    assert!(refused.contains("shop.categories: 1 updated, key (3)"), "{refused}");
    assert!(refused.contains("--accept-unproven"), "{refused}");
    assert_eq!(site.state(), "following");

    let answer = site.done(&["cutover", "--accept-unproven"]);
    assert!(answer.contains("accepted unproven") && answer.contains("key (3)"), "{answer}");
    let journal = std::fs::read_to_string(site.dir.join("state/shop.journal")).unwrap();
    let switched: Vec<_> = journal.lines().filter(|line| line.contains("\"switched\"")).collect();
    assert!(switched.len() == 1 && switched[0].contains("shop.categories: 1 updated, key (3)"), "{journal}");
    orders_of(&shoppers, 20).await;
    assert_eq!(watch()["foreign_writes"], 0, "the shop writes there now: {}", watch());
    // What was accepted is no proof for the way back.
    let unproven = site.refused(&["rollback"]);
    assert!(unproven.contains("highwater verify"), "{unproven}");
    every_order_is_there(&site, shoppers, &site.new).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_after_ends_who_stands_in_the_way_and_names_him() {
    let site = Site::new("drain_deadline = '2s'\nfence_deadline = '2s'").with_shop().await;
    let _serve = served(&site).await;
    let shoppers = site.shoppers(site.through_door(), 12).await;
    orders_of(&shoppers, 20).await;

    // In the drain: a transaction at the door that does not end.
    let mut dawdler = Connection::connect(&site.through_door()).await.unwrap();
    let changed = "START TRANSACTION; UPDATE categories SET name = 'changed' WHERE id = 1";
    dawdler.query_all(changed).await.unwrap();
    // At the fence: a lock past the door, which no drain sees, on a table that does not move.
    let mut locker = site.on(&site.old).await;
    locker.query_all("CREATE DATABASE beside; CREATE TABLE beside.t (id INT PRIMARY KEY)").await.unwrap();
    locker.execute("LOCK TABLES beside.t WRITE").await.unwrap();

    let given_up = site.refused(&["cutover"]);
    assert!(given_up.contains("account 'shop'") && given_up.contains("transaction"), "{given_up}");
    let answer = site.done(&["cutover", "--kill-after", "300ms", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&answer).unwrap();
    println!("{}", report["ended"]);
    let ended = |phase: &str| {
        let all = report["ended"].as_array().unwrap();
        all.iter().filter(|e| e["phase"] == phase).cloned().collect::<Vec<_>>()
    };
    let (drained, fenced) = (ended("drain"), ended("fence"));
    assert!(drained.len() == 1 && fenced.iter().any(|e| e["connection"] == locker.id()), "{report}");
    assert_eq!(drained[0]["account"], "shop");
    let statement = drained[0]["statement"].as_str().unwrap();
    assert!(statement.starts_with("UPDATE") && !statement.contains("changed"), "without values: {statement}");
    assert!(drained[0]["open_for_ms"].as_u64().unwrap() >= 300, "{report}");

    assert!(dawdler.execute("COMMIT").await.is_err(), "he is told");
    assert!(locker.execute("UNLOCK TABLES").await.unwrap_err().is_connection_lost());
    orders_of(&shoppers, 20).await;
    let row = site.on(&site.new).await.row("SELECT name FROM shop.categories WHERE id = 1").await.unwrap();
    assert_ne!(row.unwrap().text(0), "changed", "what was not committed is nowhere");
    every_order_is_there(&site, shoppers, &site.new).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_keeps_the_fence_down_is_named_when_it_is_given_up() {
    let site = Site::new("fence_deadline = '500ms'").with_shop().await;
    let _serve = served(&site).await;
    let mut locker = Connection::connect(&Site::shop_at(site.old.port())).await.unwrap();
    locker.execute("LOCK TABLES categories WRITE").await.unwrap();
    let given_up = site.refused(&["cutover"]);
    assert!(
        given_up.contains("did not accept the fence")
            && given_up.contains(&format!("connection {} of account 'shop'", locker.id()))
            && given_up.contains("LOCK TABLES"),
        "{given_up}"
    );
    locker.execute("UNLOCK TABLES").await.unwrap();
    locker.execute("UPDATE categories SET name = name WHERE id = 1").await.unwrap();
}
