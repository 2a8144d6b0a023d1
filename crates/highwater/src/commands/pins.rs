//! `highwater proxy pins`: why clients of the running front door keep a server connection to themselves.

use model::Trouble;

use super::Context;
use super::ask::{status_of, told};
use crate::cli::PinsArgs;
use crate::config;
use crate::control::{Client, DoorView, Request};
use crate::output;

/// Asks the running process.
///
/// # Errors
/// If none runs, or the one that does has no front door.
pub async fn run(context: &Context, args: &PinsArgs) -> Result<(), Trouble> {
    let door = told(args.json, door(context).await)?;
    match args.json {
        true => output::print_json(&door.pins)?,
        false => output::print(&output::render_pins(&door))?,
    };
    Ok(())
}

async fn door(context: &Context) -> Result<DoorView, Trouble> {
    let point = config::control_point(&context.config)?;
    let answer = Client::connect(&point.state_dir).await?.ask(&Request::Status, |_| {}).await?;
    status_of(answer)?.door.ok_or_else(|| {
        Trouble::new(
            "the running process has no front door",
            "nothing was changed",
            "ask the process of `highwater serve` or `highwater proxy`",
        )
    })
}
