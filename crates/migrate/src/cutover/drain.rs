//! Draining where no door of ours holds the clients: the source itself is asked who still has something open.
//!
//! The site's own hooks have closed its doors. A transaction that has changed or locked something is waited for; one that only
//! reads harms nothing. What begins in spite of all that meets the fence.

use std::time::{Duration, Instant};

use mysql::{ConnectOptions, Connection};

use crate::error::{Doing, MoveError, Result, Side};
use crate::session;

/// Between two questions. The server answers from a copy that it makes anew only if nobody has asked for 100 ms
/// (`cache_min_idle_time` in InnoDB's trx0i_s.cc): whoever asks more often gets the same answer for ever.
const ASK_EVERY: Duration = Duration::from_millis(150);

/// A transaction that stands in the way.
struct Open {
    connection: u32,
    text: String,
}

/// Waits until nobody but us has a transaction open on the source that has changed or locked a row.
///
/// # Errors
/// If that takes longer than `deadline`, naming them, or the source fails.
pub(super) async fn wait(
    options: &ConnectOptions,
    source: &mut Connection,
    deadline: Duration,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        let open = open(options, source).await?;
        if open.is_empty() {
            return Ok(());
        }
        // The first answer may be from before.
        if begun.elapsed() >= deadline.max(ASK_EVERY) {
            let named: Vec<&str> = open.iter().take(5).map(|o| o.text.as_str()).collect();
            return Err(MoveError::Refused {
                what: format!(
                    "transactions are still open on the source after {deadline:?}: {}",
                    named.join(", ")
                ),
                hint: "see that the hook of `hold` keeps clients away, end these, or raise `cutover.drain_deadline`"
                    .into(),
            });
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn open(options: &ConnectOptions, source: &mut Connection) -> Result<Vec<Open>> {
    let sql = "SELECT t.trx_mysql_thread_id, IFNULL(p.USER, ''), TIMESTAMPDIFF(SECOND, t.trx_started, NOW()) \
               FROM information_schema.INNODB_TRX t \
               LEFT JOIN performance_schema.processlist p ON p.ID = t.trx_mysql_thread_id \
               WHERE t.trx_mysql_thread_id <> 0 AND t.trx_rows_modified + t.trx_rows_locked > 0";
    let rows = source.rows(sql).await.doing(Side::Source, "look for open transactions")?;
    let open = rows.iter().map(|row| Open {
        connection: row.number(0).unwrap_or(0),
        text: format!("connection {} of '{}' since {} s", row.text(0), row.text(1), row.text(2)),
    });
    Ok(open.filter(|o| !session::is_ours(options, o.connection)).collect())
}
