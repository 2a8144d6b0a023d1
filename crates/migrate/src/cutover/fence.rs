//! Fences: the servers' own refusal to take writes. Persisted, so that a server that restarts is still fenced.
//!
//! | side | `read_only` | `super_read_only` | who can write |
//! |---|---|---|---|
//! | serving | OFF | OFF | the application |
//! | fenced during a crossing | ON | ON | nobody |
//! | following | ON | OFF | accounts with CONNECTION_ADMIN: ours |

use std::time::Duration;

use mysql::{ConnectOptions, Connection};

use super::Phase;
use super::in_the_way::{self, InTheWay};
use super::mend::answered;
use crate::error::{Doing, MoveError, Result, Side};
use crate::session;

/// How long what somebody leaves who is ended may take to be rolled back.
const ROLLING_BACK: Duration = Duration::from_secs(1);

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
            in_the_way::kill(&mut server, row.number(0).unwrap_or_default(), side).await?;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
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

/// What keeps a fence from going up.
pub(super) struct Patience {
    /// How long that is waited for.
    pub deadline: Duration,
    /// Whether, and after how long, whoever is in the way is ended.
    pub kill_after: Option<Duration>,
}

/// Raises the full fence on a server that serves. Returns whom that has ended.
///
/// The statement waits for running commits and makes new ones wait meanwhile, so it is bounded: past the deadline it is
/// killed, and the server is as before.
pub(super) async fn raise(
    options: &ConnectOptions,
    server: &mut Connection,
    patience: &Patience,
) -> Result<Vec<InTheWay>> {
    let (deadline, us) = (patience.deadline, server.id());
    let killing = patience.kill_after.map(|after| after.min(deadline));
    // Where somebody is ended there is a moment more, for what he leaves to be rolled back.
    let most = killing.map_or(deadline, |after| deadline.max(after + ROLLING_BACK));
    let sql = format!(
        "SET SESSION lock_wait_timeout = {}; SET PERSIST super_read_only = ON",
        most.as_secs().max(1) + 1
    );
    let mut ended = Vec::new();
    {
        let mut raising = std::pin::pin!(server.query_all(&sql));
        let mut done = tokio::time::timeout(killing.unwrap_or(most), &mut raising).await;
        if let (Err(_), Some(after)) = (&done, killing) {
            ended = answered(Side::Source, async {
                let mut other = session::open(options, Side::Source).await?;
                let ids = in_the_way::before_the_fence(&mut other, us).await?;
                let named = in_the_way::named(&mut other, Phase::Fence, &ids).await?;
                in_the_way::end(&mut other, &named).await?;
                Ok(named)
            })
            .await?;
            done = tokio::time::timeout(most.saturating_sub(after), &mut raising).await;
        }
        match done {
            Ok(done) => {
                done.doing(Side::Source, "raise the fence")?;
            }
            Err(_) => return Err(not_accepted(options, us, deadline).await),
        }
    }
    ended.extend(answered(Side::Source, end_strays(server)).await?);
    Ok(ended)
}

/// Who was in the way. The statement ends with its connection.
async fn not_accepted(options: &ConnectOptions, us: u32, deadline: Duration) -> MoveError {
    let asking = async {
        let mut other = session::open(options, Side::Source).await?;
        let ids = in_the_way::before_the_fence(&mut other, us).await?;
        let named = in_the_way::named(&mut other, Phase::Fence, &ids).await?;
        // The statement may have gone through in this very moment; the caller lowers the fence in any case.
        in_the_way::kill(&mut other, us.into(), Side::Source).await?;
        Ok(named)
    };
    let seen = match answered(Side::Source, asking).await {
        Ok(named) => format!("in the way: {}", in_the_way::sentence(&named)),
        Err(error) => error.to_string(),
    };
    MoveError::Refused {
        what: format!("the source did not accept the fence within {deadline:?}; {seen}"),
        hint: "end what is in the way, let `--kill-after` end it, or raise `cutover.fence_deadline`".into(),
    }
}

/// Ends transactions that were open when the fence went up, and says whose they were. They could not commit any more;
/// ending them frees their locks and tells their owners at once.
async fn end_strays(server: &mut Connection) -> Result<Vec<InTheWay>> {
    let sql = format!(
        "SELECT t.trx_mysql_thread_id FROM information_schema.INNODB_TRX t \
         WHERE t.trx_rows_modified > 0 AND t.trx_mysql_thread_id NOT IN (0, {})",
        server.id()
    );
    let rows = server.rows(sql).await.doing(Side::Source, "look for open transactions")?;
    let ids: Vec<u64> = rows.iter().filter_map(|row| row.number(0)).collect();
    let named = in_the_way::named(server, Phase::Fence, &ids).await?;
    for id in ids {
        in_the_way::kill(server, id, Side::Source).await?;
    }
    let row = server.row("SELECT @@GLOBAL.super_read_only").await.doing(Side::Source, "look at the fence")?;
    match row.map(|r| r.text(0)).as_deref() {
        Some("1") => Ok(named),
        _ => Err(MoveError::Refused {
            what: "the source says it is not read-only although the fence was raised".into(),
            hint: "someone lowers it: find out who sets super_read_only".into(),
        }),
    }
}
