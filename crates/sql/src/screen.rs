//! What a statement's text says about session state that the server does not report.
//!
//! The server's trackers are what the door goes by; the text can only make it *more* careful. Tried on 9.7.4
//! with every tracker on:
//!
//! | statement | reported |
//! |---|---|
//! | `SET @a = 1`, `CREATE/DROP TEMPORARY TABLE`, text `PREPARE` and `DEALLOCATE` | STATE '1' |
//! | `COM_STMT_PREPARE`, `_EXECUTE`, `_CLOSE` | nothing (rightly: the door prepares again by itself) |
//! | `SET NAMES x`, `SET var = x` | the variables that are listed, and STATE '1' |
//! | `SET NAMES x COLLATE y` | the three `character_set_` variables, **not** `collation_connection` |
//! | `USE s`, `COM_INIT_DB` | the schema, and STATE '1' |
//! | `CALL p()` that does `SET @z` and `SET SESSION v` | the variable, and STATE '1': `@z` hides behind it |
//! | `LOCK TABLES`, `UNLOCK TABLES` | transaction state `_______L`, `________` |
//! | `SET TRANSACTION ...` (the next one only) | characteristics, emptied once used |
//! | `SET timestamp = DEFAULT` | `timestamp` with its *old* value |
//! | `CREATE TEMPORARY TABLE ... SELECT` | **nothing** |
//! | `GET_LOCK()`, `FLUSH ... WITH READ LOCK`, `LOCK INSTANCE`, `HANDLER ... OPEN` | **nothing** |
//! | `SELECT @b := 3`, `SELECT 5 INTO @c`, `SET ROLE`, `SET RESOURCE GROUP` | **nothing** |
//! | with `session_track_system_variables = '*'`: everything | `statement_id`, with each statement |
//!
//! So STATE '1' counts as explained by a variable or schema beside it only if the text is nothing but `SET` of listed
//! variables and `USE`, and the unreported ones are looked for here. What a stored function or procedure does unreported
//! (`GET_LOCK` in its body, say) cannot be seen by anyone outside the server; so a session that calls a procedure keeps its
//! backend to itself.
//!
//! A `SAVEPOINT` while autocommit is off and no transaction has begun is reported as nothing either, not even by the status
//! flags: the transaction that begins afterwards has it.
//!
//! Also told: whether a statement asks what the one before it left behind (`SHOW WARNINGS`, `ROW_COUNT()`), which only the
//! backend of that one can say.

use crate::tracked::TRACKED;

/// Reads a statement's text, in pieces cut anywhere.
#[derive(Debug)]
pub struct Screen {
    state: State,
    /// Whether a backslash escapes inside quotes.
    backslash: bool,
    /// The last byte of code, to tell `a@b` (an account) from `@b` (a variable).
    before: u8,
    word: [u8; WORD_MAX],
    word_len: usize,
    /// The byte before the word.
    word_before: u8,
    /// Bytes of the word before this one.
    last_len: usize,
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

/// The longest word that is looked at; the longest variable's name has 47 bytes.
const WORD_MAX: usize = 48;
/// Why a session with these keeps its backend.
const COUNTS: &str = "it asks for ROW_COUNT() or FOUND_ROWS()";

/// What the text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screened {
    /// Every statement is a `SET` or a `USE`: a reported variable or schema explains a reported state change.
    pub explains: bool,
    /// State that the server will not report and that no other backend can be given.
    pub pins: Option<&'static str>,
    /// Why the backend cannot be lent to others after this, though the session could be moved.
    pub keeps: Option<&'static str>,
    /// What it asks about the statement before.
    pub asks: Asks,
    /// It may set what `LAST_INSERT_ID()` returns without its being reported.
    pub sets_insert_id: bool,
    /// A `SET` with `COLLATE`: what it reports as a character set has another collation than the default one.
    pub collates: bool,
    /// A statement begins with KILL.
    pub kills: bool,
    /// The last of its statements about savepoints sets one (`true`), or ends the transaction they belong to (`false`).
    pub savepoint: Option<bool>,
    /// A statement loads a file of the client's.
    pub loads_local: bool,
    /// It may ask for `CONNECTION_ID()`.
    pub asks_id: bool,
}

/// What a statement asks about the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// Nothing.
    Nothing,
    /// Its warnings and errors.
    Diagnostics,
    /// How many rows it changed.
    RowCount,
    /// How many rows the last query found.
    FoundRows,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    None,
    RowCount,
    FoundRows,
    InsertId,
    InsertIdOpen,
}

impl Screened {
    /// For commands that are no statements, such as `COM_INIT_DB`.
    pub const COMMAND: Self = Self {
        explains: true,
        pins: None,
        keeps: None,
        asks: Asks::Nothing,
        sets_insert_id: false,
        collates: false,
        kills: false,
        savepoint: None,
        loads_local: false,
        asks_id: false,
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    /// After one `@`.
    At,
    /// After `-`, `--`, `/`, and inside their comments.
    Dash,
    DashDash,
    Slash,
    LineComment,
    BlockStart,
    BlockComment,
    BlockStar,
    Quote(u8),
    Escape(u8),
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

impl Screen {
    /// A screen for a session in which a backslash escapes, or not (`NO_BACKSLASH_ESCAPES`).
    pub fn new(backslash: bool) -> Self {
        Self {
            state: State::Code,
            backslash,
            before: b' ',
            word: [0; WORD_MAX],
            word_len: 0,
            word_before: b' ',
            last_len: 0,
            call: Call::None,
            parentheses: 0,
            later: false,
            assigned: false,
            words: 0,
            keyword: Keyword::Other,
            found: Screened::COMMAND,
        }
    }

    /// The verdict on a whole text.
    pub fn of(text: &[u8], backslash: bool) -> Screened {
        let mut screen = Self::new(backslash);
        screen.feed(text);
        screen.end()
    }

    /// Reads the next piece.
    pub fn feed(&mut self, text: &[u8]) {
        for &b in text {
            self.byte(b);
        }
    }

    /// The verdict, once all has been read.
    pub fn end(mut self) -> Screened {
        self.end_word();
        self.found
    }

    fn byte(&mut self, b: u8) {
        match self.state {
            State::Code => self.code(b),
            State::At if b == b'@' => self.state = State::Code,
            State::At => {
                self.pin("it uses user variables");
                self.state = State::Code;
                self.code(b);
            }
            State::Dash => {
                self.state = if b == b'-' { State::DashDash } else { State::Code };
                if b != b'-' {
                    self.code(b);
                }
            }
            // `--` begins a comment only before white space; `5--3` is arithmetic.
            State::DashDash => {
                self.state = match b {
                    b'\n' => State::Code,
                    b' ' | b'\t' | b'\r' => State::LineComment,
                    _ => State::Code,
                };
                if self.state == State::Code && b != b'\n' {
                    self.code(b);
                }
            }
            State::Slash if b == b'*' => self.state = State::BlockStart,
            State::Slash => {
                self.state = State::Code;
                self.code(b);
            }
            State::LineComment if b == b'\n' => self.state = State::Code,
            State::LineComment => {}
            // `/*!80000 code */`: what is inside may run, so it is read as code; its `*/` then reads as operators.
            State::BlockStart if b == b'!' => self.state = State::Code,
            State::BlockStart | State::BlockComment | State::BlockStar if b == b'*' => {
                self.state = State::BlockStar
            }
            State::BlockStar if b == b'/' => self.state = State::Code,
            State::BlockStart | State::BlockStar | State::BlockComment => self.state = State::BlockComment,
            State::Quote(q) if b == q => {
                self.before = q;
                self.state = State::Code;
            }
            State::Quote(q) if b == b'\\' && self.backslash && q != b'`' => self.state = State::Escape(q),
            State::Quote(_) => {}
            State::Escape(q) => self.state = State::Quote(q),
        }
    }

    fn code(&mut self, b: u8) {
        if b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80 {
            if self.word_len == 0 {
                self.word_before = self.before;
            }
            if let Some(slot) = self.word.get_mut(self.word_len) {
                *slot = b.to_ascii_uppercase();
            }
            self.word_len += 1;
            self.before = b;
            return;
        }
        self.end_word();
        self.calls(b);
        match b {
            b'(' => self.parentheses = self.parentheses.saturating_add(1),
            b')' => self.parentheses = self.parentheses.saturating_sub(1),
            b'=' if self.keyword == Keyword::Set && self.parentheses == 0 => self.assigns(),
            b'@' if !is_name(self.before) => self.state = State::At,
            b'\'' | b'"' | b'`' => self.state = State::Quote(b),
            b'-' => self.state = State::Dash,
            b'/' => self.state = State::Slash,
            b'#' => self.state = State::LineComment,
            b';' => {
                self.later |= self.words > 0;
                (self.words, self.keyword, self.parentheses) = (0, Keyword::Other, 0);
            }
            _ => {}
        }
        self.before = b;
    }

    /// A byte of code that is no part of a word, perhaps behind a function's name.
    fn calls(&mut self, b: u8) {
        self.call = match (self.call, b) {
            // Comments count as blanks: a call that is none does no harm.
            (call, b' ' | b'\t' | b'\r' | b'\n' | b'/' | b'#') => call,
            (call @ (Call::RowCount | Call::FoundRows | Call::InsertId), b'-') => call,
            (Call::RowCount, b'(') => {
                self.asks(Asks::RowCount);
                Call::None
            }
            (Call::FoundRows, b'(') => {
                self.asks(Asks::FoundRows);
                Call::None
            }
            (Call::InsertId, b'(') => Call::InsertIdOpen,
            (Call::InsertIdOpen, b')') => Call::None,
            (Call::InsertIdOpen, _) => {
                self.found.sets_insert_id = true;
                Call::None
            }
            _ => Call::None,
        };
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
        let name = self.word.get(..self.last_len).unwrap_or_default();
        let listed = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
        self.found.explains &= TRACKED.split(',').any(listed);
        if name == b"GTID_NEXT" {
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

    fn end_word(&mut self) {
        let len = std::mem::take(&mut self.word_len);
        if len > 0 {
            self.last_len = len;
            if self.call == Call::InsertIdOpen {
                self.found.sets_insert_id = true;
            }
            self.call = Call::None;
        }
        let Some(word) = self.word.get(..len).filter(|w| !w.is_empty()) else {
            // A word longer than any that matters.
            if len > 0 {
                self.found.explains &= self.words > 0;
                self.words += 1;
            }
            return;
        };
        // The version number of an executable comment is no word of the statement.
        if self.words == 0 && word.iter().all(u8::is_ascii_digit) {
            return;
        }
        let first = self.words == 0;
        let second = self.words == 1;
        self.words += 1;
        let pins = match word {
            b"GET_LOCK" => Some("it may hold a user lock (GET_LOCK)"),
            b"HANDLER" if first => Some("it may have a table open with HANDLER"),
            b"BINLOG" if first => Some("it runs BINLOG statements"),
            b"ROLE" if second && self.keyword == Keyword::Set => Some("it changed its roles (SET ROLE)"),
            b"RESOURCE" if second && self.keyword == Keyword::Set => Some("it changed its resource group"),
            b"INSTANCE" if second && self.keyword == Keyword::Lock => Some("it may hold the instance lock"),
            b"TEMPORARY" if second && self.keyword == Keyword::Create => Some("it has a temporary table"),
            b"LOCK" | b"EXPORT" if self.keyword == Keyword::Flush => Some("it may hold a global read lock"),
            _ => None,
        };
        let collates = self.keyword == Keyword::Set && word == b"COLLATE";
        let asks = match word {
            b"WARNINGS" | b"ERRORS" if self.keyword == Keyword::Show => Asks::Diagnostics,
            b"DIAGNOSTICS" if self.keyword == Keyword::Get => Asks::Diagnostics,
            b"WARNING_COUNT" | b"ERROR_COUNT" if matches!(self.word_before, b'@' | b'.') => Asks::Diagnostics,
            _ => Asks::Nothing,
        };
        self.call = match word {
            b"ROW_COUNT" => Call::RowCount,
            b"FOUND_ROWS" => Call::FoundRows,
            b"LAST_INSERT_ID" => Call::InsertId,
            _ => Call::None,
        };
        let keeps = match word {
            b"CALL" if first => Some("it called a procedure, which can do what the server does not report"),
            b"XA" if first => Some("it uses XA transactions"),
            b"SQL_CALC_FOUND_ROWS" => Some(COUNTS),
            _ => None,
        };
        if first {
            self.found.sets_insert_id |= matches!(word, b"CALL" | b"EXECUTE" | b"LOAD");
            self.keyword = match word {
                b"SET" => Keyword::Set,
                b"CREATE" => Keyword::Create,
                b"SHOW" => Keyword::Show,
                b"GET" => Keyword::Get,
                b"FLUSH" => Keyword::Flush,
                b"LOAD" => Keyword::Load,
                b"LOCK" => Keyword::Lock,
                b"ROLLBACK" => Keyword::Rollback,
                _ => Keyword::Other,
            };
            self.found.explains &= matches!(word, b"SET" | b"USE");
            self.found.kills |= word == b"KILL";
            self.found.savepoint = match word {
                b"SAVEPOINT" => Some(true),
                b"COMMIT" | b"ROLLBACK" => Some(false),
                _ => self.found.savepoint,
            };
        } else if self.keyword == Keyword::Rollback && word == b"TO" {
            // Back to one, which stays.
            self.found.savepoint = Some(true);
        }
        self.found.asks_id |= matches!(word, b"CONNECTION_ID" | b"PSEUDO_THREAD_ID");
        // LOAD DATA [LOW_PRIORITY | CONCURRENT] LOCAL, with an executable comment's version perhaps.
        self.found.loads_local |= self.keyword == Keyword::Load && self.words <= 5 && word == b"LOCAL";
        if let Some(reason) = pins {
            self.pin(reason);
        }
        if self.found.keeps.is_none() {
            self.found.keeps = keeps;
        }
        if asks != Asks::Nothing {
            self.asks(asks);
        }
        if collates {
            self.collates();
        }
    }

    fn pin(&mut self, reason: &'static str) {
        self.found.pins.get_or_insert(reason);
    }
}

/// Whether an `@` after this byte belongs to an account name: `a@b`, `'a'@'b'`.
fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'\'' | b'"' | b'`') || b >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, explains: bool, pins: bool) {
        let whole = Screen::of(text.as_bytes(), true);
        assert_eq!((whole.explains, whole.pins.is_some()), (explains, pins), "{text}");
        let mut cut = Screen::new(true);
        text.as_bytes().chunks(1).for_each(|piece| cut.feed(piece));
        assert_eq!(cut.end(), whole, "{text}");
    }

    #[test]
    fn only_set_and_use_explain_a_state_change() {
        check("SET NAMES utf8mb4", true, false);
        check("  /* app */ set names utf8mb4 collate utf8mb4_bin;", true, false);
        check("/*!40101 SET NAMES utf8mb4 */", true, false);
        check("USE shop; SET sql_mode = ''", true, false);
        check("SET NAMES utf8mb4; CALL p()", false, false);
        check("SELECT 1", false, false);
        check("some_word_longer_than_any_keyword(1)", false, false);
    }

    #[test]
    fn user_variables_pin_and_system_variables_and_accounts_do_not() {
        check("SELECT @a", false, true);
        check("SELECT 1 INTO @a", false, true);
        check("SET @a=1, time_zone='+00:00'", false, true);
        check("SET time_zone='+00:00',@a=1", false, true);
        check("CALL p(@out)", false, true);
        check("SELECT @@time_zone, @@session.sql_mode", false, false);
        check("GRANT SELECT ON *.* TO 'a'@'%'", false, false);
        check("GRANT SELECT ON *.* TO a@localhost", false, false);
        check("CREATE DEFINER=`a`@`b` VIEW v AS SELECT 1", false, false);
    }

    #[test]
    fn quotes_and_comments_hide_what_they_hold() {
        check("SELECT 'x @a', \" @b\", ` @c`", false, false);
        check("SELECT 'it''s @a', 'it\\'s @a'", false, false);
        check("SELECT 1 -- @a\n, 2 # @b\n /* @c **/", false, false);
        check("SELECT 5--@a", false, true);
        check("SELECT 'a' /* ' */, @b", false, true);
        check("/*!50000 SET @a = 1 */", false, true);
        assert_eq!(Screen::of(b"SELECT '\\', @a, '", false).pins, Some("it uses user variables"));
        assert_eq!(Screen::of(b"SELECT '\\', @a, '", true).pins, None);
    }

    #[test]
    fn what_the_server_does_not_report_pins() {
        check("SELECT get_lock('x', 1)", false, true);
        check("FLUSH TABLES WITH READ LOCK", false, true);
        check("FLUSH TABLES t FOR EXPORT", false, true);
        check("FLUSH TABLES", false, false);
        check("LOCK INSTANCE FOR BACKUP", false, true);
        check("LOCK TABLES t READ", false, false);
        check("HANDLER t OPEN", false, true);
        check("CREATE TEMPORARY TABLE t SELECT 5", false, true);
        check("CREATE TABLE temporary_t (i INT)", false, false);
        check("SET ROLE admin", true, true);
        check("SET RESOURCE GROUP r", true, true);
        check("SELECT role, handler, lock_instance FROM t", false, false);
    }

    #[test]
    fn an_assignment_explains_only_what_the_server_is_asked_to_report() {
        check("SET time_zone = '+00:00', @@session.sql_mode=''", true, false);
        check("SET time_zone = '+00:00', timestamp = 1", false, false);
        check("SET collation_server = latin1_bin, time_zone = 'UTC'", false, false);
        check("SET sql_select_limit = (1 = 2)", true, false);
        check("SET NAMES utf8mb4 COLLATE utf8mb4_bin, time_zone = 'UTC'", true, true);
        check("SET gtid_next = 'AUTOMATIC'", false, true);
    }

    #[test]
    fn what_is_asked_about_the_statement_before_is_told() {
        let asks = |text: &str| Screen::of(text.as_bytes(), true).asks;
        for text in
            ["show warnings", "SHOW COUNT(*) ERRORS", "GET DIAGNOSTICS @a = NUMBER", "SELECT @@warning_count"]
        {
            assert_eq!(asks(text), Asks::Diagnostics, "{text}");
        }
        assert_eq!(asks("SELECT ROW_COUNT()"), Asks::RowCount);
        assert_eq!(asks("select row_count() + found_rows /**/ ( )"), Asks::FoundRows);
        for text in [
            "SELECT warnings FROM t",
            "SELECT row_count FROM t",
            "UPDATE t SET a = 1; SELECT ROW_COUNT()",
            "SELECT 'ROW_COUNT()'",
        ] {
            assert_eq!(asks(text), Asks::Nothing, "{text}");
        }
    }

    #[test]
    fn what_may_set_the_last_insert_id_unseen_is_told() {
        let sets = |text: &str| Screen::of(text.as_bytes(), true).sets_insert_id;
        for text in [
            "SELECT LAST_INSERT_ID(5)",
            "UPDATE t SET n = last_insert_id(n + 1)",
            "CALL p()",
            "SELECT last_insert_id ( -1)",
        ] {
            assert!(sets(text), "{text}");
        }
        for text in [
            "SELECT LAST_INSERT_ID()",
            "SELECT LAST_INSERT_ID( ), 5",
            "SELECT last_insert_id FROM t (5)",
            "SELECT 1",
        ] {
            assert!(!sets(text), "{text}");
        }
    }

    #[test]
    fn what_keeps_a_backend_is_told() {
        let keeps = |text: &str| Screen::of(text.as_bytes(), true).keeps.is_some();
        for text in ["CALL p()", "SELECT SQL_CALC_FOUND_ROWS 1", "SELECT FOUND_ROWS()", "XA START 'a'"] {
            assert!(keeps(text), "{text}");
        }
        assert!(!keeps("SELECT call, xa FROM t"));
    }

    #[test]
    fn savepoints_and_what_ends_them_are_told() {
        let savepoint = |text: &str| Screen::of(text.as_bytes(), true).savepoint;
        assert_eq!(savepoint("/* a */ savepoint s"), Some(true));
        assert_eq!(savepoint("ROLLBACK WORK TO SAVEPOINT s"), Some(true));
        assert_eq!(savepoint("SAVEPOINT s; COMMIT AND CHAIN"), Some(false));
        assert_eq!(savepoint("ROLLBACK"), Some(false));
        assert_eq!(savepoint("SELECT savepoint, `to` FROM t"), None);
    }

    #[test]
    fn kill_is_told() {
        assert!(Screen::of(b" kill query 5", true).kills);
        assert!(!Screen::of(b"select 'kill'", true).kills);
        for (text, loads) in [
            ("load data local infile 'x' into table t", true),
            ("SELECT 1; LOAD XML CONCURRENT LOCAL INFILE 'x' INTO TABLE t", true),
            ("LOAD DATA /* a */ LOW_PRIORITY /*!80000 LOCAL */ INFILE 'x' INTO TABLE t", true),
            ("LOAD DATA INFILE 'x' INTO TABLE local", false),
            ("SELECT 'LOAD DATA LOCAL'", false),
            ("DO 1; LOAD DATA INFILE 'local' INTO TABLE t", false),
        ] {
            assert_eq!(Screen::of(text.as_bytes(), true).loads_local, loads, "{text}");
        }
    }
}
