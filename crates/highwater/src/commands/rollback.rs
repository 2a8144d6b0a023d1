//! `highwater rollback`: asks the running process to make the old source the writer again.

use model::Trouble;

use super::Context;
use super::crossing;
use crate::cli::CrossingArgs;
use crate::control::Request;

/// Asks the running process.
///
/// # Errors
/// If none runs, or what it refused or failed at.
pub async fn run(context: &Context, args: &CrossingArgs) -> Result<(), Trouble> {
    crossing::run(context, args, |move_name, how| Request::Rollback { move_name, how }).await
}
