//! `highwater stop`: sees the clients of the running front door out, and ends the process.

use std::time::Duration;

use model::Trouble;
use serde_json::Value;

use super::Context;
use super::ask::{milliseconds, told};
use crate::cli::StopArgs;
use crate::config;
use crate::control::{Client, Request};
use crate::output::{self, ProgressDisplay};

/// Asks the running process, and waits until it is about to end.
///
/// # Errors
/// If none runs.
pub async fn run(context: &Context, args: &StopArgs) -> Result<(), Trouble> {
    let answer = told(args.json, ask(context, args).await)?;
    match args.json {
        true => output::print_json(&answer)?,
        false => output::print(&output::render_answer(&answer))?,
    };
    Ok(())
}

async fn ask(context: &Context, args: &StopArgs) -> Result<Value, Trouble> {
    let point = config::control_point(&context.config)?;
    let mut client = Client::connect(&point.state_dir).await?;
    let mut display = ProgressDisplay::new(context.quiet);
    let request = Request::Stop {
        within_ms: milliseconds(args.within.unwrap_or(Duration::ZERO)),
        kill_after_ms: args.kill_after.map(milliseconds),
    };
    client.ask(&request, |update| display.show(&update)).await
}
