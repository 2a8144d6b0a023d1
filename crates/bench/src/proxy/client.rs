//! sysbench as the clients: started, listened to while it reports each second, read at its end.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use sandbox::{ADMIN_PASSWORD, ADMIN_USER};

use super::hops::Hops;
use super::work::Work;
use crate::source::{SBTEST, TABLES};
use crate::tools::{Tools, last_lines};
use crate::{Result, failed};

/// The program, and the tables it works on.
pub struct Clients {
    program: PathBuf,
    rows_per_table: u64,
    log: PathBuf,
}

/// Clients at work.
pub struct Run {
    process: Child,
    said: BufReader<ChildStdout>,
    log: PathBuf,
}

/// How long an event took from a client's view, in milliseconds: a statement or, of read-write, a transaction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
}

impl Clients {
    /// With `rows` in all tables together; its complaints go into `dir`.
    pub fn new(tools: &Tools, rows: u64, dir: &Path) -> Result<Self> {
        let rows_per_table = (rows / TABLES).max(1);
        Ok(Self { program: tools.path("SYSBENCH")?, rows_per_table, log: dir.join("sysbench.said") })
    }

    /// Starts them on a port of this machine.
    pub fn start(&self, work: &Work, hops: &Hops, port: u16, seconds: u64) -> Result<Run> {
        let starting = |e: std::io::Error| failed("start sysbench", e);
        let mut sysbench = Command::new(&self.program);
        hops.tell(sysbench.args([work.script, "--db-driver=mysql", "--mysql-host=127.0.0.1"]));
        let mut process = sysbench
            .arg(format!("--mysql-port={port}"))
            .arg(format!("--mysql-user={ADMIN_USER}"))
            .arg(format!("--mysql-password={ADMIN_PASSWORD}"))
            .arg(format!("--mysql-db={SBTEST}"))
            .arg(format!("--tables={TABLES}"))
            .arg(format!("--table-size={}", self.rows_per_table))
            .arg(format!("--db-ps-mode={}", if work.prepared { "auto" } else { "disable" }))
            .arg(format!("--threads={}", work.threads))
            .arg(format!("--time={seconds}"))
            .args(["--report-interval=1", "--histogram=on", "run"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&self.log).map_err(starting)?)
            .spawn()
            .map_err(starting)?;
        let said = process.stdout.take().ok_or_else(|| failed("listen to sysbench", "it has no output"))?;
        Ok(Run { process, said: BufReader::new(said), log: self.log.clone() })
    }
}

impl Run {
    /// Waits for the next second's report: queries a second.
    pub fn second(&mut self) -> Result<f64> {
        let mut before = String::new();
        loop {
            let mut line = String::new();
            match self.said.read_line(&mut line).map_err(|e| failed("listen to sysbench", e))? {
                0 => return Err(self.complaint(&before)),
                _ => match rate(&line) {
                    Some(rate) => return Ok(rate),
                    None => before += &line,
                },
            }
        }
    }

    /// Waits for the end.
    pub fn end(mut self) -> Result<Latency> {
        let mut said = String::new();
        self.said.read_to_string(&mut said).map_err(|e| failed("listen to sysbench", e))?;
        let status = self.process.wait().map_err(|e| failed("end sysbench", e))?;
        if !status.success() || total(&said, "reconnects:") != Some(0) {
            return Err(self.complaint(&said));
        }
        latency(&said).ok_or_else(|| failed("read sysbench's histogram", last_lines(&said, "")))
    }

    fn complaint(&self, said: &str) -> model::Trouble {
        let errors = fs::read_to_string(&self.log).unwrap_or_default();
        failed("run sysbench", last_lines(said, &errors))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It has ended already, unless something failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// From `[ 3s ] thds: 16 tps: 12716.59 qps: 12716.59 (r/w/o: ...`.
fn rate(line: &str) -> Option<f64> {
    let (_, rest) = line.strip_prefix("[ ")?.split_once(" qps: ")?;
    rest.split(' ').next()?.parse().ok()
}

/// From `    queries:                             26507  (13051.68 per sec.)`.
fn total(said: &str, name: &str) -> Option<u64> {
    let line = said.lines().find_map(|l| l.trim_start().strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// From the lines `       1.234 |*****                 567`: values in milliseconds, and how many took as long. The values
/// lie some 2 % apart.
fn latency(said: &str) -> Option<Latency> {
    let buckets: Vec<(f64, u64)> = said.lines().filter_map(bucket).collect();
    let all: u64 = buckets.iter().map(|(_, count)| count).sum();
    let at = |share: f64| {
        let mut left = share * all as f64;
        buckets.iter().find_map(|(value, count)| {
            left -= *count as f64;
            (left <= 0.0).then_some(*value)
        })
    };
    Some(Latency { p50: at(0.5)?, p99: at(0.99)? })
}

fn bucket(line: &str) -> Option<(f64, u64)> {
    let (value, rest) = line.split_once('|')?;
    Some((value.trim().parse().ok()?, rest.split_whitespace().next_back()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_told_by_its_rate_of_queries() {
        let line = "[ 1s ] thds: 16 tps: 652.11 qps: 13054.20 (r/w/o: 9138.54/2611.44/1304.22) lat (ms,95%): 4.82 \
                    err/s: 0.00 reconn/s: 0.00\n";
        assert_eq!(rate(line), Some(13054.2));
        assert_eq!(rate("Threads started!\n"), None);
        assert_eq!(rate("    queries:   26507  (13051.68 per sec.)\n"), None);
    }

    #[test]
    fn a_total_is_found_by_its_name() {
        let said = "    ignored errors:                      3      (0.00 per sec.)\n    reconnects:      \
                    0      (0.00 per sec.)\n";
        assert_eq!(total(said, "reconnects:"), Some(0));
        assert_eq!(total(said, "ignored errors:"), Some(3));
        assert_eq!(total(said, "queries:"), None);
    }

    #[test]
    fn percentiles_are_read_off_the_histogram() {
        let said = "Latency histogram (values are in milliseconds)\n\
                    \x20      value  ------------- distribution ------------- count\n\
                    \x20      0.500 |**                                       1\n\
                    \x20      0.600 |**************************************** 97\n\
                    \x20      2.000 |                                         1\n\
                    \x20      9.000 |                                         1\n \nSQL statistics:\n";
        assert_eq!(latency(said), Some(Latency { p50: 0.6, p99: 2.0 }));
        assert_eq!(latency("SQL statistics:\n"), None);
    }
}
