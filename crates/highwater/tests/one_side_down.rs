//! The program is started while a server of its move is down: the side that serves is served all the same, nobody else takes
//! writes, and the move goes on by itself when the server is back.
#![cfg(debug_assertions)] // What is shipped has no stop points.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod broken;
mod site;
mod two_writers;

use std::time::{Duration, Instant};

use broken::{Ground, PATIENCE};
use mysql::Connection;
use serde_json::Value;
use site::Site;

/// A client that comes through the door and writes one row.
async fn buys(site: &Site, id: u64) -> mysql::Result<()> {
    let mut connection = Connection::connect(&site.through_door()).await?;
    connection.execute(format!("INSERT INTO beside VALUES ({id}, 9)")).await.map(drop)
}

/// The same, again while it is told to try again; what it was told.
async fn until_it_has_bought(door: mysql::ConnectOptions, id: u64) -> Vec<Option<u16>> {
    let (begun, mut told) = (Instant::now(), Vec::new());
    let buy = async || {
        let mut connection = Connection::connect(&door).await?;
        connection.execute(format!("INSERT INTO beside VALUES ({id}, 9)")).await.map(drop)
    };
    while let Err(refused) = buy().await {
        told.push(refused.server_code());
        assert!(begun.elapsed() < PATIENCE, "{refused}");
    }
    told
}

async fn bought(site: &Site, node: &sandbox::Node) -> Vec<String> {
    let rows = site.on(node).await.rows("SELECT id FROM shop.beside ORDER BY id").await.unwrap();
    rows.iter().map(|row| row.text(0)).collect()
}

/// Waits until the status is as wanted; the status.
fn shows(site: &Site, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let status = site.status().unwrap_or_default();
        if wanted(&status) {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "{status}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The program killed, then servers, and the program started again: it waits for those.
fn starts_without(ground: &mut Ground, down: &[usize], serving: usize) {
    ground.serve.kill_nine();
    for server in down {
        ground.node(*server).kill_nine().unwrap();
    }
    starts_waiting(ground, down, serving);
}

fn starts_waiting(ground: &mut Ground, down: &[usize], serving: usize) {
    let begun = Instant::now();
    ground.serve.kill_nine();
    ground.serve = ground.site.start("serve");
    let status = shows(&ground.site, |status| status["door"].is_object());
    let names: Vec<&str> = down.iter().map(|server| ["old", "new"][*server]).collect();
    println!("the door is open after {:?}, with {names:?} down", begun.elapsed());
    let one = &status["moves"][0];
    assert_eq!(one["state"], "waiting", "{status}");
    assert_eq!(one["waiting_for"], serde_json::json!(names), "{status}");
    assert_eq!(one["serving"], ["old", "new"][serving], "{status}");
    let (noun, names) = (if names.len() == 1 { "cluster" } else { "clusters" }, names.join("' and '"));
    let reason = format!("waiting for {noun} '{names}': cannot be reached: ");
    assert!(one["trouble"]["what"].as_str().unwrap().starts_with(&reason), "{status}");
    let text = ground.site.done(&["status"]);
    assert!(text.contains(&reason), "{text}");
}

async fn come_back(ground: &mut Ground, servers: &[usize], serving: usize) {
    let begun = Instant::now();
    for server in servers {
        ground.node(*server).restart().unwrap();
    }
    let up = Instant::now();
    assert_eq!(ground.known_state().await, serving);
    println!("the move runs {:?} after its servers, which took {:?}", up.elapsed(), up - begun);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_side_that_serves_is_served_whatever_else_is_down() {
    let mut ground = Ground::new().await;
    let last_event = |ground: &Ground| {
        let journal = std::fs::read_to_string(ground.site.dir.join("state/shop.journal")).unwrap();
        journal.lines().last().unwrap_or_default().to_owned()
    };

    // Before the switch, the target down: the source must be opened again, and is.
    ground.ready().await;
    let (_crossing, standing) = ground.cross_until(0, "prove").await;
    starts_without(&mut ground, &[1], 0);
    standing.go_on();
    buys(&ground.site, 1).await.unwrap();
    assert!(last_event(&ground).contains("aborted"), "{}", last_event(&ground));

    // Nothing under way, the target still down.
    starts_waiting(&mut ground, &[1], 0);
    buys(&ground.site, 2).await.unwrap();
    let commands: [&[&str]; 6] = [
        &["verify"],
        &["cutover"],
        &["cutover", "--dry-run"],
        &["rollback"],
        &["throttle", "--pause"],
        &["finish"],
    ];
    for command in commands {
        let said = ground.site.refused(command);
        assert!(said.contains("waiting for cluster 'new': cannot be reached: "), "{command:?}: {said}");
        assert!(said.contains("cluster 'old' serves"), "{command:?}: {said}");
    }
    come_back(&mut ground, &[1], 0).await;

    // After the switch, the old side down: the new one must be opened, and is.
    ground.ready().await;
    let (_crossing, standing) = ground.cross_until(0, "switch").await;
    starts_without(&mut ground, &[0], 1);
    standing.go_on();
    buys(&ground.site, 3).await.unwrap();
    come_back(&mut ground, &[0], 1).await;

    // Following since the cutover, the old side down.
    starts_without(&mut ground, &[0], 1);
    buys(&ground.site, 4).await.unwrap();

    // The side that serves is down as well: the door says so, and lets clients in when it is back.
    ground.node(1).kill_nine().unwrap();
    starts_waiting(&mut ground, &[0, 1], 1);
    let refused = buys(&ground.site, 5).await.unwrap_err();
    assert_eq!(refused.server_code(), Some(2003), "{refused}");
    come_back(&mut ground, &[1, 0], 1).await;
    buys(&ground.site, 5).await.unwrap();

    // Half-way back, and the side that serves from then on is down: its fence comes back with it, so clients wait.
    ground.ready().await;
    let (_crossing, standing) = ground.cross_until(1, "switch").await;
    starts_without(&mut ground, &[0], 0);
    standing.go_on();
    let client = tokio::spawn(until_it_has_bought(ground.site.through_door(), 6));
    shows(&ground.site, |status| status["door"]["held"] == 1);
    come_back(&mut ground, &[0], 0).await;
    let told = client.await.unwrap();
    assert!(told.iter().all(|code| *code != Some(1290)), "who was held met a fence: {told:?}");

    // What every cell of the table has let in is on both sides.
    let all: Vec<String> = (1..=6).map(|id| id.to_string()).collect();
    assert_eq!(bought(&ground.site, &ground.site.old).await, all);
    ground.site.caught_up().await;
    assert_eq!(bought(&ground.site, &ground.site.new).await, all);

    // A server that is reached and refuses is another matter: the program ends, though the other one is down as well.
    ground.serve.kill_nine();
    ground.node(1).kill_nine().unwrap();
    let ports = (ground.wires[0].port(), ground.wires[1].port());
    ground.site.write_settings_between("nobody", ports, "shop.*", "");
    let (code, said) = ground.site.start("serve").ended();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("refuses account 'nobody'"), "{said}");
}
