//! `highwater demo`.

use model::Trouble;

use super::Context;
use crate::cli::DemoArgs;

/// Runs the command.
///
/// # Errors
/// Always, until it is wired.
pub async fn run(_context: &Context, _args: &DemoArgs) -> Result<(), Trouble> {
    Err(Trouble::new("`demo` is not wired yet", "nothing was started", "wait for the next build"))
}
