//! A CREATE TABLE statement, as SHOW CREATE TABLE prints it, taken apart without understanding more than it must.
//!
//! ```text
//! CREATE TABLE `t` (   item , item , ... item   ) ENGINE=InnoDB ...
//! └───── head ─────┘ └──────── items ─────────┘ └────── tail ──────┘
//! ```
//!
//! Invariant: head, items and tail are slices of the statement; nothing is written anew, so what is put together again
//! differs from the original by what is left out and by nothing else. What is not understood is an item like any other.

use sql::lexer::{self, Lexer, Token as Piece};
use sql::reading::Reading;

/// A statement in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTable<'a> {
    head: &'a [u8],
    /// Columns, keys and constraints, without the commas between them.
    pub items: Vec<Item<'a>>,
    tail: &'a [u8],
}

/// A column, key or constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its text, without blanks around it.
    pub text: &'a [u8],
}

/// A secondary index that is not unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: Vec<u8>,
    /// Its columns; `None` where a part is an expression.
    pub columns: Vec<Option<Vec<u8>>>,
    /// What kind it is.
    pub kind: IndexKind,
}

/// Kinds of secondary indexes that are not unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexKind {
    /// `KEY`
    Plain,
    /// `FULLTEXT KEY`
    FullText,
    /// `SPATIAL KEY`
    Spatial,
}

impl<'a> CreateTable<'a> {
    /// Takes a statement apart; `None` if it has no list in parentheses that ends.
    pub fn parse(statement: &'a [u8]) -> Option<Self> {
        let mut depth = 0_usize;
        let mut start = None;
        let mut items = Vec::new();
        let mut tokens = Tokens::of(statement);
        while let Some(token) = tokens.next() {
            // The server prints no such comment, and items put together again would be in it.
            if tokens.line {
                return None;
            }
            match (token.kind, depth) {
                (Kind::Open, 0) => {
                    start = Some((token.end, token.end));
                    depth = 1;
                }
                (Kind::Open, _) => depth += 1,
                (Kind::Comma, 1) => {
                    let (list, from) = start?;
                    items.push(Item { text: statement.get(from..token.start)?.trim_ascii() });
                    start = Some((list, token.end));
                }
                (Kind::Close, 1) => {
                    let (list, from) = start?;
                    items.push(Item { text: statement.get(from..token.start)?.trim_ascii() });
                    return Some(Self {
                        head: statement.get(..list)?,
                        items,
                        tail: statement.get(token.start..)?,
                    });
                }
                (Kind::Close, _) => depth = depth.checked_sub(1)?,
                _ => {}
            }
        }
        None
    }

    /// What follows the items: engine, options and partitions.
    pub(super) fn tail(&self) -> &'a [u8] {
        self.tail
    }

    /// The table's collation, where the statement names it.
    fn collation(&self) -> Option<&'a [u8]> {
        let mut tokens = Tokens::of(self.tail);
        tokens.find(|t| t.is_word("COLLATE"))?;
        tokens.find(|t| t.kind == Kind::Word).map(|t| t.text)
    }

    /// The statement again, with the items that `kept` chooses, and without the collations that columns have from the
    /// table. The server prints those without a character set; read back, they would count as the column's own, and be
    /// printed with one (sql_show.cc, store_create_info: a column's collation is explicit or inherited).
    pub fn as_created(&self, kept: impl Fn(usize) -> bool) -> Vec<u8> {
        let collation = self.collation();
        let items = self.items.iter().enumerate().filter(|(i, _)| kept(*i));
        let texts: Vec<Vec<u8>> = items.map(|(_, item)| item.without_inherited(collation)).collect();
        [self.head, b"\n  ", &texts.join(b",\n  ".as_slice()), b"\n", self.tail].concat()
    }

    /// The column that is AUTO_INCREMENT.
    pub fn auto_increment(&self) -> Option<Vec<u8>> {
        self.items.iter().find_map(|item| {
            let mut tokens = Tokens::of(item.text);
            let name = tokens.next().filter(|t| t.kind == Kind::Name)?.name();
            tokens.any(|t| t.is_word("AUTO_INCREMENT")).then_some(name)
        })
    }
}

impl Item<'_> {
    /// The text without a collation that is the table's.
    fn without_inherited(&self, table: Option<&[u8]>) -> Vec<u8> {
        let all = || self.text.to_vec();
        let mut tokens = Tokens::of(self.text);
        if tokens.next().is_none_or(|t| t.kind != Kind::Name) {
            return all();
        }
        let mut depth = 0_usize;
        while let Some(token) = tokens.next() {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.saturating_sub(1),
                // It has a character set of its own.
                _ if depth == 0 && token.is_word("CHARACTER") => return all(),
                _ if depth == 0 && token.is_word("COLLATE") => {
                    let Some(name) = tokens.next().filter(|t| Some(t.text) == table) else { return all() };
                    let before = self.text.get(..token.start).unwrap_or_default().trim_ascii_end();
                    return [before, self.text.get(name.end..).unwrap_or_default()].concat();
                }
                _ => {}
            }
        }
        all()
    }

    /// The index this is, if it is one that is neither unique nor the primary key.
    pub fn index(&self) -> Option<Index> {
        let mut tokens = Tokens::of(self.text).peekable();
        let kind = match tokens.peek()? {
            t if t.is_word("FULLTEXT") => IndexKind::FullText,
            t if t.is_word("SPATIAL") => IndexKind::Spatial,
            _ => IndexKind::Plain,
        };
        if kind != IndexKind::Plain {
            tokens.next();
        }
        tokens.next().filter(|t| t.is_word("KEY"))?;
        let name = tokens.next().filter(|t| t.kind == Kind::Name)?.name();
        let mut columns = Vec::new();
        let mut depth = 0_usize;
        // The first token of a part says what it is: a name, or the parenthesis of an expression.
        let mut begins = true;
        for token in tokens {
            match token.kind {
                Kind::Open if depth == 0 => depth = 1,
                Kind::Comma if depth == 1 => begins = true,
                Kind::Close if depth == 1 => return Some(Index { name, columns, kind }),
                kind => {
                    if begins {
                        columns.push((kind == Kind::Name).then(|| token.name()));
                        begins = false;
                    }
                    match kind {
                        Kind::Open => depth += 1,
                        Kind::Close => depth = depth.checked_sub(1)?,
                        _ => {}
                    }
                }
            }
        }
        None
    }
}

/// Whether an event runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventStatus {
    /// It runs.
    Enabled,
    /// It does not.
    Disabled,
    /// It does not run here, because it runs on another server.
    DisabledOnReplica,
}

impl EventStatus {
    /// As CREATE EVENT takes it.
    pub fn clause(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLE",
            Self::Disabled => "DISABLE",
            Self::DisabledOnReplica => "DISABLE ON REPLICA",
        }
    }
}

/// Takes a CREATE EVENT statement, as SHOW CREATE EVENT prints it, apart at the clause that says whether it runs.
pub fn split_event(statement: &[u8]) -> Option<(&[u8], EventStatus, &[u8])> {
    let mut tokens = Tokens::of(statement);
    loop {
        // The clause always follows this one, which no schedule can hold: texts and names are tokens of their own.
        if tokens.next()?.is_word("COMPLETION") {
            break;
        }
    }
    let mut status = tokens.next()?;
    while status.is_word("NOT") || status.is_word("PRESERVE") {
        status = tokens.next()?;
    }
    if status.is_word("ENABLE") {
        return Some((statement.get(..status.start)?, EventStatus::Enabled, statement.get(status.end..)?));
    }
    if !status.is_word("DISABLE") {
        return None;
    }
    let disabled =
        Some((statement.get(..status.start)?, EventStatus::Disabled, statement.get(status.end..)?));
    if !tokens.next()?.is_word("ON") {
        return disabled;
    }
    let replica = tokens.next().filter(|t| t.is_word("REPLICA") || t.is_word("SLAVE"))?;
    Some((statement.get(..status.start)?, EventStatus::DisabledOnReplica, statement.get(replica.end..)?))
}

/// What a piece of a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// In backquotes.
    Name,
    /// In single or double quotes.
    Text,
    /// Letters, digits, `_`, `$`, and all that is not ASCII.
    Word,
    Open,
    Close,
    Comma,
    Other,
}

/// A piece of a statement and where it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub kind: Kind,
    start: usize,
    end: usize,
    pub text: &'a [u8],
    piece: Piece<'a>,
}

impl Token<'_> {
    pub fn is_word(&self, word: &str) -> bool {
        self.piece.is_word(word)
    }

    /// A name without its quotes.
    pub fn name(&self) -> Vec<u8> {
        self.piece.name()
    }
}

/// The pieces of a statement in order; blanks and comments are passed over. A comment that begins with `/*!` is code to
/// the server, so what is in it counts. Backslashes escape, as in every session without NO_BACKSLASH_ESCAPES, ours among them.
pub(super) struct Tokens<'a> {
    lexer: Lexer<'a>,
    /// A comment was passed over that goes to the end of its line.
    line: bool,
}

impl<'a> Tokens<'a> {
    pub fn of(text: &'a [u8]) -> Self {
        Self { lexer: Lexer::new(text, Reading::plain(true)), line: false }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let start = self.lexer.at();
            let piece = self.lexer.next()?;
            let kind = match piece.kind {
                lexer::Kind::Name => Kind::Name,
                lexer::Kind::Text => Kind::Text,
                lexer::Kind::Word => Kind::Word,
                lexer::Kind::Sign if piece.is_sign(b'(') => Kind::Open,
                lexer::Kind::Sign if piece.is_sign(b')') => Kind::Close,
                lexer::Kind::Sign if piece.is_sign(b',') => Kind::Comma,
                lexer::Kind::Sign | lexer::Kind::Doubt => Kind::Other,
                lexer::Kind::Comment => {
                    self.line |= !piece.text.starts_with(b"/");
                    continue;
                }
                lexer::Kind::Blank | lexer::Kind::Open | lexer::Kind::Close | lexer::Kind::Rest => continue,
            };
            return Some(Token { kind, start, end: self.lexer.at(), text: piece.text, piece });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARD: &str = "CREATE TABLE `a(b,``c` (
  `id` int NOT NULL AUTO_INCREMENT COMMENT 'it''s, (a) \\' `b',
  `x)` varchar(3) DEFAULT '),(' /*!80023 INVISIBLE */,
  `e` enum('a,b','c)','d\\\\') DEFAULT NULL,
  `g` int GENERATED ALWAYS AS (if((`id` > 3),\")\",_utf8mb4'\\'(')) VIRTUAL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `u` (`x)`),
  KEY `k,1` (`x)`(2) DESC,`e`) USING BTREE COMMENT 'c, d' /*!80000 INVISIBLE */,
  KEY `f` ((lower(`x)`)),`id`),
  FULLTEXT KEY `ft` (`x)`) /*!50100 WITH PARSER `ngram` */ ,
  SPATIAL KEY `sp``x` (`g`),
  CONSTRAINT `fk` FOREIGN KEY (`id`) REFERENCES `p` (`id`) ON DELETE CASCADE,
  CONSTRAINT `chk` CHECK ((`id` > 0)) /*!80016 NOT ENFORCED */
) ENGINE=InnoDB COMMENT='a), (b'
/*!50100 PARTITION BY RANGE (`id`)
(PARTITION `p)0` VALUES LESS THAN (10) ENGINE = InnoDB) */";

    fn parsed() -> CreateTable<'static> {
        CreateTable::parse(HARD.as_bytes()).unwrap()
    }

    #[test]
    fn a_statement_put_together_again_is_itself() {
        let table = parsed();
        assert_eq!(table.items.len(), 12);
        // The server writes a blank before the comma that follows a parser's name.
        let same = HARD.replace("*/ ,", "*/,");
        assert_eq!(String::from_utf8(table.as_created(|_| true)).unwrap(), same);
    }

    #[test]
    fn leaving_an_item_out_changes_nothing_else() {
        let without = String::from_utf8(parsed().as_created(|i| i != 11 && i != 6)).unwrap();
        assert!(without.contains("`u` (`x)`),\n  KEY `f`"), "{without}");
        assert!(
            without.contains("ON DELETE CASCADE\n) ENGINE=InnoDB COMMENT='a), (b'\n/*!50100"),
            "{without}"
        );
    }

    #[test]
    fn only_indexes_that_are_not_unique_count_as_such() {
        let indexes: Vec<_> = parsed().items.iter().filter_map(Item::index).collect();
        let named = |i: usize| String::from_utf8(indexes[i].name.clone()).unwrap();
        assert_eq!(indexes.len(), 4);
        assert_eq!([named(0), named(1), named(2), named(3)], ["k,1", "f", "ft", "sp`x"]);
        assert_eq!(indexes[0].columns, [Some(b"x)".to_vec()), Some(b"e".to_vec())]);
        assert_eq!(indexes[1].columns, [None, Some(b"id".to_vec())]);
        let kinds: Vec<_> = indexes.iter().map(|i| i.kind).collect();
        use IndexKind::{FullText, Plain, Spatial};
        assert_eq!(kinds, [Plain, Plain, FullText, Spatial]);
    }

    #[test]
    fn the_numbered_column_is_found_and_a_comment_about_one_is_not() {
        assert_eq!(parsed().auto_increment(), Some(b"id".to_vec()));
        let none = b"CREATE TABLE `t` (`a` int COMMENT 'AUTO_INCREMENT', KEY `AUTO_INCREMENT` (`a`))";
        assert_eq!(CreateTable::parse(none).unwrap().auto_increment(), None);
    }

    #[test]
    fn an_events_status_is_found_where_it_is_and_not_where_it_is_spoken_of() {
        let check = |clause: &str, status: EventStatus| {
            let sql = format!(
                "CREATE DEFINER=`ON COMPLETION`@`%` EVENT `e` ON SCHEDULE EVERY '1:1' HOUR_MINUTE STARTS '2030-01-01 \
                 00:00:00' ON COMPLETION NOT PRESERVE {clause} COMMENT 'ENABLE' DO SET @x = 'ON COMPLETION PRESERVE ENABLE'"
            );
            let (before, found, after) = split_event(sql.as_bytes()).unwrap();
            assert_eq!(found, status);
            assert!(before.ends_with(b"NOT PRESERVE ") && after.starts_with(b" COMMENT"), "{clause}");
            let cut = (0..sql.len()).filter_map(|end| split_event(&sql.as_bytes()[..end])).count();
            assert!(cut > 0);
        };
        check("ENABLE", EventStatus::Enabled);
        check("DISABLE", EventStatus::Disabled);
        check("DISABLE ON REPLICA", EventStatus::DisabledOnReplica);
        check("DISABLE ON SLAVE", EventStatus::DisabledOnReplica);
        assert_eq!(split_event(b"CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1"), None);
    }

    #[test]
    fn a_collation_is_left_out_only_where_it_is_the_tables() {
        let check = |column: &str, wanted: &str| {
            let sql = format!(
                "CREATE TABLE `t` (\n  {column}\n) ENGINE=InnoDB DEFAULT CHARSET=latin2 COLLATE=latin2_bin COMMENT='x'"
            );
            let made = CreateTable::parse(sql.as_bytes()).unwrap().as_created(|_| true);
            assert_eq!(String::from_utf8(made).unwrap(), sql.replace(column, wanted));
        };
        check("`a` varchar(3) COLLATE latin2_bin DEFAULT 'x'", "`a` varchar(3) DEFAULT 'x'");
        check("`COLLATE` text COLLATE latin2_bin", "`COLLATE` text");
        let own = "`a` varchar(3) CHARACTER SET latin2 COLLATE latin2_bin NOT NULL";
        check(own, own);
        let computed = "`a` varchar(3) GENERATED ALWAYS AS ((`b` collate latin2_bin)) VIRTUAL COMMENT 'COLLATE latin2_bin'";
        check(computed, computed);
        check("`a` text COLLATE utf8mb4_bin", "`a` text COLLATE utf8mb4_bin");
    }

    #[test]
    fn cut_at_any_byte_it_is_refused_and_nothing_panics() {
        for end in 0..HARD.len() {
            let cut = &HARD.as_bytes()[..end];
            if let Some(table) = CreateTable::parse(cut) {
                assert_eq!(table.items.len(), 12, "{end}");
            }
            for item in [Item { text: cut }, Item { text: &HARD.as_bytes()[end..] }] {
                item.index();
            }
        }
        assert!(CreateTable::parse(b"CREATE TABLE `t` SELECT 1").is_none());
        assert!(CreateTable::parse(b"CREATE TABLE t (a int /* ) */").is_none());
    }

    #[test]
    fn a_comment_of_a_line_is_none_that_a_server_prints() {
        assert!(CreateTable::parse(b"CREATE TABLE `t` (`a` int -- , x\n, `b` int)").is_none());
        let shown = b"CREATE TABLE `t` (`a` int DEFAULT (1 - -1) /* , */, `b` int)";
        assert_eq!(CreateTable::parse(shown).unwrap().items.len(), 2);
    }
}
