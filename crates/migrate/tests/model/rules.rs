//! The rules a world is played by: those of production, or with one of them broken.

use crate::target::Insert;

/// Up to where the stream must have come before a window closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum High {
    /// The end of the log, read after the rows.
    EndOfLog,
    /// The end of the log, read before the rows.
    EndOfLogBeforeRead,
    /// `gtid_executed`, read after the rows.
    Executed,
}

#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub high: High,
    /// A read waits until the source shows what the stream had passed when the window opened.
    pub barrier: bool,
    /// Rows touched in the window are left out.
    pub evict: bool,
    pub insert: Insert,
    /// Rows and ledger are committed one after the other.
    pub ledger_apart: bool,
    /// Work waits for work that writes the keys of a copied range.
    pub range_keys_in_flight: bool,
    /// Work waits for work that writes the keys of a batch.
    pub batch_keys_in_flight: bool,
    /// Lanes commit in the stream's order.
    pub turns: bool,
    /// Windows may open in the middle of a transaction.
    pub split: bool,
}

impl Rules {
    /// Production's.
    pub fn kept() -> Self {
        Self {
            high: High::EndOfLog,
            barrier: true,
            evict: true,
            insert: Insert::Plain,
            ledger_apart: false,
            range_keys_in_flight: true,
            batch_keys_in_flight: true,
            turns: true,
            split: false,
        }
    }
}
