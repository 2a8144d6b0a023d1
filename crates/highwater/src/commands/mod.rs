//! The commands, one file each; `cli` has them in the order in which a move's life goes.

pub mod check;
pub mod copy;
pub mod cutover;
pub mod demo;
pub mod digests;
pub mod finish;
pub mod init;
pub mod pins;
pub mod reload;
pub mod rollback;
pub mod serve;
pub mod status;
pub mod stop;
pub mod throttle;
pub mod verify;

mod ask;
mod crossing;
mod repair;
mod signals;
mod take_over;

use std::path::PathBuf;

/// What every command is given.
#[derive(Debug)]
pub struct Context {
    /// The settings file.
    pub config: PathBuf,
    /// Whether progress is shown.
    pub quiet: bool,
}
