//! A site under its shoppers' load.

use std::time::Duration;

use load::Shoppers;

use super::{Running, Site};

/// `serve`, with every row copied and proven.
pub async fn served(site: &Site) -> Running {
    let serve = site.start("serve");
    site.wait_for(&["following"]);
    site.done(&["verify"]);
    serve
}

/// Waits until so many more orders are acknowledged.
pub async fn orders_of(shoppers: &Shoppers, more: u64) {
    let begun = shoppers.live().orders_acknowledged;
    let wait = async {
        while shoppers.live().orders_acknowledged < begun + more {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the shop is served");
}

/// Ends the shoppers, none of whom saw an error, and finds each of their orders once.
pub async fn every_order_is_there(site: &Site, shoppers: Shoppers, on: &sandbox::Node) {
    let history = shoppers.stop().await.unwrap();
    assert_eq!(history.counts.failed_statements, 0, "{:?}", history.recording.failures);
    let verdict = history.check(&mut site.on(on).await).await.unwrap();
    assert!(verdict.holds(), "{}", verdict.sentence());
    println!("{}", verdict.sentence());
}
