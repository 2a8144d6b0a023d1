//! A client of which every step can be seen and changed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mysql::{Capabilities, Stream, tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::auth::{self, CACHING_SHA2, NATIVE};
use wire::handshake::{AuthSwitch, Greeting, Login};
use wire::response::ErrPacket;

/// How a login ended, and the way there.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// `switch`, `fast`, `full`, in the order they were asked for.
    pub way: Vec<&'static str>,
    /// The error, if it did not succeed.
    pub error: Option<(u16, String)>,
}

impl Ended {
    pub fn well(way: &[&'static str]) -> Self {
        Self { way: way.to_vec(), error: None }
    }

    #[track_caller]
    pub fn refused(self, code: u16) -> String {
        match self.error {
            Some((got, text)) if got == code => text,
            other => panic!("not refused with {code}: {other:?}"),
        }
    }
}

pub struct Client {
    pub stream: Stream,
    pub greeting: Greeting,
    seq: u8,
}

/// Says this on a new connection before anything else.
pub async fn connect_saying(port: u16, first: &[u8]) -> Stream {
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let mut stream = Stream::plain(TcpStream::connect(address).await.unwrap());
    stream.write_all(first).await.unwrap();
    stream
}

impl Client {
    pub async fn connect(port: u16) -> Self {
        Self::over(connect_saying(port, &[]).await).await.unwrap()
    }

    /// Reads the greeting; `None` if the connection was closed or refused instead.
    pub async fn over(stream: Stream) -> Option<Self> {
        let greeting = Greeting {
            server_version: String::new(),
            connection_id: 0,
            nonce: Vec::new(),
            capabilities: Capabilities(0),
            collation: 0,
            status: 0,
            auth_plugin: String::new(),
        };
        let mut client = Self { stream, greeting, seq: 0 };
        client.greeting = Greeting::parse(&client.read().await?).ok()?;
        Some(client)
    }

    pub async fn send(&mut self, payload: &[u8]) {
        let mut out = Vec::new();
        wire::packet::frame(&mut out, &mut self.seq, payload);
        // A door that has closed shows at the next read.
        let _ = self.stream.write_all(&out).await;
    }

    /// The next packet; `None` if the door has closed.
    pub async fn read(&mut self) -> Option<Vec<u8>> {
        let read = async {
            let mut header = [0; 4];
            self.stream.read_exact(&mut header).await.ok()?;
            self.seq = header[3].wrapping_add(1);
            let mut payload = vec![0; wire::packet::Header::parse(header).len];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some(payload)
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("the door answers or closes")
    }

    /// Asks for TLS and begins it; the door's certificate must be by this CA.
    pub async fn begin_tls(&mut self, ca: &Path) {
        self.send(&self.login(b"", CACHING_SHA2, b"").encode_tls_request()).await;
        let config = rustls::ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(tls::authorities(ca).unwrap())
            .with_no_client_auth();
        self.stream.begin_tls(Arc::new(config), "localhost".try_into().unwrap()).await.unwrap();
    }

    pub fn login(&self, user: &[u8], plugin: &str, response: &[u8]) -> Login {
        Login {
            capabilities: Capabilities::MULTI_RESULTS | Capabilities::LONG_PASSWORD,
            packet_max: 1 << 24,
            collation: 45,
            user: user.to_vec(),
            auth_response: response.to_vec(),
            schema: None,
            auth_plugin: plugin.to_owned(),
            attributes: Vec::new(),
        }
    }

    /// Logs in as clients of today do.
    pub async fn log_in(&mut self, user: &str, password: &str) -> Ended {
        let response = auth::caching_sha2_scramble(password.as_bytes(), &self.greeting.nonce);
        let login = self.login(user.as_bytes(), CACHING_SHA2, &response);
        self.prove(&login.encode(), password).await
    }

    /// Logs in as a client that begins with the old plugin.
    pub async fn log_in_native(&mut self, user: &str, password: &str) -> Ended {
        let response = auth::native_scramble(password.as_bytes(), &self.greeting.nonce);
        let login = self.login(user.as_bytes(), NATIVE, &response);
        self.prove(&login.encode(), password).await
    }

    /// Logs in as a client from before there were plugins.
    pub async fn log_in_without_plugins(&mut self, user: &str, password: &str) -> Ended {
        let response = auth::native_scramble(password.as_bytes(), &self.greeting.nonce);
        let mut packet = self.login(user.as_bytes(), "", &response).encode();
        let flags = Capabilities(u32::from_le_bytes(packet[..4].try_into().unwrap()));
        let flags = flags - Capabilities::PLUGIN_AUTH - Capabilities::PLUGIN_AUTH_LENENC_DATA;
        packet[..4].copy_from_slice(&flags.0.to_le_bytes());
        self.prove(&packet, password).await
    }

    /// Sends a login and answers what is asked until it is decided.
    pub async fn prove(&mut self, login: &[u8], password: &str) -> Ended {
        self.send(login).await;
        self.answer(password).await
    }

    /// Becomes somebody else.
    pub async fn change_user(&mut self, user: &str, password: &str) -> Ended {
        self.seq = 0;
        let body = [&[0x11], user.as_bytes(), &[0, 0, 0, 45, 0], CACHING_SHA2.as_bytes(), &[0]].concat();
        self.send(&body).await;
        self.answer(password).await
    }

    async fn answer(&mut self, password: &str) -> Ended {
        let mut nonce = self.greeting.nonce.clone();
        let mut way = Vec::new();
        loop {
            let packet = self.read().await.expect("the door says how the login ended");
            match packet[..] {
                [0, ..] => return Ended { way, error: None },
                [0xFF, ..] => {
                    let error = ErrPacket::parse(&packet).unwrap();
                    return Ended { way, error: Some((error.code, error.message)) };
                }
                [0xFE, ..] => {
                    let switch = AuthSwitch::parse(&packet).unwrap();
                    assert_eq!(switch.plugin, CACHING_SHA2);
                    nonce = switch.nonce;
                    way.push("switch");
                    self.send(&auth::caching_sha2_scramble(password.as_bytes(), &nonce)).await;
                }
                [1, auth::FAST_AUTH_SUCCESS] => way.push("fast"),
                [1, auth::FULL_AUTH] if self.stream.is_tls() => {
                    way.push("full");
                    self.send(&[password.as_bytes(), &[0]].concat()).await;
                }
                [1, auth::FULL_AUTH] => {
                    way.push("full");
                    self.send(&[auth::REQUEST_PUBLIC_KEY]).await;
                    let key = self.read().await.unwrap();
                    let sealed = auth::encrypt_password(password.as_bytes(), &nonce, &key[1..]).unwrap();
                    self.send(&sealed).await;
                }
                _ => panic!("{packet:?} during the login"),
            }
        }
    }

    /// Begins a command of this statement.
    pub async fn send_command(&mut self, sql: &[u8]) {
        self.send_new_command(&[&[3], sql].concat()).await;
    }

    /// Begins a command of this payload.
    pub async fn send_new_command(&mut self, payload: &[u8]) {
        self.seq = 0;
        self.send(payload).await;
    }

    /// Asks for one cell.
    pub async fn cell(&mut self, sql: &str) -> String {
        self.seq = 0;
        self.send(&[&[3], sql.as_bytes()].concat()).await;
        let mut packets = Vec::new();
        while packets.len() < 5 {
            packets.push(self.read().await.unwrap());
            assert_ne!(packets[0][0], 0xFF, "{sql}: {}", String::from_utf8_lossy(&packets[0]));
        }
        String::from_utf8_lossy(&packets[3][1..]).into_owned()
    }
}
