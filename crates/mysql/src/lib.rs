//! The connections Highwater itself opens: connect, log in, query, and follow the binary log.
//!
//! Invariant: after an error that is not the server's own answer, a [`Connection`] is never used again; nothing here
//! reconnects or repeats a statement by itself, because only the caller knows whether a repeat is safe.

mod connect;
mod connection;
mod dump;
mod error;
mod frames;
mod result;
mod stream;
pub mod tls;
mod tls_end;

pub use connect::{ConnectOptions, Password, ServerKey};
pub use connection::Connection;
pub use dump::{BinlogStream, DumpOptions};
pub use error::{Error, Result};
pub use result::{QueryResult, ResultSet, Row};
pub use stream::{ParkedStream, Stream};
pub use tls::{Tls, TlsFileError, TlsFiles, TlsMode};
pub use wire::Capabilities;
pub use wire::response::{ErrPacket, OkPacket};
