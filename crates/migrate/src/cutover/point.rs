//! What a crossing is run for, and what its proof entitles to.
//!
//! ```text
//! Proven<ForReal>      -> PointOfNoReturn -> switch
//! Proven<Rehearsing>   -> nothing: there is no function that takes it further
//! ```
//! The journal says the same in its own words: no `switched` can follow the phases of a rehearsal.

use std::marker::PhantomData;

use model::GtidSet;
use serde::{Deserialize, Serialize};

use super::{Event, Home, Phase};

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Run {
    /// To the new side.
    Cutover,
    /// Back to the old one.
    Rollback,
    /// Up to the proof and back.
    Rehearsal,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cutover => "cutover",
            Self::Rollback => "rollback",
            Self::Rehearsal => "rehearsal",
        })
    }
}

/// What the phases before the switch are gone through for.
pub(super) trait Purpose {
    /// What the journal is told of a phase.
    fn entered(phase: Phase) -> Event;

    /// What is run, if traffic is to go there.
    fn run(to: Home) -> Run;
}

/// To switch.
#[derive(Debug)]
pub(super) struct ForReal;

/// To know how long it takes.
#[derive(Debug)]
pub(super) struct Rehearsing;

impl Purpose for ForReal {
    fn entered(phase: Phase) -> Event {
        Event::Entered { phase }
    }

    fn run(to: Home) -> Run {
        match to {
            Home::New => Run::Cutover,
            Home::Old => Run::Rollback,
        }
    }
}

impl Purpose for Rehearsing {
    fn entered(phase: Phase) -> Event {
        Event::Rehearsing { phase }
    }

    fn run(_: Home) -> Run {
        Run::Rehearsal
    }
}

/// What was found behind the fence: every row is proven equal, or the operator has accepted what is not.
#[derive(Debug)]
pub(super) struct Proof {
    /// The target's GTID set, where a stream back would begin.
    pub position: GtidSet,
    /// The source's, which the proof is as of.
    pub proven_as_of: GtidSet,
    pub keys_proven: u64,
    /// What is not proven, and accepted by the operator.
    pub accepted_unproven: Vec<String>,
}

/// A proof, and what it was made for.
#[derive(Debug)]
pub(super) struct Proven<P> {
    proof: Proof,
    purpose: PhantomData<P>,
}

impl<P: Purpose> Proven<P> {
    pub fn new(proof: Proof) -> Self {
        Self { proof, purpose: PhantomData }
    }

    pub fn proof(&self) -> &Proof {
        &self.proof
    }
}

/// The point of no return: it cannot be aborted, and only a proof made to switch leads there.
#[derive(Debug)]
pub(super) struct PointOfNoReturn(Proof);

impl PointOfNoReturn {
    pub fn reached(proven: Proven<ForReal>) -> Self {
        Self(proven.proof)
    }

    pub fn into_proof(self) -> Proof {
        self.0
    }
}
