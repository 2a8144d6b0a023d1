//! Connections of ours under TLS: who is believed, who is told the password, and what travels intact.

#![allow(clippy::unwrap_used)]

#[path = "../../proxy/tests/world/certificates.rs"]
mod certificates;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread::JoinHandle;

use certificates::Certificates;
use mysql::{ConnectOptions, Connection, Error, Password, Stream, Tls, TlsFiles, TlsMode, tls};
use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Mysqld, Node, NodeOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn node(name: &str, args: &[String]) -> Node {
    let mysqld = Mysqld::find().unwrap_or_else(|e| panic!("{e}"));
    let options = args.iter().fold(NodeOptions::new(name), |options, arg| options.arg(arg));
    Node::start(&mysqld, options).unwrap_or_else(|e| panic!("{e}"))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn options(node: &Node, mode: TlsMode, ca: Option<PathBuf>) -> ConnectOptions {
    let mut options =
        ConnectOptions::new("127.0.0.1", node.port(), ADMIN_USER, Password::new(ADMIN_PASSWORD));
    options.tls = Tls::new(mode, TlsFiles { ca, own: None }).unwrap();
    options
}

async fn cipher(options: &ConnectOptions) -> Result<String, Error> {
    let mut c = Connection::connect(options).await?;
    let row = c.row("SHOW SESSION STATUS LIKE 'Ssl_cipher'").await?.unwrap();
    assert_eq!(c.is_tls(), !row.text(1).is_empty(), "both ends agree on whether there is TLS");
    Ok(row.text(1))
}

fn reason(result: Result<String, Error>) -> String {
    match result {
        Err(Error::Tls { reason, .. }) => reason,
        other => panic!("not refused by TLS: {other:?}"),
    }
}

#[test]
fn a_server_with_its_own_generated_certificate_is_known_by_its_ca() {
    let certificates = Certificates::make("generated");
    let node = node("generated", &[]);
    let own_ca = node.data().join("ca.pem");
    block_on(async {
        assert_eq!(cipher(&options(&node, TlsMode::Off, None)).await.unwrap(), "");
        for mode in [TlsMode::Preferred, TlsMode::Required] {
            assert_ne!(cipher(&options(&node, mode, None)).await.unwrap(), "");
        }
        assert_ne!(cipher(&options(&node, TlsMode::VerifyCa, Some(own_ca.clone()))).await.unwrap(), "");
        let wrong = options(&node, TlsMode::VerifyCa, Some(certificates.cert("other-ca")));
        assert!(reason(cipher(&wrong).await).contains("UnknownIssuer"));
        // It names no host.
        let identity = options(&node, TlsMode::VerifyIdentity, Some(own_ca));
        assert!(reason(cipher(&identity).await).contains("not valid for name"));
        let nobody = options(&node, TlsMode::VerifyCa, None);
        assert!(reason(cipher(&nobody).await).contains("UnknownIssuer"));
    });
}

#[test]
fn certificates_out_of_date_or_for_another_host_are_refused() {
    let certificates = Certificates::make("dates");
    let ca = || Some(certificates.cert("ca"));
    for (name, by_ca, by_identity) in [
        ("server", None, None),
        ("elsewhere", None, Some("not valid for name")),
        ("expired", Some("expired"), Some("expired")),
        ("future", Some("not valid yet"), Some("not valid yet")),
        ("stranger", Some("UnknownIssuer"), Some("UnknownIssuer")),
    ] {
        let node = node(name, &certificates.server_args(name));
        for (mode, expected) in [(TlsMode::VerifyCa, by_ca), (TlsMode::VerifyIdentity, by_identity)] {
            let got = block_on(cipher(&options(&node, mode, ca())));
            match expected {
                None => assert_ne!(got.unwrap(), "", "{name} {mode:?}"),
                Some(text) => {
                    let reason = reason(got);
                    assert!(reason.contains(text), "{name} {mode:?}: {reason}");
                }
            }
        }
        assert_ne!(block_on(cipher(&options(&node, TlsMode::Required, None))).unwrap(), "", "{name}");
    }
}

#[test]
fn an_account_that_requires_a_certificate_gets_ours() {
    let certificates = Certificates::make("own");
    let node = node("own", &certificates.server_args("server"));
    block_on(async {
        let mut admin = Connection::connect(&options(&node, TlsMode::Off, None)).await.unwrap();
        admin.execute("CREATE USER certified IDENTIFIED BY 'pw' REQUIRE X509").await.unwrap();
        let mut with = options(&node, TlsMode::VerifyIdentity, Some(certificates.cert("ca")));
        with.user = b"certified".to_vec();
        with.password = Password::new("pw");
        assert_eq!(cipher(&with).await.unwrap_err().server_code(), Some(1045));
        let own = Some((certificates.cert("client"), certificates.key("client")));
        with.tls =
            Tls::new(TlsMode::VerifyIdentity, TlsFiles { ca: Some(certificates.cert("ca")), own }).unwrap();
        assert_ne!(cipher(&with).await.unwrap(), "");
    });
}

#[test]
fn accounts_of_the_plugin_without_a_memory_log_in_plain_and_under_tls() {
    let node = node("sha256", &[]);
    block_on(async {
        let mut admin = Connection::connect(&options(&node, TlsMode::Off, None)).await.unwrap();
        admin.execute("CREATE USER old IDENTIFIED WITH sha256_password BY 'pw'").await.unwrap();
        for mode in [TlsMode::Off, TlsMode::Required] {
            let mut with = options(&node, mode, None);
            with.user = b"old".to_vec();
            for (password, code) in [("pw", None), ("px", Some(1045)), ("", Some(1045))] {
                with.password = Password::new(password);
                let code_got = cipher(&with).await.err().map(|e| e.server_code().unwrap());
                assert_eq!(code_got, code, "{mode:?} {password}");
            }
        }
    });
}

#[test]
fn a_server_without_tls_is_taken_only_where_tls_is_preferred() {
    let node = node("without", &["--tls-version=".into()]);
    block_on(async {
        assert_eq!(cipher(&options(&node, TlsMode::Preferred, None)).await.unwrap(), "");
        let refused = reason(cipher(&options(&node, TlsMode::Required, None)).await);
        assert_eq!(refused, "the server offers no TLS");
    });
}

#[test]
fn large_and_many_packets_pass_through_tls_unchanged() {
    let node = node("large", &["--max-allowed-packet=64M".into()]);
    block_on(async {
        for version in ["TLSv1.2", "TLSv1.3"] {
            let mut admin = Connection::connect(&options(&node, TlsMode::Off, None)).await.unwrap();
            admin.execute(format!("SET GLOBAL tls_version = '{version}'")).await.unwrap();
            admin.execute("ALTER INSTANCE RELOAD TLS").await.unwrap();
            let mut c = Connection::connect(&options(&node, TlsMode::Required, None)).await.unwrap();
            let row = c.row("SHOW SESSION STATUS LIKE 'Ssl_version'").await.unwrap().unwrap();
            assert_eq!(row.text(1), version);
            let text = "x".repeat(20 << 20);
            let row = c
                .row(format!("SELECT '{text}', SHA2('{text}', 256) = SHA2(REPEAT('x', 20 << 20), 256)"))
                .await;
            let row = row.unwrap().unwrap();
            assert!(row.bytes(0) == Some(text.as_bytes()) && row.text(1) == "1", "{version}");
            c.execute("USE mysql").await.unwrap();
            c.execute("SET SESSION cte_max_recursion_depth = 200000").await.unwrap();
            let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) SELECT i FROM n";
            let rows = c.rows(many).await.unwrap();
            assert!(rows.iter().enumerate().all(|(at, row)| row.number(0) == Some(at + 1)), "{version}");
            assert_eq!(rows.len(), 200_000);
        }
    });
}

/// A TLS echo on one connection, with the far end slow enough that writes wait.
async fn pair(certificates: &Certificates) -> (Stream, Stream) {
    let chain = tls::certificates(&certificates.cert("server")).unwrap();
    let key = tls::private_key(&certificates.key("server")).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(tls::certificates(&certificates.cert("ca")).unwrap().remove(0)).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let dialled = async {
        let mut stream = Stream::plain(tokio::net::TcpStream::connect(address).await.unwrap());
        stream.begin_tls(client.into(), "localhost".try_into().unwrap()).await.unwrap();
        stream
    };
    let accepted = async {
        let mut stream = Stream::plain(listener.accept().await.unwrap().0);
        stream.accept_tls(config.into(), &[]).await.unwrap();
        stream
    };
    tokio::join!(dialled, accepted)
}

#[test]
fn what_is_written_needs_no_flush_and_arrives_in_order_also_when_the_peer_is_slow() {
    let certificates = Certificates::make("slow");
    block_on(async {
        let (mut a, mut b) = pair(&certificates).await;
        assert!(a.is_quiet() && b.is_quiet());
        let sent: Vec<u8> = (0..8 << 20).map(|i: u32| (i % 251) as u8).collect();
        let copy = sent.clone();
        let writing = tokio::spawn(async move {
            for piece in copy.chunks(100_000) {
                a.write_all(piece).await.unwrap();
            }
            a
        });
        let mut got = vec![0; sent.len()];
        let mut at = 0;
        while at < got.len() {
            assert!(b.peek().await.unwrap());
            at += b.read(&mut got[at..(at + 7777).min(sent.len())]).await.unwrap();
        }
        assert!(got == sent);
        let a = writing.await.unwrap();
        // Off its runtime, and back on.
        let parked = a.park().unwrap();
        assert!(parked.is_quiet());
        let mut a = parked.resume().unwrap();
        b.write_all(b"hello").await.unwrap();
        let mut five = [0; 5];
        a.read_exact(&mut five).await.unwrap();
        assert_eq!(&five, b"hello");
        a.send_now(b"bye");
        a.shutdown().await.unwrap();
        let mut rest = Vec::new();
        b.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"bye");
        assert!(!b.peek().await.unwrap());
    });
}

/// A server that offers TLS, and says more in plain text before it, as a man in the middle would.
fn talkative() -> (u16, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let greeting = wire::handshake::Greeting {
            server_version: "9.7.4".into(),
            connection_id: 1,
            nonce: (1..=20).collect(),
            capabilities: wire::Capabilities(!0),
            collation: 255,
            status: 2,
            auth_plugin: "caching_sha2_password".into(),
        };
        let (mut out, mut seq) = (Vec::new(), 0);
        wire::packet::frame(&mut out, &mut seq, &greeting.encode());
        wire::packet::frame(&mut out, &mut seq, &[0, 0, 0, 2, 0, 0, 0]);
        stream.write_all(&out).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        got
    });
    (port, served)
}

#[test]
fn what_a_server_says_in_plain_text_never_counts_as_said_under_tls() {
    let (port, served) = talkative();
    let mut options = ConnectOptions::new("127.0.0.1", port, "u", Password::new("secret"));
    options.tls = Tls::new(TlsMode::Required, TlsFiles::default()).unwrap();
    let result = block_on(Connection::connect(&options));
    assert!(matches!(result, Err(Error::Unexpected("bytes after the greeting"))), "{result:?}");
    let got = served.join().unwrap();
    // The request for TLS at most: no account, no scramble.
    assert!(got.len() <= 36, "{} bytes", got.len());
}
