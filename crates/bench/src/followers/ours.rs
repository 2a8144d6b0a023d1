//! `highwater copy`, started again over its ledger.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::Node;

use super::Follower;
use crate::ground::Ground;
use crate::program::Program;
use crate::report::OURS;
use crate::source::SBTEST;
use crate::sql::Sql;
use crate::{Result, cpu, failed};

/// Far more than the first copy takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ours.
pub struct Ours {
    program: Program,
    node: Node,
    kept: PathBuf,
}

impl Ours {
    /// The program at `told`, else the one beside this one.
    pub fn new(told: Option<&Path>, ground: &Ground) -> Result<Self> {
        let program = Program::find(told, ground.dir().join("ours"))?;
        Ok(Self { program, node: ground.node("ours", 2)?, kept: PathBuf::new() })
    }
}

impl Follower for Ours {
    fn name(&self) -> &'static str {
        OURS
    }

    fn settings(&self) -> String {
        "highwater copy, its defaults, started again after the copy; from the start of its process".into()
    }

    fn seed(&mut self, ground: &Ground, source: &mut Node) -> Result<()> {
        self.program.stop()?;
        self.node = ground.node("ours", 2)?;
        self.program.set_up(source.port(), self.node.port(), &[SBTEST])?;
        self.program.start()?;
        self.program.following(PATIENCE)?;
        self.program.stop()?;
        self.kept = ground.keep_data(&mut self.node, "kept-ours")?;
        Ok(())
    }

    fn put_back(&mut self, _source: &Node) -> Result<()> {
        Ground::put_back(&mut self.node, &self.kept)
    }

    fn start(&mut self) -> Result<()> {
        self.program.start()
    }

    fn refuse_unless_running(&mut self, _target: &mut Sql) -> Result<()> {
        self.program.refuse_unless_running()
    }

    fn applied(&self) -> &'static str {
        "SELECT applied FROM highwater.ledger"
    }

    fn cpu(&self) -> Result<f64> {
        cpu::of(self.program.pid().ok_or_else(|| failed("measure highwater", "it does not run"))?)
    }

    fn node(&self) -> &Node {
        &self.node
    }

    fn stop(&mut self) -> Result<()> {
        self.program.stop()
    }
}
