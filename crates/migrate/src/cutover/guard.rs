//! Guardrails: what must hold before a crossing may begin. Looking at them changes nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::mover::{Mover, MoverState};

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
}

impl Guardrail {
    fn new(name: &str, holds: bool, seen: impl Into<String>, hint: &str) -> Self {
        Self { name: name.into(), holds, seen: seen.into(), hint: hint.into() }
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
        Guardrail::new(
            "proof",
            proof.complete_as_of().is_some(),
            match proof.complete_as_of() {
                Some(_) => format!("complete, {} keys in flight", mover.keys_in_flight()),
                None if !proof.doubted().is_empty() => {
                    format!(
                        "{} tables are compared again, since statements have changed them",
                        proof.doubted().len()
                    )
                }
                None => "no pass over every row is complete".into(),
            },
            "run `highwater verify`",
        ),
        Guardrail::new(
            "differences",
            proof.different() == 0,
            format!("{} rows differ", proof.different()),
            "see `highwater verify`; rows that differ must be repaired first",
        ),
    ]
}
