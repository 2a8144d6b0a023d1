//! `mysqldump | mysql`, as the manual has it for a live InnoDB server.
//!
//! With GTIDs on, mysqldump writes `SET @@SESSION.SQL_LOG_BIN=0` into the dump by itself (--set-gtid-purged=AUTO), so
//! the target does not write a binary log meanwhile; ours does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sandbox::{ADMIN_PASSWORD, ADMIN_USER};

use super::{Contestant, Turn, Used};
use crate::ground::Ground;
use crate::tools::last_lines;
use crate::{Result, cpu, failed};

const DUMP: [&str; 4] = ["--single-transaction", "--quick", "--skip-comments", "--databases"];

/// The pipe.
pub struct Mysqldump {
    dump: PathBuf,
    client: PathBuf,
    schemas: Vec<&'static str>,
}

impl Mysqldump {
    /// With the tools that came with the server.
    pub fn new(ground: &Ground, schemas: &[&'static str]) -> Result<Self> {
        let find =
            |name: &str| ground.tool(name).ok_or_else(|| failed(format!("find {name}"), "it is missing"));
        Ok(Self { dump: find("mysqldump")?, client: find("mysql")?, schemas: schemas.to_vec() })
    }
}

/// One of the server's client programs, aimed at a port.
pub fn client(program: &Path, port: u16) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--ssl-mode=DISABLED"])
        .arg("--get-server-public-key")
        .arg(format!("--port={port}"))
        .arg(format!("--user={ADMIN_USER}"))
        .env("MYSQL_PWD", ADMIN_PASSWORD);
    command
}

impl Contestant for Mysqldump {
    fn name(&self) -> &'static str {
        "mysqldump"
    }

    fn settings(&self) -> String {
        format!("mysqldump {} {} | mysql, TCP without TLS", DUMP.join(" "), self.schemas.join(" "))
    }

    fn loses(&self) -> Option<&'static str> {
        Some("FLOATs are rounded to the six digits the server prints")
    }

    fn prepare(&mut self, _turn: &mut Turn) -> Result<()> {
        Ok(())
    }

    fn copy(&mut self, turn: &mut Turn) -> Result<Used> {
        let before = cpu::of_ended_children()?;
        let io = |e: std::io::Error| failed("run mysqldump | mysql", e);
        let mut dump = client(&self.dump, turn.source.port())
            .args(DUMP)
            .args(&self.schemas)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(io)?;
        let pipe = dump.stdout.take().map_or_else(Stdio::null, Stdio::from);
        let loaded = client(&self.client, turn.target.port()).stdin(pipe).output();
        let dumped = dump.wait().map_err(io)?;
        let loaded = loaded.map_err(io)?;
        if !dumped.success() || !loaded.status.success() {
            let errors = last_lines("", &String::from_utf8_lossy(&loaded.stderr));
            return Err(failed(
                "run mysqldump | mysql",
                format!("mysqldump: {dumped}, mysql: {}: {errors}", loaded.status),
            ));
        }
        Ok(Used { cpu: cpu::of_ended_children()? - before, memory: None })
    }

    fn leave(&mut self, _turn: &mut Turn) -> Result<()> {
        Ok(())
    }
}
