//! Looking ahead, rehearsing, and the report that is left; hooks that hold the clients where no door does.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod site;

use std::path::PathBuf;

use highwater::crossing_report::{End, FileOf};
use migrate::cutover::{Phase, Run, Survey};
use mysql::Connection;
use site::Site;
use site::shop::{every_order_is_there, orders_of, served};

/// A report, and its page.
fn report(site: &Site, number: u32) -> (FileOf, String) {
    let path = site.dir.join(format!("state/shop-cutover-{number}.json"));
    let page = std::fs::read_to_string(path.with_extension("html")).unwrap();
    (serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap(), page)
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rehearsals_under_load_fail_no_statement_and_each_leaves_a_report() {
    let site = Site::new("").with_shop().await;
    let _serve = served(&site).await;
    let shoppers = site.shoppers(site.through_door(), 24).await;
    orders_of(&shoppers, 30).await;
    for number in 1..=2 {
        let told = json(&site.done(&["cutover", "--rehearse", "--json"]));
        println!("would stall {} ms, held {} ms: {}", told["stall_ms"], told["held_ms"], told["phases"]);
        assert_eq!(told["report"], format!("state/shop-cutover-{number}.html"), "{told}");
        assert_eq!(site.state(), "following", "it is no cutover");
        orders_of(&shoppers, 30).await;
        let (file, page) = report(&site, number);
        assert_eq!((file.run, file.number), (Run::Rehearsal, u64::from(number)));
        assert!(matches!(file.end, End::Rehearsed(_)), "{:?}", file.end);
        let stall = file.stall.unwrap();
        assert!(stall.statements > 0 && stall.longest_ms > 0.0, "24 shoppers were held: {stall:?}");
        assert_eq!(stall.statements, stall.steps.iter().map(|s| s.statements).sum::<u64>());
        assert!(page.contains("would have held the clients for"), "{page}");
    }
    site.done(&["cutover"]);
    orders_of(&shoppers, 30).await;
    let (file, page) = report(&site, 3);
    assert_eq!(file.run, Run::Cutover);
    let record = &file.record;
    let phases: Vec<Phase> = record.phases.iter().map(|p| p.phase).collect();
    use Phase::{Drain, Fence, Hold, Prove, Release, Settle, Switch};
    assert_eq!(phases, [Hold, Drain, Fence, Settle, Prove, Switch, Release]);
    assert!(record.tables.iter().map(|t| t.rows).sum::<u64>() >= site::ROWS / 2, "{:?}", record.tables);
    assert!(record.source_at.is_some() && record.target_at.is_some());
    assert!(record.guardrails.len() > 10 && record.guardrails.iter().all(|g| !g.refuses()));
    assert!(!file.asked_by.is_empty() && page.contains(&file.asked_by));
    let stall = file.stall.unwrap();
    println!("{} statements held, the longest {:.1} ms", stall.statements, stall.longest_ms);
    assert!(stall.longest_ms <= record.held_ms + 50.0, "{} of {}", stall.longest_ms, record.held_ms);
    if let Ok(copy) = std::env::var("HIGHWATER_PAGE") {
        std::fs::write(copy, &page).unwrap();
    }
    every_order_is_there(&site, shoppers, &site.new).await;

    // The way back is rehearsed as well.
    let dry: Survey = serde_json::from_value(json(&site.done(&["rollback", "--dry-run", "--json"]))).unwrap();
    assert_eq!(dry.run, Run::Rollback);
    site.done(&["rollback", "--rehearse"]);
    assert_eq!(site.state(), "switched");
    let journal = std::fs::read_to_string(site.dir.join("state/shop.journal")).unwrap();
    let of = |event: &str| journal.lines().filter(|l| l.contains(&format!("\"event\":\"{event}\""))).count();
    assert_eq!((of("rehearsed"), of("switched"), of("aborted")), (3, 1, 0), "{journal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_shows_guardrails_with_limits_and_estimates_the_stall() {
    let site = Site::new("").with_shop().await;
    let _serve = served(&site).await;
    let text = site.done(&["cutover", "--dry-run"]);
    println!("{text}");
    assert!(text.starts_with("a cutover would begin now\n"), "{text}");
    let dry: Survey = serde_json::from_value(json(&site.done(&["cutover", "--dry-run", "--json"]))).unwrap();
    let names: Vec<&str> = dry.guardrails.iter().map(|g| g.name.as_str()).collect();
    for name in [
        "stream",
        "copy",
        "lag",
        "watch",
        "proof",
        "differences",
        "read_only",
        "tables",
        "open transactions",
        "replication",
        "clocks",
        "definers",
        "foreign keys",
        "alone",
        "door",
        "pinned clients",
        "hold",
    ] {
        assert!(names.contains(&name), "no {name} in {names:?}");
    }
    for rail in &dry.guardrails {
        assert!(rail.holds, "{rail:?}");
        assert!(!rail.why.is_empty() && !rail.seen.is_empty() && !rail.limit.is_empty(), "{rail:?}");
    }
    let sum: f64 = dry.estimate.parts.iter().map(|p| p.ms).sum();
    assert!(dry.estimate.stall_ms > 0.0 && (sum - dry.estimate.stall_ms).abs() < 0.001, "{:?}", dry.estimate);

    // Who has a transaction open is named, with what it did and without its values.
    let mut dawdler = site.on(&site.old).await;
    dawdler
        .query_all("START TRANSACTION; UPDATE shop.categories SET name = 'secret' WHERE id = 1")
        .await
        .unwrap();
    // Who is pinned, with the reason.
    let mut pinned = Connection::connect(&site.through_door()).await.unwrap();
    pinned.query_all("SELECT GET_LOCK('mine', 1)").await.unwrap();
    // The target is open to everybody.
    site.on(&site.new).await.execute("SET GLOBAL read_only = OFF").await.unwrap();
    let dry: Survey = serde_json::from_value(json(&site.done(&["cutover", "--dry-run", "--json"]))).unwrap();
    let rail = |name: &str| dry.guardrails.iter().find(|g| g.name == name).unwrap();
    let open = rail("open transactions");
    assert!(
        open.seen.contains(&format!("connection {} of", dawdler.id())) && open.seen.contains("UPDATE `shop`"),
        "{open:?}"
    );
    assert!(!open.seen.contains("secret"), "{open:?}");
    assert!(rail("pinned clients").refuses() && rail("read_only").refuses() && !dry.would_begin);
    assert!(rail("pinned clients").seen.contains("GET_LOCK"), "{:?}", rail("pinned clients"));
    let drain = dry.estimate.parts.iter().find(|p| p.phase == Phase::Drain).unwrap();
    assert!(drain.ms > 0.0 && drain.from.contains(&format!("connection {}", dawdler.id())), "{drain:?}");
    let text = site.done(&["cutover", "--dry-run"]);
    assert!(text.starts_with("a cutover would be REFUSED now\n") && text.contains("hint: "), "{text}");
    let refused = site.refused(&["cutover"]);
    assert!(refused.contains("cannot start cutover"), "{refused}");
    assert!(!site.dir.join("state/shop-cutover-1.json").exists(), "nobody was held for it");
}

fn without_a_door(site: &Site, hooks: &str) {
    let path = site.dir.join("highwater.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("[front_door]\nlisten", "[front_door]\nenabled = false\nlisten") + hooks;
    std::fs::write(path, text).unwrap();
}

fn script(site: &Site, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = site.dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_door_hooks_hold_the_clients_and_let_them_in_on_the_other_side() {
    let site = Site::new("drain_deadline = '2s'").with_shop().await;
    without_a_door(&site, "");
    let serve = served(&site).await;
    let refused = site.refused(&["cutover"]);
    assert!(refused.contains("no hook before.hold"), "{refused}");
    let dry = json(&site.done(&["cutover", "--dry-run", "--json"]));
    assert!(dry["would_begin"] == false && dry.to_string().contains("no hook before.hold"), "{dry}");
    drop(serve);

    // The site's maintenance mode is a file; where it may write is another.
    script(&site, "hold", "echo \"$HIGHWATER_RUN\" >> runs; touch maintenance");
    script(
        &site,
        "moved",
        "echo \"$HIGHWATER_TO\" > writer; rm -f maintenance; echo pointed to $HIGHWATER_TO",
    );
    script(&site, "undo", "rm -f maintenance");
    without_a_door(
        &site,
        "[cutover.hooks]\nbefore.hold = ['./hold']\nafter.switch = ['./moved']\nundone = ['./undo']\n",
    );
    let _serve = served(&site).await;
    assert_eq!(site.status().unwrap()["door"], serde_json::Value::Null);

    // Given up: the maintenance mode ends.
    let mut open = site.on(&site.old).await;
    open.query_all(
        "START TRANSACTION; UPDATE shop.categories SET name = name WHERE id = 1; \
                    UPDATE shop.categories SET name = CONCAT(name, '.') WHERE id = 1",
    )
    .await
    .unwrap();
    let given_up = site.refused(&["cutover"]);
    assert!(given_up.contains("still open on the source"), "{given_up}");
    assert!(!site.dir.join("maintenance").exists());
    let (file, page) = report(&site, 1);
    assert!(matches!(file.end, End::GivenUp(_)) && file.stall.is_none(), "{file:?}");
    assert!(page.contains("no front door"), "{page}");
    open.execute("ROLLBACK").await.unwrap();

    site.done(&["cutover", "--rehearse"]);
    assert!(!site.dir.join("maintenance").exists() && !site.dir.join("writer").exists());
    site.done(&["cutover"]);
    assert_eq!(site.state(), "switched");
    let writer = std::fs::read_to_string(site.dir.join("writer")).unwrap();
    assert_eq!(writer.trim(), format!("127.0.0.1:{}", site.new.port()));
    let runs = std::fs::read_to_string(site.dir.join("runs")).unwrap();
    assert_eq!(runs.lines().collect::<Vec<_>>(), ["cutover", "rehearsal", "cutover"]);
    let (file, page) = report(&site, 3);
    let said = &file.record.hooks.iter().find(|h| h.key() == "after.switch").unwrap().stdout;
    assert!(said.starts_with("pointed to 127.0.0.1:") && page.contains("pointed to 127.0.0.1:"), "{said}");
    site.on(&site.new).await.execute("UPDATE shop.categories SET name = 'new' WHERE id = 1").await.unwrap();
}
