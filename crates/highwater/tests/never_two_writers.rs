//! Two servers, an application at each that goes past the front door, and crossings there and back: at no time do both take
//! writes, also where a process is killed or a server comes back from a restart, and every write that was accepted is there.
#![cfg(debug_assertions)] // What is shipped has no stop points.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod broken;
mod site;
mod two_writers;

use std::time::Duration;

use broken::{Fault, Ground, PATIENCE, said};
use migrate::Fence;
use two_writers::TwoWriters;

const LET_IN_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_servers_take_an_applications_writes_and_none_is_lost() {
    let mut ground = Ground::new().await;
    let writers = ground.writers();
    let mut home = 0;
    for round in 0..3 {
        for how in [
            None,
            Some(("switch", Fault::ControllerKilled)),
            Some(("fence", Fault::ControllerKilled)),
            Some(("switch", Fault::TargetKilled)),
        ] {
            let now = cross(&mut ground, &writers, home, how).await;
            assert_eq!(now != home, how.is_none_or(|(place, _)| place == "switch"), "round {round}, {how:?}");
            home = now;
        }
    }
    // A fence outlives a restart of the server it protects.
    ground.ready().await;
    let (crossing, standing) = ground.cross_until(home, "fence").await;
    for server in [home, 1 - home] {
        let before = writers.so_far().len();
        ground.node(server).restart().unwrap();
        writers.tries(server, 20, LET_IN_WITHIN).await;
        assert_eq!(writers.so_far().len(), before, "a fenced server was restarted, and took writes");
    }
    standing.go_on();
    let ended = tokio::task::spawn_blocking(move || crossing.wait_with_output().unwrap()).await.unwrap();
    println!("restarted behind the fence: {}", said(&ended));
    assert_eq!(ground.known_state().await, home);
    writers.wait_for(home, LET_IN_WITHIN).await;

    // So does the one of the side that follows.
    let before = writers.so_far().len();
    ground.node(1 - home).restart().unwrap();
    writers.tries(1 - home, 20, LET_IN_WITHIN).await;
    assert!(writers.so_far()[before..].iter().all(|a| a.server == home), "the side that follows took writes");

    // A fence that somebody lowers after the proof lets the application write what nobody has proven: it is not left behind.
    ground.ready().await;
    let (crossing, standing) = ground.cross_until(home, "prove").await;
    let serving = if home == 0 { &ground.site.old } else { &ground.site.new };
    let lowered = "SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF";
    ground.site.on(serving).await.query_all(lowered).await.unwrap();
    writers.wait_for(home, LET_IN_WITHIN).await;
    standing.go_on();
    let ended = tokio::task::spawn_blocking(move || crossing.wait_with_output().unwrap()).await.unwrap();
    println!("the fence was lowered by somebody: {}", said(&ended));
    assert!(said(&ended).contains("since it was fenced"), "{}", said(&ended));
    assert_eq!(ground.known_state().await, home);

    let accepted = writers.stop().await;
    for server in [0, 1] {
        println!("server {server} accepted {}", accepted.iter().filter(|a| a.server == server).count());
    }
    let node = if home == 0 { &ground.site.old } else { &ground.site.new };
    two_writers::assert_all_on(&mut ground.site.on(node).await, &accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_where_only_schemas_are_fenced_and_the_account_is_locked_on_the_side_that_follows() {
    let mut ground = Ground::fenced(Fence::Schemas).await;
    let writers = ground.writers();
    // One that the door has let in before, and that goes on through it.
    let mut client = mysql::Connection::connect(&ground.site.through_door()).await.unwrap();
    let mut home = 0;
    for how in [None, Some(("mark", Fault::ControllerKilled))] {
        let now = cross(&mut ground, &writers, home, how).await;
        println!("{how:?}: from {home} to {now}");
        if how.is_none() {
            client.execute("INSERT INTO beside VALUES (1, 9)").await.expect("it was taken along");
        }
        home = now;
    }
    let accepted = writers.stop().await;
    let node = if home == 0 { &ground.site.old } else { &ground.site.new };
    two_writers::assert_all_on(&mut ground.site.on(node).await, &accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_where_a_single_table_is_fenced_also_if_half_of_it_is_when_the_process_is_killed() {
    let mut ground = Ground::fenced(Fence::Tables).await;
    // The side that follows is closed before anyone is held, not from the copy on.
    ground.ready().await;
    let rehearsed = ground.site.run(&["cutover", "--rehearse"]);
    assert!(rehearsed.status.success(), "{}", said(&rehearsed));
    let writers = ground.writers();
    let mut home = 0;
    for how in [Some(("half", Fault::ControllerKilled)), Some(("switch", Fault::ControllerKilled))] {
        let now = cross(&mut ground, &writers, home, how).await;
        println!("{how:?}: from {home} to {now}");
        home = now;
    }
    assert_eq!(home, 1, "one of them had switched");
    let accepted = writers.stop().await;
    two_writers::assert_all_on(&mut ground.site.on(&ground.site.new).await, &accepted).await;
}

async fn cross(ground: &mut Ground, writers: &TwoWriters, home: usize, how: Option<(&str, Fault)>) -> usize {
    ground.ready().await;
    writers.wait_for(home, LET_IN_WITHIN).await;
    let seen = writers.so_far().len();
    let crossing = match how {
        None => ground.site.begin(&[if home == 0 { "cutover" } else { "rollback" }]),
        Some((place, fault)) => {
            let (crossing, standing) = ground.cross_until(home, place).await;
            ground.break_and_mend(fault, (home, 1 - home), || standing.go_on()).await;
            crossing
        }
    };
    let ended = tokio::task::spawn_blocking(move || crossing.wait_with_output().unwrap());
    tokio::time::timeout(PATIENCE, ended).await.expect("the command ends").unwrap();
    let now = ground.known_state().await;
    writers.wait_for(now, LET_IN_WITHIN).await;
    two_writers::assert_one_at_a_time(&writers.so_far()[seen..], (home, now));
    now
}
