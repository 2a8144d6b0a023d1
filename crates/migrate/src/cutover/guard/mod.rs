//! Guardrails: what must hold before a crossing may begin. Looking at them changes nothing.
//!
//! Here are those that we know by ourselves; `servers.rs` asks the servers, and the gate knows its own.

mod fences;
pub(super) mod servers;

use std::time::Duration;

use model::Trouble;
use serde::{Deserialize, Serialize};

use crate::mover::{Mover, MoverState};
use crate::watch::{Reading, Watched};

/// What to do about a stranger who writes to the target.
const FOREIGN_HINT: &str = "find who writes there and end it, then run `highwater verify --repair`: a pass without differences settles it; \
     or `highwater cutover --accept-unproven`, which is recorded";

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guardrail {
    /// What.
    pub name: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was seen.
    pub seen: String,
    /// What would be right; empty if `seen` says it.
    #[serde(default)]
    pub limit: String,
    /// Why it is looked at.
    #[serde(default)]
    pub why: String,
    /// What to do if it does not hold.
    pub hint: String,
    /// Whether `--accept-unproven` goes past it.
    #[serde(default)]
    pub acceptable: bool,
    /// Whether a crossing begins although it does not hold.
    #[serde(default)]
    pub warning: bool,
}

impl Guardrail {
    /// One that refuses if it does not hold.
    pub fn new(name: &str, holds: bool, seen: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            holds,
            seen: seen.into(),
            limit: String::new(),
            why: String::new(),
            hint: hint.into(),
            acceptable: false,
            warning: false,
        }
    }

    /// What would be right.
    #[must_use]
    pub fn limit(self, limit: impl Into<String>) -> Self {
        Self { limit: limit.into(), ..self }
    }

    /// Why it is looked at.
    #[must_use]
    pub fn why(self, why: &str) -> Self {
        Self { why: why.into(), ..self }
    }

    /// The operator may accept that it does not hold.
    #[must_use]
    pub fn acceptable(self) -> Self {
        Self { acceptable: true, ..self }
    }

    /// It is said, and does not refuse.
    #[must_use]
    pub fn only_warns(self) -> Self {
        Self { warning: true, ..self }
    }

    /// Whether it stands in the way.
    pub fn refuses(&self) -> bool {
        !self.holds && !self.warning
    }
}

/// Looks at everything that does not need a server's answer.
pub(super) fn look(mover: &Mover, lag_max: Duration) -> Vec<Guardrail> {
    let progress = mover.progress();
    let proof = mover.proof();
    let lag = progress.lag();
    let (running, seen) = match mover.state() {
        MoverState::Running => match progress.statement() {
            Some((shown, since)) => (true, format!("executing {shown} for {} s", since.as_secs())),
            None => (true, "running".to_owned()),
        },
        MoverState::Starting => (false, "starting".to_owned()),
        MoverState::Reconnecting(t) | MoverState::Failed(t) => (false, t.what),
    };
    let copied = progress.tables().iter().filter(|t| t.copied).count();
    let tables = mover.tables().len();
    vec![
        Guardrail::new("stream", running, seen, "mend what it says; it goes on by itself")
            .limit("running")
            .why("what is not applied is not on the target"),
        Guardrail::new(
            "copy",
            progress.all_copied(),
            format!("{copied} of {tables} tables copied"),
            "wait until `highwater status` shows every table copied",
        )
        .limit("all")
        .why("a table that is not copied is not on the target"),
        Guardrail::new(
            "lag",
            lag <= lag_max,
            format!(
                "target is {:.1} s behind, the limit is {:.1} s",
                lag.as_secs_f64(),
                lag_max.as_secs_f64()
            ),
            "wait, or raise `cutover.lag_max`",
        )
        .limit(format!("{:.1} s", lag_max.as_secs_f64()))
        .why("what the target is behind is applied while clients are held"),
        watch(mover.watched()).acceptable(),
        Guardrail::new(
            "proof",
            proof.complete_as_of().is_some(),
            match proof.complete_as_of() {
                Some(_) => format!("complete, {} keys in flight", mover.keys_in_flight()),
                None if !proof.doubted().is_empty() => {
                    format!("{} tables are compared again as a whole", proof.doubted().len())
                }
                None => "no pass over every row is complete".into(),
            },
            "run `highwater verify`",
        )
        .limit("complete")
        .why("traffic moves only onto rows that are proven equal")
        .acceptable(),
        Guardrail::new(
            "differences",
            proof.different() == 0,
            format!("{} rows differ", proof.different()),
            "run `highwater verify --repair`: rows that differ must be repaired first",
        )
        .limit("none")
        .why("the application would find other rows than it wrote")
        .acceptable(),
    ]
}

/// Whether nobody but us writes to the target.
fn watch(watched: &Watched) -> Guardrail {
    let seen = match (watched.sentence(), watched.reading()) {
        (Some(sentence), _) => sentence,
        (None, Reading::Yes) => "no write on the target but ours".into(),
        (None, Reading::Starting) => "the target's log is not read yet".into(),
        (None, Reading::No(reason)) => format!("not watched: {reason}"),
        (None, Reading::Ended) => "not watched any more".into(),
    };
    Guardrail::new("watch", watched.unsettled() == 0, seen, FOREIGN_HINT)
        .limit("none")
        .why("who writes to the target makes it another one than was proven")
}

/// What of the proof is missing behind the fence, when the last dirty keys have been proven and the target's log is read
/// to its end.
pub(super) fn unproven(mover: &Mover) -> Vec<Trouble> {
    let proof = mover.proof();
    let mut missing = Vec::new();
    if let Some(sentence) = mover.watched().sentence() {
        missing.push(Trouble::new(format!("not proven: {sentence}"), "", FOREIGN_HINT));
    }
    if let Some(table) = proof.doubted().first() {
        missing.push(Trouble::new(
            format!("not proven: {table} has to be compared again as a whole"),
            "",
            "wait until it is; `highwater status` shows the proof complete again",
        ));
    } else if proof.complete_as_of().is_none() {
        missing.push(Trouble::new(
            "not proven: no pass over every row is complete",
            "",
            "run `highwater verify`",
        ));
    }
    let (different, in_flight) = (proof.different(), mover.keys_in_flight());
    if different > 0 || in_flight > 0 {
        missing.push(Trouble::new(
            format!("not proven: {different} rows differ, {in_flight} are unproven"),
            "",
            "run `highwater verify` and see which",
        ));
    }
    missing
}
