//! Through the door every byte is as without it, in both dialects of the protocol.
//!
//! Each command is sent with a marker query right behind it, so that the end of its answer is known without parsing
//! it; that also has two commands under way at a time.

#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use mysql::{Capabilities, ConnectOptions, Connection, Stream, Tls, TlsFiles, TlsMode};
use proxy::{Backend, Door, DoorOptions, DoorTls, Entrance, Rules};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use world::{admin, backend, block_on, node, options, rules, shop_at};

const MARK: &[u8] = b"the-end-of-the-answer";

struct Raw {
    runtime: Runtime,
    stream: Stream,
    deprecate_eof: bool,
}

impl Raw {
    fn connect(port: u16, capabilities: Capabilities, tls: &Tls) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = ConnectOptions { tls: tls.clone(), ..shop_at(port, capabilities) };
        let (stream, rest) = runtime.block_on(Connection::connect(&options)).unwrap().into_stream();
        assert!(rest.is_empty());
        assert_eq!(stream.is_tls(), tls.mode() != TlsMode::Off);
        Self { runtime, stream, deprecate_eof: capabilities.has(Capabilities::DEPRECATE_EOF) }
    }

    /// Sends a command and the marker query; returns everything up to the marker's end.
    fn ask(&mut self, payload: &[u8]) -> Vec<u8> {
        let (mut out, mut seq) = (Vec::new(), 0);
        wire::packet::frame(&mut out, &mut seq, payload);
        let mark = [b"\x03SELECT '", MARK, b"' AS m"].concat();
        seq = 0;
        wire::packet::frame(&mut out, &mut seq, &mark);
        let end = MARK.len() + if self.deprecate_eof { 11 } else { 9 };
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let reading = async {
            let mut got = Vec::new();
            loop {
                let before = got.len();
                let read = tokio::time::timeout(Duration::from_secs(30), reader.read_buf(&mut got)).await;
                assert!(read.expect("an answer in time").unwrap() > 0, "closed after {before} bytes");
                let from = got.len().saturating_sub(end + 1);
                if got.len() >= end
                    && got[from..].windows(MARK.len()).any(|w| w == MARK)
                    && got[got.len() - end..].starts_with(MARK)
                {
                    return got;
                }
            }
        };
        let both = async { tokio::join!(async { writer.write_all(&out).await.unwrap() }, reading).1 };
        self.runtime.block_on(both)
    }
}

fn commands() -> Vec<(String, Vec<u8>)> {
    let query = |sql: &str| (sql.chars().take(70).collect(), [b"\x03", sql.as_bytes()].concat());
    let mut all: Vec<(String, Vec<u8>)> = [
        "SELECT * FROM types ORDER BY id",
        "SELECT * FROM types WHERE id < 0",
        "INSERT INTO item (name) VALUES ('a'), ('b')",
        "UPDATE item SET name = 'z' WHERE id <= 3",
        "DELETE FROM item WHERE id > 100",
        "SELECT nonsense",
        "SELECT 1 / 0, CAST('x' AS SIGNED)",
        "SHOW WARNINGS",
        "CALL several()",
        "CALL fails()",
        "SELECT 1; UPDATE item SET name = 'y' WHERE id = 1; SELECT * FROM item LIMIT 3; SELECT bad; SELECT 2",
        "SET NAMES latin1",
        "SELECT 'é'",
        "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
        "USE information_schema",
        "SELECT DATABASE()",
        "USE shop",
        "BEGIN",
        "UPDATE item SET name = 'q'",
        "ROLLBACK",
        "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE item",
        // Rows around the packet maximum: a cell's length takes four bytes, or nine from 2^24 on.
        "SELECT REPEAT('a', 16777210)",
        "SELECT REPEAT('a', 16777211)",
        "SELECT REPEAT('a', 16777212)",
        "SELECT REPEAT('a', 16777216)",
        "SELECT REPEAT('a', 16777215), REPEAT('b', 16777215), 3",
        "SELECT a.id, a.name, b.name FROM item a, item b, item c LIMIT 300000",
        "SET @a = 5",
        "SELECT @a",
        "KILL QUERY 4000000000",
    ]
    .map(query)
    .into();
    for len in [100_000, 0xFF_FFFF - 16, 0xFF_FFFF - 15, 20_000_000] {
        all.push(query(&format!("SELECT LENGTH('{}')", "c".repeat(len))));
    }
    let raw = |name: &str, payload: &[u8]| (name.to_owned(), payload.to_vec());
    let execute = |id: u8, flags: u8, rest: &[u8]| [&[0x17, id, 0, 0, 0, flags, 1, 0, 0, 0], rest].concat();
    let long_data = [&b"\x18\x03\0\0\0\0\0"[..], &vec![b'L'; 17_000_000]].concat();
    all.extend([
        raw("ping", b"\x0e"),
        raw("init db", b"\x02shop"),
        raw("init db, unknown", b"\x02nosuch"),
        raw("field list", b"\x04item\0"),
        raw("field list, unknown", b"\x04nosuch\0"),
        raw("prepare", b"\x16SELECT * FROM types WHERE id > ? ORDER BY id"),
        raw("prepare, plain", b"\x16SELECT 5"),
        raw("prepare, long", b"\x16SELECT LENGTH(?), UPPER(?)"),
        // The server counts this one's id too, the door does not: ids of later ones would differ.
        raw("prepare, bad", b"\x16SELECT bad bad bad"),
        raw("execute", &execute(1, 0, b"\0\x01\x08\0\0\0\0\0\0\0\0\0")),
        raw("execute again", &execute(1, 0, b"\0\x00\x01\0\0\0\0\0\0\0")),
        raw("execute plain", &execute(2, 0, b"")),
        raw("execute with a cursor", &execute(1, 1, b"\0\x00\0\0\0\0\0\0\0\0")),
        raw("fetch", b"\x1c\x01\0\0\0\x01\0\0\0"),
        raw("fetch the rest", b"\x1c\x01\0\0\0\xff\0\0\0"),
        raw("reset statement", b"\x1a\x01\0\0\0"),
        raw("long data", &long_data),
        raw("execute with long data", &execute(3, 0, b"\0\x01\xfc\0\xfd\0\x01x")),
        raw("close", b"\x19\x01\0\0\0"),
        raw("execute a closed one", &execute(1, 0, b"\0\x00\0\0\0\0\0\0\0\0")),
        raw("set option", b"\x1b\x01\x00"),
        query("SELECT 1; SELECT 2"),
        raw("set option back", b"\x1b\x00\x00"),
        query("SELECT @@collation_connection"),
        raw("reset connection", b"\x1f"),
        query("SELECT @@collation_connection, DATABASE()"),
        query("SELECT @a"),
        raw("execute after the reset", &execute(2, 0, b"")),
    ]);
    all
}

/// Compares direct answers, plain, with those through the door, where TLS is on both sides of it or on none.
fn compare(capabilities: Capabilities, mode: TlsMode) {
    let node = node("fidelity", 1, &["--max-allowed-packet=64M"]);
    block_on(async {
        let mut root = admin(&node).await;
        root.query_all(
            "USE shop; SET NAMES utf8mb4; CREATE TABLE types (id INT PRIMARY KEY, a BIGINT UNSIGNED, b DECIMAL(30,10), c FLOAT, d DOUBLE, \
             e DATE, f DATETIME(6), g TIMESTAMP(3), h TIME(6), i YEAR, j CHAR(10), k VARBINARY(300), l TEXT, m JSON, \
             n ENUM('x','y'), o SET('p','q'), p BIT(17), q GEOMETRY, r BLOB); \
             INSERT INTO types VALUES (1, ~0, 12345678901234567890.0123456789, 1.5, -2.25e100, '2024-02-29', \
             '2024-02-29 23:59:59.999999', '2024-01-01 00:00:00.5', '-838:59:59', 2024, 'é', REPEAT(X'FE', 255), \
             REPEAT('t', 300), '{\"a\": [1, null]}', 'y', 'p,q', b'10000000000000001', POINT(1, 2), X'00FF'), \
             (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        )
        .await
        .unwrap();
        root.query("CREATE PROCEDURE shop.several() BEGIN SELECT 1 AS a; SELECT 2, 3; UPDATE shop.item SET name = 'p' \
                    WHERE id = 1; SELECT * FROM shop.item LIMIT 2; END").await.unwrap();
        root.query("CREATE PROCEDURE shop.fails() BEGIN SELECT 1 AS a; SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'; \
                    END").await.unwrap();
    });
    let tls = |mode| Tls::new(mode, TlsFiles::default()).unwrap();
    let pem = |name: &str| node.data().join(name);
    let door_tls = DoorTls::new(&pem("server-cert.pem"), &pem("server-key.pem"), None).unwrap();
    let door = Door::start(DoorOptions {
        writer: Backend { tls: tls(mode), ..backend(&node) },
        rules: Rules { entrance: Entrance { tls: Some(door_tls), ..Entrance::default() }, ..rules() },
        ..options(&node)
    })
    .unwrap();
    let answers = |port: u16, mode: TlsMode| -> Vec<Vec<u8>> {
        // Both begin from the same rows.
        block_on(async {
            let mut root = admin(&node).await;
            root.query_all(
                "TRUNCATE shop.item; INSERT INTO shop.item (name) WITH RECURSIVE n (i) AS (SELECT 1 UNION \
                            ALL SELECT i + 1 FROM n WHERE i < 100) SELECT CONCAT('item ', i) FROM n; \
                            ALTER TABLE shop.item AUTO_INCREMENT = 101",
            )
            .await
            .unwrap();
        });
        let mut raw = Raw::connect(port, capabilities, &tls(mode));
        commands().iter().map(|(_, payload)| raw.ask(payload)).collect()
    };
    let (direct, through) = (answers(node.port(), TlsMode::Off), answers(door.address().port(), mode));
    for (((name, _), direct), through) in commands().iter().zip(&direct).zip(&through) {
        let differs = direct.iter().zip(through).position(|(a, b)| a != b);
        let near = |bytes: &[u8]| {
            let at = differs.unwrap_or(0);
            let from = at.saturating_sub(40).min(bytes.len());
            String::from_utf8_lossy(&bytes[from..(at + 60).min(bytes.len())]).into_owned()
        };
        assert!(
            direct == through,
            "{name}: {} and {} bytes, differing at {differs:?}: {:?} and {:?}",
            direct.len(),
            through.len(),
            near(direct),
            near(through)
        );
    }
}

const NEW: Capabilities = Capabilities(
    Capabilities::DEPRECATE_EOF.0 | Capabilities::MULTI_STATEMENTS.0 | Capabilities::PS_MULTI_RESULTS.0,
);

#[test]
fn results_are_byte_equal_direct_and_through_the_door() {
    compare(NEW, TlsMode::Off);
}

#[test]
fn results_are_byte_equal_under_tls_on_both_hops() {
    compare(NEW, TlsMode::Required);
}

#[test]
fn results_are_byte_equal_in_the_old_dialect() {
    let old = Capabilities::MULTI_STATEMENTS | Capabilities::FOUND_ROWS | Capabilities::PS_MULTI_RESULTS;
    compare(old, TlsMode::Off);
}
