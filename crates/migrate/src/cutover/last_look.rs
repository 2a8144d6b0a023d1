//! The last look: what was seen before a crossing began, or proven behind the fence, and may have changed since, because a hook
//! runs in between, or somebody with enough privileges works on a server.
//!
//! | guardrail | who looks again |
//! |---|---|
//! | stream, copy, lag | settle: it waits until the target has everything the fenced source has |
//! | proof, differences, watch | prove, with the last keys compared and the target's log read to its end; and here, as far as we know by ourselves |
//! | read_only | fence raises it and reads it back; here: it is still up, and, if it is around the whole server, nothing was written since the proof |
//! | replication | here: no channel has been started on the target |
//! | (none) | here: the target can commit, which it cannot if its disk is full |
//! | door, pinned clients, open transactions | drain, and fence |
//! | the others | nobody: tables change only by statements, which the stream repeats, and the fence refuses |
//!
//! One round trip to the source, two to the target, both at the same time.

use model::Trouble;
use mysql::{Connection, Error};

use super::crossing::{Ready, Unproven};
use super::fence::Barrier;
use super::guard;
use super::point::Proof;
use crate::error::{Doing, MoveError, Result, Side};
use crate::ledger;

/// Refuses to go past the point of no return if what the proof rests on is no longer so.
///
/// # Errors
/// If the source's fence is down, something was written there since, the target replicates from elsewhere or cannot commit, a write
/// on it is not ours, or a server does not answer.
pub(super) async fn last_look(
    barrier: &Barrier<'_>,
    move_name: &str,
    ready: &mut Ready,
    proof: &Proof,
    unproven: Unproven,
) -> std::result::Result<(), Trouble> {
    let (source, target) = tokio::join!(barrier.still_up(&mut ready.source, &proof.proven_as_of), async {
        follows_nobody(&mut ready.target).await?;
        ledger::commit_a_trifle(&mut ready.target, move_name).await
    });
    source.and(target).map_err(|error| error.trouble())?;
    match guard::unproven(&ready.mover).into_iter().next() {
        Some(missing) if unproven == Unproven::Refuse => Err(missing),
        _ => Ok(()),
    }
}

async fn follows_nobody(target: &mut Connection) -> Result<()> {
    let sql = "SELECT c.CHANNEL_NAME FROM performance_schema.replication_connection_status c \
               JOIN performance_schema.replication_applier_status a USING (CHANNEL_NAME) \
               WHERE c.CHANNEL_NAME NOT LIKE 'group\\_replication\\_%' \
               AND (c.SERVICE_STATE <> 'OFF' OR a.SERVICE_STATE <> 'OFF')";
    match target.row(sql).await {
        Ok(None) => Ok(()),
        Ok(Some(row)) => Err(MoveError::Refused {
            what: format!("channel '{}' replicates to the target now", row.text(0)),
            hint: "STOP REPLICA; RESET REPLICA ALL".into(),
        }),
        // Who may not look was told so before the crossing began.
        Err(Error::Server(refused)) if matches!(refused.code, 1142 | 1227) => Ok(()),
        Err(error) => Err(error).doing(Side::Target, "look for replication"),
    }
}
