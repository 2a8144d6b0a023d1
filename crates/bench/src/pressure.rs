//! Keeping a source busy at a share of what it can do.

use std::process::Command;

use sandbox::Node;

use crate::source::Sysbench;
use crate::{Result, failed, tools};

/// Threads tried to find the source's highest write rate, and seconds each is tried for.
const CAPACITY_THREADS: [u32; 3] = [8, 16, 32];
const CAPACITY_SECONDS: u32 = 5;

/// A write load of a certain rate.
pub struct Pressure {
    share: f64,
    /// The highest rate, in transactions per second, with nobody following.
    capacity: f64,
    threads: u32,
}

impl Pressure {
    /// Finds the highest write rate of a server, and takes a share of it.
    pub fn find(sysbench: &Sysbench, node: &Node, share: f64) -> Result<Self> {
        let mut found = Self { share, capacity: 0.0, threads: 0 };
        for threads in CAPACITY_THREADS {
            let mut load = sysbench.write_only(node.port());
            load.arg(format!("--threads={threads}")).arg(format!("--time={CAPACITY_SECONDS}")).arg("run");
            let rate = transactions_per_second(&tools::run(&mut load)?)
                .ok_or_else(|| failed("read sysbench's result", "it tells no transactions per second"))?;
            if rate > found.capacity {
                (found.capacity, found.threads) = (rate, threads);
            }
        }
        Ok(found)
    }

    /// As the names of cases have it.
    pub fn name(&self) -> String {
        format!("{:.0}% of write capacity", self.share * 100.0)
    }

    /// How it is made.
    pub fn settings(&self) -> String {
        format!(
            "sysbench oltp_write_only, {} threads: {:.0}/s alone; kept at {}/s",
            self.threads,
            self.capacity,
            self.rate()
        )
    }

    fn rate(&self) -> f64 {
        (self.capacity * self.share).round()
    }

    /// The command that makes it for so many seconds.
    pub fn command(&self, sysbench: &Sysbench, node: &Node, seconds: u64) -> Command {
        let mut command = sysbench.write_only(node.port());
        command.arg(format!("--rate={}", self.rate())).arg(format!("--threads={}", self.threads));
        command.arg(format!("--time={seconds}")).arg("run");
        command
    }
}

/// From sysbench's line `transactions:  15268  (1526.31 per sec.)`.
pub fn transactions_per_second(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|l| l.trim().strip_prefix("transactions:"))?;
    line.split_once('(')?.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_from_what_sysbench_prints() {
        let said = "SQL statistics:\n    transactions:                        1234   (246.71 per sec.)\n";
        assert_eq!(transactions_per_second(said), Some(246.71));
        assert_eq!(transactions_per_second("FATAL: error"), None);
    }
}
