//! `bench polite`: what a copy does to the source's own clients.
//!
//! ```text
//! round: no copy | ours | no throttle | both aside     each a stretch of the same load; whoever is first in one round is later in the next
//! ```
//! Source, target, clients and copy share the machine, so that what is measured has the target's work in it, which takes the same
//! cores and which no throttle of the source's readers can see apart. No site has them on one machine. So either copy is measured a
//! second time, aside: target and copy then get a core only while the source and its clients want none (`SCHED_IDLE`, sched(7)),
//! which is as near to a machine of their own as one machine comes. What the copy has the source itself do is not aside.

mod aside;
mod clients;

use std::thread;
use std::time::{Duration, Instant};

use sandbox::Node;
use serde_json::{Value, json};

use crate::cli::PoliteArgs;
use crate::ground::{self, Ground};
use crate::lag::percentile;
use crate::machine::Machine;
use crate::program::Program;
use crate::report::{OURS, Report};
use crate::source::{SBTEST, Sysbench, TABLES};
use crate::sql::Sql;
use crate::tools::Tools;
use crate::{Result, cpu, failed, table};

use clients::Clients;

/// Before each stretch: what the one before it has left to be written is no burden of the next one's.
const SETTLE: Duration = Duration::from_secs(3);
/// Until the copy has brought its first row: it looks for some seconds at the source without it first.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
const P99: &str = "99th percentile of the statements of the source's clients";

/// Who else is at the source.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Guest {
    Nobody,
    Ours,
    Unthrottled,
    OursAside,
    UnthrottledAside,
    /// With the settings to try.
    TriedAside,
}

impl Guest {
    const ALL: [Self; 6] = [
        Self::Nobody,
        Self::Ours,
        Self::Unthrottled,
        Self::OursAside,
        Self::UnthrottledAside,
        Self::TriedAside,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "no copy",
            Self::Ours => OURS,
            Self::Unthrottled => "no throttle",
            Self::OursAside => "ours aside",
            Self::UnthrottledAside => "no throttle aside",
            Self::TriedAside => "tried aside",
        }
    }

    fn settings(self) -> &'static str {
        match self {
            Self::Nobody => "nothing of ours runs",
            Self::Ours => {
                "highwater copy, its defaults; from the first row on, until the time is up or every row is there"
            }
            Self::Unthrottled => "the same with `throttle.latency_rise_max = 0`",
            Self::OursAside => "as ours, target and copy at SCHED_IDLE",
            Self::UnthrottledAside => "as no throttle, target and copy at SCHED_IDLE",
            Self::TriedAside => "as ours aside, with the settings of --try",
        }
    }

    fn section(self, tried: &[String]) -> String {
        match self {
            Self::Unthrottled | Self::UnthrottledAside => "[throttle]\nlatency_rise_max = 0\n".to_owned(),
            Self::Nobody | Self::Ours | Self::OursAside => String::new(),
            Self::TriedAside => tried.iter().map(|setting| in_section(setting)).collect(),
        }
    }

    fn aside(self) -> bool {
        matches!(self, Self::OursAside | Self::UnthrottledAside | Self::TriedAside)
    }
}

/// A setting `SECTION.KEY=VALUE` as a settings file has it.
fn in_section(setting: &str) -> String {
    match setting.split_once('.') {
        Some((section, pair)) => format!("[{section}]\n{pair}\n"),
        None => format!("{setting}\n"),
    }
}

/// Runs the benchmark.
///
/// # Errors
/// If the servers cannot be run, a client's statement fails, or the copy does.
pub fn run(args: &PoliteArgs) -> Result<()> {
    let ground = Ground::prepare(&args.common.place.dir)?;
    let machine = Machine::facts(ground.dir(), ground.version())?;
    eprintln!("{}", machine.line());
    let mut report = Report::new("polite", machine);
    let (source, target) = (ground.node("source", 1)?, ground.node("target", 2)?);
    eprintln!("preparing the source: {} rows for sysbench", args.rows);
    Sysbench::new(&Tools::from_script("scripts/test-tools.sh")?, args.rows)?.prepare(&source)?;
    let guests: Vec<Guest> = Guest::ALL
        .into_iter()
        .filter(|g| args.common.wants(g.name()) && (*g != Guest::TriedAside || !args.tried.is_empty()))
        .collect();
    for guest in &guests {
        report.settings.insert(guest.name().to_owned(), guest.settings().to_owned());
    }
    report.settings.insert("load".to_owned(), clients::SETTINGS.to_owned());
    let program = Program::find(args.common.place.program.as_deref(), ground.dir().join("ours"))?;
    let clients = Clients::start(&source, (args.rows / TABLES).max(1))?;
    let stretch = Duration::from_secs(args.seconds.max(1));
    let mut stage = Stage { source, target, program, clients, stretch, tried: args.tried.clone() };
    for round in 0..args.common.rounds {
        for i in 0..guests.len() {
            stage.turn(guests[(round + i) % guests.len()], &mut report)?;
        }
    }
    stage.clients.stop()?;
    add_ratios_of_medians(&mut report);
    let file = report.write(args.common.place.json.as_deref())?;
    table::print(&report, &file);
    Ok(())
}

struct Stage {
    source: Node,
    target: Node,
    program: Program,
    clients: Clients,
    stretch: Duration,
    /// Settings.
    tried: Vec<String>,
}

impl Stage {
    fn turn(&mut self, guest: Guest, report: &mut Report) -> Result<()> {
        ground::flush_disks()?;
        thread::sleep(SETTLE);
        let source = cpu::pid(&self.source)?;
        let (rows, seconds, cpu) = match guest {
            Guest::Nobody => {
                self.clients.taken();
                let cpu = cpu::of(source)?;
                thread::sleep(self.stretch);
                (None, self.stretch.as_secs_f64(), cpu::of(source)? - cpu)
            }
            _ => {
                self.program.set_up_with(
                    self.source.port(),
                    self.target.port(),
                    &[SBTEST],
                    &guest.section(&self.tried),
                )?;
                aside::set(cpu::pid(&self.target)?, guest.aside())?;
                self.program.start()?;
                let pid = self.program.pid().ok_or_else(|| failed("measure highwater", "it has ended"))?;
                aside::set(pid, guest.aside())?;
                let before = self.first_rows()?;
                self.clients.taken();
                let (begun, cpu) = (Instant::now(), cpu::of(source)?);
                let rows = self.copied_within_the_stretch()?;
                (Some(rows.saturating_sub(before)), begun.elapsed().as_secs_f64(), cpu::of(source)? - cpu)
            }
        };
        let mut took = self.clients.taken();
        took.sort_by(f64::total_cmp);
        if guest != Guest::Nobody {
            self.program.stop()?;
            let mut target = Sql::on(&self.target)?;
            target.execute(&format!("DROP DATABASE {SBTEST}"))?;
            target.execute("DROP DATABASE highwater")?;
        }
        let (p50, p99) = (percentile(&took, 0.5), percentile(&took, 0.99));
        let name = guest.name();
        if took.is_empty() {
            return Err(failed("measure the source's clients", format!("{name}: no statement was answered")));
        }
        eprintln!(
            "{name}: p99 {p99:.3} ms, p50 {p50:.3} ms, {} statements in {seconds:.1} s, {:.2} cores, {} rows",
            took.len(),
            cpu / seconds,
            rows.unwrap_or_default()
        );
        report.add(P99, "ms", name, p99);
        report.add("median of them", "ms", name, p50);
        report.add_rate("statements of the source's clients", "1/s", name, took.len() as f64 / seconds);
        report.add("cores that the source is busy with", "cores", name, cpu / seconds);
        if let Some(rows) = rows {
            report.add_rate("rows copied", "rows/s", name, rows as f64 / seconds);
        }
        Ok(())
    }

    /// Waits until the copy has brought rows, and how many it has.
    fn first_rows(&mut self) -> Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (rows, _) = self.copied()?;
            if rows > 0 {
                return Ok(rows);
            }
            if Instant::now() > deadline {
                return Err(failed("copy", "no row was copied within a minute"));
            }
            thread::sleep(LOOK);
        }
    }

    /// Waits until the time is up or the copy complete, and how many rows are there.
    fn copied_within_the_stretch(&mut self) -> Result<u64> {
        let deadline = Instant::now() + self.stretch;
        loop {
            thread::sleep(LOOK);
            let (rows, complete) = self.copied()?;
            if complete || Instant::now() > deadline {
                return Ok(rows);
            }
        }
    }

    /// Rows copied, and whether that is all of them.
    fn copied(&mut self) -> Result<(u64, bool)> {
        self.program.refuse_unless_running()?;
        // It does not answer at once after its start.
        let status = self.program.demand(&json!({"request": "status"})).unwrap_or(Value::Null);
        let state = &status["moves"][0];
        match state["state"].as_str() {
            Some("stopped") => Err(failed("copy", &state["trouble"])),
            said => Ok((state["rows_done"].as_u64().unwrap_or_default(), said == Some("following"))),
        }
    }
}

/// The figures that count, beside the ratios round by round.
fn add_ratios_of_medians(report: &mut Report) {
    let case = report.cases.iter().find(|case| case.name == P99);
    let median = |guest: Guest| case.and_then(|case| case.spread(guest.name())).map(|spread| spread.median);
    let Some(without) = median(Guest::Nobody).filter(|without| *without > 0.0) else { return };
    let ratios: Vec<(Guest, f64)> = Guest::ALL
        .into_iter()
        .filter(|guest| *guest != Guest::Nobody)
        .filter_map(|guest| Some((guest, median(guest)? / without)))
        .collect();
    for (guest, ratio) in ratios {
        let name = format!("{P99}: of what it is without a copy; of the medians");
        report.add(&name, "times", guest.name(), ratio);
    }
}
