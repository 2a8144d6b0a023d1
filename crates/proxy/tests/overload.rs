//! Clients that take what memory they can get: the door stays within its bound, ends those of them that hold most, and serves the
//! others meanwhile.

#![allow(clippy::unwrap_used)]

mod world;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use mysql::{Capabilities, Connection, Error};
use proxy::{Door, DoorOptions, Rules};
use sandbox::{Node, SHOP_PASSWORD, SHOP_USER};
use tokio::io::AsyncWriteExt;
use tokio::task::{JoinSet, LocalSet};
use wire::auth::{self, CACHING_SHA2};
use wire::command::Command as MySql;
use wire::packet::Header;
use world::raw::{Client, connect_saying};
use world::{block_on, cell, client, node, options, options_of, rules, shop_at, until};

const MAX: usize = 48 << 20;
/// What the process may take beside what it counts: what the allocator loses, and code and data that were not yet used at the start.
const SLACK: usize = 24 << 20;
/// How long a client that behaves may have to wait for its answer, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(5);

/// A door in a process of its own, whose memory can be measured: this test, started again.
struct Apart {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    port: u16,
}

impl Apart {
    fn start(server: u16) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "hoarders_are_ended_and_others_served_within_the_bound", "--nocapture"])
            .env("HIGHWATER_TEST_DOOR_BEFORE", server.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let port = told(&mut stdout, "door at ").parse().unwrap();
        Self { stdin: child.stdin.take(), stdout, port, child }
    }

    fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// Held now, held at most, refused, ended.
    fn figures(&mut self) -> [usize; 4] {
        self.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let line = told(&mut self.stdout, "figures ");
        let mut numbers = line.split(' ').map(|n| n.parse().unwrap());
        std::array::from_fn(|_| numbers.next().unwrap())
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

fn told(stdout: &mut impl BufRead, prefix: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "the door's process has ended");
        // The test's own first words have no end of line.
        if let Some((_, rest)) = line.split_once(prefix) {
            return rest.trim().to_owned();
        }
    }
}

/// The other process: opens the door, and tells its figures for each line until there are no more.
fn be_the_door(server: &str) {
    let writer = proxy::Backend {
        id: "apart".into(),
        host: "127.0.0.1".into(),
        port: server.parse().unwrap(),
        server_key: mysql::ServerKey::FetchOnLoopback,
        tls: mysql::Tls::default(),
    };
    let options =
        DoorOptions { rules: Rules { memory_max: MAX, backends_max: 60, ..rules() }, ..options_of(writer) };
    let door = Door::start(options).unwrap();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "\ndoor at {}", door.address().port()).unwrap();
    let (mut most, mut byte) = (0, [0]);
    while std::io::stdin().read(&mut byte).unwrap() > 0 {
        let stats = door.control().stats();
        most = most.max(stats.memory);
        writeln!(stdout, "figures {} {most} {} {}", stats.memory, stats.memory_refused, stats.memory_ended)
            .unwrap();
    }
}

/// Says how it ended: the error's number, or 0 without a word.
async fn last_words(mut client: Client) -> u16 {
    loop {
        match client.read().await.as_deref() {
            None => return 0,
            Some([0xFF, low, high, ..]) => return u16::from_le_bytes([*low, *high]),
            Some(_) => {}
        }
    }
}

/// Begins a command of so many bytes and sends some of them.
async fn begin_a_giant(mut client: Client, command: &[u8], len: usize, sent: usize) -> u16 {
    let header = Header { len, seq: 0 }.encode();
    let beginning = [&header[..], command, &vec![b'x'; sent]].concat();
    // The door may close before it has read all of that.
    let _ = client.stream.write_all(&beginning).await;
    last_words(client).await
}

/// What a client does to take memory.
#[derive(Debug, Clone, Copy)]
enum Takes {
    Statement,
    Frame,
    LongData,
    Answer,
    Prepared,
}

/// Takes memory until it is ended, and says how that was: the error's number, or 0 without a word.
async fn take(port: u16, takes: Takes) -> u16 {
    // Closed or refused before a greeting.
    let Some(mut client) = Client::over(connect_saying(port, &[]).await).await else { return 1040 };
    let response = auth::caching_sha2_scramble(SHOP_PASSWORD.as_bytes(), &client.greeting.nonce);
    let mut login = client.login(SHOP_USER.as_bytes(), CACHING_SHA2, &response);
    if let Takes::Frame = takes {
        login.capabilities |= Capabilities::COMPRESS;
    }
    if let Some((code, _)) = client.prove(&login.encode(), SHOP_PASSWORD).await.error {
        return code;
    }
    match takes {
        Takes::Statement => begin_a_giant(client, &[0x16], 12 << 20, 1 << 20).await,
        Takes::Frame => {
            // It unpacks to 16 MiB, and is never finished.
            let frame = [&[0xFF, 0xFF, 0x2F, 0, 0xFF, 0xFF, 0xFF][..], &vec![b'x'; 1 << 20]].concat();
            let _ = client.stream.write_all(&frame).await;
            // What it is told comes in a frame, and not what this is about.
            while client.read().await.is_some() {}
            0
        }
        Takes::LongData => {
            client.send_new_command(b"\x16SELECT ?").await;
            let Some(prepared) = client.read().await.filter(|answer| answer[0] == 0) else { return 0 };
            let beginning = [&[0x18], &prepared[1..5], &[0, 0]].concat();
            begin_a_giant(client, &beginning, 12 << 20, 1 << 20).await
        }
        Takes::Answer => {
            client.send_command(b"SELECT REPEAT('x', 4000000)").await;
            std::future::pending().await
        }
        Takes::Prepared => keep_preparing(client).await,
    }
}

/// Prepares long texts until it is refused, and keeps them.
async fn keep_preparing(mut client: Client) -> u16 {
    for n in 0..60 {
        let text = format!("DO {n} -- {}", "x".repeat(150_000));
        client.send_new_command(&[&[0x16], text.as_bytes()].concat()).await;
        match client.read().await.as_deref() {
            None => return 0,
            Some([0xFF, low, high, ..]) => return u16::from_le_bytes([*low, *high]),
            Some(_) => {}
        }
    }
    last_words(client).await
}

/// Does small things for so long; returns how many, and the longest that one took.
async fn behave(mut client: Connection, until: Instant) -> (usize, Duration) {
    let (mut done, mut longest) = (0, Duration::ZERO);
    while Instant::now() < until {
        let began = Instant::now();
        assert_eq!(cell(&mut client, "SELECT name FROM item WHERE id = 7").await, "item 7");
        client.query("UPDATE item SET name = name WHERE id = 8").await.unwrap();
        client.send_command(MySql::STMT_PREPARE, b"SELECT id FROM item WHERE name = ?").await.unwrap();
        let prepared = client.read_packet().await.unwrap();
        assert_eq!(prepared[0], 0, "{}", String::from_utf8_lossy(&prepared));
        // Its parameter, and its column.
        drop((client.read_packet().await.unwrap(), client.read_packet().await.unwrap()));
        client.send_command(MySql::STMT_CLOSE, &prepared[1..5]).await.unwrap();
        longest = longest.max(began.elapsed());
        done += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (done, longest)
}

#[test]
fn hoarders_are_ended_and_others_served_within_the_bound() {
    if let Ok(server) = std::env::var("HIGHWATER_TEST_DOOR_BEFORE") {
        return be_the_door(&server);
    }
    let node = node("overload", 1, &[]);
    let mut door = Apart::start(node.port());
    let port = door.port;
    block_on(LocalSet::new().run_until(async {
        let mut others = Vec::new();
        for _ in 0..8 {
            others.push(client(port, Capabilities::DEPRECATE_EOF).await);
        }
        let before = door.resident();
        let end = Instant::now() + Duration::from_secs(6);
        let mut good = JoinSet::new();
        for other in others {
            good.spawn_local(behave(other, end));
        }
        let mut bad = JoinSet::new();
        for n in 0..60 {
            bad.spawn_local(take(port, Takes::Statement));
            bad.spawn_local(take(port, Takes::Frame));
            if n < 10 {
                for takes in [Takes::LongData, Takes::Answer, Takes::Prepared] {
                    bad.spawn_local(take(port, takes));
                }
            }
        }
        let (mut resident, mut told) = (0, [0; 4]);
        while Instant::now() < end {
            resident = resident.max(door.resident());
            told = door.figures();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (mut done, mut longest) = (0, Duration::ZERO);
        while let Some(one) = good.join_next().await {
            let (n, slowest) = one.unwrap();
            (done, longest) = (done + n, longest.max(slowest));
        }
        let mut codes = std::collections::BTreeMap::<u16, usize>::new();
        while let Some(Ok(code)) = bad.try_join_next() {
            *codes.entry(code).or_default() += 1;
        }
        let [_, most, refused, ended] = told;
        println!(
            "{} MiB more resident, {} MiB counted at most; {refused} refused, {ended} ended, {codes:?}; {done} served, the slowest \
             in {longest:?}",
            (resident - before) >> 20,
            most >> 20
        );
        assert!(resident - before < MAX + SLACK, "{} MiB", (resident - before) >> 20);
        assert!(most <= MAX && most > MAX / 2, "{most}");
        assert!(ended > 0 && codes.get(&1041).is_some_and(|n| *n > 0), "{ended} ended, {codes:?}");
        assert!(longest < DEADLINE && done > 8, "{done} served, the slowest in {longest:?}");
        // When they are gone, all is given back.
        bad.abort_all();
        while bad.join_next().await.is_some() {}
        let kept = 2 * 64 * 64 * 1024 + (2 << 20);
        until("the memory is given back", || door.figures()[0] < kept).await;
    }));
    one_client_too_many_for_the_memory_is_refused_as_by_a_server_that_is_full(&node);
}

fn one_client_too_many_for_the_memory_is_refused_as_by_a_server_that_is_full(node: &Node) {
    let door = Door::start(DoorOptions { rules: Rules { memory_max: 16 << 20, ..rules() }, ..options(node) })
        .unwrap();
    block_on(async {
        let mut held = vec![client(door.address().port(), Capabilities::DEPRECATE_EOF).await];
        door.control().set_rules(Rules { memory_max: 256 << 10, ..rules() });
        let refused = loop {
            match Connection::connect(&shop_at(door.address().port(), Capabilities::DEPRECATE_EOF)).await {
                Ok(one) => held.push(one),
                Err(Error::Login { error, .. } | Error::Server(error)) => break error,
                Err(other) => panic!("{other}"),
            }
            assert!(held.len() < 100);
        };
        assert!(refused.code == 1040 && refused.message.contains("memory_max"), "{refused:?}");
        assert_eq!(door.control().stats().memory_refused, 1);
        // Who is in goes on, and a statement that can never fit is told so.
        assert_eq!(cell(&mut held[0], "SELECT 1").await, "1");
        let long = format!("SELECT {}", "1 + ".repeat(100_000));
        held[0].send_command(MySql::STMT_PREPARE, long.as_bytes()).await.unwrap();
        let too_large = mysql::ErrPacket::parse(&held[0].read_packet().await.unwrap()).unwrap();
        assert!(too_large.code == 1041 && too_large.message.contains("needs more"), "{too_large:?}");
        door.control().set_rules(rules());
        drop(client(door.address().port(), Capabilities::DEPRECATE_EOF).await);
    });
}
