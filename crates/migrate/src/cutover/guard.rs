//! Guardrails: what must hold before a crossing may begin. Looking at them changes nothing.

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
    /// What to do if it does not hold.
    pub hint: String,
    /// Whether `--accept-unproven` goes past it.
    #[serde(default)]
    pub acceptable: bool,
}

impl Guardrail {
    fn new(name: &str, holds: bool, seen: impl Into<String>, hint: &str) -> Self {
        Self { name: name.into(), holds, seen: seen.into(), hint: hint.into(), acceptable: false }
    }

    fn acceptable(self) -> Self {
        Self { acceptable: true, ..self }
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
        Guardrail::new("stream", running, seen, "mend what it says; it goes on by itself"),
        Guardrail::new(
            "copy",
            progress.all_copied(),
            format!("{copied} of {tables} tables copied"),
            "wait until `highwater status` shows every table copied",
        ),
        Guardrail::new(
            "lag",
            lag <= lag_max,
            format!(
                "target is {:.1} s behind, the limit is {:.1} s",
                lag.as_secs_f64(),
                lag_max.as_secs_f64()
            ),
            "wait, or raise `cutover.lag_max`",
        ),
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
        .acceptable(),
        Guardrail::new(
            "differences",
            proof.different() == 0,
            format!("{} rows differ", proof.different()),
            "run `highwater verify --repair`: rows that differ must be repaired first",
        )
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
