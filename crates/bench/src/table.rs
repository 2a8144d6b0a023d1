//! A report as a table for people.

use std::io::{self, Write};
use std::path::Path;

use crate::report::{Case, OURS, Report};

/// Prints the report and where it was written.
pub fn print(report: &Report, file: &Path) {
    let mut text = format!("\nbench-{}: {}\n\n", report.bench, report.machine.line());
    for case in &report.cases {
        text += &of_case(case);
    }
    for (name, settings) in &report.settings {
        text += &format!("{name}: {settings}\n");
    }
    for (name, flaw) in &report.flaws {
        text += &format!("{name}: {flaw}\n");
    }
    for (name, why) in &report.absent {
        text += &format!("{name} has no figures: {why}\n");
    }
    text += &format!("written to {}\n", file.display());
    // A reader that closes the pipe has seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn of_case(case: &Case) -> String {
    let mut text = format!("{} ({})\n", case.name, case.unit);
    for name in [OURS].into_iter().chain(case.peers().map(String::as_str)) {
        let Some(spread) = case.spread(name) else { continue };
        let ratio = match case.ratio(name) {
            Some(ratio) if name != OURS => format!("ours / theirs {ratio:.2}"),
            _ => String::new(),
        };
        let range = format!("{} - {}", figure(spread.min), figure(spread.max));
        let line = format!("  {name:<12}{:>10}  {range:<19} {ratio}", figure(spread.median));
        text += line.trim_end();
        text.push('\n');
    }
    text.push('\n');
    text
}

/// With as many digits as say something.
fn figure(figure: f64) -> String {
    match figure {
        f if f >= 1000.0 => format!("{f:.0}"),
        f if f >= 10.0 => format!("{f:.1}"),
        f => format!("{f:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_shows_ours_first_and_the_ratio_to_each_peer() {
        let figures = [("clone", vec![2.0, 2.0]), ("ours", vec![1.0, 12.0])];
        let figures = figures.into_iter().map(|(n, f)| (n.to_owned(), f)).collect();
        let case = Case { name: "copy".into(), unit: "s", lower_is_better: true, figures };
        let expected = "copy (s)\n  ours              6.50  1.00 - 12.0\n  clone             2.00  2.00 - 2.00         \
                        ours / theirs 3.25\n\n";
        assert_eq!(of_case(&case), expected);
    }
}
