//! The report of a run: one HTML file that needs nothing else, drawn from plain figures.
//!
//! figures ([`ReportData`]) -> drawing (`svg`, `chart`) -> page (`page`) -> file. Nothing here measures anything.

mod chart;
mod page;
mod svg;

pub use page::utc;
pub use svg::escape;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::history::{Finding, History, Verdict, grouped};
use crate::timeline::Recording;

/// A figure worth a tile of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is, in two or three words.
    pub label: String,
    /// The figure with its unit.
    pub value: String,
    /// One more fact about it; may be empty.
    pub note: String,
    /// Whether it is as it should be; `None` where there is no should.
    pub good: Option<bool>,
}

/// One cutover or rollback.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CutoverRecord {
    /// For example `cutover` or `rollback`.
    pub name: String,
    /// When it began, in milliseconds of the timeline.
    pub begin_ms: f64,
    /// When it ended, in milliseconds of the timeline.
    pub end_ms: f64,
    /// Its phases in order, each with its length in milliseconds.
    pub phases: Vec<(String, f64)>,
    /// The longest latency of a statement under way meanwhile, in milliseconds.
    pub stall_ms: f64,
    /// Statements that ended within the second before it, itself, and the second after it.
    pub statements: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Orders acknowledged in the same stretch.
    pub orders: u64,
}

impl CutoverRecord {
    /// The record of a cutover that began and ended at these milliseconds of the recording.
    pub fn measured(
        name: &str,
        begin_ms: f64,
        end_ms: f64,
        phases: Vec<(String, f64)>,
        recording: &Recording,
    ) -> Self {
        let around = recording.counts_between(begin_ms - 1_000.0, end_ms + 1_000.0);
        Self {
            name: name.to_owned(),
            begin_ms,
            end_ms,
            phases,
            stall_ms: recording.stall_between_ms(begin_ms, end_ms),
            statements: around.statements,
            failed: around.failed,
            orders: around.orders,
        }
    }
}

/// One table in a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyTable {
    /// Its name.
    pub table: String,
    /// Rows compared.
    pub rows: u64,
    /// Rows that differ.
    pub different: u64,
}

/// One verification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyRecord {
    /// When in the story, for example `before the cutover`.
    pub name: String,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// Its tables.
    pub tables: Vec<VerifyTable>,
}

/// Everything the report shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportData {
    /// Heading.
    pub title: String,
    /// The outcome in one sentence.
    pub headline: String,
    /// Whether everything went as it should.
    pub good: bool,
    /// Facts about machine and servers, `(name, value)`.
    pub setting: Vec<(String, String)>,
    /// Tiles, the most important first.
    pub figures: Vec<Figure>,
    /// What the product promises, whether it held, and by what figure.
    pub promises: Vec<(String, bool, String)>,
    /// Latencies, rates and marks.
    pub recording: Recording,
    /// Cutovers and rollbacks, in order.
    pub cutovers: Vec<CutoverRecord>,
    /// Verifications, in order.
    pub verifies: Vec<VerifyRecord>,
    /// What `check` found before the move, `(is fine, line)`.
    pub checks: Vec<(bool, String)>,
    /// The order check.
    pub findings: Vec<Finding>,
}

impl ReportData {
    /// A report with everything a history and its verdict tell; the rest is empty, to be filled in.
    pub fn of(title: &str, history: &History, verdict: &Verdict) -> Self {
        let recording = history.recording.clone();
        let stall_ms = recording.longest_stall_ms();
        let failed = history.counts.failed_statements;
        let rate = history.counts.statements as f64 / (recording.duration_ms / 1e3).max(0.001);
        let figure = |label: &str, value: String, note: String, good: Option<bool>| Figure {
            label: label.to_owned(),
            value,
            note,
            good,
        };
        let lost = verdict.missing + verdict.duplicated;
        let figures = vec![
            figure("orders acknowledged", grouped(verdict.orders_acknowledged), String::new(), None),
            figure(
                "lost or doubled",
                grouped(lost),
                format!("{} outcomes unknown", grouped(verdict.orders_unknown)),
                Some(lost == 0),
            ),
            figure("longest stall", milliseconds(stall_ms), "of any one statement".to_owned(), None),
            figure("failed statements", grouped(failed), String::new(), Some(failed == 0)),
            figure(
                "statements",
                grouped(history.counts.statements),
                format!("{} per second", grouped(rate.round() as u64)),
                None,
            ),
        ];
        let good = verdict.holds() && failed == 0;
        Self {
            title: title.to_owned(),
            headline: format!(
                "{}; {} failed statements; longest stall {}",
                verdict.sentence(),
                if failed == 0 { "no".to_owned() } else { grouped(failed) },
                milliseconds(stall_ms)
            ),
            good,
            setting: Vec::new(),
            figures,
            promises: Vec::new(),
            recording,
            cutovers: Vec::new(),
            verifies: Vec::new(),
            checks: Vec::new(),
            findings: verdict.findings.clone(),
        }
    }
}

/// Writes the report.
///
/// # Errors
/// [`crate::Error::Report`] if the file cannot be written.
pub fn write_html(path: &Path, data: &ReportData) -> Result<()> {
    std::fs::write(path, page::page(data))?;
    Ok(())
}

/// A duration as people read it: three digits that count.
pub(crate) fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{ms:.2} ms"),
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms if ms < 60_000.0 => format!("{:.2} s", ms / 1e3),
        ms => format!("{} min {:.0} s", (ms / 60_000.0).floor(), ms % 60_000.0 / 1e3),
    }
}

#[cfg(test)]
mod tests;
