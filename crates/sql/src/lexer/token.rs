//! A piece of a text, and what it says of itself.

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// White space.
    Blank,
    /// A comment that is none of code, with its marks; of a line, with its end.
    Comment,
    /// The mark that begins a comment of code; see [`Token::version`].
    Open,
    /// The mark that ends it.
    Close,
    /// A keyword, a name without quotes, or (a part of) a number.
    Word,
    /// A text with its quotes.
    Text,
    /// A name with its quotes.
    Name,
    /// A byte that means something by itself, or with others like it.
    Sign,
    /// Perhaps the beginning of quotes or of a comment, perhaps not; read as if it were none.
    Doubt,
    /// The rest of what began in an earlier part of the text.
    Rest,
}

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// The piece, with quotes or marks.
    pub text: &'a [u8],
    /// Whether it has its end. Only texts, names and comments can be without.
    pub whole: bool,
}

impl Token<'_> {
    /// Whether it is this sign.
    pub fn is_sign(&self, sign: u8) -> bool {
        self.kind == Kind::Sign && self.text == [sign]
    }

    /// Whether it is this word, in letters of any size.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word.as_bytes())
    }

    /// Whether it says nothing: white space, a comment, or the mark of one.
    pub fn is_silent(&self) -> bool {
        matches!(self.kind, Kind::Blank | Kind::Comment | Kind::Open | Kind::Close)
    }

    /// Of the mark of a comment of code: from which version on it is code, as the server counts: 80036 is 8.0.36.
    pub fn version(&self) -> Option<u32> {
        let digits = self.text.get(3..).filter(|digits| self.kind == Kind::Open && !digits.is_empty())?;
        Some(digits.iter().fold(0, |n, b| n * 10 + u32::from(b.wrapping_sub(b'0'))))
    }

    /// Of a quoted name or text: what is between its quotes, as it is written.
    pub fn inner(&self) -> &[u8] {
        let end = self.text.len().saturating_sub(usize::from(self.whole)).max(1);
        self.text.get(1..end).unwrap_or_default()
    }

    /// A quoted name as it is meant: a doubled quote is one.
    pub fn name(&self) -> Vec<u8> {
        let quote = self.text.first().copied();
        let mut name = Vec::with_capacity(self.text.len());
        let mut bytes = self.inner().iter().copied();
        while let Some(b) = bytes.next() {
            name.push(b);
            // Within the quotes there is none that is not doubled.
            if Some(b) == quote {
                bytes.next();
            }
        }
        name
    }
}
