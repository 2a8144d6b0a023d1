//! What processes have used, as the kernel counts it: CPU time and peak memory.
//!
//! Two kinds: processes that still run (servers, ours) are asked by id; tools that ran to their end are counted by
//! what our own process is charged for the children it waited for, their children included.

use std::fs;

use sandbox::Node;

use crate::{Result, failed};

/// Ticks of /proc/PID/stat a second: the kernel's USER_HZ, 100 wherever Linux runs on x86-64 and arm64 (time(7)).
const TICKS_PER_SECOND: f64 = 100.0;

/// A source and a target that run throughout, as they were before a timed part.
pub struct Servers {
    pids: [u32; 2],
    before: [f64; 2],
}

impl Servers {
    /// Takes down what both have used so far.
    pub fn before(source: &Node, target: &Node) -> Result<Self> {
        let pids = [pid(source)?, pid(target)?];
        Ok(Self { pids, before: [of(pids[0])?, of(pids[1])?] })
    }

    /// What source and target have used since.
    pub fn spent(&self) -> Result<(f64, f64)> {
        Ok((of(self.pids[0])? - self.before[0], of(self.pids[1])? - self.before[1]))
    }
}

/// The process of a running server.
pub fn pid(node: &Node) -> Result<u32> {
    node.pid().ok_or_else(|| failed(format!("measure server '{}'", node.name()), "it does not run"))
}

/// CPU seconds of a process: its own, and those of its children that have ended and were waited for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuTime {
    pub own: f64,
    pub children: f64,
}

/// CPU seconds a running process has used so far.
pub fn of(pid: u32) -> Result<f64> {
    Ok(read(&pid.to_string())?.own)
}

/// CPU seconds used so far by all children of ours that have ended.
pub fn of_ended_children() -> Result<f64> {
    Ok(read("self")?.children)
}

/// The most memory a running process has had resident, in MiB.
pub fn peak_memory(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(|e| failed(format!("read {path}"), e))?;
    peak_in(&text).ok_or_else(|| failed(format!("read {path}"), "it does not say VmHWM"))
}

fn read(process: &str) -> Result<CpuTime> {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&path).map_err(|e| failed(format!("read {path}"), e))?;
    parse(&text).ok_or_else(|| failed(format!("read {path}"), "it is not as proc_pid_stat(5) says"))
}

/// Fields 14 to 17 of proc_pid_stat(5). Field 2, the program's name in parentheses, may hold anything, parentheses
/// and spaces included: fields are counted from the last one.
fn parse(stat: &str) -> Option<CpuTime> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut ticks = rest.split_whitespace().skip(11).map(str::parse::<f64>);
    let mut next = || ticks.next()?.ok();
    let (user, system, children_user, children_system) = (next()?, next()?, next()?, next()?);
    Some(CpuTime {
        own: (user + system) / TICKS_PER_SECOND,
        children: (children_user + children_system) / TICKS_PER_SECOND,
    })
}

fn peak_in(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "71 (a (b) c) S 1 71 71 0 -1 4194560 500 900 0 0 123 77 250 50 20 0 8 0 1000 1 2 3";
        assert_eq!(parse(stat), Some(CpuTime { own: 2.0, children: 3.0 }));
        assert_eq!(parse("71 (x) S 1 71"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn peak_memory_is_read_in_mib() {
        assert_eq!(peak_in("VmPeak:\t  9999 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), Some(2.0));
        assert_eq!(peak_in("VmRSS:\t 1 kB\n"), None);
    }

    #[test]
    fn the_kernel_tells_of_this_very_process() {
        assert!(peak_memory(std::process::id()).unwrap() > 0.1);
        assert!(of(std::process::id()).unwrap() >= 0.0);
    }
}
