//! Who stands before the server: nobody, ours, and its peers; each a program, its arguments and its settings files.
//!
//! Under TLS some end it and begin it anew towards the server, as ours does, because they read what goes by; others carry
//! one session from end to end. HAProxy cannot end it in front of a MySQL server, whose connections begin in plain text.

use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Node};

use super::hops::Hops;
use super::process::Process;
use crate::cli::CommonArgs;
use crate::report::{OURS, Report};
use crate::tools::{self, Tools};
use crate::{Result, failed};

/// The server itself, with nobody before it.
pub const DIRECT: &str = "direct";
/// Of those who only carry TLS.
const END_TO_END: &str = "; carries one TLS session from end to end, and sees nothing of it";
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

/// What all of them stand before, and how they are reached.
pub struct Site<'a> {
    pub server: &'a Node,
    pub hops: &'a Hops,
    /// Of every proxy.
    pub threads: usize,
}

impl Contestant {
    /// Starts it in a folder of its own under `dir`; ready when this returns.
    pub fn start(&self, server: &Node, hops: &Hops, dir: &Path) -> Result<Option<Process>> {
        let process = match &self.program {
            None => None,
            Some((program, arguments)) => {
                let dir = dir.join(self.name);
                let mut process = Process::start(self.name, program, arguments, &self.files, &dir)?;
                process.wait_until_a_login_leads_to(server, &hops.options(self.port))?;
                Some(process)
            }
        };
        hops.refuse_plain_text(self.name, self.port)?;
        Ok(process)
    }
}

/// Everyone who is wanted and can be had; the report learns who is not.
pub fn everyone(args: &CommonArgs, site: &Site, report: &mut Report) -> Result<Vec<Contestant>> {
    let mut ports = FreePorts(12_999);
    let mut all = vec![(DIRECT, Ok(direct(site.server))), (OURS, ours(args, site, ports.next()?))];
    let routers = match site.hops {
        Hops::Plain => &[Routing::Unshared, Routing::Sharing][..],
        Hops::Tls { .. } => &[Routing::Unshared, Routing::Sharing, Routing::Passthrough],
    };
    match Tools::from_script_for("scripts/bench-tools.sh", &["proxies"]) {
        Ok(tools) => {
            all.push(("haproxy", haproxy(&tools, site, ports.next()?)));
            for how in routers {
                all.push((how.name(), router(&tools, site, ports.next()?, *how)));
            }
        }
        Err(trouble) => {
            for name in ["haproxy"].into_iter().chain(routers.iter().map(|how| how.name())) {
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
fn ours(args: &CommonArgs, site: &Site, port: u16) -> Result<Contestant> {
    let (to_server, from_clients) = match site.hops {
        Hops::Plain => ("", String::new()),
        Hops::Tls { cert, key, .. } => (
            "tls = 'required'\n",
            format!("tls_cert = '{}'\ntls_key = '{}'\ntls_required = true\n", cert.display(), key.display()),
        ),
    };
    let threads = site.threads;
    let toml = format!(
        "state_dir = 'state'\n[clusters.site]\nhost = '127.0.0.1'\nport = {}\nuser = '{ADMIN_USER}'\n\
         password_file = 'password'\n{to_server}[front_door]\nlisten = '127.0.0.1:{port}'\nthreads = {threads}\n\
         {from_clients}",
        site.server.port()
    );
    let tls = if site.hops.are_tls() { "; ends TLS and begins it anew" } else { "" };
    Ok(Contestant {
        name: OURS,
        settings: format!(
            "highwater proxy, threads = {threads}; server connections shared between transactions, at most 200{tls}"
        ),
        program: Some((crate::program::find(args.place.program.as_deref())?, vec!["proxy".to_owned()])),
        files: vec![("highwater.toml", toml), ("password", ADMIN_PASSWORD.to_owned())],
        port,
    })
}

fn haproxy(tools: &Tools, site: &Site, port: u16) -> Result<Contestant> {
    let program = tools.path("HAPROXY")?;
    let version = first_line(Command::new(&program).arg("-v"))?;
    let threads = site.threads;
    let cfg = format!(
        "global\n  nbthread {threads}\n  maxconn {CONNECTIONS_MAX}\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
         timeout client 1h\n  timeout server 1h\nlisten door\n  bind 127.0.0.1:{port}\n  server site 127.0.0.1:{}\n",
        site.server.port()
    );
    let tls = if site.hops.are_tls() { END_TO_END } else { "" };
    Ok(Contestant {
        name: "haproxy",
        settings: format!(
            "{version}: mode tcp, nbthread {threads}; a server connection for each client{tls}"
        ),
        program: Some((program, ["-db", "-f", "haproxy.cfg"].map(str::to_owned).to_vec())),
        files: vec![("haproxy.cfg", cfg)],
        port,
    })
}

/// What is asked of MySQL Router.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Routing {
    /// A server connection for each client; it reads what goes by.
    Unshared,
    /// Server connections shared between clients.
    Sharing,
    /// It only carries bytes; of TLS that is one session from end to end.
    Passthrough,
}

impl Routing {
    fn name(self) -> &'static str {
        match self {
            Self::Unshared => "router",
            Self::Sharing => "router_sharing",
            Self::Passthrough => "router_passthrough",
        }
    }

    fn settings(self) -> &'static str {
        match self {
            Self::Unshared => "connection_sharing=0; a server connection for each client",
            Self::Sharing => {
                "connection_sharing=1, connection_sharing_delay=0; server connections shared between transactions of \
                 text statements, kept by clients with prepared ones"
            }
            Self::Passthrough => "connection_sharing=0; a server connection for each client",
        }
    }

    /// To share it must be able to log in as the client, so it has to learn the password: on connections without TLS it does so
    /// with the key of its certificate, and without one nothing is shared. That was seen: with `client_ssl_mode=DISABLED` the
    /// server is asked to change no connection's user; with a certificate it is.
    fn ssl(self, site: &Site) -> String {
        let (client, server) = match (site.hops, self) {
            (_, Self::Passthrough) => {
                return "client_ssl_mode=PASSTHROUGH\nserver_ssl_mode=AS_CLIENT\n".to_owned();
            }
            (Hops::Plain, Self::Unshared) => {
                return "client_ssl_mode=DISABLED\nserver_ssl_mode=DISABLED\n".to_owned();
            }
            (Hops::Plain, Self::Sharing) => ("PREFERRED", "DISABLED"),
            (Hops::Tls { .. }, _) => ("REQUIRED", "REQUIRED"),
        };
        let data = site.server.data();
        format!(
            "client_ssl_mode={client}\nclient_ssl_cert={0}/server-cert.pem\nclient_ssl_key={0}/server-key.pem\n\
             server_ssl_mode={server}\n",
            data.display()
        )
    }
}

fn router(tools: &Tools, site: &Site, port: u16, how: Routing) -> Result<Contestant> {
    let program = tools.path("MYSQLROUTER")?;
    let version = first_line(Command::new(&program).arg("--version"))?;
    let (sharing, pool) = match how {
        Routing::Sharing => (
            "connection_sharing=1\nconnection_sharing_delay=0\n",
            format!("[connection_pool]\nmax_idle_server_connections={CONNECTIONS_MAX}\n"),
        ),
        Routing::Unshared | Routing::Passthrough => ("", String::new()),
    };
    let threads = site.threads;
    let conf = format!(
        "[DEFAULT]\nplugin_folder={}\nruntime_folder=.\ndata_folder=.\nlogging_folder=\n\
         max_total_connections={CONNECTIONS_MAX}\n[logger]\nlevel=warning\n[io]\nthreads={threads}\n[routing:door]\n\
         bind_address=127.0.0.1\nbind_port={port}\ndestinations=127.0.0.1:{}\nrouting_strategy=first-available\n\
         protocol=classic\nmax_connections={CONNECTIONS_MAX}\n{}{sharing}{pool}",
        tools.path("ROUTER_PLUGINS")?.display(),
        site.server.port(),
        how.ssl(site)
    );
    let tls = match (site.hops, how) {
        (Hops::Plain, _) => "",
        (Hops::Tls { .. }, Routing::Passthrough) => END_TO_END,
        (Hops::Tls { .. }, _) => "; ends TLS and begins it anew",
    };
    Ok(Contestant {
        name: how.name(),
        settings: format!("{version}: io threads {threads}, {}{tls}", how.settings()),
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
