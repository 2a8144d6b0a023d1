//! Another server has taken the source's place: its address leads there now, after a failover or a switchover of the site's own.
//!
//! A GTID names a transaction whichever server logs it. So a server that has executed everything the ledger calls applied, and has
//! what follows in its log, is followed from there. Positions in a log mean nothing on another server; none outlives a pipeline.
//! What was proven is void: that a replica holds the same as the server it replaced is a belief.

use mysql::Connection;

use crate::direction::Direction;
use crate::error::{Doing, MoveError, Result, Side};
use crate::ledger::{self, LedgerName};
use crate::mover::variable;

/// How long a replica may take to execute what it has received, in seconds.
const CATCH_UP_S: u32 = 20;

const HINT: &str =
    "point the cluster's address at a server that has them, or `highwater finish` this move and copy again";

/// The ledger under which this source is followed: the one there is or, if that is another server's whose place this one has
/// taken, that one, handed over to it. Nothing if the direction has not begun.
///
/// # Errors
/// If this server cannot be followed from there, or another direction's ledger is in the way.
pub(crate) async fn ledger_of(
    source: &mut Connection,
    target: &mut Connection,
    move_name: &str,
) -> Result<LedgerName> {
    let source_uuid = variable(source, Side::Source, "@@GLOBAL.server_uuid").await?;
    let now = LedgerName { move_name: move_name.to_owned(), source_uuid };
    let begun = ledger::sources(target, move_name).await?;
    match begun.as_slice() {
        [before] if *before != now.source_uuid => {
            let before = LedgerName { source_uuid: before.clone(), ..now.clone() };
            take_over(source, target, &before, &now).await?;
        }
        _ => {}
    }
    Ok(now)
}

async fn take_over(
    source: &mut Connection,
    target: &mut Connection,
    before: &LedgerName,
    now: &LedgerName,
) -> Result<()> {
    let applied = ledger::read(target, before).await?.unwrap_or_default();
    let refused = |why: String| MoveError::Refused {
        what: format!(
            "the source is another server now: {}, not {}; {why}",
            now.source_uuid, before.source_uuid
        ),
        hint: HINT.into(),
    };
    if applied.is_empty() {
        return Err(refused("nothing is applied by which the two could be told to be of one kind".into()));
    }
    let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{applied}', {CATCH_UP_S})");
    source.rows(wait).await.doing(Side::Source, "wait for what is applied already")?;
    let sets = format!(
        "SELECT GTID_SUBTRACT('{applied}', @@GLOBAL.gtid_executed), GTID_SUBTRACT(@@GLOBAL.gtid_purged, '{applied}')"
    );
    let sets =
        source.row(sets).await.doing(Side::Source, "compare what it has executed with what is applied")?;
    let (lacking, gone) = sets.map(|row| (row.text(0), row.text(1))).unwrap_or_default();
    if !lacking.is_empty() {
        return Err(refused(format!("it has not executed {lacking}, which is on the target already")));
    }
    if !gone.is_empty() {
        return Err(refused(format!("its log does not have {gone}, which is not on the target yet")));
    }
    ledger::hand_over(target, before, now).await?;
    tracing::warn!(
        target: "highwater::move",
        before = before.source_uuid,
        now = now.source_uuid,
        "another server has taken the source's place; it has everything that is applied, and is followed from there. Nothing is proven of it yet"
    );
    Ok(())
}

impl Direction {
    /// The same direction, followed from another server, of which nothing is proven. Called while no pipeline runs.
    pub(crate) fn followed_from(&self, ledger: LedgerName) -> Self {
        self.proof.begin_anew("another server has taken the source's place".into());
        self.dirty.reset();
        Self {
            ledger,
            options: self.options.clone(),
            tables: self.tables.clone(),
            progress: self.progress.clone(),
            dirty: self.dirty.clone(),
            changes: self.changes.clone(),
            proof: self.proof.clone(),
            reshaping: self.reshaping.clone(),
        }
    }
}
