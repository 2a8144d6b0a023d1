//! `highwater serve` and `highwater proxy`.

use model::Trouble;

use super::Context;
use crate::cli::ServeArgs;

/// What runs beside the front door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// The moves of the settings: `serve`.
    Moves,
    /// Nothing: `proxy`.
    FrontDoorOnly,
}

/// Runs the command.
///
/// # Errors
/// Always, until it is wired.
pub async fn run(_context: &Context, _args: &ServeArgs, _with: With) -> Result<(), Trouble> {
    Err(Trouble::new("`serve` is not wired yet", "nothing was started", "wait for the next build"))
}
