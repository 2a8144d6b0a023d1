//! One private MySQL server: started over a fresh copy of the template, killed, stopped and started again.
//!
//! ```text
//! start -> running -> kill_nine | stop -> stopped -> restart -> running      drop: kill -9, folder removed
//! ```

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use crate::folder::Folder;
use crate::port::PortLease;
use crate::{Disk, Mysqld, NodeOptions, SandboxError, launch, template};

/// How long a server may take to answer after its start, or to end after it was asked to.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
/// Where in its folder a node's own disk is mounted.
const DISK: &str = "disk";
/// The protocol version that a MySQL greeting begins with.
const GREETING: u8 = 10;

/// A MySQL server of our own, listening on 127.0.0.1 and on a Unix socket.
#[derive(Debug)]
pub struct Node {
    mysqld: Mysqld,
    options: NodeOptions,
    lease: PortLease,
    folder: Folder,
    /// None while the server does not run.
    process: Option<Child>,
    /// What its data folder is on, if not on the disk of its folder.
    disk: Option<Disk>,
}

impl Node {
    /// Starts a server over a fresh data folder and waits until it greets connections. Blocks for a second or two;
    /// for some five seconds more where no node of this server version was started before.
    ///
    /// # Errors
    /// When the data folder cannot be made, or the server ends or does not greet within 60 seconds.
    pub fn start(mysqld: &Mysqld, options: NodeOptions) -> Result<Self, SandboxError> {
        let lease = match options.port {
            Some(port) => PortLease::chosen(port)?,
            None => PortLease::free()?,
        };
        let folder = Folder::fresh(&options)?;
        let disk = match options.disk {
            Some(bytes) => {
                let at = folder.path().join(DISK);
                fs::create_dir(&at)
                    .map_err(|source| SandboxError::io(format!("make {}", at.display()), &source))?;
                Some(Disk::mounted(&at, bytes)?)
            }
            None => None,
        };
        let mut node = Self { mysqld: mysqld.clone(), options, lease, folder, process: None, disk };
        match node.options.data.take() {
            None => template::copy_to(mysqld, &node.data())?,
            Some(data) => fs::rename(&data, node.data())
                .map_err(|source| SandboxError::io(format!("take over {}", data.display()), &source))?,
        }
        fs::create_dir(node.dir().join("tmp"))
            .and_then(|()| fs::write(node.option_file(), ""))
            .map_err(|source| SandboxError::io(format!("write in {}", node.dir().display()), &source))?;
        node.launch()?;
        Ok(node)
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// The TCP port on 127.0.0.1; the same for the node's whole life.
    pub fn port(&self) -> u16 {
        self.lease.port()
    }

    /// The address to connect to.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port()))
    }

    /// The Unix socket; the only way in for `root`, whose password is empty.
    pub fn socket(&self) -> &Path {
        self.folder.socket()
    }

    /// The node's own folder: `data`, `tmp`, `error.log`.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The server's data folder; its `ca.pem` and `public_key.pem` are what a client may trust.
    pub fn data(&self) -> PathBuf {
        let data = self.data_as_the_server_sees_it();
        self.disk.as_ref().map_or(data.clone(), |disk| disk.seen_from_here(&data))
    }

    fn data_as_the_server_sees_it(&self) -> PathBuf {
        match self.disk {
            Some(_) => self.dir().join(DISK).join("data"),
            None => self.dir().join("data"),
        }
    }

    /// The disk that the data folder is on, if it has one of its own.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// The server's error log.
    pub fn error_log(&self) -> PathBuf {
        self.dir().join("error.log")
    }

    /// Whether the server has ended by itself since it was last started.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn has_ended(&mut self) -> Result<bool, SandboxError> {
        let Some(process) = self.process.as_mut() else { return Ok(false) };
        match process.try_wait() {
            Ok(ended) => Ok(ended.is_some()),
            Err(source) => Err(SandboxError::io(format!("look at node '{}'", self.name()), &source)),
        }
    }

    /// The server's process id; `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Kills the server with `kill -9` and waits until it is gone. Does nothing if it does not run.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill_nine(&mut self) -> Result<(), SandboxError> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process
            .kill()
            .and_then(|()| process.wait())
            .map_err(|source| SandboxError::io(format!("kill node '{}'", self.name()), &source))?;
        Ok(())
    }

    /// Asks the server to shut down (SIGTERM) and waits until it has. Does nothing if it does not run.
    ///
    /// # Errors
    /// When it is still running after 60 seconds; it is then left running.
    pub fn stop(&mut self) -> Result<(), SandboxError> {
        let Some(process) = self.process.as_mut() else { return Ok(()) };
        let io = |source: io::Error| SandboxError::io(format!("stop node '{}'", self.options.name), &source);
        // The shell's own kill: a minimal machine has no other.
        let kill = format!("kill -TERM {}", process.id());
        Command::new("sh").arg("-c").arg(kill).stderr(Stdio::null()).status().map_err(io)?;
        let deadline = Instant::now() + DEADLINE;
        while process.try_wait().map_err(io)?.is_none() {
            if Instant::now() > deadline {
                let what = format!("did not shut down within {} s", DEADLINE.as_secs());
                return Err(self.failed(&what, "it still runs"));
            }
            thread::sleep(POLL);
        }
        self.process = None;
        Ok(())
    }

    /// Starts the server again over the same data and port, shutting it down first if it runs.
    ///
    /// # Errors
    /// When it does not shut down, ends at its start, or does not greet within 60 seconds.
    pub fn restart(&mut self) -> Result<(), SandboxError> {
        self.stop()?;
        // A killed server leaves its socket's lock with a process id that another process may have by now.
        for name in ["mysql.sock", "mysql.sock.lock"] {
            let stale = self.socket().with_file_name(name);
            match fs::remove_file(&stale) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(SandboxError::io(format!("remove {}", stale.display()), &source));
                }
                _ => {}
            }
        }
        self.launch()
    }

    fn option_file(&self) -> PathBuf {
        self.dir().join("my.cnf")
    }

    fn launch(&mut self) -> Result<(), SandboxError> {
        let child = launch::spawn(self.command())
            .map_err(|source| SandboxError::io(format!("start node '{}'", self.name()), &source))?;
        self.process = Some(child);
        let deadline = Instant::now() + DEADLINE;
        while !greets(self.address()) {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            if let Some(status) = ended {
                self.process = None;
                return Err(self.failed(&format!("ended at its start ({status})"), "it does not run"));
            }
            if Instant::now() > deadline {
                self.kill_nine()?;
                return Err(
                    self.failed(&format!("did not greet within {} s", DEADLINE.as_secs()), "it was killed")
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let options = &self.options;
        let user = match &self.disk {
            Some(disk) if disk.makes_us_root() => Some(launch::AS_ROOT),
            _ => launch::as_root(),
        };
        let (sync_binlog, flush) = if options.durable { (1, 1) } else { (0, 2) };
        let mut command = launch::dying_with_us(self.mysqld.program(), self.disk.as_ref());
        command
            // An empty file, not --no-defaults: under that a server also forgets what SET PERSIST told it, and a
            // fence (super_read_only) that was persisted would be gone after a crash.
            .arg(launch::option("defaults-file", self.option_file()))
            .args(user)
            .arg(launch::option("datadir", self.data_as_the_server_sees_it()))
            .arg(launch::option("socket", self.socket()))
            .arg(launch::option("tmpdir", self.dir().join("tmp")))
            .arg(launch::option("log-error", self.error_log()))
            .arg(format!("--port={}", self.port()))
            .arg(format!("--server-id={}", options.server_id))
            .arg(format!("--sync-binlog={sync_binlog}"))
            .arg(format!("--innodb-flush-log-at-trx-commit={flush}"))
            .args([
                "--bind-address=127.0.0.1",
                "--mysqlx=OFF",
                "--skip-name-resolve",
                "--secure-file-priv=NULL",
                "--log-error-verbosity=2",
                "--max-connections=500",
                // Clients that are killed on purpose must not get 127.0.0.1 blocked.
                "--max-connect-errors=1000000",
                "--performance-schema=ON",
                "--innodb-buffer-pool-size=256M",
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--log-bin=binlog",
                "--binlog-format=ROW",
                "--binlog-row-image=FULL",
            ])
            .args(&options.extra)
            .env("TZ", options.time_zone_env.as_deref().unwrap_or("UTC"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn failed(&self, what: &str, state: &str) -> SandboxError {
        SandboxError::new(
            format!("node '{}' on port {} {what}", self.name(), self.port()),
            format!("{state}; its error log ends:\n{}", launch::tail(&self.error_log())),
            "correct what the log names; with HIGHWATER_KEEP=1 the node's folder is kept to look at",
        )
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The folder goes next, by its own drop. Nobody is left to tell of a failure.
        let _ = self.kill_nine();
    }
}

/// Whether a server greets a connection to `address`. One that is still starting keeps us waiting for a while.
fn greets(address: SocketAddr) -> bool {
    let wait = Duration::from_secs(1);
    let mut start = [0; 5];
    TcpStream::connect_timeout(&address, wait).is_ok_and(|mut stream| {
        stream.set_read_timeout(Some(wait)).is_ok()
            && stream.read_exact(&mut start).is_ok()
            && start[4] == GREETING
    })
}
