//! What the kernel says beside CPU time: stolen time, and how often a process calls it.

use std::fs;
use std::process::Command;

use crate::{Result, failed, tools};

/// Seconds that calls are counted for.
const COUNTED: f64 = 2.0;

/// CPU time of the whole machine so far, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineTime {
    all: u64,
    /// Taken by other guests of the host.
    stolen: u64,
}

impl MachineTime {
    /// Asks the kernel.
    pub fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").map_err(|e| failed("read /proc/stat", e))?;
        parse_machine(&text).ok_or_else(|| failed("read /proc/stat", "it is not as proc_stat(5) says"))
    }

    /// Percent of the time since that was stolen.
    pub fn stolen_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        100.0 * self.stolen.saturating_sub(before.stolen) as f64 / all as f64
    }
}

/// proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of the first two.
fn parse_machine(text: &str) -> Option<MachineTime> {
    let line = text.lines().find_map(|l| l.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|t| t.parse().ok()).collect();
    Some(MachineTime { all: ticks.iter().sum(), stolen: *ticks.get(7)? })
}

/// Calls a second of one process, all of its threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calls {
    /// System calls.
    pub system: f64,
    /// Times a thread of it gave up its core, to wait mostly.
    pub switches: f64,
}

impl Calls {
    /// Counts for two seconds, with `perf stat`; counting slows a process, so nothing else is measured meanwhile.
    pub fn of(pid: u32) -> Result<Self> {
        let events = "raw_syscalls:sys_enter,context-switches";
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x,", "-o", "/dev/stdout", "-e", events, "-p"]).arg(pid.to_string());
        let said = tools::run(perf.args(["--", "sleep"]).arg(COUNTED.to_string()))?;
        parse_calls(&said).ok_or_else(|| failed("count system calls", tools::last_lines(&said, "")))
    }
}

/// Lines of `COUNT,UNIT,EVENT,...` (perf-stat(1), CSV FORMAT); an event that cannot be counted has no number.
fn parse_calls(said: &str) -> Option<Calls> {
    let count = |event: &str| {
        let mut lines = said.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let line = lines.find(|fields| fields.get(2) == Some(&event))?;
        line.first()?.parse::<f64>().ok()
    };
    Some(Calls {
        system: count("raw_syscalls:sys_enter")? / COUNTED,
        switches: count("context-switches")? / COUNTED,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_a_share_of_all_time() {
        let before = parse_machine("cpu  10 0 10 70 0 0 0 10 99 0\ncpu0 1 2\n").unwrap();
        let after = parse_machine("cpu  60 0 10 95 0 0 0 35 199 0\ncpu0 1 2\n").unwrap();
        assert_eq!(after.stolen_since(before), 25.0);
        assert_eq!(before.stolen_since(before), 0.0);
        assert_eq!(parse_machine("cpu  10 0 10\n"), None);
    }

    #[test]
    fn calls_are_read_from_perf_and_one_that_cannot_be_counted_is_missed() {
        let said = "# started on Wed\n\n9000,,raw_syscalls:sys_enter,1103483,100.00,,\n\
                    400,,context-switches,1103483,100.00,,\n";
        assert_eq!(parse_calls(said), Some(Calls { system: 4500.0, switches: 200.0 }));
        assert_eq!(parse_calls(&said.replace("9000", "<not supported>")), None);
        assert_eq!(parse_calls(""), None);
    }
}
