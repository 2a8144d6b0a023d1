//! When output has colour: on a terminal, unless `NO_COLOR` or a dumb terminal says otherwise.

use std::io::IsTerminal;

/// Whether to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Words that matter are coloured.
    On,
    /// Plain text.
    Off,
}

impl Colour {
    /// What suits stdout.
    pub fn of_stdout() -> Self {
        Self::of(&std::io::stdout())
    }

    /// What suits stderr.
    pub fn of_stderr() -> Self {
        Self::of(&std::io::stderr())
    }

    fn of(stream: &impl IsTerminal) -> Self {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if stream.is_terminal() && !forbidden && !dumb { Self::On } else { Self::Off }
    }

    /// The text in a colour, given as the terminal's code for it: 31 red, 33 yellow, 36 cyan.
    pub fn paint(self, code: u8, text: &str) -> String {
        match self {
            Self::On => format!("\x1b[1;{code}m{text}\x1b[0m"),
            Self::Off => text.to_owned(),
        }
    }
}
