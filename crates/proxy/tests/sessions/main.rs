//! Random sessions through a door that shares a few backends, beside the same sessions on a server of their own each: every
//! byte of every answer is the same.
//!
//! Named exceptions: the ids of prepared statements (also in the texts of errors 1243 and 1421), the number of warnings
//! that pings and changes of schema or option repeat, what `SHOW ERRORS` says after an error of the door's own, and answers
//! that the door refuses to give (error 1105, "cannot be told any more"), which must be refused and not wrong.
//! `HIGHWATER_FUZZ_SEED` repeats a run, `HIGHWATER_FUZZ_STEPS` makes it longer (commands per client, on average: who is quick does more,
//! so that nobody is idle while the slow ones come to an end; of each client the commands are the same again).
//!
//! A third of the clients come through a door that is held and switched all the time, to the same server under another
//! name. Every client waits for each answer on both sides before it goes on, so that no session can run ahead of what it is
//! compared with; what makes a run fast is that there are many of them.

#![allow(clippy::unwrap_used)]

mod script;
mod session;
#[path = "../world/mod.rs"]
mod world;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mysql::Capabilities;
use proxy::{Backend, Control, Door, DoorOptions, PinnedPolicy, Rules};
use script::{Action, Random, Script};
use session::Session;
use tokio::task::{JoinSet, LocalSet};
use world::{admin, backend, block_on, node, options, rules};

const CLIENTS: usize = 24;
const BACKENDS: usize = 6;
/// Of the clients below this one, those of the door that stays where it is also do what pins them: fewer than backends, or
/// nobody else would get any.
const PINNING: usize = 5;

/// Most of a run's time is the servers'. What no session can tell apart is turned off there: nothing reads their logs or their
/// `performance_schema`, and they need not survive a power cut.
const CHEAP: &[&str] = &[
    "--skip-log-bin",
    "--performance-schema=OFF",
    "--innodb-doublewrite=OFF",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-stats-auto-recalc=OFF",
];

/// Takes out of an answer what may differ.
fn without_ids(action: &Action, mut answer: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    if let (Action::Simple(..), [only]) = (action, answer.as_mut_slice()) {
        match only[0] {
            0xFE if only.len() == 5 => only[1..3].fill(0),
            0 | 0xFE => only.truncate(5),
            _ => {}
        }
    }
    for packet in &mut answer {
        if matches!(**packet, [0xFF, 0xDB, 0x04, ..] | [0xFF, 0x8D, 0x05, ..]) {
            packet.retain(|b| !b.is_ascii_digit());
        }
    }
    answer
}

/// Whether it is an error that the door gives in the server's place, which the server's `SHOW ERRORS` does not know of.
fn given_by_door(answer: &[Vec<u8>]) -> bool {
    let error =
        answer.first().filter(|p| p[0] == 0xFF).and_then(|p| wire::response::ErrPacket::parse(p).ok());
    error.is_some_and(|e| matches!(e.code, 1210 | 1243 | 1421))
}

/// Whether the door refused to tell what it no longer knows.
fn refused(answer: &[Vec<u8>]) -> bool {
    let error =
        answer.first().filter(|p| p[0] == 0xFF).and_then(|p| wire::response::ErrPacket::parse(p).ok());
    error.is_some_and(|e| e.code == 1105 && e.message.contains("cannot be told any more"))
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn sessions_that_share_backends_answer_as_sessions_of_their_own() {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = setting("HIGHWATER_FUZZ_SEED", now | 1);
    let steps = setting("HIGHWATER_FUZZ_STEPS", 140) as usize;
    println!("HIGHWATER_FUZZ_SEED={seed} HIGHWATER_FUZZ_STEPS={steps}");
    let (direct_node, behind) = (node("direct", 1, CHEAP), node("behind", 1, CHEAP));
    block_on(async {
        for node in [&direct_node, &behind] {
            let mut root = admin(node).await;
            root.query("CREATE DATABASE other").await.unwrap();
            root.query("GRANT ALL ON other.* TO 'shop'@'%'").await.unwrap();
            root.query("CREATE PROCEDURE shop.p() BEGIN SET @p = 7; SELECT @p; END").await.unwrap();
            for n in 0..CLIENTS {
                for schema in ["shop", "other"] {
                    root.query(format!(
                        "CREATE TABLE {schema}.t{n} (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20), n INT NOT NULL DEFAULT 0)"
                    ))
                    .await
                    .unwrap();
                    root.query(format!("INSERT INTO {schema}.t{n} (name) VALUES ('{schema}'), ('b'), ('c')"))
                        .await
                        .unwrap();
                }
            }
        }
    });
    let options = || DoorOptions {
        rules: Rules { backends_max: BACKENDS, queue_max: Duration::from_secs(60), ..rules() },
        ..options(&behind)
    };
    let door = Door::start(options()).unwrap();
    // Its clients are moved again and again, to the same server under another name, while they do what they do.
    let switching = Door::start(options()).unwrap();
    let done = Arc::new(AtomicU64::new(0));
    block_on(LocalSet::new().run_until(async {
        let mover = tokio::task::spawn_local(switch_again_and_again(switching.control(), backend(&behind)));
        let teller = tokio::task::spawn_local(tell(Arc::clone(&done), CLIENTS * steps));
        let begun = Instant::now();
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let through = if client % 3 == 2 { &switching } else { &door };
            let ports = (direct_node.port(), through.address().port());
            let pins = client < PINNING && client % 3 != 2;
            clients.spawn_local(compare(seed, client, pins, steps, ports, Arc::clone(&done)));
        }
        let mut refusals = 0;
        let all = async {
            while let Some(done) = clients.join_next().await {
                refusals += done.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_secs(30 + steps as u64 / 3), all).await.is_err() {
            panic!(
                "seed {seed} stands still: {:#?} {:#?}",
                door.control().sessions(),
                switching.control().sessions()
            );
        }
        mover.abort();
        teller.abort();
        let (stats, switched) = (door.control().stats(), switching.control().stats());
        let commands = stats.commands + switched.commands;
        println!(
            "{commands} commands at the doors, {refusals} refused, {} waits, {} switches",
            stats.waits, switched.epoch
        );
        let done = done.load(Relaxed);
        println!(
            "{done} commands compared, 0 differences, {:.0} a second",
            done as f64 / begun.elapsed().as_secs_f64()
        );
        assert!(stats.backends <= BACKENDS && stats.waits > 0, "{stats:?}");
        assert!(switched.epoch > 0, "{switched:?}");
        assert!(refusals * 50 < CLIENTS * steps, "{refusals}");
    }));
}

/// Says how far a long run has come.
async fn tell(done: Arc<AtomicU64>, of: usize) {
    let begun = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let done = done.load(Relaxed);
        eprintln!(
            "{done} of {of} commands, {:.0} a second, no difference",
            done as f64 / begun.elapsed().as_secs_f64()
        );
    }
}

/// Moves whoever can be moved; a client in the middle of something for longer stays, and is tried again.
async fn switch_again_and_again(control: Control, behind: Backend) {
    for epoch in 1.. {
        let next = Backend { id: format!("behind {}", epoch % 2), ..behind.clone() };
        // Whoever is not in the middle of something waits for as long: at first briefly, since another moment may suit better.
        for patience in [100, 200].into_iter().chain(std::iter::repeat(500)) {
            tokio::time::sleep(Duration::from_millis(15)).await;
            control.hold();
            let drained = control.drain(Duration::from_millis(patience), PinnedPolicy::Refuse).await.is_ok();
            if drained {
                control.switch(next.clone(), epoch).unwrap();
            }
            control.release();
            if drained {
                break;
            }
        }
    }
}

/// Does the same through the door and directly; how many answers were refused.
async fn compare(
    seed: u64,
    client: usize,
    pins: bool,
    steps: usize,
    (direct, through): (u16, u16),
    done: Arc<AtomicU64>,
) -> usize {
    let mut script = Script::new(Random(seed.wrapping_mul(client as u64 * 2 + 3) | 1), client, pins);
    let capabilities = match client % 3 {
        1 => Capabilities::MULTI_STATEMENTS | Capabilities::PS_MULTI_RESULTS,
        _ => Capabilities::DEPRECATE_EOF | Capabilities::MULTI_STATEMENTS | Capabilities::PS_MULTI_RESULTS,
    };
    let collation = [45, 45, 255, 8][client % 4];
    let mut own = Session::open(direct, capabilities, collation).await;
    let mut shared = Session::open(through, capabilities, collation).await;
    let (mut told, mut before) = (0, VecDeque::new());
    let all = (CLIENTS * steps) as u64;
    for step in (0..).take_while(|step| *step < steps / 2 || done.load(Relaxed) < all) {
        let action = script.next();
        let (right, got) = tokio::join!(own.act(&action), shared.act(&action));
        let (right, got) = (without_ids(&action, right), without_ids(&action, got));
        done.fetch_add(1, Relaxed);
        if refused(&got) || right == got && given_by_door(&got) {
            told += usize::from(refused(&got));
            let after = Action::Query("DO 0".into());
            assert_eq!(own.act(&after).await, shared.act(&after).await);
        } else if right != got {
            let text = |answer: &[Vec<u8>]| -> Vec<String> {
                answer.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect()
            };
            let (right, got) = (text(&right), text(&got));
            panic!(
                "1 difference after {} commands: seed {seed}, client {client}, step {step}: {action:?}\nright: {right:?}\n  got: {got:?}\nbefore: {before:#?}",
                done.load(Relaxed)
            );
        }
        before.push_back(action);
        if before.len() > 40 {
            before.pop_front();
        }
    }
    told
}
