//! What a recorder leaves behind: slots, marks and failures as plain figures, and the questions asked of them.

use serde::{Deserialize, Serialize};

use super::FINE;

/// What a statement was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Connecting and logging in.
    Connect,
    /// A text `SELECT`.
    Read,
    /// A prepared point `SELECT`.
    Prepared,
    /// A statement that changes rows or the session.
    Write,
    /// A `COMMIT`.
    Commit,
}

impl Kind {
    /// Every kind, in the order reports show them.
    pub const ALL: [Self; 5] = [Self::Connect, Self::Read, Self::Prepared, Self::Write, Self::Commit];

    /// The kind's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Read => "read (text)",
            Self::Prepared => "read (prepared)",
            Self::Write => "write",
            Self::Commit => "commit",
        }
    }
}

/// What happened in one slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Statements that ended, failed ones too.
    pub statements: u32,
    /// Statements that failed.
    pub failed: u32,
    /// Transactions that were acknowledged: orders.
    pub orders: u32,
    /// Median latency in microseconds.
    pub p50_us: u64,
    /// 99th percentile in microseconds.
    pub p99_us: u64,
    /// Longest latency in microseconds.
    pub max_us: u64,
}

/// A named stretch of the run; `end_ms` is `None` while it lasts and equals `begin_ms` for an instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// What it marks, for example `cutover`.
    pub label: String,
    /// Milliseconds since the run began.
    pub begin_ms: f64,
    /// Milliseconds since the run began.
    pub end_ms: Option<f64>,
}

/// A statement that failed; it never holds the statement's values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// When, in milliseconds since the run began.
    pub at_ms: f64,
    /// Which statement, by name.
    pub statement: String,
    /// How: the server's error number, or what became of the connection.
    pub how: String,
}

/// Latency of one kind of statement over a whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindLatency {
    /// The kind.
    pub kind: Kind,
    /// How many.
    pub count: u64,
    /// Median in microseconds.
    pub p50_us: u64,
    /// 99th percentile in microseconds.
    pub p99_us: u64,
    /// Longest in microseconds.
    pub max_us: u64,
}

/// Counts of a stretch of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Between {
    /// Statements that ended.
    pub statements: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Orders acknowledged.
    pub orders: u64,
}

/// All that was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// When the run began, in milliseconds since 1970 UTC.
    pub started_at_unix_ms: u64,
    /// Length of the run in milliseconds.
    pub duration_ms: f64,
    /// Slots of 20 ms.
    pub fine: Vec<Slot>,
    /// Slots of 100 ms.
    pub coarse: Vec<Slot>,
    /// Marks, in the order they were made.
    pub marks: Vec<Mark>,
    /// Statements by kind.
    pub kinds: Vec<KindLatency>,
    /// The first failures.
    pub failures: Vec<Failure>,
}

impl Recording {
    /// The longest latency of a statement under way at some time between two moments, in milliseconds; exact to the
    /// 20 ms slot in which it ended.
    pub fn stall_between_ms(&self, from_ms: f64, to_ms: f64) -> f64 {
        stall_between(&self.fine, from_ms, to_ms)
    }

    /// The longest latency of any statement, in milliseconds.
    pub fn longest_stall_ms(&self) -> f64 {
        self.fine.iter().map(|s| s.max_us).max().unwrap_or(0) as f64 / 1e3
    }

    /// What ended between two moments, exact to 20 ms.
    pub fn counts_between(&self, from_ms: f64, to_ms: f64) -> Between {
        let first = (from_ms / FINE.as_millis() as f64).max(0.0) as usize;
        let last = (to_ms / FINE.as_millis() as f64).max(0.0) as usize;
        let slots = self.fine.iter().take(last + 1).skip(first);
        slots.fold(Between::default(), |sum, slot| Between {
            statements: sum.statements + u64::from(slot.statements),
            failed: sum.failed + u64::from(slot.failed),
            orders: sum.orders + u64::from(slot.orders),
        })
    }
}

pub(super) fn stall_between(fine: &[Slot], from_ms: f64, to_ms: f64) -> f64 {
    let slot_ms = FINE.as_millis() as f64;
    let overlaps = |(i, slot): &(usize, &Slot)| {
        let ended_ms = (*i as f64 + 1.0) * slot_ms;
        slot.statements > 0 && ended_ms >= from_ms && ended_ms - slot_ms - slot.max_us as f64 / 1e3 <= to_ms
    };
    let longest = fine.iter().enumerate().filter(overlaps).map(|(_, s)| s.max_us).max();
    longest.unwrap_or(0) as f64 / 1e3
}
