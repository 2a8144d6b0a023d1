//! The server's own clone plugin: physical, the whole instance, and the target's data goes.
//!
//! A cloned server restarts itself if something supervises it; here nothing does, so it shuts down and is started
//! again by us, in the timed part: before that it serves nobody (MySQL manual, "Cloning Remote Data").

use sandbox::{ADMIN_PASSWORD, ADMIN_USER};

use super::{Contestant, Turn, Used};
use crate::Result;
use crate::ground::trouble;
use crate::sql::Sql;

/// The plugin.
pub struct Clone;

impl Contestant for Clone {
    fn name(&self) -> &'static str {
        "clone"
    }

    fn settings(&self) -> String {
        "CLONE INSTANCE FROM ... REQUIRE NO SSL, and the restart it needs; physical, whole instance".into()
    }

    fn prepare(&mut self, turn: &mut Turn) -> Result<()> {
        let donor = format!("SET GLOBAL clone_valid_donor_list='127.0.0.1:{}'", turn.source.port());
        Sql::on(turn.target)?.execute(&donor)
    }

    fn copy(&mut self, turn: &mut Turn) -> Result<Used> {
        let clone = format!(
            "CLONE INSTANCE FROM '{ADMIN_USER}'@'127.0.0.1':{} IDENTIFIED BY '{ADMIN_PASSWORD}' REQUIRE NO SSL",
            turn.source.port()
        );
        match Sql::on(turn.target)?.execute(&clone) {
            // 3707: everything is cloned, and nobody is there to restart the server.
            Err(e) if !e.what.contains("3707") && !e.what.contains("supervisor") => return Err(e),
            _ => {}
        }
        turn.target.restart().map_err(trouble)?;
        // It works inside the servers: no process of its own.
        Ok(Used::default())
    }

    fn leave(&mut self, _turn: &mut Turn) -> Result<()> {
        Ok(())
    }
}
