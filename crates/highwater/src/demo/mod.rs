//! The whole story on one machine: a shop under load moves from one server to another, is proven equal, moves back,
//! and in the end every order its shoppers were told of is looked for.
//!
//! stage (servers, settings) -> story (what happens, in order) -> outcome (figures, promises, report)

mod narrator;
mod outcome;
mod stage;
mod story;

use model::Trouble;

use crate::cli::DemoArgs;
use narrator::Narrator;
use stage::Stage;

/// Plays the story.
///
/// # Errors
/// If it could not be played to its end, or a promise was broken; the report is written in either of these cases if
/// the story came to its end.
pub async fn play(args: &DemoArgs) -> Result<(), Trouble> {
    let seed = args.seed.unwrap_or_else(|| std::process::id().into());
    let narrator = Narrator::new();
    narrator.chapter(&format!("Highwater's demo, seed {seed}"));
    let stage = Stage::set(args.keep, &narrator).await?;
    let told = story::tell(&stage, args, seed, &narrator).await?;
    let outcome = outcome::judge(&told);
    outcome.write(args, &told)?;
    outcome.narrate(&narrator);
    stage.strike().await;
    outcome.verdict()
}
