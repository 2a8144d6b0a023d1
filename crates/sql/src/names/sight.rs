//! The pieces of a text as far as it can be seen.

use crate::lexer::{Kind, Lexer, Token, is_blank};
use crate::reading::Reading;

/// Pulls the pieces that say something, and stops where it cannot be sure to read as the server does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight<'a> {
    lexer: Lexer<'a>,
    /// Where the first byte is that may hide another one.
    hidden: usize,
    /// From here on it has not read.
    at: usize,
    text: &'a [u8],
    /// From `at` on nothing can be told.
    pub blind: bool,
}

impl<'a> Sight<'a> {
    pub fn new(text: &'a [u8], reading: Reading) -> Self {
        let hidden = match reading.letters.may_hide() {
            true => text.iter().position(|b| *b >= 0x80).unwrap_or(usize::MAX),
            false => usize::MAX,
        };
        Self { lexer: Lexer::new(text, reading), hidden, at: 0, text, blind: false }
    }

    /// What has not been seen.
    pub fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// Whether a dot may come next.
    #[inline]
    pub fn may_come_to_a_dot(&self) -> bool {
        let next = self.lexer.rest().iter().find(|b| !is_blank(**b));
        // Behind a comment, perhaps.
        matches!(next, Some(b'.' | b'/' | b'-' | b'#'))
    }

    /// The next piece; `None` at the end, or where it goes blind.
    #[inline]
    pub fn next(&mut self) -> Option<Token<'a>> {
        while !self.blind {
            let token = self.lexer.next_dense()?;
            let end = self.lexer.at();
            if end > self.hidden {
                self.at = self.hidden;
                self.blind = true;
            } else if matches!(token.kind, Kind::Open | Kind::Doubt)
                || token.kind == Kind::Word && token.text[0] == b'$'
            {
                // What is in a comment of code may run or not, as the server's version has it.
                self.blind = true;
            } else {
                self.at = end;
                match token.kind {
                    Kind::Blank | Kind::Comment => {}
                    // Without an end it is none, and nor is the statement.
                    _ if !token.whole => return None,
                    _ => return Some(token),
                }
            }
        }
        None
    }
}
