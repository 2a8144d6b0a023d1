//! A front door operated under its clients: what statements cost, settings read again, and an end that cuts no transaction.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod site;

use std::path::Path;
use std::time::{Duration, Instant};

use mysql::{ConnectOptions, Connection};
use serde_json::Value;
use site::{Running, Site, assert_three_parts};

fn through_door(site: &Site) -> ConnectOptions {
    let port = site.through_door().port;
    ConnectOptions { port, ..site.admin(&site.old) }
}

/// Starts the front door with these lines in its section.
fn opened(site: &Site, lines: &str) -> Running {
    write(site, lines);
    let running = site.start("proxy");
    let until = Instant::now() + Duration::from_secs(20);
    while site.status().is_none_or(|status| status["door"].is_null()) {
        assert!(Instant::now() < until, "the door does not open");
        std::thread::sleep(Duration::from_millis(20));
    }
    running
}

fn write(site: &Site, lines: &str) {
    site.write_settings(sandbox::ADMIN_USER, site.old.port(), "shop.*", "");
    let file = site.dir.join("highwater.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, settings.replace("[cutover]", &format!("{lines}\n[cutover]"))).unwrap();
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// The lines of a log, once it has so many; a thread writes them.
fn lines(log: &Path, count: usize) -> Vec<Value> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if text.lines().count() >= count && text.ends_with('\n') {
            return text.lines().map(json).collect();
        }
        assert!(Instant::now() < until, "no {count} lines in {text}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_door_is_looked_at_and_changed_under_its_clients_and_closed_between_their_transactions() {
    let site = Site::new("");
    let mut running = opened(&site, "digests = true\nslow = '200ms'");
    let mut client = Connection::connect(&through_door(&site)).await.unwrap();

    // What statements cost.
    for n in 0..7 {
        client.query(&format!("SELECT {n}, 'secret-{n}'")).await.unwrap();
    }
    client.query("SELECT 'secret', SLEEP(0.25)").await.unwrap();
    let digests = json(&site.done(&["digests", "--json", "--by", "count", "--top", "1"]));
    let first = &digests["digests"][0];
    assert_eq!((&first["statement"], &first["count"]), (&"SELECT ?, ?".into(), &7.into()), "{digests}");
    assert_eq!(digests["digests"].as_array().unwrap().len(), 1);
    let shown = site.done(&["digests"]);
    assert!(shown.contains("SELECT ?, SLEEP (...)") && !shown.contains("secret"), "{shown}");
    let log = site.dir.join("slow.log");
    let slow = &lines(&log, 1)[0];
    assert_eq!(slow["statement"], "SELECT ?, SLEEP (...)");
    assert!(slow["took_ms"].as_f64().unwrap() >= 250.0 && slow["backend_id"].as_u64().unwrap() > 0, "{slow}");
    assert!(slow["user"] == sandbox::ADMIN_USER && slow["client"] == "127.0.0.1" && slow["values"].is_null());

    // Settings that cannot be used change nothing, whoever finds out: the command, or the process.
    for (wrong, named) in
        [("clients_mx = 1", "clients_max"), ("slow_log = 'no/slow.log'", "front_door.slow_log")]
    {
        write(&site, &format!("digests = true\nslow = '200ms'\nhold_max = '3s'\n{wrong}"));
        let refused = site.refused(&["reload"]);
        assert!(refused.contains(named) && refused.contains("stay in force"), "{refused}");
    }

    // Settings that can, under a client that stays; the rotated log is opened anew.
    let rotated = site.dir.join("slow.log.1");
    std::fs::rename(&log, &rotated).unwrap();
    write(
        &site,
        "digests = true\nslow = '200ms'\nslow_log_values = true\nclients_max = 1\nthreads = 3\n[front_door.users.app]\nclients_max = 3",
    );
    let answer = json(&site.done(&["reload", "--json"]));
    let in_force = ["front_door.clients_max", "front_door.slow_log_values", "front_door.users.app"];
    assert_eq!(answer["in_force"], serde_json::json!(in_force), "{answer}");
    assert_eq!(answer["need_a_restart"], serde_json::json!(["front_door.threads"]));
    client.query("DO SLEEP(0.25)").await.unwrap();
    assert_eq!(lines(&log, 1)[0]["values"], "DO SLEEP(0.25)");
    assert_eq!(lines(&rotated, 1).len(), 1);
    let refused = Connection::connect(&through_door(&site)).await.unwrap_err();
    assert_eq!(refused.server_code(), Some(1040), "{refused}");

    // The same by signal.
    write(&site, "digests = false");
    running.signal("HUP");
    let until = Instant::now() + Duration::from_secs(10);
    let mut other = loop {
        match Connection::connect(&through_door(&site)).await {
            Ok(other) => break other,
            Err(_) => assert!(Instant::now() < until, "the settings are not read again"),
        }
    };
    assert!(site.done(&["digests", "--reset"]).contains("SELECT ?, ?"));
    assert_three_parts(&site.refused(&["digests"]));

    // An end: one client leaves by itself, one is in a transaction, one between two.
    let mut busy = Connection::connect(&through_door(&site)).await.unwrap();
    busy.query("CREATE TABLE mysql.hw_ended (i INT PRIMARY KEY)").await.unwrap();
    busy.query("BEGIN").await.unwrap();
    busy.query("INSERT INTO mysql.hw_ended VALUES (1)").await.unwrap();
    let stopping = site.begin(&["stop", "--within", "1s", "--kill-after", "30s", "--json"]);
    // Without logging in: one that is on its way out would be counted too.
    let door = ("127.0.0.1", through_door(&site).port);
    while std::net::TcpStream::connect(door).is_ok() {}
    other.query("SELECT 1").await.unwrap();
    drop(other);
    let told = loop {
        match client.query("SELECT 1").await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => break error,
        }
    };
    assert_eq!(told.server_code(), Some(1053), "{told}");
    busy.query("INSERT INTO mysql.hw_ended VALUES (2)").await.unwrap();
    busy.query("COMMIT").await.unwrap();
    let stopped = stopping.wait_with_output().unwrap();
    let answer = json(&String::from_utf8(stopped.stdout).unwrap());
    assert_eq!(
        (&answer["clients"], &answer["left_by_themselves"], &answer["ended_between_transactions"]),
        (&3.into(), &1.into(), &2.into()),
        "{answer}"
    );
    assert_eq!(running.ended().0, Some(0));
    let mut old = site.on(&site.old).await;
    assert_eq!(old.row("SELECT COUNT(*) FROM mysql.hw_ended").await.unwrap().unwrap().text(0), "2");

    // A signal to terminate waits for who has a transaction open, but no longer than it may.
    let mut running = opened(&site, "stop_max = '600ms'");
    let mut late = Connection::connect(&through_door(&site)).await.unwrap();
    let mut idle = Connection::connect(&through_door(&site)).await.unwrap();
    idle.query("SELECT 1").await.unwrap();
    late.query("BEGIN").await.unwrap();
    late.query("INSERT INTO mysql.hw_ended VALUES (3)").await.unwrap();
    let told = Instant::now();
    running.signal("TERM");
    while idle.query("SELECT 1").await.is_ok() {}
    late.query("INSERT INTO mysql.hw_ended VALUES (4)").await.unwrap();
    let (code, said) = running.ended();
    assert!(code == Some(0) && told.elapsed() >= Duration::from_millis(600), "{code:?} {said}");
    assert!(said.contains("ended with a transaction or statement open"), "{said}");
    assert!(late.query("COMMIT").await.is_err());
    assert_eq!(old.row("SELECT COUNT(*) FROM mysql.hw_ended").await.unwrap().unwrap().text(0), "2");
}
