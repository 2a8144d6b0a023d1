//! Cutover and rollback: the same seven phases in either direction, one driver, one journal.
//!
//! ```text
//! hold ─ drain ─ fence ─ settle ─ prove ─┬─ switch ─ release ─ reverse stream
//!   any failure: lower the fence,        │   any failure, a crash included:
//!   release the clients on the old side  │   go on from here
//! ```
//!
//! Everything left of the line has one error exit; what lies right of it begins with a value that only the left side can
//! make (`crossing::PointOfNoReturn`) and that has no way back.

mod crossing;
mod driver;
mod fence;
mod gate;
mod guard;
mod in_the_way;
mod journal;
mod mend;
mod objects;
mod report;
mod state;
mod stop_point;

pub use crossing::{How, Unproven};
pub use driver::{CutoverOptions, MoveDriver};
pub use gate::TrafficGate;
pub use guard::Guardrail;
pub use in_the_way::InTheWay;
pub use journal::Journal;
pub use report::{CrossingReport, PhaseTime};
pub use state::{Event, Home, Illegal, Phase, Recovery, State, Step};
