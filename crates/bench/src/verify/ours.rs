//! `highwater verify`, asked of a process that follows the source all the while.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::{Comparer, Pair};
use crate::ground::Ground;
use crate::program::Program;
use crate::report::OURS;
use crate::source::SBTEST;
use crate::{Result, cpu, failed};

/// Far more than any copy here takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Ours.
pub struct Ours {
    program: Program,
}

impl Ours {
    /// Copies the source, so that the target holds the same, and stays to follow.
    pub fn bring(told: Option<&Path>, ground: &Ground, pair: &Pair) -> Result<Self> {
        let mut program = Program::find(told, ground.dir().join("ours"))?;
        program.set_up(pair.source.port(), pair.target.port(), &[SBTEST])?;
        program.start()?;
        program.following(PATIENCE)?;
        Ok(Self { program })
    }

    fn cpu(&self) -> Result<f64> {
        cpu::of(self.program.pid().ok_or_else(|| failed("measure highwater", "it has ended"))?)
    }
}

impl Comparer for Ours {
    fn name(&self) -> &'static str {
        OURS
    }

    fn settings(&self) -> String {
        "highwater verify, its defaults, while the process follows the source".into()
    }

    fn compare(&mut self, _pair: &Pair) -> Result<(u64, f64)> {
        let before = self.cpu()?;
        let verdict = self.program.demand(&json!({"request": "verify", "move_name": "bench"}))?;
        let different = verdict["different"].as_u64();
        if different != Some(0) {
            return Err(failed("compare equal servers", format!("highwater says {verdict}")));
        }
        Ok((verdict["rows"].as_u64().unwrap_or_default(), self.cpu()? - before))
    }
}
