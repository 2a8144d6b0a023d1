//! Fences: the servers' own refusal to take writes, of one kind or another. All outlive a restart.
//!
//! | side | `fence = "server"` | `fence = "schemas"` | `fence = "tables"` |
//! |---|---|---|---|
//! | serving | `read_only` OFF | READ ONLY = 0 on each schema that moves | no trigger of ours |
//! | fenced during a crossing | `super_read_only` ON | READ ONLY = 1: nobody | triggers: our sessions; a read lock: nobody |
//! | following | `read_only` ON: accounts with CONNECTION_ADMIN, ours | READ ONLY = 0, the named accounts locked: whoever is not | triggers: our sessions |

mod accounts;
mod schemas;
mod server;
mod tables;
mod triggers;

use std::time::Duration;

use model::GtidSet;
use mysql::{ConnectOptions, Connection};

use super::Phase;
use super::in_the_way::{self, InTheWay};
use super::mend::answered;
use crate::error::{Doing, MoveError, Result, Side};
use crate::plan::{Fence, MoveSpec};
use crate::session;
pub(super) use schemas::closed;
pub(super) use tables::closed as closed_tables;

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
    spec: &'a MoveSpec,
    schemas: Vec<&'a str>,
    /// The accounts that are locked on the side that follows, as `user@host`.
    accounts: &'a [String],
}

impl<'a> Barrier<'a> {
    /// `spec` is the move as it goes from the side whose fence this is: schemas have its names.
    pub fn new(kind: Fence, spec: &'a MoveSpec, accounts: &'a [String]) -> Self {
        Self { kind, spec, schemas: spec.on(Side::Source).schemas(), accounts }
    }

    /// What its connections call themselves: moves with fences of their own must not end each other's.
    fn role(&self) -> String {
        match self.kind {
            Fence::Server => "fence".to_owned(),
            // The settings allow letters, digits, `-` and `_` in a move's name.
            Fence::Schemas | Fence::Tables => format!("fence-{}", self.spec.name),
        }
    }

    /// Lets a side take the application's writes. Leaves nothing behind, as far as the server has room to forget: see
    /// [`Barrier::stay_open`].
    pub async fn open_for_writes(&self, server: &mut Connection, side: Side) -> Result<()> {
        match self.kind {
            Fence::Server => server::open_for_writes(server, side).await,
            Fence::Schemas => {
                schemas::lower(server, side, &self.schemas).await?;
                accounts::unlock(server, side, &[], &self.spec.name).await
            }
            Fence::Tables => tables::lower(server, side, self.spec).await,
        }
    }

    /// Sees to it that a side that has been opened is so after a restart too. Nobody is to be held for that.
    pub async fn stay_open(&self, server: &mut Connection, side: Side) -> Result<()> {
        match self.kind {
            Fence::Server => server::stay_open(server, side).await,
            // In the data dictionary, with the statement that opened it.
            Fence::Schemas | Fence::Tables => Ok(()),
        }
    }

    /// Keeps the application out as far as that is possible, and lets us in: the state of the side that follows.
    pub async fn follow_only(&self, server: &mut Connection, side: Side) -> Result<()> {
        match self.kind {
            Fence::Server => server::follow_only(server, side).await,
            Fence::Schemas => {
                // The settings may have named others before.
                accounts::unlock(server, side, self.accounts, &self.spec.name).await?;
                // While nobody can write there.
                accounts::lock(server, side, self.accounts, &self.spec.name).await?;
                schemas::lower(server, side, &self.schemas).await
            }
            // Not while rows are copied to it: a trigger doubles what a row costs a server. After a crossing it is closed already.
            Fence::Tables => Ok(()),
        }
    }

    /// Where tables are fenced, closes those of the side that follows to everyone but us, if they have their rows. What is not closed
    /// because somebody uses it is watched, and a crossing asks again.
    pub async fn close_copied(&self, server: &mut Connection, side: Side) {
        if let Err(error) = self.close_before_crossing(server, side).await {
            tracing::warn!(target: "highwater::move", %error, "the side that follows is watched, and not closed");
        }
    }

    /// Before anyone is held: closes the side that follows where that has not been done.
    ///
    /// # Errors
    /// If the server refuses, or somebody keeps a table in use.
    pub async fn close_before_crossing(&self, server: &mut Connection, side: Side) -> Result<()> {
        match self.kind {
            Fence::Server | Fence::Schemas => Ok(()),
            Fence::Tables => tables::close(server, side, self.spec).await,
        }
    }

    /// Where whoever is in the fence's way has a lock, as a condition on `performance_schema.metadata_locks`; `None` is everywhere.
    pub fn place(&self) -> Option<String> {
        match self.kind {
            Fence::Server => None,
            Fence::Schemas => Some(schemas::place(&self.schemas)),
            Fence::Tables => Some(tables::place(self.spec)),
        }
    }

    /// Whether nobody at all can write there: the full fence is up, as behind a crossing.
    pub async fn is_closed(&self, server: &mut Connection, side: Side) -> Result<bool> {
        match self.kind {
            Fence::Server => server::is_closed(server, side).await,
            Fence::Schemas => Ok(closed(server, side, &self.schemas).await?.len() == self.schemas.len()),
            Fence::Tables => tables::is_whole(server, side, self.spec).await,
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
                accounts::unlock(server, side, &[], &self.spec.name).await
            }
            Fence::Tables => tables::close(server, side, self.spec).await,
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
        let mut ended = Vec::new();
        {
            let mut raising = std::pin::pin!(self.put_up(server, most));
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
                Ok(done) => done?,
                Err(_) => return Err(self.not_accepted(options, us, deadline).await),
            }
        }
        match self.kind {
            Fence::Server => ended.extend(answered(Side::Source, server::end_strays(server)).await?),
            // Nobody can have changed anything: it waited for all of them.
            Fence::Schemas => answered(Side::Source, schemas::prove(server, &self.schemas)).await?,
            Fence::Tables => {}
        }
        Ok(ended)
    }

    /// Sends what raises it, bound to wait no longer than a moment past `most`.
    async fn put_up(&self, server: &mut Connection, most: Duration) -> Result<()> {
        let bound = format!("SET SESSION lock_wait_timeout = {}", most.as_secs().max(1) + 1);
        let doing = "raise the fence";
        server.execute(bound).await.doing(Side::Source, doing)?;
        let raising = match self.kind {
            Fence::Server => server::RAISING.to_owned(),
            Fence::Schemas => schemas::raising(&self.schemas),
            Fence::Tables => return tables::raise(server, self.spec).await,
        };
        server.query_all(raising).await.doing(Side::Source, doing).map(drop)
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
            Fence::Tables => tables::still_up(server, self.spec).await,
        }
    }

    async fn in_the_way(&self, server: &mut Connection, us: u32) -> Result<Vec<InTheWay>> {
        let ids = match self.kind {
            Fence::Server => in_the_way::before_the_fence(server, us).await?,
            Fence::Schemas => schemas::in_the_way(server, Side::Source, &self.schemas, us).await?,
            Fence::Tables => tables::before(server, us, self.spec).await?,
        };
        in_the_way::named(server, Phase::Fence, &ids).await
    }

    /// Who was in the way. The statement ends with its connection.
    async fn not_accepted(&self, options: &ConnectOptions, us: u32, deadline: Duration) -> MoveError {
        let asking = async {
            let mut other = session::open(options, Side::Source).await?;
            let named = self.in_the_way(&mut other, us).await?;
            let prepared = self.kind == Fence::Tables
                && tables::is_prepared_transaction_before(&mut other, us, self.spec).await?;
            // The statement may have gone through in this very moment; the caller lowers the fence in any case.
            in_the_way::kill(&mut other, us.into(), Side::Source).await?;
            Ok((named, prepared))
        };
        let seen = match answered(Side::Source, asking).await {
            Ok((named, prepared)) => {
                let gone = "a prepared XA transaction whose connection is gone (XA RECOVER)".to_owned();
                let connections = (!named.is_empty() || !prepared).then(|| in_the_way::sentence(&named));
                let all: Vec<String> = connections.into_iter().chain(prepared.then_some(gone)).collect();
                format!("in the way: {}", all.join("; "))
            }
            Err(error) => error.to_string(),
        };
        MoveError::Refused {
            what: format!("the source did not accept the fence within {deadline:?}; {seen}"),
            hint: "end what is in the way, let `--kill-after` end it, or raise `cutover.fence_deadline`"
                .into(),
        }
    }
}
