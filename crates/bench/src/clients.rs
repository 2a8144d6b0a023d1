//! `bench clients`: as many clients as one process may open, on few backend connections.
//!
//! The clients are in this process and the door in another, `highwater proxy`, since a process may open only so many files.
//! Measured: the door's resident memory for each client that has run a query and is idle; what the active ones get
//! through meanwhile; and how long it takes until all have connected again and run a query after they were all cut off.
//!
//! With `--tls` all of that once more, with clients under TLS, of which each does a whole handshake at every login: in a process of
//! its own it would know no ticket either. The server's side stays in plain text: it is of the 200 connections, not of the clients.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use mysql::{Capabilities, ConnectOptions, Connection, Password, Tls, TlsFileError, TlsFiles, TlsMode};
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
/// How long all clients under TLS together may take to connect: each handshake is computed twice on this machine, by the door and
/// by the client.
const PATIENCE_OF_TLS: Duration = Duration::from_secs(240);

/// How the clients come in.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Plain,
    Tls,
}

impl Way {
    /// A case's name.
    fn case(self, measure: &str) -> String {
        match self {
            Self::Plain => measure.to_owned(),
            Self::Tls => format!("{measure}, TLS"),
        }
    }

    /// How one client connects to a port.
    fn options(self, port: u16) -> std::result::Result<ConnectOptions, TlsFileError> {
        let mut options = ConnectOptions::new("127.0.0.1", port, SHOP_USER, Password::new(SHOP_PASSWORD));
        options.capabilities = Capabilities::DEPRECATE_EOF;
        options.collation = 45;
        options.timeout = PATIENCE;
        if self == Self::Tls {
            options.tls = Tls::new(TlsMode::Required, TlsFiles::default())?;
        }
        Ok(options)
    }

    /// How long all clients together may take to connect.
    fn patience(self) -> Duration {
        match self {
            Self::Plain => PATIENCE,
            Self::Tls => PATIENCE_OF_TLS,
        }
    }

    /// What the door is told.
    fn settings(self, node: &Node) -> String {
        let file = |name: &str| node.data().join(name).display().to_string();
        match self {
            Self::Plain => String::new(),
            Self::Tls => format!(
                "tls_cert = '{}'\ntls_key = '{}'\ntls_required = true\n",
                file("server-cert.pem"),
                file("server-key.pem")
            ),
        }
    }
}

/// The door, in a process of its own.
struct Door {
    process: Child,
    port: u16,
    way: Way,
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
    let ways = if args.tls { &[Way::Plain, Way::Tls][..] } else { &[Way::Plain] };
    for _ in 0..args.common.rounds {
        for way in ways {
            let door = Door::open(args, ground.dir(), &node, *way)?;
            LocalSet::new().block_on(&runtime, round(args, &door, &node, &mut report))?;
        }
    }
    let file = report.write(args.common.place.json.as_deref())?;
    table::print(&report, &file);
    Ok(())
}

async fn round(args: &ClientsArgs, door: &Door, node: &Node, report: &mut Report) -> Result<()> {
    // What the first login costs once is no client's.
    let mut clients = connect(door, 1).await?;
    let empty = door.resident_kib()?;
    let others = args.clients.saturating_sub(1);
    clients.extend(connect(door, others).await?);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let grown = door.resident_kib()?.saturating_sub(empty) as f64;
    let way = door.way;
    report.add(&way.case("memory per idle client"), "KiB", OURS, grown / others.max(1) as f64);

    let idle = clients.split_off(args.active.min(clients.len()));
    let rate = work(clients).await?;
    report.add_rate(&way.case("queries of the active clients"), "queries/s", OURS, rate);
    let backends = backends(node).await?;
    report.add(&way.case("backend connections"), "connections", OURS, backends as f64);
    if backends > args.backends {
        return Err(failed("share", format!("{backends} connections were open, {} allowed", args.backends)));
    }

    drop(idle);
    let began = Instant::now();
    let again = tokio::time::timeout(way.patience(), connect(door, args.clients)).await;
    let too_late = || failed("connect everybody again", format!("it took over {:?}", way.patience()));
    let again = again.map_err(|_| too_late())??;
    let took = began.elapsed().as_secs_f64();
    report.add(&way.case("all clients connected again and served"), "s", OURS, took);
    eprintln!(
        "{}",
        way.case(&format!(
            "{:.2} KiB an idle client, {rate:.0} queries/s, {took:.1} s",
            grown / others.max(1) as f64
        ))
    );
    drop(again);
    Ok(())
}

/// Connects so many clients, of which each runs a query.
async fn connect(door: &Door, count: usize) -> Result<Vec<Connection>> {
    let mut clients = Vec::with_capacity(count);
    let mut opening = tokio::task::JoinSet::new();
    for n in 0..count {
        if opening.len() >= LOGINS {
            clients.push(joined(opening.join_next().await)?);
        }
        let options = door.way.options(door.port).map_err(|e| failed("ready a client", e))?;
        opening.spawn_local(async move {
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
    fn open(args: &ClientsArgs, dir: &Path, node: &Node, way: Way) -> Result<Self> {
        let program = crate::program::find(args.common.place.program.as_deref())?;
        let dir = dir.join("door");
        let port = free_port().map_err(|e| failed("find a free port", e))?;
        let settings = format!(
            "[clusters.main]\nhost = '127.0.0.1'\nport = {}\nuser = '{ADMIN_USER}'\npassword_file = 'password'\n\
             [front_door]\nlisten = '127.0.0.1:{port}'\nbackends_max = {}\nqueue_max = '60s'\n{}",
            node.port(),
            args.backends,
            way.settings(node)
        );
        let written = fs::create_dir_all(&dir)
            .and_then(|()| fs::write(dir.join("password"), ADMIN_PASSWORD))
            .and_then(|()| fs::write(dir.join("highwater.toml"), settings))
            .and_then(|()| fs::File::create(dir.join("said")));
        let log = written.map_err(|e| failed("write the door's settings", e))?;
        let process = crate::program::dying_with_us(&program)
            .arg("proxy")
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| failed(format!("start {}", program.display()), e))?;
        let mut door = Self { process, port, way };
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

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
