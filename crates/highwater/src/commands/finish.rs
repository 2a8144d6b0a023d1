//! `highwater finish`: asks the running process to give up the way back.

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
    ask_about_move(context, args, |move_name| Request::Finish { move_name }).await
}
