//! Texts of SQL, and what servers answer in text.

use migrate::fuzzing as moves;
use model::GtidSet;
use proxy::fuzzing as door;
use sql::digest::Sql;
use sql::lexer::{Kind, Lexer};
use sql::names::Named;
use sql::reading::{Letters, Reading};
use sql::screen::Screen;
use wire::Capabilities;
use wire::binlog::{QueryEvent, StatusVars};

use crate::{choice, two};

pub(crate) const ATTRIBUTE_WORDS: &[&[u8]] = &[
    b"\x03\0\x01SELECT 1",
    b"\x01\x08\0\x01n",
    b"\xFE\0\x01s",
    b"\x17\x01\0\0\0\0\x01\0\0\0",
    b"\0\x01\x03\0",
];

pub(crate) const SCREEN_WORDS: &[&[u8]] = &[
    b"SET ",
    b"USE ",
    b"SELECT ",
    b"CREATE TEMPORARY TABLE ",
    b"SHOW WARNINGS",
    b"GET DIAGNOSTICS ",
    b"FLUSH ",
    b"LOCK ",
    b"GET_LOCK(",
    b"ROW_COUNT()",
    b"FOUND_ROWS()",
    b"LAST_INSERT_ID(",
    b"@@warning_count",
    b"@a := ",
    b" COLLATE ",
    b"NAMES ",
    b"GTID_NEXT = ",
    b"KILL ",
    b"CALL ",
    b"XA ",
    b"HANDLER ",
    b"/*!80000 ",
    b"/*",
    b"*/",
    b"-- ",
    b"--\n",
    b"\\'",
    b";",
    b"`",
    b"sql_mode=",
    b"SQL_CALC_FOUND_ROWS ",
    b"INSTANCE ",
    b"ROLE ",
    b"EXPORT",
];

/// What quotes, comments and names are made of.
pub(crate) const TEXT_WORDS: &[&[u8]] = &[
    b"SELECT ",
    b"INSERT INTO t VALUES (1, now())",
    b", (2, now())",
    b"UPDATE ",
    b"FROM ",
    b"JOIN ",
    b"shop.t",
    b"`a``b`.",
    b"USE ",
    b"; ",
    b"SHOW COLUMNS FROM ",
    b"PREPARE ",
    b"'it''s'",
    b"\\'",
    b"/*!80030 ",
    b"/*!099999 ",
    b"/*!",
    b"/*",
    b"*/",
    b"-- ",
    b"--\x7F",
    b"\n",
    b"$$",
    b"$a$",
    b"_utf8mb4 'x'",
    b"x'AF'",
    b"1.5e-3",
    b"0x",
    b"->>",
    b"\x81\x5C",
    b"\x81\x30\x81\x30",
    b"(((((((((((((((((",
];

pub(crate) const DDL_WORDS: &[&[u8]] = &[
    b"CREATE TABLE ",
    b"ALTER TABLE ",
    b"DROP TABLE ",
    b"TRUNCATE TABLE ",
    b"RENAME TABLE ",
    b"CREATE INDEX ",
    b"DROP INDEX ",
    b"IF EXISTS ",
    b"IF NOT EXISTS ",
    b"LIKE ",
    b"shop",
    b"`shop`.`t`",
    b"other.t",
    b" ADD COLUMN ",
    b" DROP COLUMN ",
    b" RENAME TO ",
    b" RENAME ",
    b" ON ",
    b"DATABASE ",
    b"SCHEMA ",
    b" TO ",
    b"/*!40000 ",
    b"/*",
    b"*/",
    b"-- ",
    b"BEGIN",
    b"COMMIT",
    b"ROLLBACK TO ",
    b"XA ",
    b" AUTO_INCREMENT",
    b" EXCHANGE PARTITION ",
    b" WITH TABLE ",
    b" DISCARD TABLESPACE",
    b"(id INT)",
    b" ENGINE=InnoDB",
    b" SELECT ",
    b" START TRANSACTION",
    b" DEFINER=`a`@`b` ",
    b"GRANT ",
    b", ",
    b" AS ",
];

pub(crate) const CREATE_WORDS: &[&[u8]] = &[
    b"CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT,\n",
    b"  PRIMARY KEY (`id`)\n",
    b") ENGINE=InnoDB ",
    b"DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
    b" COLLATE utf8mb4_bin",
    b" CHARACTER SET latin1",
    b"KEY `k` (`a`,`b`)",
    b"FULLTEXT KEY `f` (`a`)",
    b"SPATIAL KEY `s` (`g`)",
    b"((lower(`a`)))",
    b"COMMENT 'it''s'",
    b"\\'",
    b"/*!80023 INVISIBLE */",
    b"CREATE DEFINER=`a`@`b` EVENT `e` ON SCHEDULE EVERY 1 DAY",
    b" ON COMPLETION NOT PRESERVE",
    b" ENABLE",
    b" DISABLE ON REPLICA",
    b" DISABLE ON SLAVE",
    b" DISABLE",
    b" DO ",
    b" COMMENT '",
    b"`",
    b"(",
    b")",
    b",",
];

pub(crate) const JSON_WORDS: &[&[u8]] = &[
    b"{\"a\": ",
    b"[1, ",
    b"null",
    b"true",
    b"false",
    b"\"\\u00e9\"",
    b"1e5",
    b"base64:type15:",
    b"}",
    b"]",
    b":",
    b"-0.5",
    b"YWJj",
];

pub(crate) const GTID_WORDS: &[&[u8]] = &[
    b"3e11fa47-71ca-11e1-9e33-c80aa9429562:",
    b"1-5:",
    b"nightly:",
    b"18446744073709551615",
    b"9223372036854775807",
    b",\n",
];

pub(crate) const GRANT_WORDS: &[&[u8]] = &[
    b"GRANT ",
    b"REVOKE ",
    b"ALL PRIVILEGES",
    b"SELECT, INSERT (`a`, `b`)",
    b" ON *.*",
    b" ON `shop`.*",
    b" ON `a``b`.`t`",
    b" TO `u`@`%`",
    b" FROM `u`@`%`",
    b" WITH GRANT OPTION",
    b"PROXY ON ``@`` ",
    b"`role`@`%`,",
    b"\\_",
    b"%",
    b"\n",
];

pub(crate) fn query(input: &[u8]) {
    if let Some(at) = door::query_text(input) {
        assert!(at <= input.len() && at > 0, "{at}");
    }
}

pub(crate) fn execute(input: &[u8]) {
    let (params, rest) = choice(input);
    let (flags, rest) = choice(rest);
    let (first, next) = two(rest);
    let capabilities = if flags & 1 == 0 { Capabilities(0) } else { Capabilities::QUERY_ATTRIBUTES };
    door::parameter_types(u16::from(params) << (flags >> 1 & 7), capabilities, first, next);
}

const LETTERS: [Letters; 5] =
    [Letters::Utf8, Letters::Bytes, Letters::Gbk, Letters::Gb18030, Letters::Unknown];

/// How a session may read a text, by a byte.
fn reading(how: u8) -> Reading {
    let letters = LETTERS[usize::from(how >> 2) % LETTERS.len()];
    Reading { backslash: how & 1 == 0, ansi_quotes: how & 2 > 0, letters }
}

/// Every byte is in a piece, and every piece ends behind its beginning.
pub(crate) fn lexer(input: &[u8]) {
    let (how, text) = choice(input);
    for version in [80_022, u32::MAX] {
        let mut lexer = Lexer::new(text, reading(how)).for_version(version);
        let mut read = 0;
        while let Some(token) = lexer.next() {
            assert!(!token.text.is_empty() && token.kind != Kind::Rest, "{token:?}");
            read += token.text.len();
            assert_eq!(lexer.at(), read);
            token.name();
            token.version();
        }
        assert_eq!(read, text.len());
    }
}

pub(crate) fn names(input: &[u8]) {
    let (how, text) = choice(input);
    let named = Named::of(text, reading(how), |schema| schema.len() < 5);
    assert!(named.schemas.iter().all(|schema| schema.len() <= text.len()));
}

/// The beginning of a text has a digest as well.
pub(crate) fn digest(input: &[u8]) {
    let (how, text) = choice(input);
    for whole in [true, false] {
        let sql = Sql { text, reading: reading(how), whole };
        assert!(sql.digest() > 0);
        sql.shown();
    }
}

pub(crate) fn screen(input: &[u8]) {
    let (how, text) = choice(input);
    for letters in LETTERS {
        let reading = Reading { letters, ..Reading::plain(how & 1 == 0) };
        let whole = Screen::of(text, reading);
        let (front, back) = text.split_at(usize::from(how >> 1).min(text.len()));
        let mut cut = Screen::new(reading);
        cut.feed(front);
        cut.feed(back);
        assert_eq!(cut.end(), whole, "what a statement is depends on how it arrives");
    }
}

/// A statement in a session of any SQL mode and character set.
pub(crate) fn logged(input: &[u8]) {
    let (how, text) = choice(input);
    let (schema, sql) = two(text);
    let collations = [45, 8, 28, 255, 11, 13][usize::from(how >> 2) % 6];
    let status = StatusVars {
        sql_mode: Some(u64::from(how & 1) << 2 | u64::from(how >> 1 & 1) << 20),
        collations: Some((collations, collations, 45)),
        ..StatusVars::default()
    };
    let schema = String::from_utf8_lossy(schema).into_owned();
    moves::statement(&QueryEvent { thread_id: 1, schema, status, sql: sql.to_vec() });
}

pub(crate) fn create_table(input: &[u8]) {
    if let Some((before, after)) = moves::create_event(input) {
        assert!(before.len() + after.len() <= input.len());
    }
    if let Some(again) = moves::create_table(input) {
        assert!(moves::create_table(&again).is_some(), "put together again it is no statement any more");
    }
}

pub(crate) fn json_text(input: &[u8]) {
    let (letters, text) = two(input);
    moves::json_by_letters(text, letters);
}

pub(crate) fn grants(input: &[u8]) {
    moves::grants(&String::from_utf8_lossy(input));
}

pub(crate) fn gtid_set(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (ours, read) = (moves::gtid_set(&text), text.parse::<GtidSet>());
    assert_eq!(ours.as_ref(), read.as_ref().ok());
    let Ok(set) = read else { return };
    let again: GtidSet = set.to_string().parse().unwrap_or_else(|e| panic!("{e}: written by {set:?}"));
    assert_eq!(again, set);
    assert!(set.contains(&again));
    let _ = (set.len(), set.encode());
}
