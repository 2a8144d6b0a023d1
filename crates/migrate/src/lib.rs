//! Moving tables between two servers: check, copy, stream, apply, verify, cutover, rollback.

pub mod check;
pub mod plan;

// The data path, in the order rows take.
mod session;
pub mod schema;
mod ddl;
pub mod literal;
pub mod select;
mod ranges;
mod stream;
pub mod window;
mod window_reader;
mod copy;
pub mod fold;
mod work;
mod sequencer;
mod applier;
pub mod ledger;

// The proof.
mod dirty;
mod proof;
mod verify;

// The switch and the way back.
pub mod cutover;

// What runs and watches it.
mod error;
mod mover;
mod pipeline;
mod progress;

pub use copy::CopyOptions;
pub use error::{MoveError, Result, Side};
pub use mover::{Mover, MoverOptions, MoverState, Start, gtid_executed};
pub use plan::{MoveSpec, TablePattern};
pub use progress::{Progress, TableSnapshot};
pub use proof::{Proof, TableVerdict};
pub use verify::Verification;
