//! Who stands before the server: nobody, ours, and its peers; each a program, its arguments and its settings files.

use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Node};

use super::process::Process;
use crate::cli::CommonArgs;
use crate::report::{OURS, Report};
use crate::tools::{self, Tools};
use crate::{Result, failed};

/// The server itself, with nobody before it.
pub const DIRECT: &str = "direct";
/// More connections than any work opens.
const CONNECTIONS_MAX: usize = 2000;

/// A proxy, or nobody.
pub struct Contestant {
    /// As results name it.
    pub name: &'static str,
    /// How it is run, in words that can be repeated.
    pub settings: String,
    /// Its program with arguments, run where the files are; `None` is nobody.
    pub program: Option<(PathBuf, Vec<String>)>,
    /// Settings, by file name.
    pub files: Vec<(&'static str, String)>,
    /// Where clients connect.
    pub port: u16,
}

impl Contestant {
    /// Starts it in a folder of its own under `dir`; ready when this returns.
    pub fn start(&self, server: &Node, dir: &Path) -> Result<Option<Process>> {
        let Some((program, arguments)) = &self.program else { return Ok(None) };
        let mut process = Process::start(self.name, program, arguments, &self.files, &dir.join(self.name))?;
        process.wait_until_it_leads_to(server, self.port)?;
        Ok(Some(process))
    }
}

/// Everyone who is wanted and can be had; the report learns who is not.
pub fn everyone(
    args: &CommonArgs,
    server: &Node,
    threads: usize,
    report: &mut Report,
) -> Result<Vec<Contestant>> {
    let mut ports = FreePorts(12_999);
    let mut all = vec![(DIRECT, Ok(direct(server))), (OURS, ours(args, server, threads, ports.next()?))];
    match Tools::from_script_for("scripts/bench-tools.sh", &["proxies"]) {
        Ok(tools) => all.extend([
            ("haproxy", haproxy(&tools, server, threads, ports.next()?)),
            ("router", router(&tools, server, threads, ports.next()?, false)),
            ("router_sharing", router(&tools, server, threads, ports.next()?, true)),
        ]),
        Err(trouble) => {
            for name in ["haproxy", "router", "router_sharing"] {
                report.absent.insert(name.to_owned(), trouble.what.clone());
            }
        }
    }
    report.absent.insert("proxysql".to_owned(), "Debian has no package of it, stable or unstable".to_owned());
    let mut wanted = Vec::new();
    for (name, contestant) in all {
        match contestant {
            // Its latency is what the others' is told in addition to.
            _ if name != DIRECT && !args.wants(name) => {
                report.absent.insert(name.to_owned(), "left out by --only".to_owned());
            }
            Ok(contestant) => {
                report.settings.insert(name.to_owned(), contestant.settings.clone());
                wanted.push(contestant);
            }
            Err(trouble) if name == OURS => return Err(trouble),
            Err(trouble) => {
                report.absent.insert(name.to_owned(), trouble.what);
            }
        }
    }
    Ok(wanted)
}

fn direct(server: &Node) -> Contestant {
    let settings = "clients on the server itself".to_owned();
    Contestant { name: DIRECT, settings, program: None, files: Vec::new(), port: server.port() }
}

/// The door alone, as `highwater proxy` runs it: `serve` is the same door beside moves.
fn ours(args: &CommonArgs, server: &Node, threads: usize, port: u16) -> Result<Contestant> {
    let toml = format!(
        "state_dir = 'state'\n[clusters.site]\nhost = '127.0.0.1'\nport = {}\nuser = '{ADMIN_USER}'\n\
         password_file = 'password'\n[front_door]\nlisten = '127.0.0.1:{port}'\nthreads = {threads}\n",
        server.port()
    );
    Ok(Contestant {
        name: OURS,
        settings: format!(
            "highwater proxy, threads = {threads}; server connections shared between transactions, at most 200"
        ),
        program: Some((crate::program::find(args.place.program.as_deref())?, vec!["proxy".to_owned()])),
        files: vec![("highwater.toml", toml), ("password", ADMIN_PASSWORD.to_owned())],
        port,
    })
}

fn haproxy(tools: &Tools, server: &Node, threads: usize, port: u16) -> Result<Contestant> {
    let program = tools.path("HAPROXY")?;
    let version = first_line(Command::new(&program).arg("-v"))?;
    let cfg = format!(
        "global\n  nbthread {threads}\n  maxconn {CONNECTIONS_MAX}\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
         timeout client 1h\n  timeout server 1h\nlisten door\n  bind 127.0.0.1:{port}\n  server site 127.0.0.1:{}\n",
        server.port()
    );
    Ok(Contestant {
        name: "haproxy",
        settings: format!("{version}: mode tcp, nbthread {threads}; a server connection for each client"),
        program: Some((program, ["-db", "-f", "haproxy.cfg"].map(str::to_owned).to_vec())),
        files: vec![("haproxy.cfg", cfg)],
        port,
    })
}

/// MySQL Router. To share it must be able to log in as the client, so it has to learn the password: on connections without
/// TLS it does so with the key of its certificate, and without one nothing is shared. That was seen: with
/// `client_ssl_mode=DISABLED` the server is asked to change no connection's user; with a certificate it is.
fn router(tools: &Tools, server: &Node, threads: usize, port: u16, shares: bool) -> Result<Contestant> {
    let program = tools.path("MYSQLROUTER")?;
    let version = first_line(Command::new(&program).arg("--version"))?;
    let (clients, sharing, pool) = match shares {
        false => ("DISABLED".to_owned(), String::new(), String::new()),
        true => (
            format!(
                "PREFERRED\nclient_ssl_cert={0}/server-cert.pem\nclient_ssl_key={0}/server-key.pem",
                server.data().display()
            ),
            "connection_sharing=1\nconnection_sharing_delay=0\n".to_owned(),
            format!("[connection_pool]\nmax_idle_server_connections={CONNECTIONS_MAX}\n"),
        ),
    };
    let conf = format!(
        "[DEFAULT]\nplugin_folder={}\nruntime_folder=.\ndata_folder=.\nlogging_folder=\n\
         max_total_connections={CONNECTIONS_MAX}\n[logger]\nlevel=warning\n[io]\nthreads={threads}\n[routing:door]\n\
         bind_address=127.0.0.1\nbind_port={port}\ndestinations=127.0.0.1:{}\nrouting_strategy=first-available\n\
         protocol=classic\nmax_connections={CONNECTIONS_MAX}\nserver_ssl_mode=DISABLED\nclient_ssl_mode={clients}\n\
         {sharing}{pool}",
        tools.path("ROUTER_PLUGINS")?.display(),
        server.port()
    );
    let (name, how) = match shares {
        false => ("router", "connection_sharing=0; a server connection for each client"),
        true => (
            "router_sharing",
            "connection_sharing=1, connection_sharing_delay=0; server connections shared between transactions of text \
             statements, kept by clients with prepared ones",
        ),
    };
    Ok(Contestant {
        name,
        settings: format!("{version}: io threads {threads}, {how}"),
        program: Some((program, ["-c", "router.conf"].map(str::to_owned).to_vec())),
        files: vec![("router.conf", conf)],
        port,
    })
}

fn first_line(command: &mut Command) -> Result<String> {
    Ok(tools::run(command)?.lines().next().unwrap_or_default().trim().to_owned())
}

/// Ports of this machine, from above downward: below those that sandboxes and outgoing connections take.
struct FreePorts(u16);

impl FreePorts {
    fn next(&mut self) -> Result<u16> {
        while self.0 > 10_000 {
            self.0 -= 1;
            if std::net::TcpListener::bind(("127.0.0.1", self.0)).is_ok() {
                return Ok(self.0);
            }
        }
        Err(failed("find a free port", "all from 10000 to 12998 are taken"))
    }
}
