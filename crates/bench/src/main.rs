//! The benchmarks: highwater and its peers at the same work, on private MySQL servers of this machine.
//!
//! ```text
//! source prepared once -> rounds: every contestant in turn, each on fresh ground -> report: table and JSON
//! ```
//! Invariant: what was not done does not count. Every contestant's result is checked, outside the timed part, before
//! its figures are taken; one that fails is named with the reason.

mod catch_up;
mod cli;
mod clients;
mod copy;
mod cpu;
mod cutover;
mod drivers;
mod equal;
mod follow;
mod followers;
mod ground;
mod lag;
mod machine;
mod memory;
mod peers;
mod polite;
mod pressure;
mod program;
mod prove;
mod proxy;
mod replica;
mod report;
mod source;
mod sql;
mod table;
mod tools;
mod verify;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};
use model::Trouble;

/// What every step of a benchmark returns.
type Result<T> = std::result::Result<T, Trouble>;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Copy(args) => copy::run(&args),
        Command::Follow(args) => follow::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Prove(args) => prove::run(&args),
        Command::Polite(args) => polite::run(&args),
        Command::Memory(args) => memory::run(&args),
        Command::Cutover(args) => cutover::run(&args),
        Command::Proxy(args) => proxy::run(&args),
        Command::Clients(args) => clients::run(&args),
        Command::Drivers(args) => drivers::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("error: {}\nstate: {}\nhint:  {}", trouble.what, trouble.state, trouble.hint);
            ExitCode::FAILURE
        }
    }
}

/// A failure of a benchmark: whatever it is, nothing of the benchmark is left running.
fn failed(doing: impl std::fmt::Display, why: impl std::fmt::Display) -> Trouble {
    Trouble::new(
        format!("cannot {doing}: {why}"),
        "the benchmark has ended without a result; its servers are stopped",
        "HIGHWATER_KEEP=1 keeps the servers' folders to look at",
    )
}
