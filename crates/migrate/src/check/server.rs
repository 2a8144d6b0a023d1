//! A server to be checked, and the two sessions on it that a check asks.

use mysql::{ConnectOptions, Connection};

/// Handshakes give a collation by number; this is utf8mb4_0900_ai_ci, which clients of MySQL 8.0 and later ask for.
const UTF8MB4: u8 = 255;

/// A server, with a session of ours and one such as an application gets.
#[derive(Debug)]
pub struct Server {
    /// Where facts are read.
    pub(super) ours: Connection,
    /// Where the server is asked what it does. Ours would not tell: its character set is `binary`, and a check changes
    /// settings of it.
    pub(super) application: Connection,
}

impl Server {
    /// Opens both sessions.
    ///
    /// # Errors
    /// As [`Connection::connect`].
    pub async fn connect(options: &ConnectOptions) -> mysql::Result<Self> {
        let ours = Connection::connect(options).await?;
        let mut plain = options.clone();
        plain.collation = UTF8MB4;
        // An application has a schema of its own, which the target may not have yet; of this one every account sees
        // something. Without any, a function that is missing would be reported as a schema that is not selected.
        plain.schema = Some(b"information_schema".to_vec());
        let application = Connection::connect(&plain).await?;
        Ok(Self { ours, application })
    }

    /// The session in which facts are read, for whoever must ask first.
    pub fn session(&mut self) -> &mut Connection {
        &mut self.ours
    }
}
