//! Progress on stderr: a bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::control::ProgressUpdate;

/// Shows the updates of one piece of work, until dropped.
#[derive(Debug)]
pub struct ProgressDisplay(Shown);

#[derive(Debug)]
enum Shown {
    Nothing,
    Bar { bar: ProgressBar, phase: String },
    Lines(Pace),
}

impl ProgressDisplay {
    /// A display that suits stderr; one that shows nothing if `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self(match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Shown::Nothing,
            (false, true) => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                Shown::Bar { bar, phase: String::new() }
            }
            (false, false) => Shown::Lines(Pace::default()),
        })
    }

    /// Shows one update.
    pub fn show(&mut self, update: &ProgressUpdate) {
        match &mut self.0 {
            Shown::Nothing => {}
            Shown::Lines(pace) => {
                if let Some(line) = pace.line(update, Instant::now()) {
                    // Progress that cannot be shown is no reason to fail the work.
                    let _ = writeln!(std::io::stderr().lock(), "{line}");
                }
            }
            Shown::Bar { bar, phase } => match update {
                ProgressUpdate::Line(line) => bar.suspend(|| {
                    let _ = writeln!(std::io::stderr().lock(), "{line}");
                }),
                ProgressUpdate::Step { phase: now, done, total, unit } => {
                    if phase != now {
                        phase.clone_from(now);
                        bar.reset();
                    }
                    bar.set_style(bar_style(*total));
                    if let Some(total) = total {
                        bar.set_length(*total);
                    }
                    bar.set_prefix(now.clone());
                    bar.set_message(unit.clone());
                    bar.set_position(*done);
                }
            },
        }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        if let Shown::Bar { bar, .. } = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn bar_style(total: Option<u64>) -> ProgressStyle {
    let template = match total {
        Some(_) => {
            "{prefix:10} [{bar:30}] {percent:>3}%  {human_pos} of {human_len} {msg}  {per_sec}  eta {eta}"
        }
        None => "{prefix:10} {human_pos} {msg}  {per_sec}",
    };
    ProgressStyle::with_template(template).expect("the templates are ours").progress_chars("=> ")
}

/// Between two lines of one phase.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Turns updates into lines for logs: of one phase at most one a second, but always its first and its last.
#[derive(Debug, Default)]
struct Pace {
    phase: String,
    last: Option<Instant>,
}

impl Pace {
    fn line(&mut self, update: &ProgressUpdate, now: Instant) -> Option<String> {
        let (phase, done, total, unit) = match update {
            ProgressUpdate::Line(line) => return Some(line.clone()),
            ProgressUpdate::Step { phase, done, total, unit } => (phase, done, total, unit),
        };
        let waited = self.last.is_none_or(|last| now.duration_since(last) >= LINE_INTERVAL);
        if *phase == self.phase && !waited && *total != Some(*done) {
            return None;
        }
        self.phase.clone_from(phase);
        self.last = Some(now);
        Some(match total {
            Some(total) => format!("{phase}: {done} of {total} {unit}"),
            None => format!("{phase}: {done} {unit}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_phase_come_at_most_once_a_second() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut at = |ms: u64, phase: &str, done: u64| {
            let update =
                ProgressUpdate::Step { phase: phase.into(), done, total: Some(9), unit: "rows".into() };
            pace.line(&update, start + Duration::from_millis(ms))
        };
        assert_eq!(at(0, "copy", 1).as_deref(), Some("copy: 1 of 9 rows"));
        assert_eq!(at(500, "copy", 2), None);
        assert_eq!(at(1000, "copy", 3).as_deref(), Some("copy: 3 of 9 rows"));
        assert_eq!(at(1001, "copy", 9).as_deref(), Some("copy: 9 of 9 rows"));
        assert_eq!(at(1002, "verify", 0).as_deref(), Some("verify: 0 of 9 rows"));
    }

    #[test]
    fn sentences_are_always_shown() {
        let mut pace = Pace::default();
        let update = ProgressUpdate::Line("held 12 clients".into());
        let now = Instant::now();
        assert_eq!((0..2).filter_map(|_| pace.line(&update, now)).count(), 2);
    }
}
