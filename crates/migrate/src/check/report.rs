//! What a check found, in words for an operator and fields for a program.

use serde::Serialize;

/// Which server a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The server that has the data.
    Source,
    /// The server that gets it.
    Target,
    /// How the two compare.
    Both,
}

impl Side {
    /// The side's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::Both => "both",
        }
    }
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it must be.
    Passed,
    /// The move would be exact, but someone may be surprised.
    Warned,
    /// The move must not start like this.
    Refused,
}

impl Outcome {
    /// The outcome's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Warned => "warned",
            Self::Refused => "refused",
        }
    }
}

/// One check and what came of it. It holds names and settings, never rows or secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, for example `binlog-format`.
    pub name: &'static str,
    /// The server it is about.
    pub side: Side,
    /// How it came out.
    pub outcome: Outcome,
    /// What was seen, one thing a line where it is several that each need a sentence.
    pub evidence: String,
    /// What to run or set, one statement a line; `None` if it passed.
    pub fix: Option<String>,
    /// What breaks otherwise.
    pub why: &'static str,
    /// Whether the outcome would be a refusal had the operator not accepted it.
    pub accepted: bool,
}

/// All checks of one move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The checks, in a fixed order.
    pub checks: Vec<Check>,
}

impl CheckReport {
    /// How many were refused.
    pub fn refused(&self) -> usize {
        self.count(Outcome::Refused)
    }

    /// How many were warned about.
    pub fn warned(&self) -> usize {
        self.count(Outcome::Warned)
    }

    /// How many passed.
    pub fn passed(&self) -> usize {
        self.count(Outcome::Passed)
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.checks.iter().filter(|c| c.outcome == outcome).count()
    }

    /// The checks that came out so, in the report's order.
    pub fn with(&self, outcome: Outcome) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |c| c.outcome == outcome)
    }
}
