//! What may break while a crossing stands at a named place, and how it is broken and mended.

#![allow(dead_code, clippy::unwrap_used, reason = "a test ends where it fails")]

pub mod full;

use std::path::PathBuf;
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use load::{Scale, Shop};
use migrate::Fence;
use migrate::cutover::{Event, Home, State};
use mysql::Connection;
use sandbox::{Node, Relay};
use serde_json::Value;

use crate::site::{Running, Site};
use crate::two_writers::{self, TwoWriters};
use full::Full;

/// Shorter than a cut lasts.
const SETTINGS: &str = "drain_deadline = '1s'\nfence_deadline = '1s'\nsettle_deadline = '1s'\nprove_deadline = '1s'\n\
                        lag_max = '3s'";
/// For whatever must happen, and takes a second or two.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than every deadline of the settings: what waits for an answer gives up.
pub const CUT_FOR: Duration = Duration::from_millis(2_500);
/// A crossing proves so many within its deadline.
const KEYS_IN_FLIGHT: u64 = 500;
/// Clients of a flood, each with a connection of its own.
const FLOOD: u64 = 100;

/// Where a crossing stands: what it has just done. The names are the program's stop points.
pub const PLACES: [&str; 7] = ["hold", "drain", "fence", "settle", "prove", "switch", "release"];

/// What breaks. Source and target as of before the crossing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    ControllerKilled,
    SourceKilled,
    TargetKilled,
    SourceRestarted,
    CutToSource,
    CutToTarget,
    /// A server whose disk is full waits, in the middle of a commit, until there is room: see [`super::full`].
    TargetFull,
    Flood,
}

impl Fault {
    pub const ALL: [Self; 8] = [
        Self::ControllerKilled,
        Self::SourceKilled,
        Self::TargetKilled,
        Self::SourceRestarted,
        Self::CutToSource,
        Self::CutToTarget,
        Self::TargetFull,
        Self::Flood,
    ];

    /// Whether nobody is to notice.
    pub fn is_harmless(self) -> bool {
        self == Self::Flood
    }
}

/// What becomes of a server when its disk has room again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFull {
    /// It looks for itself, which it does once a minute.
    WaitedFor,
    /// Somebody restarts it.
    Restarted,
}

/// The running program between two servers, each behind a wire that can be cut.
pub struct Ground {
    pub site: Site,
    pub serve: Running,
    pub wires: [Relay; 2],
    /// What the fence is around.
    fence: Fence,
}

impl Ground {
    /// A small shop, copied; whoever writes past the door has a table of its own in it.
    pub async fn new() -> Self {
        Self::fenced(Fence::Server).await
    }

    /// The same, with a fence of any kind.
    pub async fn fenced(fence: Fence) -> Self {
        Self::on(Site::new(""), fence).await
    }

    /// The same, with servers that were started.
    pub async fn on(site: Site, fence: Fence) -> Self {
        Shop::create(&site.admin(&site.old), Scale { rows: 4_000 }, 7).await.unwrap();
        site.on(&site.old).await.execute(two_writers::TABLE).await.unwrap();
        full::prepare(&site).await;
        let wires = [Relay::start(site.old.port()).unwrap(), Relay::start(site.new.port()).unwrap()];
        write_settings(&site, &wires, fence);
        std::fs::create_dir(site.dir.join("stops")).unwrap();
        let serve = site.start("serve");
        site.wait_for(&["following"]);
        Self { site, serve, wires, fence }
    }

    /// From the next start on the other kind of fence.
    pub async fn change_fence(&mut self, fence: Fence, home: usize) {
        if fence == self.fence {
            return;
        }
        self.ready().await;
        self.serve.kill_nine();
        write_settings(&self.site, &self.wires, fence);
        self.fence = fence;
        self.serve = self.site.start("serve");
        self.site.wait_for(&["following", "switched"]);
        if fence == Fence::Schemas {
            // That the servers' own fence is up may be somebody's wish: it is not taken back. The accounts are locked by now.
            let follows = if home == 0 { &self.site.new } else { &self.site.old };
            let open = "SET GLOBAL read_only = OFF; RESET PERSIST";
            self.site.on(follows).await.query_all(open).await.unwrap();
        }
    }

    /// An application at each server, past the door and past the wires.
    pub fn writers(&self) -> TwoWriters {
        TwoWriters::start([Site::shop_at(self.site.old.port()), Site::shop_at(self.site.new.port())])
    }

    /// Begins a crossing away from a server, and waits until it stands at a place.
    pub async fn cross_until(&self, home: usize, place: &str) -> (Child, Standing) {
        let stops = self.site.dir.join("stops");
        let standing = Standing { reached: stops.join(format!("{place}.reached")) };
        std::fs::write(stops.join(place), "").unwrap();
        let mut crossing = self.site.begin(&[if home == 0 { "cutover" } else { "rollback" }]);
        let begun = Instant::now();
        while !standing.reached.exists() {
            if crossing.try_wait().unwrap().is_some() {
                panic!("{place}: {}", said(&crossing.wait_with_output().unwrap()));
            }
            assert!(begun.elapsed() < PATIENCE, "{place} is not reached");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        (crossing, standing)
    }

    /// A stream that found no room has stopped, and says what to do: that is done. Whether it was so.
    pub fn start_again_if_it_found_no_room(&mut self) -> bool {
        let status = self.site.status().map(|status| status["moves"][0].clone()).unwrap_or_default();
        if status["state"] != "stopped" {
            return false;
        }
        let hint = status["trouble"]["hint"].as_str().unwrap_or_default();
        assert_eq!(hint, "free disk space on the target, then start again", "{status}");
        self.serve.kill_nine();
        self.serve = self.site.start("serve");
        true
    }

    /// Waits until a crossing would begin.
    pub async fn ready(&self) {
        let site = &self.site;
        let begun = Instant::now();
        loop {
            let status = site.status().map(|status| status["moves"][0].clone());
            let command =
                if status.as_ref().is_some_and(|s| s["serving"] == "new") { "rollback" } else { "cutover" };
            let answer = site.run(&[command, "--dry-run", "--json"]);
            let rails: Value = serde_json::from_slice(&answer.stdout).unwrap_or_default();
            let missing: Vec<&Value> = rails["guardrails"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|g| g["holds"] != true && g["warning"] != true)
                .collect();
            // What a server that stood still has missed is proven again by then, but for what is being written.
            let proven =
                status.as_ref().is_some_and(|s| s["proof"]["keys_in_flight"].as_u64() < Some(KEYS_IN_FLIGHT));
            if answer.status.success() && missing.is_empty() && proven {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no crossing can begin: {missing:?} {}", said(&answer));
            if missing.iter().any(|g| g["name"] == "proof") {
                // A process that was restarted has proven nothing yet; it may not be ready for that either.
                site.run(&["verify"]);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The server that serves by the journal, the status and the servers themselves, which must agree.
    pub async fn known_state(&self) -> usize {
        let site = &self.site;
        site.wait_for(&["following", "switched"]);
        let journal = std::fs::read_to_string(site.dir.join("state/shop.journal")).unwrap();
        let events = journal.lines().map(|line| serde_json::from_str::<Event>(line).unwrap());
        let state = events.fold(State::default(), |state, event| state.next(&event).unwrap());
        assert!(format!("{:?}", state.step) == "Steady", "{state:?}");
        let by_journal = usize::from(state.home == Home::New);
        let serving = site.status().unwrap()["moves"][0]["serving"].clone();
        assert_eq!(serving, ["old", "new"][by_journal], "the status and the journal disagree");
        for (server, node) in [&site.old, &site.new].into_iter().enumerate() {
            let flags = "SELECT @@GLOBAL.read_only, @@GLOBAL.super_read_only, (SELECT COUNT(*) FROM \
                     performance_schema.persisted_variables WHERE VARIABLE_VALUE = 'ON'), \
                     (SELECT COUNT(*) FROM information_schema.SCHEMATA_EXTENSIONS WHERE OPTIONS <> ''), \
                     (SELECT COUNT(*) FROM mysql.user WHERE User = 'shop' AND account_locked = 'Y'), \
                     (SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_NAME LIKE 'highwater\\_fence\\_%')";
            let row = site.on(node).await.row(flags).await.unwrap().unwrap();
            let expected = match (server == by_journal, self.fence) {
                (true, _) => ["0", "0", "0", "0", "0", "0"],
                (false, Fence::Server) => ["1", "0", "1", "0", "0", "0"],
                (false, Fence::Schemas) => ["0", "0", "0", "0", "1", "0"],
                (false, Fence::Tables) => ["0", "0", "0", "0", "0", "3"],
            };
            let seen: Vec<String> = (0..6).map(|flag| row.text(flag)).collect();
            assert_eq!(seen, expected, "server {server} of {by_journal}");
            // What the server would begin with after a restart: it does not always say so itself.
            let kept = std::fs::read_to_string(node.data().join("mysqld-auto.cnf")).unwrap_or_default();
            let would_be_fenced = kept.contains(r#"read_only": {"Value": "ON""#);
            assert_eq!(would_be_fenced, expected[2] == "1", "server {server} of {by_journal}: {kept}");
        }
        by_journal
    }

    pub fn node(&mut self, server: usize) -> &mut Node {
        if server == 0 { &mut self.site.old } else { &mut self.site.new }
    }

    /// Breaks it, lets the crossing go on, and mends it.
    pub async fn break_and_mend(
        &mut self,
        fault: Fault,
        (source, target): (usize, usize),
        go_on: impl FnOnce(),
    ) {
        match fault {
            Fault::ControllerKilled => {
                self.serve.kill_nine();
                go_on();
                self.serve = self.site.start("serve");
            }
            Fault::SourceKilled => self.kill_and_restart(source, go_on).await,
            Fault::TargetKilled => self.kill_and_restart(target, go_on).await,
            Fault::SourceRestarted => {
                self.node(source).restart().unwrap();
                go_on();
            }
            Fault::CutToSource => self.cut(source, go_on).await,
            Fault::CutToTarget => self.cut(target, go_on).await,
            Fault::TargetFull => {
                let full = Full::fill(self, target).await;
                go_on();
                tokio::time::sleep(CUT_FOR).await;
                full.free(self, AfterFull::Restarted).await;
            }
            Fault::Flood => {
                let clients: Vec<_> =
                    (0..FLOOD).map(|n| tokio::spawn(buy(self.site.through_door(), n))).collect();
                // Until most of them stand before the door, or are through.
                tokio::time::sleep(Duration::from_millis(200)).await;
                go_on();
                for client in clients {
                    client.await.unwrap();
                }
            }
        }
    }

    async fn kill_and_restart(&mut self, server: usize, go_on: impl FnOnce()) {
        self.node(server).kill_nine().unwrap();
        go_on();
        // Time to notice, and to try in vain.
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.node(server).restart().unwrap();
    }

    async fn cut(&self, server: usize, go_on: impl FnOnce()) {
        self.wires[server].silence();
        go_on();
        tokio::time::sleep(CUT_FOR).await;
        self.wires[server].mend();
    }
}

fn write_settings(site: &Site, wires: &[Relay; 2], fence: Fence) {
    let ports = (wires[0].port(), wires[1].port());
    // Lines of the section of the move, after those that name its tables.
    let tables = match fence {
        Fence::Server => "shop.*".to_owned(),
        Fence::Schemas => {
            format!("shop.*']\nfence = 'schemas'\nfence_accounts = ['{}@%", sandbox::SHOP_USER)
        }
        // One of many tables, and the one account that uses it.
        Fence::Tables => format!("shop.beside']\nfence = 'tables'\nusers = ['{}", sandbox::SHOP_USER),
    };
    site.write_settings_between(sandbox::ADMIN_USER, ports, &tables, SETTINGS);
}

/// A crossing that stands still.
pub struct Standing {
    reached: PathBuf,
}

impl Standing {
    pub fn go_on(self) {
        std::fs::remove_file(self.reached).unwrap();
    }
}

/// What a command said in a line.
pub fn said(output: &Output) -> String {
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let telling = |line: &&str| line.starts_with("error:") || line.contains("serves");
    text.lines().find(telling).or(text.lines().last()).unwrap_or_default().to_owned()
}

/// A client of the flood: it may wait, and must not fail.
async fn buy(door: mysql::ConnectOptions, number: u64) {
    let mut connection = Connection::connect(&door).await.expect("a client of the flood gets in");
    let id = fastrand::u64(1 << 44..1 << 54) * FLOOD + number;
    let sql = format!("INSERT INTO beside VALUES ({id}, 9)");
    connection.execute(sql).await.expect("a client of the flood is served");
}
