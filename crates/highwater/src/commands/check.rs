//! `highwater check`: finds out whether a move can be exact, before anything is written.

use migrate::check::CheckReport;
use model::Trouble;

use super::Context;
use super::ask::told;
use crate::cli::CheckArgs;
use crate::config;
use crate::output::{self, Colour};
use crate::preflight::{self, STATE};

/// Columns of the table.
const WIDTH: usize = 100;

/// Checks one move and prints what was found.
///
/// # Errors
/// If a server cannot be asked, or the move is refused.
pub async fn run(context: &Context, args: &CheckArgs) -> Result<(), Trouble> {
    let (name, report, memory) = told(args.json, check(context, args).await)?;
    if args.json {
        output::print_json(&report)?;
    } else {
        let text = match Colour::of_stdout() {
            Colour::On => report.render_table_in_colour(WIDTH),
            Colour::Off => report.render_table(WIDTH),
        };
        output::print(&text)?;
        if let Some(memory) = memory {
            output::print(&format!("front door: {memory}\n"))?;
        }
    }
    match report.refused() {
        0 => Ok(()),
        refused => Err(Trouble::new(
            format!("move '{name}' is refused by {refused} of {} checks", report.checks.len()),
            STATE,
            "apply the fixes, or accept what may be accepted with `--accept NAME,...`",
        )),
    }
}

/// The move's name and report, and what is to be said of the front door's memory.
async fn check(
    context: &Context,
    args: &CheckArgs,
) -> Result<(String, CheckReport, Option<String>), Trouble> {
    let config = config::load(&context.config)?;
    let one = config.move_named(args.move_name.as_deref())?;
    let memory = config.front_door.enabled.then(|| config.front_door.memory_in_words().0);
    Ok((one.spec.name.clone(), preflight::check(&config, one, &args.accept).await?, memory))
}
