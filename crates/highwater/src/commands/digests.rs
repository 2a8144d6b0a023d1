//! `highwater digests`: what the statements of the running front door cost.

use model::Trouble;
use serde_json::Value;

use super::Context;
use super::ask::told;
use crate::cli::DigestsArgs;
use crate::config;
use crate::control::{Client, DigestsView, Request};
use crate::output;

/// Asks the running process.
///
/// # Errors
/// If none runs, it has no front door, or counts nothing.
pub async fn run(context: &Context, args: &DigestsArgs) -> Result<(), Trouble> {
    let mut view = told(args.json, digests(context, args.reset).await)?;
    output::top_digests(&mut view, args.by, args.top);
    match args.json {
        true => output::print_json(&view)?,
        false => output::print(&output::render_digests(&view))?,
    };
    Ok(())
}

async fn digests(context: &Context, anew: bool) -> Result<DigestsView, Trouble> {
    let point = config::control_point(&context.config)?;
    let answer: Value =
        Client::connect(&point.state_dir).await?.ask(&Request::Digests { anew }, |_| {}).await?;
    serde_json::from_value(answer).map_err(|error| {
        Trouble::new(
            format!("the figures cannot be read: {error}"),
            "nothing was changed",
            "use the same version of highwater as the running process",
        )
    })
}
