//! The client's side of a login: greeting, proof of identity, and the password itself.
//!
//! The door has no list of passwords, so it asks for the password (`caching_sha2_password` in full; under TLS as it is,
//! else under the door's RSA key) and logs in to the server with it. The server's answer is the client's. What the server has
//! accepted is remembered so that only who knows the password can use it ([`crate::arrival::accounts`]), and the next client
//! with the same password need not send it. The password itself stays in memory for the session, since the next
//! writer will ask for it too.
//!
//! Before its login a client may send packets of 64 KiB at most, and has until `login_max`.
//!
//! A client that asks for TLS does not wait for an answer before it begins the handshake, so the bytes behind its request
//! are the handshake's, and are read as nothing else: a command that somebody slipped in there is a TLS record that makes
//! no sense.

use std::net::IpAddr;
use std::sync::Arc;

use mysql::{Password, Stream};
use tokio::io::AsyncWriteExt;
use wire::auth::{self, CACHING_SHA2, NATIVE, RsaKey};
use wire::compressed::Algorithm;
use wire::handshake::{AUTH_MORE_DATA, AuthSwitch, Greeting, Login};
use wire::packet::{self, HEADER_LEN, Header};
use wire::proxy_header::{self, Origin};
use wire::response::ErrPacket;
use wire::{Capabilities, Reader, WireError};

use crate::Shared;
use crate::arrival::admission::unguessable;
use crate::backend::Identity;
use crate::session::buffer::Buffer;
use crate::trouble::{Stop, client_lost, malformed};

/// The largest packet before the login, in bytes.
const PACKET_MAX: usize = 64 * 1024;
/// The most a load balancer may say beside the addresses, in bytes.
const PROXY_HEADER_MAX: usize = 4096;
/// The greeting's collation: utf8mb4_0900_ai_ci, as servers have it; clients choose their own.
const COLLATION: u8 = 255;

/// What the door understands of what a client can ask for: not result sets without metadata. TLS if it has a certificate,
/// and what its terms say: local files, compression.
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
    /// How it wants to be spoken to after the login.
    pub compression: Option<Algorithm>,
}

/// The connection while packets alternate: sequence numbers count on from one side's to the other's.
pub(crate) struct Dialogue<'a> {
    pub client: &'a mut Stream,
    pub buffer: &'a mut Buffer,
    /// The client's address.
    pub from: IpAddr,
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
        // A client that compresses counts its frames, and its packets as it likes.
        let in_order = header.seq == *self.seq || self.client.is_compressed();
        if !in_order || header.len > PACKET_MAX {
            return Err(malformed(WireError::Malformed("login packet")));
        }
        *self.seq = header.seq.wrapping_add(1);
        self.buffer.fill_to(self.client, HEADER_LEN + header.len).await.map_err(client_lost)?;
        let payload = self.buffer.data()[HEADER_LEN..HEADER_LEN + header.len].to_vec();
        self.buffer.consume(HEADER_LEN + header.len);
        Ok(payload)
    }

    /// Learns from a load balancer whose connection it passes on.
    ///
    /// # Errors
    /// If it does not say.
    pub async fn origin(&mut self) -> Result<(), Stop> {
        self.buffer.fill_to(self.client, proxy_header::FIXED_LEN).await.map_err(client_lost)?;
        let rest = proxy_header::rest_len(&self.buffer.data()[..proxy_header::FIXED_LEN]);
        let rest = rest.map_err(|e| no_header(&e))?;
        if rest > PROXY_HEADER_MAX {
            return Err(no_header(&WireError::Malformed("PROXY length")));
        }
        let len = proxy_header::FIXED_LEN + rest;
        self.buffer.fill_to(self.client, len).await.map_err(client_lost)?;
        let origin = proxy_header::parse(&self.buffer.data()[..len]).map_err(|e| no_header(&e))?;
        self.buffer.consume(len);
        if let Origin::Client(address) = origin {
            self.from = address.ip();
        }
        Ok(())
    }

    /// Greets a client, and learns who it is and with what password.
    ///
    /// # Errors
    /// If it leaves, or does not follow the protocol or the rules of the entrance.
    pub async fn greet(&mut self, id: u32, door: &Shared) -> Result<Guest, Stop> {
        let nonce = auth::nonce().map_err(malformed)?;
        let rules = door.rules.get();
        let tls = rules.entrance.tls.as_ref();
        let granted = OFFERED | rules.terms.offered();
        let offered = if tls.is_some() { granted | Capabilities::SSL } else { granted };
        let greeting = Greeting {
            server_version: door.server_version.clone(),
            connection_id: id,
            nonce: nonce.clone(),
            capabilities: offered,
            collation: COLLATION,
            status: wire::capability::Status::AUTOCOMMIT.0,
            auth_plugin: CACHING_SHA2.to_owned(),
        };
        self.send(&greeting.encode()).await?;
        let mut packet = self.receive().await?;
        if Login::is_tls_request(&packet).map_err(malformed)? {
            let Some(tls) = tls else {
                let text =
                    "Highwater: the front door has no certificate; set `tls_cert`, or connect without TLS";
                return Err(Stop::end(ErrPacket::new(1043, b"08S01", text)));
            };
            let early = self.buffer.data().to_vec();
            self.buffer.consume(early.len());
            self.client.accept_tls(tls.config(), &early).await.map_err(|error| {
                tracing::debug!(client = id, %error, "a client's TLS handshake failed");
                client_lost(error)
            })?;
            // Who it is counts as said under TLS only; the request names nobody.
            packet = self.receive().await?;
        } else if rules.entrance.tls_required {
            let text = "Highwater: the front door takes no plain connections; connect with TLS";
            return Err(Stop::end(ErrPacket::new(3159, b"HY000", text)));
        }
        let login = Login::parse(&packet).map_err(malformed)?;
        if !login.capabilities.has(Capabilities::MULTI_RESULTS | Capabilities::SECURE_CONNECTION) {
            let text = "Highwater: the client's protocol is too old";
            return Err(Stop::end(ErrPacket::new(1251, b"08004", text)));
        }
        let plugin = match login.capabilities.has(Capabilities::PLUGIN_AUTH) {
            true => login.auth_plugin.as_str(),
            false => ONLY_NATIVE,
        };
        let proof = Proof { user: &login.user, plugin, response: login.auth_response, nonce };
        let password = self.password(proof, door).await?;
        let compression = Algorithm::of(login.capabilities & granted);
        // The door speaks to servers without.
        let uncompressed = granted - Capabilities::COMPRESS - Capabilities::ZSTD_COMPRESSION;
        let identity = Identity {
            user: login.user,
            password,
            capabilities: login.capabilities & uncompressed,
            collation: login.collation,
            attributes: login.attributes,
        };
        Ok(Guest { identity: Arc::new(identity), schema: login.schema, compression })
    }

    /// Learns whom a client wants to become with `COM_CHANGE_USER`, and with what password.
    ///
    /// # Errors
    /// As [`Dialogue::greet`].
    pub async fn change_user(
        &mut self,
        payload: &[u8],
        now: &Identity,
        door: &Shared,
    ) -> Result<Guest, Stop> {
        let ChangeUser { user, schema, collation, attributes } =
            ChangeUser::parse(payload, now.capabilities, now.collation).map_err(malformed)?;
        let proof = Proof { user: &user, plugin: "", response: Vec::new(), nonce: Vec::new() };
        let password = self.password(proof, door).await?;
        let identity = Identity {
            user,
            password,
            capabilities: now.capabilities,
            collation: u8::try_from(collation).unwrap_or(COLLATION),
            attributes,
        };
        Ok(Guest { identity: Arc::new(identity), schema, compression: None })
    }

    /// The client's password, whatever plugin it began with. Whether it is right is for the server to say.
    async fn password(&mut self, proof: Proof<'_>, door: &Shared) -> Result<Password, Stop> {
        let Proof { user, plugin, mut response, mut nonce } = proof;
        // Who is kept out must not learn whether a guess was right, so what is known of the account does not count.
        let rules = door.rules.get();
        let admitted = rules.entrance.admits(user, self.from, self.client.peer_is_certified());
        if plugin == NATIVE || plugin == ONLY_NATIVE {
            let known = rules.entrance.password(user).filter(|_| admitted);
            let right = |password: &&Password| {
                let scramble = auth::native_scramble(password.reveal(), &nonce);
                !scramble.is_empty() && auth::equal(&scramble, &response)
            };
            match known.filter(right) {
                Some(password) => return Ok(password.clone()),
                None if plugin == NATIVE => {}
                None if response.is_empty() => return Ok(Password::default()),
                // It cannot be asked for the password. The server is asked all the same, as for any wrong one.
                None if rules.entrance.knows_passwords() => return unguessable(),
                None => return Err(only_native()),
            }
        }
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
        let recalled = if admitted { door.accounts.recall(user, &response, &nonce) } else { None };
        if let Some(password) = recalled {
            self.send(&[AUTH_MORE_DATA, auth::FAST_AUTH_SUCCESS]).await?;
            return Ok(password);
        }
        self.send(&[AUTH_MORE_DATA, auth::FULL_AUTH]).await?;
        let mut sealed = self.receive().await?;
        if self.client.is_tls() {
            return match sealed.pop() {
                Some(0) => Ok(Password::new(sealed)),
                _ => Err(malformed(WireError::Malformed("password"))),
            };
        }
        let key = &door.key;
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

/// What a `COM_CHANGE_USER` says, but for the proof: that was made over the nonce of the login, so another is asked for
/// whatever the plugin.
#[derive(Debug)]
pub(crate) struct ChangeUser {
    user: Vec<u8>,
    schema: Option<Vec<u8>>,
    collation: u16,
    attributes: Vec<u8>,
}

impl ChangeUser {
    /// Reads the payload of a client with these capabilities and this collation so far.
    ///
    /// # Errors
    /// If it ends early.
    pub fn parse(payload: &[u8], capabilities: Capabilities, collation: u8) -> Result<Self, WireError> {
        let mut r = Reader::new(payload);
        r.u8("COM_CHANGE_USER")?;
        let user = r.nul_bytes("user")?.to_vec();
        let n = usize::from(r.u8("auth response")?);
        r.bytes(n, "auth response")?;
        let schema = Some(r.nul_bytes("schema")?.to_vec()).filter(|s| !s.is_empty());
        let collation = if r.is_empty() { u16::from(collation) } else { r.u16("collation")? };
        if !r.is_empty() {
            r.nul_bytes("auth plugin")?;
        }
        let attributes = match capabilities.has(Capabilities::CONNECT_ATTRS) && !r.is_empty() {
            true => r.lenenc_bytes("attributes")?.to_vec(),
            false => Vec::new(),
        };
        Ok(Self { user, schema, collation, attributes })
    }
}

/// What a client begins its proof with.
struct Proof<'a> {
    user: &'a [u8],
    plugin: &'a str,
    response: Vec<u8>,
    nonce: Vec<u8>,
}

/// The plugin of clients from before there were plugins, which cannot be told to use another one.
const ONLY_NATIVE: &str = "mysql_native_password, and no other";

fn only_native() -> Stop {
    let text = "Highwater: the client knows mysql_native_password only; use a later one, or give the front door the \
                account's password in its settings";
    Stop::end(ErrPacket::new(1251, b"08004", text))
}

/// A load balancer did not say whose connection it passes on, or it is none. It would not understand an answer.
fn no_header(error: &WireError) -> Stop {
    tracing::warn!(%error, "a peer in `proxy_protocol_from` sent no PROXY header (version 2); its connection was closed");
    Stop::End(None)
}
