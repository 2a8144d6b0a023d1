//! Opening a connection: TCP, greeting, TLS, authentication.

use std::path::PathBuf;
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use wire::auth::{self, CACHING_SHA2, NATIVE, SHA256_PASSWORD};
use wire::handshake::{AUTH_MORE_DATA, AUTH_SWITCH, AuthSwitch, Greeting, Login};
use wire::response::{ERR, ErrPacket, OK, OkPacket};
use wire::{Capabilities, WireError};

use crate::{Connection, Error, Result, Stream, Tls, TlsMode};

/// A password that neither `Debug` nor an error message can show.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Password(Vec<u8>);

impl Password {
    /// Wraps the secret bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The secret bytes.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        self.0.fill(0);
        // Else the compiler may leave out the writing of bytes that nobody reads.
        std::hint::black_box(&self.0);
    }
}

/// Whose RSA key a password may be encrypted with when the connection is in plain text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ServerKey {
    /// The key the server sends, on a loopback address only, where nobody can stand in between.
    #[default]
    FetchOnLoopback,
    /// The key the server sends, wherever it is: open to a man in the middle.
    Fetch,
    /// This PEM file's key, and no other.
    Pinned(PathBuf),
}

/// Where to connect and as whom.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Account name.
    pub user: Vec<u8>,
    /// Its password.
    pub password: Password,
    /// Schema to use.
    pub schema: Option<Vec<u8>>,
    /// Capabilities to ask for beyond the ones the login itself needs.
    pub capabilities: Capabilities,
    /// The connection's collation id; 63 is `binary`, 45 `utf8mb4_general_ci`.
    pub collation: u8,
    /// Connection attributes, still encoded; shown in `performance_schema.session_connect_attrs`.
    pub attributes: Vec<u8>,
    /// Trust in the server's public key.
    pub server_key: ServerKey,
    /// How TLS is used.
    pub tls: Tls,
    /// How long connecting and logging in may take.
    pub timeout: Duration,
}

/// The largest packet we say we send, in bytes.
const PACKET_MAX: u32 = 1 << 30;

/// Capabilities every connection of ours has: what our reader of results relies on.
const BASE: u32 = Capabilities::LONG_PASSWORD.0
    | Capabilities::LONG_FLAG.0
    | Capabilities::PROTOCOL_41.0
    | Capabilities::TRANSACTIONS.0
    | Capabilities::SECURE_CONNECTION.0
    | Capabilities::PLUGIN_AUTH.0
    | Capabilities::PLUGIN_AUTH_LENENC_DATA.0
    | Capabilities::MULTI_RESULTS.0;

impl ConnectOptions {
    /// Options for an account at an address, with the settings our own statements need: a `binary` connection
    /// character set, so that no byte is converted in either direction, and several statements per packet.
    pub fn new(host: &str, port: u16, user: &str, password: Password) -> Self {
        Self {
            host: host.to_owned(),
            port,
            user: user.as_bytes().to_vec(),
            password,
            schema: None,
            capabilities: Capabilities::MULTI_STATEMENTS
                | Capabilities::FOUND_ROWS
                | Capabilities::DEPRECATE_EOF,
            collation: 63,
            attributes: Vec::new(),
            server_key: ServerKey::default(),
            tls: Tls::default(),
            timeout: Duration::from_secs(10),
        }
    }

    /// `host:port`, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Connection {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`Error::Connect`] if the server cannot be reached in time, [`Error::Login`] if it refuses the account,
    /// [`Error::UntrustedKey`] if the password could only be sent under a key that is not trusted, [`Error::Tls`] if
    /// TLS is not to be had as it was asked for.
    pub async fn connect(options: &ConnectOptions) -> Result<Self> {
        let unreachable = |source| Error::Connect { address: options.address(), source };
        let attempt = async {
            let stream =
                TcpStream::connect((options.host.as_str(), options.port)).await.map_err(unreachable)?;
            stream.set_nodelay(true).map_err(unreachable)?;
            log_in(Stream::plain(stream), options).await
        };
        match tokio::time::timeout(options.timeout, attempt).await {
            Ok(done) => done,
            Err(_) => Err(unreachable(std::io::ErrorKind::TimedOut.into())),
        }
    }
}

async fn log_in(stream: Stream, options: &ConnectOptions) -> Result<Connection> {
    let mut conn = Connection::over(stream, BytesMut::new(), Capabilities(BASE));
    let refused = |error| Error::Login {
        address: options.address(),
        user: String::from_utf8_lossy(&options.user).into_owned(),
        error,
    };

    let first = conn.read_packet().await?;
    if first.first() == Some(&ERR) {
        return Err(refused(ErrPacket::parse(&first)?));
    }
    let greeting = Greeting::parse(&first)?;
    let mut nonce = greeting.nonce.clone();
    let mut plugin = match greeting.auth_plugin.as_str() {
        NATIVE => NATIVE,
        _ => CACHING_SHA2,
    };
    let mut wanted = Capabilities(BASE) | options.capabilities;
    if options.tls.mode() != TlsMode::Off {
        wanted |= Capabilities::SSL;
    }
    let login = Login {
        capabilities: wanted & greeting.capabilities,
        packet_max: PACKET_MAX,
        collation: options.collation,
        user: options.user.clone(),
        auth_response: scramble(plugin, options, &nonce),
        schema: options.schema.clone(),
        auth_plugin: plugin.to_owned(),
        attributes: options.attributes.clone(),
    };
    conn.set_greeting(&greeting, login.capabilities);
    begin_tls(&mut conn, options, &login).await?;
    conn.write_packet(&login.encode()).await?;

    loop {
        let packet = conn.read_packet().await?;
        match (packet.first().copied(), packet.get(1).copied()) {
            (Some(OK), _) => {
                conn.set_status(OkPacket::parse(&packet, conn.capabilities())?.status);
                return Ok(conn);
            }
            (Some(ERR), _) => return Err(refused(ErrPacket::parse(&packet)?)),
            (Some(AUTH_SWITCH), _) => {
                let switch = AuthSwitch::parse(&packet)?;
                plugin = match switch.plugin.as_str() {
                    CACHING_SHA2 => CACHING_SHA2,
                    NATIVE => NATIVE,
                    SHA256_PASSWORD => SHA256_PASSWORD,
                    // Clear text included: a server that asks for it may not be the one we meant.
                    other => {
                        return Err(WireError::Unsupported(format!("authentication plugin {other}")).into());
                    }
                };
                nonce = switch.nonce;
                if plugin == SHA256_PASSWORD {
                    send_password(&mut conn, options, &nonce, auth::REQUEST_PUBLIC_KEY_SHA256).await?;
                    continue;
                }
                conn.write_packet(&scramble(plugin, options, &nonce)).await?;
            }
            (Some(AUTH_MORE_DATA), Some(auth::FAST_AUTH_SUCCESS)) => {}
            (Some(AUTH_MORE_DATA), Some(auth::FULL_AUTH)) => {
                send_password(&mut conn, options, &nonce, auth::REQUEST_PUBLIC_KEY).await?;
            }
            _ => return Err(Error::Unexpected("during the login")),
        }
    }
}

/// Goes under TLS, if it is asked for and there.
async fn begin_tls(conn: &mut Connection, options: &ConnectOptions, login: &Login) -> Result<()> {
    let Some(config) = options.tls.config() else { return Ok(()) };
    let refused = |reason: String| Error::Tls { address: options.address(), reason };
    if !login.capabilities.has(Capabilities::SSL) {
        return match options.tls.mode() {
            TlsMode::Off | TlsMode::Preferred => Ok(()),
            _ => Err(refused("the server offers no TLS".into())),
        };
    }
    let name = ServerName::try_from(options.host.clone())
        .map_err(|_| refused("`host` is no name that a certificate can be for".into()))?;
    conn.write_packet(&login.encode_tls_request()).await?;
    conn.begin_tls(std::sync::Arc::clone(config), name).await.map_err(|error| match error {
        Error::Lost(source) if source.get_ref().is_some_and(|e| e.is::<rustls::Error>()) => {
            refused(source.to_string())
        }
        error => error,
    })
}

/// Tells the server the password: under TLS as it is, else under the server's RSA key.
///
/// TLS hides it only from those who listen. Whoever answers the connection reads it, so a server that has not proven
/// who it is gets it on the terms that its RSA key would have: on a loopback address, or if told to trust anybody.
async fn send_password(
    conn: &mut Connection,
    options: &ConnectOptions,
    nonce: &[u8],
    request_key: u8,
) -> Result<()> {
    if options.password.reveal().is_empty() {
        return conn.write_packet(&[0]).await;
    }
    if conn.is_tls() {
        if !may_be_told(&options.tls, &options.server_key, conn.peer_is_loopback()) {
            return Err(Error::UntrustedKey { address: options.address() });
        }
        return conn.write_packet(&[options.password.reveal(), &[0]].concat()).await;
    }
    let key = server_key(conn, options, request_key).await?;
    let sealed = auth::encrypt_password(options.password.reveal(), nonce, &key)?;
    conn.write_packet(&sealed).await
}

fn may_be_told(tls: &Tls, server_key: &ServerKey, loopback: bool) -> bool {
    tls.verifies() || loopback || *server_key == ServerKey::Fetch
}

fn scramble(plugin: &str, options: &ConnectOptions, nonce: &[u8]) -> Vec<u8> {
    match plugin {
        NATIVE => auth::native_scramble(options.password.reveal(), nonce),
        _ => auth::caching_sha2_scramble(options.password.reveal(), nonce),
    }
}

async fn server_key(conn: &mut Connection, options: &ConnectOptions, request: u8) -> Result<Vec<u8>> {
    match &options.server_key {
        ServerKey::Pinned(file) => return Ok(tokio::fs::read(file).await?),
        ServerKey::FetchOnLoopback if !conn.peer_is_loopback() => {
            return Err(Error::UntrustedKey { address: options.address() });
        }
        ServerKey::FetchOnLoopback | ServerKey::Fetch => {}
    }
    conn.write_packet(&[request]).await?;
    let packet = conn.read_packet().await?;
    match packet.split_first() {
        Some((&AUTH_MORE_DATA, key)) => Ok(key.to_vec()),
        Some((&ERR, _)) => Err(Error::Server(ErrPacket::parse(&packet)?)),
        _ => Err(Error::Unexpected("instead of the public key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unverified_server_elsewhere_is_not_told_the_password() {
        let told = |mode, key, loopback| {
            let tls = Tls::new(mode, crate::TlsFiles::default()).unwrap();
            may_be_told(&tls, &key, loopback)
        };
        assert!(!told(TlsMode::Preferred, ServerKey::FetchOnLoopback, false));
        assert!(!told(TlsMode::Required, ServerKey::FetchOnLoopback, false));
        assert!(!told(TlsMode::Required, ServerKey::Pinned("key.pem".into()), false));
        assert!(told(TlsMode::Required, ServerKey::FetchOnLoopback, true));
        assert!(told(TlsMode::Required, ServerKey::Fetch, false));
    }
}
