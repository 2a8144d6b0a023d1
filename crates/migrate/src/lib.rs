//! Moving tables between two servers: check, copy, stream, apply, verify, cutover, rollback.

pub mod check;
pub mod plan;

pub use plan::{MoveSpec, TablePattern};
