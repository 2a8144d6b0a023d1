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

/// The proof kept of a direction, if there is one, and the target's log still has what has to be read.
///
/// # Errors
/// If it cannot be read.
pub(crate) async fn kept(
    target: &mut Connection,
    name: &LedgerName,
    applied: &GtidSet,
) -> Result<Option<KeptProof>> {
    let sql = format!(
        "SELECT proven, target_read, @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged FROM highwater.proofs \
         WHERE {} AND target_uuid = @@GLOBAL.server_uuid",
        name.matches()
    );
    let Some(row) = target.row(sql).await.doing(Side::Target, "read what is proven")? else {
        return Ok(None);
    };
    let (proven, target_read) = (parse_set(&row.text(0))?, parse_set(&row.text(1))?);
    let (executed, purged) = (parse_set(&row.text(2))?, parse_set(&row.text(3))?);
    let readable = executed.contains(&target_read) && target_read.contains(&purged);
    Ok((readable && applied.contains(&proven)).then_some(KeptProof { proven, target_read, executed }))
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
