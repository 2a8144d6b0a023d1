//! The connection phase: the server's greeting, the client's answer, and the authentication packets between them.
//!
//! Source: MySQL manual, "Protocol::HandshakeV10", "Protocol::HandshakeResponse41", "Protocol::AuthSwitchRequest".

use crate::{Capabilities, Reader, Result, WireError, put_lenenc_bytes, put_nul_bytes};

/// First byte of a packet in which the server asks for another authentication plugin.
pub const AUTH_SWITCH: u8 = 0xFE;
/// First byte of a packet with more authentication data.
pub const AUTH_MORE_DATA: u8 = 0x01;
/// Bytes of the packet that asks for TLS.
const TLS_REQUEST_LEN: usize = 32;
/// Bytes of the nonce both scrambles are built on.
pub const NONCE_LEN: usize = 20;

/// What a server says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Version text, for example `9.7.4`.
    pub server_version: String,
    /// The connection id that `KILL` takes.
    pub connection_id: u32,
    /// The random bytes the client's scramble must answer; 20 bytes, none of them NUL.
    pub nonce: Vec<u8>,
    /// What the server can do.
    pub capabilities: Capabilities,
    /// Default collation id (low byte).
    pub collation: u8,
    /// Server status flags.
    pub status: u16,
    /// The server's default authentication plugin.
    pub auth_plugin: String,
}

impl Greeting {
    /// Reads protocol version 10's greeting.
    ///
    /// # Errors
    /// If it ends early or is of another protocol version.
    pub fn parse(payload: &[u8]) -> Result<Self> {
        let mut r = Reader::new(payload);
        if r.u8("greeting")? != 10 {
            return Err(WireError::Malformed("protocol version is not 10"));
        }
        let server_version = text(r.nul_bytes("server version")?);
        let connection_id = r.u32("connection id")?;
        let mut nonce = r.bytes(8, "nonce")?.to_vec();
        r.bytes(1, "filler")?;
        let mut flags = u32::from(r.u16("capabilities")?);
        let collation = r.u8("collation")?;
        let status = r.u16("status")?;
        flags |= u32::from(r.u16("capabilities")?) << 16;
        let nonce_len = usize::from(r.u8("nonce length")?);
        r.bytes(10, "filler")?;
        let second = r.bytes(nonce_len.saturating_sub(8).max(13), "nonce")?;
        nonce.extend(second.iter().take(NONCE_LEN - 8));
        let capabilities = Capabilities(flags);
        let auth_plugin = match capabilities.has(Capabilities::PLUGIN_AUTH) {
            true => text(r.nul_bytes("auth plugin")?),
            false => String::new(),
        };
        Ok(Self { server_version, connection_id, nonce, capabilities, collation, status, auth_plugin })
    }

    /// The greeting's payload. `nonce` must be [`NONCE_LEN`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        assert_eq!(self.nonce.len(), NONCE_LEN, "the nonce is 20 bytes");
        let flags = self.capabilities.0.to_le_bytes();
        let mut out = vec![10];
        put_nul_bytes(&mut out, self.server_version.as_bytes());
        out.extend_from_slice(&self.connection_id.to_le_bytes());
        out.extend_from_slice(&self.nonce[..8]);
        out.push(0);
        out.extend_from_slice(&flags[..2]);
        out.push(self.collation);
        out.extend_from_slice(&self.status.to_le_bytes());
        out.extend_from_slice(&flags[2..]);
        out.push(NONCE_LEN as u8 + 1);
        out.extend_from_slice(&[0; 10]);
        out.extend_from_slice(&self.nonce[8..]);
        out.push(0);
        put_nul_bytes(&mut out, self.auth_plugin.as_bytes());
        out
    }
}

/// What a client answers to the greeting.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// What the client can do and asks for.
    pub capabilities: Capabilities,
    /// The largest packet the client says it will send, in bytes.
    pub packet_max: u32,
    /// The connection's character set, as a collation id (low byte).
    pub collation: u8,
    /// Account name, in the connection's character set.
    pub user: Vec<u8>,
    /// The scramble.
    pub auth_response: Vec<u8>,
    /// Schema to use, if any.
    pub schema: Option<Vec<u8>>,
    /// The plugin the scramble is for.
    pub auth_plugin: String,
    /// Connection attributes, still encoded.
    pub attributes: Vec<u8>,
}

impl Login {
    /// Whether the packet is the short form that asks for TLS before the login itself.
    ///
    /// # Errors
    /// If it is too short for either.
    pub fn is_tls_request(payload: &[u8]) -> Result<bool> {
        let flags = Capabilities(Reader::new(payload).u32("capabilities")?);
        Ok(payload.len() == TLS_REQUEST_LEN && flags.has(Capabilities::SSL))
    }

    /// Reads a 4.1-protocol login.
    ///
    /// # Errors
    /// If it ends early, or the client speaks the protocol from before 4.1.
    pub fn parse(payload: &[u8]) -> Result<Self> {
        let mut r = Reader::new(payload);
        let capabilities = Capabilities(r.u32("capabilities")?);
        if !capabilities.has(Capabilities::PROTOCOL_41) {
            return Err(WireError::Unsupported("client protocol from before MySQL 4.1".into()));
        }
        let packet_max = r.u32("max packet")?;
        let collation = r.u8("collation")?;
        r.bytes(23, "filler")?;
        let user = r.nul_bytes("user")?.to_vec();
        let auth_response = if capabilities.has(Capabilities::PLUGIN_AUTH_LENENC_DATA) {
            r.lenenc_bytes("auth response")?.to_vec()
        } else {
            let n = usize::from(r.u8("auth response")?);
            r.bytes(n, "auth response")?.to_vec()
        };
        let schema = match capabilities.has(Capabilities::CONNECT_WITH_DB) && !r.is_empty() {
            true => Some(r.nul_bytes("schema")?.to_vec()).filter(|s| !s.is_empty()),
            false => None,
        };
        let auth_plugin = match capabilities.has(Capabilities::PLUGIN_AUTH) && !r.is_empty() {
            true => text(r.nul_bytes("auth plugin")?),
            false => String::new(),
        };
        let attributes = match capabilities.has(Capabilities::CONNECT_ATTRS) && !r.is_empty() {
            true => r.lenenc_bytes("attributes")?.to_vec(),
            false => Vec::new(),
        };
        Ok(Self { capabilities, packet_max, collation, user, auth_response, schema, auth_plugin, attributes })
    }

    /// The short form that asks for TLS: the login up to, not including, the account.
    pub fn encode_tls_request(&self) -> Vec<u8> {
        let mut out = self.encode();
        out.truncate(TLS_REQUEST_LEN);
        let flags = Capabilities::SSL.0.to_le_bytes();
        out.iter_mut().zip(flags).for_each(|(byte, flag)| *byte |= flag);
        out
    }

    /// The login's payload. The flags that decide its form are set to match its content.
    pub fn encode(&self) -> Vec<u8> {
        let mut flags = self.capabilities
            | Capabilities::PROTOCOL_41
            | Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH
            | Capabilities::PLUGIN_AUTH_LENENC_DATA;
        flags = flags - Capabilities::CONNECT_WITH_DB - Capabilities::CONNECT_ATTRS;
        if self.schema.is_some() {
            flags |= Capabilities::CONNECT_WITH_DB;
        }
        if !self.attributes.is_empty() {
            flags |= Capabilities::CONNECT_ATTRS;
        }
        let mut out = flags.0.to_le_bytes().to_vec();
        out.extend_from_slice(&self.packet_max.to_le_bytes());
        out.push(self.collation);
        out.extend_from_slice(&[0; 23]);
        put_nul_bytes(&mut out, &self.user);
        put_lenenc_bytes(&mut out, &self.auth_response);
        if let Some(schema) = &self.schema {
            put_nul_bytes(&mut out, schema);
        }
        put_nul_bytes(&mut out, self.auth_plugin.as_bytes());
        if !self.attributes.is_empty() {
            put_lenenc_bytes(&mut out, &self.attributes);
        }
        out
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

/// The server's request to authenticate with another plugin, over a fresh nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthSwitch {
    /// The plugin to use.
    pub plugin: String,
    /// The nonce to answer, without its trailing NUL.
    pub nonce: Vec<u8>,
}

impl AuthSwitch {
    /// Reads the request, first byte included.
    ///
    /// # Errors
    /// If it ends early.
    pub fn parse(payload: &[u8]) -> Result<Self> {
        let mut r = Reader::new(payload);
        r.u8("auth switch")?;
        let plugin = text(r.nul_bytes("auth plugin")?);
        let nonce = r.rest();
        Ok(Self { plugin, nonce: nonce.strip_suffix(&[0]).unwrap_or(nonce).to_vec() })
    }

    /// The request's payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![AUTH_SWITCH];
        put_nul_bytes(&mut out, self.plugin.as_bytes());
        out.extend_from_slice(&self.nonce);
        out.push(0);
        out
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_survives_the_round_trip_and_every_truncation_is_an_error() {
        let greeting = Greeting {
            server_version: "9.7.4".into(),
            connection_id: 77,
            nonce: (1..=20).collect(),
            capabilities: Capabilities::PLUGIN_AUTH | Capabilities::PROTOCOL_41,
            collation: 255,
            status: 2,
            auth_plugin: "caching_sha2_password".into(),
        };
        let bytes = greeting.encode();
        assert_eq!(Greeting::parse(&bytes), Ok(greeting));
        for n in 0..bytes.len() {
            assert!(Greeting::parse(&bytes[..n]).is_err());
        }
    }

    #[test]
    fn a_login_survives_the_round_trip() {
        let mut login = Login {
            capabilities: Capabilities::FOUND_ROWS,
            packet_max: 1 << 24,
            collation: 45,
            user: b"shop".to_vec(),
            auth_response: vec![1; 32],
            schema: Some(b"shop".to_vec()),
            auth_plugin: "caching_sha2_password".into(),
            attributes: b"\x01a\x01b".to_vec(),
        };
        let parsed = Login::parse(&login.encode()).unwrap();
        assert!(parsed.capabilities.has(Capabilities::CONNECT_WITH_DB | Capabilities::FOUND_ROWS));
        login.capabilities = parsed.capabilities;
        assert_eq!(parsed, login);
        assert_eq!(Login::is_tls_request(&login.encode()), Ok(false));
        let short = login.encode_tls_request();
        assert_eq!(Login::is_tls_request(&short), Ok(true));
        assert!(Login::is_tls_request(&short[..3]).is_err());
    }
}
