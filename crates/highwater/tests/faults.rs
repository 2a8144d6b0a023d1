//! Whatever breaks, wherever a crossing stands: it ends in a known state, no acknowledged order is lost or doubled, never do two
//! servers take the application's writes, and clients are served again soon.
//!
//! A line for each pair of a place and a fault. By default a chosen part of the matrix, in which every place and every fault
//! occurs twice; `HIGHWATER_FAULTS=all` goes through all of it, `HIGHWATER_FAULTS=settle` or `=CutToSource` through a part.
#![cfg(debug_assertions)] // What is shipped has no stop points.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod broken;
mod site;
mod two_writers;

use std::time::{Duration, Instant};

use broken::{Fault, Ground, PATIENCE, PLACES, said};
use load::Shoppers;
use site::Site;
use two_writers::TwoWriters;

/// How soon after a fault is mended clients must be served, and the move be in a known state.
const SERVED_WITHIN: Duration = Duration::from_secs(10);

/// What became of one pair.
struct Line {
    place: &'static str,
    fault: Fault,
    moved: bool,
    said: String,
    served_after: Duration,
    orders: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_in_every_phase_ends_in_a_known_state() {
    let mut ground = Ground::new().await;
    let writers =
        TwoWriters::start([Site::shop_at(ground.site.old.port()), Site::shop_at(ground.site.new.port())]);
    let mut lines = Vec::new();
    let mut home = 0;
    for (place, fault) in chosen() {
        let line = pair(&mut ground, &writers, home, (place, fault)).await;
        println!(
            "{:<8} {:<17} {:<6} served after {:>5.2} s; {}; {}",
            line.place,
            format!("{:?}", line.fault),
            if line.moved { "moved" } else { "stayed" },
            line.served_after.as_secs_f64(),
            line.orders,
            line.said
        );
        home = if line.moved { 1 - home } else { home };
        lines.push(line);
    }
    let accepted = writers.stop().await;
    let node = if home == 0 { &ground.site.old } else { &ground.site.new };
    two_writers::assert_all_on(&mut ground.site.on(node).await, &accepted).await;
    print_matrix(&lines);
    println!("{} writes past the door, each accepted by one server, all on the last one", accepted.len());
}

fn chosen() -> Vec<(&'static str, Fault)> {
    let all = PLACES.iter().flat_map(|place| Fault::ALL.map(|fault| (*place, fault)));
    match std::env::var("HIGHWATER_FAULTS").as_deref() {
        Ok("all") => all.collect(),
        Ok(part) => all.filter(|(place, fault)| *place == part || format!("{fault:?}") == part).collect(),
        Err(_) => {
            let twice = |(n, fault): (usize, Fault)| {
                [0, 3].map(|more| (PLACES[(n + 4 + more) % PLACES.len()], fault))
            };
            let chosen = Fault::ALL.into_iter().enumerate().flat_map(twice);
            let besides = [
                ("fence", Fault::ControllerKilled),
                ("switch", Fault::ControllerKilled),
                ("prove", Fault::TargetKilled),
            ];
            chosen.chain(besides).collect()
        }
    }
}

/// A crossing that stands at a place while something breaks, and what must hold after it.
async fn pair(
    ground: &mut Ground,
    writers: &TwoWriters,
    home: usize,
    (place, fault): (&'static str, Fault),
) -> Line {
    ground.ready().await;
    let seen = writers.so_far().len();
    let shoppers = ground.site.shoppers(ground.site.through_door(), 8).await;
    orders(&shoppers, 3, PATIENCE).await;

    let (crossing, standing) = ground.cross_until(home, place).await;
    ground.break_and_mend(fault, (home, 1 - home), || standing.go_on()).await;
    let mended = Instant::now();

    orders(&shoppers, 3, SERVED_WITHIN).await;
    let served_after = mended.elapsed();
    let ended = tokio::task::spawn_blocking(move || crossing.wait_with_output().unwrap());
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("the command ends").unwrap();
    let now = ground.known_state().await;

    let beyond = PLACES.iter().position(|p| *p == place) >= PLACES.iter().position(|p| *p == "switch");
    let moved = now != home;
    let context = format!("{place}, {fault:?}: {}", said(&ended));
    if beyond || fault.is_harmless() {
        assert!(moved, "it must go forward; {context}");
    } else if fault != Fault::ControllerKilled {
        assert_eq!(moved, ended.status.success(), "it says another thing than it did; {context}");
    } else {
        assert!(!moved, "nobody decided to switch; {context}");
    }
    // Who writes past the door must be let in again too.
    writers.wait_for(now, SERVED_WITHIN).await;
    two_writers::assert_one_at_a_time(&writers.so_far()[seen..], (home, now));

    let history = shoppers.stop().await.unwrap();
    if fault.is_harmless() {
        assert_eq!(history.counts.failed_statements, 0, "{:?}", history.recording.failures);
    }
    let node = if now == 0 { &ground.site.old } else { &ground.site.new };
    let verdict = history.check(&mut ground.site.on(node).await).await.unwrap();
    assert!(verdict.holds(), "{}; {context}", verdict.sentence());
    let orders = format!("{}, {} statements failed", verdict.sentence(), history.counts.failed_statements);
    Line { place, fault, moved, said: said(&ended), served_after, orders }
}

async fn orders(shoppers: &Shoppers, more: u64, within: Duration) {
    let (begun, before) = (Instant::now(), shoppers.live().orders_acknowledged);
    while shoppers.live().orders_acknowledged < before + more {
        assert!(begun.elapsed() < within, "clients are not served: {:?}", shoppers.live());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn print_matrix(lines: &[Line]) {
    println!("\n{:<18}{}", "", PLACES.map(|p| format!("{p:<9}")).concat());
    for fault in Fault::ALL {
        let cells = PLACES.map(|place| {
            let line = lines.iter().find(|l| l.place == place && l.fault == fault);
            let cell = line.map_or("", |l| if l.moved { "moved" } else { "stayed" });
            format!("{cell:<9}")
        });
        println!("{:<18}{}", format!("{fault:?}"), cells.concat().trim_end());
    }
}
