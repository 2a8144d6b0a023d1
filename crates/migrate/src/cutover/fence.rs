//! Fences: the servers' own refusal to take writes. Persisted, so that a server that restarts is still fenced.
//!
//! | side | `read_only` | `super_read_only` | who can write |
//! |---|---|---|---|
//! | serving | OFF | OFF | the application |
//! | fenced during a crossing | ON | ON | nobody |
//! | following | ON | OFF | accounts with CONNECTION_ADMIN: ours |

use std::time::Duration;

use mysql::{ConnectOptions, Connection};

use super::mend::answered;
use crate::error::{Doing, MoveError, Result, Side};
use crate::session;

/// A connection for raising and lowering fences; the only one of its kind on that server.
///
/// A statement that was given up because the server did not answer may still be on its way to it, and would then lower a
/// fence, or raise one, when the next crossing relies on the contrary. So whoever sent it is ended first, an earlier
/// process's connection too: what it does after this, it has done before.
pub(super) async fn connect(options: &ConnectOptions, side: Side) -> Result<Connection> {
    let mut server = session::open_fence(options, side).await?;
    let others = "SELECT PROCESSLIST_ID FROM performance_schema.session_account_connect_attrs \
                  WHERE ATTR_NAME = 'highwater_role' AND ATTR_VALUE = 'fence' AND PROCESSLIST_ID <> CONNECTION_ID()";
    loop {
        let left = server.rows(others).await.doing(side, "look for connections of ours")?;
        if left.is_empty() {
            return Ok(server);
        }
        for row in left {
            kill(&mut server, &row.text(0), side).await?;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn kill(server: &mut Connection, id: &str, side: Side) -> Result<()> {
    match server.execute(format!("KILL {id}")).await {
        // 1094: it has ended by itself.
        Err(error) if error.server_code() != Some(1094) => Err(error).doing(side, "end a connection"),
        _ => Ok(()),
    }
}

/// Lets a server take the application's writes. Leaves no persisted setting behind.
pub(super) async fn open_for_writes(server: &mut Connection, side: Side) -> Result<()> {
    let sql = "SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF; \
               RESET PERSIST IF EXISTS super_read_only; RESET PERSIST IF EXISTS read_only";
    server.query_all(sql).await.doing(side, "open it for writes")?;
    Ok(())
}

/// Keeps the application out, and lets us in: the state of the side that follows.
pub(super) async fn follow_only(server: &mut Connection, side: Side) -> Result<()> {
    let sql = "SET PERSIST read_only = ON; SET PERSIST super_read_only = OFF";
    server.query_all(sql).await.doing(side, "make it read-only for applications")?;
    Ok(())
}

/// Raises the full fence on a server that serves.
///
/// The statement waits for running commits and makes new ones wait meanwhile, so it is bounded: past the deadline it is
/// killed, and the server is as before.
pub(super) async fn raise(
    options: &ConnectOptions,
    server: &mut Connection,
    deadline: Duration,
) -> Result<()> {
    let seconds = deadline.as_secs().max(1);
    let sql = format!("SET SESSION lock_wait_timeout = {seconds}; SET PERSIST super_read_only = ON");
    match tokio::time::timeout(deadline, server.query_all(&sql)).await {
        Ok(done) => {
            done.doing(Side::Source, "raise the fence")?;
        }
        Err(_) => {
            let blockers = answered(Side::Source, async {
                let mut other = session::open(options, Side::Source).await?;
                let blockers = open_transactions(&mut other, server.id()).await?;
                // The statement may have gone through in this very moment; the caller lowers the fence in any case.
                let _ = other.execute(format!("KILL {}", server.id())).await;
                Ok(blockers)
            });
            let blockers = blockers.await?;
            return Err(MoveError::Refused {
                what: format!(
                    "the source did not accept the fence within {deadline:?}; open transactions: {blockers}"
                ),
                hint: "end those transactions, or raise `cutover.fence_deadline`".into(),
            });
        }
    }
    answered(Side::Source, end_strays(server)).await
}

/// Ends transactions that were open when the fence went up. They could not commit any more; ending them frees their
/// locks and tells their owners at once.
async fn end_strays(server: &mut Connection) -> Result<()> {
    let sql = format!(
        "SELECT t.trx_mysql_thread_id FROM information_schema.INNODB_TRX t \
         WHERE t.trx_rows_modified > 0 AND t.trx_mysql_thread_id NOT IN (0, {})",
        server.id()
    );
    for row in server.rows(sql).await.doing(Side::Source, "look for open transactions")? {
        kill(server, &row.text(0), Side::Source).await?;
    }
    let row = server.row("SELECT @@GLOBAL.super_read_only").await.doing(Side::Source, "look at the fence")?;
    match row.map(|r| r.text(0)).as_deref() {
        Some("1") => Ok(()),
        _ => Err(MoveError::Refused {
            what: "the source says it is not read-only although the fence was raised".into(),
            hint: "someone lowers it: find out who sets super_read_only".into(),
        }),
    }
}

async fn open_transactions(server: &mut Connection, except: u32) -> Result<String> {
    let sql = format!(
        "SELECT p.ID, p.USER, TIMESTAMPDIFF(SECOND, t.trx_started, NOW()) FROM information_schema.INNODB_TRX t \
         JOIN performance_schema.processlist p ON p.ID = t.trx_mysql_thread_id WHERE p.ID <> {except} LIMIT 5"
    );
    let rows = server.rows(sql).await.doing(Side::Source, "list open transactions")?;
    let shown: Vec<String> = rows
        .iter()
        .map(|r| format!("connection {} of '{}' since {} s", r.text(0), r.text(1), r.text(2)))
        .collect();
    Ok(if shown.is_empty() { "none in InnoDB".into() } else { shown.join(", ") })
}
