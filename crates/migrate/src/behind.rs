//! The source is read as it is now, the stream tells how it was. A read can meet tables that a statement has already changed
//! which the stream has yet to bring: that is no error, the pipeline begins anew once the statement comes by.

use mysql::Connection;

use crate::direction::Direction;
use crate::error::{MoveError, Result, Side};
use crate::mover::gtid_executed;

/// How often a read may fail after the stream has brought everything there was when it failed before.
const TRIES: u32 = 3;

/// Counts the failures of one read.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    failed: u32,
}

impl Behind {
    /// After a failed read: waits until the target has everything that the source has now. If a statement explains the
    /// failure, the pipeline ends meanwhile, and the caller with it; if not, the read may be tried once more.
    ///
    /// # Errors
    /// The read's own, if the stream cannot explain it.
    pub async fn catch_up(
        &mut self,
        direction: &Direction,
        source: &mut Connection,
        error: MoveError,
    ) -> Result<()> {
        self.failed += 1;
        if !error.may_come_from_being_behind() || self.failed >= TRIES {
            return Err(error);
        }
        tracing::debug!(target: "highwater::copy", %error, "the stream may yet explain it");
        let wanted = gtid_executed(source, Side::Source).await?;
        let mut applied = direction.progress.applied_set();
        applied.wait_for(|applied| applied.contains(&wanted)).await.map_err(|_| MoveError::Stopped)?;
        Ok(())
    }
}
