//! pt-table-checksum, what one runs to compare a replica of MySQL's own with its source. It asks the source for a CRC of each
//! chunk by a statement that replicates as such, so that the replica computes its own, and compares the two.
//!
//! It writes to the source, and knows of no target but a replica: it has a pair of its own with the same rows, made of
//! a copy of the source's data folder.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Node};

use super::{Comparer, Pair};
use crate::equal::{self, Fingerprint};
use crate::ground::{Ground, trouble};
use crate::source::SBTEST;
use crate::sql::Sql;
use crate::tools::{Tools, last_lines};
use crate::{Result, cpu, failed, replica, tools};

/// As results name it.
pub const NAME: &str = "pt-table-checksum";
/// Every server here logs rows, as they all do by now: the tool changes that for its own session, and need not ask whether its replicas
/// do. Nothing is filtered. It must not ask its makers for a newer version.
const OPTIONS: [&str; 4] = [
    "--no-check-binlog-format",
    "--no-check-replication-filters",
    "--no-version-check",
    "--databases=sbtest",
];
/// A replica that was caught up when it was made is so at once.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// The tool, fetched if it is not there yet.
pub fn program() -> Result<PathBuf> {
    Tools::from_script_for("scripts/bench-tools.sh", &["checksum"])?.path("PT_TABLE_CHECKSUM")
}

/// The tool, and its source and replica.
pub struct Checksum {
    program: PathBuf,
    version: String,
    pair: Pair,
}

impl Checksum {
    /// Makes the pair, of a source that is stopped for that and started again, and refuses it unless it holds the same.
    pub fn new(program: PathBuf, ground: &Ground, source: &mut Node) -> Result<Self> {
        let version = tools::run(Command::new(&program).arg("--version"))?.trim().to_owned();
        let content = content(source)?;
        let kept = ground.keep_data(source, "kept-checksum")?;
        source.restart().map_err(trouble)?;
        let mut pair = Pair { source: ground.node("checked", 3)?, target: ground.node("replica", 4)? };
        Ground::put_back(&mut pair.source, &kept)?;
        Ground::put_back(&mut pair.target, &kept)?;
        fs::remove_dir_all(&kept).map_err(|e| failed(format!("remove {}", kept.display()), e))?;
        let mut sql = Sql::on(&pair.target)?;
        replica::point_at(&mut sql, &pair.source)?;
        sql.execute("START REPLICA")?;
        tell_where_the_replica_is(&pair)?;
        wait_until_caught_up(&pair)?;
        for server in [&pair.source, &pair.target] {
            equal::refuse_unless_equal(NAME, &content, &self::content(server)?, &[])?;
        }
        Ok(Self { program, version, pair })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(OPTIONS)
            .arg(format!("--recursion-method=dsn={},D=percona,t=dsns", dsn(&self.pair.source)));
        command.arg(dsn(&self.pair.source)).stdin(Stdio::null());
        command
    }
}

impl Comparer for Checksum {
    fn name(&self) -> &'static str {
        NAME
    }

    fn settings(&self) -> String {
        format!(
            "{} {}, the replica named by --recursion-method=dsn, all else its defaults; on a pair of its own, a source and \
             its GTID replica",
            self.version,
            OPTIONS.join(" ")
        )
    }

    fn servers<'a>(&'a self, _others: &'a Pair) -> &'a Pair {
        &self.pair
    }

    fn compare(&mut self, _others: &Pair) -> Result<(u64, f64)> {
        let before = cpu::of_ended_children()?;
        let output = self.command().output().map_err(|e| failed(format!("run {NAME}"), e))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let cpu = cpu::of_ended_children()? - before;
        // Any difference, error or chunk left out is an exit status of its own.
        if !output.status.success() {
            return Err(failed(
                format!("run {NAME}"),
                format!("{}: {}", output.status, last_lines(&said, &errors)),
            ));
        }
        let rows = rows_equal(&said).ok_or_else(|| failed(format!("read what {NAME} says"), said.trim()))?;
        Ok((rows, cpu))
    }
}

fn content(node: &Node) -> Result<Vec<Fingerprint>> {
    equal::fingerprints(&mut Sql::on(node)?, &[SBTEST])
}

fn dsn(node: &Node) -> String {
    format!("h=127.0.0.1,P={},u={ADMIN_USER},p={ADMIN_PASSWORD}", node.port())
}

/// The table that the tool finds replicas by: the servers are of one machine, and SHOW REPLICAS tells no ports of theirs.
fn tell_where_the_replica_is(pair: &Pair) -> Result<()> {
    let mut sql = Sql::on(&pair.source)?;
    sql.execute("CREATE DATABASE percona")?;
    sql.execute("CREATE TABLE percona.dsns (id INT AUTO_INCREMENT PRIMARY KEY, parent_id INT, dsn VARCHAR(255) NOT NULL)")?;
    sql.execute(&format!("INSERT INTO percona.dsns (dsn) VALUES ('{}')", dsn(&pair.target)))
}

fn wait_until_caught_up(pair: &Pair) -> Result<()> {
    let wanted = Sql::on(&pair.source)?.text("SELECT @@GLOBAL.gtid_executed")?;
    let mut sql = Sql::on(&pair.target)?;
    let deadline = Instant::now() + PATIENCE;
    while sql.text(&format!("SELECT GTID_SUBSET('{wanted}', @@GLOBAL.gtid_executed)"))? != "1" {
        if Instant::now() > deadline {
            return Err(failed(format!("make a replica for {NAME}"), "it does not follow its source"));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// The rows of all tables, from a table with the columns `TS ERRORS DIFFS ROWS DIFF_ROWS CHUNKS SKIPPED TIME TABLE`; nothing
/// if there is none, or one that has an error, a difference or a chunk that was left out.
fn rows_equal(said: &str) -> Option<u64> {
    let mut lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let head = lines.find(|words| words.contains(&"ERRORS"))?;
    let of = |words: &[&str], name: &str| -> Option<u64> {
        words.get(head.iter().position(|column| *column == name)?)?.parse().ok()
    };
    let mut rows = 0;
    for words in lines.filter(|words| !words.is_empty()) {
        if ["ERRORS", "DIFFS", "SKIPPED"].iter().any(|column| of(&words, column) != Some(0)) {
            return None;
        }
        rows += of(&words, "ROWS")?;
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Checking if all tables can be checksummed ...\nStarting checksum ...\n            \
                        TS ERRORS  DIFFS     ROWS  DIFF_ROWS  CHUNKS SKIPPED    TIME TABLE\n";

    #[test]
    fn rows_count_only_where_no_table_has_errors_or_differences_or_parts_left_out() {
        let with = |lines: &str| rows_equal(&format!("{HEAD}{lines}"));
        let one = "11-25T17:12:31      0      0     1000          0       4       0   0.523 sbtest.sbtest1\n";
        assert_eq!(with(&format!("{one}{}", one.replace("1000", "7"))), Some(1007));
        assert_eq!(with(&one.replacen("0      0 ", "1      0 ", 1)), None);
        assert_eq!(with(&one.replacen("0      0 ", "0      1 ", 1)), None);
        assert_eq!(with(&one.replace("4       0", "4       1")), None);
        assert_eq!(rows_equal("DBI connect failed"), None);
    }
}
