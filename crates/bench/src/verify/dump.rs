//! What one does without a tool: dump both sides and compare the files. Offline, since writes in between show as
//! differences.

use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Comparer, Pair};
use crate::ground::Ground;
use crate::peers::client;
use crate::source::SBTEST;
use crate::{Result, cpu, failed};

/// One row a line and in key order, so that a difference is a line; nothing that is not the rows'.
const OPTIONS: [&str; 7] = [
    "--single-transaction",
    "--quick",
    "--order-by-primary",
    "--skip-extended-insert",
    "--skip-comments",
    "--no-create-info",
    "--set-gtid-purged=OFF",
];
const INSERT: &str = "INSERT INTO ";

/// Both dumps at the same time, then `diff`.
pub struct Dump {
    program: PathBuf,
    dir: PathBuf,
}

impl Dump {
    /// With the tool that came with the server; the dumps go beside the data.
    pub fn new(ground: &Ground) -> Result<Self> {
        let program = ground.tool("mysqldump").ok_or_else(|| failed("find mysqldump", "it is missing"))?;
        Ok(Self { program, dir: ground.dir().to_path_buf() })
    }

    fn start(&self, port: u16, file: &Path) -> Result<Child> {
        let doing = format!("dump into {}", file.display());
        let out = File::create(file).map_err(|e| failed(&doing, e))?;
        let mut command = client(&self.program, port);
        command.args(OPTIONS).arg(SBTEST).stdin(Stdio::null()).stdout(out).stderr(Stdio::null());
        command.spawn().map_err(|e| failed(doing, e))
    }
}

impl Comparer for Dump {
    fn name(&self) -> &'static str {
        "mysqldump and diff"
    }

    fn settings(&self) -> String {
        format!("mysqldump {} of both servers at the same time, then diff -q", OPTIONS.join(" "))
    }

    fn compare(&mut self, pair: &Pair) -> Result<(u64, f64)> {
        let before = cpu::of_ended_children()?;
        let (here, there) = (self.dir.join("here.sql"), self.dir.join("there.sql"));
        let mut dumps = [self.start(pair.source.port(), &here)?, self.start(pair.target.port(), &there)?];
        for dump in &mut dumps {
            let status = dump.wait().map_err(|e| failed("run mysqldump", e))?;
            if !status.success() {
                return Err(failed("run mysqldump", status));
            }
        }
        let diff = Command::new("diff").arg("-q").args([&here, &there]).stdout(Stdio::null()).status();
        if !diff.map_err(|e| failed("run diff", e))?.success() {
            return Err(failed("compare equal servers", "their dumps differ"));
        }
        let cpu = cpu::of_ended_children()? - before;
        Ok((count_rows(&here)?, cpu))
    }
}

fn count_rows(file: &Path) -> Result<u64> {
    let text = fs::read_to_string(file).map_err(|e| failed("read a dump", e))?;
    Ok(text.lines().filter(|line| line.starts_with(INSERT)).count() as u64)
}
