//! What the words of a statement say of the names behind them.

use crate::names::Scan;

/// What stands before a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Before {
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
pub(super) struct Place {
    /// The packet's first statement has ended.
    pub later: bool,
    pub before: Before,
    /// The statement's first word and the last one, in capitals, cut.
    pub keyword: Short,
    pub last: Short,
    /// Its number of words.
    pub words: usize,
    /// A `SELECT` was seen.
    pub selects: bool,
    /// It is about a schema itself.
    pub about_schema: bool,
    /// Of a SHOW: how many names are to be passed over before that of a schema.
    pub shows: Option<u8>,
    /// The next name is a schema's.
    pub schema_next: bool,
}

/// A word in capitals, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Short {
    bytes: [u8; 14],
    len: usize,
}

impl Short {
    pub fn of(word: &[u8]) -> Self {
        let mut short = Self::default();
        if word.len() <= short.bytes.len() {
            short.len = word.len();
            short.bytes.iter_mut().zip(word).for_each(|(to, from)| *to = from.to_ascii_uppercase());
        }
        short
    }

    pub fn get(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<R: Fn(&[u8]) -> bool> Scan<'_, R> {
    /// What a word says of the names behind it.
    pub(super) fn keyword(&mut self, word: &[u8], first: bool) -> Before {
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
    pub(super) fn show_from(&mut self) -> Before {
        match self.at.shows {
            Some(0) => self.at.schema_next = true,
            Some(n) => self.at.shows = Some(n - 1),
            None => {}
        }
        Before::Table
    }
}
