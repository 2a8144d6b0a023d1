//! `bench clients`: as many clients as one process may open, on few backend connections.
//!
//! The clients are in this process and the door in another, `highwater proxy`, since a process may open only so many files.
//! Measured: the door's resident memory for each client that has run a query and is idle; what the active ones get
//! through meanwhile; and how long it takes until all have connected again and run a query after they were all cut off.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mysql::{Capabilities, ConnectOptions, Connection, Password};
use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Node, SHOP_PASSWORD, SHOP_USER};
use tokio::task::LocalSet;

use crate::cli::ClientsArgs;
use crate::ground::Ground;
use crate::machine::Machine;
use crate::report::{OURS, Report};
use crate::{Result, failed, table};

/// Clients that log in at the same time.
const LOGINS: usize = 256;
/// How long the active clients are measured.
const ACTIVE_FOR: Duration = Duration::from_secs(5);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The door, in a process of its own.
struct Door {
    process: Child,
    port: u16,
}

/// Runs the benchmark.
///
/// # Errors
/// If any client meets an error, or all have not been served in time.
pub fn run(args: &ClientsArgs) -> Result<()> {
    let ground = Ground::prepare(&args.common.place.dir)?;
    let node = ground.node("clients", 1)?;
    let machine = Machine::facts(ground.dir(), ground.version())?;
    eprintln!("{}", machine.line());
    let mut report = Report::new("clients", machine);
    let said = format!("{} clients, {} active, {} backends", args.clients, args.active, args.backends);
    report.settings.insert(OURS.to_owned(), said);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| failed("make a runtime", e))?;
    for _ in 0..args.common.rounds {
        let door = Door::open(args, ground.dir(), &node)?;
        LocalSet::new().block_on(&runtime, round(args, &door, &node, &mut report))?;
    }
    let file = report.write(args.common.place.json.as_deref())?;
    table::print(&report, &file);
    Ok(())
}

async fn round(args: &ClientsArgs, door: &Door, node: &Node, report: &mut Report) -> Result<()> {
    // What the first login costs once is no client's.
    let mut clients = connect(door.port, 1).await?;
    let empty = door.resident_kib()?;
    clients.extend(connect(door.port, args.clients - 1).await?);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let grown = door.resident_kib()?.saturating_sub(empty) as f64;
    report.add("memory per idle client", "KiB", OURS, grown / args.clients as f64);

    let idle = clients.split_off(args.active.min(clients.len()));
    let rate = work(clients).await?;
    report.add_rate("queries of the active clients", "queries/s", OURS, rate);
    let backends = backends(node).await?;
    report.add("backend connections", "connections", OURS, backends as f64);
    if backends > args.backends {
        return Err(failed("share", format!("{backends} connections were open, {} allowed", args.backends)));
    }

    drop(idle);
    let began = Instant::now();
    let again = tokio::time::timeout(PATIENCE, connect(door.port, args.clients)).await;
    let again = again.map_err(|_| failed("connect everybody again", "it took over 60 s"))??;
    report.add("all clients connected again and served", "s", OURS, began.elapsed().as_secs_f64());
    drop(again);
    Ok(())
}

/// Connects so many clients, of which each runs a query.
async fn connect(port: u16, count: usize) -> Result<Vec<Connection>> {
    let mut clients = Vec::with_capacity(count);
    let mut opening = tokio::task::JoinSet::new();
    for n in 0..count {
        if opening.len() >= LOGINS {
            clients.push(joined(opening.join_next().await)?);
        }
        opening.spawn_local(async move {
            let mut options = ConnectOptions::new("127.0.0.1", port, SHOP_USER, Password::new(SHOP_PASSWORD));
            options.capabilities = Capabilities::DEPRECATE_EOF;
            options.collation = 45;
            options.timeout = PATIENCE;
            let mut client = Connection::connect(&options).await?;
            client.query(format!("SELECT {n}")).await?;
            Ok::<_, mysql::Error>(client)
        });
    }
    while !opening.is_empty() {
        clients.push(joined(opening.join_next().await)?);
    }
    Ok(clients)
}

fn joined(
    one: Option<std::result::Result<mysql::Result<Connection>, tokio::task::JoinError>>,
) -> Result<Connection> {
    match one {
        Some(Ok(Ok(client))) => Ok(client),
        Some(Ok(Err(error))) => Err(failed("connect a client", error)),
        _ => Err(failed("connect a client", "its task was lost")),
    }
}

/// Lets these clients query as fast as they can; returns queries per second.
async fn work(clients: Vec<Connection>) -> Result<f64> {
    let began = Instant::now();
    let mut working = tokio::task::JoinSet::new();
    for mut client in clients {
        working.spawn_local(async move {
            let mut queries = 0u64;
            while began.elapsed() < ACTIVE_FOR {
                client.query("SELECT 1").await?;
                queries += 1;
            }
            Ok::<_, mysql::Error>(queries)
        });
    }
    let mut all = 0;
    while let Some(one) = working.join_next().await {
        match one {
            Ok(Ok(queries)) => all += queries,
            Ok(Err(error)) => return Err(failed("query", error)),
            Err(_) => return Err(failed("query", "a task was lost")),
        }
    }
    Ok(all as f64 / began.elapsed().as_secs_f64())
}

/// Connections of the door to the server.
async fn backends(node: &Node) -> Result<usize> {
    let options = ConnectOptions::new("127.0.0.1", node.port(), ADMIN_USER, Password::new(ADMIN_PASSWORD));
    let asked = async {
        let mut admin = Connection::connect(&options).await?;
        let sql = "SELECT COUNT(*) FROM performance_schema.processlist WHERE user = 'shop'";
        Ok::<_, mysql::Error>(admin.row(sql).await?.and_then(|row| row.number(0)))
    };
    let count = asked.await.map_err(|e| failed("count the connections", e))?;
    count.ok_or_else(|| failed("count the connections", "the server gave no number"))
}

impl Door {
    /// Starts `highwater proxy` before the server, and waits until it listens.
    fn open(args: &ClientsArgs, dir: &Path, node: &Node) -> Result<Self> {
        let program = match &args.common.place.program {
            Some(program) => program.clone(),
            None => beside().map_err(|e| failed("find highwater", e))?,
        };
        let dir = dir.join("door");
        let port = free_port().map_err(|e| failed("find a free port", e))?;
        let settings = format!(
            "[clusters.main]\nhost = '127.0.0.1'\nport = {}\nuser = '{ADMIN_USER}'\npassword_file = 'password'\n\
             [front_door]\nlisten = '127.0.0.1:{port}'\nbackends_max = {}\nqueue_max = '60s'\n",
            node.port(),
            args.backends
        );
        let written = fs::create_dir_all(&dir)
            .and_then(|()| fs::write(dir.join("password"), ADMIN_PASSWORD))
            .and_then(|()| fs::write(dir.join("highwater.toml"), settings))
            .and_then(|()| fs::File::create(dir.join("said")));
        let log = written.map_err(|e| failed("write the door's settings", e))?;
        let process = Command::new(&program)
            .arg("proxy")
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| failed(format!("start {}", program.display()), e))?;
        let mut door = Self { process, port };
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = door.process.try_wait().map_err(|e| failed("look at the door", e))?;
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(dir.join("said")).unwrap_or_default();
                return Err(failed("open the door", said));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(door)
    }

    /// Its resident memory, in KiB.
    fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.map_err(|e| failed("read the door's memory", e))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        kib.ok_or_else(|| failed("read the door's memory", "the kernel does not say"))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Best effort: it holds nothing that must be kept.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn beside() -> std::io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("highwater"))
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
