//! A site to move: two servers, the settings of a move between them, and the program as its own process.

#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends where it fails"
)]

pub mod shop;

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use load::{Scale, Shop, ShopperOptions, Shoppers};
use mysql::{ConnectOptions, Connection, Password};
use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Mysqld, Node, NodeOptions, PortLease, SHOP_PASSWORD, SHOP_USER};

/// Rows of the shop: enough for a copy to be interrupted, few enough for a test.
pub const ROWS: u64 = 40_000;

pub struct Site {
    pub old: Node,
    pub new: Node,
    pub dir: PathBuf,
    /// The front door's.
    door: PortLease,
}

/// The program, running; killed when dropped.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// kill -9.
    pub fn kill_nine(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Sends it a signal, by its name without SIG.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits for it to end by itself; its exit code and what it said on stderr.
    pub fn ended(&mut self) -> (Option<i32>, String) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "the program does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut said = String::new();
        std::io::Read::read_to_string(self.0.stderr.as_mut().unwrap(), &mut said).unwrap();
        (self.0.wait().unwrap().code(), said)
    }
}

impl Site {
    /// Servers and settings; `more` are lines of the section `cutover`, and sections after it.
    pub fn new(more: &str) -> Self {
        Self::on_disks([None, None], more)
    }

    /// The same, where the old and the new server have, or have not, a disk of their own of so many bytes.
    pub fn on_disks(disks: [Option<u64>; 2], more: &str) -> Self {
        let mysqld = Mysqld::find().unwrap();
        let [old, new] = [("old", 1, disks[0]), ("new", 2, disks[1])].map(|(name, id, disk)| {
            let options = NodeOptions::new(name).server_id(id).durable();
            let options = match disk {
                // As the fresh data folder has it: else InnoDB is still resizing it when the disk is full, and ends the server.
                Some(bytes) => options.disk(bytes).arg("--innodb-redo-log-capacity=64M"),
                None => options,
            };
            Node::start(&mysqld, options).unwrap()
        });
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("hw-site-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("password"), ADMIN_PASSWORD).unwrap();
        let site = Self { old, new, dir, door: PortLease::free().unwrap() };
        site.write_settings(ADMIN_USER, site.old.port(), "shop.*", more);
        site
    }

    pub fn write_settings(&self, user: &str, old_port: u16, tables: &str, more: &str) {
        self.write_settings_between(user, (old_port, self.new.port()), tables, more);
    }

    /// The same, where the new server is reached by another port too.
    pub fn write_settings_between(&self, user: &str, ports: (u16, u16), tables: &str, more: &str) {
        let (old_port, new_port) = ports;
        let settings = format!(
            "state_dir = 'state'\n\
             [clusters.old]\nhost = '127.0.0.1'\nport = {old_port}\nuser = '{user}'\npassword_file = 'password'\n\
             [clusters.new]\nhost = '127.0.0.1'\nport = {new_port}\nuser = '{ADMIN_USER}'\npassword_file = 'password'\n\
             [moves.shop]\nsource = 'old'\ntarget = 'new'\ntables = ['{tables}']\n\
             [front_door]\nlisten = '127.0.0.1:{}'\ncluster = 'old'\n[cutover]\n{more}\n",
            self.door_port()
        );
        std::fs::write(self.dir.join("highwater.toml"), settings).unwrap();
    }

    fn door_port(&self) -> u16 {
        self.door.port()
    }

    pub async fn with_shop(self) -> Self {
        Shop::create(&self.admin(&self.old), Scale { rows: ROWS }, 7).await.unwrap();
        self
    }

    pub fn admin(&self, node: &Node) -> ConnectOptions {
        ConnectOptions::new("127.0.0.1", node.port(), ADMIN_USER, Password::new(ADMIN_PASSWORD))
    }

    pub async fn on(&self, node: &Node) -> Connection {
        Connection::connect(&self.admin(node)).await.unwrap()
    }

    /// The application's account at a port.
    pub fn shop_at(port: u16) -> ConnectOptions {
        let mut options = ConnectOptions::new("127.0.0.1", port, SHOP_USER, Password::new(SHOP_PASSWORD));
        options.schema = Some(b"shop".to_vec());
        options.collation = 45;
        options
    }

    pub fn through_door(&self) -> ConnectOptions {
        Self::shop_at(self.door_port())
    }

    pub async fn shoppers(&self, connect: ConnectOptions, count: usize) -> Shoppers {
        let mut options = ShopperOptions::new(connect);
        options.shoppers = count;
        options.seed = fastrand::u64(1..1 << 40);
        println!("shoppers' seed: {}", options.seed);
        Shoppers::start(options).await.unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
        // Where a test may stop a crossing; without the folder there is no such place.
        command.args(args).current_dir(&self.dir).env("HIGHWATER_STOP_POINTS", self.dir.join("stops"));
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed; what it printed.
    pub fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail with the three parts; the whole complaint.
    pub fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert_three_parts(&said);
        said
    }

    /// Starts a command that stays.
    pub fn start(&self, command: &str) -> Running {
        self.start_with(&[command])
    }

    /// Starts a command that is waited for later, with what it says.
    pub fn begin(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts a command with arguments that stays.
    pub fn start_with(&self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        Running(child.unwrap())
    }

    pub fn status(&self) -> Option<serde_json::Value> {
        let output = self.run(&["status", "--json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// The state of the move, while the program runs.
    pub fn state(&self) -> String {
        self.status()
            .map(|s| s["moves"][0]["state"].as_str().unwrap_or_default().to_owned())
            .unwrap_or_default()
    }

    /// Waits until the move is in one of these states.
    pub fn wait_for(&self, states: &[&str]) -> String {
        let until = Instant::now() + Duration::from_secs(90);
        loop {
            let state = self.state();
            if states.contains(&state.as_str()) {
                return state;
            }
            assert!(Instant::now() < until, "the move is '{state}', not {states:?}: {:?}", self.status());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until every row is proven equal but for keys in flight; the status of the proof.
    pub fn proven(&self) -> serde_json::Value {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let proof = self.status().map(|s| s["moves"][0]["proof"].clone()).unwrap_or_default();
            if proof["proven_as_of"].is_string() {
                return proof;
            }
            assert!(Instant::now() < until, "not proven: {:?}", self.status());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the next process would find a proof on the side that follows.
    pub async fn proof_is_kept(&self, follows: &Node) {
        let (until, mut server) = (Instant::now() + Duration::from_secs(30), self.on(follows).await);
        while server.rows("SELECT 1 FROM highwater.proofs").await.unwrap().is_empty() {
            assert!(Instant::now() < until, "no proof is kept: {:?}", self.status());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the new server has everything the old one has.
    pub async fn caught_up(&self) {
        let mut old = self.on(&self.old).await;
        let wanted = old.row("SELECT @@GLOBAL.gtid_executed").await.unwrap().unwrap().text(0);
        let until = Instant::now() + Duration::from_secs(60);
        let mut new = self.on(&self.new).await;
        loop {
            // A row for each lane; what is applied is their union.
            let applied =
                "SELECT IFNULL(GROUP_CONCAT(applied), '') FROM highwater.ledger WHERE applied <> ''";
            let applied = new.row(applied).await.unwrap().unwrap().text(0);
            let sql = format!("SELECT GTID_SUBSET('{wanted}', '{applied}')");
            if old.row(sql).await.unwrap().unwrap().text(0) == "1" {
                return;
            }
            assert!(Instant::now() < until, "not caught up: {applied} of {wanted}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Compares every row and column of the shop by what the two servers say; empty if equal.
    pub async fn difference(&self) -> String {
        self.difference_in("shop", 11).await
    }

    /// The same for any schema, which must have at least so many tables.
    pub async fn difference_in(&self, schema: &str, tables_min: usize) -> String {
        let (mut old, mut new) = (self.on(&self.old).await, self.on(&self.new).await);
        let setting = "SET time_zone='+00:00'";
        old.execute(setting).await.unwrap();
        new.execute(setting).await.unwrap();
        let list = format!(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA='{schema}' ORDER BY 1"
        );
        let tables: Vec<String> = old.rows(list).await.unwrap().iter().map(|r| r.text(0)).collect();
        assert!(tables.len() >= tables_min);
        let mut found = String::new();
        for table in tables {
            let sql = format!("SELECT * FROM {schema}.`{table}`");
            let mut here = rows(&mut old, &sql).await;
            let mut there = rows(&mut new, &sql).await;
            here.sort_unstable();
            there.sort_unstable();
            if here != there {
                let only_here = here.iter().filter(|r| there.binary_search(r).is_err()).count();
                let only_there = there.iter().filter(|r| here.binary_search(r).is_err()).count();
                found += &format!("{table}: {only_here} rows only on old, {only_there} only on new; ");
            }
        }
        found
    }
}

async fn rows(connection: &mut Connection, sql: &str) -> Vec<Vec<Option<Vec<u8>>>> {
    let rows = connection.rows(sql).await.unwrap();
    rows.iter().map(|row| (0..row.len()).map(|i| row.bytes(i).map(<[u8]>::to_vec)).collect()).collect()
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub fn assert_three_parts(said: &str) {
    for part in ["error: ", "state: ", "hint:  "] {
        let line = said.lines().find(|l| l.starts_with(part));
        assert!(line.is_some_and(|l| l.len() > part.len()), "no {part:?} in {said}");
    }
}
