//! Taking over the proof of an earlier process: what may have become untrue since is found out, and proven again.
//!
//! ```text
//! source's log, from "proven" on ──── keys it touches ───┐
//!                                                        ├──▶ dirty: proven again, as always
//! target's log, from "target_read" on, the watch ────────┘
//! ```
//!
//! Only when both are read to where they were as this process began does the proof hold. Where either cannot be, it does not,
//! and a new pass is needed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::ddl::Scope;
use crate::direction::{Access, Direction};
use crate::error::{MoveError, Result, Side};
use crate::fold::Change;
use crate::ledger::proven::KeptProof;
use crate::mover::variable;
use crate::session;
use crate::stream::{StreamItem, TransactionReader};
use crate::watch::{Reading, Watched};

/// How long reading both logs may take; a pass over every row would be no slower.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two tries, of a server that does not answer.
const LOOK: Duration = Duration::from_millis(200);

/// Makes an earlier proof hold, or forgets it.
pub(super) async fn resume(access: &watch::Receiver<Option<Access>>, watched: &Watched, kept: &KeptProof) {
    let mut running = access.clone();
    let Some(direction) = direction(&mut running).await else { return };
    let looking = async {
        loop {
            match touched_since(&direction, kept).await {
                // Keys that are dirty already stay so.
                Err(error) if error.can_resume() => tokio::time::sleep(LOOK).await,
                done => break done?,
            }
        }
        watched_since(watched, kept).await
    };
    let outcome = tokio::time::timeout(PATIENCE, looking).await;
    // Another one may have begun without the keys that were added to this one meanwhile.
    let is_same = self::direction(&mut running).await.is_some_and(|now| Arc::ptr_eq(&now, &direction));
    let why = match outcome {
        Ok(Ok(())) if is_same => {
            direction.proof.resumed(kept.proven.clone());
            return;
        }
        Ok(Ok(())) => "a statement has changed the tables".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the logs were not read within {} s", PATIENCE.as_secs()),
    };
    warn_of(&why);
    direction.proof.begin_anew(why);
    direction.dirty.reset();
}

/// Tells that what was proven before is void. `status` tells as well.
pub(crate) fn warn_of(why: &str) {
    tracing::warn!(
        target: "highwater::proof", %why, "what was proven before the restart is not proven any more: run `highwater verify`"
    );
}

async fn direction(running: &mut watch::Receiver<Option<Access>>) -> Option<Arc<Direction>> {
    let access = running.wait_for(Option::is_some).await.ok()?;
    access.as_ref().map(|access| Arc::clone(&access.direction))
}

/// Every key that the source's log has touched since is dirty; what this process applies, the sequencer says.
async fn touched_since(direction: &Arc<Direction>, kept: &KeptProof) -> Result<()> {
    let until = direction.progress.applied_set().borrow().clone();
    let options = &direction.options;
    let mut source = session::open(&options.source, Side::Source).await?;
    let lower_case = variable(&mut source, Side::Source, "@@GLOBAL.lower_case_table_names").await? != "0";
    drop(source);
    let scope = Scope::of_source(&options.spec, &direction.tables, lower_case);
    let tables = &direction.tables;
    let mut log = TransactionReader::open(&options.source, tables, scope, None, &kept.proven).await?;
    let dirty = |changes: &[(usize, Change)]| {
        for (table, change) in changes {
            change.keys().for_each(|key| direction.dirty.add(*table, key));
        }
    };
    let mut passed = kept.proven.clone();
    while !passed.contains(&until) {
        match log.next().await? {
            StreamItem::Idle(_) => {}
            StreamItem::Part(changes) => dirty(&changes),
            StreamItem::Transaction(transaction) => {
                dirty(&transaction.changes);
                passed.add(transaction.gtid);
                transaction.decides.into_iter().for_each(|prepare| passed.add(prepare));
            }
            StreamItem::Statement(_) => {
                return Err(MoveError::Unsupported("a statement that changed the tables since".into()));
            }
        }
    }
    Ok(())
}

/// Whatever strangers have written on the target since is known, and dirty.
async fn watched_since(watched: &Watched, kept: &KeptProof) -> Result<()> {
    loop {
        watched.has_read(&kept.executed).await;
        match watched.reading() {
            Reading::Yes if watched.read().contains(&kept.executed) => return Ok(()),
            Reading::Ended => return Err(MoveError::Stopped),
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}
