//! `highwater demo`: the whole story on this machine.

use model::Trouble;

use super::Context;
use crate::cli::DemoArgs;

/// Plays the demo.
///
/// # Errors
/// If it could not be played, or a promise was broken.
pub async fn run(_context: &Context, args: &DemoArgs) -> Result<(), Trouble> {
    crate::demo::play(args).await
}
