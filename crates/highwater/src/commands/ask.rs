//! What the commands that ask the running process have in common.

use std::time::Duration;

use model::Trouble;
use serde_json::Value;

use super::Context;
use crate::cli::MoveArgs;
use crate::config;
use crate::control::{Client, Request, StatusView};
use crate::output::{self, ProgressDisplay};

/// As requests carry a duration.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Asks the running process about one move and prints the answer.
///
/// # Errors
/// If none runs, or what it refused or failed at.
pub async fn ask_about_move(
    context: &Context,
    args: &MoveArgs,
    request: impl FnOnce(String) -> Request,
) -> Result<(), Trouble> {
    let answer = told(args.json, ask(context, args, request).await)?;
    if args.json {
        output::print_json(&answer)?;
    } else {
        output::print(&output::render_answer(&answer))?;
    }
    Ok(())
}

/// A program that asked for JSON gets `{"error": {what, state, hint}}` in the place of an answer.
pub fn told<T>(json: bool, outcome: Result<T, Trouble>) -> Result<T, Trouble> {
    if let (true, Err(trouble)) = (json, &outcome) {
        output::print_json(&serde_json::json!({ "error": trouble }))?;
    }
    outcome
}

/// Asks the running process about one move, showing its progress, and returns the answer.
///
/// # Errors
/// As [`ask_about_move`].
pub async fn ask(
    context: &Context,
    args: &MoveArgs,
    request: impl FnOnce(String) -> Request,
) -> Result<Value, Trouble> {
    let point = config::control_point(&context.config)?;
    let request = request(point.move_named(args.move_name.as_deref())?.to_owned());
    let mut client = Client::connect(&point.state_dir).await?;
    let mut display = ProgressDisplay::new(context.quiet);
    tokio::select! {
        answer = client.ask(&request, |update| display.show(&update)) => answer,
        // Without this it would look as if the work had been stopped.
        _ = tokio::signal::ctrl_c() => Err(Trouble::new(
            "interrupted while waiting for the answer",
            "the running process carries the request out all the same",
            "ask with `highwater status`",
        )),
    }
}

/// The answer to a question for the status.
///
/// # Errors
/// If it is not one of this version's.
pub fn status_of(answer: Value) -> Result<StatusView, Trouble> {
    serde_json::from_value(answer).map_err(|error| {
        Trouble::new(
            format!("the status cannot be read: {error}"),
            "nothing was changed",
            "use the same version of highwater as the running process",
        )
    })
}
