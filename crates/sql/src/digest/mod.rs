//! A statement's digest: its text with every value taken out, so that statements that differ in nothing else are one.
//!
//! | as written | as it counts |
//! |---|---|
//! | `'x'`, `"x"`, `5`, `-1.5e3`, `0xAF`, `x'AF'`, `_latin1'x'`, a parameter; `NULL` or `TRUE` where a value stands | `?` |
//! | `(1, 2, 'c')`, of whatever length | `(...)` |
//! | `(1, now()), (2, now())` | one such row |
//! | white space, comments, the marks of `/*!80000 ... */` | nothing, or one blank |
//! | `select`, `SELECT`; `` `t` ``, `t` | the same; the text that is shown is the first one's |
//!
//! Invariant: nothing between quotes that can be a value is shown, whatever `sql_mode` the session has: with `ANSI_QUOTES` a name
//! in double quotes counts as a value. Where it cannot be told what is between quotes no text is shown at all: in a character set in which half a
//! character can be a backslash, such as gbk or sjis; with dollar quotes; with a comment that some servers run and others pass over,
//! if quotes or comments begin in it and do not end there.
//!
//! Two texts that count as the same have the same hash because both come from the same tokens, in one pass that allocates nothing;
//! the text to be shown comes from a second pass, made once per digest.
mod fold;

use crate::reading::Reading;
use fold::Fold;

/// Bytes of a digest's text that are kept.
const SHOWN_MAX: usize = 1024;
/// What is shown instead of a text in which values cannot be told from the rest.
const HIDDEN: &str = "(in a character set whose values cannot be taken out)";
/// The same, of a text that servers read differently.
const DOUBTFUL: &str = "(with quotes or comments that not every server reads alike)";

/// What a digest is taken of.
#[derive(Debug, Clone, Copy)]
pub struct Sql<'a> {
    /// The statement, or its beginning.
    pub text: &'a [u8],
    /// How the session's server reads it.
    pub reading: Reading,
    /// Whether the text is all of the statement.
    pub whole: bool,
}

impl Sql<'_> {
    /// The hash that tells digests apart; never 0.
    pub fn digest(self) -> u64 {
        let mut fold = Fold::<false>::new();
        fold.read(self);
        fold.hash.max(1)
    }

    /// The text with its values taken out, cut where it is too long to be kept.
    pub fn shown(self) -> String {
        if self.reading.letters.may_hide() {
            return HIDDEN.to_owned();
        }
        let mut fold = Fold::<true>::new();
        fold.read(self);
        if fold.doubtful {
            return DOUBTFUL.to_owned();
        }
        let mut shown: String = String::from_utf8_lossy(&fold.shown)
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect();
        if fold.len > fold.shown.len() || !self.whole {
            shown.push_str(" ...");
        }
        shown
    }
}

#[cfg(test)]
mod tests;
