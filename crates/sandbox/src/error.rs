//! What can go wrong when a private server is found, prepared, started or stopped.

/// An error in the three parts an operator needs; `Display` shows all of them, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{what}\nstate: {state}\nhint:  {hint}")]
pub struct SandboxError {
    /// What happened; lower case, no full stop.
    pub what: String,
    /// What state things are in now.
    pub state: String,
    /// What to do about it.
    pub hint: String,
}

impl SandboxError {
    pub(crate) fn new(what: impl Into<String>, state: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), state: state.into(), hint: hint.into() }
    }

    /// A file or process operation failed; `doing` is verb and object (`create /tmp/x`).
    pub(crate) fn io(doing: impl std::fmt::Display, source: &std::io::Error) -> Self {
        Self::new(
            format!("cannot {doing}: {source}"),
            "no server of this sandbox is left running by this step",
            "check the free space and the permissions there; TMPDIR and HIGHWATER_CACHE choose other places",
        )
    }
}
