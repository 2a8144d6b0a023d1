//! `highwater throttle`: an operator's word holds at once, and outlives the process.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod site;

use std::time::Duration;

use site::Site;

fn pace(site: &Site) -> serde_json::Value {
    serde_json::from_str(&site.done(&["throttle", "--json"])).unwrap()
}

fn rows(site: &Site) -> u64 {
    site.status().unwrap()["moves"][0]["rows_done"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_paused_stays_paused_after_a_kill_and_goes_on_when_it_is_resumed() {
    let site = Site::new("[throttle]\nrows_per_second = 3000").with_shop().await;
    let mut running = site.start("copy");
    site.wait_for(&["copying"]);
    assert_eq!(pace(&site)["shop"]["rows_per_s_max"], 3000);
    let said = site.done(&["throttle", "shop", "--pause"]);
    assert!(said.contains("paused by command"), "{said}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = rows(&site);
    assert!(site.done(&["status"]).contains("pace     paused, at most 3,000 rows/s; paused by command"));

    running.kill_nine();
    let _running = site.start("copy");
    site.wait_for(&["copying"]);
    assert_eq!(pace(&site)["shop"]["share"], 0.0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rows(&site), before, "nothing is read in a pause");

    site.done(&["throttle", "--limit", "0"]);
    assert_eq!(pace(&site)["shop"]["share"], 0.0, "a limit lifted is no resumption");
    site.done(&["throttle", "--resume"]);
    site.wait_for(&["following"]);
    site.caught_up().await;
    assert_eq!(site.difference().await, "");
    let said = site.refused(&["throttle", "shopp", "--pause"]);
    assert!(said.contains("there is no move 'shopp'"), "{said}");
}
