//! `highwater verify`: its report, the spot check of the newest rows, and proofs that a later run can look at.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod site;

use mysql::Connection;
use serde_json::{Value, json};
use site::{Running, Site, assert_three_parts};

const TABLES: &str = "
CREATE DATABASE shop;
CREATE TABLE shop.plain (id INT PRIMARY KEY, v VARCHAR(20));
CREATE TABLE shop.pair (a VARCHAR(9) COLLATE utf8mb4_0900_ai_ci, b INT, v INT, PRIMARY KEY (a, b));
CREATE TABLE shop.few (id INT PRIMARY KEY);
CREATE TABLE shop.bag (v INT);
CREATE TABLE shop.small_bag (v INT);
SET SESSION cte_max_recursion_depth = 10000;
INSERT INTO shop.plain WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 5000) SELECT i, i FROM n;
INSERT INTO shop.pair SELECT CHAR(97 + id DIV 500), id, id FROM shop.plain;
INSERT INTO shop.few VALUES (1), (2);
INSERT INTO shop.bag SELECT id FROM shop.plain;
INSERT INTO shop.small_bag VALUES (1), (1);
ANALYZE TABLE shop.plain, shop.pair, shop.few, shop.bag, shop.small_bag";

async fn following() -> (Site, Running, Connection, Connection) {
    let site = Site::new("");
    let (mut old, new) = (site.on(&site.old).await, site.on(&site.new).await);
    old.query_all(TABLES).await.unwrap();
    let running = site.start("copy");
    site.wait_for(&["following"]);
    site.caught_up().await;
    (site, running, old, new)
}

/// What a command that must fail printed as JSON, and its complaint.
fn failed(site: &Site, args: &[&str]) -> (Value, String) {
    let output = site.run(args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_three_parts(&said);
    (serde_json::from_slice(&output.stdout).unwrap(), said)
}

fn done(site: &Site, args: &[&str]) -> Value {
    serde_json::from_str(&site.done(args)).unwrap()
}

/// The keys that differ, by table.
fn differing(found: &Value) -> Vec<(&str, &Value)> {
    let tables = found["tables"].as_array().unwrap().iter();
    let different = tables.filter(|t| t["different"] != 0);
    different.map(|t| (t["table"]["table"].as_str().unwrap(), &t["keys"])).collect()
}

/// Whether a cutover would find this guardrail to hold.
fn holds(site: &Site, guardrail: &str) -> bool {
    let dry = done(site, &["cutover", "--dry-run", "--json"]);
    let one = dry["guardrails"].as_array().unwrap().iter().find(|g| g["name"] == guardrail);
    one.unwrap()["holds"].as_bool().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spot_check_sees_what_differs_in_the_newest_rows_and_nothing_else() {
    let (site, _running, mut old, mut new) = following().await;
    let whole = site.done(&["verify"]);
    assert!(whole.starts_with("move shop: every row is equal\n"), "{whole}");
    let proven = |site: &Site| site.status().unwrap()["moves"][0]["proof"].clone();
    assert!(proven(&site)["proven_as_of"].is_string());

    // Unseen by the watch over the target's log, which would have the proof find all of it.
    new.execute("SET SESSION sql_log_bin = 0").await.unwrap();
    // Old rows. Of the composite key, the last hundred are ('j', 4901) to ('j', 4999) and ('k', 5000).
    new.query_all(
        "UPDATE shop.plain SET v = 'x' WHERE id = 4900; DELETE FROM shop.plain WHERE id = 7;
         UPDATE shop.pair SET v = 0 WHERE a = 'j' AND b = 4900; UPDATE shop.pair SET v = 0 WHERE a = 'a'",
    )
    .await
    .unwrap();
    let fine = done(&site, &["verify", "--newest", "100", "--json"]);
    assert_eq!((&fine["different"], &fine["newest"]), (&json!(0), &json!(100)));
    // 100 of each of two, 2 of `few`, 2 of a bag that has no more; the other bag has no newest rows.
    assert_eq!(fine["rows"], 204);
    assert_eq!(fine["left_out"], json!([{"schema": "shop", "table": "bag"}]));
    let text = site.done(&["verify", "--newest", "100"]);
    assert!(
        text.starts_with(
            "move shop: the newest 100 rows of each table are equal; others were not compared\n"
        ),
        "{text}"
    );

    // Newest rows: one more value, one missing row, and rows that only the target has, beyond the source's last.
    new.query_all(
        "UPDATE shop.plain SET v = 'x' WHERE id = 4901; INSERT INTO shop.plain VALUES (9000, 'x');
         DELETE FROM shop.pair WHERE a = 'k'; UPDATE shop.pair SET v = 0 WHERE a = 'J' AND b IN (4901, 4999);
         DELETE FROM shop.few WHERE id = 1; INSERT INTO shop.small_bag VALUES (1)",
    )
    .await
    .unwrap();
    let (found, said) = failed(&site, &["verify", "--newest", "100", "--json"]);
    let sorted = |keys: &Value| {
        let mut keys: Vec<String> =
            keys.as_array().unwrap().iter().map(|k| k.as_str().unwrap().to_owned()).collect();
        keys.sort();
        keys.join(" ")
    };
    let found: Vec<_> = differing(&found).into_iter().map(|(table, keys)| (table, sorted(keys))).collect();
    let expected = [
        ("few", "1"),
        ("pair", "_utf8mb4'j',4901 _utf8mb4'j',4999 _utf8mb4'k',5000"),
        ("plain", "4901 9000"),
        ("small_bag", found[3].1.as_str()),
    ];
    assert_eq!(found.iter().map(|(t, k)| (*t, k.as_str())).collect::<Vec<_>>(), expected);
    assert!(said.contains("7 rows of move 'shop' differ: 1 of shop.few, 3 of shop.pair"), "{said}");
    // A complete proof is told of it.
    assert_eq!(proven(&site)["differences"], 7);
    assert!(!holds(&site, "differences"));

    // A spot check that finds nothing takes nothing back, and one of more rows than there are compares all.
    old.query_all(
        "INSERT INTO shop.plain VALUES (10000, 'n'), (10001, 'n'); INSERT INTO shop.pair VALUES ('z', 1, 1)",
    )
    .await
    .unwrap();
    site.caught_up().await;
    let newest = done(&site, &["verify", "--newest", "1", "--json"]);
    assert_eq!((differing(&newest).len(), proven(&site)["differences"].clone()), (0, json!(7)));
    let (all, _) = failed(&site, &["verify", "--newest", "1000000", "--json"]);
    assert_eq!(all["left_out"], json!([]));
    let old_ones = differing(&all).into_iter().find(|(table, _)| *table == "plain").unwrap().1;
    assert_eq!(sorted(old_ones), "4900 4901 7 9000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spot_check_is_no_proof_and_finds_nothing_while_rows_are_written() {
    let (site, _running, mut old, _new) = following().await;
    let writer = tokio::spawn(async move {
        for i in 0..300 {
            let sql = format!(
                "UPDATE shop.plain SET v = {i} WHERE id > 4980; INSERT INTO shop.plain VALUES ({}, 'n'); \
                 DELETE FROM shop.pair WHERE b = {}",
                5_001 + i,
                5_000 - i % 400
            );
            old.query_all(sql).await.unwrap();
        }
    });
    let mut checks = 0;
    while !writer.is_finished() {
        let found = done(&site, &["verify", "--newest", "300", "--json"]);
        assert_eq!(found["different"], 0, "{found}");
        checks += 1;
    }
    writer.await.unwrap();
    println!("{checks} spot checks");
    assert!(checks > 1);
    assert_eq!(site.status().unwrap()["moves"][0]["proof"]["proven_as_of"], Value::Null);
    assert!(!holds(&site, "proof"));
}

/// What a comparison with a proof says of each table.
fn since(found: &Value) -> Vec<(&str, &str)> {
    let tables = found["against"]["tables"].as_array().unwrap().iter();
    tables.map(|t| (t["table"]["table"].as_str().unwrap(), t["verdict"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_tells_tables_that_are_what_they_were_from_tables_that_are_not() {
    let (site, mut running, mut old, mut new) = following().await;
    site.done(&["verify", "--proof", "proof.json"]);
    let file: Value = serde_json::from_slice(&std::fs::read(site.dir.join("proof.json")).unwrap()).unwrap();
    let tables = file["tables"].as_array().unwrap();
    assert_eq!((tables.len(), &file["move"]), (5, &json!("shop")));
    let plain = tables.iter().find(|t| t["table"]["table"] == "plain").unwrap();
    assert_eq!((&plain["rows"], plain["hash"].as_str().unwrap().len()), (&json!(5000), 32));
    assert!(plain["ended_unix_s"].as_u64().unwrap() > 1_600_000_000 && plain["as_of"] != "", "{plain}");

    let text = site.done(&["verify", "--against", "proof.json"]);
    assert!(text.contains("against proof.json\n") && text.contains("shop.plain"), "{text}");
    let quiet = done(&site, &["verify", "--against", "proof.json", "--json"]);
    assert!(since(&quiet).iter().all(|(_, verdict)| *verdict == "same"), "{quiet}");

    // A change that the stream brings, and one row that both servers got past their binary logs.
    old.query_all(
        "UPDATE shop.plain SET v = 'later' WHERE id = 9; CREATE TABLE shop.later (id INT PRIMARY KEY)",
    )
    .await
    .unwrap();
    site.caught_up().await;
    let changed = done(&site, &["verify", "--against", "proof.json", "--json"]);
    let others = [("bag", "same"), ("few", "same"), ("later", "new"), ("pair", "same")];
    assert_eq!(since(&changed)[..4], others);
    assert_eq!(since(&changed)[4], ("plain", "may_have_changed"));
    // The statement began a new watch; from a proof made under it on, it is known what has changed.
    site.done(&["verify", "--proof", "later.json"]);
    old.execute("INSERT INTO shop.plain VALUES (9999, 'later')").await.unwrap();
    for server in [&mut old, &mut new] {
        let past = "SET SESSION sql_log_bin = 0; UPDATE shop.pair SET v = -1 WHERE b = 77; \
                    SET SESSION sql_log_bin = 1";
        server.query_all(past).await.unwrap();
    }
    site.caught_up().await;
    let before = std::fs::read(site.dir.join("later.json")).unwrap();
    let args = ["verify", "--against", "later.json", "--proof", "later.json", "--json"];
    let (found, said) = failed(&site, &args);
    assert_eq!(found["different"], 0);
    assert!(since(&found).contains(&("pair", "different")), "{found}");
    assert!(since(&found).contains(&("plain", "may_have_changed")), "{found}");
    assert!(said.contains("later.json says") && said.contains(": shop.pair\n"), "{said}");
    let kept = std::fs::read(site.dir.join("later.json")).unwrap();
    assert!(before == kept, "what is contradicted is evidence");

    // The next process has not seen what passed before it.
    running.kill_nine();
    let _running = site.start("copy");
    site.wait_for(&["following"]);
    let after = done(&site, &["verify", "--against", "later.json", "--json"]);
    assert!(since(&after).contains(&("pair", "may_have_changed")), "{after}");
    assert!(since(&after).contains(&("bag", "same")), "{after}");

    // Rows that differ are not proven.
    new.execute("DELETE FROM shop.few WHERE id = 2").await.unwrap();
    let (_, said) = failed(&site, &["verify", "--proof", "none.json", "--json"]);
    assert!(said.contains("no proof file was written") && !site.dir.join("none.json").exists(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_no_proof_are_refused_before_anything_is_compared() {
    let (site, _running, ..) = following().await;
    for (text, expected) in [
        ("what?", "error: proof.json is no proof: expected value"),
        ("{\"tables\": []}", "error: proof.json is no proof of highwater"),
        ("{\"highwater_proof\": 1, \"tables\": []}", "error: the proof proof.json cannot be understood"),
    ] {
        std::fs::write(site.dir.join("proof.json"), text).unwrap();
        let said = site.refused(&["verify", "--against", "proof.json"]);
        assert!(said.contains(expected) && said.contains("state: nothing was compared"), "{said}");
    }
    assert!(site.refused(&["verify", "--against", "nothing.json"]).contains("cannot read the proof"));
    assert!(site.refused(&["verify", "--proof", "no/proof.json"]).contains("cannot write the proof"));
    assert_eq!(site.status().unwrap()["moves"][0]["proof"]["proven_as_of"], Value::Null);
    for usage in [
        &["--newest", "0"][..],
        &["--newest", "5", "--proof", "x"],
        &["--newest", "5", "--against", "x"],
        &["--repair", "--newest", "5"],
        &["--repair", "--proof", "x"],
        &["--repair", "--against", "x"],
        &["--yes"],
    ] {
        let output = site.run(&[&["verify"], usage].concat());
        assert_eq!(output.status.code(), Some(2), "{usage:?}");
    }
}
