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
//! What cannot be told (dollar quotes, which are names before 9.0) pins.
//!
//! Also told: whether a statement asks what the one before it left behind (`SHOW WARNINGS`, `ROW_COUNT()`), which only the
//! backend of that one can say.

mod reader;
mod seen;

use crate::reading::Reading;
use reader::Reader;

/// Reads a statement's text, in pieces cut anywhere.
#[derive(Debug)]
pub struct Screen {
    reader: Reader,
}

impl Screen {
    /// A screen for a session whose server reads text like this.
    pub fn new(reading: Reading) -> Self {
        Self { reader: Reader::new(reading) }
    }

    /// The verdict on a whole text.
    pub fn of(text: &[u8], reading: Reading) -> Screened {
        let mut screen = Self::new(reading);
        screen.reader.whole(text);
        screen.end()
    }

    /// Reads the next piece.
    pub fn feed(&mut self, text: &[u8]) {
        self.reader.part(text);
    }

    /// The verdict, once all has been read.
    pub fn end(self) -> Screened {
        self.reader.end()
    }
}

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

    /// Of two ways to read one text, what either may mean.
    fn or(self, other: Self) -> Self {
        let asks = match self.asks {
            Asks::Nothing => other.asks,
            asks => asks,
        };
        let savepoint = match (self.savepoint, other.savepoint) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        };
        Self {
            explains: self.explains && other.explains,
            pins: self.pins.or(other.pins),
            keeps: self.keeps.or(other.keeps),
            asks,
            sets_insert_id: self.sets_insert_id || other.sets_insert_id,
            collates: self.collates || other.collates,
            kills: self.kills || other.kills,
            savepoint,
            loads_local: self.loads_local || other.loads_local,
            asks_id: self.asks_id || other.asks_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Letters;

    fn check(text: &str, explains: bool, pins: bool) {
        let whole = Screen::of(text.as_bytes(), Reading::plain(true));
        assert_eq!((whole.explains, whole.pins.is_some()), (explains, pins), "{text}");
        let mut cut = Screen::new(Reading::plain(true));
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
        assert_eq!(
            Screen::of(b"SELECT '\\', @a, '", Reading::plain(false)).pins,
            Some("it uses user variables")
        );
        assert_eq!(Screen::of(b"SELECT '\\', @a, '", Reading::plain(true)).pins, None);
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
        let asks = |text: &str| Screen::of(text.as_bytes(), Reading::plain(true)).asks;
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
        let sets = |text: &str| Screen::of(text.as_bytes(), Reading::plain(true)).sets_insert_id;
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
        let keeps = |text: &str| Screen::of(text.as_bytes(), Reading::plain(true)).keeps.is_some();
        for text in ["CALL p()", "SELECT SQL_CALC_FOUND_ROWS 1", "SELECT FOUND_ROWS()", "XA START 'a'"] {
            assert!(keeps(text), "{text}");
        }
        assert!(!keeps("SELECT call, xa FROM t"));
    }

    #[test]
    fn savepoints_and_what_ends_them_are_told() {
        let savepoint = |text: &str| Screen::of(text.as_bytes(), Reading::plain(true)).savepoint;
        assert_eq!(savepoint("/* a */ savepoint s"), Some(true));
        assert_eq!(savepoint("ROLLBACK WORK TO SAVEPOINT s"), Some(true));
        assert_eq!(savepoint("SAVEPOINT s; COMMIT AND CHAIN"), Some(false));
        assert_eq!(savepoint("ROLLBACK"), Some(false));
        assert_eq!(savepoint("SELECT savepoint, `to` FROM t"), None);
    }

    #[test]
    fn kill_is_told() {
        assert!(Screen::of(b" kill query 5", Reading::plain(true)).kills);
        assert!(!Screen::of(b"select 'kill'", Reading::plain(true)).kills);
        for (text, loads) in [
            ("load data local infile 'x' into table t", true),
            ("SELECT 1; LOAD XML CONCURRENT LOCAL INFILE 'x' INTO TABLE t", true),
            ("LOAD DATA /* a */ LOW_PRIORITY /*!80000 LOCAL */ INFILE 'x' INTO TABLE t", true),
            ("LOAD DATA INFILE 'x' INTO TABLE local", false),
            ("SELECT 'LOAD DATA LOCAL'", false),
            ("DO 1; LOAD DATA INFILE 'local' INTO TABLE t", false),
        ] {
            assert_eq!(Screen::of(text.as_bytes(), Reading::plain(true)).loads_local, loads, "{text}");
        }
    }

    /// What a server takes for code, whatever a mode, a character set or another server takes it for.
    fn pins(text: &[u8], reading: Reading) -> bool {
        let whole = Screen::of(text, reading);
        let mut cut = Screen::new(reading);
        text.chunks(1).for_each(|piece| cut.feed(piece));
        assert_eq!(cut.end(), whole, "{}", text.escape_ascii());
        whole.pins.is_some()
    }

    #[test]
    fn a_comment_of_code_hides_nothing_whether_it_runs_or_not() {
        check("SELECT /*!99999 ' */ @a := 1 /* ' */", false, true);
        check("SELECT /*!99999 -- */ @a := 1", false, true);
        check("SELECT /*!99999 /* */ ' */ @a := 1 -- '", false, true);
        check("SELECT /*!80030 ' */ 1 /*!99999 */ , @a, ' */ '", false, true);
        check("/*!99999 SELECT */ HANDLER t OPEN", false, true);
        check("/*!80023 SET NAMES utf8mb4 */", true, false);
        check("CREATE TABLE t (a INT /*!80023 INVISIBLE */) /*!80016 ENCRYPTION='N' */", false, false);
        let of = |text: &str| Screen::of(text.as_bytes(), Reading::plain(true));
        assert!(of("/*!99999 SELECT */ CALL p()").keeps.is_some());
        assert!(of("/*!99999 a */ KILL 5").kills);
        assert_eq!(of("SELECT /*!99999 1; SELECT */ ROW_COUNT()").asks, Asks::RowCount);
        assert_eq!(of("SAVEPOINT s; /*!99999 COMMIT */").savepoint, Some(true));
    }

    #[test]
    fn a_version_is_no_word() {
        check("SET /*!50000 ROLE*/ DEFAULT", true, true);
        check("CREATE /*!40000 TEMPORARY */ TABLE t SELECT 1", false, true);
        check("LOCK /*!80000 INSTANCE */ FOR BACKUP", false, true);
    }

    #[test]
    fn a_control_character_behind_dashes_begins_a_comment() {
        for b in [0x01, 0x0B, 0x0C, 0x7F] {
            assert!(
                pins(&[b"SELECT 1 --", [b].as_slice(), b"'\n, @a, '"].concat(), Reading::plain(true)),
                "{b}"
            );
        }
    }

    #[test]
    fn a_name_in_double_quotes_has_no_escapes() {
        let ansi = Reading { ansi_quotes: true, ..Reading::plain(true) };
        assert!(pins(br#"SELECT 1 AS "a\", @b := 5, 1 AS "c""#, ansi));
        assert!(!pins(br#"SELECT "a\", @b := 5, ""#, Reading::plain(true)));
    }

    #[test]
    fn letters_hide_neither_quotes_nor_white_space() {
        let with = |letters| Reading { letters, ..Reading::plain(true) };
        for (letters, lead) in
            [(Letters::Gbk, 0xBF), (Letters::ShiftJis, 0x83), (Letters::Big5, 0xA3), (Letters::Gb18030, 0x81)]
        {
            let text = [b"SELECT '", [lead].as_slice(), b"\\' , @a:=3, ' '"].concat();
            assert!(pins(&text, with(letters)), "{letters:?}");
            assert!(!pins(&text, with(Letters::Utf8)));
            assert!(!pins(&[b"SELECT '", [lead].as_slice(), b"\\'"].concat(), with(letters)), "{letters:?}");
        }
        // A blank in latin1.
        for text in [
            b"SELECT\xA0@a:=5".as_slice(),
            b"SET\xA0ROLE x",
            b"DO\xA0GET_LOCK('x', 1)",
            b"SELECT 1 --\xA0'\n, @a, '",
        ] {
            assert!(pins(text, with(Letters::Bytes)), "{}", text.escape_ascii());
        }
        assert!(!pins(b"SELECT '\xA0', `\xE9` FROM t\xE9", with(Letters::Bytes)));
    }

    #[test]
    fn dollar_quotes_pin() {
        check("CREATE FUNCTION f() RETURNS INT LANGUAGE JAVASCRIPT AS $$ it's $$; SELECT @a, '", false, true);
        check("SELECT $a, b$$ FROM t", false, false);
    }
}
