//! Bytes to MySQL packets and binary log events, and back; no sockets, no allocation that a peer's length field decides.
//!
//! Invariant: no input, however malformed, can panic here. Everything that reads goes through [`Reader`], whose
//! every step is bounds-checked; the worst a hostile peer gets is a [`WireError`].

pub mod auth;
pub mod binlog;
pub mod capability;
pub mod command;
pub mod compressed;
pub mod handshake;
pub mod packet;
pub mod proxy_header;
mod reader;
pub mod response;

pub use capability::Capabilities;
pub use reader::{Reader, put_lenenc_bytes, put_lenenc_int, put_nul_bytes};

/// Why bytes could not be read as what they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end before the structure does.
    #[error("packet ends early while reading {0}")]
    Truncated(&'static str),
    /// A field has a value that the protocol does not allow.
    #[error("packet is malformed: {0}")]
    Malformed(&'static str),
    /// Well-formed, but of a kind this program does not know; never skipped.
    #[error("unsupported {0}")]
    Unsupported(String),
    /// A checksum over the bytes does not match the one sent with them.
    #[error("checksum mismatch in a binary log event")]
    Checksum,
    /// An RSA or random-number operation failed.
    #[error("cryptographic operation failed: {0}")]
    Crypto(&'static str),
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, WireError>;
