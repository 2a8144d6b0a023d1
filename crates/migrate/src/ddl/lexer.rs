//! A logged statement as tokens.
//!
//! Only what finding names needs, with the pieces of [`sql::lexer`]. A comment that the server executes (`/*! ... */`) is part of
//! the statement, whatever its version; the server blanks out those it did not execute before it logs.
//!
//! The body of a routine need not be readable to see that it is one: what cannot be told ends the tokens, and only who needs
//! more of them minds.

use sql::lexer::{Kind, Lexer, Token as Piece};
use sql::reading::{Letters, Reading};
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
    reading: Reading,
    charset: Charset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    Utf8,
    Latin1,
    /// We cannot read the characters.
    Other,
}

impl Dialect {
    /// What a server shows to our own sessions.
    pub(super) const UTF8: Self = Self { reading: Reading::plain(true), charset: Charset::Utf8 };

    /// The dialect of a session with this `sql_mode` and `character_set_client`.
    pub fn named(sql_mode: &str, client: &str) -> Self {
        let has = |mode: &str| sql_mode.split(',').any(|one| one.eq_ignore_ascii_case(mode));
        let charset = match client {
            "utf8mb4" | "utf8mb3" | "utf8" | "ascii" | "binary" => Charset::Utf8,
            "latin1" => Charset::Latin1,
            _ => Charset::Other,
        };
        let reading = Reading {
            backslash: !has("NO_BACKSLASH_ESCAPES"),
            ansi_quotes: has("ANSI_QUOTES"),
            letters: Letters::of(client.as_bytes()),
        };
        Self { reading, charset }
    }

    /// The dialect of a session. Collation ids are those of the manual's `information_schema.COLLATIONS`.
    pub fn of(vars: &StatusVars) -> Self {
        let client = vars.collations.map_or(45, |(client, _, _)| client);
        let letters = Letters::of_collation(client);
        let charset = match client {
            _ if letters == Letters::Utf8 => Charset::Utf8,
            // Names in binary are stored as they are, so that they had better be UTF-8.
            63 => Charset::Utf8,
            5 | 8 | 15 | 31 | 47..=49 | 94 => Charset::Latin1,
            _ => Charset::Other,
        };
        let reading =
            Reading { backslash: !vars.no_backslash_escapes(), ansi_quotes: vars.ansi_quotes(), letters };
        Self { reading, charset }
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

/// The tokens of a statement, up to the first that cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tokens {
    pub all: Vec<Placed>,
    /// Why there are no more.
    pub unreadable: Option<Unreadable>,
}

/// Parts a statement into tokens, all of which must be told.
pub(super) fn all_tokens(sql: &[u8], dialect: Dialect) -> Result<Vec<Placed>, Unreadable> {
    let Tokens { all, unreadable } = tokens(sql, dialect);
    unreadable.map_or(Ok(all), Err)
}

/// Parts a statement into tokens.
pub(super) fn tokens(sql: &[u8], dialect: Dialect) -> Tokens {
    let mut lexer = Lexer::new(sql, dialect.reading);
    // Until then nothing hides anything.
    let hidden = match dialect.reading.letters.may_hide() {
        true => sql.iter().position(|b| !b.is_ascii()).unwrap_or(sql.len()),
        false => sql.len(),
    };
    let mut all = Vec::new();
    let unreadable = loop {
        let at = lexer.at();
        let Some(piece) = lexer.next() else {
            break lexer.in_code_comment().then_some(Unreadable("a comment without an end"));
        };
        if lexer.at() > hidden {
            break Some(Unreadable("characters whose bytes can look like quotes"));
        }
        match token(&piece, dialect) {
            Ok(Some(token)) => all.push(Placed { token, at, end: lexer.at() }),
            Ok(None) => {}
            Err(why) => break Some(why),
        }
    };
    Tokens { all, unreadable }
}

/// What a piece means, if anything.
fn token(piece: &Piece<'_>, dialect: Dialect) -> Result<Option<Token>, Unreadable> {
    Ok(match piece.kind {
        Kind::Comment if !piece.whole => return Err(Unreadable("a comment without an end")),
        Kind::Text if !piece.whole => return Err(Unreadable("a text without its closing quote")),
        Kind::Name if !piece.whole => return Err(Unreadable("a name without its closing quote")),
        Kind::Doubt if piece.text == [0] => return Err(Unreadable("a zero byte")),
        Kind::Doubt => return Err(Unreadable("what not every server reads alike")),
        Kind::Blank | Kind::Comment | Kind::Open | Kind::Close | Kind::Rest => None,
        Kind::Word => Some(Token::Word(dialect.decode(piece.text)?)),
        Kind::Name => Some(Token::Name(dialect.decode(&piece.name())?)),
        Kind::Text => Some(Token::Text),
        // As the last byte it means nothing.
        Kind::Sign if piece.text == [0] => None,
        Kind::Sign => piece.text.first().map(|&symbol| Token::Symbol(symbol)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sql: &str, vars: &StatusVars) -> Result<String, Unreadable> {
        let tokens = tokens(sql.as_bytes(), Dialect::of(vars));
        if let Some(why) = tokens.unreadable {
            return Err(why);
        }
        let shown = tokens.all.into_iter().map(|t| match t.token {
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

    #[test]
    fn the_version_of_a_comment_is_five_digits_or_six_and_a_blank() {
        check("CREATE TABLE /*!0500001t */ (a INT)", "CREATE TABLE 01t ( a INT )");
        check("CREATE TABLE /*!123t */ (a INT)", "CREATE TABLE 123t ( a INT )");
        check("CREATE TABLE /*!080000 t */ (a INT)", "CREATE TABLE t ( a INT )");
    }

    #[test]
    fn what_cannot_be_told_ends_the_tokens() {
        for sql in ["CREATE FUNCTION f AS $$ it's $$", "CREATE TABLE t (a INT);\0 x"] {
            let tokens = tokens(sql.as_bytes(), Dialect::of(&StatusVars::default()));
            assert!(tokens.unreadable.is_some() && tokens.all.len() >= 4, "{sql}");
        }
        check("DROP TABLE t\0", "DROP TABLE t");
        check("SELECT 1 --\x7f '\n", "SELECT 1");
    }
}
