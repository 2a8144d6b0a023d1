//! The program: command line, settings, the control socket, and the wiring of moves and front door.
//!
//! ```text
//! main -> cli -> commands/NAME -> config    what the operator wrote
//!                              -> control   asking the running process, and being asked
//!                              -> output    what the operator reads
//! ```
//! The only place that joins the moving and the front door. A library as well, so that tests can ask a running
//! process the way its commands do.

pub mod cli;
pub mod commands;
pub mod config;
pub mod control;
pub mod crossing_report;
mod demo;
#[doc(hidden)]
pub mod fuzzing;
pub mod output;
pub mod preflight;
pub mod proof_file;
pub mod service;
pub mod trouble;
