//! A copy whose target has no room left: it says so, nothing it has done is lost, and it goes on when there is room.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod site;

use std::time::{Duration, Instant};

use load::{Scale, Shop};
use sandbox::{ADMIN_USER, Disk};
use site::Site;

const PATIENCE: Duration = Duration::from_secs(30);
/// A fresh server's data and the shop's, and some 150 MB.
const DISK_BYTES: u64 = 400 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_onto_a_full_disk_stops_or_waits_and_ends_equal_once_there_is_room() {
    if let Err(why) = Disk::can_be_had() {
        println!("not tried on this machine: {}", why.what);
        return;
    }
    let mut site = Site::on_disks([None, Some(DISK_BYTES)], "");
    Shop::create(&site.admin(&site.old), Scale { rows: 6_000 }, 7).await.unwrap();
    // Small ranges, so that there is much left to copy when the disk is full.
    site.write_settings(ADMIN_USER, site.old.port(), "shop.*", "[copy]\nchunk_rows = 20\nreaders = 1");
    let mut serve = site.start("serve");
    let begun = Instant::now();
    while rows_done(&site) < 200 {
        assert!(begun.elapsed() < PATIENCE, "nothing is copied: {:?}", site.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    site.new.disk().unwrap().fill().unwrap();

    let waits =
        |site: &Site| std::fs::read_to_string(site.new.error_log()).unwrap().contains("Disk is full writing");
    let begun = Instant::now();
    while site.state() != "stopped" && !waits(&site) {
        assert!(begun.elapsed() < PATIENCE, "a full disk is not noticed: {:?}", site.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!site.new.has_ended().unwrap(), "nobody ends the server");
    let amid = rows_done(&site);
    if waits(&site) {
        println!("the server waits for room, after {amid} rows");
        // It would look again within a minute.
        site.new.disk().unwrap().free().unwrap();
        site.new.kill_nine().unwrap();
        site.new.restart().unwrap();
    } else {
        site.new.disk().unwrap().free().unwrap();
    }
    let state = site.wait_for(&["following", "stopped"]);
    if state == "stopped" {
        let trouble = site.status().unwrap()["moves"][0]["trouble"].clone();
        println!("the move stopped, after {amid} rows: {}", trouble["what"]);
        assert!(trouble["hint"].as_str().unwrap().contains("free disk space on the target"), "{trouble}");
        serve.kill_nine();
        serve = site.start("serve");
        site.wait_for(&["following"]);
    }
    site.caught_up().await;
    assert_eq!(site.difference().await, "");
    assert!(serve.is_alive());
}

fn rows_done(site: &Site) -> u64 {
    let tables = site.status().map(|status| status["moves"][0]["tables"].clone()).unwrap_or_default();
    tables.as_array().into_iter().flatten().filter_map(|table| table["rows_done"].as_u64()).sum()
}
