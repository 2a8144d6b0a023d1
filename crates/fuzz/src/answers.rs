//! A server's answers.

use bytes::Bytes;
use proxy::fuzzing;
use wire::Capabilities;
use wire::packet::{HEADER_LEN, Header, frame};
use wire::response::{ColumnDefinition, ErrPacket, OkPacket, is_eof, parse_eof};

use crate::choice;

pub(crate) const WORDS: &[&[u8]] = &[
    b"\x01\0\0\x01\x01",
    b"\x05\0\0\x02\xFE\0\0\x02\0",
    b"\x07\0\0\x02\0\0\0\x02\0\0\0",
    b"\x07\0\0\x02\xFE\0\0\x02\0\0\0",
    b"\x03def",
    b"\0\x40\0\0",
    b"\0\0\0\x02\x40\0\0\0",
    b"\0\x0F\x0Eautocommit\x02ON",
    b"\x01\x05\x04shop",
    b"\x02\x01\x31",
    b"\x05\x09\x08T_______",
    b"\x04\x01\0",
    b"\xFF\x28\x04#42000",
    b"\x14character_set_client",
    b"\x0C\0\0\x01\0\x01\0\0\0\x01\0\x01\0\0\0\0",
];

pub(crate) fn response(input: &[u8]) {
    let (flags, payload) = choice(input);
    let mut capabilities = Capabilities(0);
    for (bit, capability) in
        [Capabilities::SESSION_TRACK, Capabilities::DEPRECATE_EOF].into_iter().enumerate()
    {
        if flags & 1 << bit != 0 {
            capabilities |= capability;
        }
    }
    if let Ok(ok) = OkPacket::parse(payload, capabilities) {
        let changes = ok.session_changes();
        let written = ok.encode(0, capabilities);
        let again =
            OkPacket::parse(&written, capabilities).unwrap_or_else(|e| panic!("{e}: written by {ok:?}"));
        assert_eq!(again.session_changes(), changes);
        assert_eq!((again.affected_rows, again.info), (ok.affected_rows, ok.info));
    }
    if let Ok(error) = ErrPacket::parse(payload) {
        let _ = error.encode();
    }
    is_eof(payload);
    let _ = parse_eof(payload);
    let _ = ColumnDefinition::parse(payload);
}

pub(crate) fn rows_as_text(input: &[u8]) {
    let (columns, packet) = choice(input);
    // A row's packet, and a whole result of one row.
    if let Ok(row) = mysql::Row::parse(Bytes::copy_from_slice(packet), usize::from(columns)) {
        for i in 0..=row.len() {
            row.bytes(i);
            row.text(i);
            row.number::<u64>(i);
        }
    }
    fuzzing::cells(input);
}

/// An answer of packets: a byte of the input for the length of each, unless the input frames them itself.
fn answer(framed: bool, mut input: &[u8]) -> Vec<u8> {
    if framed {
        return input.to_vec();
    }
    let (mut out, mut seq) = (Vec::new(), 1);
    while let Some((len, rest)) = input.split_first() {
        let (payload, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        frame(&mut out, &mut seq, payload);
        input = rest;
    }
    out
}

pub(crate) fn relay(input: &[u8]) {
    let (how, rest) = choice(input);
    let (piece, rest) = choice(rest);
    let capabilities = |bits: u8| {
        let track = if bits & 1 == 0 { Capabilities(0) } else { Capabilities::SESSION_TRACK };
        let eof = if bits & 2 == 0 { Capabilities(0) } else { Capabilities::DEPRECATE_EOF };
        track | eof
    };
    let (backend, client) =
        (capabilities(how >> 3) | Capabilities::SESSION_TRACK, capabilities(how >> 3 & 2));
    let answer = answer(how & 0x80 != 0, rest);
    let expect = how & 7;
    let whole = fuzzing::relayed(expect, backend, client, answer.len(), &answer);
    let pieces = fuzzing::relayed(expect, backend, client, usize::from(piece), &answer);
    let (Ok(whole), Ok(pieces)) = (&whole, &pieces) else {
        // An error may be seen before or after a part was passed on, but it is seen either way.
        assert_eq!(whole.is_err(), pieces.is_err(), "{whole:?}\n{pieces:?}");
        return;
    };
    assert_eq!(whole, pieces, "the answer depends on how it arrives");
    let (sent, _, finished) = whole;
    if *finished {
        // What the client gets is packets, to the last byte.
        let mut rest = &sent[..];
        while let Some((header, tail)) = rest.split_first_chunk::<HEADER_LEN>() {
            let len = Header::parse(*header).len;
            rest = tail.get(len..).unwrap_or_else(|| panic!("the last packet is cut: {sent:?}"));
        }
        assert!(rest.is_empty(), "the last header is cut: {sent:?}");
    }
}
