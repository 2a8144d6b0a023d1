//! `bench proxy`: the front door beside other proxies, before one server, with sysbench as the clients.
//!
//! ```text
//! sysbench --plain text--> proxy, new in every turn --plain text--> server, the same throughout
//! sysbench --TLS---------> proxy                    --TLS---------> server                            with --tls
//! ```
//! A turn's first second is left out: logins, preparing, caches. Queries are counted by the clients, since a proxy may send
//! the server some of its own. System calls are counted in turns of their own, for counting costs the counted.

mod client;
mod contestant;
mod hops;
mod kernel;
pub mod process;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use sandbox::Node;

use crate::cli::ProxyArgs;
use crate::ground::Ground;
use crate::machine::Machine;
use crate::report::{OURS, Report};
use crate::source::Sysbench;
use crate::sql::Sql;
use crate::tools::Tools;
use crate::{Result, cpu, failed, table};

use client::{Clients, Latency};
use contestant::{Contestant, DIRECT, Site};
use hops::Hops;
use kernel::{Calls, MachineTime};
use work::Work;

/// Seconds measured in each turn, if none are told: with TLS there is a contestant more, and shorter turns make the table as quick.
const SECONDS: u64 = 6;
const SECONDS_OF_TLS: u64 = 2;
/// How often a peer's turn is tried.
const TRIES: usize = 5;

/// The server and the clients.
struct Stage {
    server: Node,
    hops: Hops,
    clients: Clients,
    dir: PathBuf,
    /// A peer's turns that failed and were done again.
    repeated: BTreeMap<&'static str, usize>,
}

/// What one turn showed.
struct Figures {
    /// Queries a second.
    rate: f64,
    latency: Latency,
    /// Percent of the machine's time.
    stolen: f64,
    /// Of the clients, as the server sees them.
    connections: f64,
    /// CPU in microseconds a query and peak memory in MiB; of a proxy only.
    proxy: Option<(f64, f64)>,
}

/// Runs the benchmark.
///
/// # Errors
/// If the server cannot be run, or ours fails. A peer that fails is named in the result.
pub fn run(args: &ProxyArgs) -> Result<()> {
    let everything = work::asked_for(&args.work)?;
    let ground = Ground::prepare(&args.common.place.dir)?;
    let tools = Tools::from_script("scripts/test-tools.sh")?;
    let server = ground.swift_node("server", &["--max-connections=2000".to_owned()])?;
    Sysbench::new(&tools, args.rows)?.prepare(&server)?;
    let hops = if args.tls { Hops::under_tls(&server, ground.dir())? } else { Hops::Plain };
    let clients = Clients::new(&tools, args.rows, ground.dir())?;
    let machine = Machine::facts(ground.dir(), ground.version())?;
    eprintln!("{}", machine.line());
    let threads = args.threads.unwrap_or(machine.cores);
    let (name, seconds) = if args.tls { ("proxy-tls", SECONDS_OF_TLS) } else { ("proxy", SECONDS) };
    let seconds = args.seconds.unwrap_or(seconds);
    let mut report = Report::new(name, machine);
    let site = Site { server: &server, hops: &hops, threads };
    let everyone = contestant::everyone(&args.common, &site, &mut report)?;
    let dir = ground.dir().to_path_buf();
    let mut stage = Stage { server, hops, clients, dir, repeated: BTreeMap::new() };
    for work in &everything {
        for round in 0..args.common.rounds {
            stage.round(&mut report, &everyone, round, work, seconds)?;
        }
        // The table of TLS is to be quick, and to encrypt takes no call of the kernel.
        for contestant in everyone.iter().filter(|c| c.program.is_some() && !args.tls) {
            stage.count(&mut report, contestant, work);
        }
    }
    let file = report.write(args.common.place.json.as_deref())?;
    table::print(&report, &file);
    Ok(())
}

impl Stage {
    /// Everyone in turn; whoever comes first in one round comes later in the next.
    fn round(
        &mut self,
        report: &mut Report,
        everyone: &[Contestant],
        round: usize,
        work: &Work,
        seconds: u64,
    ) -> Result<()> {
        let mut latencies = BTreeMap::new();
        for i in 0..everyone.len() {
            let contestant = &everyone[(round + i) % everyone.len()];
            let name = contestant.name;
            if report.absent.contains_key(name) {
                continue;
            }
            match self.turn_of_whoever_may_fail(report, contestant, work, seconds) {
                Ok(figures) => {
                    latencies.insert(name, figures.latency);
                    add(report, work, name, &figures);
                }
                Err(trouble) if name == OURS || name == DIRECT => return Err(trouble),
                Err(trouble) => {
                    eprintln!("{name}: {}", trouble.what);
                    report.absent.insert(name.to_owned(), trouble.what);
                }
            }
        }
        let Some(direct) = latencies.remove(DIRECT) else { return Ok(()) };
        for (name, latency) in latencies {
            let mut add = |which, more| {
                report.add(&format!("{which} added over direct, {}", work.name), "ms", name, more);
            };
            add("p50", latency.p50 - direct.p50);
            add("p99", latency.p99 - direct.p99);
        }
        Ok(())
    }

    /// A turn; a peer's that failed is done again, and told as a flaw. Under TLS some logins at MySQL Router fail with error 2027
    /// (libmariadb's "malformed packet"), and each time others.
    fn turn_of_whoever_may_fail(
        &mut self,
        report: &mut Report,
        contestant: &Contestant,
        work: &Work,
        seconds: u64,
    ) -> Result<Figures> {
        let name = contestant.name;
        let tries = if [OURS, DIRECT].contains(&name) { 1 } else { TRIES };
        let mut tried = self.turn(contestant, work, seconds);
        for _ in 1..tries {
            let Err(trouble) = &tried else { break };
            let times = self.repeated.entry(name).or_default();
            *times += 1;
            let flaw =
                format!("{times} of its turns failed and were done again; the last one: {}", trouble.what);
            report.flaws.insert(name.to_owned(), flaw);
            tried = self.turn(contestant, work, seconds);
        }
        tried
    }

    fn turn(&self, contestant: &Contestant, work: &Work, seconds: u64) -> Result<Figures> {
        let process = contestant.start(&self.server, &self.hops, &self.dir)?;
        let proxy_cpu = || process.as_ref().map_or(Ok(0.0), |p| cpu::of(p.pid()));
        let mut sql = Sql::with(self.server.name(), &self.hops.options(self.server.port()))?;
        // The first second is left out, and the last one is not to be cut short.
        let mut clients = self.clients.start(work, &self.hops, contestant.port, seconds + 2)?;
        clients.second()?;
        let (cpu, machine, begun) = (proxy_cpu()?, MachineTime::now()?, Instant::now());
        let mut rates = 0.0;
        for _ in 0..seconds {
            rates += clients.second()?;
        }
        let (cpu, wall) = (proxy_cpu()? - cpu, begun.elapsed().as_secs_f64());
        let stolen = MachineTime::now()?.stolen_since(machine);
        let connections = connections(&mut sql)?;
        self.hops.look_at_the_server(&mut sql)?;
        let memory = process.as_ref().map(|p| cpu::peak_memory(p.pid())).transpose()?;
        let latency = clients.end()?;
        let rate = rates / seconds as f64;
        let proxy = memory.map(|memory| (cpu * 1e6 / (rate * wall).max(1.0), memory));
        let (name, (per_query, _)) = (contestant.name, proxy.unwrap_or_default());
        eprintln!(
            "{}: {name}: {rate:.0} queries/s, {per_query:.1} us a query, p50 {:.2} ms, p99 {:.2} ms, {connections} \
             connections, stolen {stolen:.1} %",
            work.name, latency.p50, latency.p99
        );
        Ok(Figures { rate, latency, stolen, connections, proxy })
    }

    /// Counts a proxy's calls of the kernel; what forbids that is told as a flaw of the result, and the other figures stay.
    fn count(&self, report: &mut Report, contestant: &Contestant, work: &Work) {
        if report.absent.contains_key(contestant.name) {
            return;
        }
        match self.calls(contestant, work) {
            Ok((calls, rate)) => {
                let name = contestant.name;
                report.add(
                    &format!("system calls per query, {}", work.name),
                    "calls",
                    name,
                    calls.system / rate,
                );
                report.add(&format!("waits per query, {}", work.name), "waits", name, calls.switches / rate);
            }
            Err(trouble) => {
                let why = format!("system calls are not counted: {}", trouble.what);
                report.flaws.insert(contestant.name.to_owned(), why);
            }
        }
    }

    fn calls(&self, contestant: &Contestant, work: &Work) -> Result<(Calls, f64)> {
        let process = contestant.start(&self.server, &self.hops, &self.dir)?;
        let pid = process.as_ref().map_or(0, process::Process::pid);
        let mut clients = self.clients.start(work, &self.hops, contestant.port, 5)?;
        clients.second()?;
        let calls = Calls::of(pid)?;
        // Told meanwhile, and not yet read.
        let rate = f64::midpoint(clients.second()?, clients.second()?);
        clients.end()?;
        Ok((calls, rate.max(1.0)))
    }
}

fn add(report: &mut Report, work: &Work, name: &str, figures: &Figures) {
    let case = |measure: &str| format!("{measure}, {}", work.name);
    if let Some((cpu, memory)) = figures.proxy {
        report.add(&case("cpu per query"), "us", name, cpu);
        report.add(&case("peak memory"), "MiB", name, memory);
    }
    report.add_rate(&case("throughput"), "queries/s", name, figures.rate);
    report.add(&case("server connections"), "connections", name, figures.connections);
    report.add(&case("stolen time"), "%", name, figures.stolen);
}

/// The server's connections, less the one that asks.
fn connections(sql: &mut Sql) -> Result<f64> {
    let rows = sql.rows("SHOW GLOBAL STATUS LIKE 'Threads_connected'")?;
    let count = rows.first().and_then(|row| row.text(1).parse::<f64>().ok());
    count.map(|n| n - 1.0).ok_or_else(|| failed("count connections", "the server does not say"))
}
