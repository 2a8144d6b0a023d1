//! A text read as it comes, cut anywhere, for servers of any version that it may go to.
//!
//! A comment of code is code to some servers and a comment to others, and which one the statement goes to is not known here: it
//! may be prepared on one and, after a move, on another. So the text is read in both ways from there on, by two readers that
//! share what was read before; their verdicts are put together, and the more careful one counts.

use crate::lexer::{Kind, Lexer, Within};
use crate::reading::{OLDEST, Reading};
use crate::screen::Screened;
use crate::screen::seen::Seen;

/// How often one reader becomes two. What has comments for still more versions is read as code, and pins.
const SPLITS_MAX: u8 = 4;

/// One way to read a text.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    reading: Reading,
    /// The versions of the servers that read it like this.
    from: u32,
    to: u32,
    splits: u8,
    /// What the last part ended in the middle of, and the end of it that could not be told yet.
    before: (Within, bool),
    held: Vec<u8>,
    seen: Seen,
    /// The other ways.
    other: Option<Box<Reader>>,
}

impl Reader {
    pub fn new(reading: Reading) -> Self {
        Self {
            reading,
            from: OLDEST,
            to: u32::MAX,
            splits: 0,
            before: (Within::Code, false),
            held: Vec::new(),
            seen: Seen::new(reading.letters.may_part()),
            other: None,
        }
    }

    /// Reads a text that is all there is.
    pub fn whole(&mut self, text: &[u8]) {
        self.read(Lexer::new(text, self.reading));
    }

    /// Reads the next part.
    pub fn part(&mut self, text: &[u8]) {
        if let Some(other) = &mut self.other {
            other.part(text);
        }
        let mut held = std::mem::take(&mut self.held);
        let text = match held.is_empty() {
            true => text,
            false => {
                held.extend_from_slice(text);
                &held
            }
        };
        self.read(Lexer::part(text, self.reading, self.before));
    }

    /// The verdict of all ways.
    pub fn end(mut self) -> Screened {
        let held = std::mem::take(&mut self.held);
        self.read(Lexer::part(&held, self.reading, self.before).last());
        let found = self.seen.found();
        match self.other {
            Some(other) => found.or(other.end()),
            None => found,
        }
    }

    fn read(&mut self, lexer: Lexer<'_>) {
        let mut lexer = lexer.for_version(self.to);
        let mut executing = lexer.in_code_comment();
        while let Some(token) = lexer.next() {
            match token.kind {
                Kind::Open => {
                    let begun = lexer.at() - token.text.len();
                    match token.version().filter(|version| *version > self.from) {
                        Some(version) if self.splits < SPLITS_MAX => {
                            self.split(version, lexer.back_to(begun, executing));
                        }
                        Some(_) => self.seen.pin("it has comments for many versions of the server"),
                        None => {}
                    }
                    executing = true;
                }
                Kind::Close => executing = false,
                _ => {}
            }
            self.seen.token(&token);
        }
        self.before = lexer.state();
        self.held.extend_from_slice(lexer.rest());
    }

    /// From this version on it is read here, and before in another way.
    #[cold]
    fn split(&mut self, version: u32, lexer: Lexer<'_>) {
        self.splits += 1;
        let mut other = Self { other: self.other.take(), to: version - 1, ..self.clone() };
        other.read(lexer);
        self.other = Some(Box::new(other));
        self.from = version;
    }
}
