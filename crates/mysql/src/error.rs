//! What can go wrong on a connection of ours, and what the caller may conclude from it.

use wire::WireError;
use wire::response::ErrPacket;

/// An error of a connection of ours.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server could not be reached.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// `host:port`.
        address: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The server refused the login.
    #[error("{address} refused the login of account '{user}': {error}", error = Shown(error))]
    Login {
        /// `host:port`.
        address: String,
        /// Account name.
        user: String,
        /// The server's answer.
        error: ErrPacket,
    },
    /// The password would have to be encrypted with a key nobody vouches for.
    #[error("{address} asks for the password, and its public key is not trusted")]
    UntrustedKey {
        /// `host:port`.
        address: String,
    },
    /// TLS is not to be had as it was asked for.
    #[error("no TLS with {address}: {reason}")]
    Tls {
        /// `host:port`.
        address: String,
        /// What TLS said.
        reason: String,
    },
    /// The server answered a statement with an error; the connection stays usable.
    #[error("{}", Shown(.0))]
    Server(ErrPacket),
    /// The connection broke; whether a statement in flight had an effect is not known.
    #[error("connection lost: {0}")]
    Lost(#[from] std::io::Error),
    /// The server sent something that cannot be understood.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The server sent a well-formed packet that has no place here.
    #[error("unexpected answer from the server: {0}")]
    Unexpected(&'static str),
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The server's error number, if the server answered with one.
    pub fn server_code(&self) -> Option<u16> {
        match self {
            Self::Server(e) | Self::Login { error: e, .. } => Some(e.code),
            _ => None,
        }
    }

    /// Whether the server has no table (1146), or no schema (1049), of the name that was used.
    pub fn is_unknown_table(&self) -> bool {
        matches!(self.server_code(), Some(1049 | 1146))
    }

    /// Whether the connection or the server went away, so that reconnecting may help. 1053 is a server shutting
    /// down, 1927/3169 a killed connection, 1040 too many connections.
    pub fn is_connection_lost(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Lost(_) => true,
            Self::Server(e) | Self::Login { error: e, .. } => {
                matches!(e.code, 1053 | 1927 | 3169 | 1040 | 1152..=1161)
            }
            _ => false,
        }
    }
}

struct Shown<'a>(&'a ErrPacket);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = String::from_utf8_lossy(&self.0.sql_state);
        write!(f, "server error {} ({state}): {}", self.0.code, self.0.message)
    }
}
