//! What the demo proved: its promises, its figures for programs, and its report for people.

use std::path::Path;

use load::{ReportData, write_html};
use migrate::check::Outcome as Checked;
use model::Trouble;
use serde::Serialize;

use super::narrator::Narrator;
use super::story::Told;
use crate::cli::DemoArgs;

/// The default place of the report.
const REPORT: &str = "highwater-report.html";

/// How long the longest statement of a shopper may take, in milliseconds.
const STALL_MS_MAX: f64 = 500.0;

/// The judged story.
pub(super) struct Outcome {
    /// What was promised, whether it was kept, and by what figure.
    promises: Vec<(String, bool, String)>,
    /// The outcome in one sentence.
    headline: String,
    figures: Figures,
}

/// The figures that `--json` writes; the names are fixed, programs read them.
#[derive(Serialize)]
struct Figures {
    longest_stall_ms: f64,
    statements: u64,
    failed_statements: u64,
    orders_acknowledged: u64,
    orders_missing: u64,
    orders_duplicated: u64,
    rows_verified: u64,
    rows_different: u64,
    cutovers: Vec<CutoverFigures>,
}

#[derive(Serialize)]
struct CutoverFigures {
    name: String,
    longest_stall_ms: f64,
    held_ms: f64,
    phases_ms: Vec<(String, f64)>,
    statements: u64,
    failed_statements: u64,
    orders_acknowledged: u64,
    rows_verified: u64,
    rows_different: u64,
}

/// Judges the story.
pub(super) fn judge(told: &Told) -> Outcome {
    let figures = figures(told);
    let verdict = &told.verdict;
    let caught = told.check.with(Checked::Refused).any(|c| c.name == "time-zone");
    let slowest = told.crossings.iter().map(|(_, r)| r.stall_ms).fold(0.0, f64::max);
    let promise = |what: &str, kept: bool, evidence: String| (what.to_owned(), kept, evidence);
    let promises = vec![
        promise("every acknowledged order exists exactly once", verdict.holds(), verdict.sentence()),
        promise(
            "no statement fails",
            figures.failed_statements == 0,
            format!("{} of {} failed", figures.failed_statements, figures.statements),
        ),
        promise(
            "nobody waits long for a switch",
            figures.longest_stall_ms <= STALL_MS_MAX,
            format!("{slowest:.0} ms around a switch, {:.0} ms at any time", figures.longest_stall_ms),
        ),
        promise(
            "every row is equal on both servers",
            figures.rows_different == 0 && figures.rows_verified > 0,
            format!("{} rows compared, {} differ", figures.rows_verified, figures.rows_different),
        ),
        promise(
            "the time zones that do not match are caught before the copy",
            caught,
            if caught { "refused by `check`, with the fix" } else { "not refused" }.to_owned(),
        ),
    ];
    let kept = promises.iter().filter(|(_, kept, _)| *kept).count();
    let headline = format!("{kept} of {} promises kept; {}", promises.len(), verdict.sentence());
    Outcome { promises, headline, figures }
}

fn figures(told: &Told) -> Figures {
    let rows = |v: &load::VerifyRecord| v.tables.iter().map(|t| t.rows).sum::<u64>();
    let different = |v: &load::VerifyRecord| v.tables.iter().map(|t| t.different).sum::<u64>();
    let cutovers =
        told.crossings.iter().zip(&told.verifies).map(|((crossing, record), verify)| CutoverFigures {
            name: record.name.clone(),
            longest_stall_ms: record.stall_ms,
            held_ms: crossing.report.held_ms,
            phases_ms: record.phases.clone(),
            statements: record.statements,
            failed_statements: record.failed,
            orders_acknowledged: record.orders,
            rows_verified: rows(verify),
            rows_different: different(verify),
        });
    Figures {
        longest_stall_ms: told.history.recording.longest_stall_ms(),
        statements: told.history.counts.statements,
        failed_statements: told.history.counts.failed_statements,
        orders_acknowledged: told.verdict.orders_acknowledged,
        orders_missing: told.verdict.missing,
        orders_duplicated: told.verdict.duplicated,
        rows_verified: told.verifies.iter().map(rows).sum(),
        rows_different: told.verifies.iter().map(different).sum(),
        cutovers: cutovers.collect(),
    }
}

impl Outcome {
    /// Writes the report, and the figures if they are wanted.
    pub(super) fn write(&self, args: &DemoArgs, told: &Told) -> Result<(), Trouble> {
        let failed = |file: &Path, e: &dyn std::fmt::Display| {
            let what = format!("cannot write {}: {e}", file.display());
            Trouble::new(what, "the demo is over; its figures are above", "choose another file")
        };
        let path = args.report.as_deref().unwrap_or(Path::new(REPORT));
        write_html(path, &self.report(told)).map_err(|e| failed(path, &e))?;
        if let Some(file) = &args.json {
            let text = serde_json::to_string_pretty(&self.figures).expect("figures have only string keys");
            std::fs::write(file, text + "\n").map_err(|e| failed(file, &e))?;
        }
        Ok(())
    }

    fn report(&self, told: &Told) -> ReportData {
        let title = "A shop moves to another server and back";
        let mut report = ReportData::of(title, &told.history, &told.verdict);
        report.good = self.promises.iter().all(|(_, kept, _)| *kept);
        report.promises.clone_from(&self.promises);
        report.cutovers = told.crossings.iter().map(|(_, record)| record.clone()).collect();
        report.verifies.clone_from(&told.verifies);
        report.setting = vec![
            ("servers".to_owned(), format!("two MySQL {} on this machine, sync_binlog=1", told.version)),
            ("shop".to_owned(), format!("{} rows", told.rows)),
            ("shoppers".to_owned(), format!("{}, through the front door", told.shoppers)),
        ];
        report.checks = told
            .check
            .checks
            .iter()
            .filter(|c| c.outcome != Checked::Passed)
            .map(|c| (c.outcome != Checked::Refused, format!("{}: {}", c.name, c.evidence)))
            .collect();
        report
    }

    /// Says how it ended.
    pub(super) fn narrate(&self, narrator: &Narrator) {
        narrator.chapter("What was promised");
        for (promise, kept, evidence) in &self.promises {
            narrator.promise(*kept, promise, evidence);
        }
        narrator.chapter(&self.headline);
    }

    /// Success if every promise was kept.
    pub(super) fn verdict(&self) -> Result<(), Trouble> {
        let broken: Vec<&str> =
            self.promises.iter().filter(|(_, kept, _)| !kept).map(|(what, ..)| what.as_str()).collect();
        if broken.is_empty() {
            return Ok(());
        }
        Err(Trouble::new(
            format!("promises were broken: {}", broken.join("; ")),
            "the demo's servers are ended; the report is written",
            "open the report; run again with the seed printed above to see whether it happens again",
        ))
    }
}
