//! The pieces of a statement's text, read as the session's server reads them, as far as that can be told.

/// How a session's server reads text.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Whether a backslash escapes inside quotes.
    pub backslash: bool,
    /// Whether `"` quotes names (`ANSI_QUOTES`).
    pub ansi_quotes: bool,
    /// Whether a byte below 0x80 may be a part of a letter.
    pub multibyte: bool,
}

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// Letters, digits, `_`, `$`: a keyword, name or number.
    Word(&'a [u8]),
    /// A quoted name, as it is written.
    Name(&'a [u8], u8),
    /// A string.
    Text,
    /// Any other byte.
    Sign(u8),
}

/// Pulls tokens from a text.
#[derive(Debug, Clone, Copy)]
pub struct Lexer<'a> {
    /// All of it.
    pub text: &'a [u8],
    /// Where the next piece begins.
    pub at: usize,
    reading: Reading,
    /// From `at` on nothing can be told.
    pub blind: bool,
}

impl<'a> Lexer<'a> {
    /// At the beginning of a text.
    pub fn new(text: &'a [u8], reading: Reading) -> Self {
        Self { text, at: 0, reading, blind: false }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// The byte at hand; a letter of several bytes that cannot be read past ends the sight.
    fn byte(&mut self) -> Option<u8> {
        let b = self.peek(0)?;
        if b >= 0x80 && self.reading.multibyte {
            self.blind = true;
        }
        if self.blind { None } else { Some(b) }
    }

    /// The next piece; `None` at the end, or where it goes blind.
    #[expect(clippy::should_implement_trait, reason = "it is copied to look ahead")]
    pub fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let b = self.byte()?;
            match b {
                b' ' | b'\t'..=b'\r' => self.at += 1,
                b'#' => self.skip_line(),
                b'-' if self.peek(1) == Some(b'-') && self.peek(2).is_none_or(is_blank) => self.skip_line(),
                // What is inside may run or not, as the server's version has it.
                b'/' if self.peek(1) == Some(b'*') && self.peek(2) == Some(b'!') => self.blind = true,
                b'/' if self.peek(1) == Some(b'*') => self.skip_comment(),
                0 => self.blind = true,
                b'\'' => return self.quoted(b).map(|_| Token::Text),
                b'"' if !self.reading.ansi_quotes => return self.quoted(b).map(|_| Token::Text),
                b'`' | b'"' => return self.quoted(b).map(|name| Token::Name(name, b)),
                b if is_word(b) => return self.word(),
                sign => {
                    self.at += 1;
                    return Some(Token::Sign(sign));
                }
            }
        }
    }

    fn word(&mut self) -> Option<Token<'a>> {
        let from = self.at;
        // Dollar quotes.
        if self.peek(0) == Some(b'$') {
            self.blind = true;
            return None;
        }
        while let Some(b) = self.byte()
            && is_word(b)
        {
            self.at += 1;
        }
        (!self.blind).then(|| Token::Word(&self.text[from..self.at]))
    }

    fn quoted(&mut self, quote: u8) -> Option<&'a [u8]> {
        let escapes =
            self.reading.backslash && (quote == b'\'' || quote == b'"' && !self.reading.ansi_quotes);
        self.at += 1;
        let from = self.at;
        loop {
            let b = self.byte()?;
            self.at += 1;
            if b == b'\\' && escapes {
                self.byte()?;
                self.at += 1;
            } else if b == quote {
                if self.peek(0) != Some(quote) {
                    return Some(&self.text[from..self.at - 1]);
                }
                self.at += 1;
            }
        }
    }

    fn skip_line(&mut self) {
        while let Some(b) = self.byte()
            && b != b'\n'
        {
            self.at += 1;
        }
    }

    fn skip_comment(&mut self) {
        self.at += 2;
        while let Some(b) = self.byte() {
            self.at += 1;
            if b == b'*' && self.peek(0) == Some(b'/') {
                self.at += 1;
                return;
            }
        }
    }
}

/// What a dash dash must be followed by to begin a comment.
fn is_blank(b: u8) -> bool {
    b <= b' ' || b == 0x7F
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80
}
