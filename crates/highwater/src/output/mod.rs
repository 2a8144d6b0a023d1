//! What people and programs see: answers on stdout, everything else on stderr.
//!
//! Invariant: the output reads the same without colour, and a reader that closes the pipe has had what it wanted.

mod answer;
mod colour;
mod complaint;
mod digests;
mod progress;
mod repair;
mod status;
mod survey;
mod table;
mod verification;

use std::io::{ErrorKind, Write};

use model::Trouble;
use serde::Serialize;

pub use answer::render as render_answer;
pub use colour::Colour;
pub use complaint::{complain, render as render_trouble};
pub use digests::{render as render_digests, top as top_digests};
pub use progress::ProgressDisplay;
pub use repair::{render_plan as render_repair_plan, render_report as render_repair_report};
pub use status::{render as render_status, render_pins};
pub use survey::render as render_survey;
pub(crate) use table::grouped;
pub use verification::{render as render_verification, render_comparison};

/// Whether anybody still reads what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// It was written.
    Reads,
    /// The other end of the pipe is closed, as `head` does; there is nothing more to print.
    Gone,
}

/// Prints text on stdout.
///
/// # Errors
/// If it cannot be written, other than because nobody reads it.
pub fn print(text: &str) -> Result<Reader, Trouble> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Trouble::new(
            format!("cannot write the answer: {error}"),
            "what was asked for is done; only its answer could not be written",
            "check where stdout goes",
        )),
    }
}

/// Tells text on stderr, where it is beside the answer and not part of it.
pub fn tell(text: &str) {
    // A question nobody can read is not answered with yes.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints one line of JSON on stdout.
///
/// # Errors
/// As [`print`].
pub fn print_json(value: &impl Serialize) -> Result<Reader, Trouble> {
    let line = serde_json::to_string(value).expect("answers have only string keys");
    print(&format!("{line}\n"))
}
