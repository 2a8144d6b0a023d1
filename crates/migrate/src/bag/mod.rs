//! Tables without a key: bags, in which nothing but their values tells rows apart, and equal rows are only counted.
//!
//! What a key does for other tables, the whole row does here: a bag is right if it holds every value as often as the
//! source does. Which values are the same is the server's word, by [`crate::select::row_digest`]: a hash over the exact
//! bytes of every column. So no collation merges two rows that differ in case or in trailing spaces.
//! `docs/decisions/0008-bags.md` says why copying one is exact.
//!
//! ```text
//! stream before the snapshot ── passed over: the snapshot has it
//! stream while rows are read ── held back (flow.rs)
//! stream from "done" on ─────── folded to counts (fold.rs), applied by value (apply/bags.rs)
//! ```

mod compare;
mod copy;
mod filter;
mod flow;
mod fold;
mod marks;
mod pace;
mod repair;
mod scratch;
mod snapshot;

pub(crate) use copy::{BagCopier, add_no_key, done, keep_keyless};
pub(crate) use filter::narrow;
pub(crate) use flow::{Bags, touch_of};
pub use fold::BagFold;
pub(crate) use marks::{recorded, waits};
pub(crate) use pace::BagPace;
pub(crate) use scratch::{Scratch, digests, has_digest};
