//! Random sessions through a door that shares a few backends, beside the same sessions on a server of their own each: every
//! byte of every answer is the same.
//!
//! Named exceptions: the ids of prepared statements (also in the texts of errors 1243 and 1421), the number of warnings
//! that pings and changes of schema repeat, what `SHOW ERRORS` says after an error of the door's own, and answers that the door refuses to give (error 1105, "cannot be
//! told any more"), which must be refused and not wrong. `HIGHWATER_FUZZ_SEED` repeats a run, `HIGHWATER_FUZZ_STEPS` makes
//! it longer (commands per client).

#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use mysql::{Capabilities, ConnectOptions, Connection, Password};
use proxy::{Door, DoorOptions};
use sandbox::{SHOP_PASSWORD, SHOP_USER};
use tokio::task::LocalSet;
use wire::command::Command;
use world::{admin, block_on, node, options};

const CLIENTS: usize = 24;
const BACKENDS: usize = 6;
/// Clients that also do what pins them: fewer than backends, or nobody else would get any.
const PINNING: usize = 3;

/// A small generator of random numbers (xorshift): the same everywhere from the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

#[derive(Debug, Clone)]
enum Action {
    Query(String),
    Simple(Command, Vec<u8>),
    Prepare(String),
    /// A prepared statement by its number, flags, whether the types are sent, the parameter.
    Execute(usize, u8, bool, u32),
    Fetch(usize, u32),
    Reset(usize),
    Close(usize),
    ResetConnection,
}

/// What a client does; only to tables of its own, so that it does not matter who is faster.
fn script(random: &mut Random, client: usize, steps: usize) -> Vec<Action> {
    let pins = client < PINNING;
    let mut actions = Vec::new();
    let mut prepared = 0;
    // No driver leaves the types out the first time.
    let mut typed = std::collections::HashSet::new();
    while actions.len() < steps {
        let table = format!("t{client}");
        let (id, small) = (random.below(30), random.below(5));
        let query = |sql: String| Action::Query(sql);
        let action = match random.below(if pins { 46 } else { 40 }) {
            0..=3 => query(format!("SELECT * FROM {table} ORDER BY id LIMIT {id}")),
            4 | 5 => query(format!("INSERT INTO {table} (name) VALUES ('é {small}')")),
            6 => query(format!("INSERT INTO {table} (id, name) VALUES ({id}, 'x')")),
            7 => query(format!("INSERT INTO {table} (name) VALUES ('a'), ('b')")),
            8 => query(format!("UPDATE {table} SET name = 'y{small}' WHERE id < {id}")),
            9 => query(format!("DELETE FROM {table} WHERE id = {id}")),
            10 | 11 => query("SELECT LAST_INSERT_ID(), @@identity".into()),
            12 => query(format!("UPDATE {table} SET n = LAST_INSERT_ID(n + 1) WHERE id = {id}")),
            13 => query(random.of(&["SHOW WARNINGS", "SHOW COUNT(*) WARNINGS", "SELECT @@warning_count, @@error_count", "SHOW ERRORS"]).into()),
            14 => query(random.of(&["SELECT 1 / 0", "SELECT CAST('x' AS SIGNED), 'é'", "SELECT nonsense", "DROP TABLE IF EXISTS nosuch", "SELEC"]).into()),
            15 => query("BEGIN".into()),
            16 | 17 => query(random.of(&["COMMIT", "ROLLBACK", "SAVEPOINT s", "SET autocommit = 1"]).into()),
            18 => query(random.of(&["SET autocommit = 0", "SET TRANSACTION READ ONLY", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "START TRANSACTION READ ONLY"]).into()),
            19 => query(random.of(&["SET NAMES latin1", "SET NAMES utf8mb4", "SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SET character_set_results = NULL", "SET character_set_connection = latin1", "SET CHARACTER SET latin1"]).into()),
            20 => query(random.of(&["SET time_zone = '+03:00'", "SET time_zone = DEFAULT", "SET sql_mode = 'ANSI_QUOTES'", "SET sql_mode = DEFAULT", "SET sql_mode = 'NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'"]).into()),
            21 => query(random.of(&["SET optimizer_switch = 'mrr=off'", "SET sql_select_limit = 3", "SET sql_select_limit = DEFAULT", "SET div_precision_increment = 7", "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET foreign_key_checks = 0, unique_checks = 0", "SET max_error_count = 0", "SET last_insert_id = 12345"]).into()),
            22..=24 => query("SELECT @@time_zone, @@sql_mode, @@sql_select_limit, @@optimizer_switch, @@div_precision_increment, @@autocommit, \
                              @@transaction_isolation, @@foreign_key_checks, @@character_set_client, @@character_set_results, \
                              @@collation_connection, @@max_error_count, DATABASE(), LAST_INSERT_ID(), 'é', FROM_UNIXTIME(0), 1 / 3".into()),
            25 => query(random.of(&["USE other", "USE shop", "USE nosuch"]).into()),
            26 => Action::Simple(Command::INIT_DB, random.of(&["other", "shop"]).as_bytes().to_vec()),
            27 => Action::Simple(Command::PING, Vec::new()),
            28 => query("SELECT \"a\" || 'b\\'".into()),
            29 if random.below(3) == 0 => {
                prepared = 0;
                typed.clear();
                Action::ResetConnection
            }
            30..=32 => {
                prepared += 1;
                Action::Prepare(match random.below(4) {
                    0 => format!("SELECT id, name, n, ? FROM {table} ORDER BY id"),
                    1 => format!("INSERT INTO {table} (name) VALUES (CONCAT('p', ?))"),
                    // No literal text: the server reads a text again, in the character set of the moment, when the
                    // types of its parameters turn out to be others than it had guessed.
                    2 => "SELECT ?, @@time_zone, DATABASE()".into(),
                    _ => format!("UPDATE {table} SET n = n + 1 WHERE id > ?"),
                })
            }
            33..=36 if prepared > 0 => {
                let n = random.below(prepared);
                Action::Execute(n, 0, typed.insert(n) || random.below(3) > 0, id as u32)
            }
            37 if prepared > 0 => match random.below(6) {
                0 => Action::Reset(random.below(prepared)),
                1 => Action::Close(random.below(prepared)),
                // A cursor, in the old dialect; `fidelity.rs` has the new one.
                _ if client % 3 != 1 => Action::Reset(random.below(prepared)),
                _ => {
                    let n = random.below(prepared);
                    actions.push(Action::Execute(n, 1, true, 3));
                    actions.push(Action::Fetch(n, 2));
                    // The server answers oddly when the same statement is executed without a cursor after that.
                    Action::Close(n)
                }
            },
            38 if pins => query(random.of(&["SELECT ROW_COUNT()", "SELECT FOUND_ROWS()", "SELECT SQL_CALC_FOUND_ROWS 1 UNION SELECT 2 LIMIT 1"]).into()),
            39 => query(format!("SELECT 1; UPDATE {table} SET n = 0; SELECT ROW_COUNT(); SELECT bad; SELECT 2")),
            40 => query("SET @a = 5, @b = 'x'".into()),
            41 => query("SELECT @a, @b".into()),
            42 => query("CREATE TEMPORARY TABLE IF NOT EXISTS tmp (i INT)".into()),
            43 => query("SELECT COUNT(*) FROM tmp".into()),
            44 => query(format!("SELECT GET_LOCK('lock {client}', 0), IS_USED_LOCK('lock {client}') = CONNECTION_ID()")),
            45 => query("CALL shop.p()".into()),
            _ => query("SELECT 1".into()),
        };
        actions.push(action);
    }
    actions
}

/// One of the two sessions.
struct Session {
    connection: Connection,
    deprecate_eof: bool,
    /// Statement ids, by number; `None` once closed.
    prepared: Vec<Option<[u8; 4]>>,
}

impl Session {
    async fn open(port: u16, capabilities: Capabilities, collation: u8) -> Self {
        let mut options = ConnectOptions::new("127.0.0.1", port, SHOP_USER, Password::new(SHOP_PASSWORD));
        options.schema = Some(b"shop".to_vec());
        options.capabilities = capabilities;
        options.collation = collation;
        let connection = Connection::connect(&options).await.unwrap();
        Self {
            connection,
            deprecate_eof: capabilities.has(Capabilities::DEPRECATE_EOF),
            prepared: Vec::new(),
        }
    }

    async fn packet(&mut self) -> Vec<u8> {
        self.connection.read_packet().await.unwrap().to_vec()
    }

    /// Carries an action out and returns the answer's packets.
    async fn act(&mut self, action: &Action) -> Vec<Vec<u8>> {
        let id = |n: usize, all: &[Option<[u8; 4]>]| all.get(n).copied().flatten().unwrap_or([0xEE; 4]);
        let (command, body) = match action {
            Action::Query(sql) => (Command::QUERY, sql.as_bytes().to_vec()),
            Action::Simple(command, body) => (*command, body.clone()),
            Action::ResetConnection => (Command::RESET_CONNECTION, Vec::new()),
            Action::Prepare(text) => (Command::STMT_PREPARE, text.as_bytes().to_vec()),
            Action::Execute(n, flags, typed, parameter) => {
                let types: &[u8] = if *typed { b"\x00\x01\x03\x00" } else { b"\x00\x00" };
                let id = id(*n, &self.prepared);
                (
                    Command::STMT_EXECUTE,
                    [&id[..], &[*flags], b"\x01\0\0\0", types, &parameter.to_le_bytes()].concat(),
                )
            }
            Action::Fetch(n, rows) => {
                (Command::STMT_FETCH, [id(*n, &self.prepared), rows.to_le_bytes()].concat())
            }
            Action::Reset(n) => (Command::STMT_RESET, id(*n, &self.prepared).to_vec()),
            Action::Close(n) => (Command::STMT_CLOSE, id(*n, &self.prepared).to_vec()),
        };
        self.connection.send_command(command, &body).await.unwrap();
        match action {
            Action::Close(n) => {
                if let Some(slot) = self.prepared.get_mut(*n) {
                    *slot = None;
                }
                Vec::new()
            }
            Action::Prepare(_) => self.prepare_answer().await,
            Action::Fetch(..) => self.rows(Vec::new()).await.0,
            Action::ResetConnection => {
                self.prepared.clear();
                vec![self.packet().await]
            }
            Action::Simple(..) | Action::Reset(_) => vec![self.packet().await],
            Action::Query(_) | Action::Execute(..) => self.results().await,
        }
    }

    async fn prepare_answer(&mut self) -> Vec<Vec<u8>> {
        let mut first = self.packet().await;
        if first[0] != 0 {
            self.prepared.push(None);
            return vec![first];
        }
        self.prepared.push(first[1..5].try_into().ok());
        // The id is each side's own.
        first[1..5].fill(0);
        let count = |at: usize| usize::from(u16::from_le_bytes([first[at], first[at + 1]]));
        let groups = [count(5), count(7)].into_iter().filter(|n| *n > 0);
        let more: usize = groups.map(|n| n + usize::from(!self.deprecate_eof)).sum();
        let mut all = vec![first];
        for _ in 0..more {
            all.push(self.packet().await);
        }
        all
    }

    async fn results(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let first = self.packet().await;
            let head = first[0];
            all.push(first.clone());
            let more = match head {
                0xFF => false,
                0 => more_results(ok_status(&first)),
                columns => {
                    for _ in 0..columns {
                        all.push(self.packet().await);
                    }
                    let mut cursor = false;
                    if !self.deprecate_eof {
                        let eof = self.packet().await;
                        cursor = eof[3] & 0x40 != 0;
                        all.push(eof);
                    }
                    if cursor {
                        false
                    } else {
                        let (rows, more) = self.rows(std::mem::take(&mut all)).await;
                        all = rows;
                        more
                    }
                }
            };
            if !more {
                return all;
            }
        }
    }

    /// Rows to their end, and whether another result follows.
    async fn rows(&mut self, mut all: Vec<Vec<u8>>) -> (Vec<Vec<u8>>, bool) {
        loop {
            let packet = self.packet().await;
            all.push(packet.clone());
            match packet[0] {
                0xFF => return (all, false),
                0xFE if self.deprecate_eof => return (all, more_results(ok_status(&packet))),
                0xFE if packet.len() < 9 => return (all, packet[3] & 8 != 0),
                _ => {}
            }
        }
    }
}

fn more_results(status: u16) -> bool {
    status & 8 != 0
}

fn ok_status(packet: &[u8]) -> u16 {
    let mut r = wire::Reader::new(packet);
    r.u8("head").unwrap();
    r.lenenc_int("rows").unwrap();
    r.lenenc_int("id").unwrap();
    r.u16("status").unwrap()
}

/// Takes out of an answer what may differ.
fn without_ids(action: &Action, mut answer: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    if matches!(action, Action::Simple(..)) && answer.iter().all(|p| p[0] == 0) {
        answer.iter_mut().for_each(|ok| ok.truncate(5));
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
    let steps = setting("HIGHWATER_FUZZ_STEPS", 120) as usize;
    println!("HIGHWATER_FUZZ_SEED={seed} HIGHWATER_FUZZ_STEPS={steps}");
    let (direct_node, behind) = (node("direct", 1, &[]), node("behind", 1, &[]));
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
    let door = Door::start(DoorOptions {
        backends_max: BACKENDS,
        queue_max: Duration::from_secs(60),
        ..options(&behind)
    })
    .unwrap();
    let (direct, port) = (direct_node.port(), door.address().port());
    block_on(LocalSet::new().run_until(async {
        let tasks: Vec<_> = (0..CLIENTS)
            .map(|client| {
                tokio::task::spawn_local(async move {
                    let mut random = Random(seed.wrapping_mul(client as u64 * 2 + 3) | 1);
                    let actions = script(&mut random, client, steps);
                    let capabilities = [
                        Capabilities::DEPRECATE_EOF | Capabilities::MULTI_STATEMENTS | Capabilities::PS_MULTI_RESULTS,
                        Capabilities::MULTI_STATEMENTS | Capabilities::PS_MULTI_RESULTS,
                        Capabilities::DEPRECATE_EOF | Capabilities::MULTI_STATEMENTS | Capabilities::PS_MULTI_RESULTS,
                    ][client % 3];
                    let collation = [45, 45, 255, 8][client % 4];
                    let mut own = Session::open(direct, capabilities, collation).await;
                    let mut shared = Session::open(port, capabilities, collation).await;
                    let mut told = 0;
                    for (step, action) in actions.iter().enumerate() {
                        let right = without_ids(action, own.act(action).await);
                        let got = without_ids(action, shared.act(action).await);
                        if refused(&got) || right == got && given_by_door(&got) {
                            told += usize::from(refused(&got));
                            let after = Action::Query("DO 0".into());
                            assert_eq!(own.act(&after).await, shared.act(&after).await);
                            continue;
                        }
                        if right != got {
                            let text = |answer: &[Vec<u8>]| -> Vec<String> {
                                answer.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect()
                            };
                            let from = step.saturating_sub(12);
                            panic!(
                                "seed {seed}, client {client}, step {step}: {action:?}\nright: {:?}\n  got: {:?}\nbefore: {:#?}",
                                text(&right),
                                text(&got),
                                &actions[from..step]
                            );
                        }
                    }
                    told
                })
            })
            .collect();
        let mut refusals = 0;
        let patience = Duration::from_secs(20 + steps as u64 / 10);
        for task in tasks {
            let done = tokio::time::timeout(patience, task).await;
            refusals += done.unwrap_or_else(|_| panic!("seed {seed} stands still: {:#?}", door.control().sessions())).unwrap();
        }
        let stats = door.control().stats();
        println!("{} commands, {refusals} refused, {} waits", stats.commands, stats.waits);
        assert!(stats.backends <= BACKENDS && stats.waits > 0, "{stats:?}");
        assert!(refusals * 50 < CLIENTS * steps, "{refusals}");
    }));
}
