//! A process that is killed leaves behind what it has proven, and its successor can move the traffic without another pass.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod site;

use std::time::{Duration, Instant};

use site::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_after_a_pass_needs_no_second_one() {
    let site = Site::new("").with_shop().await;
    let mut serve = site.start("serve");
    site.wait_for(&["following"]);
    let shoppers = site.shoppers(Site::shop_at(site.old.port()), 8).await;
    site.done(&["verify"]);
    let mut old = site.on(&site.old).await;
    let seed = fastrand::u64(..1 << 40);
    println!("seed of the kills: {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let prices = "UPDATE shop.variants SET price = price + 1 WHERE id % 7 = 0";
    for _ in 0..3 {
        // Killed at any moment of proving what is written; the source goes on while nobody looks.
        tokio::time::sleep(Duration::from_millis(random.u64(..1_500))).await;
        serve.kill_nine();
        old.execute(prices).await.unwrap();
        serve = site.start("serve");
        let begun = Instant::now();
        site.wait_for(&["following"]);
        let proof = site.proven();
        println!("proven again {:?} after it was started: {proof}", begun.elapsed());
        assert_eq!(proof["differences"], 0);
    }
    shoppers.stop().await.unwrap();
    site.caught_up().await;
    assert_eq!(site.difference().await, "");

    // A stranger, while nothing runs.
    serve.kill_nine();
    site.on(&site.new).await.execute("UPDATE shop.categories SET name = 'mine' WHERE id = 3").await.unwrap();
    serve = site.start("serve");
    site.wait_for(&["following"]);
    site.proven();
    let refused = site.refused(&["cutover"]);
    assert!(refused.contains("shop.categories: 1 updated, key (3)"), "{refused}");
    site.done(&["verify", "--repair", "--yes"]);
    site.proof_is_kept(&site.new).await;
    serve.kill_nine();

    let _serve = site.start("serve");
    site.wait_for(&["following"]);
    site.proven();
    site.done(&["cutover"]);
    assert_eq!(site.state(), "switched");
}
