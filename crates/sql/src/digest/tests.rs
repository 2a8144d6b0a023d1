//! What counts as the same, and what is never shown.

use super::*;
use crate::reading::Letters;

const PLAIN: Reading = Reading::plain(true);

fn sql(text: &str) -> Sql<'_> {
    Sql { text: text.as_bytes(), reading: PLAIN, whole: true }
}

fn shows(text: &str, expected: &str) {
    assert_eq!(sql(text).shown(), expected, "{text}");
}

fn same(texts: &[&str]) {
    for text in texts {
        let first = (sql(texts[0]).shown().to_lowercase().replace('`', ""), sql(texts[0]).digest());
        let this = (sql(text).shown().to_lowercase().replace('`', ""), sql(text).digest());
        assert_eq!(this, first, "{text}");
    }
}

#[test]
fn values_are_taken_out() {
    shows("SELECT * FROM t WHERE a=1 AND b = 'x''y\\'z'", "SELECT * FROM t WHERE a = ? AND b = ?");
    shows("select a.b,`c d` from t.u", "select a.b, `c d` from t.u");
    shows(
        "SELECT -5, .5, 1.5e-3, 0xAF, x'AF', N'x', _utf8mb4 'x', \"y\", ?, 1e5",
        "SELECT - ?, ?, ?, ?, ?, ?, ?, ?, ?, ?",
    );
    shows("UPDATE t SET a = NULL, b = -1 WHERE c IS NULL", "UPDATE t SET a = ?, b = ? WHERE c IS NULL");
    shows(
        "SELECT 2fa FROM t1.2fa WHERE a - 1 > @x AND @@sql_mode >= 5",
        "SELECT 2fa FROM t1.2fa WHERE a - ? > @x AND @@sql_mode >= ?",
    );
    shows("SELECT doc->>'$.a' FROM t", "SELECT doc ->> ? FROM t");
    shows("SELECT 'a' 'b', count(*), now()", "SELECT ?, count (*), now ()");
}

#[test]
fn spelling_does_not_matter() {
    same(&[
        "SELECT a FROM t",
        "select  A\n from\tT",
        "SELECT /* x */ a FROM t -- y",
        "SELECT a # z\nFROM `t`",
        "/*!80000 SELECT a FROM t*/",
    ]);
    same(&["SELECT 1", "SELECT 'x'", "SELECT ?"]);
    assert_ne!(sql("SELECT ab").digest(), sql("SELECT a b").digest());
    assert_ne!(sql("SELECT a.b").digest(), sql("SELECT a, b").digest());
}

#[test]
fn lists_and_rows_of_any_length_are_one() {
    shows(
        "SELECT a FROM t WHERE b IN (1, 2) AND (c IN ('x'))",
        "SELECT a FROM t WHERE b IN (...) AND (c IN (...))",
    );
    same(&["SELECT a IN (1)", "SELECT a IN (1,2,-3,NULL)"]);
    same(&["SELECT (a,b) IN ((1,2))", "SELECT (a, b) IN ((1,2),(3,4))"]);
    same(&["INSERT INTO t VALUES (1,'a')", "INSERT INTO t VALUES (1,'a'),(2,'b'),(3,NULL)"]);
    same(&["INSERT t (a,b) VALUES (1,now())", "INSERT t (a,b) VALUES (1,now()),(2,now()), (3,now())"]);
    shows("INSERT t (a, b) VALUES (1, now()), (2, now())", "INSERT t (a, b) VALUES (?, now ())");
    assert_ne!(sql("SELECT f(a), f(b)").digest(), sql("SELECT f(a)").digest());
    assert_ne!(sql("VALUES (1, a), (1, b)").digest(), sql("VALUES (1, a)").digest());
}

#[test]
fn the_beginning_of_a_long_insert_counts_as_the_whole() {
    let text = b"INSERT INTO t VALUES (1, now(), 'x'), (2, now(), 'y'), (3, now(), 'z')";
    let first = Sql { text: &text[..36], reading: PLAIN, whole: true }.digest();
    for end in 36..=text.len() {
        let part = Sql { text: &text[..end], reading: PLAIN, whole: false };
        assert_eq!(part.digest(), first, "{end}");
    }
}

#[test]
fn nothing_is_shown_where_half_a_letter_may_be_a_backslash() {
    // In gbk the first string is one letter, and `secret` is another string; by bytes the quote is escaped.
    let text = b"SELECT '\xbf\\', 'secret'";
    let gbk = Sql { text, reading: Reading { letters: Letters::Gbk, ..PLAIN }, whole: true };
    assert!(!gbk.shown().contains("secret"), "{}", gbk.shown());
    assert_eq!(gbk.digest(), Sql { reading: PLAIN, ..gbk }.digest());
}

#[test]
fn any_bytes_are_read_to_their_end() {
    let text = b"SELECT ((((((((((((((((((((1)))))))))))))))))))))) /*!5 'a\\'`\"#--/*x\xff\0 0x 0b 1e 1e+ . .5e _x'";
    for begin in 0..text.len() {
        for end in begin..=text.len() {
            let part =
                Sql { text: &text[begin..end], reading: Reading::plain(begin % 2 == 0), whole: end % 2 == 0 };
            assert!(part.digest() > 0);
            part.shown();
        }
    }
    let long = "a, ".repeat(5_000);
    assert!(sql(&long).shown().len() <= SHOWN_MAX + 4);
}

#[test]
fn no_value_is_shown_where_a_quote_is_one_to_some_servers_only() {
    let shown = |text: &str, reading| Sql { text: text.as_bytes(), reading, whole: true }.shown();
    for text in [
        "SELECT /*!99999 it's */ 'secret'",
        "SELECT /*!99999 -- */ 'secret'\n, 'x",
        "CREATE FUNCTION f() RETURNS INT LANGUAGE JAVASCRIPT AS $$ it's $$; SELECT 'secret'",
    ] {
        assert_eq!(shown(text, PLAIN), DOUBTFUL, "{text}");
    }
    shows("SELECT a /*!99999 + 'x' */ FROM t", "SELECT a + ? FROM t");
    // `--` and a control character begin a comment.
    shows("SELECT 1 --\x7F'\n, 'secret'", "SELECT ?, ?");
    // `"a\"` is a name there.
    let ansi = Reading { ansi_quotes: true, ..PLAIN };
    assert_eq!(shown(r#"SELECT "a\", x, "'", 'secret'"#, ansi), "SELECT ?, x, ?, ?");
    // Digits of a comment of code that are no version.
    shows("SELECT /*!5 + a */", "SELECT ? + a");
}
