//! Who follows a source: ours, and the server's own replica.

mod native;
mod ours;

use model::GtidSet;
use sandbox::Node;

use crate::ground::Ground;
use crate::sql::Sql;
use crate::{Result, failed};

pub use native::Native;
pub use ours::Ours;

/// Someone who keeps a target equal to a source.
pub trait Follower {
    /// As results name it.
    fn name(&self) -> &'static str;

    /// How it is run, in words that can be repeated.
    fn settings(&self) -> String;

    /// Brings the target to what the source holds now, and keeps that state. The source is not written to meanwhile.
    fn seed(&mut self, ground: &Ground, source: &mut Node) -> Result<()>;

    /// Puts the target back to the state that was kept, ready to follow from there.
    fn put_back(&mut self, source: &Node) -> Result<()>;

    /// Begins to follow.
    fn start(&mut self) -> Result<()>;

    /// Fails if it does not follow any more.
    fn refuse_unless_running(&mut self, target: &mut Sql) -> Result<()>;

    /// The statement that says, on the target, what is applied: GTID sets, one a row, to be united.
    fn applied(&self) -> &'static str;

    /// CPU seconds of its own process so far; 0 if it works inside the server.
    fn cpu(&self) -> Result<f64>;

    /// Its target.
    fn node(&self) -> &Node;

    /// Stops following.
    fn stop(&mut self) -> Result<()>;
}

/// Everything a server has committed.
pub fn executed(source: &mut Sql) -> Result<GtidSet> {
    united(source, "SELECT @@GLOBAL.gtid_executed")
}

/// The union of the GTID sets a statement returns.
pub fn united(sql: &mut Sql, statement: &str) -> Result<GtidSet> {
    let mut all = GtidSet::default();
    for row in sql.rows(statement)? {
        let text = row.text(0);
        let set: GtidSet = text.parse().map_err(|e| failed(format!("read the GTID set '{text}'"), e))?;
        all.union(&set);
    }
    Ok(all)
}
