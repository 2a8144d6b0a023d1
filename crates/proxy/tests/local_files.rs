//! `LOAD DATA LOCAL` through the door: refused clearly, or carried whole.

#![allow(clippy::unwrap_used)]

mod world;

use std::path::Path;
use std::time::Duration;

use mysql::{Capabilities, Connection, Error};
use proxy::{Door, DoorOptions, PinnedPolicy, Rules, SessionPhase, Terms};
use sandbox::{Node, SHOP_USER};
use world::{admin, backend, block_on, cell, client, mysql_client, node, options, rules, until};

const SENDS_FILES: Capabilities = Capabilities(
    Capabilities::DEPRECATE_EOF.0 | Capabilities::LOCAL_FILES.0 | Capabilities::MULTI_STATEMENTS.0,
);
const LOAD: &str = "LOAD DATA LOCAL INFILE 'x' INTO TABLE line (text)";

fn open(node: &Node, local_infile: bool, share: bool) -> Door {
    let terms = Terms { local_infile, ..Terms::default() };
    Door::start(DoorOptions { share, rules: Rules { terms, backends_max: 1, ..rules() }, ..options(node) })
        .unwrap()
}

fn lines(node: &Node) -> String {
    block_on(async {
        cell(
            &mut admin(node).await,
            "SELECT CONCAT(COUNT(*), ' ', COALESCE(SUM(LENGTH(text)), 0)) FROM shop.line",
        )
        .await
    })
}

fn prepare(name: &str) -> Node {
    let node = node(name, 1, &["--local-infile=ON"]);
    block_on(async {
        let mut admin = admin(&node).await;
        admin.query("CREATE TABLE shop.line (id INT AUTO_INCREMENT PRIMARY KEY, text LONGTEXT, UNIQUE (text(40)))").await.unwrap();
        admin.query(format!("GRANT ALL ON shop.* TO '{SHOP_USER}'@'%'")).await.unwrap();
    });
    node
}

/// Runs MySQL's own client with these arguments, whether or not it succeeds; what it said.
fn mysql(door: &Door, args: &[&str], sql: &str) -> (bool, String) {
    let out = mysql_client(door, args, sql).output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn load(file: &Path) -> String {
    format!("LOAD DATA LOCAL INFILE '{}' INTO TABLE line (text)", file.display())
}

/// Sends a statement and reads up to the request for a file.
async fn ask(client: &mut Connection, sql: &str) {
    client.send_command(wire::command::Command::QUERY, sql.as_bytes()).await.unwrap();
    let packet = client.read_packet().await.unwrap();
    assert_eq!(packet.first(), Some(&0xFB), "{sql}: {packet:?}");
    assert_eq!(&packet[1..], b"x");
}

/// The rows an OK says were changed, and whether another result follows.
async fn loaded(client: &mut Connection) -> (u64, bool) {
    let packet = client.read_packet().await.unwrap();
    assert_eq!(packet.first(), Some(&0), "{}", String::from_utf8_lossy(&packet));
    let ok = wire::response::OkPacket::parse(&packet, client.capabilities()).unwrap();
    (ok.affected_rows, ok.status.has(wire::capability::Status::MORE_RESULTS_EXISTS))
}

#[test]
fn local_files_are_refused_clearly_or_carried_whole() {
    let node = prepare("files");
    files_are_refused_as_the_server_refuses_them_unless_the_settings_allow_them(&node);
    a_file_is_carried_between_the_statements_around_it_and_a_hold_waits_for_it(&node);
    a_client_that_goes_midway_or_out_of_step_ends_its_statement_only(&node);
}

fn files_are_refused_as_the_server_refuses_them_unless_the_settings_allow_them(node: &Node) {
    let folder = node.data().parent().unwrap().to_path_buf();
    let file = folder.join("lines.txt");
    std::fs::write(&file, "a\nb\nc\n").unwrap();
    let closed = open(node, false, true);
    for args in [&["--local-infile=1"][..], &["--local-infile=0"]] {
        let (well, said) = mysql(&closed, args, &format!("{}; SELECT 'on'", load(&file)));
        assert!(!well && said.contains("ERROR 3948"), "{said}");
    }
    let both = mysql(&closed, &["--local-infile=1", "--force"], &format!("{}; SELECT 'on'", load(&file))).1;
    assert!(both.contains("ERROR 3948") && both.starts_with("on\n"), "the connection goes on: {both}");
    assert_eq!(lines(node), "0 0");
    drop(closed);

    let door = open(node, true, true);
    let (well, said) =
        mysql(&door, &["--local-infile=1"], &format!("{}; SELECT COUNT(*) FROM line", load(&file)));
    assert!(well && said == "3\n", "{said}");
    // One row of more than a packet, and compressed ones.
    let large = folder.join("large.txt");
    for (algorithm, n) in [("uncompressed", 17 << 20), ("zlib", 300_000), ("zstd", 300_001)] {
        std::fs::write(&large, [&vec![b'z'; n][..], b"\n"].concat()).unwrap();
        let compression = format!("--compression-algorithms={algorithm}");
        let args = ["--local-infile=1", "--max-allowed-packet=1G", &compression];
        let sql = format!("DELETE FROM line; {}; SELECT SUM(LENGTH(text)) FROM line", load(&large));
        let (well, said) = mysql(&door, &args, &sql);
        assert!(well && said == format!("{n}\n"), "{args:?}: {said}");
    }
    // The client itself refuses: the door's connection goes on.
    let (well, said) = mysql(
        &door,
        &["--local-infile=1", "--force"],
        &format!("{}; SELECT 'on'", load(Path::new("/no/such"))),
    );
    assert!(said.starts_with("on\n") && said.contains("No such file"), "{well}: {said}");
    assert_eq!(door.control().stats().door_errors, 0);
}

fn a_file_is_carried_between_the_statements_around_it_and_a_hold_waits_for_it(node: &Node) {
    for share in [true, false] {
        let door = open(node, true, share);
        block_on(async {
            let mut a = client(door.address().port(), SENDS_FILES).await;
            let mut other = client(door.address().port(), SENDS_FILES).await;
            let sql = format!("DELETE FROM line; {LOAD}; SELECT COUNT(*) FROM line; {LOAD}");
            a.send_command(wire::command::Command::QUERY, sql.as_bytes()).await.unwrap();
            assert!(loaded(&mut a).await.1);
            for (round, rows, more) in [(0, 2, true), (1, 1, false)] {
                let request = a.read_packet().await.unwrap();
                assert_eq!(request[..], *b"\xFBx", "{request:?}");
                match round {
                    // An empty packet is the file's end; what comes before in pieces is one text.
                    0 => {
                        for piece in ["one\nt", "wo", "\n"] {
                            a.write_packet(piece.as_bytes()).await.unwrap();
                        }
                    }
                    _ => a.write_packet(b"three\n").await.unwrap(),
                }
                a.write_packet(b"").await.unwrap();
                assert_eq!(loaded(&mut a).await, (rows, more), "{round}");
                if more {
                    let mut packets = Vec::new();
                    for _ in 0..4 {
                        packets.push(a.read_packet().await.unwrap());
                    }
                    assert_eq!(packets[2][..], *b"\x012");
                }
            }
            // An error of the statement comes after the file.
            ask(&mut a, LOAD).await;
            a.write_packet(b"three\n").await.unwrap();
            a.write_packet(b"").await.unwrap();
            assert_eq!(a.read_packet().await.unwrap()[..1], [0], "LOCAL makes duplicates warnings");
            assert_eq!(a.rows("SHOW WARNINGS").await.unwrap().len(), 1);
            assert_eq!(cell(&mut other, "SELECT COUNT(*) FROM line").await, "3");

            // A hold waits for who is inside.
            ask(&mut a, LOAD).await;
            let control = door.control();
            control.hold();
            let drained = control.drain(Duration::from_millis(100), PinnedPolicy::Close).await;
            assert_eq!(drained.unwrap_err().open.len(), 1);
            a.write_packet(b"four\n").await.unwrap();
            a.write_packet(b"").await.unwrap();
            assert_eq!(loaded(&mut a).await, (1, false));
            control.drain(Duration::from_secs(10), PinnedPolicy::Close).await.unwrap();
            control.switch(backend(node), control.writer().1 + 1).unwrap();
            control.release();
            assert_eq!(cell(&mut a, "SELECT COUNT(*) FROM line").await, "4");
        });
    }
}

fn a_client_that_goes_midway_or_out_of_step_ends_its_statement_only(node: &Node) {
    let door = open(node, true, true);
    block_on(async {
        let mut other = client(door.address().port(), SENDS_FILES).await;
        other.query("DELETE FROM line").await.unwrap();
        for out_of_step in [false, true] {
            let mut a = client(door.address().port(), SENDS_FILES).await;
            a.query("BEGIN").await.unwrap();
            ask(&mut a, LOAD).await;
            a.write_packet(b"lost\nlo").await.unwrap();
            if out_of_step {
                // Numbered as a new command is.
                a.send_command(wire::command::Command::QUERY, b"COMMIT").await.unwrap();
                let error = a.read_packet().await.unwrap();
                assert_eq!(error[..3], [0xFF, 0x2B, 0x07], "{error:?}");
            }
            until("it is in the statement", || {
                out_of_step
                    || door
                        .control()
                        .sessions()
                        .iter()
                        .any(|s| s.phase == SessionPhase::Transaction || s.phase == SessionPhase::Command)
            })
            .await;
            drop(a);
            until("it is gone", || door.control().stats().clients == 1).await;
            // Its backend is closed, not lent on.
            assert_eq!(cell(&mut other, "SELECT COUNT(*) FROM line").await, "0");
        }
        // Without a transaction it is as without the door.
        let mut counts = Vec::new();
        for port in [node.port(), door.address().port()] {
            other.query("DELETE FROM line").await.unwrap();
            let mut a = client(port, SENDS_FILES).await;
            ask(&mut a, LOAD).await;
            a.write_packet(b"lost\nlo").await.unwrap();
            drop(a);
            let mut admin = admin(node).await;
            let running = "SELECT COUNT(*) FROM performance_schema.processlist WHERE info LIKE 'LOAD DATA%'";
            while cell(&mut admin, running).await != "0" {}
            counts.push(cell(&mut other, "SELECT COUNT(*) FROM line").await);
        }
        assert_eq!(counts[0], counts[1]);
        // Who stalls for longer than the server waits loses its statement, and its backend is free again.
        let mut stalls = client(door.address().port(), SENDS_FILES).await;
        stalls.query("SET SESSION net_read_timeout = 1, SESSION net_retry_count = 1").await.unwrap();
        ask(&mut stalls, LOAD).await;
        stalls.write_packet(b"x\n").await.unwrap();
        let error = stalls.read_packet().await.unwrap();
        assert_eq!(error[..3], [0xFF, 0xDD, 0x07], "2013: {error:?}");
        assert_eq!(cell(&mut other, "SELECT 1").await, "1");
        // Who never said that it sends files is not asked for one.
        let mut plain = client(door.address().port(), Capabilities::DEPRECATE_EOF).await;
        match plain.query(LOAD).await {
            Err(Error::Server(error)) => assert_eq!(error.code, 3948),
            other => panic!("{other:?}"),
        }
        assert_eq!(cell(&mut plain, "SELECT 1").await, "1");
    });
}
