//! `mydumper`, then `myloader`, through files on the same disk.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use sandbox::{ADMIN_PASSWORD, ADMIN_USER};

use super::{Contestant, Turn, Used};
use crate::tools::{self, Tools};
use crate::{Result, cpu, failed};

/// What can be set and matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub dump_threads: u32,
    pub load_threads: u32,
    /// Rows a file; 0 is one file per table.
    pub rows: u64,
    /// Bytes an INSERT.
    pub statement_size: u64,
    /// INSERTs a transaction.
    pub queries_per_transaction: u32,
    /// Whether the target writes a binary log meanwhile; myloader's default is that it does not.
    pub binlog: bool,
}

impl Settings {
    /// The best found by `bench copy --explore-mydumper` on a 2-core machine; see bench/README.md.
    pub const BEST: Self = Self {
        dump_threads: 2,
        load_threads: 2,
        rows: 50_000,
        statement_size: 1_000_000,
        queries_per_transaction: 1000,
        binlog: false,
    };

    /// What the exploration tries: one thing changed at a time.
    pub fn candidates() -> Vec<Self> {
        let best = Self::BEST;
        vec![
            best,
            Self { dump_threads: 4, load_threads: 4, ..best },
            Self { load_threads: 4, ..best },
            Self { dump_threads: 8, load_threads: 8, ..best },
            Self { rows: 0, ..best },
            Self { rows: 10_000, ..best },
            Self { queries_per_transaction: 10, ..best },
            Self { statement_size: 4_000_000, ..best },
            Self { binlog: true, ..best },
        ]
    }

    fn dump(&self) -> Vec<String> {
        let mut words = vec![
            format!("--threads={}", self.dump_threads),
            "--trx-consistency-only".to_owned(),
            format!("--statement-size={}", self.statement_size),
        ];
        if self.rows > 0 {
            words.push(format!("--rows={}", self.rows));
        }
        words
    }

    fn load(&self) -> Vec<String> {
        let mut words = vec![
            format!("--threads={}", self.load_threads),
            format!("--queries-per-transaction={}", self.queries_per_transaction),
        ];
        if self.binlog {
            words.push("--enable-binlog".to_owned());
        }
        words
    }
}

/// The pair.
pub struct Mydumper {
    dump: PathBuf,
    load: PathBuf,
    version: String,
    schemas: Vec<&'static str>,
    settings: Settings,
}

impl Mydumper {
    /// With the programs the script fetched.
    pub fn new(tools: &Tools, schemas: &[&'static str], settings: Settings) -> Result<Self> {
        let dump = tools.path("MYDUMPER")?;
        let version = tools::run(Command::new(&dump).arg("--version"))?.trim().to_owned();
        Ok(Self { dump, load: tools.path("MYLOADER")?, version, schemas: schemas.to_vec(), settings })
    }

    fn folder(turn: &Turn) -> PathBuf {
        turn.dir.join("mydumper")
    }

    fn command(program: &Path, turn: &Turn, port: u16, words: Vec<String>) -> Command {
        let mut command = Command::new(program);
        command
            .args(["--host=127.0.0.1", "--verbose=1"])
            .arg(format!("--port={port}"))
            .arg(format!("--user={ADMIN_USER}"))
            .arg(format!("--defaults-file={}", turn.dir.join("mydumper.cnf").display()))
            .args(words);
        command
    }
}

impl Contestant for Mydumper {
    fn name(&self) -> &'static str {
        "mydumper"
    }

    fn settings(&self) -> String {
        format!(
            "{}: mydumper {} ; myloader {}, TCP without TLS",
            self.version,
            self.settings.dump().join(" "),
            self.settings.load().join(" ")
        )
    }

    /// Seen with 0.10 on MySQL 9.7: it takes what information_schema.COLUMNS calls DEFAULT_GENERATED (such as DEFAULT
    /// CURRENT_TIMESTAMP) for generated columns, and leaves them out.
    fn loses(&self) -> Option<&'static str> {
        Some("columns with an expression as default are left out, FLOATs are rounded to six digits")
    }

    fn prepare(&mut self, turn: &mut Turn) -> Result<()> {
        let groups = ["client", "mydumper", "myloader"];
        let lines: String = groups.iter().map(|g| format!("[{g}]\npassword={ADMIN_PASSWORD}\n")).collect();
        fs::write(turn.dir.join("mydumper.cnf"), lines)
            .map_err(|e| failed("write mydumper's settings", e))?;
        self.leave(turn)
    }

    fn copy(&mut self, turn: &mut Turn) -> Result<Used> {
        let before = cpu::of_ended_children()?;
        let folder = Self::folder(turn);
        let mut dump = Self::command(&self.dump, turn, turn.source.port(), self.settings.dump());
        dump.arg(format!("--outputdir={}", folder.display()));
        dump.arg(format!("--regex=^({})\\.", self.schemas.join("|")));
        tools::run(&mut dump)?;
        let mut load = Self::command(&self.load, turn, turn.target.port(), self.settings.load());
        load.arg(format!("--directory={}", folder.display()));
        tools::run(&mut load)?;
        Ok(Used { cpu: cpu::of_ended_children()? - before, memory: None })
    }

    fn leave(&mut self, turn: &mut Turn) -> Result<()> {
        match fs::remove_dir_all(Self::folder(turn)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove the dump", e)),
            _ => Ok(()),
        }
    }
}
