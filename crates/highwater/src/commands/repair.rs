//! `highwater verify --repair`: a pass over every row; of what differs, the statements that would make it equal are shown,
//! and written if that is wanted.

use std::io::IsTerminal;

use migrate::{RepairPlan, RepairReport, Verification};
use model::Trouble;
use serde_json::{Value, json};

use super::Context;
use super::ask::{ask, told};
use super::verify::read;
use crate::cli::VerifyArgs;
use crate::config;
use crate::control::Request;
use crate::output;

/// What to say of the rows when nothing was repaired.
const STILL_DIFFERENT: &str =
    "nothing was written; the move goes on, and its cutover is refused while rows differ";

/// Asks the running process, shows what it would write, and has it written.
///
/// # Errors
/// If none runs, it cannot compare, a repair is not wanted, or rows still differ.
pub async fn run(context: &Context, args: &VerifyArgs) -> Result<(), Trouble> {
    let (move_name, answer, report) = told(args.one.json, repair(context, args).await)?;
    if args.one.json {
        output::print_json(&answer)?;
    }
    match report {
        Some(report) if report.different > 0 => Err(not_equal(&move_name, &report)),
        _ => Ok(()),
    }
}

async fn repair(
    context: &Context,
    args: &VerifyArgs,
) -> Result<(String, Value, Option<RepairReport>), Trouble> {
    let point = config::control_point(&context.config)?;
    let move_name = point.move_named(args.one.move_name.as_deref())?.to_owned();
    let pass = |move_name| Request::Verify { move_name, newest: None, sums: false };
    let answer = ask(context, &args.one, pass).await?;
    let found: Verification =
        read(answer, "the rows were compared; `highwater status` shows what is proven")?;
    show(args, &output::render_verification(&move_name, &found))?;
    let mut answer = json!(found);
    if found.different == 0 {
        return Ok((move_name, answer, None));
    }

    let plan = ask(context, &args.one, |move_name| Request::Repair { move_name, plan: None }).await?;
    let plan: RepairPlan = read(plan, STILL_DIFFERENT)?;
    show(args, &output::render_repair_plan("the target", &plan))?;
    if !args.yes {
        agreed(&plan).await?;
    }
    let id = plan.id;
    let report = ask(context, &args.one, |move_name| Request::Repair { move_name, plan: Some(id) }).await?;
    let report: RepairReport =
        read(report, "the rows were repaired; `highwater status` shows what is proven")?;
    show(args, &output::render_repair_report(&move_name, &report))?;
    answer["repair"] = json!({ "plan": plan, "report": report });
    Ok((move_name, answer, Some(report)))
}

/// Where a program reads the answer, what is for people goes beside it.
fn show(args: &VerifyArgs, text: &str) -> Result<(), Trouble> {
    match args.one.json {
        true => output::tell(text),
        false => {
            output::print(text)?;
        }
    }
    Ok(())
}

/// Asks whoever sits there.
async fn agreed(plan: &RepairPlan) -> Result<(), Trouble> {
    if !std::io::stdin().is_terminal() {
        return Err(Trouble::new(
            "cannot ask whether these statements may be written: nobody sits at a terminal here",
            STILL_DIFFERENT,
            "read the statements, then run this again with `--yes`, or at a terminal",
        ));
    }
    let rows: u64 = plan.tables.iter().map(|t| t.statements.len() as u64 + t.not_shown).sum();
    output::tell(&format!("Write {rows} to the target? Nothing is written to the source. [y/N] "));
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    let answer = tokio::select! {
        line = line => line.ok().and_then(Result::ok).unwrap_or_default(),
        _ = tokio::signal::ctrl_c() => String::new(),
    };
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Trouble::new(
            "the repair was not agreed to",
            STILL_DIFFERENT,
            "find out who writes to the target, then run `highwater verify --repair` again",
        )),
    }
}

fn not_equal(name: &str, report: &RepairReport) -> Trouble {
    let tables = report.tables.iter().filter(|t| t.different > 0);
    let tables: Vec<String> = tables.map(|t| format!("{} of {}", t.different, t.table)).collect();
    Trouble::new(
        format!("{} rows of move '{name}' still differ: {}", report.different, tables.join(", ")),
        format!(
            "{} rows were repaired; traffic is where it was, the move goes on, and its cutover is refused while rows differ",
            report.repaired
        ),
        "find out who writes to the target at this moment, then run `highwater verify --repair` again",
    )
}
