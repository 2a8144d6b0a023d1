//! All that reads statements agrees on where quotes and comments end, in every mode: with the lexer, and with a slow reader of its own
//! kind that is written here from the rules alone, a byte at a time.

use sql::digest::Sql;
use sql::lexer::{Kind, Lexer};
use sql::names::Named;
use sql::reading::{Letters, Reading};
use sql::screen::Screen;

/// Servers that run none of the comments of code here that not all run, some, and all.
const VERSIONS: [u32; 3] = [80_022, 80_030, 999_999];

/// Whether what begins at `at` is code. No letters but those of UTF-8, and nothing that cannot be told.
fn is_code(text: &[u8], at: usize, reading: Reading, version: u32) -> bool {
    let (mut i, mut executing) = (0, false);
    let looks = |i: usize, what: &[u8]| text[i.min(text.len())..].starts_with(what);
    while i < at {
        i = match text[i] {
            quote @ (b'\'' | b'"' | b'`') => {
                let escapes = reading.backslash && (quote == b'\'' || quote == b'"' && !reading.ansi_quotes);
                let mut j = i + 1;
                loop {
                    match text.get(j) {
                        None => break text.len(),
                        Some(b'\\') if escapes => j += 2,
                        Some(b) if *b == quote && text.get(j + 1) == Some(&quote) => j += 2,
                        Some(b) if *b == quote => break j + 1,
                        Some(_) => j += 1,
                    }
                }
            }
            b'#' => line_end(text, i),
            b'-' if looks(i, b"--") && text.get(i + 2).is_none_or(|b| *b <= b' ' || *b == 0x7F) => {
                line_end(text, i)
            }
            b'/' if looks(i, b"/*!") => {
                let digits = text[i + 3..].iter().take_while(|b| b.is_ascii_digit()).count();
                let digits = match digits {
                    6 if text.get(i + 9).is_some_and(|b| b" \t\n\x0b\x0c\r".contains(b)) => 6,
                    5.. => 5,
                    _ => 0,
                };
                let number = text[i + 3..i + 3 + digits].iter().fold(0, |n, b| n * 10 + u32::from(b - b'0'));
                if number > version {
                    skipped(text, i + 3 + digits, 1)
                } else {
                    executing = true;
                    i + 3 + digits
                }
            }
            b'/' if looks(i, b"/*") => skipped(text, i + 2, 0),
            b'*' if executing && looks(i, b"*/") => {
                executing = false;
                i + 2
            }
            _ => i + 1,
        };
    }
    i == at
}

fn line_end(text: &[u8], i: usize) -> usize {
    text[i..].iter().position(|b| *b == b'\n').map_or(text.len(), |n| i + n + 1)
}

fn skipped(text: &[u8], mut i: usize, levels: u32) -> usize {
    while i < text.len() {
        if text[i..].starts_with(b"*/") {
            return i + 2;
        }
        i = match levels > 0 && text[i..].starts_with(b"/*") {
            true => skipped(text, i + 2, levels - 1),
            false => i + 1,
        };
    }
    text.len()
}

/// What a text ends in, seen by each reader through what is put behind it.
fn check(text: &[u8]) {
    for modes in 0..4 {
        let reading = Reading { ansi_quotes: modes & 1 > 0, ..Reading::plain(modes & 2 > 0) };
        let with = |probe: &str| [text, b" ", probe.as_bytes()].concat();
        let code = |version| is_code(&with("probe"), text.len() + 1, reading, version);
        let all = VERSIONS.map(code);
        let (alike, new) = (all.iter().all(|code| *code == all[0]), all[2]);
        let shown = text.escape_ascii();

        for (version, code) in VERSIONS.into_iter().zip(all) {
            let text = with("probe");
            let mut lexer = Lexer::new(&text, reading).for_version(version);
            let (mut last, mut sum) = (None, 0);
            while let Some(token) = lexer.next() {
                sum += token.text.len();
                last = Some(token);
            }
            assert_eq!(sum, text.len(), "not every byte is in a piece: {shown}");
            let found = last.is_some_and(|last| last.kind == Kind::Word && last.text == b"probe");
            assert_eq!(found, code, "the lexer, {version}, {modes}: {shown}");
        }

        let pins = Screen::of(&with("@probe"), reading).pins.is_some();
        assert_eq!(pins, all.contains(&true), "the screen, {modes}: {shown}");

        let named = Named::of(&with("; INSERT INTO probe.t"), reading, |_| false);
        let found = named.schemas.iter().any(|schema| schema == b"probe");
        assert!(named.blind || found == new, "the names, {modes}: {shown}");
        assert!(named.blind || alike, "the names see too much, {modes}: {shown}");

        let digest = Sql { text: &with("probe"), reading, whole: true }.shown();
        // Names are shown, and so is one without its end.
        let in_name = digest.contains('`');
        let (found, hidden) = (digest.ends_with("probe"), digest.starts_with("(with") || in_name);
        assert!(hidden || found == new, "the digest, {modes}: {shown}: {digest}");
        assert!(hidden || alike || !digest.contains("probe"), "the digest shows too much: {shown}: {digest}");
    }
}

#[test]
fn all_readers_agree_on_where_quotes_and_comments_end() {
    const PIECES: [&[u8]; 26] = [
        b"'",
        b"\"",
        b"`",
        b"\\",
        b"''",
        b"/*",
        b"*/",
        b"/*/",
        b"/*!",
        b"/*!40000 ",
        b"/*!80030 ",
        b"/*!99999 ",
        b"/*!099999 ",
        b"/*!5",
        b"--",
        b"-- ",
        b"--\x01",
        b"--\x7f",
        b"#",
        b"\n",
        b"-",
        b"/",
        b"*",
        b"a",
        b"1",
        b" ",
    ];
    // A generator of its own, so that a failure can be repeated.
    let mut state = 11_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for _ in 0..4_000 {
        let text: Vec<u8> =
            (0..1 + next() % 9).flat_map(|_| PIECES[next() % PIECES.len()].to_vec()).collect();
        check(&text);
    }
}

#[test]
fn a_text_in_parts_is_read_as_in_one() {
    const PIECES: [&[u8]; 24] = [
        b"'",
        b"\"",
        b"`",
        b"\\",
        b"/*",
        b"*/",
        b"/*!40000 ",
        b"/*!80030 ",
        b"/*!99999",
        b"--",
        b" ",
        b"\n",
        b"@",
        b"@@",
        b"a",
        b"SET ",
        b"time_zone=",
        b"GET_LOCK(",
        b"ROW_COUNT()",
        b"CALL ",
        b";",
        b"\x81",
        b"\xbf",
        b"0",
    ];
    let mut state = 13_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for _ in 0..2_000 {
        let text: Vec<u8> =
            (0..1 + next() % 12).flat_map(|_| PIECES[next() % PIECES.len()].to_vec()).collect();
        for letters in [Letters::Utf8, Letters::Bytes, Letters::Gbk, Letters::Gb18030] {
            let reading = Reading { letters, ..Reading::plain(true) };
            let whole = Screen::of(&text, reading);
            let mut screen = Screen::new(reading);
            text.chunks(1 + next() % 4).for_each(|part| screen.feed(part));
            assert_eq!(screen.end(), whole, "{letters:?}: {}", text.escape_ascii());
        }
    }
    let long = [b"SELECT ".as_slice(), &b"x".repeat(300), b" AS `@a`, '@b', @c"].concat();
    let mut screen = Screen::new(Reading::plain(true));
    long.chunks(100).for_each(|part| screen.feed(part));
    assert!(screen.end().pins.is_some());
}
