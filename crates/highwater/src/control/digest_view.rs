//! What outsiders see of what statements cost.

use serde::{Deserialize, Serialize};

/// The figures of all digests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DigestsView {
    /// Whether statements are being counted.
    pub counting: bool,
    /// Since when: seconds ago.
    pub since_s: f64,
    /// Each digest and account; in no order.
    pub digests: Vec<DigestView>,
    /// Those whose place was taken by others, together.
    pub other: Option<DigestView>,
    /// How often that has happened.
    pub evicted: u64,
    /// Slow statements that could not be written down in time.
    pub slow_lost: u64,
}

/// The figures of one digest and account. Times are milliseconds, from a statement's arrival until its answer was passed on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DigestView {
    /// 16 hexadecimal digits, the same in every process.
    pub digest: String,
    /// The account.
    pub user: String,
    /// The text, with its values taken out.
    pub statement: String,
    /// Statements that have ended.
    pub count: u64,
    /// Of those, the ones that failed.
    pub errors: u64,
    /// Added up.
    pub total_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Half of them took no longer; like the next two, up to a quarter too high.
    pub p50_ms: f64,
    /// 95 of 100 took no longer.
    pub p95_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// Of the total: waiting for a server connection.
    pub waited_ms: f64,
    /// Of the total: held while the writer changed.
    pub held_ms: f64,
    /// Bytes of answers.
    pub bytes: u64,
}
