//! Cutover and rollback: the same seven phases in either direction, one driver, one journal.
//!
//! ```text
//! hold ─ drain ─ fence ─ settle ─ prove ─┬─ switch ─ release ─ reverse stream
//!   any failure: lower the fence,        │   any failure, a crash included:
//!   release the clients on the old side  │   go on from here
//! ```
//!
//! Everything left of the line has one error exit; what lies right of it begins with a value that only the left side can
//! make (`point::PointOfNoReturn`) and that has no way back. A rehearsal is the left side alone.

mod clock;
mod course;
mod crossing;
mod drain;
mod driver;
mod fence;
mod gate;
mod guard;
mod hooks;
mod in_the_way;
mod journal;
mod last_look;
mod mend;
mod objects;
mod point;
mod prime;
mod recover;
mod rehearse;
mod report;
mod state;
mod stop_point;
mod survey;
mod undo;

pub use crossing::{How, Unproven};
pub use driver::{CutoverOptions, MoveDriver};
pub use gate::TrafficGate;
pub use guard::Guardrail;
pub use hooks::{HookRun, Hooks, When};
pub use in_the_way::InTheWay;
pub use journal::Journal;
pub use point::Run;
pub use prime::Primed;
pub use recover::NotBegun;
pub use report::{CrossingLog, CrossingRecord, CrossingReport, PhaseTime, RehearsalReport};
pub use state::{Event, Home, Illegal, Phase, Recovery, State, Step};
pub use survey::{Estimate, Part, Survey};
