//! `highwater throttle`: tells the running process how hard its copies may read, and shows how hard they do.

use model::Trouble;
use serde_json::Value;

use super::Context;
use super::ask::told;
use crate::cli::ThrottleArgs;
use crate::config;
use crate::control::{Client, Request, ThrottleChange};
use crate::output;

/// Asks the running process and prints the pace of each move.
///
/// # Errors
/// If none runs, or the move does not run in it.
pub async fn run(context: &Context, args: &ThrottleArgs) -> Result<(), Trouble> {
    let answer = told(args.json, ask(context, args).await)?;
    if args.json {
        output::print_json(&answer)?;
    } else {
        output::print(&output::render_answer(&answer))?;
    }
    Ok(())
}

async fn ask(context: &Context, args: &ThrottleArgs) -> Result<Value, Trouble> {
    let point = config::control_point(&context.config)?;
    let move_name = match &args.move_name {
        Some(name) => Some(point.move_named(Some(name))?.to_owned()),
        None => None,
    };
    let change = match (args.pause, args.resume, args.limit) {
        (true, ..) => Some(ThrottleChange::Pause),
        (_, true, _) => Some(ThrottleChange::Resume),
        (.., Some(limit)) => Some(ThrottleChange::Limit(limit)),
        _ => None,
    };
    let mut client = Client::connect(&point.state_dir).await?;
    client.ask(&Request::Throttle { move_name, change }, |_| {}).await
}
