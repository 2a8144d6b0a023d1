//! Processes that get a core only while nobody else wants it.

use std::process::Command;

use crate::{Result, tools};

/// Puts all threads of a process aside, or back among the others; threads that they start are as they are. `nice` would not do: at 19
/// a process still gets its slice when others wait.
pub fn set(pid: u32, aside: bool) -> Result<()> {
    let policy = if aside { "--idle" } else { "--other" };
    let mut chrt = Command::new("chrt");
    tools::run(chrt.args(["--all-tasks", policy, "--pid", "0"]).arg(pid.to_string())).map(|_| ())
}
