//! The response scan, fed whole, byte by byte and cut anywhere.

use super::*;

const DEPRECATE: Capabilities = Capabilities::DEPRECATE_EOF;
const OLD: Capabilities = Capabilities(0);

fn packets(payloads: &[&[u8]]) -> Vec<u8> {
    let (mut out, mut seq) = (Vec::new(), 1);
    for payload in payloads {
        wire::packet::frame(&mut out, &mut seq, payload);
    }
    out
}

/// Feeds `bytes`, `step` more at a time; returns the kinds seen and the number of bytes consumed.
fn feed(expect: Expect, caps: Capabilities, bytes: &[u8], step: usize) -> (Vec<Kind>, usize) {
    let mut scan = Scan::new(expect, caps);
    let (mut at, mut shown, mut kinds) = (0, 0, Vec::new());
    while !scan.finished() {
        match scan.next(&bytes[at..shown]).unwrap() {
            Step::Pass(n) => at += n,
            Step::Packet(p) => {
                kinds.push(p.kind);
                at += p.len;
            }
            Step::More => {
                assert!(shown < bytes.len(), "the scan wants more than there is");
                shown = (shown + step).min(bytes.len());
            }
        }
    }
    (kinds, at)
}

/// Checks that the response ends exactly at its end, however it is cut, with other bytes behind it.
fn check(expect: Expect, caps: Capabilities, payloads: &[&[u8]], kinds: usize) {
    let mut bytes = packets(payloads);
    let len = bytes.len();
    let whole = feed(expect, caps, &bytes, len);
    assert_eq!((whole.0.len(), whole.1), (kinds, len));
    bytes.extend_from_slice(b"\x01\x00\x00\x09\xFFnext");
    for step in [1, 2, 3, 5, 7, 64, 1 << 20] {
        if len / step < 1 << 16 {
            assert_eq!(feed(expect, caps, &bytes, step), whole, "step {step}");
        }
    }
}

const COLUMN: &[u8] = b"\x03def\x00\x00\x00\x01a\x00\x0c\x3f\x00\x01\x00\x00\x00\x03\x00\x00\x00\x00\x00";
const OK_PACKET: &[u8] = b"\x00\x01\x00\x02\x00\x00\x00";
const OK_MORE: &[u8] = b"\x00\x01\x00\x0a\x00\x00\x00";
const END: &[u8] = b"\xFE\x00\x00\x02\x00\x00\x00";
const END_MORE: &[u8] = b"\xFE\x00\x00\x0a\x00\x00\x00";
const OLD_EOF: &[u8] = b"\xFE\x00\x00\x02\x00";
const OLD_EOF_MORE: &[u8] = b"\xFE\x00\x00\x0a\x00";
const OLD_EOF_CURSOR: &[u8] = b"\xFE\x00\x00\x42\x00";
const ERROR: &[u8] = b"\xFF\x28\x04#42000bad";

#[test]
fn single_packets_end_at_once() {
    for caps in [DEPRECATE, OLD] {
        check(Expect::Results, caps, &[OK_PACKET], 1);
        check(Expect::Results, caps, &[ERROR], 1);
        check(Expect::Single, caps, &[OK_PACKET], 1);
        check(Expect::Text, caps, &[b"Uptime: 3"], 0);
        check(Expect::Prepared, caps, &[ERROR], 1);
        check(Expect::Fetched, caps, &[ERROR], 1);
    }
    check(Expect::Single, DEPRECATE, &[END], 1);
    check(Expect::Single, OLD, &[OLD_EOF], 1);
}

#[test]
fn a_result_set_ends_with_its_last_packet_in_both_dialects() {
    check(Expect::Results, DEPRECATE, &[b"\x02", COLUMN, COLUMN, b"\x011\x012", b"\xFB\x00", END], 1);
    check(Expect::Results, DEPRECATE, &[b"\x01", COLUMN, END], 1);
    check(Expect::Results, OLD, &[b"\x02", COLUMN, COLUMN, OLD_EOF, b"\x011\x012", OLD_EOF], 2);
    check(Expect::Results, DEPRECATE, &[b"\x01", COLUMN, b"\x011", ERROR], 1);
    check(Expect::Results, OLD, &[b"\x01", COLUMN, OLD_EOF, b"\x00\x00\x01", ERROR], 2);
}

#[test]
fn several_results_are_followed_to_the_last() {
    check(Expect::Results, DEPRECATE, &[OK_MORE, b"\x01", COLUMN, b"\x011", END_MORE, OK_PACKET], 3);
    check(Expect::Results, OLD, &[OK_MORE, b"\x01", COLUMN, OLD_EOF, b"\x011", OLD_EOF_MORE, OK_PACKET], 4);
}

#[test]
fn an_open_cursor_sends_no_rows() {
    check(Expect::Results, DEPRECATE, &[b"\x01", COLUMN, b"\xFE\x00\x00\x42\x00\x00\x00"], 1);
    check(Expect::Results, OLD, &[b"\x01", COLUMN, OLD_EOF_CURSOR], 1);
    check(Expect::Fetched, DEPRECATE, &[b"\x00\x00\x07", END], 1);
    check(Expect::Fetched, OLD, &[b"\x00\x00\x07", OLD_EOF], 1);
}

#[test]
fn the_answer_to_prepare_ends_after_its_definitions() {
    let head = |columns: u8, params: u8| [0, 9, 0, 0, 0, columns, 0, params, 0, 0, 0, 0];
    check(Expect::Prepared, DEPRECATE, &[&head(0, 0)], 1);
    check(Expect::Prepared, OLD, &[&head(0, 0)], 1);
    check(Expect::Prepared, DEPRECATE, &[&head(1, 2), COLUMN, COLUMN, COLUMN], 1);
    check(Expect::Prepared, OLD, &[&head(1, 2), COLUMN, COLUMN, OLD_EOF, COLUMN, OLD_EOF], 1);
    check(Expect::Prepared, OLD, &[&head(1, 0), COLUMN, OLD_EOF], 1);
    check(Expect::Prepared, OLD, &[&head(0, 1), COLUMN, OLD_EOF], 1);
}

#[test]
fn a_field_list_ends_with_its_end() {
    check(Expect::Fields, DEPRECATE, &[COLUMN, COLUMN, END], 1);
    check(Expect::Fields, OLD, &[COLUMN, OLD_EOF], 1);
}

#[test]
fn a_row_of_the_packet_maximum_is_not_taken_for_an_end() {
    for (len, caps) in [
        (PAYLOAD_MAX - 1, DEPRECATE),
        (PAYLOAD_MAX, DEPRECATE),
        (PAYLOAD_MAX, OLD),
        (PAYLOAD_MAX + 1, DEPRECATE),
        (2 * PAYLOAD_MAX, DEPRECATE),
    ] {
        let mut row = vec![0; len];
        // A cell of 16 MiB or more has a nine-byte length that begins with 0xFE; a shorter one cannot.
        row[0] = if len < PAYLOAD_MAX { 0xFD } else { 0xFE };
        match caps {
            DEPRECATE => check(Expect::Results, caps, &[b"\x01", COLUMN, &row, END], 1),
            _ => check(Expect::Results, caps, &[b"\x01", COLUMN, OLD_EOF, &row, OLD_EOF], 2),
        }
    }
}

#[test]
fn a_request_for_a_local_file_is_told() {
    let (kinds, _) = feed(Expect::Results, DEPRECATE, &packets(&[b"\xFB/etc/passwd"]), 3);
    assert_eq!(kinds, [Kind::LocalInfile]);
}

#[test]
fn nonsense_is_an_error_and_not_a_panic() {
    for expect in [Expect::Results, Expect::Prepared, Expect::Fetched, Expect::Fields, Expect::Single] {
        for payload in [&b"\xFE"[..], b"\xFC\x01", b"\x00", b"\xFE\x01\x02"] {
            let bytes = packets(&[payload]);
            let mut scan = Scan::new(expect, DEPRECATE);
            let _ = scan.next(&bytes);
        }
    }
    assert!(Scan::new(Expect::Results, DEPRECATE).next(b"\x00\x00\x00\x01").is_err());
}

#[test]
fn a_result_of_no_columns_is_no_result_however_its_count_is_written() {
    for count in [&b"\xFC\x00\x00"[..], b"\xFD\x00\x00\x00", b"\xFE\x00\x00\x00\x00\x00\x00\x00\x00"] {
        let error = Scan::new(Expect::Results, OLD).next(&packets(&[count, COLUMN])).unwrap_err();
        assert_eq!(error, WireError::Malformed("column count"));
    }
}
