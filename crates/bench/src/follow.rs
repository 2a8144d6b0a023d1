//! `bench follow`: a backlog to catch up, then a source kept busy.
//!
//! Both followers start from the same rows: ours copied them itself, the replica has a copy of the source's folder.
//! The backlog stays in the source's binary log and is caught up anew in every round.

use model::GtidSet;
use sandbox::Node;

use crate::catch_up;
use crate::cli::FollowArgs;
use crate::cpu::Servers;
use crate::equal;
use crate::followers::{self, Follower, Native, Ours};
use crate::ground::{self, Ground};
use crate::lag::{self, percentile};
use crate::machine::Machine;
use crate::pressure::{self, Pressure};
use crate::report::{OURS, Report};
use crate::source::{SBTEST, Sysbench};
use crate::sql::Sql;
use crate::tools::{self, Tools};
use crate::{Result, failed, table};

/// Threads that write the backlog.
const BACKLOG_THREADS: u32 = 8;

/// What all parts need.
struct Stage {
    ground: Ground,
    source: Node,
    sysbench: Sysbench,
    followers: Vec<Box<dyn Follower>>,
}

/// Runs the benchmark.
///
/// # Errors
/// If the servers cannot be run, or a follower fails.
pub fn run(args: &FollowArgs) -> Result<()> {
    let ground = Ground::prepare(&args.common.place.dir)?;
    let machine = Machine::facts(ground.dir(), ground.version())?;
    eprintln!("{}", machine.line());
    let mut report = Report::new("follow", machine);
    let mut stage = Stage::set(ground, args)?;
    for name in [OURS, "native"] {
        if !args.common.wants(name) {
            report.absent.insert(name.to_owned(), "left out by --only".to_owned());
        }
    }
    for follower in &stage.followers {
        report.settings.insert(follower.name().to_owned(), follower.settings());
    }
    if args.transactions > 0 {
        stage.catch_up(args, &mut report)?;
    }
    if args.seconds > 0 {
        stage.keep_up(args, &mut report)?;
    }
    let file = report.write(args.common.place.json.as_deref())?;
    table::print(&report, &file);
    Ok(())
}

impl Stage {
    fn set(ground: Ground, args: &FollowArgs) -> Result<Self> {
        let tools = Tools::from_script("scripts/test-tools.sh")?;
        let sysbench = Sysbench::new(&tools, args.rows)?.choosing(&args.rand_type);
        let source = ground.node("source", 1)?;
        sysbench.prepare(&source)?;
        lag::prepare(&source)?;
        let mut followers: Vec<Box<dyn Follower>> = Vec::new();
        if args.common.wants(OURS) {
            followers.push(Box::new(Ours::new(args.common.place.program.as_deref(), &ground)?));
        }
        if args.common.wants("native") {
            followers.push(Box::new(Native::new(&ground)?));
        }
        Ok(Self { ground, source, sysbench, followers })
    }

    /// The backlog, in every round by every follower.
    fn catch_up(&mut self, args: &FollowArgs, report: &mut Report) -> Result<()> {
        for follower in &mut self.followers {
            follower.seed(&self.ground, &mut self.source)?;
        }
        let wanted = self.make_backlog(args)?;
        let content = equal::fingerprints(&mut Sql::on(&self.source)?, &[SBTEST])?;
        for round in 0..args.common.rounds {
            let count = self.followers.len();
            for i in 0..count {
                let follower = self.followers[(round + i) % count].as_mut();
                let figures = catch_up::turn(follower, &self.source, &wanted)?;
                let there = equal::fingerprints(&mut Sql::on(follower.node())?, &[SBTEST])?;
                equal::refuse_unless_equal(follower.name(), &content, &there, &[])?;
                let work = format!("catch-up, {} transactions", args.transactions);
                let name = follower.name();
                report.add(&work, "s", name, figures.wall);
                report.add(&format!("{work}, once connected"), "s", name, figures.since_connected);
                report.add("cpu of the tool, catch-up", "s", name, figures.tool_cpu);
                report.add("cpu of the source server, catch-up", "s", name, figures.source_cpu);
                report.add("cpu of the target server, catch-up", "s", name, figures.target_cpu);
                eprintln!(
                    "{name}: {:.2} s, {:.2} once connected; cpu: tool {:.2}, source {:.2}, target {:.2}",
                    figures.wall,
                    figures.since_connected,
                    figures.tool_cpu,
                    figures.source_cpu,
                    figures.target_cpu
                );
            }
        }
        Ok(())
    }

    /// Writes the backlog; everything the source has then.
    fn make_backlog(&self, args: &FollowArgs) -> Result<GtidSet> {
        let mut sql = Sql::on(&self.source)?;
        let before = followers::executed(&mut sql)?.len();
        let mut load = self.sysbench.write_only(self.source.port());
        load.arg(format!("--threads={BACKLOG_THREADS}"));
        load.arg(format!("--events={}", args.transactions)).args(["--time=0", "run"]);
        tools::run(&mut load)?;
        let executed = followers::executed(&mut sql)?;
        let made = executed.len() - before;
        eprintln!("the backlog: {made} transactions");
        if made < args.transactions {
            return Err(failed("write the backlog", format!("only {made} transactions were written")));
        }
        Ok(executed)
    }

    /// The lag while the source is kept busy, in every round of every follower.
    fn keep_up(&mut self, args: &FollowArgs, report: &mut Report) -> Result<()> {
        let pressure = Pressure::find(&self.sysbench, &self.source, args.load)?;
        let load = pressure.name();
        eprintln!("{}", pressure.settings());
        report.settings.insert("load".to_owned(), pressure.settings());
        for round in 0..args.lag_rounds {
            let count = self.followers.len();
            for i in 0..count {
                let at = (round + i) % count;
                self.lag_turn(at, (args, &pressure), &load, report)?;
            }
        }
        Ok(())
    }

    fn lag_turn(
        &mut self,
        at: usize,
        (args, pressure): (&FollowArgs, &Pressure),
        load: &str,
        report: &mut Report,
    ) -> Result<()> {
        let follower = self.followers[at].as_mut();
        let name = follower.name();
        follower.seed(&self.ground, &mut self.source)?;
        follower.put_back(&self.source)?;
        ground::flush_disks()?;
        follower.start()?;
        let (mut on_source, mut on_target) = (Sql::on(&self.source)?, Sql::on(follower.node())?);
        let executed = followers::executed(&mut on_source)?;
        catch_up::until_applied(follower, &mut on_source, &mut on_target, &executed)?;

        let mut command = pressure.command(&self.sysbench, &self.source, args.seconds);
        let servers = Servers::before(&self.source, follower.node())?;
        let tool_cpu = follower.cpu()?;
        let lags = lag::measure(&self.source, follower.node(), &mut command)?;
        let (source_cpu, target_cpu) = servers.spent()?;
        let tool_cpu = follower.cpu()? - tool_cpu;
        follower.stop()?;

        let reached = pressure::transactions_per_second(&lags.load).unwrap_or_default();
        let p99 = percentile(&lags.since_sent, 0.99);
        report.add(&format!("lag p50, {load}"), "ms", name, percentile(&lags.since_sent, 0.5));
        report.add(&format!("lag p99, {load}"), "ms", name, p99);
        report.add(&format!("lag max, {load}"), "ms", name, percentile(&lags.since_sent, 1.0));
        let acknowledged = percentile(&lags.since_acknowledged, 0.99);
        report.add(&format!("lag p99 since the source's answer, {load}"), "ms", name, acknowledged);
        let commit = percentile(&lags.commit, 0.99);
        report.add(&format!("commit p99 on the source, {load}"), "ms", name, commit);
        report.add_rate(&format!("write rate reached, {load}"), "transactions/s", name, reached);
        report.add(&format!("cpu of the tool, {load}"), "s", name, tool_cpu);
        report.add(&format!("cpu of the source server, {load}"), "s", name, source_cpu);
        report.add(&format!("cpu of the target server, {load}"), "s", name, target_cpu);
        eprintln!(
            "{name}: lag p50 {:.1}, p99 {p99:.1}, max {:.1} ms; since the source's answer p99 {acknowledged:.1} ms; \
             {} beats at {reached:.0} tx/s; commit p99 {commit:.1} ms; \
             cpu: tool {tool_cpu:.2}, source {source_cpu:.2}, target {target_cpu:.2}",
            percentile(&lags.since_sent, 0.5),
            percentile(&lags.since_sent, 1.0),
            lags.since_sent.len(),
        );
        Ok(())
    }
}
