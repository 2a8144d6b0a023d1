use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::{Stream, Tls, TlsFiles, TlsMode, tls};

/// Made with `openssl req -x509`, and the key it is of, which is used nowhere else.
const CERT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBijCCAS+gAwIBAgIUTknh+4kv+VZ5yXx6GkNEycjsAxQwCgYIKoZIzj0EAwIw
EDEOMAwGA1UEAwwFdGVzdHMwIBcNMjYxMTI1MjExMTUxWhgPMjEyNjExMDEyMTEx
NTFaMBAxDjAMBgNVBAMMBXRlc3RzMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
lUfz3aewMxdOjO0bfmS4Ox3oD52RB1qZZn1nJ35SQL2Y6MHrYCGIqr5YvdazzKBe
OxEPy/c6WPPj1ZPRCwNhN6NlMGMwHQYDVR0OBBYEFO9l+LhnOVU7FwqO+xn5ixsE
4FPrMB8GA1UdIwQYMBaAFO9l+LhnOVU7FwqO+xn5ixsE4FPrMA8GA1UdEwEB/wQF
MAMBAf8wEAYDVR0RBAkwB4IFdGVzdHMwCgYIKoZIzj0EAwIDSQAwRgIhAIDev78j
/utwelM4FkikExSC2oOOVVcvIEW3DzwFfqRrAiEArirPC6p43bHLb8x/QEurtuuf
x8X4xYcr63+Ehk99pVg=
-----END CERTIFICATE-----
";
const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgb3PLhbOptt6vyAOx
0IO1n9U2Nn6NPfBvo1RMWEb+ccihRANCAASVR/Pdp7AzF06M7Rt+ZLg7HegPnZEH
WplmfWcnflJAvZjowetgIYiqvli91rPMoF47EQ/L9zpY8+PVk9ELA2E3
-----END PRIVATE KEY-----
";

fn server_config() -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(tls::provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let chain = vec![CertificateDer::from_pem_slice(CERT.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

async fn two_sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.set_nodelay(true).unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Both ends behind their handshake, which is done over these sockets.
async fn shaken(client: TcpStream, server: TcpStream) -> (Stream, Stream) {
    let (mut client, mut server) = (Stream::plain(client), Stream::plain(server));
    let believing = Tls::new(TlsMode::Required, TlsFiles::default()).unwrap();
    let config = Arc::clone(believing.config().unwrap());
    let (one, other) = tokio::join!(
        client.begin_tls(config, ServerName::try_from("tests").unwrap()),
        server.accept_tls(server_config(), &[])
    );
    one.unwrap();
    other.unwrap();
    (client, server)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), future).await.unwrap() })
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n % 251) as u8).collect()
}

#[test]
fn a_session_that_waits_keeps_no_buffer() {
    block_on(async {
        let (client, server) = two_sockets().await;
        let (mut client, mut server) = shaken(client, server).await;
        // More than a socket takes at once, so that much of it is kept on the way.
        let sent = bytes(3_000_000);
        let (mut there, mut back) = (vec![0; sent.len()], vec![0; sent.len()]);
        let all = async {
            tokio::join!(
                async {
                    client.write_all(&sent).await.unwrap();
                    client.read_exact(&mut back).await.unwrap();
                },
                async {
                    server.read_exact(&mut there).await.unwrap();
                    server.write_all(&there).await.unwrap();
                }
            )
        };
        all.await;
        assert_eq!(back, sent);
        for stream in [&mut client, &mut server] {
            assert!(stream.is_quiet());
            let end = stream.tls_end().unwrap();
            let kept = [&end.incoming, &end.plain, &end.outgoing].map(Vec::capacity);
            assert_eq!(kept, [0; 3]);
        }
    });
}

#[test]
fn records_that_come_byte_by_byte_are_put_together() {
    block_on(async {
        let (client, client_side) = two_sockets().await;
        let (server_side, server) = two_sockets().await;
        server_side.set_nodelay(true).unwrap();
        client_side.set_nodelay(true).unwrap();
        let (mut from_client, mut to_client) = client_side.into_split();
        let (mut from_server, mut to_server) = server_side.into_split();
        tokio::spawn(async move {
            while let Ok(byte) = from_client.read_u8().await {
                to_server.write_u8(byte).await.unwrap();
            }
        });
        tokio::spawn(async move {
            while let Ok(byte) = from_server.read_u8().await {
                to_client.write_u8(byte).await.unwrap();
            }
        });
        let (mut client, mut server) = shaken(client, server).await;
        let sent = bytes(20_000);
        let mut there = vec![0; sent.len()];
        let (written, read) = tokio::join!(client.write_all(&sent), server.read_exact(&mut there));
        written.unwrap();
        read.unwrap();
        assert_eq!(there, sent);
    });
}

#[test]
fn a_reader_of_few_bytes_gets_them_all_and_then_the_end() {
    block_on(async {
        let (client, server) = two_sockets().await;
        let (mut client, mut server) = shaken(client, server).await;
        let sent = bytes(50_000);
        let reading = async {
            let (mut got, mut few) = (Vec::new(), [0; 7]);
            loop {
                match server.read(&mut few).await.unwrap() {
                    0 => return got,
                    n => got.extend_from_slice(&few[..n]),
                }
            }
        };
        let writing = async {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let ((), got) = tokio::join!(writing, reading);
        assert_eq!(got, sent);
        assert!(server.tls_end().unwrap().closed, "the end was told, and not only seen");
    });
}

#[test]
fn what_is_no_tls_is_answered_with_an_alert() {
    block_on(async {
        let (mut client, server) = two_sockets().await;
        let mut server = Stream::plain(server);
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let refused = server.accept_tls(server_config(), &[]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        drop(server);
        let mut said = Vec::new();
        client.read_to_end(&mut said).await.unwrap();
        assert_eq!(said.first(), Some(&21), "content type of an alert, RFC 8446 5.1");
    });
}

/// What this end has to send.
fn sent(end: &mut TlsEnd) -> Vec<u8> {
    std::mem::take(&mut end.outgoing)
}

#[test]
fn bytes_that_were_changed_on_the_way_end_a_session_and_nothing_more() {
    let believing = Tls::new(TlsMode::Required, TlsFiles::default()).unwrap();
    let (server, mut failed) = (server_config(), 0);
    for seed in 0..400u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = |limit: usize| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (random >> 33) as usize % limit.max(1)
        };
        let name = ServerName::try_from("tests").unwrap();
        let mut client = TlsEnd::client(Arc::clone(believing.config().unwrap()), name).unwrap();
        let mut server = TlsEnd::server(Arc::clone(&server)).unwrap();
        client.take(&[]).unwrap();
        let spoilt = below(6);
        for flight in 0..6 {
            let (from, to) =
                if flight % 2 == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
            if !from.is_handshaking() {
                // Until then some are refused, and that must harm nothing.
                let _ = from.wish(Wish::Encrypt(b"something to read"));
            }
            let mut bytes = sent(from);
            if flight == spoilt && !bytes.is_empty() {
                let at = below(bytes.len());
                match below(3) {
                    0 => bytes[at] ^= 1 << below(8),
                    1 => bytes.truncate(at),
                    _ => bytes.insert(at, below(256) as u8),
                }
            }
            let cut = below(bytes.len());
            for piece in [&bytes[..cut], &bytes[cut..]] {
                let _ = to.take(piece);
            }
        }
        failed += u32::from(client.failed || server.failed);
        for end in [&mut client, &mut server] {
            let _ = (end.take(&[22, 3, 3]), end.wish(Wish::Encrypt(b"x")), end.say_goodbye());
            assert!(!end.failed || end.take(&[0; 64]).is_err(), "seed {seed}");
        }
    }
    assert!(failed > 200, "{failed}: what is changed is noticed");
}
