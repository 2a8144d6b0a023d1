//! What `cutover` and `rollback` have in common: only their direction differs.

use migrate::cutover::Survey;
use model::Trouble;

use super::Context;
use super::ask::{ask, milliseconds, told};
use crate::cli::CrossingArgs;
use crate::control::{Crossing, CrossingMode, Request};
use crate::output;

/// Asks the running process for a crossing, a rehearsal or a look at what would happen.
///
/// # Errors
/// If none runs, or what it refused or failed at.
pub(super) async fn run(
    context: &Context,
    args: &CrossingArgs,
    request: impl FnOnce(String, Crossing) -> Request,
) -> Result<(), Trouble> {
    let how = Crossing {
        mode: match (args.dry_run, args.rehearse) {
            (true, _) => CrossingMode::DryRun,
            (_, true) => CrossingMode::Rehearsal,
            _ => CrossingMode::Real,
        },
        close_pinned: args.close_pinned,
        accept_unproven: args.accept_unproven,
        kill_after_ms: args.kill_after.map(milliseconds),
    };
    let answer = told(args.one.json, ask(context, &args.one, |name| request(name, how)).await)?;
    if args.one.json {
        output::print_json(&answer)?;
        return Ok(());
    }
    let text = match how.mode {
        CrossingMode::DryRun => output::render_survey(&surveyed(answer)?),
        CrossingMode::Real | CrossingMode::Rehearsal => output::render_answer(&answer),
    };
    output::print(&text)?;
    Ok(())
}

fn surveyed(answer: serde_json::Value) -> Result<Survey, Trouble> {
    serde_json::from_value(answer).map_err(|error| {
        Trouble::new(
            format!("what was found cannot be read: {error}"),
            "nothing was changed",
            "use the same version of highwater as the running process",
        )
    })
}
