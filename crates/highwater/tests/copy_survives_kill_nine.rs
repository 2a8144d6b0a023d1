//! A copy that is killed, or whose source is, goes on from its ledger, and ends exact.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod site;

use std::time::Duration;

use site::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_during_copy_resumes_exactly() {
    // Small chunks, one at a time: so that there is something to interrupt.
    let site = Site::new("[copy]\nchunk_rows = 100\nreaders = 1").with_shop().await;
    let shoppers = site.shoppers(Site::shop_at(site.old.port()), 12).await;
    let seed = fastrand::u64(..1 << 40);
    println!("seed of the kills: {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut copied_at_kill = Vec::new();
    for _ in 0..6 {
        let mut copy = site.start("copy");
        tokio::time::sleep(Duration::from_millis(random.u64(100..1_500))).await;
        let status = site.status();
        copy.kill_nine();
        copied_at_kill.push(status.map_or(0, |s| s["moves"][0]["rows_done"].as_u64().unwrap_or(0)));
    }
    println!("rows copied at each kill: {copied_at_kill:?}");
    assert!(copied_at_kill.iter().any(|&rows| rows > 0 && rows < site::ROWS), "no kill hit the copy");
    let _copy = site.start("copy");
    site.wait_for(&["following"]);
    let history = shoppers.stop().await.unwrap();
    assert!(history.counts.statements > 1_000, "{:?}", history.counts);
    site.caught_up().await;
    assert_eq!(site.difference().await, "");
    let verdict: serde_json::Value = serde_json::from_str(&site.done(&["verify", "--json"])).unwrap();
    assert_eq!(verdict["different"], 0);
    assert!(verdict["rows"].as_u64().unwrap() >= site::ROWS, "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn source_restarted_mid_copy_is_ridden_out() {
    let mut site = Site::new("").with_shop().await;
    let _copy = site.start("copy");
    site.wait_for(&["copying", "following"]);
    for _ in 0..2 {
        site.old.kill_nine().unwrap();
        site.old.restart().unwrap();
        let mut old = site.on(&site.old).await;
        old.execute("UPDATE shop.variants SET price = price + 1 WHERE id % 3 = 0").await.unwrap();
        site.wait_for(&["copying", "following"]);
    }
    site.wait_for(&["following"]);
    site.caught_up().await;
    assert_eq!(site.difference().await, "");
}
