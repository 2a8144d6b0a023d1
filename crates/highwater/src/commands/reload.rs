//! `highwater reload`: has the running process read its settings again.

use model::Trouble;
use serde_json::Value;

use super::Context;
use super::ask::told;
use crate::cli::ReloadArgs;
use crate::config;
use crate::control::{Client, Request};
use crate::output;

/// Asks the running process and prints which keys have changed.
///
/// # Errors
/// If none runs, or the settings cannot be used.
pub async fn run(context: &Context, args: &ReloadArgs) -> Result<(), Trouble> {
    let answer = told(args.json, ask(context).await)?;
    match args.json {
        true => output::print_json(&answer)?,
        false => output::print(&output::render_answer(&answer))?,
    };
    Ok(())
}

async fn ask(context: &Context) -> Result<Value, Trouble> {
    let point = config::control_point(&context.config).map_err(config::still_in_force)?;
    Client::connect(&point.state_dir).await?.ask(&Request::Reload, |_| {}).await
}
