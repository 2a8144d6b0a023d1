//! `bench prove`: whether re-proving keeps up with a source that is kept busy.
//!
//! Every change of the stream makes its key dirty until both servers have been asked for its row again. If that were slower than
//! the load, keys in flight would grow for as long as it lasts.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::ProveArgs;
use crate::cpu::Servers;
use crate::ground::Ground;
use crate::machine::Machine;
use crate::pressure::{self, Pressure};
use crate::program::Program;
use crate::report::{OURS, Report};
use crate::source::{SBTEST, Sysbench};
use crate::tools::{self, Tools};
use crate::{Result, cpu, failed, table};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Far more than any copy here takes, or than the last keys need.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs the benchmark.
///
/// # Errors
/// If the servers cannot be run, or a row is found different.
pub fn run(args: &ProveArgs) -> Result<()> {
    let ground = Ground::prepare(&args.place.dir)?;
    let machine = Machine::facts(ground.dir(), ground.version())?;
    eprintln!("{}", machine.line());
    let mut report = Report::new("prove", machine);
    let sysbench = Sysbench::new(&Tools::from_script("scripts/test-tools.sh")?, args.rows)?;
    let (source, target) = (ground.node("source", 1)?, ground.node("target", 2)?);
    sysbench.prepare(&source)?;
    let pressure = Pressure::find(&sysbench, &source, args.load)?;
    eprintln!("{}", pressure.settings());
    report.settings.insert("load".to_owned(), pressure.settings());
    report
        .settings
        .insert(OURS.to_owned(), "highwater copy, its defaults, after one pass of highwater verify".into());

    let mut program = Program::find(args.place.program.as_deref(), ground.dir().join("ours"))?;
    program.set_up(source.port(), target.port(), &[SBTEST])?;
    program.start()?;
    program.following(PATIENCE)?;
    let verdict = program.demand(&json!({"request": "verify", "move_name": "bench"}))?;
    refuse_unless_equal(&verdict["different"])?;

    let tool = || cpu::of(program.pid().ok_or_else(|| failed("measure highwater", "it has ended"))?);
    let (servers, tool_cpu) = (Servers::before(&source, &target)?, tool()?);
    let mut command = pressure.command(&sysbench, &source, args.seconds);
    let load = thread::spawn(move || tools::run(&mut command));
    let mut series = Vec::new();
    while !load.is_finished() {
        thread::sleep(LOOK);
        let in_flight = keys_in_flight(&program)?;
        if series.len() % 60 == 0 {
            eprintln!("{:>4} s: {in_flight} keys in flight", series.len());
        }
        series.push(in_flight as f64);
    }
    let said = load.join().map_err(|_| failed("run the load", "its thread has panicked"))??;
    let (ended, (source_cpu, target_cpu)) = (Instant::now(), servers.spent()?);
    while keys_in_flight(&program)? > 0 {
        if ended.elapsed() > PATIENCE {
            return Err(failed("prove the last keys", "they are in flight still"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    let settled = ended.elapsed().as_secs_f64();
    let reached = pressure::transactions_per_second(&said).unwrap_or_default();

    let load = pressure.name();
    for figure in &series {
        report.add(&format!("keys in flight, second by second, {load}"), "keys", OURS, *figure);
    }
    let tenth = (series.len() / 10).max(1);
    for (which, part) in [
        ("first", &series[..tenth.min(series.len())]),
        ("last", &series[series.len().saturating_sub(tenth)..]),
    ] {
        for figure in part {
            report.add(&format!("keys in flight, {which} tenth of the time, {load}"), "keys", OURS, *figure);
        }
    }
    report.add(&format!("until the last key was proven, {load}"), "s", OURS, settled);
    report.add_rate(&format!("write rate reached, {load}"), "transactions/s", OURS, reached);
    report.add(&format!("cpu of the tool, {load}"), "s", OURS, tool()? - tool_cpu);
    report.add(&format!("cpu of the source server, {load}"), "s", OURS, source_cpu);
    report.add(&format!("cpu of the target server, {load}"), "s", OURS, target_cpu);
    report.series.insert("keys in flight, second by second".to_owned(), series);
    program.stop()?;
    let file = report.write(args.place.json.as_deref())?;
    table::print(&report, &file);
    Ok(())
}

fn keys_in_flight(program: &Program) -> Result<u64> {
    let status = program.demand(&json!({"request": "status"}))?;
    let proof = &status["moves"][0]["proof"];
    refuse_unless_equal(&proof["differences"])?;
    if proof["proven_as_of"].is_null() {
        return Err(failed("keep the proof", "what was proven is proven no more"));
    }
    proof["keys_in_flight"].as_u64().ok_or_else(|| failed("read the status", "it tells no keys in flight"))
}

fn refuse_unless_equal(different: &Value) -> Result<()> {
    match different.as_u64() {
        Some(0) => Ok(()),
        _ => Err(failed("compare equal servers", format!("highwater finds {different} keys different"))),
    }
}
