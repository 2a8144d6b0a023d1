//! The servers a benchmark runs on: every one durable, every one with the same options, whoever uses it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use model::Trouble;
use sandbox::{Mysqld, Node, NodeOptions, SandboxError};

use crate::{Result, failed};

/// Beyond the sandbox's own (GTIDs, row format, `sync_binlog=1`, `innodb_flush_log_at_trx_commit=1`): memory and redo
/// log that fit the data, so that no contestant waits for pages to be written; what clone needs; and a replica that
/// does not start before it is timed.
const OPTIONS: [&str; 4] = [
    "--innodb-buffer-pool-size=1G",
    "--innodb-redo-log-capacity=1G",
    "--plugin-load-add=mysql_clone.so",
    "--skip-replica-start",
];

/// Where servers are started, and which program they are.
pub struct Ground {
    mysqld: Mysqld,
    dir: PathBuf,
}

impl Ground {
    /// Finds the server program, or has it fetched, and makes the folder.
    pub fn prepare(dir: &Path) -> Result<Self> {
        let mysqld = Mysqld::find().map_err(trouble)?;
        let made = fs::create_dir_all(dir).and_then(|()| dir.canonicalize());
        let dir = made.map_err(|e| failed(format!("make {}", dir.display()), e))?;
        Ok(Self { mysqld, dir })
    }

    /// The folder for data, on the disk that is measured.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The servers' version.
    pub fn version(&self) -> &str {
        self.mysqld.version()
    }

    /// A client tool that came with the server.
    pub fn tool(&self, name: &str) -> Option<PathBuf> {
        self.mysqld.tool(name)
    }

    /// A new, empty, durable server.
    pub fn node(&self, name: &str, server_id: u32) -> Result<Node> {
        let options = NodeOptions::new(name).server_id(server_id).durable().dir(&self.dir);
        let options = OPTIONS.into_iter().fold(options, NodeOptions::arg);
        Node::start(&self.mysqld, options).map_err(trouble)
    }

    /// A new, empty server whose commits wait for no disk, with more options: for what stands before a server.
    pub fn swift_node(&self, name: &str, more: &[String]) -> Result<Node> {
        let options = more.iter().fold(NodeOptions::new(name).dir(&self.dir), NodeOptions::arg);
        Node::start(&self.mysqld, OPTIONS.into_iter().fold(options, NodeOptions::arg)).map_err(trouble)
    }

    /// Keeps a stopped server's data folder, without the identity that no two servers may share.
    pub fn keep_data(&self, node: &mut Node, name: &str) -> Result<PathBuf> {
        let kept = self.dir.join(name);
        let doing = format!("keep the data of '{}'", node.name());
        node.stop().map_err(trouble)?;
        copy_anew(&node.data(), &kept)
            .and_then(|()| fs::remove_file(kept.join("auto.cnf")))
            .map_err(|e| failed(doing, e))?;
        Ok(kept)
    }

    /// Puts a server back to data that was kept, and starts it.
    pub fn put_back(node: &mut Node, kept: &Path) -> Result<()> {
        node.kill_nine().map_err(trouble)?;
        let data = node.data();
        copy_anew(kept, &data).map_err(|e| failed(format!("copy {}", kept.display()), e))?;
        node.restart().map_err(trouble)
    }
}

/// Writes what is still in memory to the disk, so that nobody pays for what was done before his turn.
pub fn flush_disks() -> Result<()> {
    let done = Command::new("sync").status().map_err(|e| failed("run sync", e))?;
    if done.success() { Ok(()) } else { Err(failed("run sync", done)) }
}

/// The three parts of a sandbox's error.
pub fn trouble(error: SandboxError) -> Trouble {
    Trouble::new(error.what, error.state, error.hint)
}

fn copy_anew(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    copy(from, to)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
