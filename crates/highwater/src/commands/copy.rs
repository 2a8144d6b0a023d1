//! `highwater copy`.

use model::Trouble;

use super::Context;
use crate::cli::CopyArgs;

/// Runs the command.
///
/// # Errors
/// Always, until it is wired.
pub async fn run(_context: &Context, _args: &CopyArgs) -> Result<(), Trouble> {
    Err(Trouble::new("`copy` is not wired yet", "nothing was started", "wait for the next build"))
}
