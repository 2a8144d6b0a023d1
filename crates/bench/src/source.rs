//! What the source holds: sysbench's tables and the shop.

use std::path::PathBuf;
use std::process::Command;

use load::{Scale, Shop};
use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Node};

use crate::sql::{Sql, admin, runtime};
use crate::tools::{self, Tools};
use crate::{Result, failed};

/// The schema of sysbench's tables.
pub const SBTEST: &str = "sbtest";
/// The schema of the shop.
pub const SHOP: &str = "shop";
/// sysbench's tables.
pub const TABLES: u64 = 4;
/// The shop is the same in every run.
const SHOP_SEED: u64 = 7;

/// sysbench, aimed at a server.
pub struct Sysbench {
    program: PathBuf,
    rows_per_table: u64,
    rows_chosen: String,
}

impl Sysbench {
    /// `rows` in all tables together.
    pub fn new(tools: &Tools, rows: u64) -> Result<Self> {
        let rows_per_table = (rows / TABLES).max(1);
        Ok(Self { program: tools.path("SYSBENCH")?, rows_per_table, rows_chosen: "special".to_owned() })
    }

    /// How it chooses the rows it changes: `special`, its default, takes a few of them most of the time.
    pub fn choosing(mut self, rows: &str) -> Self {
        self.rows_chosen = rows.to_owned();
        self
    }

    /// Makes the schema and its tables as sysbench does, secondary index included.
    pub fn prepare(&self, node: &Node) -> Result<()> {
        Sql::on(node)?.execute(&format!("CREATE DATABASE {SBTEST}"))?;
        tools::run(self.write_only(node.port()).arg(format!("--threads={TABLES}")).arg("prepare"))?;
        Ok(())
    }

    /// A command for its write-only load: four row changes in each transaction. What two threads do to each other
    /// (deadlock, duplicate key of a row deleted and inserted again) is tried again, not reported.
    pub fn write_only(&self, port: u16) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["oltp_write_only", "--db-driver=mysql", "--mysql-host=127.0.0.1", "--mysql-ssl=off"])
            .arg(format!("--mysql-port={port}"))
            .arg(format!("--mysql-user={ADMIN_USER}"))
            .arg(format!("--mysql-password={ADMIN_PASSWORD}"))
            .arg(format!("--mysql-db={SBTEST}"))
            .arg(format!("--tables={TABLES}"))
            .arg(format!("--table-size={}", self.rows_per_table))
            .arg(format!("--rand-type={}", self.rows_chosen));
        command
    }
}

/// Builds the shop.
pub fn open_shop(node: &Node, rows: u64) -> Result<u64> {
    let made = runtime()?.block_on(Shop::create(&admin(node.port()), Scale { rows }, SHOP_SEED));
    Ok(made.map_err(|e| failed("build the shop", e))?.rows)
}
