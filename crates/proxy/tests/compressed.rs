//! Clients that compress: MySQL's own and a Rust one, what frames may hold, and what is refused.

#![allow(clippy::unwrap_used)]

mod world;

use mysql_async::prelude::Queryable;
use proxy::{Door, DoorOptions, Rules, Terms};
use sandbox::{Node, SHOP_PASSWORD, SHOP_USER};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::Capabilities;
use wire::auth::CACHING_SHA2;
use wire::compressed::{Algorithm, FRAME_HEADER_LEN, FrameHeader, pack};
use world::raw::Client;
use world::{block_on, door_with, mysql_client, node, options, rules, run, until};

#[test]
fn clients_compress_both_ways() {
    let node = node("compressed", 1, &["--max-allowed-packet=1G"]);
    the_mysql_client_compresses_both_ways(&node);
    mysql_async_compresses_and_becomes_somebody_else(&node);
    frames_and_packets_need_not_begin_together_and_bad_frames_end_the_client(&node);
}

fn mysql(door: &Door, args: &[&str], sql: &str) -> String {
    run(mysql_client(door, args, sql).arg("--max-allowed-packet=1G"))
}

fn the_mysql_client_compresses_both_ways(node: &Node) {
    let certificates = world::certificates::Certificates::make("compressed");
    let tls = proxy::DoorTls::new(&certificates.cert("server"), &certificates.key("server"), None).unwrap();
    let door = door_with(node, proxy::Entrance { tls: Some(tls), ..proxy::Entrance::default() });
    let noise = "SELECT HEX(RANDOM_BYTES(1000)) FROM item a, item b LIMIT 500";
    for (algorithm, tls, sizes) in [
        ("zlib", "DISABLED", [0xFF_FFFF - 5, 0xFF_FFFF - 4, 0xFF_FFFF - 3]),
        ("zstd", "REQUIRED", [0xFF_FFFF - 4, 100_000, 200_000]),
        ("zstd,uncompressed,zlib", "DISABLED", [1000, 2000, 3000]),
    ] {
        let args = [format!("--compression-algorithms={algorithm}"), format!("--ssl-mode={tls}")];
        let args = args.each_ref().map(String::as_str);
        // The server does not see it. Results of one packet less than, equal to and more than 16 MiB.
        let large = sizes.map(|n| format!("SELECT REPEAT('x', {n})")).join("; ");
        let sql = format!("SELECT COUNT(*) FROM item; SHOW STATUS LIKE 'Compression'; {large}; {noise}");
        let out = mysql(&door, &args, &sql);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!((lines[0], lines[1], lines.len()), ("100", "Compression\tOFF", 505), "{args:?}");
        for (line, n) in lines[2..].iter().zip(sizes) {
            assert!(line.len() == n && line.bytes().all(|b| b == b'x'), "{args:?}: {n}");
        }
        assert!(lines[5..].iter().all(|line| line.len() == 2000));
    }
}

fn mysql_async_compresses_and_becomes_somebody_else(node: &Node) {
    let door = door_with(node, proxy::Entrance::default());
    block_on(async {
        let options = mysql_async::OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(door.address().port())
            .user(Some(SHOP_USER))
            .pass(Some(SHOP_PASSWORD))
            .db_name(Some("shop"))
            .max_allowed_packet(Some(1 << 30))
            .compression(mysql_async::Compression::fast())
            .prefer_socket(Some(false));
        let mut c = mysql_async::Conn::new(options).await.unwrap();
        for n in [1, 60, 70_000, 17_000_000] {
            // Prepared, in as many packets and frames as that takes, and back.
            let sent = "äb".repeat(n / 3);
            let back: Option<String> = c.exec_first("SELECT ?", (&sent,)).await.unwrap();
            assert!(back.as_ref() == Some(&sent), "{n}");
        }
        let many: Vec<(u32, String)> =
            c.query("SELECT a.id, b.name FROM item a, item b ORDER BY a.id, b.id").await.unwrap();
        assert_eq!((many.len(), many[9_999].1.as_str()), (10_000, "item 100"));
        let mut results =
            c.query_iter("SELECT 1; SELECT 2 FROM item; DO SLEEP(0.05); SELECT 3").await.unwrap();
        let mut lengths = Vec::new();
        while !results.is_empty() {
            lengths.push(results.collect::<u32>().await.unwrap().len());
        }
        drop(results);
        assert_eq!(lengths.iter().filter(|n| **n > 0).collect::<Vec<_>>(), [&1, &100, &1]);
        assert!(c.query_drop("SELECT nonsense").await.is_err());
        c.change_user(mysql_async::ChangeUserOpts::default()).await.unwrap();
        c.reset().await.unwrap();
        c.ping().await.unwrap();
        assert_eq!(c.query_first::<u32, _>("SELECT 7").await.unwrap(), Some(7));
        c.disconnect().await.unwrap();
    });
}

async fn compressing(door: &Door, capability: Capabilities) -> Client {
    let mut client = Client::connect(door.address().port()).await;
    assert!(client.greeting.capabilities.has(Capabilities::COMPRESS | Capabilities::ZSTD_COMPRESSION));
    let response = wire::auth::caching_sha2_scramble(SHOP_PASSWORD.as_bytes(), &client.greeting.nonce);
    let mut login = client.login(SHOP_USER.as_bytes(), CACHING_SHA2, &response);
    login.capabilities |= capability;
    assert_eq!(client.prove(&login.encode(), SHOP_PASSWORD).await.error, None);
    client
}

fn query(sql: &str) -> Vec<u8> {
    let (mut out, mut seq) = (Vec::new(), 0);
    wire::packet::frame(&mut out, &mut seq, &[&[3], sql.as_bytes()].concat());
    out
}

/// Reads frames until so many bytes are unpacked.
async fn read(client: &mut Client, n: usize, algorithm: Algorithm) -> Vec<u8> {
    let (mut plain, mut header) = (Vec::new(), [0; FRAME_HEADER_LEN]);
    while plain.len() < n {
        client.stream.read_exact(&mut header).await.unwrap();
        let header = FrameHeader::parse(&header);
        let mut body = vec![0; header.len];
        client.stream.read_exact(&mut body).await.unwrap();
        header.unpack(&body, algorithm, &mut plain).unwrap();
    }
    plain
}

fn frames_and_packets_need_not_begin_together_and_bad_frames_end_the_client(node: &Node) {
    let door =
        Door::start(DoorOptions { rules: Rules { backends_max: 4, ..rules() }, ..options(node) }).unwrap();
    block_on(async {
        for (capability, algorithm) in
            [(Capabilities::COMPRESS, Algorithm::Zlib), (Capabilities::ZSTD_COMPRESSION, Algorithm::Zstd)]
        {
            let mut client = compressing(&door, capability).await;
            // Two commands in one frame: both are answered, in order.
            let mut frame = Vec::new();
            pack(
                &mut frame,
                0,
                &[query("DO 1"), query("DO 2 /* and some text, so that it is compressed */")].concat(),
                algorithm,
            );
            client.stream.write_all(&frame).await.unwrap();
            let answers = read(&mut client, 22, algorithm).await;
            assert_eq!(
                (answers.len(), &answers[..5], &answers[11..16]),
                (22, &[7, 0, 0, 1, 0][..], &[7, 0, 0, 1, 0][..])
            );
            // One command in many frames, the first of which holds half a header.
            let sql = query(&format!("DO LENGTH('{}')", "x".repeat(5000)));
            let mut at = 0;
            for (seq, n) in [2, 1, 1, 40, 60, 4000, usize::MAX].into_iter().enumerate() {
                let to = sql.len().min(at + n.min(sql.len()));
                let mut frame = Vec::new();
                pack(&mut frame, seq as u8, &sql[at..to], algorithm);
                client.stream.write_all(&frame).await.unwrap();
                at = to;
            }
            assert_eq!(read(&mut client, 11, algorithm).await[..5], [7, 0, 0, 1, 0]);

            // A bomb, a lie, nonsense, a frame out of order: the client is gone, and nobody else.
            let mut bomb = Vec::new();
            pack(&mut bomb, 0, &vec![0; 0xFF_FFFF], algorithm);
            let header = FrameHeader::parse(bomb.first_chunk().unwrap());
            let body = bomb.split_off(FRAME_HEADER_LEN);
            for (header, body) in [
                (FrameHeader { unpacked_len: 100, ..header }, body.clone()),
                (FrameHeader { len: 60, unpacked_len: 0xFF_FFFF, ..header }, body[..60].to_vec()),
                (FrameHeader { len: 60, unpacked_len: 70, ..header }, vec![0xA5; 60]),
                (FrameHeader { seq: 5, ..header }, body.clone()),
            ] {
                let mut bad = compressing(&door, capability).await;
                let clients = door.control().stats().clients;
                let _ = bad.stream.write_all(&[&header.encode()[..], &body].concat()).await;
                let mut rest = Vec::new();
                let _ = bad.stream.read_to_end(&mut rest).await;
                until("it is gone", || door.control().stats().clients < clients).await;
            }
            let mut frame = Vec::new();
            pack(&mut frame, 0, &query("DO 1"), algorithm);
            client.stream.write_all(&frame).await.unwrap();
            assert_eq!(read(&mut client, 11, algorithm).await.len(), 11);
        }
        // Only where it is granted.
        let terms = Terms { compression: false, ..Terms::default() };
        let plain = Door::start(DoorOptions { rules: Rules { terms, ..rules() }, ..options(node) }).unwrap();
        let client = Client::connect(plain.address().port()).await;
        assert!(!client.greeting.capabilities.has(Capabilities::COMPRESS));
        assert!(!client.greeting.capabilities.has(Capabilities::ZSTD_COMPRESSION));
    });
}
