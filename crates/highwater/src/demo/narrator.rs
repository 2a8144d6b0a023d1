//! What the demo says while it goes on: chapters, sentences, and a live line that is redrawn on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::output::Colour;

/// Where nothing can be redrawn, a live line is printed this often.
const PLAIN_LIVE: Duration = Duration::from_secs(2);

/// Speaks to stdout. What cannot be written is not worth failing for.
pub(super) struct Narrator {
    began: Instant,
    terminal: bool,
    colour: Colour,
    last_live: Mutex<Option<Instant>>,
}

impl Narrator {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            terminal: std::io::stdout().is_terminal(),
            colour: Colour::of_stdout(),
            last_live: Mutex::new(None),
        }
    }

    /// A new part of the story begins.
    pub(super) fn chapter(&self, title: &str) {
        self.write(&format!("\n{}\n", self.colour.paint(1, title)));
    }

    /// One sentence, with the time since the beginning.
    pub(super) fn say(&self, sentence: &str) {
        self.write(&format!("{:>6.1} s  {sentence}\n", self.began.elapsed().as_secs_f64()));
    }

    /// Lines as they are, indented.
    pub(super) fn quote(&self, text: &str) {
        let lines: String = text.lines().map(|l| format!("          {l}\n")).collect();
        self.write(&lines);
    }

    /// What is going on right now; replaces the line before it where that is possible.
    pub(super) fn live(&self, line: &str) {
        let mut last = self.last_live.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let line = format!("{:>6.1} s  {line}", self.began.elapsed().as_secs_f64());
        if self.terminal {
            let _ = write!(std::io::stdout().lock(), "\r\x1b[K{line}");
            let _ = std::io::stdout().flush();
        } else if last.is_none_or(|at| at.elapsed() >= PLAIN_LIVE) {
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        } else {
            return;
        }
        *last = Some(Instant::now());
    }

    fn write(&self, text: &str) {
        let erase = if self.terminal { "\r\x1b[K" } else { "" };
        let _ = write!(std::io::stdout().lock(), "{erase}{text}");
        let _ = std::io::stdout().flush();
    }

    /// Whether a promise was kept, and the evidence.
    pub(super) fn promise(&self, kept: bool, promise: &str, evidence: &str) {
        let (colour, word) = if kept { (32, "kept  ") } else { (31, "BROKEN") };
        self.write(&format!("  {}  {promise}: {evidence}\n", self.colour.paint(colour, word)));
    }
}
