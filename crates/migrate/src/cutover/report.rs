//! What a crossing did, and how long each phase took.

use model::GtidSet;
use serde::{Deserialize, Serialize};

use super::{Home, InTheWay, Phase};

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
}
