//! The client's side of a login: greeting, proof of identity, and the password itself.
//!
//! The door keeps no passwords, so it cannot check one: it asks for the password (`caching_sha2_password` in full,
//! under the door's RSA key on a plain connection) and logs in to the server with it. The server's answer is the
//! client's. The password stays in memory for the session, since the next writer will ask for it too.
//!
//! Before its login a client may send packets of 64 KiB at most, and has ten seconds.

use std::sync::Arc;
use std::time::Duration;

use mysql::{Password, Stream};
use tokio::io::AsyncWriteExt;
use wire::auth::{self, CACHING_SHA2, RsaKey};
use wire::handshake::{AUTH_MORE_DATA, AuthSwitch, Greeting, Login};
use wire::packet::{self, HEADER_LEN, Header};
use wire::response::ErrPacket;
use wire::{Capabilities, Reader, WireError};

use crate::backend::Identity;
use crate::buffer::Buffer;
use crate::trouble::{Stop, client_lost, malformed};

/// How long a client may take to prove who it is.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// The largest packet before the login, in bytes.
const PACKET_MAX: usize = 64 * 1024;
/// The greeting's collation: utf8mb4_0900_ai_ci, as servers have it; clients choose their own.
const COLLATION: u8 = 255;

/// What the door understands of what a client can ask for. Not TLS, compression or local files (yet), nor result sets
/// without metadata.
pub(crate) const OFFERED: Capabilities = Capabilities(
    Capabilities::LONG_PASSWORD.0
        | Capabilities::FOUND_ROWS.0
        | Capabilities::LONG_FLAG.0
        | Capabilities::CONNECT_WITH_DB.0
        | Capabilities::NO_SCHEMA.0
        | Capabilities::ODBC.0
        | Capabilities::IGNORE_SPACE.0
        | Capabilities::PROTOCOL_41.0
        | Capabilities::INTERACTIVE.0
        | Capabilities::IGNORE_SIGPIPE.0
        | Capabilities::TRANSACTIONS.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::MULTI_STATEMENTS.0
        | Capabilities::MULTI_RESULTS.0
        | Capabilities::PS_MULTI_RESULTS.0
        | Capabilities::PLUGIN_AUTH.0
        | Capabilities::CONNECT_ATTRS.0
        | Capabilities::PLUGIN_AUTH_LENENC_DATA.0
        | Capabilities::SESSION_TRACK.0
        | Capabilities::DEPRECATE_EOF.0
        | Capabilities::QUERY_ATTRIBUTES.0,
);

/// The door's RSA key, under which clients send their passwords.
pub(crate) struct DoorKey(RsaKey);

impl DoorKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn generate() -> Result<Self, WireError> {
        RsaKey::generate().map(Self)
    }
}

impl std::fmt::Debug for DoorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DoorKey(…)")
    }
}

/// A client that has said who it is.
#[derive(Debug)]
pub(crate) struct Guest {
    pub identity: Arc<Identity>,
    pub schema: Option<Vec<u8>>,
}

/// The connection while packets alternate: sequence numbers count on from one side's to the other's.
pub(crate) struct Dialogue<'a> {
    pub client: &'a mut Stream,
    pub buffer: &'a mut Buffer,
    /// The next packet's sequence number, whoever sends it.
    pub seq: &'a mut u8,
}

impl Dialogue<'_> {
    /// Sends a packet.
    ///
    /// # Errors
    /// If the client is gone.
    pub async fn send(&mut self, payload: &[u8]) -> Result<(), Stop> {
        let mut out = Vec::with_capacity(payload.len() + HEADER_LEN);
        packet::frame(&mut out, self.seq, payload);
        self.client.write_all(&out).await.map_err(client_lost)
    }

    async fn receive(&mut self) -> Result<Vec<u8>, Stop> {
        self.buffer.fill_to(self.client, HEADER_LEN).await.map_err(client_lost)?;
        let data = self.buffer.data();
        let header = Header::parse([data[0], data[1], data[2], data[3]]);
        if header.seq != *self.seq || header.len > PACKET_MAX {
            return Err(malformed(WireError::Malformed("login packet")));
        }
        *self.seq = header.seq.wrapping_add(1);
        self.buffer.fill_to(self.client, HEADER_LEN + header.len).await.map_err(client_lost)?;
        let payload = self.buffer.data()[HEADER_LEN..HEADER_LEN + header.len].to_vec();
        self.buffer.consume(HEADER_LEN + header.len);
        Ok(payload)
    }

    /// Greets a client, and learns who it is and with what password.
    ///
    /// # Errors
    /// If it leaves, or does not follow the protocol.
    pub async fn greet(&mut self, id: u32, server_version: &str, key: &Arc<DoorKey>) -> Result<Guest, Stop> {
        let nonce = auth::nonce().map_err(malformed)?;
        let greeting = Greeting {
            server_version: server_version.to_owned(),
            connection_id: id,
            nonce: nonce.clone(),
            capabilities: OFFERED,
            collation: COLLATION,
            status: wire::capability::Status::AUTOCOMMIT.0,
            auth_plugin: CACHING_SHA2.to_owned(),
        };
        self.send(&greeting.encode()).await?;
        let packet = self.receive().await?;
        if Login::is_tls_request(&packet).map_err(malformed)? {
            let text = "Highwater: the front door does not speak TLS yet; connect with TLS disabled";
            return Err(Stop::end(ErrPacket::new(3159, b"HY000", text)));
        }
        let login = Login::parse(&packet).map_err(malformed)?;
        if !login.capabilities.has(Capabilities::MULTI_RESULTS | Capabilities::SECURE_CONNECTION) {
            let text = "Highwater: the client's protocol is too old";
            return Err(Stop::end(ErrPacket::new(1251, b"08004", text)));
        }
        let password = self.password(&login.auth_plugin, login.auth_response, nonce, key).await?;
        let identity = Identity {
            user: login.user,
            password,
            capabilities: login.capabilities & OFFERED,
            collation: login.collation,
            attributes: login.attributes,
        };
        Ok(Guest { identity: Arc::new(identity), schema: login.schema })
    }

    /// Learns whom a client wants to become with `COM_CHANGE_USER`, and with what password.
    ///
    /// # Errors
    /// As [`Dialogue::greet`].
    pub async fn change_user(
        &mut self,
        payload: &[u8],
        now: &Identity,
        key: &Arc<DoorKey>,
    ) -> Result<Guest, Stop> {
        let mut r = Reader::new(payload);
        let read = |r: &mut Reader<'_>| -> Result<_, WireError> {
            r.u8("COM_CHANGE_USER")?;
            let user = r.nul_bytes("user")?.to_vec();
            let n = usize::from(r.u8("auth response")?);
            let empty = r.bytes(n, "auth response")?.is_empty();
            let schema = Some(r.nul_bytes("schema")?.to_vec()).filter(|s| !s.is_empty());
            let collation = if r.is_empty() { u16::from(now.collation) } else { r.u16("collation")? };
            // The response was made over the nonce of the login, so another is asked for whatever the plugin.
            let _plugin = if r.is_empty() { &[][..] } else { r.nul_bytes("auth plugin")? };
            let attributes = match now.capabilities.has(Capabilities::CONNECT_ATTRS) && !r.is_empty() {
                true => r.lenenc_bytes("attributes")?.to_vec(),
                false => Vec::new(),
            };
            Ok((user, empty, schema, collation, attributes))
        };
        let (user, _, schema, collation, attributes) = read(&mut r).map_err(malformed)?;
        let nonce = auth::nonce().map_err(malformed)?;
        let password = self.password("", vec![0], nonce, key).await?;
        let identity = Identity {
            user,
            password,
            capabilities: now.capabilities,
            collation: u8::try_from(collation).unwrap_or(COLLATION),
            attributes,
        };
        Ok(Guest { identity: Arc::new(identity), schema })
    }

    /// The client's password, whatever plugin it began with.
    async fn password(
        &mut self,
        plugin: &str,
        mut response: Vec<u8>,
        mut nonce: Vec<u8>,
        key: &Arc<DoorKey>,
    ) -> Result<Password, Stop> {
        if plugin != CACHING_SHA2 {
            nonce = auth::nonce().map_err(malformed)?;
            let switch = AuthSwitch { plugin: CACHING_SHA2.to_owned(), nonce: nonce.clone() };
            self.send(&switch.encode()).await?;
            response = self.receive().await?;
        }
        // No password: the response is empty, or one NUL.
        if response.is_empty() || response == [0] {
            return Ok(Password::default());
        }
        self.send(&[AUTH_MORE_DATA, auth::FULL_AUTH]).await?;
        let mut sealed = self.receive().await?;
        if sealed == [auth::REQUEST_PUBLIC_KEY] {
            self.send(&[&[AUTH_MORE_DATA], key.0.public_pem()].concat()).await?;
            sealed = self.receive().await?;
        }
        // About half a millisecond of arithmetic, off the thread that serves the others; the runtime's few blocking
        // threads are also what bounds a storm of logins.
        let key = Arc::clone(key);
        let opened = tokio::task::spawn_blocking(move || key.0.decrypt_password(&sealed, &nonce)).await;
        match opened {
            Ok(Ok(password)) => Ok(Password::new(password)),
            _ => Err(Stop::end(ErrPacket::new(
                1045,
                b"28000",
                "Highwater: access denied: the password did not arrive under the front door's public key",
            ))),
        }
    }
}
