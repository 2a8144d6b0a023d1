//! The source fails over to a replica of its own while the move goes on: one address, another server behind it.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::{Duration, Instant};

use migrate::{Mover, MoverOptions, MoverState, Side, gtid_executed};
use model::GtidSet;
use mysql::{ConnectOptions, Password};
use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Mysqld, Node, NodeOptions, Relay};
use world::{World, Writers, admin, copied};

/// The world, a replica of its source, and the address behind which one of the two is.
struct Site {
    world: World,
    replica: Node,
    relay: Relay,
}

impl Site {
    async fn new(rows: u32) -> Self {
        let world = World::new().await;
        let replica =
            Node::start(&Mysqld::find().unwrap(), NodeOptions::new("replica").server_id(3)).unwrap();
        let follow = format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='{ADMIN_USER}', \
             SOURCE_PASSWORD='{ADMIN_PASSWORD}', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1; START REPLICA",
            world.source.port()
        );
        mysql::Connection::connect(&admin(&replica)).await.unwrap().query_all(&follow).await.unwrap();
        world.fill(rows).await;
        let relay = Relay::start(world.source.port()).unwrap();
        Self { world, replica, relay }
    }

    fn options(&self) -> MoverOptions {
        let source =
            ConnectOptions::new("127.0.0.1", self.relay.port(), ADMIN_USER, Password::new(ADMIN_PASSWORD));
        MoverOptions { source, ..self.world.options() }
    }

    /// Everything the source has is on the replica, which then takes its place.
    async fn switch_over(&mut self) {
        let wanted = gtid_executed(&mut self.world.on_source().await, Side::Source).await.unwrap();
        let mut replica = mysql::Connection::connect(&admin(&self.replica)).await.unwrap();
        let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{wanted}', 60)");
        assert_eq!(replica.row(wait).await.unwrap().unwrap().text(0), "0");
        replica.execute("STOP REPLICA").await.unwrap();
        std::mem::swap(&mut self.world.source, &mut self.replica);
        self.relay.point_to(self.world.source.port());
    }

    async fn caught_up(&self, mover: &Mover) {
        let wanted = gtid_executed(&mut self.world.on_source().await, Side::Source).await.unwrap();
        applied(mover, &wanted).await;
    }
}

/// Unlike [`Mover::applied`], for as long as it takes to find the new server.
async fn applied(mover: &Mover, wanted: &GtidSet) {
    tokio::time::timeout(Duration::from_secs(60), mover.applied(wanted)).await.expect("catches up").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_has_everything_is_followed_in_the_sources_place_and_proven_anew() {
    let mut site = Site::new(5_000).await;
    let mover = Mover::start(site.options()).await.unwrap();
    copied(&mover).await;
    let writers = Writers::start(&site.world.source, 3, 5_000, fastrand::u64(..1 << 40));
    assert_eq!(mover.verify(2, &|_| ()).await.unwrap().different, 0);
    assert!(mover.proof().complete_as_of().is_some());
    writers.stop().await;

    site.switch_over().await;
    site.relay.hang_up();
    let writers = Writers::start(&site.world.source, 3, 5_000, fastrand::u64(..1 << 40));
    tokio::time::sleep(Duration::from_secs(1)).await;
    writers.stop().await;
    site.caught_up(&mover).await;
    assert!(mover.proof().complete_as_of().is_none(), "of the new server nothing is proven");
    assert_eq!(mover.verify(2, &|_| ()).await.unwrap().different, 0);
    assert_eq!(site.world.difference().await, "");

    // Another process finds the ledger under the new server's name.
    mover.stop().await;
    drop(mover);
    let mover = Mover::start(site.options()).await.unwrap();
    site.world.on_source().await.execute("INSERT INTO app.empty_one VALUES (77)").await.unwrap();
    site.caught_up(&mover).await;
    assert_eq!(site.world.difference().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_in_the_middle_of_the_copy_loses_nothing() {
    let mut site = Site::new(30_000).await;
    let mover = Mover::start(site.options()).await.unwrap();
    let writers = Writers::start(&site.world.source, 2, 30_000, fastrand::u64(..1 << 40));
    while mover.progress().rows_copied() < 5_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    writers.stop().await;
    // The process, too: it begins with the new server, and with an old one's ledger.
    mover.stop().await;
    drop(mover);
    site.switch_over().await;
    let writers = Writers::start(&site.world.source, 2, 30_000, fastrand::u64(..1 << 40));
    let mover = Mover::start(site.options()).await.unwrap();
    copied(&mover).await;
    writers.stop().await;
    site.caught_up(&mover).await;
    assert_eq!(site.world.difference().await, "");
}

/// A switchover of the site's own: the old server lives on, and so does the connection that follows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_replaced_and_lives_on_is_left_as_soon_as_it_matters() {
    let mut site = Site::new(2_000).await;
    let mover = Mover::start(site.options()).await.unwrap();
    copied(&mover).await;
    site.switch_over().await;
    site.world.on_source().await.execute("UPDATE app.account SET note = 'new' WHERE id < 500").await.unwrap();
    let verdict = mover.verify(2, &|_| ()).await.unwrap();
    assert_eq!((verdict.different, verdict.rows), (0, 4_000));
    site.caught_up(&mover).await;
    assert_eq!(site.world.difference().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lacks_what_is_applied_is_refused_by_what_it_lacks() {
    let mut site = Site::new(500).await;
    let mover = Mover::start(site.options()).await.unwrap();
    copied(&mover).await;
    let mut replica = mysql::Connection::connect(&admin(&site.replica)).await.unwrap();
    replica.execute("STOP REPLICA").await.unwrap();
    site.world.on_source().await.execute("INSERT INTO app.empty_one VALUES (1)").await.unwrap();
    let lost = gtid_executed(&mut site.world.on_source().await, Side::Source).await.unwrap();
    applied(&mover, &lost).await;

    std::mem::swap(&mut site.world.source, &mut site.replica);
    site.relay.point_to(site.world.source.port());
    site.relay.hang_up();
    let begun = Instant::now();
    let trouble = loop {
        if let MoverState::Failed(trouble) = mover.state() {
            break trouble;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", mover.state());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(
        trouble.what.contains("it has not executed ") && trouble.what.contains("another server now"),
        "{trouble:?}"
    );
    let there = site.world.on_target().await.rows("SELECT id FROM app.empty_one").await.unwrap();
    assert_eq!(there.len(), 1, "nothing was changed");
}
