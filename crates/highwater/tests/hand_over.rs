//! A process takes the place of another one under load: nobody is refused, no statement fails, and no crossing is made past clients that the
//! process before still has.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod site;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use load::{Scale, Shop};
use mysql::{ConnectOptions, Connection};
use serde_json::Value;
use site::{Running, Site};
use tokio::task::JoinSet;
use wire::command::Command;

const PATIENCE: Duration = Duration::from_secs(30);

/// Clients that write through the door as applications do that keep a pool: before a connection is used it is asked whether it is
/// good, and another one takes its place if not. A refused connection or a failed statement ends the test.
struct Pools {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    opened: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Pools {
    fn start(door: &ConnectOptions, count: u64) -> Self {
        let (stop, written, opened) = (Arc::default(), Arc::default(), Arc::default());
        let mut tasks = JoinSet::new();
        for client in 0..count {
            let (stop, written) = (Arc::clone(&stop), Arc::clone(&written));
            tasks.spawn(keep_writing(door.clone(), client, stop, written, Arc::clone(&opened)));
        }
        // And one that keeps nothing.
        let (door, stopped, count) = (door.clone(), Arc::clone(&stop), Arc::clone(&opened));
        tasks.spawn(async move {
            while !AtomicBool::load(&stopped, SeqCst) {
                let mut connection = Connection::connect(&door).await.expect("a client is refused");
                connection.query("SELECT 1").await.expect("a first statement fails");
                count.fetch_add(1, SeqCst);
            }
        });
        Self { stop, written, opened, tasks }
    }

    /// Waits until so many more transactions are through.
    async fn write_more(&self, more: u64) {
        let (begun, until) = (Instant::now(), self.written.load(SeqCst) + more);
        while self.written.load(SeqCst) < until {
            assert!(begun.elapsed() < PATIENCE, "nothing is written any more");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends them; how many transactions were acknowledged.
    async fn end(mut self) -> u64 {
        self.stop.store(true, SeqCst);
        while let Some(task) = self.tasks.join_next().await {
            task.unwrap();
        }
        println!("{} transactions, {} connections", self.written.load(SeqCst), self.opened.load(SeqCst));
        self.written.load(SeqCst)
    }
}

async fn keep_writing(
    door: ConnectOptions,
    client: u64,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    opened: Arc<AtomicU64>,
) {
    let mut pooled: Option<Connection> = None;
    for n in 0_u64.. {
        if stop.load(SeqCst) {
            return;
        }
        let good = match &mut pooled {
            Some(connection) => is_good(connection).await,
            None => false,
        };
        if !good {
            pooled = Some(Connection::connect(&door).await.expect("a client is refused"));
            opened.fetch_add(1, SeqCst);
        }
        let connection = pooled.as_mut().unwrap();
        let id = client * 1_000_000_000 + n;
        for sql in ["BEGIN", &format!("INSERT INTO handed VALUES ({id})"), "COMMIT"] {
            connection.query(sql).await.unwrap_or_else(|error| panic!("client {client}: {sql}: {error}"));
        }
        written.fetch_add(1, SeqCst);
    }
}

async fn is_good(connection: &mut Connection) -> bool {
    let asked = async {
        connection.send_command(Command::PING, b"").await?;
        connection.read_packet().await
    };
    asked.await.is_ok_and(|answer| answer[0] == 0)
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

/// Starts the program with other lines in its section of the front door, once; what it is refused with, or fails at.
fn refused_with(site: &Site, lines: &str) -> String {
    let file = site.dir.join("highwater.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, settings.replace("[front_door]\n", &format!("[front_door]\n{lines}\n"))).unwrap();
    let refused = site.refused(&["serve", "--take-over"]);
    std::fs::write(&file, settings).unwrap();
    refused
}

/// Asks for a hand-over as a process of this protocol would; the answer, and the connection.
fn asks(site: &Site, protocol: u32) -> (Value, BufReader<UnixStream>) {
    let door = site.through_door().port;
    let threads = std::thread::available_parallelism().unwrap();
    let mut stream = UnixStream::connect(site.dir.join("state/highwater.sock")).unwrap();
    let asked = format!(
        r#"{{"request":"hand_over","protocol":{protocol},"listen":"127.0.0.1:{door}","threads":{threads},"of_a_later_version":1}}"#
    );
    stream.write_all(format!("{asked}\n").as_bytes()).unwrap();
    let (mut reader, mut line) = (BufReader::new(stream), String::new());
    reader.read_line(&mut line).unwrap();
    (serde_json::from_str(&line).unwrap(), reader)
}

fn follows(status: &Value) -> bool {
    ["following", "switched"].contains(&status["moves"][0]["state"].as_str().unwrap_or_default())
}

/// Whoever asks and cannot, or goes away, leaves the process as it was.
async fn goes_on_alone(site: &Site, running: &mut Running, pools: &Pools) {
    let refused = refused_with(site, "threads = 7");
    assert!(
        refused.contains("settings of this one say 7") && refused.contains("nothing was stopped"),
        "{refused}"
    );
    let file = site.dir.join("highwater.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, settings.replace("listen = '127.0.0.1:", "listen = '127.0.0.2:")).unwrap();
    let refused = site.refused(&["serve", "--take-over"]);
    assert!(refused.contains("127.0.0.2") && refused.contains("nothing was stopped"), "{refused}");
    std::fs::write(&file, settings).unwrap();
    let (answer, _) = asks(site, 2);
    assert!(answer["failed"]["what"].as_str().unwrap().contains("by protocol 1"), "{answer}");
    assert!(follows(&site.status().unwrap()));

    // Gone when it has heard the offer; then when it has the sockets.
    let (answer, connection) = asks(site, 1);
    assert!(answer["done"]["sockets"].as_u64().unwrap() > 0, "{answer}");
    pools.write_more(20).await;
    drop(connection);
    shows(site, follows);
    let (_, mut connection) = asks(site, 1);
    connection.get_mut().write_all(b"take\n").unwrap();
    connection.read_exact(&mut [0]).unwrap();
    assert!(site.status().is_none());
    pools.write_more(20).await;
    drop(connection);
    shows(site, follows);
    // Killed while it starts the moves, with the sockets and the state directory in its hands.
    let socket = site.dir.join("state/highwater.sock");
    let made = || std::fs::metadata(&socket).and_then(|socket| socket.modified()).ok();
    let before = made().unwrap();
    let mut killed = site.start_with(&["serve", "--take-over"]);
    while made().is_none_or(|now| now == before) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(killed.is_alive());
    killed.kill_nine();
    shows(site, follows);
    pools.write_more(20).await;
    assert!(running.is_alive());
    // One that fails at the last thing it has to do, with the moves begun in it.
    let failed = refused_with(site, "slow = '1s'\nslow_log = 'no/slow.log'");
    assert!(failed.contains("slow log"), "{failed}");
    shows(site, follows);
    // And one that would send clients elsewhere.
    let file = site.dir.join("highwater.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let elsewhere = format!(
        "{settings}[clusters.third]\nhost = '127.0.0.1'\nport = 1\nuser = 'x'\npassword_file = 'password'\n\
        [front_door.schemas]\nthird = 'third'\n"
    );
    std::fs::write(&file, elsewhere).unwrap();
    let refused = site.refused(&["serve", "--take-over"]);
    assert!(
        refused.contains("sends schema third to") && refused.contains("goes to 127.0.0.1:1\n"),
        "{refused}"
    );
    std::fs::write(&file, settings).unwrap();
    let status = shows(site, follows);
    assert_eq!(status["leaving"], serde_json::json!([]));
    pools.write_more(20).await;
    assert!(running.is_alive());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_takes_anothers_place_and_no_client_is_refused_no_statement_fails_and_no_crossing_passes_by()
 {
    let site = Site::new("drain_deadline = '20s'");
    Shop::create(&site.admin(&site.old), Scale { rows: 2_000 }, 7).await.unwrap();
    let mut old = site.on(&site.old).await;
    old.query("CREATE TABLE shop.handed (id BIGINT PRIMARY KEY)").await.unwrap();
    let mut first = site::shop::served(&site).await;
    let door = site.through_door();
    let pools = Pools::start(&door, 4);
    pools.write_more(20).await;
    goes_on_alone(&site, &mut first, &pools).await;

    // A crossing is under way: it waits for a transaction.
    let mut late = Connection::connect(&door).await.unwrap();
    for sql in ["BEGIN", "INSERT INTO handed VALUES (-1)"] {
        late.query(sql).await.unwrap();
    }
    site.proven();
    let crossing = site.begin(&["cutover"]);
    shows(&site, |status| status["door"]["held"].as_u64() > Some(0));
    let refused = site.refused(&["serve", "--take-over"]);
    assert!(refused.contains("another command is at work"), "{refused}");
    late.query("COMMIT").await.unwrap();
    let crossed = crossing.wait_with_output().unwrap();
    assert!(crossed.status.success(), "{}", String::from_utf8_lossy(&crossed.stderr));
    pools.write_more(20).await;

    // The second process; the first keeps an idle client for a while, and one in a transaction.
    let mut idle = Connection::connect(&door).await.unwrap();
    idle.query("SELECT 1").await.unwrap();
    for sql in ["BEGIN", "INSERT INTO handed VALUES (-2)"] {
        late.query(sql).await.unwrap();
    }
    let mut second = site.start_with(&["serve", "--take-over", "--within", "700ms", "--kill-after", "30s"]);
    let status =
        shows(&site, |status| status["leaving"][0]["clients"].as_u64() == Some(1) && follows(status));
    assert_eq!(status["leaving"][0]["pid"], first.id(), "{status}");
    let told = loop {
        match idle.query("SELECT 1").await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => break error,
        }
    };
    assert_eq!(told.server_code(), Some(1053), "{told}");
    assert!(!is_good(&mut idle).await);
    idle = Connection::connect(&door).await.unwrap();
    pools.write_more(20).await;

    // Ids of clients of the other process mean nobody here, and never somebody else; the server's own mean whom they mean.
    let unknown = idle.query(format!("KILL {}", late.id())).await.unwrap_err();
    assert_eq!(unknown.server_code(), Some(1094), "{unknown}");
    assert!(idle.id() > late.id());
    let there = late.row("SELECT CONNECTION_ID()").await.unwrap().unwrap().text(0);
    idle.query(format!("KILL QUERY {there}")).await.unwrap();

    // Not past its clients; when they are gone, it is made.
    site.proven();
    let refused = site.refused(&["rollback"]);
    let left = format!("process {} still has 1 client", first.id());
    assert!(refused.contains(&left), "{refused}");
    let ahead = site.done(&["rollback", "--dry-run"]);
    assert!(ahead.contains(&left) && ahead.contains("earlier processes"), "{ahead}");
    for sql in ["INSERT INTO handed VALUES (-3)", "COMMIT"] {
        late.query(sql).await.unwrap();
    }
    let (code, said) = first.ended();
    assert!(code == Some(0) && said.contains("0 within one"), "{code:?} {said}");
    assert_eq!(site.status().unwrap()["leaving"], serde_json::json!([]));
    site.done(&["rollback"]);

    // Twice more; an idle client that asks before it is told moves too.
    let mut third = site.start_with(&["serve", "--take-over", "--within", "20s"]);
    while is_good(&mut idle).await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (code, said) = second.ended();
    assert!(
        code == Some(0) && said.contains("0 were ended between transactions, 0 within one"),
        "{code:?} {said}"
    );
    let _fourth = site.start_with(&["serve", "--take-over", "--within", "20s"]);
    assert_eq!(third.ended().0, Some(0));
    shows(&site, follows);
    pools.write_more(20).await;
    let written = pools.end().await;
    let rows = old.row("SELECT COUNT(*) FROM shop.handed").await.unwrap().unwrap().text(0);
    assert_eq!(rows.parse::<u64>().unwrap(), written + 3);
    site.caught_up().await;
    assert_eq!(site.difference().await, "");
}
