//! A crossing whose end the new side refuses is ended by the next command, without a restart.
#![cfg(debug_assertions)] // What is shipped has no stop points.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod broken;
mod site;
mod two_writers;

use broken::Ground;

const EVENT: &str =
    "CREATE EVENT shop.tidy ON SCHEDULE EVERY 1 HOUR DO DELETE FROM shop.sessions WHERE FALSE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_back_that_was_refused_is_started_by_the_next_command() {
    let ground = Ground::new().await;
    ground.site.on(&ground.site.old).await.execute(EVENT).await.unwrap();
    ground.ready().await;
    let mut new = ground.site.on(&ground.site.new).await;
    let (crossing, standing) = ground.cross_until(0, "release").await;
    // Who may not see events takes the one on the old side for somebody's own.
    new.execute("REVOKE EVENT ON *.* FROM 'highwater'@'%'").await.unwrap();
    standing.go_on();
    let ended = tokio::task::spawn_blocking(move || crossing.wait_with_output().unwrap()).await.unwrap();
    let said = broken::said(&ended);
    assert!(!ended.status.success() && said.contains("the stream back did not start"), "{said}");
    assert_eq!(ground.site.state(), "stopped");

    let still = ground.site.refused(&["rollback"]);
    assert!(still.contains("event shop.tidy"), "{still}");
    new.execute("GRANT EVENT ON *.* TO 'highwater'@'%'").await.unwrap();
    // A rehearsal is a command like any other, and starts it. The old side was opened to a stream by the first try, and nobody has
    // watched it since: what it holds has to be proven again.
    let unproven = ground.site.refused(&["rollback", "--rehearse"]);
    assert!(unproven.contains("no pass over every row is complete"), "{unproven}");
    ground.site.done(&["verify"]);
    println!("{}", ground.site.done(&["rollback", "--rehearse"]));
    assert_eq!(ground.known_state().await, 1);
    println!("{}", ground.site.done(&["rollback"]));
    assert_eq!(ground.known_state().await, 0);
}
