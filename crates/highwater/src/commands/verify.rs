//! `highwater verify`: asks the running process to prove a move's rows equal.

use model::Trouble;

use super::Context;
use super::ask::ask_about_move;
use crate::cli::MoveArgs;
use crate::control::Request;

/// Asks the running process.
///
/// # Errors
/// If none runs, or what it refused or failed at.
pub async fn run(context: &Context, args: &MoveArgs) -> Result<(), Trouble> {
    ask_about_move(context, args, |move_name| Request::Verify { move_name }).await
}
