//! An error as an operator reads it: three parts, aligned.

use std::io::Write;

use model::Trouble;

use super::Colour;

/// Writes a trouble on stderr.
pub fn complain(trouble: &Trouble) {
    // Nobody is left to tell if stderr cannot be written; the exit code still tells.
    let _ = std::io::stderr().lock().write_all(render(trouble, Colour::of_stderr()).as_bytes());
}

/// The three parts, a line or more each.
pub fn render(trouble: &Trouble, colour: Colour) -> String {
    let part = |label: &str, code: u8, text: &str| {
        // Continued lines line up with the first; control characters of a server's message stay out of the terminal.
        let text: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
        format!("{} {}\n", colour.paint(code, label), text.trim_end().replace('\n', "\n       "))
    };
    part("error:", 31, &trouble.what)
        + &part("state:", 33, &trouble.state)
        + &part("hint: ", 36, &trouble.hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_parts_line_up() {
        let trouble = Trouble::new(
            "cannot start cutover: target is 4.2 s behind, the limit is 1.0 s",
            "nothing was changed;\ntraffic is on the source",
            "wait, or raise `cutover.lag_max`\x1b[2J",
        );
        assert_eq!(
            render(&trouble, Colour::Off),
            "error: cannot start cutover: target is 4.2 s behind, the limit is 1.0 s\n\
             state: nothing was changed;\n       traffic is on the source\n\
             hint:  wait, or raise `cutover.lag_max`[2J\n"
        );
    }

    #[test]
    fn colour_covers_the_labels_only() {
        let trouble = Trouble::new("a", "b", "c");
        assert_eq!(
            render(&trouble, Colour::On),
            "\x1b[1;31merror:\x1b[0m a\n\x1b[1;33mstate:\x1b[0m b\n\x1b[1;36mhint: \x1b[0m c\n"
        );
    }
}
