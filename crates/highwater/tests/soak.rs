//! Everything at once, for as long as one likes: hard changes from several writers, while the program copies and follows,
//! is killed at random instants and started again, and so is the target. Each life ends equal, row by row.
//!
//! `HIGHWATER_SOAK_SECONDS` says for how long (60), `HIGHWATER_SEED` which changes and kills (random, printed).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod site;
mod soak_writers;

use std::time::{Duration, Instant};

use site::{Running, Site};
use soak_writers::Writers;

const TABLES: &str = "
CREATE DATABASE soak;
CREATE TABLE soak.account (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, slot INT NOT NULL, balance DECIMAL(12,2) NOT NULL DEFAULT 0,
  note VARCHAR(40), UNIQUE KEY slot (slot)
);
CREATE TABLE soak.named (
  name VARCHAR(30) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci NOT NULL PRIMARY KEY,
  code VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci, visits INT NOT NULL DEFAULT 0, UNIQUE KEY code (code)
);
CREATE TABLE soak.pair (
  a VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL, b INT NOT NULL, seat INT, v DOUBLE,
  PRIMARY KEY (a, b), UNIQUE KEY seat (seat)
);
SET cte_max_recursion_depth = 1000000;
SET @rows = 6000;
INSERT INTO soak.account (id, slot, balance)
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < @rows) SELECT i, i, i FROM n;
INSERT INTO soak.named (name, code)
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < @rows) SELECT CONCAT('n', i), CONCAT('c', i) FROM n;
INSERT INTO soak.pair (a, b, seat, v)
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < @rows) SELECT CONCAT('k', i % 60), i, i, i / 7 FROM n";

/// How long a life lasts before its writers stop and everything is compared.
const LIFE: Duration = Duration::from_secs(20);

/// What the program and the target went through in a life.
#[derive(Debug, Default)]
struct Kills {
    while_copying: u32,
    while_following: u32,
    of_the_target: u32,
}

fn seconds() -> u64 {
    std::env::var("HIGHWATER_SOAK_SECONDS")
        .map_or(60, |s| s.parse().expect("HIGHWATER_SOAK_SECONDS is a number"))
}

fn seed() -> u64 {
    let chosen = std::env::var("HIGHWATER_SEED").ok();
    chosen.map_or_else(|| fastrand::u64(..1 << 40), |s| s.parse().expect("HIGHWATER_SEED is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hard_changes_and_kills_at_random_instants_end_equal_every_time() {
    let seed = seed();
    println!("HIGHWATER_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut site = Site::new("");
    let until = Instant::now() + Duration::from_secs(seconds());
    let mut life = 0;
    while Instant::now() < until {
        life += 1;
        // Small ranges, so that a copy takes long enough to be killed in.
        let more = format!("[copy]\nchunk_rows = {}\nreaders = {}", random.u32(10..80), random.u32(1..4));
        site.write_settings(sandbox::ADMIN_USER, site.old.port(), "soak.*", &more);
        let mut old = site.on(&site.old).await;
        old.query_all(TABLES).await.unwrap();
        let writers = Writers::start(&site.admin(&site.old), 6, random.u64(..));
        let kills = live(&mut site, &mut random, LIFE.min(until - Instant::now().min(until))).await;
        let running = site.start("copy");
        site.wait_for(&["following"]);
        let (done, refused) = writers.stop().await;
        println!("life {life}: {done} transactions, {refused} refused by the source, {kills:?}");
        assert!(done > 100, "the writers hardly wrote");
        end_equal(&site, running).await;
        old.query_all("DROP DATABASE soak").await.unwrap();
        let mut new = site.on(&site.new).await;
        new.query_all("DROP DATABASE soak; DROP DATABASE highwater").await.unwrap();
        let _ = std::fs::remove_dir_all(site.dir.join("state"));
    }
}

/// Starts the program and kills it, again and again.
async fn live(site: &mut Site, random: &mut fastrand::Rng, length: Duration) -> Kills {
    let until = Instant::now() + length;
    let mut kills = Kills::default();
    while Instant::now() < until {
        let mut running = site.start("copy");
        tokio::time::sleep(Duration::from_millis(random.u64(20..2_500))).await;
        // Until it runs it ends where a server does: `copy` begins with both or not at all.
        let runs = matches!(site.state().as_str(), "copying" | "following" | "reconnecting");
        if random.u32(0..4) == 0 && runs {
            kills.of_the_target += 1;
            site.new.kill_nine().unwrap();
            let dead = Duration::from_millis(random.u64(0..500));
            tokio::time::sleep(dead).await;
            // Half of the time the program is gone as well before the target is back.
            if random.bool() {
                running.kill_nine();
                site.new.restart().unwrap();
                continue;
            }
            site.new.restart().unwrap();
            tokio::time::sleep(Duration::from_millis(random.u64(0..1_500))).await;
        }
        match site.state().as_str() {
            "following" => kills.while_following += 1,
            "copying" => kills.while_copying += 1,
            _ => {}
        }
        tokio::time::sleep(Duration::from_micros(random.u64(0..20_000))).await;
        must_run(&mut running);
        running.kill_nine();
    }
    kills
}

/// It may be killed, but must not have ended by itself.
fn must_run(running: &mut Running) {
    if !running.is_alive() {
        let (code, said) = running.ended();
        panic!("the program ended with {code:?}: {said}");
    }
}

async fn end_equal(site: &Site, mut running: Running) {
    site.caught_up().await;
    must_run(&mut running);
    assert_eq!(site.difference_in("soak", 3).await, "");
    let verdict: serde_json::Value = serde_json::from_str(&site.done(&["verify", "--json"])).unwrap();
    assert_eq!(verdict["different"], 0, "{verdict}");
    assert!(verdict["rows"].as_u64().unwrap() > 1_000, "{verdict}");
}
