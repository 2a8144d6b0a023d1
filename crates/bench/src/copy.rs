//! `bench copy`: a million rows in sysbench's tables, and the shop, into a durable target.

use std::time::Instant;

use sandbox::Node;

use crate::cli::CopyArgs;
use crate::equal::{self, Fingerprint};
use crate::ground::{self, Ground};
use crate::machine::Machine;
use crate::peers::{Clone, Contestant, Mydumper, Mysqldump, Ours, Settings, Turn};
use crate::report::{OURS, Report};
use crate::source::{self, SBTEST, SHOP, Sysbench};
use crate::sql::Sql;
use crate::tools::Tools;
use crate::{Result, cpu, table};

const SCHEMAS: [&str; 2] = [SBTEST, SHOP];

/// A source with everything in it, and what is in it.
struct Stage {
    ground: Ground,
    source: Node,
    content: Vec<Fingerprint>,
}

/// What one turn took.
struct Figures {
    wall: f64,
    tool_cpu: f64,
    source_cpu: f64,
    target_cpu: f64,
    tool_memory: Option<f64>,
    /// What it is known to lose, and did.
    flaw: Option<String>,
}

/// Runs the benchmark.
///
/// # Errors
/// If the servers cannot be run, or ours fails. A peer that fails is named in the result.
pub fn run(args: &CopyArgs) -> Result<()> {
    let stage = Stage::set(args)?;
    if args.explore_mydumper {
        return explore(&stage, args);
    }
    let machine = Machine::facts(stage.ground.dir(), stage.ground.version())?;
    eprintln!("{}", machine.line());
    let mut report = Report::new("copy", machine);
    let mut contestants = contestants(&stage, args, &mut report)?;
    for round in 0..args.common.rounds {
        // Whoever comes first in one round comes later in the next.
        let count = contestants.len().max(1);
        for i in 0..contestants.len() {
            let contestant = &mut contestants[(round + i) % count];
            let name = contestant.name();
            if report.absent.contains_key(name) {
                continue;
            }
            match stage.turn(contestant.as_mut()) {
                Ok(figures) => add(&mut report, args, name, &figures),
                Err(trouble) if name == OURS => return Err(trouble),
                Err(trouble) => {
                    eprintln!("{name}: {}", trouble.what);
                    report.absent.insert(name.to_owned(), trouble.what);
                }
            }
        }
    }
    let file = report.write(args.common.place.json.as_deref())?;
    table::print(&report, &file);
    Ok(())
}

/// Everyone who is wanted and can be had.
fn contestants(stage: &Stage, args: &CopyArgs, report: &mut Report) -> Result<Vec<Box<dyn Contestant>>> {
    let ours = Ours::new(args.common.place.program.as_deref(), stage.ground.dir(), &SCHEMAS)?;
    let boxed = |c: Result<_>| c.map(|c| Box::new(c) as Box<dyn Contestant>);
    let mydumper = Tools::from_script("scripts/bench-tools.sh")
        .and_then(|t| Mydumper::new(&t, &SCHEMAS, Settings::BEST));
    let everyone: [(&str, Result<Box<dyn Contestant>>); 4] = [
        (OURS, Ok(Box::new(ours))),
        ("mydumper", mydumper.map(|c| Box::new(c) as Box<dyn Contestant>)),
        ("mysqldump", boxed(Mysqldump::new(&stage.ground, &SCHEMAS))),
        ("clone", Ok(Box::new(Clone))),
    ];
    let mut wanted = Vec::new();
    for (name, contestant) in everyone {
        match contestant {
            _ if !args.common.wants(name) => {
                report.absent.insert(name.to_owned(), "left out by --only".to_owned());
            }
            Ok(contestant) => {
                report.settings.insert(name.to_owned(), contestant.settings());
                wanted.push(contestant);
            }
            Err(trouble) => {
                report.absent.insert(name.to_owned(), trouble.what);
            }
        }
    }
    Ok(wanted)
}

fn add(report: &mut Report, args: &CopyArgs, name: &str, figures: &Figures) {
    let work = format!("{} sysbench rows in 4 tables and the shop, durable target", args.rows);
    report.add(&format!("copy, {work}"), "s", name, figures.wall);
    report.add("cpu of the tool, copy", "s", name, figures.tool_cpu);
    report.add("cpu of the source server, copy", "s", name, figures.source_cpu);
    report.add("cpu of the target server, copy", "s", name, figures.target_cpu);
    if let Some(flaw) = &figures.flaw {
        report.flaws.insert(name.to_owned(), flaw.clone());
    }
    if let Some(memory) = figures.tool_memory {
        report.add("peak memory of the tool, copy", "MiB", name, memory);
    }
}

/// Runs every candidate setting of mydumper and prints what each took.
fn explore(stage: &Stage, args: &CopyArgs) -> Result<()> {
    let tools = Tools::from_script("scripts/bench-tools.sh")?;
    for _ in 0..args.common.rounds {
        for settings in Settings::candidates() {
            let mut mydumper = Mydumper::new(&tools, &SCHEMAS, settings)?;
            stage.turn(&mut mydumper)?;
            eprintln!("   {}", mydumper.settings());
        }
    }
    Ok(())
}

impl Stage {
    fn set(args: &CopyArgs) -> Result<Self> {
        let ground = Ground::prepare(&args.common.place.dir)?;
        let tools = Tools::from_script("scripts/test-tools.sh")?;
        eprintln!("preparing the source: {} rows for sysbench, {} for the shop", args.rows, args.shop_rows);
        let source = ground.node("source", 1)?;
        Sysbench::new(&tools, args.rows)?.prepare(&source)?;
        source::open_shop(&source, args.shop_rows)?;
        let content = equal::fingerprints(&mut Sql::on(&source)?, &SCHEMAS)?;
        let rows: u64 = content.iter().map(|t| t.rows).sum();
        eprintln!("the source holds {rows} rows in {} tables", content.len());
        Ok(Self { ground, source, content })
    }

    /// One contestant's turn on an empty target.
    fn turn(&self, contestant: &mut dyn Contestant) -> Result<Figures> {
        let mut target = self.ground.node("target", 2)?;
        let mut turn = Turn { source: &self.source, target: &mut target, dir: self.ground.dir() };
        contestant.prepare(&mut turn)?;
        ground::flush_disks()?;

        let source_pid = cpu::pid(turn.source)?;
        let target_pid = cpu::pid(turn.target)?;
        let (source_cpu, target_cpu) = (cpu::of(source_pid)?, cpu::of(target_pid)?);
        let ended = cpu::of_ended_children()?;
        let begun = Instant::now();
        let used = contestant.copy(&mut turn);
        let wall = begun.elapsed().as_secs_f64();
        let (used, name) = (used?, contestant.name());
        let source_cpu = cpu::of(source_pid)? - source_cpu;
        let now = cpu::pid(turn.target)?;
        let mut target_spent = cpu::of(now)? - target_cpu;
        if now != target_pid {
            // It was restarted: what its first process used is now among our ended children.
            target_spent += cpu::of_ended_children()? - ended - used.cpu;
        }

        contestant.leave(&mut turn)?;
        let there = equal::fingerprints(&mut Sql::on(&target)?, &SCHEMAS)?;
        let lossy: &[&str] = if contestant.loses().is_some() { &[SHOP] } else { &[] };
        let lost = equal::refuse_unless_equal(name, &self.content, &there, lossy)?;
        let flaw = contestant.loses().filter(|_| !lost.is_empty());
        let flaw = flaw.map(|why| format!("not equal in {}: {why}", lost.join(", ")));
        eprintln!(
            "{name}: {wall:.2} s; cpu: tool {:.2}, source {source_cpu:.2}, target {target_spent:.2}",
            used.cpu
        );
        let (tool_cpu, tool_memory, target_cpu) = (used.cpu, used.memory, target_spent);
        Ok(Figures { wall, tool_cpu, source_cpu, target_cpu, tool_memory, flaw })
    }
}
