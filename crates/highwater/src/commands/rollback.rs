//! `highwater rollback`: asks the running process to make the old source the writer again.

use model::Trouble;

use super::Context;
use super::ask::{ask_about_move, milliseconds};
use crate::cli::RollbackArgs;
use crate::control::Request;

/// Asks the running process.
///
/// # Errors
/// If none runs, or what it refused or failed at.
pub async fn run(context: &Context, args: &RollbackArgs) -> Result<(), Trouble> {
    let (close_pinned, accept_unproven) = (args.close_pinned, args.accept_unproven);
    let kill_after_ms = args.kill_after.map(milliseconds);
    let request = |move_name| Request::Rollback { move_name, close_pinned, accept_unproven, kill_after_ms };
    ask_about_move(context, &args.one, request).await
}
