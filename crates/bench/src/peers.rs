//! Who copies: ours, and the tools a DBA would use instead, each with the settings that serve it best.

mod clone;
mod mydumper;
mod mysqldump;
mod ours;

use std::path::Path;

use sandbox::Node;

use crate::Result;

pub use clone::Clone;
pub use mydumper::{Mydumper, Settings};
pub use mysqldump::{Mysqldump, client};
pub use ours::Ours;

/// The servers of one turn.
pub struct Turn<'a> {
    pub source: &'a Node,
    /// Empty at the start.
    pub target: &'a mut Node,
    /// For what a tool leaves on disk on the way.
    pub dir: &'a Path,
}

/// What a contestant's own processes used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    pub cpu: f64,
    /// MiB at most, where it can be told.
    pub memory: Option<f64>,
}

/// Someone who can copy the source's schemas to an empty target.
pub trait Contestant {
    /// As results name it.
    fn name(&self) -> &'static str;

    /// How it is run, in words that can be repeated.
    fn settings(&self) -> String;

    /// The values it is known not to carry over, if there are any; those of the shop only, whose columns are of many
    /// kinds.
    fn loses(&self) -> Option<&'static str> {
        None
    }

    /// What has to be there before the clock starts.
    fn prepare(&mut self, turn: &mut Turn) -> Result<()>;

    /// The timed part; when it returns, every row is committed on the target.
    fn copy(&mut self, turn: &mut Turn) -> Result<Used>;

    /// Ends what still runs and removes what it left.
    fn leave(&mut self, turn: &mut Turn) -> Result<()>;
}
