//! A server parts texts where the lexer does, and the screen sees what the server runs.

#![allow(clippy::unwrap_used)]

mod world;

use mysql::Connection;
use sql::lexer::{Kind, Lexer};
use sql::reading::{Letters, Reading};
use sql::screen::Screen;
use world::{admin, block_on, cell, node};

/// Statements that set `@probe` if it is code in them, each with the character set and the SQL mode it is read in.
const TEXTS: &[(&str, &str, &[u8])] = &[
    ("utf8mb4", "", b"DO 1 /*!99999 ' */ + (@probe := 1) /* ' */"),
    ("utf8mb4", "", b"DO 1 /*!99999 /* */ ' */ + (@probe := 1) -- '"),
    ("utf8mb4", "", b"DO 1 /*!80022 /* ' */ + (@probe := 1) /* ' */ */"),
    ("utf8mb4", "", b"DO 1 /*! , ' /*' */ + (@probe := 1) -- */ '"),
    ("utf8mb4", "", b"DO 1 /*!099999 + (@probe := 1) */"),
    ("utf8mb4", "", b"DO 1 /*!080022 + (@probe := 1) */"),
    ("utf8mb4", "", b"DO 1 /*/ + (@probe := 1) */"),
    ("utf8mb4", "", b"DO 1 --\x01 '\n+ (@probe := 1) -- '"),
    ("utf8mb4", "", b"DO 1 --\x7F '\n+ (@probe := 1) -- '"),
    ("utf8mb4", "", b"DO 1 -- \r + (@probe := 1)"),
    ("utf8mb4", "", b"DO 1 --1 + (@probe := 1)"),
    ("utf8mb4", "", b"DO 1 # ' \n + (@probe := 1) -- '"),
    ("utf8mb4", "", b"DO '\\' + (@probe := 1) + '"),
    ("utf8mb4", "NO_BACKSLASH_ESCAPES", b"DO '\\' + (@probe := 1) + ''"),
    ("utf8mb4", "", b"DO 'a''' + (@probe := 1) + ''"),
    ("utf8mb4", "", b"DO (SELECT \"a\\\" + (@probe := 1) + \")"),
    ("utf8mb4", "ANSI_QUOTES", b"DO (SELECT 1 + (@probe := 1) + x.\"a\\\" FROM (SELECT 1 AS \"a\\\") x)"),
    ("utf8mb4", "", b"DO (SELECT 1 + (@probe := 1) + x.`a``\\` FROM (SELECT 1 AS `a``\\`) x)"),
    ("gbk", "", b"DO '\xBF\\' + (@probe := 1) + ''"),
    ("gbk", "", b"DO '\x80\\' + (@probe := 1) + '"),
    ("gb18030", "", b"DO '\x81\\' + (@probe := 1) + ''"),
    ("gb18030", "", b"DO '\x81\x30\x81\x30\\' + (@probe := 1) + '"),
    ("sjis", "", b"DO '\x83\\' + (@probe := 1) + ''"),
    ("sjis", "", b"DO '\xA0\\' + (@probe := 1) + '"),
    ("sjis", "", b"DO '\\\x83\\' + (@probe := 1) + '"),
    ("cp932", "", b"DO '\xFC\\' + (@probe := 1) + ''"),
    ("big5", "", b"DO '\xA3\\' + (@probe := 1) + ''"),
    ("big5", "", b"DO '\xFF\\' + (@probe := 1) + '"),
    ("latin1", "", b"DO '\xBF\\' + (@probe := 1) + '"),
    ("latin1", "", b"DO\xA0(@probe := 1)"),
];

async fn sets_the_probe(server: &mut Connection, set: &str, mode: &str, text: &[u8]) -> bool {
    server.query(format!("SET NAMES {set}, sql_mode = '{mode}', @probe = 0")).await.unwrap();
    server.query(text).await.unwrap_or_else(|e| panic!("{set} {mode} {}: {e}", text.escape_ascii()));
    cell(server, "SELECT @probe").await == "1"
}

/// Whether `@probe` is code to a server of this version.
fn has_the_probe(text: &[u8], reading: Reading, version: u32) -> bool {
    let mut lexer = Lexer::new(text, reading).for_version(version);
    let mut found = false;
    while let Some(token) = lexer.next() {
        found |= token.kind == Kind::Word && token.text == b"probe";
    }
    found
}

#[test]
fn what_a_server_runs_is_what_is_read() {
    let node = node("reading", 1, &[]);
    block_on(async {
        let mut server = admin(&node).await;
        let version = server.server_version().split('-').next().unwrap().to_owned();
        let number = version.split('.').fold(0, |n, part| n * 100 + part.parse::<u32>().unwrap());
        for (set, mode, text) in TEXTS {
            let reading = Reading {
                backslash: *mode != "NO_BACKSLASH_ESCAPES",
                ansi_quotes: *mode == "ANSI_QUOTES",
                letters: Letters::of(set.as_bytes()),
            };
            let ran = sets_the_probe(&mut server, set, mode, text).await;
            assert_eq!(has_the_probe(text, reading, number), ran, "{set} {mode} {}", text.escape_ascii());
            let pins = Screen::of(text, reading).pins.is_some();
            assert!(pins || !ran, "{set} {mode} {}", text.escape_ascii());
        }
    });
}
