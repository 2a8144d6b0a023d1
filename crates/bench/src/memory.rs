//! `bench memory`: the most memory ours takes while it copies many narrow rows, and while it compares them. Rows of a few bytes are
//! the hardest: whatever is kept for each of them is more than the row itself.

use std::time::{Duration, Instant};

use sandbox::Node;
use serde_json::json;

use crate::cli::MemoryArgs;
use crate::equal;
use crate::ground::Ground;
use crate::machine::Machine;
use crate::program::Program;
use crate::report::{OURS, Report};
use crate::sql::Sql;
use crate::{Result, cpu, failed, table};

const SCHEMA: &str = "narrow";
/// Rows made by one statement.
const LOT: u64 = 500_000;
/// Far more than any copy here takes.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Runs the benchmark.
///
/// # Errors
/// If the servers cannot be run, or the copy does not hold what the source does.
pub fn run(args: &MemoryArgs) -> Result<()> {
    let ground = Ground::prepare(&args.place.dir)?;
    let machine = Machine::facts(ground.dir(), ground.version())?;
    eprintln!("{}", machine.line());
    let mut report = Report::new("memory", machine);
    let settings = "highwater copy, its defaults, then highwater verify; the kernel's VmHWM of its process";
    report.settings.insert(OURS.to_owned(), settings.to_owned());
    let source = ground.node("source", 1)?;
    eprintln!("preparing the source: {} narrow rows", args.rows);
    fill(&source, args.rows)?;
    let content = equal::fingerprints(&mut Sql::on(&source)?, &[SCHEMA])?;
    for _ in 0..args.rounds {
        let target = ground.node("target", 2)?;
        let mut program = Program::find(args.place.program.as_deref(), ground.dir().join("ours"))?;
        program.set_up(source.port(), target.port(), &[SCHEMA])?;
        program.start()?;
        let begun = Instant::now();
        program.following(PATIENCE)?;
        let copied = begun.elapsed().as_secs_f64();
        let pid = program.pid().ok_or_else(|| failed("measure highwater", "it has ended"))?;
        let peak = cpu::peak_memory(pid)?;
        let verdict = program.demand(&json!({"request": "verify", "move_name": "bench"}))?;
        if (verdict["different"].as_u64(), verdict["rows"].as_u64()) != (Some(0), Some(args.rows)) {
            return Err(failed("compare equal servers", format!("highwater says {verdict}")));
        }
        let with_verify = cpu::peak_memory(pid)?;
        program.stop()?;
        equal::refuse_unless_equal(
            OURS,
            &content,
            &equal::fingerprints(&mut Sql::on(&target)?, &[SCHEMA])?,
            &[],
        )?;
        eprintln!("{peak:.1} MiB copying, {with_verify:.1} MiB with the comparison, {copied:.1} s");
        let rows = format!("{} narrow rows", args.rows);
        report.add(&format!("peak memory, copying {rows}"), "MiB", OURS, peak);
        report.add(&format!("peak memory, copying and comparing {rows}"), "MiB", OURS, with_verify);
        report.add(&format!("copy, {rows}"), "s", OURS, copied);
    }
    let file = report.write(args.place.json.as_deref())?;
    table::print(&report, &file);
    Ok(())
}

/// Past the binary log: nobody follows yet, and the move begins after it.
fn fill(source: &Node, rows: u64) -> Result<()> {
    let mut sql = Sql::on(source)?;
    sql.execute(&format!("CREATE DATABASE {SCHEMA}"))?;
    sql.execute(&format!("CREATE TABLE {SCHEMA}.pairs (id INT UNSIGNED PRIMARY KEY, v INT NOT NULL)"))?;
    sql.execute("SET SESSION sql_log_bin = 0")?;
    sql.execute(&format!("SET SESSION cte_max_recursion_depth = {LOT}"))?;
    let mut made = 0;
    while made < rows {
        let until = rows.min(made + LOT);
        sql.execute(&format!(
            "INSERT INTO {SCHEMA}.pairs WITH RECURSIVE n(i) AS (SELECT {} UNION ALL SELECT i + 1 FROM n WHERE i < {until}) \
             SELECT i, i % 1000 FROM n",
            made + 1
        ))?;
        made = until;
    }
    Ok(())
}
