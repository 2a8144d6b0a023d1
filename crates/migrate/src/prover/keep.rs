//! Keeping the proof where the next process finds it ([`crate::ledger::proven`]): once a second at the most, while rows change.

use std::time::{Duration, Instant};

use model::GtidSet;

use crate::error::{Result, Side};
use crate::ledger::proven;
use crate::mover::gtid_executed;
use crate::verify::Verifier;
use crate::watch::{Reading, Watched};

/// Between two tries: what lies between the last one and a crash is read again from the source's log.
const PAUSE: Duration = Duration::from_secs(1);
/// While nothing changes, the target's log goes on all the same, and what has to be read of it again may not be purged.
const PAUSE_AT_REST: Duration = Duration::from_secs(60);

/// What was proven when, and what is being proven to be kept next.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    mark: Option<Mark>,
    tried: Option<Instant>,
    kept: Option<GtidSet>,
    withdrawn: bool,
}

/// A moment: once every key that was dirty then is proven, everything up to it is.
#[derive(Debug)]
struct Mark {
    as_of: GtidSet,
    /// What the target had executed.
    executed: GtidSet,
}

impl Keeping {
    /// Before a round of proving: it may be the first of a new mark.
    pub async fn begin(&mut self, verifier: &mut Verifier) -> Result<()> {
        let direction = std::sync::Arc::clone(&verifier.direction);
        let as_of = direction.progress.applied_set().borrow().clone();
        if self.mark.is_some() || direction.proof.complete_as_of().is_none() || !self.is_due(&as_of) {
            return Ok(());
        }
        let executed = gtid_executed(&mut verifier.target, Side::Target).await?;
        // After the position: what it has is proven, or dirty here.
        direction.dirty.age();
        self.mark = Some(Mark { as_of, executed });
        self.tried = Some(Instant::now());
        Ok(())
    }

    fn is_due(&self, as_of: &GtidSet) -> bool {
        let pause = if self.kept.as_ref() == Some(as_of) { PAUSE_AT_REST } else { PAUSE };
        self.tried.is_none_or(|tried| tried.elapsed() >= pause)
    }

    /// After a round: keeps what it has completed, and takes back what is not true any more.
    pub async fn end(&mut self, verifier: &mut Verifier, watched: &Watched) -> Result<()> {
        if verifier.direction.proof.different() > 0 {
            if !self.withdrawn {
                proven::withdraw(&mut verifier.target, &verifier.direction.ledger).await?;
                (self.withdrawn, self.kept) = (true, None);
            }
            return Ok(());
        }
        self.withdrawn = false;
        if let Some(Mark { as_of, executed }) =
            self.mark.take_if(|_| verifier.direction.dirty.aged_are_proven())
            && keep(verifier, watched, &as_of, &executed).await?
        {
            self.kept = Some(as_of);
        }
        Ok(())
    }
}

/// Keeps a proof: every row touched by what is in `as_of` is proven equal. Not if the watch has not read what the target had
/// `executed`: the next process would take statements of ours in there for a stranger's. Says whether it did.
///
/// # Errors
/// If the target refuses.
pub(crate) async fn keep(
    verifier: &mut Verifier,
    watched: &Watched,
    as_of: &GtidSet,
    executed: &GtidSet,
) -> Result<bool> {
    // First the position, then what is known of writes before it: the other way round, one might come in between.
    let read = watched.read();
    let proof = &verifier.direction.proof;
    let holds = watched.reading() == Reading::Yes
        && read.contains(executed)
        && watched.unsettled() == 0
        && proof.complete_as_of().is_some()
        && proof.different() == 0;
    if holds {
        proven::keep(&mut verifier.target, &verifier.ledger, as_of, &read).await?;
    }
    Ok(holds)
}
