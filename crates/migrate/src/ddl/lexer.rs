//! A logged statement as tokens.
//!
//! Only what finding names needs: where texts, quoted names and comments begin and end. A comment that the server
//! executes (`/*! ... */`) is part of the statement; the server blanks out those it did not execute before it logs.

use wire::binlog::StatusVars;

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A keyword, a name without quotes, or a number.
    Word(String),
    /// A name in quotes.
    Name(String),
    /// A text in quotes; what it says does not matter.
    Text,
    /// Any other byte.
    Symbol(u8),
}

/// A token, where it begins and where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub token: Token,
    pub at: usize,
    pub end: usize,
}

/// The statement cannot be told apart into tokens; says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable(pub &'static str);

/// How the session that wrote a statement quotes and encodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    ansi_quotes: bool,
    backslash_escapes: bool,
    charset: Charset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    Utf8,
    Latin1,
    /// No byte of a character looks like a quote or a backslash, but we cannot read the characters.
    Other,
    /// The second byte of a character may look like a backslash or a quote.
    Ambiguous,
}

impl Dialect {
    /// What a server shows to our own sessions.
    pub(super) const UTF8: Self =
        Self { ansi_quotes: false, backslash_escapes: true, charset: Charset::Utf8 };

    /// The dialect of a session with this `sql_mode` and `character_set_client`.
    pub fn named(sql_mode: &str, client: &str) -> Self {
        let has = |mode: &str| sql_mode.split(',').any(|one| one.eq_ignore_ascii_case(mode));
        let charset = match client {
            "utf8mb4" | "utf8mb3" | "utf8" | "ascii" | "binary" => Charset::Utf8,
            "latin1" => Charset::Latin1,
            "big5" | "sjis" | "gbk" | "cp932" | "gb18030" => Charset::Ambiguous,
            _ => Charset::Other,
        };
        Self { ansi_quotes: has("ANSI_QUOTES"), backslash_escapes: !has("NO_BACKSLASH_ESCAPES"), charset }
    }

    /// The dialect of a session. Collation ids are those of the manual's `information_schema.COLLATIONS`.
    pub fn of(vars: &StatusVars) -> Self {
        let client = vars.collations.map_or(45, |(client, _, _)| client);
        let charset = match client {
            33 | 45 | 46 | 63 | 76 | 83 | 192..=215 | 223..=247 | 255..=323 => Charset::Utf8,
            5 | 8 | 15 | 31 | 47..=49 | 94 => Charset::Latin1,
            // big5, sjis, gbk, cp932, gb18030.
            1 | 84 | 13 | 88 | 28 | 87 | 95 | 96 | 248..=250 => Charset::Ambiguous,
            _ => Charset::Other,
        };
        Self { ansi_quotes: vars.ansi_quotes(), backslash_escapes: !vars.no_backslash_escapes(), charset }
    }

    fn decode(self, bytes: &[u8]) -> Result<String, Unreadable> {
        if bytes.is_ascii() {
            return Ok(bytes.iter().map(|&b| char::from(b)).collect());
        }
        match self.charset {
            Charset::Utf8 => {
                String::from_utf8(bytes.to_vec()).map_err(|_| Unreadable("a name that is not valid UTF-8"))
            }
            // The server's latin1 is Windows-1252, which differs from ISO 8859-1 from 0x80 to 0x9F.
            Charset::Latin1 if !bytes.iter().any(|b| (0x80..0xA0).contains(b)) => {
                Ok(bytes.iter().map(|&b| char::from(b)).collect())
            }
            _ => Err(Unreadable("a name in a character set that cannot be read here")),
        }
    }
}

/// Parts a statement into tokens.
pub(super) fn tokens(sql: &[u8], dialect: Dialect) -> Result<Vec<Placed>, Unreadable> {
    if dialect.charset == Charset::Ambiguous && !sql.is_ascii() {
        return Err(Unreadable("characters whose bytes can look like quotes"));
    }
    let mut lexer = Lexer { sql, at: 0, dialect, executed_comment: false };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank()?;
        let at = lexer.at;
        match lexer.token()? {
            Some(token) => tokens.push(Placed { token, at, end: lexer.at }),
            None if lexer.executed_comment => return Err(Unreadable("a comment without an end")),
            None => return Ok(tokens),
        }
    }
}

struct Lexer<'a> {
    sql: &'a [u8],
    at: usize,
    dialect: Dialect,
    executed_comment: bool,
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.sql.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Passes over blanks and comments, and into comments that the server executes.
    fn skip_blank(&mut self) -> Result<(), Unreadable> {
        while self.at < self.sql.len() {
            match (self.peek(0), self.peek(1)) {
                (b, _) if b.is_ascii_whitespace() || b == 0x0B || b == 0 => self.at += 1,
                (b'#', _) => self.skip_line(),
                (b'-', b'-') if self.peek(2) <= b' ' => self.skip_line(),
                (b'/', b'*') if self.peek(2) == b'!' => {
                    self.at += 3;
                    while self.peek(0).is_ascii_digit() {
                        self.at += 1;
                    }
                    self.executed_comment = true;
                }
                (b'/', b'*') => {
                    let end = self.sql[self.at + 2..].windows(2).position(|w| w == b"*/");
                    self.at += 4 + end.ok_or(Unreadable("a comment without an end"))?;
                }
                (b'*', b'/') if self.executed_comment => {
                    self.at += 2;
                    self.executed_comment = false;
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn skip_line(&mut self) {
        let rest = &self.sql[self.at..];
        self.at += rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |end| end + 1);
    }

    fn token(&mut self) -> Result<Option<Token>, Unreadable> {
        if self.at >= self.sql.len() {
            return Ok(None);
        }
        Ok(Some(match self.peek(0) {
            b'`' => Token::Name(self.quoted(b'`')?),
            b'"' if self.dialect.ansi_quotes => Token::Name(self.quoted(b'"')?),
            quote @ (b'\'' | b'"') => {
                self.skip_text(quote)?;
                Token::Text
            }
            b if is_word(b) => {
                let len = self.sql[self.at..].iter().take_while(|&&b| is_word(b)).count();
                let word = &self.sql[self.at..self.at + len];
                self.at += len;
                Token::Word(self.dialect.decode(word)?)
            }
            symbol => {
                self.at += 1;
                Token::Symbol(symbol)
            }
        }))
    }

    /// A name in quotes, which a doubled quote stands for itself in.
    fn quoted(&mut self, quote: u8) -> Result<String, Unreadable> {
        let mut name = Vec::new();
        self.at += 1;
        while self.at < self.sql.len() {
            let b = self.peek(0);
            self.at += 1;
            if b == quote {
                if self.peek(0) != quote || self.at >= self.sql.len() {
                    return self.dialect.decode(&name);
                }
                self.at += 1;
            }
            name.push(b);
        }
        Err(Unreadable("a name without its closing quote"))
    }

    fn skip_text(&mut self, quote: u8) -> Result<(), Unreadable> {
        self.at += 1;
        while self.at < self.sql.len() {
            let b = self.peek(0);
            self.at += 1;
            if b == b'\\' && self.dialect.backslash_escapes {
                self.at += 1;
            } else if b == quote {
                if self.peek(0) != quote {
                    return Ok(());
                }
                self.at += 1;
            }
        }
        Err(Unreadable("a text without its closing quote"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sql: &str, vars: &StatusVars) -> Result<String, Unreadable> {
        let shown = tokens(sql.as_bytes(), Dialect::of(vars))?.into_iter().map(|t| match t.token {
            Token::Word(w) => w,
            Token::Name(n) => format!("<{n}>"),
            Token::Text => "''".into(),
            Token::Symbol(b) => char::from(b).to_string(),
        });
        Ok(shown.collect::<Vec<_>>().join(" "))
    }

    fn check(sql: &str, expected: &str) {
        assert_eq!(shown(sql, &StatusVars::default()).unwrap(), expected, "{sql}");
    }

    #[test]
    fn names_texts_and_comments_are_told_apart() {
        check("ALTER TABLE `a``b`.t -- `no` ' \n ADD x", "ALTER TABLE <a`b> . t ADD x");
        check("a /* ' */ b # \" \nc 1--1", "a b c 1 - - 1");
        check(r"'it''s \' `x`' n'y'", "'' n ''");
        check("DROP /*!40005 TEMPORARY */ TABLE /*+ hint */ t", "DROP TEMPORARY TABLE t");
        check("a\"b\"", "a ''");
        check("größe", "größe");
        for open in ["'a", "`a", "/* a", "/*! a", "\"a\\\""] {
            assert!(shown(open, &StatusVars::default()).is_err(), "{open}");
        }
    }

    #[test]
    fn quotes_and_backslashes_mean_what_the_session_made_them_mean() {
        let ansi = StatusVars { sql_mode: Some(4 | 1 << 20), ..StatusVars::default() };
        assert_eq!(shown(r#""a""b" 'c\' d"#, &ansi).unwrap(), "<a\"b> '' d");
        let gbk = StatusVars { collations: Some((28, 28, 28)), ..StatusVars::default() };
        assert!(shown("ALTER TABLE t", &gbk).is_ok());
        assert!(shown("ALTER TABLE t COMMENT 'ü'", &gbk).is_err());
    }
}
