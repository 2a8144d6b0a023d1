//! A pass over a statement's pieces: the hash of what is left of them and, if it is wanted, the text.

use crate::digest::{SHOWN_MAX, Sql};
use crate::lexer::{Kind, Lexer, is_word};
use crate::reading::{Letters, OLDEST, Reading};

/// Groups nested deeper than this are read as flat.
const DEPTH_MAX: usize = 16;
const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// What a byte begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// Nothing was read yet.
    Start,
    /// A name or keyword.
    Word,
    Value,
    Open,
    Close,
    Comma,
    Dot,
    At,
    Operator,
    Semicolon,
}

/// A state to go back to.
#[derive(Debug, Clone, Copy)]
struct Mark {
    hash: u64,
    len: usize,
    before: Token,
}

pub(super) struct Fold<const SHOWS: bool> {
    pub hash: u64,
    pub shown: Vec<u8>,
    /// Bytes there would be in `shown` without its limit.
    pub len: usize,
    before: Token,
    depth: usize,
    /// Of the group at each depth: where it began, and whether it is nothing but values so far.
    groups: [(Mark, bool); DEPTH_MAX],
    /// The hash around a group at the top, while its own is taken.
    around: u64,
    /// The last group at the top, if nothing but a comma came since: its hash, and the state behind it.
    row: Option<(u64, Mark)>,
    /// Whether something may be shown that is a value.
    pub doubtful: bool,
}

fn step(hash: u64, b: u8) -> u64 {
    (hash.rotate_left(5) ^ u64::from(b)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl<const SHOWS: bool> Fold<SHOWS> {
    pub fn new() -> Self {
        let start = Mark { hash: SEED, len: 0, before: Token::Start };
        Self {
            hash: SEED,
            shown: Vec::new(),
            len: 0,
            before: Token::Start,
            depth: 0,
            groups: [(start, false); DEPTH_MAX],
            around: 0,
            row: None,
            doubtful: false,
        }
    }

    fn mark(&self) -> Mark {
        Mark { hash: self.hash, len: self.len, before: self.before }
    }

    fn back_to(&mut self, mark: Mark) {
        (self.hash, self.len, self.before) = (mark.hash, mark.len, mark.before);
        self.shown.truncate(mark.len);
    }

    fn show(&mut self, text: &[u8]) {
        if SHOWS {
            self.len += text.len();
            let room = SHOWN_MAX.saturating_sub(self.shown.len());
            self.shown.extend_from_slice(&text[..text.len().min(room)]);
        }
    }

    /// A token begins.
    fn begin(&mut self, token: Token) {
        let joined = matches!(self.before, Token::Start | Token::Open | Token::Dot | Token::At)
            || matches!(token, Token::Close | Token::Comma | Token::Dot | Token::Semicolon);
        if !joined {
            self.show(b" ");
        }
        // A byte that ends no name, so that `ab` and `a b` differ.
        self.hash = step(self.hash, token as u8);
        if !matches!(token, Token::Value | Token::Comma | Token::Open | Token::Close) {
            self.no_list();
        }
        if self.depth == 0 && !matches!(token, Token::Comma | Token::Open) {
            self.row = None;
        }
        self.before = token;
    }

    fn no_list(&mut self) {
        if let Some((_, values)) = self.depth.checked_sub(1).and_then(|n| self.groups.get_mut(n)) {
            *values = false;
        }
    }

    fn token(&mut self, token: Token, text: &[u8]) {
        self.begin(token);
        for &b in text {
            self.hash = step(self.hash, b);
        }
        self.show(text);
    }

    fn value(&mut self) {
        // 'a' 'b' is one string.
        if self.before != Token::Value {
            self.token(Token::Value, b"?");
        }
    }

    fn open(&mut self) {
        let before = self.mark();
        self.token(Token::Open, b"(");
        if self.depth == 0 {
            self.around = before.hash;
            self.hash = SEED;
            if before.before != Token::Comma {
                self.row = None;
            }
        }
        let begun = self.mark();
        if let Some(group) = self.groups.get_mut(self.depth) {
            *group = (begun, true);
        }
        self.depth += 1;
    }

    fn close(&mut self) {
        let Some(depth) = self.depth.checked_sub(1) else { return self.token(Token::Close, b")") };
        let list = match self.groups.get(depth) {
            Some((begun, true)) if self.before != Token::Open => Some(*begun),
            _ => None,
        };
        if let Some(begun) = list {
            self.back_to(begun);
            for &b in b"..." {
                self.hash = step(self.hash, b);
            }
            self.show(b"...");
        }
        self.depth = depth;
        let row = self.row;
        self.token(Token::Close, b")");
        if depth > 0 {
            if list.is_none() {
                self.no_list();
            }
            return;
        }
        let own = self.hash;
        match row {
            Some((same, behind)) if same == own => self.back_to(behind),
            _ => self.hash = (self.around.rotate_left(17) ^ own).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
        self.row = Some((own, self.mark()));
    }

    pub fn read(&mut self, sql: Sql<'_>) {
        let text = sql.text;
        let mut lexer = Lexer::new(text, by_bytes(sql.reading));
        while let Some(token) = lexer.next_dense() {
            match token.kind {
                Kind::Word => self.word(&mut lexer, text, token.text),
                Kind::Sign => self.sign(&mut lexer, text, token.text[0]),
                Kind::Name if token.text[0] == b'`' => self.quoted_name(token.text),
                Kind::Text | Kind::Name => self.value(),
                Kind::Open => {
                    let may_be_passed_over = token.version().is_some_and(|version| version > OLDEST);
                    if SHOWS && may_be_passed_over && !self.doubtful {
                        self.doubtful = lexer.is_torn();
                    }
                }
                Kind::Doubt => {
                    self.doubtful = true;
                    self.token(Token::Operator, token.text);
                }
                Kind::Blank | Kind::Comment | Kind::Close | Kind::Rest => {}
            }
        }
        if !sql.whole {
            self.cut();
        }
    }

    #[inline]
    fn sign(&mut self, lexer: &mut Lexer<'_>, text: &[u8], sign: u8) {
        let end = lexer.at();
        match sign {
            b'.' if self.before != Token::Word && text.get(end).is_some_and(u8::is_ascii_digit) => {
                self.value();
                // No number after all: its digits are read next.
                lexer.move_to(past_number(text, end - 1).max(end));
            }
            b'?' => self.value(),
            b'(' => self.open(),
            b')' => self.close(),
            b',' => self.token(Token::Comma, b","),
            b'.' => self.token(Token::Dot, b"."),
            b';' => self.token(Token::Semicolon, b";"),
            b'@' => self.token(Token::At, b"@"),
            b'-' | b'+' if self.expects_value() && number_follows(text, end) => {}
            b if b <= b' ' => {}
            _ => lexer.move_to(self.operator(text, end - 1)),
        }
    }

    /// The statement goes on where the text ends: a row begun behind another one is probably like it.
    fn cut(&mut self) {
        if let Some((_, behind)) = self.row {
            self.back_to(behind);
        }
    }

    /// Whether what comes next can only be a value, or an expression.
    fn expects_value(&self) -> bool {
        matches!(self.before, Token::Open | Token::Comma | Token::Operator)
    }

    #[inline]
    fn word(&mut self, lexer: &mut Lexer<'_>, text: &[u8], word: &[u8]) {
        let after_dot = self.before == Token::Dot;
        if word[0].is_ascii_digit() && !after_dot {
            let end = lexer.at();
            if word.iter().all(u8::is_ascii_digit) && text.get(end) != Some(&b'.') {
                return self.value();
            }
            let at = end - word.len();
            let end = past_number(text, at);
            if end > at {
                self.value();
                return lexer.move_to(end);
            }
        }
        let end = lexer.at();
        let quote = text.get(end) == Some(&b'\'');
        if quote && matches!(word, [b'x' | b'X' | b'b' | b'B' | b'n' | b'N']) {
            self.value();
            lexer.next();
            return;
        }
        // The character set of the string behind it.
        if word[0] == b'_' && !after_dot {
            let gap = text[end..].iter().take_while(|b| **b <= b' ').count();
            if matches!(text.get(end + gap), Some(b'\'' | b'"')) {
                return;
            }
        }
        if self.expects_value()
            && [&b"NULL"[..], b"TRUE", b"FALSE"].iter().any(|value| word.eq_ignore_ascii_case(value))
        {
            return self.value();
        }
        self.begin(Token::Word);
        for &b in word {
            self.hash = step(self.hash, b.to_ascii_lowercase());
        }
        self.show(word);
    }

    fn quoted_name(&mut self, quoted: &[u8]) {
        self.begin(Token::Word);
        let name = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
        for &b in name {
            self.hash = step(self.hash, b);
        }
        self.show(quoted);
    }

    /// An operator of several bytes is one token.
    fn operator(&mut self, text: &[u8], at: usize) -> usize {
        let more = |b: &&u8| matches!(b, b'<' | b'>' | b'=' | b'!' | b':' | b'|' | b'&');
        let joins = more(&&text[at]) || text[at..].starts_with(b"->");
        let end = at + 1 + if joins { text[at + 1..].iter().take_while(more).count() } else { 0 };
        self.token(Token::Operator, &text[at..end]);
        end
    }
}

/// Whether a number begins at or behind the white space here.
fn number_follows(text: &[u8], at: usize) -> bool {
    let rest = text.get(at..).unwrap_or_default();
    let gap = rest.iter().take_while(|b| **b <= b' ').count();
    match rest.get(gap) {
        Some(b'.') => rest.get(gap + 1).is_some_and(u8::is_ascii_digit),
        Some(b) => b.is_ascii_digit() && past_number(rest, gap) > gap,
        None => false,
    }
}

/// Where the number that begins here ends; here, if it is a name, such as `2fa`.
fn past_number(text: &[u8], at: usize) -> usize {
    let count = |from: usize, is: fn(&u8) -> bool| text[from..].iter().take_while(|b| is(b)).count();
    let whole = |end: usize| if text.get(end).is_none_or(|b| !is_word(*b)) { end } else { at };
    match text.get(at..at + 2) {
        Some(b"0x") => return whole(at + 2 + count(at + 2, u8::is_ascii_hexdigit)),
        Some(b"0b") => return whole(at + 2 + count(at + 2, |b| matches!(b, b'0' | b'1'))),
        _ => {}
    }
    let mut end = at + count(at, u8::is_ascii_digit);
    if text.get(end) == Some(&b'.') {
        end += 1;
        end += count(end, u8::is_ascii_digit);
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let digits = text.get(end + 1 + sign..).map_or(0, |_| count(end + 1 + sign, u8::is_ascii_digit));
        if digits > 0 {
            end += 1 + sign + digits;
        }
    }
    whole(end)
}

/// The digest is taken by bytes: what is in a character set where that matters is not shown.
fn by_bytes(reading: Reading) -> Reading {
    match reading.letters.may_hide() {
        true => Reading { letters: Letters::Utf8, ..reading },
        false => reading,
    }
}
