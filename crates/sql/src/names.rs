//! Which schemas a statement's text names, so that none is sent to a cluster that does not serve them.
//!
//! No parser: a lexer, and what stands before a name. `x.y` names a schema where a table may stand (behind `FROM`, `JOIN`,
//! `INTO`, a comma between tables, ...), as a function (`x.y(`), and in three parts (`x.y.z`). Behind an operator, `SELECT`,
//! `WHERE` and the like it is a column of a table or alias `x`. Where neither is certain it counts only if a route for
//! that schema exists: a refusal too many is seen, a row read from the wrong cluster is not.
//!
//! Where the lexer cannot be sure to read as the server does (a text in a character set whose letters can end in a quote or
//! a backslash, executable comments, dollar quotes, `PREPARE ... FROM '...'`), it goes *blind*: from there on every
//! word that is the name of a schema with a route counts, in quotes and comments too.
//!
//! Not seen: names in views, triggers, procedures and text that a statement computes.

use crate::lexer::{Lexer, Reading, Token};

/// What a text names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// The schema that its first statement makes the default one, with `USE`.
    pub uses: Option<Vec<u8>>,
    /// Schemas, each once.
    pub schemas: Vec<Vec<u8>>,
    /// Schemas without routes may be named that are not among these.
    pub blind: bool,
}

/// The nesting that is followed; deeper, it goes blind.
const DEPTH_MAX: u32 = 63;

impl Named {
    /// Reads a text; `routed` says of which schemas there are routes.
    pub fn of(text: &[u8], reading: Reading, routed: impl Fn(&[u8]) -> bool) -> Self {
        let lexer = Lexer::new(text, reading);
        let mut scan = Scan {
            lexer,
            routed,
            named: Self::default(),
            tables: 0,
            query: 0,
            depth: 0,
            at: Place::default(),
        };
        scan.run();
        scan.named
    }
}

/// What stands before a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Before {
    /// Something that says nothing.
    #[default]
    Other,
    /// What only a table can follow.
    Table,
    /// What only an expression can follow.
    Expression,
    /// A comma or an opening parenthesis: as its frame.
    Among,
    /// A dot or an `@`: it is a part of another name.
    Part,
}

/// Where in a statement the scan is.
#[derive(Debug, Clone, Default)]
struct Place {
    /// The packet's first statement has ended.
    later: bool,
    before: Before,
    /// The statement's first word and the last one, in capitals, cut.
    keyword: Short,
    last: Short,
    /// Its number of words.
    words: usize,
    /// A `SELECT` was seen.
    selects: bool,
    /// It is about a schema itself.
    about_schema: bool,
    /// Of a SHOW: how many names are to be passed over before that of a schema.
    shows: Option<u8>,
    /// The next name is a schema's.
    schema_next: bool,
}

/// A word in capitals, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Short {
    bytes: [u8; 14],
    len: usize,
}

impl Short {
    fn of(word: &[u8]) -> Self {
        let mut short = Self::default();
        if word.len() <= short.bytes.len() {
            short.len = word.len();
            short.bytes.iter_mut().zip(word).for_each(|(to, from)| *to = from.to_ascii_uppercase());
        }
        short
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

struct Scan<'a, R> {
    lexer: Lexer<'a>,
    routed: R,
    named: Named,
    /// By depth of parentheses: a comma there stands between tables.
    tables: u64,
    /// By depth: a query began there, so a FROM is a query's and not a function's.
    query: u64,
    depth: u32,
    at: Place,
}

impl<R: Fn(&[u8]) -> bool> Scan<'_, R> {
    fn run(&mut self) {
        while let Some(token) = self.lexer.next() {
            match token {
                Token::Word(word) => self.word(word),
                Token::Name(name, quote) => {
                    let name = undoubled(name, quote);
                    if !self.qualified(&name) {
                        self.single(&name);
                    }
                    self.at.before = Before::Other;
                }
                Token::Text => self.at.before = Before::Other,
                Token::Sign(sign) => self.sign(sign),
            }
        }
        if self.lexer.blind {
            self.named.blind = true;
            let rest = &self.lexer.text[self.lexer.at..];
            let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'-');
            for word in rest.split(|b| !is_name(b)).filter(|word| !word.is_empty()) {
                // `-` may be a part of a quoted name, or a sign.
                for part in [word].into_iter().chain(word.split(|b| *b == b'-')) {
                    if (self.routed)(part) {
                        self.name(part);
                    }
                }
            }
        }
    }

    fn bit(&self) -> u64 {
        1 << self.depth
    }

    fn name(&mut self, schema: &[u8]) {
        if !self.named.schemas.iter().any(|known| known == schema) {
            self.named.schemas.push(schema.to_vec());
        }
    }

    fn sign(&mut self, sign: u8) {
        self.at.before = match sign {
            b'.' | b'@' => Before::Part,
            b',' => Before::Among,
            b'(' => {
                let among = self.at.before == Before::Among && self.tables & self.bit() != 0;
                let tables = self.at.before == Before::Table || among;
                if self.depth == DEPTH_MAX {
                    self.lexer.blind = true;
                    return;
                }
                self.depth += 1;
                self.set(tables);
                self.query &= !self.bit();
                Before::Among
            }
            b')' => {
                self.depth = self.depth.saturating_sub(1);
                Before::Other
            }
            b';' => return self.end_statement(),
            b'{' | b'}' => Before::Other,
            _ => Before::Expression,
        };
    }

    fn end_statement(&mut self) {
        // What it sets may change how the rest is read.
        self.lexer.blind |= self.at.keyword.get() == b"SET";
        let later = self.at.later || self.at.words > 0;
        self.at = Place { later, ..Place::default() };
        (self.tables, self.query, self.depth) = (0, 0, 0);
    }

    /// A comma in this frame stands between tables, or not.
    fn set(&mut self, tables: bool) {
        let bit = self.bit();
        self.tables = if tables { self.tables | bit } else { self.tables & !bit };
    }

    /// Takes a name with a dot behind it; `false` if there is none, or the name is itself behind a dot.
    fn qualified(&mut self, name: &[u8]) -> bool {
        let mut ahead = self.lexer;
        if self.at.before == Before::Part || ahead.next() != Some(Token::Sign(b'.')) {
            return self.at.before == Before::Part;
        }
        // A number.
        if name.iter().all(u8::is_ascii_digit) {
            return true;
        }
        let all = ahead.next() == Some(Token::Sign(b'*'));
        let behind = ahead.next();
        let certain = match self.at.before {
            _ if matches!(behind, Some(Token::Sign(b'.' | b'('))) => Some(true),
            // Where the lexer went blind behind it, anything may follow.
            _ if ahead.blind => None,
            // `DELETE x.* FROM`: a table or alias, perhaps.
            _ if all && self.at.keyword.get() == b"DELETE" => None,
            Before::Table => Some(true),
            Before::Among => Some(self.tables & self.bit() != 0),
            Before::Expression => Some(false),
            Before::Other | Before::Part => None,
        };
        if certain.unwrap_or_else(|| (self.routed)(name)) {
            self.name(name);
        }
        true
    }

    /// A name by itself, where a schema's may stand.
    fn single(&mut self, name: &[u8]) {
        if std::mem::take(&mut self.at.schema_next) {
            match self.at.keyword.get() == b"USE" && !self.at.later {
                true => self.named.uses = Some(name.to_vec()),
                false => self.name(name),
            }
        } else if self.at.about_schema && (self.routed)(name) {
            self.name(name);
        }
    }

    fn word(&mut self, word: &[u8]) {
        let part = self.at.before == Before::Part;
        if self.qualified(word) {
            self.at.before = Before::Other;
            if !part {
                self.at.words += 1;
            }
            return;
        }
        let (short, first) = (Short::of(word), self.at.words == 0);
        self.at.words += 1;
        if first {
            self.at.keyword = short;
            self.at.schema_next = short.get() == b"USE";
            self.at.shows = (short.get() == b"SHOW").then_some(0);
            // A text in quotes follows.
            self.lexer.blind |= short.get() == b"PREPARE";
        } else {
            self.single(word);
        }
        self.at.before = self.keyword(short.get(), first);
        self.at.last = short;
    }

    /// What a word says of the names behind it.
    fn keyword(&mut self, word: &[u8], first: bool) -> Before {
        let outer = self.depth == 0 || self.query & self.bit() != 0;
        match word {
            b"SELECT" => {
                self.at.selects = true;
                self.query |= self.bit();
                self.set(false);
                Before::Expression
            }
            b"WHERE" | b"HAVING" | b"GROUP" | b"ORDER" | b"LIMIT" | b"SET" | b"VALUES" | b"VALUE"
            | b"WINDOW" => {
                self.set(false);
                Before::Expression
            }
            b"AND" | b"OR" | b"NOT" | b"XOR" | b"BY" | b"WHEN" | b"THEN" | b"ELSE" | b"CASE" | b"BETWEEN"
            | b"IS" | b"DISTINCT" | b"DISTINCTROW" | b"DIV" | b"MOD" | b"REGEXP" | b"RLIKE" | b"INTERVAL"
            | b"BINARY" | b"ESCAPE" | b"RETURN" | b"SQL_NO_CACHE" => Before::Expression,
            b"LIKE" if self.at.keyword.get() != b"CREATE" => Before::Expression,
            b"FROM" | b"IN" if self.at.shows.is_some() => self.show_from(),
            b"COLUMNS" | b"FIELDS" | b"INDEX" | b"INDEXES" | b"KEYS" if self.at.shows.is_some() => {
                self.at.shows = Some(1);
                Before::Other
            }
            b"FROM" | b"USING" if outer => {
                self.set(true);
                Before::Table
            }
            b"FROM" => Before::Expression,
            b"UPDATE" if self.at.last.get() == b"KEY" => {
                self.set(false);
                Before::Expression
            }
            b"UPDATE" if self.at.last.get() == b"FOR" => Before::Other,
            b"JOIN" | b"STRAIGHT_JOIN" | b"INTO" | b"TABLE" | b"TABLES" | b"VIEW" | b"UPDATE" | b"OJ" => {
                self.set(true);
                Before::Table
            }
            b"DELETE" | b"INSERT" | b"REPLACE" | b"TRUNCATE" | b"DESCRIBE" | b"DESC" | b"EXPLAIN"
            | b"CALL" | b"HANDLER"
                if first =>
            {
                self.set(true);
                Before::Table
            }
            b"TO" => {
                self.set(self.at.keyword.get() == b"RENAME");
                Before::Table
            }
            b"REFERENCES" | b"EXISTS" | b"TRIGGER" | b"PROCEDURE" | b"FUNCTION" | b"EVENT" | b"LIKE" => {
                Before::Table
            }
            b"ON" => {
                let of_table = match self.at.keyword.get() {
                    b"GRANT" | b"REVOKE" => true,
                    b"CREATE" | b"DROP" => !self.at.selects,
                    _ => false,
                };
                if of_table { Before::Table } else { Before::Expression }
            }
            b"DATABASE" | b"SCHEMA"
                if matches!(self.at.keyword.get(), b"CREATE" | b"DROP" | b"ALTER") && self.at.words == 2 =>
            {
                self.at.about_schema = true;
                Before::Other
            }
            _ => Before::Other,
        }
    }

    /// `SHOW TABLES FROM s`, `SHOW COLUMNS FROM t FROM s`.
    fn show_from(&mut self) -> Before {
        match self.at.shows {
            Some(0) => self.at.schema_next = true,
            Some(n) => self.at.shows = Some(n - 1),
            None => {}
        }
        Before::Table
    }
}

/// A quoted name as it is meant.
fn undoubled(name: &[u8], quote: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut bytes = name.iter().copied().peekable();
    while let Some(b) = bytes.next() {
        if b == quote && bytes.peek() == Some(&quote) {
            bytes.next();
        }
        out.push(b);
    }
    out
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
