//! `bench verify`: a million rows that are equal on two servers, and how long it takes to know that.

mod checksum;
mod dump;
mod ours;
mod scan;

use std::time::Instant;

use sandbox::Node;

use crate::cli::VerifyArgs;
use crate::cpu::Servers;
use crate::equal;
use crate::ground::{self, Ground};
use crate::machine::Machine;
use crate::report::{OURS, Report};
use crate::source::{SBTEST, Sysbench};
use crate::sql::Sql;
use crate::tools::Tools;
use crate::{Result, table};

use checksum::Checksum;
use dump::Dump;
use ours::Ours;
use scan::Scan;

/// Two servers, which hold the same.
struct Pair {
    source: Node,
    target: Node,
}

/// Someone who can tell whether the two hold the same.
trait Comparer {
    /// As results name it.
    fn name(&self) -> &'static str;

    /// How it is run, in words that can be repeated.
    fn settings(&self) -> String;

    /// The servers it compares: a pair of its own, if it cannot do with what the others have.
    fn servers<'a>(&'a self, others: &'a Pair) -> &'a Pair {
        others
    }

    /// The timed part. Returns the rows it has seen equal, and the CPU seconds of its own processes.
    fn compare(&mut self, pair: &Pair) -> Result<(u64, f64)>;
}

/// Runs the benchmark.
///
/// # Errors
/// If the servers cannot be run, or anyone takes equal servers for different ones.
pub fn run(args: &VerifyArgs) -> Result<()> {
    let ground = Ground::prepare(&args.common.place.dir)?;
    let tools = Tools::from_script("scripts/test-tools.sh")?;
    let mut pair = Pair { source: ground.node("source", 1)?, target: ground.node("target", 2)? };
    eprintln!("preparing the source: {} rows for sysbench", args.rows);
    Sysbench::new(&tools, args.rows)?.prepare(&pair.source)?;
    let mut report = Report::new("verify", Machine::facts(ground.dir(), ground.version())?);
    eprintln!("{}", report.machine.line());
    let checksum = checksum(args, &ground, &mut pair.source, &mut report)?;
    // Highwater brings the target, and follows from then on.
    let ours = Ours::bring(args.common.place.program.as_deref(), &ground, &pair)?;
    let schemas = [SBTEST];
    let content = equal::fingerprints(&mut Sql::on(&pair.source)?, &schemas)?;
    equal::refuse_unless_equal(
        OURS,
        &content,
        &equal::fingerprints(&mut Sql::on(&pair.target)?, &schemas)?,
        &[],
    )?;
    let rows = content.iter().map(|t| t.rows).sum();

    let mut everyone: Vec<Box<dyn Comparer>> =
        vec![Box::new(ours), Box::new(Scan), Box::new(Dump::new(&ground)?)];
    everyone.extend(checksum.map(|c| Box::new(c) as Box<dyn Comparer>));
    everyone.retain(|c| args.common.wants(c.name()));
    for comparer in &everyone {
        report.settings.insert(comparer.name().to_owned(), comparer.settings());
    }
    for round in 0..args.common.rounds {
        // Whoever comes first in one round comes later in the next.
        let count = everyone.len();
        for i in 0..count {
            turn(&mut report, everyone[(round + i) % count].as_mut(), &pair, rows)?;
        }
    }
    let file = report.write(args.common.place.json.as_deref())?;
    table::print(&report, &file);
    Ok(())
}

/// pt-table-checksum, if it is wanted and can be had; else the report says why not.
fn checksum(
    args: &VerifyArgs,
    ground: &Ground,
    source: &mut Node,
    report: &mut Report,
) -> Result<Option<Checksum>> {
    let why = if args.common.wants(checksum::NAME) {
        match checksum::program() {
            Ok(program) => return Checksum::new(program, ground, source).map(Some),
            Err(trouble) => trouble.what,
        }
    } else {
        "left out by --only".to_owned()
    };
    report.absent.insert(checksum::NAME.to_owned(), why);
    Ok(None)
}

fn turn(report: &mut Report, comparer: &mut dyn Comparer, pair: &Pair, rows: u64) -> Result<()> {
    ground::flush_disks()?;
    let Pair { source, target } = comparer.servers(pair);
    let servers = Servers::before(source, target)?;
    let begun = Instant::now();
    let (seen, tool) = comparer.compare(pair)?;
    let wall = begun.elapsed().as_secs_f64();
    let (source, target) = servers.spent()?;
    let name = comparer.name();
    if seen != rows {
        return Err(crate::failed(
            format!("count what {name} did"),
            format!("it saw {seen} rows of {rows} equal"),
        ));
    }
    eprintln!("{name}: {wall:.2} s; cpu: tool {tool:.2}, source {source:.2}, target {target:.2}");
    report.add(&format!("verify, {rows} sysbench rows in 4 tables"), "s", name, wall);
    report.add("cpu of the tool, verify", "s", name, tool);
    report.add("cpu of the source server, verify", "s", name, source);
    report.add("cpu of the target server, verify", "s", name, target);
    Ok(())
}
