//! The least a comparison within the servers can cost: every row read once on each side, both sides at the same time, and
//! of its columns a CRC. It finds that something differs and not where, holds only while nobody writes, and takes rows that
//! happen to have the same 32 bits for equal.

use super::{Comparer, Pair};
use crate::source::{SBTEST, TABLES};
use crate::sql::Sql;
use crate::{Result, failed};

const OF_A_ROW: &str = "CRC32(CONCAT_WS('#', id, k, c, pad))";

/// The scan.
pub struct Scan;

impl Comparer for Scan {
    fn name(&self) -> &'static str {
        "crc scan"
    }

    fn settings(&self) -> String {
        format!("SELECT COUNT(*), BIT_XOR({OF_A_ROW}) of each table in turn, one connection to each server")
    }

    fn compare(&mut self, pair: &Pair) -> Result<(u64, f64)> {
        let (here, there) = std::thread::scope(|scope| {
            let here = scope.spawn(|| scan(pair.source.port()));
            let there = scan(pair.target.port());
            (here.join(), there)
        });
        let here = here.map_err(|_| failed("scan the source", "its thread panicked"))??;
        if here != there? {
            return Err(failed("compare equal servers", "their sums differ"));
        }
        Ok((here.iter().map(|(rows, _)| rows).sum(), 0.0))
    }
}

/// Rows and sum of each table.
fn scan(port: u16) -> Result<Vec<(u64, String)>> {
    let mut sql = Sql::at("scanned", port)?;
    let scanned = (1..=TABLES).map(|i| {
        let rows = sql.rows(&format!("SELECT COUNT(*), BIT_XOR({OF_A_ROW}) FROM {SBTEST}.sbtest{i}"))?;
        let row = rows.first().ok_or_else(|| failed("scan", "no row came"))?;
        Ok((row.number(0).unwrap_or_default(), row.text(1)))
    });
    scanned.collect()
}
