//! A connection whose calls block: a benchmark does one thing at a time, and measures from plain threads.

use model::Trouble;
use mysql::{ConnectOptions, Connection, Password, Row};
use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Node};
use tokio::runtime::{Builder, Runtime};

use crate::{Result, failed};

/// A connection and what drives it.
pub struct Sql {
    runtime: Runtime,
    connection: Connection,
    server: String,
}

impl Sql {
    /// Connects to a node as the account that may do everything.
    pub fn on(node: &Node) -> Result<Self> {
        Self::at(node.name(), node.port())
    }

    /// Connects to a port of this machine.
    pub fn at(server: &str, port: u16) -> Result<Self> {
        Self::with(server, &admin(port))
    }

    /// Connects as told.
    pub fn with(server: &str, options: &ConnectOptions) -> Result<Self> {
        let runtime = runtime()?;
        let connection = runtime
            .block_on(Connection::connect(options))
            .map_err(|e| failed(format!("connect to server '{server}'"), e))?;
        Ok(Self { runtime, connection, server: server.to_owned() })
    }

    /// Runs a statement that returns no rows.
    pub fn execute(&mut self, sql: &str) -> Result<()> {
        let done = self.runtime.block_on(self.connection.execute(sql));
        done.map(|_| ()).map_err(|e| self.refused(sql, &e))
    }

    /// The rows of a statement.
    pub fn rows(&mut self, sql: &str) -> Result<Vec<Row>> {
        let rows = self.runtime.block_on(self.connection.rows(sql));
        rows.map_err(|e| self.refused(sql, &e))
    }

    /// The first cell of the first row; empty if there is none.
    pub fn text(&mut self, sql: &str) -> Result<String> {
        Ok(self.rows(sql)?.first().map(|row| row.text(0)).unwrap_or_default())
    }

    fn refused(&self, sql: &str, error: &mysql::Error) -> Trouble {
        let short: String = sql.chars().take(60).collect();
        failed(format!("run '{short}' on server '{}'", self.server), error)
    }
}

/// The account that may do everything, at a port.
pub fn admin(port: u16) -> ConnectOptions {
    ConnectOptions::new("127.0.0.1", port, ADMIN_USER, Password::new(ADMIN_PASSWORD))
}

/// A runtime on the calling thread.
pub fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().map_err(|e| failed("start a runtime", e))
}
