//! What is proven, kept beside the ledger, so that the next process need not prove it again.
//!
//! A row says: of the tables of a direction, every row is equal on both sides, but for those that the source's log has touched
//! since `proven`, and those that strangers have touched in the target's log since `target_read`. That was true when it was
//! written, and both logs can be read again from there. It is removed before anything of ours happens that the next
//! process could not tell from a stranger's work, and before a new pass begins. `docs/decisions/0014-proof-kept.md`.

use model::GtidSet;
use mysql::Connection;

use super::{LedgerName, LedgerRow, parse_set};
use crate::error::{Doing, Result, Side};

/// A proof of an earlier process, and what has to be looked at before it holds again.
#[derive(Debug, Clone)]
pub(crate) struct KeptProof {
    /// The source's transactions of which every touched row was proven.
    pub proven: GtidSet,
    /// The target's transactions that were looked at.
    pub target_read: GtidSet,
    /// The target's transactions when this process began.
    pub executed: GtidSet,
}

/// What an earlier process has left of a proof.
#[derive(Debug)]
pub(crate) enum Kept {
    /// Nothing.
    Nothing,
    /// A proof that cannot be made to hold again, and why.
    Void(String),
    /// A proof that holds again once both logs are read.
    Proof(KeptProof),
}

/// What is kept of a direction's proof, and whether the target's log still has what has to be read.
///
/// # Errors
/// If it cannot be read.
pub(crate) async fn kept(target: &mut Connection, name: &LedgerName, applied: &GtidSet) -> Result<Kept> {
    let sql = format!(
        "SELECT proven, target_read, @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged, target_uuid = @@GLOBAL.server_uuid \
         FROM highwater.proofs WHERE {}",
        name.matches()
    );
    let Some(row) = target.row(sql).await.doing(Side::Target, "read what is proven")? else {
        return Ok(Kept::Nothing);
    };
    let (proven, target_read) = (parse_set(&row.text(0))?, parse_set(&row.text(1))?);
    let (executed, purged) = (parse_set(&row.text(2))?, parse_set(&row.text(3))?);
    let void = if row.text(4) != "1" {
        "the target is another server than the one it was made of"
    } else if !executed.contains(&target_read) {
        "the target has lost transactions that it had then"
    } else if !target_read.contains(&purged) {
        "the target's binary log does not reach back to it any more"
    } else if !applied.contains(&proven) {
        "less is applied to the target than was then"
    } else {
        return Ok(Kept::Proof(KeptProof { proven, target_read, executed }));
    };
    Ok(Kept::Void(void.to_owned()))
}

/// Keeps a proof in place of an earlier one, if the ledger is still ours.
///
/// # Errors
/// If the target refuses.
pub(crate) async fn keep(
    target: &mut Connection,
    ledger: &LedgerRow,
    proven: &GtidSet,
    target_read: &GtidSet,
) -> Result<()> {
    let LedgerName { move_name, source_uuid } = ledger.name();
    let sql = format!(
        "START TRANSACTION; {}; INSERT INTO highwater.proofs (move_name, source_uuid, target_uuid, proven, target_read) \
         SELECT '{move_name}', '{source_uuid}', @@GLOBAL.server_uuid, '{proven}', '{target_read}' \
         FROM highwater.ledger WHERE {} LIMIT 1; COMMIT",
        withdrawn(ledger.name()),
        ledger.is_owner()
    );
    target.query_all(sql).await.doing(Side::Target, "keep what is proven")?;
    Ok(())
}

/// Takes back whatever was kept.
///
/// # Errors
/// If the target refuses.
pub(crate) async fn withdraw(target: &mut Connection, name: &LedgerName) -> Result<()> {
    target.execute(withdrawn(name)).await.doing(Side::Target, "take back what was proven")?;
    Ok(())
}

/// The statement that takes it back.
pub(crate) fn withdrawn(name: &LedgerName) -> String {
    format!("DELETE FROM highwater.proofs WHERE {}", name.matches())
}
