//! `highwater copy`.
//!
//! It never ends by itself: it follows the source. The copy is over when its status says `following`: every range is
//! committed on the target and so is the stream up to where the last window closed.

use std::path::Path;
use std::time::Duration;

use super::{Contestant, Turn, Used};
use crate::program::Program;
use crate::report::OURS;
use crate::{Result, cpu, failed};

/// Far more than any copy here takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Ours.
pub struct Ours {
    program: Program,
    schemas: Vec<&'static str>,
}

impl Ours {
    /// The program at `told`, else the one beside this one; its settings go into `dir`.
    pub fn new(told: Option<&Path>, dir: &Path, schemas: &[&'static str]) -> Result<Self> {
        Ok(Self { program: Program::find(told, dir.join("ours"))?, schemas: schemas.to_vec() })
    }
}

impl Contestant for Ours {
    fn name(&self) -> &'static str {
        OURS
    }

    fn settings(&self) -> String {
        "highwater copy, its defaults; from its start until its status is `following`".into()
    }

    fn prepare(&mut self, turn: &mut Turn) -> Result<()> {
        self.program.set_up(turn.source.port(), turn.target.port(), &self.schemas)
    }

    fn copy(&mut self, _turn: &mut Turn) -> Result<Used> {
        self.program.start()?;
        self.program.following(PATIENCE)?;
        let pid = self.program.pid().ok_or_else(|| failed("measure highwater", "it has ended"))?;
        Ok(Used { cpu: cpu::of(pid)?, memory: Some(cpu::peak_memory(pid)?) })
    }

    fn leave(&mut self, _turn: &mut Turn) -> Result<()> {
        self.program.stop()
    }
}
