//! Whatever breaks, wherever a crossing stands: it ends in a known state, no acknowledged order is lost or doubled, never do two
//! servers take the application's writes, and clients are served again soon.
//!
//! A line for each pair of a place and a fault, with a fence around the servers and with one around schemas. By default a chosen part
//! of the matrix, in which every place and every fault occurs twice, and one pair at random behind the other fence;
//! `HIGHWATER_FAULTS=all` goes through all of it, `HIGHWATER_FAULTS=settle`, `=CutToSource` or `=Schemas,switch` through a part.
#![cfg(debug_assertions)] // What is shipped has no stop points.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod broken;
mod site;
mod two_writers;

use std::time::{Duration, Instant};

use broken::full::Full;
use broken::{AfterFull, CUT_FOR, Fault, Ground, PATIENCE, PLACES, said};
use load::Shoppers;
use migrate::Fence;
use sandbox::Disk;
use site::Site;
use two_writers::TwoWriters;

/// How soon after a fault is mended clients must be served, and the move be in a known state.
const SERVED_WITHIN: Duration = Duration::from_secs(10);

/// Of the disks that are filled. In memory: as much of it is taken.
const DISK_BYTES: u64 = 1 << 30;

/// Something that breaks at a place, and what keeps the sides closed.
type Pair = (Fence, &'static str, Fault);

/// What became of one pair.
struct Line {
    pair: Pair,
    moved: bool,
    said: String,
    served_after: Duration,
    orders: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_in_every_phase_ends_in_a_known_state() {
    let disks = Disk::can_be_had();
    let disk = disks.is_ok().then_some(DISK_BYTES);
    let mut ground = Ground::on(Site::on_disks([disk, disk], ""), Fence::Server).await;
    let writers =
        TwoWriters::start([Site::shop_at(ground.site.old.port()), Site::shop_at(ground.site.new.port())]);
    let mut lines = Vec::new();
    let mut home = 0;
    for (fence, place, fault) in chosen() {
        ground.change_fence(fence, home).await;
        let line = pair(&mut ground, &writers, home, (fence, place, fault)).await;
        println!(
            "{:<7} {:<8} {:<17} {:<6} served after {:>5.2} s; {}; {}",
            format!("{fence:?}"),
            place,
            format!("{fault:?}"),
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
    print_matrix(&lines, disks.err().map(|why| why.what).as_deref());
    println!("{} writes past the door, each accepted by one server, all on the last one", accepted.len());
}

fn chosen() -> Vec<Pair> {
    let all = [Fence::Server, Fence::Schemas].into_iter().flat_map(|fence| {
        PLACES.iter().flat_map(move |place| Fault::ALL.map(|fault| (fence, *place, fault)))
    });
    match std::env::var("HIGHWATER_FAULTS").as_deref() {
        Ok("all") => all.collect(),
        Ok(parts) => all
            .filter(|(fence, place, fault)| {
                let named = [format!("{fence:?}"), (*place).to_owned(), format!("{fault:?}")];
                parts.split(',').all(|part| named.iter().any(|n| n == part))
            })
            .collect(),
        Err(_) => {
            let twice = |(n, fault): (usize, Fault)| {
                [0, 3].map(|more| (Fence::Server, PLACES[(n + 4 + more) % PLACES.len()], fault))
            };
            let chosen = Fault::ALL.into_iter().enumerate().flat_map(twice);
            let besides = [
                (Fence::Server, "fence", Fault::ControllerKilled),
                (Fence::Server, "switch", Fault::ControllerKilled),
                (Fence::Server, "prove", Fault::TargetKilled),
                (
                    Fence::Schemas,
                    PLACES[fastrand::usize(..PLACES.len())],
                    Fault::ALL[fastrand::usize(..Fault::ALL.len())],
                ),
            ];
            chosen.chain(besides).collect()
        }
    }
}

/// A crossing that stands at a place while something breaks, and what must hold after it.
async fn pair(ground: &mut Ground, writers: &TwoWriters, home: usize, (fence, place, fault): Pair) -> Line {
    ground.ready().await;
    let seen = writers.so_far().len();
    let shoppers = ground.site.shoppers(ground.site.through_door(), 8).await;
    orders(&shoppers, 3, PATIENCE).await;

    let (crossing, standing) = ground.cross_until(home, place).await;
    let beyond = PLACES.iter().position(|p| *p == place) >= PLACES.iter().position(|p| *p == "switch");
    match fault {
        Fault::TargetFull => {
            let full = Full::fill(ground, 1 - home).await;
            standing.go_on();
            match beyond {
                // The source has room: nobody waits for the other one.
                false => orders(&shoppers, 3, SERVED_WITHIN).await,
                true => tokio::time::sleep(CUT_FOR).await,
            }
            full.free(ground, after_full()).await;
        }
        _ => ground.break_and_mend(fault, (home, 1 - home), || standing.go_on()).await,
    }
    let mended = Instant::now();

    orders(&shoppers, 3, SERVED_WITHIN).await;
    let served_after = mended.elapsed();
    let ended = tokio::task::spawn_blocking(move || crossing.wait_with_output().unwrap());
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("the command ends").unwrap();
    if fault == Fault::TargetFull && ground.start_again_if_it_found_no_room() {
        println!("         the stream had found no room and stopped; it was started again");
        let again = Instant::now();
        orders(&shoppers, 3, SERVED_WITHIN).await;
        println!("         served {:.2} s after that", again.elapsed().as_secs_f64());
    }
    let now = ground.known_state().await;

    let moved = now != home;
    let context = format!("{fence:?}, {place}, {fault:?}: {}", said(&ended));
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
    Line { pair: (fence, place, fault), moved, said: said(&ended), served_after, orders }
}

async fn orders(shoppers: &Shoppers, more: u64, within: Duration) {
    let (begun, before) = (Instant::now(), shoppers.live().orders_acknowledged);
    while shoppers.live().orders_acknowledged < before + more {
        assert!(begun.elapsed() < within, "clients are not served: {:?}", shoppers.live());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A server looks for room once a minute, which is too long to wait for in every run.
fn after_full() -> AfterFull {
    match std::env::var_os("HIGHWATER_FAULTS") {
        Some(_) => AfterFull::WaitedFor,
        None => AfterFull::Restarted,
    }
}

fn print_matrix(lines: &[Line], no_disks: Option<&str>) {
    for fence in [Fence::Server, Fence::Schemas] {
        if !lines.iter().any(|l| l.pair.0 == fence) {
            continue;
        }
        println!("\n{:<18}{}", format!("{fence:?}"), PLACES.map(|p| format!("{p:<9}")).concat());
        for fault in Fault::ALL {
            let cells = PLACES.map(|place| {
                let line = lines.iter().find(|l| l.pair == (fence, place, fault));
                let cell = line.map_or("", |l| if l.moved { "moved" } else { "stayed" });
                let played = fault == Fault::TargetFull && no_disks.is_some() && line.is_some();
                format!("{:<9}", format!("{cell}{}", if played { "*" } else { "" }))
            });
            println!("{:<18}{}", format!("{fault:?}"), cells.concat().trim_end());
        }
    }
    match no_disks {
        Some(why) => println!("\n* no disk was full: a read lock on the target stood in for it, since {why}"),
        None => println!(
            "\nTargetFull: the disk of the target's data folder had no byte left; then {:?}",
            after_full()
        ),
    }
}
