//! `highwater cutover` and `highwater rollback`, asked of a process that serves the clients through its front door.

use std::path::Path;
use std::time::{Duration, Instant};

use sandbox::PortLease;
use serde_json::json;

use super::{Home, Pair, Switch, Switcher};
use crate::ground::Ground;
use crate::program::Program;
use crate::report::OURS;
use crate::source::SHOP;
use crate::{Result, failed};

/// Far more than any copy here takes.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) struct Ours {
    program: Program,
    pair: Pair,
    door: PortLease,
}

impl Ours {
    /// Copies the shop, proves it equal, and opens the front door.
    pub fn bring(told: Option<&Path>, ground: &Ground, pair: Pair) -> Result<Self> {
        let mut program = Program::find(told, ground.dir().join("ours"))?;
        let door = PortLease::free().map_err(|e| failed("reserve a port", e.to_string()))?;
        let more = format!("[front_door]\nlisten = '127.0.0.1:{}'\ncluster = 'old'\n", door.port());
        program.set_up_with(pair.old.port(), pair.new.port(), &[SHOP], &more)?;
        program.serve()?;
        program.following(PATIENCE)?;
        let verdict = program.demand(&json!({"request": "verify", "move_name": "bench"}))?;
        if verdict["different"].as_u64() != Some(0) {
            return Err(failed("copy the shop", format!("highwater says {verdict}")));
        }
        Ok(Self { program, pair, door })
    }
}

impl Switcher for Ours {
    fn name(&self) -> &'static str {
        OURS
    }

    fn settings(&self) -> String {
        "highwater cutover and highwater rollback, their defaults; clients at the front door".into()
    }

    fn port(&self) -> u16 {
        self.door.port()
    }

    fn pair(&self) -> &Pair {
        &self.pair
    }

    fn switch(&mut self, to: Home) -> Result<Switch> {
        let how = json!({"mode": "real", "close_pinned": false, "accept_unproven": false});
        let request = match to {
            Home::New => {
                json!({"request": "cutover", "move_name": "bench", "how": how})
            }
            Home::Old => json!({"request": "rollback", "move_name": "bench", "how": how}),
        };
        let began = Instant::now();
        let report = self.program.demand(&request)?;
        let ended = Instant::now();
        let phases = report["phases"].as_array().into_iter().flatten();
        let phases = phases
            .map(|p| {
                (p["phase"].as_str().unwrap_or_default().to_owned(), p["ms"].as_f64().unwrap_or_default())
            })
            .collect();
        Ok(Switch { began, ended, phases })
    }
}
