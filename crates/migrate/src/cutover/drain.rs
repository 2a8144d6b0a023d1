//! Draining: no client is in a statement or transaction any more, or the operator has had those ended who still are.
//!
//! A door knows its clients. Where no door of ours holds them, the site's own hooks have closed its doors, and the source
//! itself is asked who still has something open: a transaction that has changed or locked something is waited for; one that only reads
//! harms nothing. What begins in spite of all that meets the fence.

use std::time::{Duration, Instant};

use model::Trouble;
use mysql::{ConnectOptions, Connection};

use super::in_the_way::{self, InTheWay};
use super::mend::answered;
use super::{Home, MoveDriver, Phase, TrafficGate};
use crate::error::{Doing, MoveError, Result, Side};
use crate::session;

/// Between two questions. The server answers from a copy that it makes anew only if nobody has asked for 100 ms
/// (`cache_min_idle_time` in InnoDB's trx0i_s.cc): whoever asks more often gets the same answer for ever.
const ASK_EVERY: Duration = Duration::from_millis(150);

impl<G: TrafficGate> MoveDriver<G> {
    /// Waits until no client is in a statement or transaction, and ends those who still are after `kill_after`. Returns whom.
    ///
    /// # Errors
    /// If it is not done within the drain's deadline, naming them, or the source fails.
    pub(super) async fn drain(
        &self,
        home: Home,
        source: &mut Connection,
        kill_after: Option<Duration>,
    ) -> std::result::Result<Vec<InTheWay>, Trouble> {
        let deadline = self.options.drain_deadline;
        if self.gate.holds_clients() {
            return self.drain_the_door(source, kill_after, deadline).await;
        }
        self.gate.drain(deadline).await?;
        let of = Of { options: self.at(home), place: self.barrier(home).place() };
        drain_the_source(&of, source, kill_after, deadline).await.map_err(|e| e.trouble())
    }

    async fn drain_the_door(
        &self,
        source: &mut Connection,
        kill_after: Option<Duration>,
        deadline: Duration,
    ) -> std::result::Result<Vec<InTheWay>, Trouble> {
        let begun = Instant::now();
        let killing = kill_after.map(|after| after.min(deadline));
        let first = self.gate.drain(killing.unwrap_or(deadline)).await;
        let (Err(_), Some(after)) = (&first, killing) else { return first.map(|()| Vec::new()) };
        let open = self.gate.open_connections();
        // Who cannot be moved is refused at once, and is not who is meant.
        if begun.elapsed() < after || open.is_empty() {
            return first.map(|()| Vec::new());
        }
        let ended = answered(Side::Source, end(source, &open)).await.map_err(|e| e.trouble())?;
        self.gate.end(&open);
        self.gate.drain(deadline.saturating_sub(after).max(Duration::from_secs(1))).await?;
        Ok(ended)
    }
}

async fn end(source: &mut Connection, open: &[u64]) -> Result<Vec<InTheWay>> {
    let named = in_the_way::named(source, Phase::Drain, open).await?;
    in_the_way::end(source, &named).await?;
    Ok(named)
}

/// Whose transactions are waited for.
struct Of<'a> {
    options: &'a ConnectOptions,
    /// Of those who have a lock there; of all, if it is nowhere.
    place: Option<String>,
}

/// Waits until nobody but us has a transaction open on the source that has changed or locked a row.
async fn drain_the_source(
    of: &Of<'_>,
    source: &mut Connection,
    kill_after: Option<Duration>,
    deadline: Duration,
) -> Result<Vec<InTheWay>> {
    let begun = Instant::now();
    let mut ended = Vec::new();
    loop {
        let open = open(of, source).await?;
        if open.is_empty() {
            return Ok(ended);
        }
        let waited = begun.elapsed();
        if ended.is_empty() && kill_after.is_some_and(|after| waited >= after.max(ASK_EVERY)) {
            ended = end(source, &open).await?;
        // The first answer may be from before.
        } else if waited >= deadline.max(ASK_EVERY) {
            let named = in_the_way::named(source, Phase::Drain, &open).await?;
            return Err(MoveError::Refused {
                what: format!(
                    "transactions are still open on the source after {deadline:?}: {}",
                    in_the_way::sentence(&named)
                ),
                hint: "see that the hook of `hold` keeps clients away, end these (`--kill-after`), or raise \
                       `cutover.drain_deadline`"
                    .into(),
            });
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn open(of: &Of<'_>, source: &mut Connection) -> Result<Vec<u64>> {
    let sql = "SELECT trx_mysql_thread_id FROM information_schema.INNODB_TRX \
               WHERE trx_mysql_thread_id <> 0 AND trx_rows_modified + trx_rows_locked > 0";
    let rows = source.rows(sql).await.doing(Side::Source, "look for open transactions")?;
    let open = rows.iter().filter_map(|row| row.number::<u32>(0));
    let mut open: Vec<u64> = open.filter(|id| !session::is_ours(of.options, *id)).map(u64::from).collect();
    if let (Some(place), false) = (&of.place, open.is_empty()) {
        let us = source.id();
        let there = in_the_way::with_locks(source, Side::Source, place, us).await?;
        open.retain(|id| there.contains(id));
    }
    Ok(open)
}
