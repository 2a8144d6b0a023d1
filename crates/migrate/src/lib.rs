//! Moving tables between two servers: check, copy, stream, apply, verify, cutover, rollback.

pub mod check;
pub mod plan;

// The data path, in the order rows take.
mod accounts;
pub mod along;
pub mod apply;
pub mod bag;
mod copy;
pub mod ddl;
mod definition;
pub mod fold;
#[doc(hidden)]
pub mod fuzzing;
mod json;
pub mod ledger;
pub mod literal;
pub mod order;
mod ranges;
pub mod schema;
mod seed;
pub mod select;
mod sequencer;
mod session;
pub mod stream;
pub mod window;
mod window_reader;
pub mod work;
mod xa;

// The proof.
mod changes;
mod dirty;
mod proof;
mod row_sum;
mod verify;

// The switch and the way back.
pub mod cutover;

// What runs and watches it.
mod behind;
mod direction;
mod error;
mod failover;
mod keeper;
mod mover;
mod opening;
mod pipeline;
mod progress;
mod prover;
mod reshape;
pub mod throttle;
mod watch;

pub use copy::CopyOptions;
pub use direction::{MoverOptions, Start};
pub use error::{MoveError, Result, Side};
pub use mover::{Mover, MoverState, RepairPlan, RepairPlanTable, RepairReport, gtid_executed};
pub use plan::{Accounts, Along, Fence, MoveSpec, Renames, Selection, TablePattern};
pub use progress::{Progress, TableSnapshot};
pub use proof::{Proof, TableVerdict};
pub use row_sum::RowSum;
pub use select::ROW_HASH;
pub use verify::{RepairStatement, RepairedTable, Verification};
pub use watch::{ForeignWrite, Reading, Watched};
