//! Which cluster a command goes to, and the gate before it; what operators and crossings do with both.

pub(crate) mod control;
pub(crate) mod hold;
pub(crate) mod routes;
pub(crate) mod rules;
