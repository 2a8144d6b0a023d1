//! How a node is to be started.

use std::path::PathBuf;

/// What a node's server is started with. Begin with [`NodeOptions::new`], then change what must differ.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Says which node it is, in folder names and errors.
    pub name: String,
    /// MySQL's `server_id`; nodes that replicate from one another need different ones.
    pub server_id: u32,
    /// The port on 127.0.0.1; `None` reserves a free one for the node's life.
    pub port: Option<u16>,
    /// The server's TZ, such as `America/Los_Angeles`, which `time_zone=SYSTEM` then means; `None` is UTC.
    pub time_zone_env: Option<String>,
    /// More mysqld arguments, such as `--max-connections=20`; they win over the sandbox's own.
    pub extra: Vec<String>,
    /// Whether a commit survives a power cut (`sync_binlog=1`, `innodb_flush_log_at_trx_commit=1`); otherwise it
    /// survives `kill -9` only (0 and 2), and costs no disk flush.
    pub durable: bool,
    /// A data folder to start over, such as a clone's; it is moved into the node's own folder. `None` is a fresh one.
    pub data: Option<PathBuf>,
    /// How many bytes the disk has that the server's data folder is on, a [`crate::Disk`] of its own; `None` puts it into the node's
    /// folder. A fresh data folder takes some 210 MB, redo logs included.
    pub disk: Option<u64>,
    /// Where the node's own folder is made; `None` is the system's folder for temporary files.
    pub dir: Option<PathBuf>,
}

impl NodeOptions {
    /// A node with server id 1, a port of its own, UTC, and commits that cost no disk flush.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            server_id: 1,
            port: None,
            time_zone_env: None,
            extra: Vec::new(),
            durable: false,
            data: None,
            disk: None,
            dir: None,
        }
    }

    /// Sets MySQL's `server_id`.
    pub fn server_id(mut self, server_id: u32) -> Self {
        self.server_id = server_id;
        self
    }

    /// Chooses the port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets the server process's TZ.
    pub fn time_zone_env(mut self, zone: impl Into<String>) -> Self {
        self.time_zone_env = Some(zone.into());
        self
    }

    /// Adds a mysqld argument.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.extra.push(argument.into());
        self
    }

    /// Makes every commit flush to the disk.
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Starts over a data folder that is there, and moves it.
    pub fn data(mut self, data: impl Into<PathBuf>) -> Self {
        self.data = Some(data.into());
        self
    }

    /// Puts the data folder on a disk of its own with so many bytes.
    pub fn disk(mut self, bytes: u64) -> Self {
        self.disk = Some(bytes);
        self
    }

    /// Chooses the folder in which the node's own folder is made.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }
}
