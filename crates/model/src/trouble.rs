//! An error as an operator reads it: what happened, what state things are in now, what to do.

use serde::{Deserialize, Serialize};

/// What went wrong, in the three parts every error of Highwater has. It never holds a secret or a row's values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what}")]
pub struct Trouble {
    /// What happened; lower case, no full stop.
    pub what: String,
    /// What state things are in now.
    pub state: String,
    /// What to do about it.
    pub hint: String,
}

impl Trouble {
    /// Puts the three parts together.
    pub fn new(what: impl Into<String>, state: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), state: state.into(), hint: hint.into() }
    }
}
