//! What a logged statement says it does, by its tokens. Whether that concerns a move is another question.
//!
//! Not a parser of MySQL's grammar: it reads the verb, the names the verb acts on, and of ALTER TABLE how each of its
//! parts begins. What it cannot place is [`Parsed::Unknown`], never guessed at.

use model::TableName;

use super::lexer::{Dialect, Placed, Token, Tokens, Unreadable, tokens};
use super::renamed::{Named, schemas_named};

/// A statement, understood as far as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parsed {
    Begin,
    Commit,
    /// Changes no table's shape or rows.
    Harmless,
    /// Changes tables or schemas.
    Change(Change),
    /// Not understood; says as much as may be shown.
    Unknown(String),
}

/// A change of tables or schemas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub kind: Kind,
    /// Whether a table is named without its schema.
    pub unqualified: bool,
    /// Where the part to be executed ends.
    pub end: usize,
    /// The schemas it names.
    pub schemas: Vec<Named>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    CreateTable {
        table: TableName,
        like: Option<TableName>,
        if_not_exists: bool,
        rows_follow: bool,
    },
    AlterTable {
        table: TableName,
        renamed: Option<TableName>,
        rows: bool,
        numbers_rows: bool,
    },
    AlterIndex {
        table: TableName,
    },
    DropTables {
        tables: Vec<TableName>,
    },
    RenameTables {
        pairs: Vec<(TableName, TableName)>,
    },
    Truncate {
        table: TableName,
    },
    CreateSchema(String),
    AlterSchema(String),
    DropSchema(String),
    /// Understood, and known not to be repeatable; says why.
    Inexact {
        table: TableName,
        why: &'static str,
    },
}

/// Verbs of statements that never change a table's shape or rows.
const HARMLESS: &[&str] = &[
    "ANALYZE",
    "OPTIMIZE",
    "REPAIR",
    "CHECK",
    "FLUSH",
    "GRANT",
    "REVOKE",
    "SAVEPOINT",
    "SET",
    "INSTALL",
    "UNINSTALL",
];

/// What CREATE, ALTER and DROP may be about, besides what moves. Triggers, events, views and routines are set up on
/// the other side as the source has them at a cutover, not as they come by.
const OTHER_OBJECTS: &[&str] = &[
    "TRIGGER",
    "EVENT",
    "VIEW",
    "PROCEDURE",
    "FUNCTION",
    "LIBRARY",
    "USER",
    "ROLE",
    "SERVER",
    "TABLESPACE",
    "LOGFILE",
    "RESOURCE",
    "INSTANCE",
    "REFERENCE",
];

/// Words that may stand between CREATE, ALTER or DROP and what it is about.
const BEFORE_OBJECT: &[&str] =
    &["OR", "REPLACE", "UNIQUE", "FULLTEXT", "SPATIAL", "UNDO", "AGGREGATE", "ONLINE", "OFFLINE", "IGNORE"];

/// Understands a statement.
///
/// # Errors
/// If its tokens cannot be told, but for those of what is harmless by its first words.
pub(super) fn parse(
    sql: &[u8],
    dialect: Dialect,
    schema: &str,
    lower_case: bool,
) -> Result<Parsed, Unreadable> {
    let Tokens { all, unreadable } = tokens(sql, dialect);
    let mut cursor = Cursor {
        tokens: &all,
        at: 0,
        schema,
        lower_case,
        unqualified: false,
        end: sql.len(),
        before_tables: Vec::new(),
    };
    let verb = cursor.word().unwrap_or_default().to_ascii_uppercase();
    match unreadable {
        // What a routine does, say, in a language of its own, need not be read.
        Some(_) if cursor.is_aside(&verb) => Ok(Parsed::Harmless),
        Some(why) => Err(why),
        None => Ok(cursor.statement(&verb).unwrap_or(Parsed::Unknown(cursor.shown(&verb)))),
    }
}

struct Cursor<'a> {
    tokens: &'a [Placed],
    at: usize,
    schema: &'a str,
    lower_case: bool,
    unqualified: bool,
    end: usize,
    /// Tokens that name the schema of a table, or a schema by itself.
    before_tables: Vec<usize>,
}

impl Cursor<'_> {
    /// `None` if it is not understood.
    fn statement(&mut self, verb: &str) -> Option<Parsed> {
        match verb {
            "BEGIN" => Some(Parsed::Begin),
            "COMMIT" => Some(Parsed::Commit),
            verb if HARMLESS.contains(&verb) => Some(Parsed::Harmless),
            "" if self.tokens.is_empty() => Some(Parsed::Harmless),
            "ROLLBACK" if self.eat("TO") => Some(Parsed::Harmless),
            "CREATE" | "ALTER" | "DROP" => self.on_object(verb),
            "RENAME" if self.eat("USER") => Some(Parsed::Harmless),
            "RENAME" if self.eat("TABLE") || self.eat("TABLES") => self.rename_tables(),
            "TRUNCATE" => {
                self.eat("TABLE");
                let table = self.table()?;
                self.change(Kind::Truncate { table })
            }
            _ => None,
        }
    }

    /// Whether the first words say that it changes no table, whatever comes behind them.
    fn is_aside(&mut self, verb: &str) -> bool {
        match verb {
            "CREATE" | "ALTER" | "DROP" => self.object().is_some_and(|object| is_other(&object)),
            verb => HARMLESS.contains(&verb),
        }
    }

    /// What CREATE, ALTER or DROP is about, or the first of its attributes.
    fn object(&mut self) -> Option<String> {
        while BEFORE_OBJECT.iter().any(|word| self.eat(word)) {}
        Some(self.word()?.to_ascii_uppercase())
    }

    fn change(&self, kind: Kind) -> Option<Parsed> {
        let schemas = schemas_named(self.tokens, &self.before_tables, self.lower_case);
        Some(Parsed::Change(Change { kind, unqualified: self.unqualified, end: self.end, schemas }))
    }

    fn on_object(&mut self, verb: &str) -> Option<Parsed> {
        let object = self.object()?;
        match (verb, object.as_str()) {
            (_, other) if is_other(other) => Some(Parsed::Harmless),
            ("CREATE", "TABLE") => self.create_table(),
            ("ALTER", "TABLE") => self.alter_table(),
            ("DROP", "TABLE" | "TABLES") => self.drop_tables(),
            ("CREATE" | "DROP", "INDEX") => self.index(),
            (_, "DATABASE" | "SCHEMA") => self.on_schema(verb),
            _ => None,
        }
    }

    fn on_schema(&mut self, verb: &str) -> Option<Parsed> {
        self.eat_all(&["IF", "NOT", "EXISTS"]);
        self.eat_all(&["IF", "EXISTS"]);
        let begun = self.at;
        let named = match self.tokens.get(self.at).map(|t| &t.token) {
            Some(Token::Name(_)) => self.identifier(),
            Some(Token::Word(w)) if verb != "ALTER" || !is_schema_option(w) => self.identifier(),
            _ => None,
        };
        self.before_tables.extend(named.is_some().then_some(begun));
        match (verb, named) {
            ("CREATE", Some(name)) => self.change(Kind::CreateSchema(name)),
            ("DROP", Some(name)) => self.change(Kind::DropSchema(name)),
            // Whether a schema may be written to is each server's own.
            ("ALTER", _) if self.is_fence() => Some(Parsed::Harmless),
            ("ALTER", Some(name)) => self.change(Kind::AlterSchema(name)),
            ("ALTER", None) => {
                self.unqualified = true;
                self.change(Kind::AlterSchema(self.schema.to_owned()))
            }
            _ => None,
        }
    }

    /// Whether what follows is `READ ONLY [=] value` and nothing else.
    fn is_fence(&mut self) -> bool {
        let begun = self.at;
        let mut fence = self.eat_all(&["READ", "ONLY"]);
        // `=` or not, a value, and the end.
        let left = &self.tokens[self.at..];
        let words = left.iter().filter(|t| matches!(t.token, Token::Word(_))).count();
        fence &= left.len() <= 2 && words <= 1;
        self.at = begun;
        fence
    }

    fn create_table(&mut self) -> Option<Parsed> {
        let if_not_exists = self.eat_all(&["IF", "NOT", "EXISTS"]);
        let table = self.table()?;
        let bracket = self.eat_symbol(b'(');
        let like = if self.eat("LIKE") { Some(self.table()?) } else { None };
        if bracket && like.is_none() {
            self.at -= 1;
        }
        if let Some(why) = self.inexact_option() {
            return self.change(Kind::Inexact { table, why });
        }
        let outside = self.words_outside_brackets();
        let rows_follow = matches!(outside.as_slice(), [.., (_, start), (last, transaction)]
            if start == "START" && transaction == "TRANSACTION" && *last + 1 == self.tokens.len());
        if rows_follow {
            self.end = self.tokens[self.tokens.len() - 2].at;
        }
        // A selection in the log is one the server did not turn into rows: it was written by another kind of log.
        if outside.iter().any(|(_, word)| matches!(word.as_str(), "SELECT" | "WITH" | "VALUES")) {
            return self.change(Kind::Inexact { table, why: "it selects rows that the log does not hold" });
        }
        self.change(Kind::CreateTable { table, like, if_not_exists, rows_follow })
    }

    fn alter_table(&mut self) -> Option<Parsed> {
        let table = self.table()?;
        if let Some(why) = self.inexact_option() {
            return self.change(Kind::Inexact { table, why });
        }
        let numbers_rows = self.gives_numbers();
        let (mut renamed, mut rows) = (None, false);
        while self.at < self.tokens.len() {
            match self.part()? {
                Part::Rename(name) => renamed = Some(name),
                Part::Rows => rows = true,
                Part::Shape => {}
                Part::Inexact(why) => return self.change(Kind::Inexact { table, why }),
            }
            self.skip_past_comma();
        }
        self.change(Kind::AlterTable { table, renamed, rows, numbers_rows })
    }

    /// How one of the parts of ALTER TABLE begins.
    fn part(&mut self) -> Option<Part> {
        let first = self.word().unwrap_or_default().to_ascii_uppercase();
        let second = self.peek_word().unwrap_or_default().to_ascii_uppercase();
        Some(match (first.as_str(), second.as_str()) {
            ("RENAME", "COLUMN") => Part::Rows,
            ("RENAME", "INDEX" | "KEY") => Part::Shape,
            ("RENAME", _) => {
                if !self.eat("TO") && !self.eat("AS") {
                    self.eat_symbol(b'=');
                }
                Part::Rename(self.table()?)
            }
            ("EXCHANGE", _) => Part::Inexact("EXCHANGE PARTITION leaves no trace of whether it was done"),
            ("DISCARD" | "IMPORT", _) => Part::Inexact("it takes rows from files"),
            (
                "ADD",
                "INDEX" | "KEY" | "UNIQUE" | "FULLTEXT" | "SPATIAL" | "FOREIGN" | "CHECK" | "CONSTRAINT",
            )
            | ("DROP", "INDEX" | "KEY" | "FOREIGN" | "CHECK" | "CONSTRAINT")
            | ("ALTER", "INDEX" | "CHECK" | "CONSTRAINT")
            | ("COMMENT" | "AUTO_INCREMENT" | "ALGORITHM" | "LOCK" | "FORCE", _) => Part::Shape,
            _ => Part::Rows,
        })
    }

    fn drop_tables(&mut self) -> Option<Parsed> {
        self.eat_all(&["IF", "EXISTS"]);
        let mut tables = vec![self.table()?];
        while self.eat_symbol(b',') {
            tables.push(self.table()?);
        }
        self.change(Kind::DropTables { tables })
    }

    fn rename_tables(&mut self) -> Option<Parsed> {
        let mut pairs = Vec::new();
        loop {
            let from = self.table()?;
            if !self.eat("TO") {
                return None;
            }
            pairs.push((from, self.table()?));
            if !self.eat_symbol(b',') {
                break;
            }
        }
        match self.at == self.tokens.len() {
            true => self.change(Kind::RenameTables { pairs }),
            false => None,
        }
    }

    /// `INDEX name [USING type] ON table`.
    fn index(&mut self) -> Option<Parsed> {
        self.identifier()?;
        while self.at < self.tokens.len() {
            if self.eat("ON") {
                let table = self.table()?;
                return self.change(Kind::AlterIndex { table });
            }
            self.at += 1;
        }
        None
    }

    fn inexact_option(&self) -> Option<&'static str> {
        let words = self.words_outside_brackets();
        let is_engine = |at: usize, word: &str| {
            let value = match self.tokens.get(at + 1).map(|t| &t.token) {
                Some(Token::Symbol(b'=')) => at + 2,
                _ => at + 1,
            };
            let innodb = matches!(self.tokens.get(value).map(|t| &t.token),
                Some(Token::Word(e) | Token::Name(e)) if e.eq_ignore_ascii_case("InnoDB"));
            // A text in quotes, which is not kept, names an engine as well; so does a column of this name, on the safe side.
            word == "ENGINE" && !innodb
        };
        words
            .iter()
            .any(|(at, word)| is_engine(*at, word))
            .then_some("its storage engine is not InnoDB, or cannot be told")
    }

    /// Whether AUTO_INCREMENT is given to a column, rather than set to a number.
    fn gives_numbers(&self) -> bool {
        (self.at..self.tokens.len()).any(|i| {
            let is_it =
                matches!(&self.tokens[i].token, Token::Word(w) if w.eq_ignore_ascii_case("AUTO_INCREMENT"));
            let next = self.tokens.get(i + 1).map(|t| &t.token);
            let is_option = match next {
                Some(Token::Symbol(b'=')) => true,
                Some(Token::Word(n)) => n.bytes().all(|b| b.is_ascii_digit()),
                _ => false,
            };
            is_it && !is_option
        })
    }

    /// The words from here on that are in no bracket, in capitals, and their places.
    fn words_outside_brackets(&self) -> Vec<(usize, String)> {
        let (mut depth, mut words) = (0_u32, Vec::new());
        for (at, placed) in self.tokens.iter().enumerate().skip(self.at) {
            match &placed.token {
                Token::Symbol(b'(') => depth += 1,
                Token::Symbol(b')') => depth = depth.saturating_sub(1),
                Token::Word(word) if depth == 0 => words.push((at, word.to_ascii_uppercase())),
                _ => {}
            }
        }
        words
    }

    fn skip_past_comma(&mut self) {
        let mut depth = 0_u32;
        while let Some(placed) = self.tokens.get(self.at) {
            self.at += 1;
            match placed.token {
                Token::Symbol(b'(') => depth += 1,
                Token::Symbol(b')') => depth = depth.saturating_sub(1),
                Token::Symbol(b',') if depth == 0 => return,
                _ => {}
            }
        }
    }

    fn peek_word(&self) -> Option<&str> {
        match &self.tokens.get(self.at)?.token {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    fn word(&mut self) -> Option<String> {
        let word = self.peek_word()?.to_owned();
        self.at += 1;
        Some(word)
    }

    fn eat(&mut self, keyword: &str) -> bool {
        let there = self.peek_word().is_some_and(|w| w.eq_ignore_ascii_case(keyword));
        self.at += usize::from(there);
        there
    }

    fn eat_all(&mut self, keywords: &[&str]) -> bool {
        let begun = self.at;
        let all = keywords.iter().all(|k| self.eat(k));
        if !all {
            self.at = begun;
        }
        all
    }

    fn eat_symbol(&mut self, symbol: u8) -> bool {
        let there = self.tokens.get(self.at).is_some_and(|t| t.token == Token::Symbol(symbol));
        self.at += usize::from(there);
        there
    }

    fn identifier(&mut self) -> Option<String> {
        let (Token::Word(name) | Token::Name(name)) = &self.tokens.get(self.at)?.token else { return None };
        self.at += 1;
        Some(if self.lower_case { name.to_lowercase() } else { name.clone() })
    }

    /// `[schema.]table`
    fn table(&mut self) -> Option<TableName> {
        let begun = self.at;
        let first = self.identifier()?;
        if self.eat_symbol(b'.') {
            self.before_tables.push(begun);
            return Some(TableName { schema: first, table: self.identifier()? });
        }
        self.unqualified = true;
        Some(TableName::new(self.schema, first))
    }

    /// The verb and the words after it that are surely no values.
    fn shown(&self, verb: &str) -> String {
        let second = self.tokens.get(1).and_then(|t| match &t.token {
            Token::Word(w) if w.bytes().all(|b| b.is_ascii_alphabetic()) => Some(w.to_ascii_uppercase()),
            _ => None,
        });
        match second {
            Some(second) => format!("{verb} {second}"),
            None => verb.to_owned(),
        }
    }
}

/// What a part of ALTER TABLE does.
enum Part {
    Rename(TableName),
    /// May change rows.
    Rows,
    /// Changes the definition only.
    Shape,
    Inexact(&'static str),
}

/// Whether this is no table, index or schema.
fn is_other(object: &str) -> bool {
    // Views and routines begin with attributes; their own names come later.
    OTHER_OBJECTS.contains(&object) || ["ALGORITHM", "DEFINER", "SQL", "TEMPORARY"].contains(&object)
}

fn is_schema_option(word: &str) -> bool {
    ["DEFAULT", "CHARACTER", "CHARSET", "COLLATE", "ENCRYPTION", "READ"]
        .iter()
        .any(|option| word.eq_ignore_ascii_case(option))
}

#[cfg(test)]
mod tests;
