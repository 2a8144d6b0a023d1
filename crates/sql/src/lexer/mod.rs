//! The pieces of a statement's text, parted where MySQL's own lexer parts them.
//!
//! | as written | here |
//! |---|---|
//! | letters, digits, `_`, `$`, what is above 0x7F | a word: keyword, name or number, whose point and sign are signs |
//! | `'x'`, `"x"` | a text; with `ANSI_QUOTES` the second is a name |
//! | `` `x` `` | a name |
//! | `# x`, `-- x`, `/* x */` | comments |
//! | `/*!50000`, `/*!`, and their `*/` | the marks of a comment that is code |
//! | `$$`, `$x$`; `--` before what may be white space; a zero byte | what nobody can tell who knows no more than the reading |
//! | `_latin1'x'`, `N'x'`, `x'AF'` | a word, and a text |
//!
//! Every byte belongs to a piece, in order; a piece is a slice of the text, and nothing is allocated. The facts are of sql/sql_lex.cc
//! (`lex_one_token`, `consume_comment`), tried on 9.7.4: `--` needs a blank or a control character behind it; a version is
//! five digits, or six with a blank behind them (not before 9.0); other digits are code; a comment that is code may hold others, and the first
//! `*/` outside of those ends all of it; one that is passed over may hold one level of comments; backslashes escape in texts only.
//!
//! How careful one has to be about what cannot be told is the user's affair: the front door's readers look at more than there
//! may be, and the reader of the binary log stops.

mod token;

use crate::reading::Reading;
pub use token::{Kind, Token};

/// What a text ends in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Within {
    /// Nothing.
    Code,
    /// A word too long to be kept.
    Word,
    /// A comment of a line.
    Line,
    /// A comment.
    Block,
    /// A comment of code that is passed over, and perhaps one within it.
    Skipped { nested: bool },
    /// Quotes.
    Quotes(u8),
}

/// Parts a text into its pieces.
#[derive(Debug, Clone, Copy)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    reading: Reading,
    /// Comments of code are code up to this version.
    runs: u32,
    executing: bool,
    within: Within,
    /// The text goes on behind its end.
    goes_on: bool,
    /// It does, or words have to be read letter by letter, or it is in a comment of code.
    odd: bool,
}

/// The longest word that is kept whole where a text is read in parts.
pub(crate) const WORD_MAX: usize = 64;

impl<'a> Lexer<'a> {
    /// At the beginning of a text.
    pub fn new(text: &'a [u8], reading: Reading) -> Self {
        Self {
            text,
            at: 0,
            reading,
            runs: u32::MAX,
            executing: false,
            within: Within::Code,
            goes_on: false,
            odd: reading.letters.longest() > 1,
        }
    }

    /// As a server of this version reads it; without, comments of code are code, whatever their version is.
    pub fn for_version(self, version: u32) -> Self {
        Self { runs: version, ..self }
    }

    /// On a part of a text that is not its last: stops before what cannot be told without the next one.
    pub(crate) fn part(text: &'a [u8], reading: Reading, before: (Within, bool)) -> Self {
        Self { within: before.0, executing: before.1, goes_on: true, odd: true, ..Self::new(text, reading) }
    }

    /// The same, but the text ends where it ends.
    pub(crate) fn last(self) -> Self {
        Self { goes_on: false, ..self }
    }

    /// The same at a place before, inside of a comment of code or not.
    pub(crate) fn back_to(self, at: usize, executing: bool) -> Self {
        let there = Self { at, executing, ..self };
        Self { odd: there.is_odd(), ..there }
    }

    fn is_odd(&self) -> bool {
        self.executing || self.goes_on || self.within != Within::Code || self.reading.letters.longest() > 1
    }

    /// Where it is, for [`Lexer::part`] on what follows.
    pub(crate) fn state(&self) -> (Within, bool) {
        (self.within, self.executing)
    }

    /// Where the next piece begins.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Goes on from elsewhere: behind a number, an operator.
    pub fn move_to(&mut self, at: usize) {
        self.at = at;
    }

    /// Whether it is in a comment of code.
    pub fn in_code_comment(&self) -> bool {
        self.executing
    }

    /// Behind the mark of a comment of code: whether a server that passes over the comment goes on elsewhere than one that
    /// runs it, or within what is a text, a name or a comment to that one.
    pub fn is_torn(&self) -> bool {
        let mut passed_over = *self;
        if !passed_over.end_of_skipped(false) {
            return true;
        }
        let mut run = Self { text: &self.text[..passed_over.at], ..*self };
        while let Some(token) = run.next() {
            if token.kind == Kind::Close {
                return run.at != passed_over.at;
            }
        }
        true
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// Whether the byte so far ahead is missing because it comes in the next part.
    fn lacks(&self, ahead: usize) -> bool {
        self.goes_on && self.at + ahead >= self.text.len()
    }

    fn take(&mut self, kind: Kind, len: usize) -> Token<'a> {
        let from = self.at;
        self.at += len;
        Token { kind, text: &self.text[from..self.at], whole: true }
    }

    /// The number of bytes from here on that are like this.
    fn run(&self, is: impl Fn(u8) -> bool) -> usize {
        self.rest().iter().take_while(|b| is(**b)).count()
    }

    /// The next piece; `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "it is copied to look ahead, which an iterator hides")]
    #[inline(always)]
    pub fn next(&mut self) -> Option<Token<'a>> {
        // Nearly every piece is one of these three.
        let from = self.at;
        let first = *self.text.get(from)?;
        let class = CLASSES[usize::from(first)];
        // A word that begins with a dollar may be no word.
        if self.odd || class == Class::Other || first == b'$' {
            return self.any();
        }
        if class == Class::Quote {
            return Some(self.quoted(Kind::Text, b'\''));
        }
        let mut end = from + 1;
        if class != Class::Sign {
            while self.text.get(end).is_some_and(|b| CLASSES[usize::from(*b)] == class) {
                end += 1;
            }
        }
        self.at = end;
        let kind = match class {
            Class::Word => Kind::Word,
            Class::Blank => Kind::Blank,
            _ => Kind::Sign,
        };
        Some(Token { kind, text: self.text.get(from..end)?, whole: true })
    }

    /// The next piece, mostly one that is no white space: for who passes over that.
    #[inline(always)]
    pub fn next_dense(&mut self) -> Option<Token<'a>> {
        if !self.odd {
            while self.text.get(self.at).is_some_and(|b| CLASSES[usize::from(*b)] == Class::Blank) {
                self.at += 1;
            }
        }
        self.next()
    }

    /// The next piece, whatever it is.
    fn any(&mut self) -> Option<Token<'a>> {
        if self.within != Within::Code {
            return self.resume();
        }
        Some(match self.peek(0)? {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'$' | 0x80.. => return self.word(),
            b' ' | b'\t'..=b'\r' => self.take(Kind::Blank, self.run(is_blank)),
            b'"' if self.reading.ansi_quotes => self.quoted(Kind::Name, b'"'),
            quote @ (b'\'' | b'"') => self.quoted(Kind::Text, quote),
            b'`' => self.quoted(Kind::Name, b'`'),
            b'#' => self.line(1),
            b'-' => return self.dash(),
            b'/' => return self.slash(),
            b'*' if self.executing && self.lacks(1) => return None,
            b'*' if self.executing && self.peek(1) == Some(b'/') => {
                self.executing = false;
                self.odd = self.is_odd();
                self.take(Kind::Close, 2)
            }
            // As the last byte it is the end.
            0 if self.lacks(1) => return None,
            0 if self.peek(1).is_some() => self.take(Kind::Doubt, 1),
            _ => self.take(Kind::Sign, 1),
        })
    }

    #[inline]
    fn word(&mut self) -> Option<Token<'a>> {
        let (len, open) = self.word_length();
        if open {
            if len <= WORD_MAX {
                return None;
            }
            self.within = Within::Word;
        }
        let token = self.take(Kind::Word, len);
        let dollars = token.text[0] == b'$' && token.text[1..].contains(&b'$');
        Some(Token { kind: if dollars { Kind::Doubt } else { Kind::Word }, ..token })
    }

    /// How long the word here is, and whether the next part may go on with it.
    #[inline]
    fn word_length(&self) -> (usize, bool) {
        if self.reading.letters.longest() == 1 {
            let len = self.run(is_word);
            return (len, self.lacks(len));
        }
        let mut len = 0;
        while let Some(b) = self.peek(len).filter(|b| is_word(*b)) {
            match self.letter(self.at + len, b) {
                Some(bytes) => len += bytes,
                None => return (len, true),
            }
        }
        (len, self.lacks(len))
    }

    /// Bytes of the letter there; `None` if the next part has to tell.
    #[inline]
    fn letter(&self, at: usize, b: u8) -> Option<usize> {
        let longest = self.reading.letters.longest();
        if b < 0x80 || longest == 1 {
            return Some(1);
        }
        let rest = &self.text[at..];
        if self.goes_on && rest.len() < longest { None } else { Some(self.reading.letters.length(rest)) }
    }

    fn quoted(&mut self, kind: Kind, quote: u8) -> Token<'a> {
        let from = self.at;
        self.at += 1;
        let whole = self.end_of_quotes(quote, kind == Kind::Text);
        Token { kind, text: &self.text[from..self.at], whole }
    }

    /// Goes behind the closing quote, or to the end (in a part: to what the next one has to tell).
    #[inline]
    fn end_of_quotes(&mut self, quote: u8, text: bool) -> bool {
        let long = self.reading.letters.longest() > 1;
        let escape = if text && self.reading.backslash { b'\\' } else { quote };
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let plain = match long {
                false => rest.iter().position(|b| *b == quote || *b == escape),
                true => rest.iter().position(|b| *b == quote || *b == escape || *b >= 0x80),
            };
            let Some(plain) = plain else {
                self.at = self.text.len();
                break;
            };
            self.at += plain;
            self.at += match rest[plain] {
                b if b == quote => {
                    // Where a part ends, what may be a doubled quote is an end and a beginning.
                    if self.peek(1) != Some(quote) {
                        self.at += 1;
                        self.within = Within::Code;
                        return true;
                    }
                    2
                }
                // One byte, even if a letter of several begins with it.
                b'\\' if self.lacks(1) => break,
                b'\\' => 2.min(rest.len() - plain),
                b => match self.letter(self.at, b) {
                    Some(bytes) => bytes,
                    None => break,
                },
            };
        }
        self.within = Within::Quotes(quote);
        false
    }

    /// A comment that ends with its line.
    fn line(&mut self, mark: usize) -> Token<'a> {
        let from = self.at;
        self.at += mark;
        let whole = self.end_of_line();
        Token { kind: Kind::Comment, text: &self.text[from..self.at], whole }
    }

    fn end_of_line(&mut self) -> bool {
        match self.rest().iter().position(|b| *b == b'\n') {
            Some(n) => self.at += n + 1,
            None => self.at = self.text.len(),
        }
        let open = self.goes_on && self.text.last() != Some(&b'\n');
        let open = open && self.at == self.text.len();
        self.within = if open { Within::Line } else { Within::Code };
        !open
    }

    fn dash(&mut self) -> Option<Token<'a>> {
        if self.lacks(1) || self.peek(1) == Some(b'-') && self.lacks(2) {
            return None;
        }
        Some(match (self.peek(1), self.peek(2)) {
            (Some(b'-'), None | Some(0..=b' ')) => self.line(2),
            (Some(b'-'), Some(0x7F..)) if self.reading.letters.may_part() => self.take(Kind::Doubt, 2),
            (Some(b'-'), Some(0x7F)) => self.line(2),
            _ => self.take(Kind::Sign, 1),
        })
    }

    fn slash(&mut self) -> Option<Token<'a>> {
        if self.lacks(1) || self.peek(1) == Some(b'*') && self.lacks(2) {
            return None;
        }
        match (self.peek(1), self.peek(2)) {
            (Some(b'*'), Some(b'!')) => self.code_comment(),
            (Some(b'*'), _) => {
                let from = self.at;
                self.at += 2;
                let whole = self.end_of_block();
                Some(Token { kind: Kind::Comment, text: &self.text[from..self.at], whole })
            }
            _ => Some(self.take(Kind::Sign, 1)),
        }
    }

    fn code_comment(&mut self) -> Option<Token<'a>> {
        let digits = self.text[self.at + 3..].iter().take(6).take_while(|b| b.is_ascii_digit()).count();
        if self.lacks(3 + digits) {
            return None;
        }
        let digits = match digits {
            6 if self.peek(9).is_some_and(is_blank) => 6,
            5 | 6 => 5,
            _ => 0,
        };
        let from = self.at;
        let mark = self.take(Kind::Open, 3 + digits);
        if mark.version().is_some_and(|version| version > self.runs) {
            let whole = self.end_of_skipped(false);
            return Some(Token { kind: Kind::Comment, text: &self.text[from..self.at], whole });
        }
        self.executing = true;
        self.odd = true;
        Some(mark)
    }

    fn end_of_block(&mut self) -> bool {
        let rest = self.rest();
        match rest.windows(2).position(|w| w == b"*/") {
            Some(n) => {
                self.at += n + 2;
                self.within = Within::Code;
                true
            }
            None => {
                let star = self.goes_on && rest.last() == Some(&b'*');
                self.at = self.text.len() - usize::from(star);
                self.within = Within::Block;
                false
            }
        }
    }

    /// Goes behind the end of a comment of code that is passed over.
    fn end_of_skipped(&mut self, mut nested: bool) -> bool {
        while let Some(b) = self.peek(0) {
            if matches!(b, b'*' | b'/') && self.lacks(1) {
                break;
            }
            match (b, self.peek(1)) {
                (b'*', Some(b'/')) => {
                    self.at += 2;
                    if !nested {
                        self.within = Within::Code;
                        return true;
                    }
                    nested = false;
                }
                (b'/', Some(b'*')) if !nested => {
                    self.at += 2;
                    nested = true;
                }
                _ => self.at += 1,
            }
        }
        self.within = Within::Skipped { nested };
        false
    }

    /// The rest of what the part before ended in.
    #[cold]
    fn resume(&mut self) -> Option<Token<'a>> {
        let from = self.at;
        if from >= self.text.len() {
            return None;
        }
        let whole = match self.within {
            Within::Line => self.end_of_line(),
            Within::Block => self.end_of_block(),
            Within::Skipped { nested } => self.end_of_skipped(nested),
            Within::Quotes(quote) => {
                self.end_of_quotes(quote, quote == b'\'' || quote == b'"' && !self.reading.ansi_quotes)
            }
            Within::Code | Within::Word => {
                let (len, open) = self.word_length();
                self.at += len;
                self.within = if open { Within::Word } else { Within::Code };
                !open
            }
        };
        if self.at == from {
            // Nothing of it, or not to be told yet.
            return if whole { self.next() } else { None };
        }
        Some(Token { kind: Kind::Rest, text: &self.text[from..self.at], whole })
    }
}

/// White space in every character set.
pub fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t'..=b'\r')
}

/// What names without quotes, keywords and numbers consist of.
#[inline]
pub fn is_word(b: u8) -> bool {
    matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'$' | 0x80..)
}

/// What a byte begins, roughly.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Word,
    Blank,
    /// A sign, whatever follows.
    Sign,
    /// The quote that begins a text in every reading.
    Quote,
    Other,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Sign; 256];
    let mut b = 0;
    while b < 256 {
        classes[b] = match b as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'$' | 0x80.. => Class::Word,
            b' ' | b'\t'..=b'\r' => Class::Blank,
            b'\'' => Class::Quote,
            b'"' | b'`' | b'#' | b'-' | b'/' | 0 => Class::Other,
            _ => Class::Sign,
        };
        b += 1;
    }
    classes
};

#[cfg(test)]
mod tests;
