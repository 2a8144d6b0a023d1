//! How far a replica of the source is behind, asked again and again.
//!
//! The replica is asked itself, and nothing is written for it to replicate (a heartbeat table would be a write to the
//! source). What it answers is `Seconds_Behind_Source`: whole seconds between the event being applied and now, NULL
//! where a replication thread does not run. It is 0 while the applier waits for a receiver that is behind: a
//! replica behind a slow network is not seen.

use std::time::Duration;

use mysql::{ConnectOptions, Connection};
use tokio::sync::watch;

use super::pace::ReplicaLag;
use crate::error::Side;
use crate::session;

/// Between two questions. The answer is in whole seconds.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A replica that does not answer within this is not known to follow.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks until nobody listens any more. The first answer is `behind: None`: until a replica has answered, nothing is
/// known of it.
pub(super) async fn watch(options: ConnectOptions, lag: watch::Sender<ReplicaLag>) {
    let mut connection = None;
    let mut heard = false;
    while !lag.is_closed() {
        let behind = match tokio::time::timeout(PATIENCE, ask(&options, &mut connection)).await {
            Ok(Ok(behind)) => behind,
            Ok(Err(error)) => {
                if heard {
                    tracing::warn!(target: "highwater::throttle", replica = options.address(), %error, "cannot ask a replica");
                }
                connection = None;
                None
            }
            Err(_) => {
                connection = None;
                None
            }
        };
        heard = behind.is_some();
        lag.send_replace(ReplicaLag { replica: options.address(), behind });
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// How far a replica is behind, asked once.
///
/// # Errors
/// If it cannot be asked.
pub(crate) async fn lag(options: &ConnectOptions) -> crate::Result<Option<Duration>> {
    ask(options, &mut None).await
}

async fn ask(
    options: &ConnectOptions,
    connection: &mut Option<Connection>,
) -> crate::Result<Option<Duration>> {
    let replica = match connection.take() {
        Some(connection) => connection,
        None => session::open(options, Side::Source).await?,
    };
    let replica = connection.insert(replica);
    let failed = |error| crate::MoveError::Server {
        side: Side::Source,
        doing: "ask a replica how far it is".into(),
        error,
    };
    // Before 8.0.22 there is only the old name; from 8.4 on only the new one.
    let status = match replica.query("SHOW REPLICA STATUS").await {
        Err(error) if error.server_code() == Some(1064) => replica.query("SHOW SLAVE STATUS").await,
        other => other,
    };
    let status = status.and_then(mysql::QueryResult::into_rows).map_err(failed)?;
    let column = status
        .columns
        .iter()
        .position(|c| matches!(c.name.as_slice(), b"Seconds_Behind_Source" | b"Seconds_Behind_Master"));
    let Some(column) = column else { return Ok(None) };
    // A row for each channel: the one furthest behind counts, and one that stands still is not known to follow.
    let seconds: Option<Vec<u64>> = status.rows.iter().map(|row| row.number(column)).collect();
    Ok(seconds.and_then(|s| s.into_iter().max()).map(Duration::from_secs))
}
