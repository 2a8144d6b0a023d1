//! Where pieces begin and end. That a server agrees is shown by `crates/proxy/tests/reading.rs`.

use super::*;
use crate::reading::Letters;

const PLAIN: Reading = Reading::plain(true);

/// The pieces, each as it is written behind a letter for its kind; what has no end is followed by a `?`.
fn shown(lexer: Lexer<'_>) -> String {
    let mut lexer = lexer;
    let mut shown = Vec::new();
    while let Some(token) = lexer.next() {
        let letter = match token.kind {
            Kind::Blank => continue,
            Kind::Comment => 'c',
            Kind::Open => 'o',
            Kind::Close => 'e',
            Kind::Word => 'w',
            Kind::Text => 't',
            Kind::Name => 'n',
            Kind::Sign => 's',
            Kind::Doubt => 'd',
            Kind::Rest => 'r',
        };
        let end = if token.whole { "" } else { "?" };
        shown.push(format!("{letter}:{}{end}", token.text.escape_ascii()));
    }
    shown.join(" ")
}

#[track_caller]
fn check(text: &[u8], reading: Reading, expected: &str) {
    assert_eq!(shown(Lexer::new(text, reading)), expected, "{}", text.escape_ascii());
}

#[test]
fn texts_names_and_comments_are_told_apart() {
    check(b"a.`b``c` 'it''s \\'x' n'y'", PLAIN, r"w:a s:. n:`b``c` t:\'it\'\'s \\\'x\' w:n t:\'y\'");
    check(b"1.5e-3 x$y $z 2fa", PLAIN, "w:1 s:. w:5e s:- w:3 w:x$y w:$z w:2fa");
    check(b"5--3 -- a\n# b\n/* c **/ d/e", PLAIN, r"w:5 s:- s:- w:3 c:-- a\n c:# b\n c:/* c **/ w:d s:/ w:e");
    for end in ["'a", "`a", "\"a\\\"", "/* a", "/*/", "'a\\"] {
        assert!(shown(Lexer::new(end.as_bytes(), PLAIN)).ends_with('?'), "{end}");
    }
}

#[test]
fn a_double_dash_needs_a_blank_or_control_character_behind_it() {
    for b in [b' ', b'\t', b'\r', 0x0B, 0x01, 0x1F, 0x7F] {
        let text = [b"1--".as_slice(), &[b], b"'\n2"].concat();
        assert!(shown(Lexer::new(&text, PLAIN)).ends_with("w:2"), "{b}");
    }
    check(b"1--", PLAIN, "w:1 c:--");
    // White space in latin1 and a letter in cp1251, for one.
    let bytes = Reading { letters: Letters::Bytes, ..PLAIN };
    check(b"1--\xA0x", bytes, r"w:1 d:-- w:\xa0x");
    check(b"1--\xC3\xA9", PLAIN, r"w:1 s:- s:- w:\xc3\xa9");
}

#[test]
fn a_comment_of_code_has_five_digits_or_six_and_a_blank() {
    check(b"/*!50000 a*/ b */ c", PLAIN, "o:/*!50000 w:a e:*/ w:b s:* s:/ w:c");
    check(b"/*! a /* b */ c*/", PLAIN, "o:/*! w:a c:/* b */ w:c e:*/");
    check(b"/*!50000 a /*!50000 b */ c", PLAIN, "o:/*!50000 w:a o:/*!50000 w:b e:*/ w:c");
    check(b"/*!5 a*/", PLAIN, "o:/*! w:5 w:a e:*/");
    check(b"/*!0500001t*/", PLAIN, "o:/*!05000 w:01t e:*/");
    check(b"/*!090704 a*/", PLAIN, "o:/*!090704 w:a e:*/");
    let version = |text: &[u8]| Lexer::new(text, PLAIN).next().and_then(|token| token.version());
    assert_eq!(
        [version(b"/*!80036 a"), version(b"/*!100000 a"), version(b"/*! a")],
        [Some(80036), Some(100_000), None]
    );
}

#[test]
fn a_server_passes_over_what_is_for_later_ones() {
    let at = |text: &'static [u8], version| shown(Lexer::new(text, PLAIN).for_version(version));
    assert_eq!(at(b"/*!90705 it's */ a", 90704), r"c:/*!90705 it\'s */ w:a");
    assert_eq!(at(b"/*!90704 b */ a", 90704), "o:/*!90704 w:b e:*/ w:a");
    assert_eq!(at(b"/*!99999 /* x */ b */ a", 90704), "c:/*!99999 /* x */ b */ w:a");
    assert_eq!(at(b"/*!50000 c /*!99999 x */ b */ a", 90704), "o:/*!50000 w:c c:/*!99999 x */ w:b e:*/ w:a");
    assert_eq!(at(b"/*!99999 x", 90704), "c:/*!99999 x?");
}

#[test]
fn quotes_and_backslashes_mean_what_the_mode_says() {
    let ansi = Reading { ansi_quotes: true, ..PLAIN };
    check(b"\"a\\\" b", ansi, r#"n:"a\\" w:b"#.replace('"', "\\\"").as_str());
    check(b"'a\\' b", Reading::plain(false), r"t:\'a\\\' w:b");
}

#[test]
fn letters_of_several_bytes_hide_what_looks_like_a_quote_or_a_backslash() {
    for (letters, hides, plain) in [
        (Letters::Big5, b"\xA3", b"\xFF"),
        (Letters::ShiftJis, b"\x83", b"\xA0"),
        (Letters::ShiftJis, b"\xFC", b"\xFD"),
        (Letters::Gbk, b"\xBF", b"\x80"),
        (Letters::Gb18030, b"\x81", b"\xFF"),
    ] {
        let reading = Reading { letters, ..PLAIN };
        let kinds = |lead: &[u8]| shown(Lexer::new(&[b"'", lead, b"\\' a 'b'"].concat(), reading));
        assert!(kinds(hides).contains("w:a"), "{letters:?}");
        assert!(!kinds(plain).contains("w:a"), "{letters:?}");
    }
    let gb = Reading { letters: Letters::Gb18030, ..PLAIN };
    check(b"'\x81\x30\x81\x30\\' a", gb, r"t:\'\x810\x810\\\' a?");
    check(b"`\x81`` a\x81` b", gb, r"n:`\x81`` w:a\x81` w:b");
    // A backslash covers one byte, not a letter.
    check(b"'\\\x83\\' a' b", Reading { letters: Letters::ShiftJis, ..PLAIN }, r"t:\'\\\x83\\\' a\' w:b");
}

#[test]
fn what_cannot_be_told_is_said_to_be_so() {
    check(b"AS $$ it $x$ a$$ \0 b\0", PLAIN, r"w:AS d:$$ w:it d:$x$ w:a$$ d:\x00 w:b s:\x00");
}

#[test]
fn a_torn_comment_is_one_that_servers_do_not_read_alike() {
    for (text, torn) in [
        ("/*!99999 it's */", true),
        ("/*!99999 -- x */", true),
        ("/*!99999 '*/' */", true),
        ("/*!99999 '/*' */ x", true),
        ("/*!99999 x", true),
        ("/*!99999 DEFAULT 'a' /* b */ */", false),
        ("/*!99999 */", false),
    ] {
        let mut lexer = Lexer::new(text.as_bytes(), PLAIN);
        lexer.next();
        assert_eq!(lexer.is_torn(), torn, "{text}");
    }
}

#[test]
fn a_name_is_told_without_its_quotes() {
    let name = |text: &[u8]| Lexer::new(text, PLAIN).next().map(|token| token.name());
    assert_eq!(name(b"`a``b```").as_deref(), Some(b"a`b`".as_slice()));
    assert_eq!(name(b"``").as_deref(), Some(b"".as_slice()));
    assert_eq!(name(b"`a").as_deref(), Some(b"a".as_slice()));
}
