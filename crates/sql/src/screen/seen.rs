//! What the pieces of a text say, one after the other.

use std::ops::RangeInclusive;

use crate::lexer::{Kind, Token};
use crate::screen::{Asks, Screened};
use crate::tracked::TRACKED;

/// The longest variable's name has 47 bytes.
const NAME_MAX: usize = 48;
/// Bytes of words that mean something wherever they stand, of which some are longer than all others that mean something.
const WORDS: RangeInclusive<usize> = b"GET_LOCK".len()..=b"SQL_CALC_FOUND_ROWS".len();
/// Why a session with these keeps its backend.
const COUNTS: &str = "it asks for ROW_COUNT() or FOUND_ROWS()";

/// What has been seen so far.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// A byte above 0x7F may be white space.
    parts: bool,
    /// The last byte, to tell `a@b` (an account) from `@b` (a variable).
    before: u8,
    /// It was such an `@`.
    at: bool,
    /// Of a `SET`: the last word.
    name: [u8; NAME_MAX],
    name_len: usize,
    /// A function's name was read, or its opening parenthesis too.
    call: Call,
    parentheses: u32,
    /// The packet's first statement has ended.
    later: bool,
    /// A variable is assigned to.
    assigned: bool,
    /// Words seen in the current statement: 0 none, 1 its keyword, ...
    words: usize,
    keyword: Keyword,
    found: Screened,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    None,
    RowCount,
    FoundRows,
    InsertId,
    InsertIdOpen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keyword {
    Other,
    Set,
    Create,
    Show,
    Get,
    Flush,
    Load,
    Lock,
    Rollback,
}

impl Seen {
    pub fn new(parts: bool) -> Self {
        Self {
            parts,
            before: b' ',
            at: false,
            name: [0; NAME_MAX],
            name_len: 0,
            call: Call::None,
            parentheses: 0,
            later: false,
            assigned: false,
            words: 0,
            keyword: Keyword::Other,
            found: Screened::COMMAND,
        }
    }

    pub fn found(&self) -> Screened {
        self.found
    }

    /// Takes the next piece.
    #[inline]
    pub fn token(&mut self, token: &Token<'_>) {
        let Some(&last) = token.text.last() else { return };
        if self.at {
            self.at = false;
            if last == b'@' && token.kind == Kind::Sign {
                return;
            }
            self.pin("it uses user variables");
        }
        match token.kind {
            Kind::Word if self.parts && !token.text.is_ascii() => {
                // The bytes between are letters, signs or white space.
                for part in token.text.split(|b| *b >= 0x80).filter(|part| !part.is_empty()) {
                    self.word(part);
                }
                self.before = if last >= 0x80 { b' ' } else { last };
                return;
            }
            Kind::Word => self.word(token.text),
            Kind::Sign => self.sign(last),
            Kind::Text | Kind::Name => self.argument(),
            // No server reads on behind it.
            Kind::Doubt if token.text == [0] => self.argument(),
            Kind::Doubt => {
                self.argument();
                self.pin("its text can be read in two ways");
            }
            Kind::Blank | Kind::Comment | Kind::Open | Kind::Close | Kind::Rest => {}
        }
        self.before = last;
    }

    fn sign(&mut self, b: u8) {
        match (self.call, b) {
            (Call::None, _) => {}
            (Call::RowCount, b'(') => {
                self.asks(Asks::RowCount);
                self.call = Call::None;
            }
            (Call::FoundRows, b'(') => {
                self.asks(Asks::FoundRows);
                self.call = Call::None;
            }
            (Call::InsertId, b'(') => self.call = Call::InsertIdOpen,
            (Call::InsertIdOpen, b')') => self.call = Call::None,
            _ => self.argument(),
        }
        match b {
            b'(' => self.parentheses = self.parentheses.saturating_add(1),
            b')' => self.parentheses = self.parentheses.saturating_sub(1),
            b'=' if self.keyword == Keyword::Set && self.parentheses == 0 => self.assigns(),
            b'@' => self.at = !is_name(self.before),
            b';' => {
                self.later |= self.words > 0;
                (self.words, self.keyword, self.parentheses) = (0, Keyword::Other, 0);
            }
            _ => {}
        }
    }

    /// Something that is no parenthesis, perhaps in a function's.
    fn argument(&mut self) {
        self.found.sets_insert_id |= self.call == Call::InsertIdOpen;
        self.call = Call::None;
    }

    /// `SET NAMES x COLLATE y` is understood, but not with other assignments around it.
    fn collates(&mut self) {
        self.found.collates = true;
        if self.assigned || self.later {
            self.pin("it set a collation together with other variables");
        }
    }

    /// An `=` in a `SET`: the last word is what it assigns to.
    fn assigns(&mut self) {
        let name = self.name.get(..self.name_len).unwrap_or_default();
        self.found.explains &= TRACKED.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
        if name.eq_ignore_ascii_case(b"GTID_NEXT") {
            self.pin("it set gtid_next");
        }
        self.assigned = true;
        if self.found.collates {
            self.collates();
        }
    }

    /// Only what the first statement of a packet asks is about one before the packet.
    fn asks(&mut self, what: Asks) {
        if !self.later && matches!(self.found.asks, Asks::Nothing | Asks::RowCount) {
            self.found.asks = what;
            if what != Asks::Diagnostics {
                self.found.keeps.get_or_insert(COUNTS);
            }
        }
    }

    #[inline]
    fn word(&mut self, written: &[u8]) {
        self.argument();
        self.words += 1;
        if self.keyword == Keyword::Set {
            self.name_len = written.len();
            self.name.iter_mut().zip(written).for_each(|(to, from)| *to = *from);
        }
        let everywhere = WORDS.contains(&written.len());
        if self.words > 1 && self.keyword == Keyword::Other && !everywhere {
            return;
        }
        let mut upper = [0; *WORDS.end()];
        upper.iter_mut().zip(written).for_each(|(to, from)| *to = from.to_ascii_uppercase());
        let word = upper.get(..written.len()).unwrap_or_default();
        if self.words == 1 {
            self.first(word);
        } else {
            self.further(word);
        }
        if everywhere {
            self.anywhere(word);
        }
    }

    /// A statement's first word.
    fn first(&mut self, word: &[u8]) {
        let (found, mut pins) = (&mut self.found, None);
        found.explains &= matches!(word, b"SET" | b"USE");
        match word {
            b"SET" => self.keyword = Keyword::Set,
            b"CREATE" => self.keyword = Keyword::Create,
            b"SHOW" => self.keyword = Keyword::Show,
            b"GET" => self.keyword = Keyword::Get,
            b"FLUSH" => self.keyword = Keyword::Flush,
            b"LOAD" => {
                self.keyword = Keyword::Load;
                found.sets_insert_id = true;
            }
            b"LOCK" => self.keyword = Keyword::Lock,
            b"ROLLBACK" => {
                self.keyword = Keyword::Rollback;
                found.savepoint = Some(false);
            }
            b"COMMIT" => found.savepoint = Some(false),
            b"SAVEPOINT" => found.savepoint = Some(true),
            b"EXECUTE" => found.sets_insert_id = true,
            b"CALL" => {
                found.sets_insert_id = true;
                found
                    .keeps
                    .get_or_insert("it called a procedure, which can do what the server does not report");
            }
            b"XA" => {
                found.keeps.get_or_insert("it uses XA transactions");
            }
            b"KILL" => found.kills = true,
            b"HANDLER" => pins = Some("it may have a table open with HANDLER"),
            b"BINLOG" => pins = Some("it runs BINLOG statements"),
            _ => {}
        }
        if let Some(reason) = pins {
            self.pin(reason);
        }
    }

    /// A word behind a keyword that gives it a meaning.
    fn further(&mut self, word: &[u8]) {
        let second = self.words == 2;
        match (self.keyword, word) {
            (Keyword::Other, _) => {}
            (Keyword::Set, b"ROLE") if second => self.pin("it changed its roles (SET ROLE)"),
            (Keyword::Set, b"RESOURCE") if second => self.pin("it changed its resource group"),
            (Keyword::Set, b"COLLATE") => self.collates(),
            (Keyword::Lock, b"INSTANCE") if second => self.pin("it may hold the instance lock"),
            (Keyword::Create, b"TEMPORARY") if second => self.pin("it has a temporary table"),
            (Keyword::Flush, b"LOCK" | b"EXPORT") => self.pin("it may hold a global read lock"),
            (Keyword::Show, b"WARNINGS" | b"ERRORS") | (Keyword::Get, b"DIAGNOSTICS") => {
                self.asks(Asks::Diagnostics);
            }
            // Back to one, which stays.
            (Keyword::Rollback, b"TO") => self.found.savepoint = Some(true),
            // LOAD DATA [LOW_PRIORITY | CONCURRENT] LOCAL
            (Keyword::Load, b"LOCAL") if self.words <= 4 => self.found.loads_local = true,
            _ => {}
        }
    }

    /// A word that means something wherever it stands.
    fn anywhere(&mut self, word: &[u8]) {
        match word {
            b"GET_LOCK" => self.pin("it may hold a user lock (GET_LOCK)"),
            b"ROW_COUNT" => self.call = Call::RowCount,
            b"FOUND_ROWS" => self.call = Call::FoundRows,
            b"LAST_INSERT_ID" => self.call = Call::InsertId,
            b"SQL_CALC_FOUND_ROWS" => {
                self.found.keeps.get_or_insert(COUNTS);
            }
            b"CONNECTION_ID" | b"PSEUDO_THREAD_ID" => self.found.asks_id = true,
            b"WARNING_COUNT" | b"ERROR_COUNT" if matches!(self.before, b'@' | b'.') => {
                self.asks(Asks::Diagnostics);
            }
            _ => {}
        }
    }

    pub fn pin(&mut self, reason: &'static str) {
        self.found.pins.get_or_insert(reason);
    }
}

/// Whether an `@` after this byte belongs to an account name: `a@b`, `'a'@'b'`.
fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'\'' | b'"' | b'`') || b >= 0x80
}
