//! Fences: the servers' own refusal to take writes, of one kind or the other. Both outlive a restart.
//!
//! | side | `fence = "server"` | `fence = "schemas"` |
//! |---|---|---|
//! | serving | `read_only` OFF | READ ONLY = 0 on each schema that moves |
//! | fenced during a crossing | `super_read_only` ON | READ ONLY = 1: nobody |
//! | following | `read_only` ON: accounts with CONNECTION_ADMIN, ours | READ ONLY = 0, the named accounts locked: whoever is not |

mod accounts;
mod schemas;
mod server;

use std::time::Duration;

use model::GtidSet;
use mysql::{ConnectOptions, Connection};

use super::Phase;
use super::in_the_way::{self, InTheWay};
use super::mend::answered;
use crate::error::{Doing, MoveError, Result, Side};
use crate::plan::{Fence, MoveSpec};
use crate::session;
pub(super) use schemas::{closed, in_the_way as with_locks_in};

/// How long what somebody leaves who is ended may take to be rolled back.
const ROLLING_BACK: Duration = Duration::from_secs(1);

/// A connection for raising and lowering fences; the only one of its kind on that server for this kind of fence, and this move.
///
/// A statement that was given up because the server did not answer may still be on its way to it, and would then lower a
/// fence, or raise one, when the next crossing relies on the contrary. So whoever sent it is ended first, an earlier
/// process's connection too: what it does after this, it has done before.
pub(super) async fn connect(
    barrier: &Barrier<'_>,
    options: &ConnectOptions,
    side: Side,
) -> Result<Connection> {
    let role = barrier.role();
    let mut server = session::open_fence(options, side, &role).await?;
    let others = format!(
        "SELECT PROCESSLIST_ID FROM performance_schema.session_account_connect_attrs \
         WHERE ATTR_NAME = 'highwater_role' AND ATTR_VALUE = '{role}' AND PROCESSLIST_ID <> CONNECTION_ID()"
    );
    loop {
        let left = server.rows(&others).await.doing(side, "look for connections of ours")?;
        if left.is_empty() {
            return Ok(server);
        }
        for row in left {
            in_the_way::kill(&mut server, row.number(0).unwrap_or_default(), side).await?;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What keeps a fence from going up.
pub(super) struct Patience {
    /// How long that is waited for.
    pub deadline: Duration,
    /// Whether, and after how long, whoever is in the way is ended.
    pub kill_after: Option<Duration>,
}

/// The fence of a move: of which kind, and around what.
pub(super) struct Barrier<'a> {
    kind: Fence,
    move_name: &'a str,
    schemas: Vec<&'a str>,
    /// The accounts that are locked on the side that follows, as `user@host`.
    accounts: &'a [String],
}

impl<'a> Barrier<'a> {
    pub fn new(kind: Fence, spec: &'a MoveSpec, accounts: &'a [String]) -> Self {
        Self { kind, move_name: &spec.name, schemas: spec.schemas(), accounts }
    }

    /// What its connections call themselves: moves with fences of their own must not end each other's.
    fn role(&self) -> String {
        match self.kind {
            Fence::Server => "fence".to_owned(),
            // The settings allow letters, digits, `-` and `_` in a move's name.
            Fence::Schemas => format!("fence-{}", self.move_name),
        }
    }

    /// Lets a side take the application's writes. Leaves nothing behind, as far as the server has room to forget: see
    /// [`Barrier::stay_open`].
    pub async fn open_for_writes(&self, server: &mut Connection, side: Side) -> Result<()> {
        match self.kind {
            Fence::Server => server::open_for_writes(server, side).await,
            Fence::Schemas => {
                schemas::lower(server, side, &self.schemas).await?;
                accounts::unlock(server, side, &[], self.move_name).await
            }
        }
    }

    /// Sees to it that a side that has been opened is so after a restart too. Nobody is to be held for that.
    pub async fn stay_open(&self, server: &mut Connection, side: Side) -> Result<()> {
        match self.kind {
            Fence::Server => server::stay_open(server, side).await,
            // In the data dictionary, with the statement that opened it.
            Fence::Schemas => Ok(()),
        }
    }

    /// Keeps the application out as far as that is possible, and lets us in: the state of the side that follows.
    pub async fn follow_only(&self, server: &mut Connection, side: Side) -> Result<()> {
        match self.kind {
            Fence::Server => server::follow_only(server, side).await,
            Fence::Schemas => {
                // The settings may have named others before.
                accounts::unlock(server, side, self.accounts, self.move_name).await?;
                // While nobody can write there.
                accounts::lock(server, side, self.accounts, self.move_name).await?;
                schemas::lower(server, side, &self.schemas).await
            }
        }
    }

    /// Whether nobody at all can write there: the full fence is up, as behind a crossing.
    pub async fn is_closed(&self, server: &mut Connection, side: Side) -> Result<bool> {
        match self.kind {
            Fence::Server => server::is_closed(server, side).await,
            Fence::Schemas => Ok(closed(server, side, &self.schemas).await?.len() == self.schemas.len()),
        }
    }

    /// The end of a move whose traffic has gone elsewhere: nobody writes there by mistake.
    pub async fn leave_closed(&self, server: &mut Connection, side: Side) -> Result<()> {
        match self.kind {
            // It is as it followed.
            Fence::Server => Ok(()),
            Fence::Schemas => {
                let sql = format!("SET SESSION lock_wait_timeout = 2; {}", schemas::raising(&self.schemas));
                server.query_all(sql).await.doing(side, "close the schemas that have moved")?;
                accounts::unlock(server, side, &[], self.move_name).await
            }
        }
    }

    /// Raises the full fence on a server that serves. Returns whom that has ended.
    ///
    /// The statement waits for running changes and makes new ones wait meanwhile, so it is bounded: past the deadline it is
    /// killed. What it has raised by then the caller lowers.
    pub async fn raise(
        &self,
        options: &ConnectOptions,
        server: &mut Connection,
        patience: &Patience,
    ) -> Result<Vec<InTheWay>> {
        let (deadline, us) = (patience.deadline, server.id());
        let killing = patience.kill_after.map(|after| after.min(deadline));
        // Where somebody is ended there is a moment more, for what he leaves to be rolled back.
        let most = killing.map_or(deadline, |after| deadline.max(after + ROLLING_BACK));
        let raising = match self.kind {
            Fence::Server => server::RAISING.to_owned(),
            Fence::Schemas => schemas::raising(&self.schemas),
        };
        let sql = format!("SET SESSION lock_wait_timeout = {}; {raising}", most.as_secs().max(1) + 1);
        let mut ended = Vec::new();
        {
            let mut raising = std::pin::pin!(server.query_all(&sql));
            let mut done = tokio::time::timeout(killing.unwrap_or(most), &mut raising).await;
            if let (Err(_), Some(after)) = (&done, killing) {
                ended = answered(Side::Source, async {
                    let mut other = session::open(options, Side::Source).await?;
                    let named = self.in_the_way(&mut other, us).await?;
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
                Err(_) => return Err(self.not_accepted(options, us, deadline).await),
            }
        }
        match self.kind {
            Fence::Server => ended.extend(answered(Side::Source, server::end_strays(server)).await?),
            // Nobody can have changed anything: it waited for all of them.
            Fence::Schemas => answered(Side::Source, schemas::prove(server, &self.schemas)).await?,
        }
        Ok(ended)
    }

    /// Sees again, in one round trip, that it is up on the serving side, and that nothing was written there since this position
    /// where that can be told: behind a fence around schemas the others go on writing.
    ///
    /// # Errors
    /// If it is not.
    pub async fn still_up(&self, server: &mut Connection, since: &GtidSet) -> Result<()> {
        match self.kind {
            Fence::Server => server::still_up(server, since).await,
            Fence::Schemas => schemas::still_up(server, &self.schemas).await,
        }
    }

    async fn in_the_way(&self, server: &mut Connection, us: u32) -> Result<Vec<InTheWay>> {
        let ids = match self.kind {
            Fence::Server => in_the_way::before_the_fence(server, us).await?,
            Fence::Schemas => schemas::in_the_way(server, Side::Source, &self.schemas, us).await?,
        };
        in_the_way::named(server, Phase::Fence, &ids).await
    }

    /// Who was in the way. The statement ends with its connection.
    async fn not_accepted(&self, options: &ConnectOptions, us: u32, deadline: Duration) -> MoveError {
        let asking = async {
            let mut other = session::open(options, Side::Source).await?;
            let named = self.in_the_way(&mut other, us).await?;
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
            hint: "end what is in the way, let `--kill-after` end it, or raise `cutover.fence_deadline`"
                .into(),
        }
    }
}
