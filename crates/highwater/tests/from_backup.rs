//! `highwater copy --from-backup`: a restored physical backup is followed by the program, and nothing is copied.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod site;

use sandbox::{ADMIN_USER, Mysqld, Node, NodeOptions};
use site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_followed_verified_and_goes_on_after_a_kill_without_the_option() {
    let mut site = Site::new("").with_shop().await;
    let shoppers = site.shoppers(Site::shop_at(site.old.port()), 4).await;
    let mut old = site.on(&site.old).await;
    old.execute("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await.unwrap();
    let data = site.old.dir().join("clone");
    old.execute(format!("CLONE LOCAL DATA DIRECTORY = '{}'", data.display())).await.unwrap();
    let options = NodeOptions::new("clone").server_id(9).data(data);
    site.new = Node::start(&Mysqld::find().unwrap(), options).unwrap();
    site.write_settings(ADMIN_USER, site.old.port(), "shop.*", "");
    let mut new = site.on(&site.new).await;
    let set = new.row("SELECT @@GLOBAL.gtid_executed").await.unwrap().unwrap().text(0);

    let said = site.refused(&["copy"]);
    assert!(said.contains("target-tables"), "{said}");
    let said = site.refused(&["copy", "--from-backup", "yesterday"]);
    assert!(said.starts_with("error: 'yesterday' is no GTID set"), "{said}");
    let mut running = site.start_with(&["copy", "--from-backup", &set]);
    site.wait_for(&["following"]);
    running.kill_nine();
    let _running = site.start("copy");
    site.wait_for(&["following"]);
    assert_eq!(site.status().unwrap()["moves"][0]["rows_done"], 0);
    shoppers.stop().await.unwrap();
    site.caught_up().await;
    assert!(site.done(&["verify"]).contains("every row is equal"));
    assert_eq!(site.difference().await, "");
}
