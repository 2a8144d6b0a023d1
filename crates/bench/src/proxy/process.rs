//! A proxy's process: started with fresh settings for each turn, ended when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use mysql::ConnectOptions;
use sandbox::Node;

use crate::sql::{Sql, admin};
use crate::tools::last_lines;
use crate::{Result, failed, program};

/// How long it may take to be ready.
const STARTING: Duration = Duration::from_secs(20);
/// Between two looks.
const POLL: Duration = Duration::from_millis(20);

/// A running proxy.
pub struct Process {
    name: &'static str,
    process: Child,
    said: PathBuf,
}

impl Process {
    /// Writes its files into a folder of its own, and starts it there.
    pub fn start(
        name: &'static str,
        program: &Path,
        arguments: &[String],
        files: &[(&str, String)],
        dir: &Path,
    ) -> Result<Self> {
        let starting = |e: std::io::Error| failed(format!("start {name}"), e);
        if dir.exists() {
            fs::remove_dir_all(dir).map_err(starting)?;
        }
        fs::create_dir_all(dir).map_err(starting)?;
        for (file, text) in files {
            fs::write(dir.join(file), text).map_err(starting)?;
        }
        let said = dir.join("said");
        let log = fs::File::create(&said).map_err(starting)?;
        let process = program::dying_with_us(program)
            .args(arguments)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(starting)?)
            .stderr(log)
            .spawn()
            .map_err(starting)?;
        Ok(Self { name, process, said })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until a login through it, in plain text, ends at this server.
    pub fn wait_until_it_leads_to(&mut self, server: &Node, port: u16) -> Result<()> {
        self.wait_until_a_login_leads_to(server, &admin(port))
    }

    /// The same of a login such as this.
    pub fn wait_until_a_login_leads_to(&mut self, server: &Node, login: &ConnectOptions) -> Result<()> {
        let doing = format!("reach the server through {}", self.name);
        let deadline = Instant::now() + STARTING;
        loop {
            if let Some(status) = self.process.try_wait().map_err(|e| failed(&doing, e))? {
                return Err(failed(&doing, format!("{status}; {}", self.said())));
            }
            match Sql::with(self.name, login).and_then(|mut sql| sql.text("SELECT @@port")) {
                Ok(there) if there == server.port().to_string() => return Ok(()),
                Ok(there) => return Err(failed(&doing, format!("it leads to port {there}"))),
                Err(trouble) if Instant::now() > deadline => return Err(trouble),
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    fn said(&self) -> String {
        last_lines("", &fs::read_to_string(&self.said).unwrap_or_default())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It holds nothing that would have to be kept.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
