//! A report as a table on a terminal, to be read at three in the morning.
//!
//! What passed comes first and in one line each; what was refused comes last, next to the prompt, with the statement to
//! run on a line of its own, never wrapped, so that it can be copied.

use super::report::{Check, CheckReport, Outcome};

/// Whether to add the terminal's colour codes. Without them nothing is lost: the outcome is always a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paint {
    Plain,
    Coloured,
}

/// The narrowest table that still reads well, in columns.
const WIDTH_MIN: usize = 60;

impl CheckReport {
    /// The report as a table at most `width` columns wide (statements to run may be wider), without colour.
    pub fn render_table(&self, width: usize) -> String {
        self.render(width, Paint::Plain)
    }

    /// The same with colour.
    pub fn render_table_in_colour(&self, width: usize) -> String {
        self.render(width, Paint::Coloured)
    }

    fn render(&self, width: usize, paint: Paint) -> String {
        let name_width = self.checks.iter().map(|c| c.name.len()).max().unwrap_or(0);
        let mut out = String::new();
        for outcome in [Outcome::Passed, Outcome::Warned, Outcome::Refused] {
            let mut any = false;
            for check in self.with(outcome) {
                render_check(&mut out, check, name_width, width.max(WIDTH_MIN), paint);
                any = true;
            }
            if any && outcome == Outcome::Passed {
                out.push('\n');
            }
        }
        let (refused, warned, passed) = (self.refused(), self.warned(), self.passed());
        out.push_str(&format!("{refused} refused, {warned} warned, {passed} passed\n"));
        out
    }
}

impl std::fmt::Display for CheckReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render_table(100))
    }
}

fn render_check(out: &mut String, check: &Check, name_width: usize, width: usize, paint: Paint) {
    // The outcome's and the side's words take up to seven and six letters.
    let indent = 7 + 2 + 6 + 2 + name_width + 2;
    let room = width.saturating_sub(indent).max(24);
    let word = word(check.outcome, paint);
    let head = format!("{word}  {:<6}  {:<name_width$}  ", check.side.word(), check.name);
    push_wrapped(out, &head, indent, room, &check.evidence);
    if check.outcome == Outcome::Passed {
        return;
    }
    // Under the side's word, not under the evidence: statements need the room.
    push_wrapped(out, "         why:  ", 15, width.saturating_sub(15), check.why);
    for (n, line) in check.fix.iter().flat_map(|fix| fix.lines()).enumerate() {
        out.push_str(if n == 0 { "         fix:  " } else { "               " });
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
}

/// The outcome in seven columns.
fn word(outcome: Outcome, paint: Paint) -> String {
    let (text, code) = match outcome {
        Outcome::Passed => ("passed ", 32),
        Outcome::Warned => ("WARNED ", 33),
        Outcome::Refused => ("REFUSED", 31),
    };
    match paint {
        Paint::Plain => text.to_owned(),
        Paint::Coloured => format!("\x1b[1;{code}m{text}\x1b[0m"),
    }
}

fn push_wrapped(out: &mut String, head: &str, indent: usize, room: usize, text: &str) {
    for (n, line) in text.split('\n').flat_map(|line| wrapped(line, room)).enumerate() {
        match n {
            0 => out.push_str(head),
            _ => out.extend(std::iter::repeat_n(' ', indent)),
        }
        out.push_str(&line);
        out.push('\n');
    }
}

/// Breaks at spaces; a word longer than a line is cut.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + letters.len() > room {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        for piece in letters.chunks(room) {
            if used > 0 && used + 1 + piece.len() > room {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.extend(piece);
            used += piece.len();
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::super::report::Side;
    use super::*;

    fn report() -> CheckReport {
        let check = |name, outcome, evidence: &str, fix: Option<&str>| Check {
            name,
            side: Side::Source,
            outcome,
            evidence: evidence.into(),
            fix: fix.map(str::to_owned),
            why: "changes logged as statements cannot be applied exactly",
            accepted: false,
        };
        let checks = vec![
            check(
                "binlog-format",
                Outcome::Refused,
                "binlog_format = STATEMENT",
                Some("SET PERSIST a;\n-- reconnect"),
            ),
            check("tables-exist", Outcome::Passed, "12 tables", None),
            check(
                "events",
                Outcome::Warned,
                "shop.nightly_sweep, shop.hourly_report, shop.weekly_digest",
                Some("x"),
            ),
        ];
        CheckReport { checks }
    }

    #[test]
    fn refusals_come_last_with_their_fix_on_its_own_line() {
        let expected = "\
passed   source  tables-exist   12 tables

WARNED   source  events         shop.nightly_sweep,
                                shop.hourly_report,
                                shop.weekly_digest
         why:  changes logged as statements cannot be
               applied exactly
         fix:  x

REFUSED  source  binlog-format  binlog_format = STATEMENT
         why:  changes logged as statements cannot be
               applied exactly
         fix:  SET PERSIST a;
               -- reconnect

1 refused, 1 warned, 1 passed
";
        assert_eq!(report().render_table(60), expected);
    }

    #[test]
    fn colour_adds_codes_and_nothing_else() {
        let coloured = report().render_table_in_colour(100);
        assert!(coloured.contains("\x1b[1;31mREFUSED\x1b[0m  source  binlog-format"));
        let mut plain = coloured;
        for code in ["\x1b[1;31m", "\x1b[1;32m", "\x1b[1;33m", "\x1b[0m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, report().to_string());
    }

    #[test]
    fn each_thing_that_was_seen_begins_a_line() {
        let mut out = String::new();
        push_wrapped(&mut out, "seen: ", 6, 9, "one\ntwo three four\nfive");
        assert_eq!(out, "seen: one\n      two three\n      four\n      five\n");
    }

    #[test]
    fn lines_break_at_spaces_and_long_words_are_cut() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
