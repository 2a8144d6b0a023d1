//! What a crossing or a rehearsal did, and how long each phase took.

use std::sync::{Mutex, MutexGuard, PoisonError};

use model::GtidSet;
use serde::{Deserialize, Serialize};

use super::{Guardrail, Home, HookRun, InTheWay, Phase, Primed, Run};
use crate::proof::TableVerdict;

/// A phase and its duration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// The phase.
    pub phase: Phase,
    /// Milliseconds it took.
    pub ms: f64,
}

/// The record of a completed crossing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossingReport {
    /// The side that serves now.
    pub home: Home,
    /// Number of this switch.
    pub epoch: u64,
    /// The phases in order.
    pub phases: Vec<PhaseTime>,
    /// Milliseconds from the beginning of hold to the end of release: the longest a client can have been held by it.
    pub held_ms: f64,
    /// Keys proven between fence and switch.
    pub keys_proven_at_fence: u64,
    /// The GTID set the proof is complete as of; none if what was not proven was accepted.
    pub proven_as_of: Option<GtidSet>,
    /// What was not proven, and accepted by the operator.
    #[serde(default)]
    pub accepted_unproven: Vec<String>,
    /// Whose connections were ended because they stood in the way, or had a transaction open when the fence went up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<InTheWay>,
    /// Hooks that failed after the switch, when nothing could be put back any more.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The record of a rehearsal that came as far as the switch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RehearsalReport {
    /// The side that serves, as before.
    pub home: Home,
    /// Milliseconds that clients would have been held, had it been real: up to the proof, and opening a server for writes.
    pub stall_ms: f64,
    /// Milliseconds that clients were held, putting back included.
    pub held_ms: f64,
    /// The phases in order; the release is that of putting back.
    pub phases: Vec<PhaseTime>,
    /// Keys proven behind the fence.
    pub keys_proven_at_fence: u64,
    /// The GTID set the proof was complete as of; none if it was not.
    pub proven_as_of: Option<GtidSet>,
    /// What was not proven, and accepted by the operator.
    #[serde(default)]
    pub accepted_unproven: Vec<String>,
}

/// What is known of a crossing or a rehearsal, whether it was completed or given up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CrossingRecord {
    /// What was run; none if it was refused before anything was looked at.
    pub run: Option<Run>,
    /// What was looked at before it began.
    pub guardrails: Vec<Guardrail>,
    /// What was done to the target before anyone was held; none if it did not come to that.
    #[serde(default)]
    pub primed: Option<Primed>,
    /// The phases it came to.
    pub phases: Vec<PhaseTime>,
    /// Milliseconds from the beginning of hold to the last release, or to the error.
    pub held_ms: f64,
    /// Whose connections were ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<InTheWay>,
    /// Its hooks, in the order in which they ran.
    pub hooks: Vec<HookRun>,
    /// What was proven of each table.
    pub tables: Vec<TableVerdict>,
    /// The GTID set of the side that served, behind its fence.
    pub source_at: Option<GtidSet>,
    /// The GTID set of the other side before it was opened: where the stream back begins.
    pub target_at: Option<GtidSet>,
}

/// Where a crossing writes its record as it goes.
#[derive(Debug, Default)]
pub struct CrossingLog(Mutex<CrossingRecord>);

impl CrossingLog {
    /// What it says now.
    pub fn record(&self) -> CrossingRecord {
        self.lock().clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, CrossingRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hooks that failed, as sentences.
    pub(super) fn failed_hooks(&self) -> Vec<String> {
        self.lock().hooks.iter().filter(|hook| !hook.ok).map(HookRun::sentence).collect()
    }
}
