//! Who keeps a crossing from going on: whoever has a transaction or a lock open on the source past the drain or the fence. They are
//! named, without a value of theirs, and ended if the operator said so.

use mysql::Connection;
use serde::{Deserialize, Serialize};

use super::Phase;
use crate::error::{Doing, Result, Side};

/// Of so many it is told; there may be more.
const NAMED: usize = 20;
/// What the server calls the state of a session whose changes are being written to the binary log.
const COMMITTING: &str = "waiting for handler commit";
/// Characters of a statement that are shown.
const SHOWN: usize = 120;

/// A connection of the source that stood in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InTheWay {
    /// In which phase.
    pub phase: Phase,
    /// The server's number of the connection.
    pub connection: u64,
    /// Whose it was.
    pub account: String,
    /// For how long its transaction, or what it was doing, had been open, in milliseconds.
    pub open_for_ms: u64,
    /// Its last statement without values, as the server's digest has it; empty if the server does not tell.
    pub statement: String,
}

impl std::fmt::Display for InTheWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.open_for_ms as f64 / 1e3;
        write!(f, "connection {} of account '{}', open for {seconds:.1} s", self.connection, self.account)?;
        match self.statement.as_str() {
            "" => Ok(()),
            statement => write!(f, ", last {statement}"),
        }
    }
}

/// All of them in a sentence.
pub(super) fn sentence(all: &[InTheWay]) -> String {
    let named: Vec<String> = all.iter().map(InTheWay::to_string).collect();
    if named.is_empty() { "the server names nobody".into() } else { named.join("; ") }
}

/// The connections that keep a server from becoming read-only, but for one: running changes, table locks.
pub(super) async fn before_the_fence(server: &mut Connection, but: u32) -> Result<Vec<u64>> {
    with_locks(server, Side::Source, "m.OBJECT_TYPE IN ('GLOBAL', 'COMMIT')", but).await
}

/// The connections, but for one, that have a metadata lock where this condition on `metadata_locks m` says.
pub(super) async fn with_locks(
    server: &mut Connection,
    side: Side,
    place: &str,
    but: u32,
) -> Result<Vec<u64>> {
    let sql = format!(
        "SELECT DISTINCT t.PROCESSLIST_ID FROM performance_schema.metadata_locks m \
         JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID \
         WHERE {place} AND m.LOCK_STATUS = 'GRANTED' AND t.PROCESSLIST_ID NOT IN ({but}, CONNECTION_ID())"
    );
    let rows = server.rows(sql).await.doing(side, "look for who stands in the way")?;
    Ok(rows.iter().filter_map(|row| row.number(0)).collect())
}

/// Says who these connections are.
pub(super) async fn named(server: &mut Connection, phase: Phase, ids: &[u64]) -> Result<Vec<InTheWay>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = ids.iter().take(NAMED).map(u64::to_string).collect();
    // A transaction's own clock, not its start as INNODB_TRX tells it, which is in the server's time zone.
    let sql = format!(
        "SELECT t.PROCESSLIST_ID, IFNULL(t.PROCESSLIST_USER, ''), \
         IFNULL(x.TIMER_WAIT DIV 1000000000, IFNULL(t.PROCESSLIST_TIME, 0) * 1000), LEFT(IFNULL(s.DIGEST_TEXT, ''), {SHOWN}) \
         FROM performance_schema.threads t \
         LEFT JOIN performance_schema.events_transactions_current x ON x.THREAD_ID = t.THREAD_ID AND x.STATE = 'ACTIVE' \
         LEFT JOIN performance_schema.events_statements_current s ON s.THREAD_ID = t.THREAD_ID AND s.NESTING_EVENT_LEVEL = 0 \
         WHERE t.PROCESSLIST_ID IN ({}) ORDER BY 3 DESC",
        ids.join(",")
    );
    let rows = server.rows(sql).await.doing(Side::Source, "name who stands in the way")?;
    let named = rows.iter().map(|row| InTheWay {
        phase,
        connection: row.number(0).unwrap_or_default(),
        account: row.text(1),
        open_for_ms: row.number(2).unwrap_or_default(),
        statement: row.text(3),
    });
    Ok(named.collect())
}

/// Ends connections; the server rolls back what they had not committed.
pub(super) async fn end(server: &mut Connection, all: &[InTheWay]) -> Result<()> {
    for one in all {
        tracing::warn!(target: "highwater::move", phase = %one.phase, "ending {one}");
        kill(server, one.connection, Side::Source).await?;
    }
    Ok(())
}

/// Ends a connection, if it has not ended by itself. One that is committing is left alone: it will have done what it does, and a
/// commit that waits for room on a full disk would take the server with it (seen of 9.7.4: "An error occurred during flush stage of
/// the commit. 'binlog_error_action' is set to 'ABORT_SERVER'. Server is being stopped").
pub(super) async fn kill(server: &mut Connection, id: u64, side: Side) -> Result<()> {
    let committing = format!(
        "SELECT 1 FROM performance_schema.threads WHERE PROCESSLIST_ID = {id} AND PROCESSLIST_STATE = '{COMMITTING}'"
    );
    match server.row(committing).await {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => {}
        // Who may not look may not be told to wait either.
        Err(error) if error.server_code() == Some(1142) => {}
        Err(error) => return Err(error).doing(side, "look at a connection"),
    }
    match server.execute(format!("KILL {id}")).await {
        // 1094: there is no such connection.
        Err(error) if error.server_code() != Some(1094) => Err(error).doing(side, "end a connection"),
        _ => Ok(()),
    }
}
