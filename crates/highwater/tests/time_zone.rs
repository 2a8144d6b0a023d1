//! The mismatch that shifted the timestamps of the site whose story this is.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod site;

use sandbox::{Mysqld, Node, NodeOptions};
use site::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_zone_mismatch_is_caught() {
    let mut site = Site::new("");
    let pacific = NodeOptions::new("pacific").server_id(3).durable().time_zone_env("America/Los_Angeles");
    site.old = Node::start(&Mysqld::find().unwrap(), pacific).unwrap();
    site.write_settings(sandbox::ADMIN_USER, site.old.port(), "shop.*", "");
    let mut old = site.on(&site.old).await;
    let sql = "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, at TIMESTAMP NOT NULL, local DATETIME); \
               INSERT INTO shop.orders VALUES (1, '2026-07-01 12:00:00', '2026-07-01 12:00:00')";
    old.query_all(sql).await.unwrap();

    let refused = site.run(&["check"]);
    let table = String::from_utf8(refused.stdout).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(table.contains("time-zone") && table.contains("SET PERSIST time_zone"), "{table}");
    assert!(site.refused(&["copy"]).contains("time-zone"), "a copy does not begin either");

    let mut new = site.on(&site.new).await;
    new.execute("SET PERSIST time_zone = 'America/Los_Angeles'").await.unwrap();
    site.done(&["check"]);
    let _copy = site.start("copy");
    site.wait_for(&["following"]);
    old.execute("INSERT INTO shop.orders VALUES (2, '2026-01-01 12:00:00', '2026-01-01 12:00:00')")
        .await
        .unwrap();
    site.caught_up().await;
    // As the application sees them, in a session with the server's own zone.
    let mut session = site.on(&site.new).await;
    let sql = "SELECT UNIX_TIMESTAMP(at), at, local FROM shop.orders ORDER BY id";
    let rows = session.rows(sql).await.unwrap();
    let shown: Vec<_> = rows.iter().map(|r| [r.text(0), r.text(1), r.text(2)]).collect();
    assert_eq!(shown[0], ["1782932400", "2026-07-01 12:00:00", "2026-07-01 12:00:00"]);
    assert_eq!(shown[1], ["1767297600", "2026-01-01 12:00:00", "2026-01-01 12:00:00"]);
}
