//! What an operator is told when something is wrong: what, state, hint, and exit code 1.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod site;

use site::{Site, assert_three_parts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_begin_says_why_and_changes_nothing() {
    let site = Site::new("");
    let mut old = site.on(&site.old).await;
    old.query_all("CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY)").await.unwrap();

    std::fs::write(site.dir.join("password"), "wrong").unwrap();
    let wrong = site.refused(&["copy"]);
    assert!(
        wrong.contains("highwater") && !wrong.contains("wrong"),
        "the account, not the password: {wrong}"
    );
    std::fs::write(site.dir.join("password"), sandbox::ADMIN_PASSWORD).unwrap();

    site.write_settings(sandbox::ADMIN_USER, 1, "shop.*", "");
    let unreachable = site.refused(&["copy"]);
    assert!(unreachable.contains("127.0.0.1:1"), "{unreachable}");

    site.write_settings(sandbox::ADMIN_USER, site.old.port(), "shop.order", "");
    let unknown = site.refused(&["copy"]);
    assert!(unknown.contains("shop.orders"), "the nearest name: {unknown}");

    let sql = format!(
        "CREATE USER bare@'%' IDENTIFIED BY '{}'; GRANT SELECT ON *.* TO bare@'%'",
        sandbox::ADMIN_PASSWORD
    );
    old.query_all(sql).await.unwrap();
    site.write_settings("bare", site.old.port(), "shop.*", "");
    let missing = site.refused(&["copy"]);
    assert!(missing.contains("GRANT REPLICATION "), "{missing}");

    let nobody = site.refused(&["status"]);
    assert!(nobody.contains("no highwater process"), "{nobody}");
    let databases = site.on(&site.new).await.rows("SHOW DATABASES LIKE '%h%o%'").await.unwrap();
    assert!(databases.is_empty(), "nothing was created on the target");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_stops_taking_rows_stops_the_move_and_says_so() {
    let site = Site::new("");
    let mut old = site.on(&site.old).await;
    old.query_all("CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY)").await.unwrap();
    let mut copy = site.start("copy");
    site.wait_for(&["following"]);

    let mut new = site.on(&site.new).await;
    new.execute("SET GLOBAL super_read_only = ON").await.unwrap();
    old.execute("INSERT INTO shop.orders VALUES (1)").await.unwrap();
    let (code, said) = copy.ended();
    assert_eq!(code, Some(1));
    assert_three_parts(&said);
    assert!(said.contains("read-only") && said.contains("super_read_only = OFF"), "{said}");

    // Nothing is lost: it goes on when the target does.
    new.execute("SET GLOBAL super_read_only = OFF").await.unwrap();
    let mut copy = site.start("copy");
    site.wait_for(&["following"]);
    site.caught_up().await;
    // A row that is not ours, in the way of one that is.
    new.execute("INSERT INTO shop.orders VALUES (2)").await.unwrap();
    old.execute("INSERT INTO shop.orders VALUES (2)").await.unwrap();
    let (code, said) = copy.ended();
    assert_eq!(code, Some(1));
    assert_three_parts(&said);
    assert!(said.contains("must be new is there already"), "{said}");
    let rows = new.rows("SELECT id FROM shop.orders ORDER BY id").await.unwrap();
    assert_eq!(rows.iter().map(|r| r.text(0)).collect::<Vec<_>>(), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_takes_a_table_out_of_the_move_stops_it_and_others_are_repeated() {
    let site = Site::new("");
    let mut old = site.on(&site.old).await;
    old.query_all("CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY)").await.unwrap();
    let mut copy = site.start("copy");
    site.wait_for(&["following"]);
    old.execute("CREATE DATABASE elsewhere").await.unwrap();
    old.rows("ANALYZE TABLE shop.orders").await.unwrap();
    old.query_all("ALTER TABLE shop.orders ADD note TEXT; INSERT INTO shop.orders VALUES (1, 'x')")
        .await
        .unwrap();
    site.caught_up().await;
    let row = site.on(&site.new).await.row("SELECT note FROM shop.orders").await.unwrap();
    assert_eq!(row.map(|r| r.text(0)).as_deref(), Some("x"));
    old.execute("RENAME TABLE shop.orders TO elsewhere.orders").await.unwrap();
    let (code, said) = copy.ended();
    assert_eq!(code, Some(1));
    assert_three_parts(&said);
    assert!(said.contains("renames shop.orders"), "{said}");
}
