//! Whatever bytes a server sends, the decoders answer with a value or an error: they do not panic, and do not ask for
//! memory that the bytes do not justify.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::prelude::*;
use wire::WireError;
use wire::binlog::{
    ColumnType, Event, EventHeader, RawEvent, TableMap, parse_json, parse_patched_json, write_decimal,
};

/// Every event type that is decoded, and some that are not.
const TYPES: &[u8] = &[2, 3, 4, 15, 16, 19, 27, 29, 30, 31, 32, 33, 34, 35, 38, 39, 40, 41, 42, 99];

fn event(event_type: u8, body: Vec<u8>) -> RawEvent {
    let header = EventHeader { timestamp: 0, event_type, server_id: 1, end_offset: 0, flags: 0 };
    RawEvent { header, body: Bytes::from(body) }
}

fn column() -> impl Strategy<Value = ColumnType> {
    prop_oneof![
        (1u8..=8).prop_map(ColumnType::Integer),
        Just(ColumnType::Float),
        Just(ColumnType::Double),
        (any::<u8>(), any::<u8>()).prop_map(|(precision, scale)| ColumnType::Decimal { precision, scale }),
        Just(ColumnType::Year),
        Just(ColumnType::Date),
        (0u8..=6).prop_map(ColumnType::Time),
        (0u8..=6).prop_map(ColumnType::DateTime),
        (0u8..=6).prop_map(ColumnType::Timestamp),
        (1u8..=2).prop_map(|prefix| ColumnType::String { prefix }),
        (1u8..=4).prop_map(|prefix| ColumnType::Blob { prefix }),
        (1u8..=4).prop_map(|prefix| ColumnType::Json { prefix }),
        (1u8..=8).prop_map(ColumnType::Enum),
        (1u8..=8).prop_map(ColumnType::Set),
        (1u8..=8).prop_map(ColumnType::Bit),
    ]
}

/// Bytes that look like JSON in binary form more often than chance would have it.
fn json() -> impl Strategy<Value = Vec<u8>> {
    let kind =
        prop_oneof![Just(0u8), Just(1), Just(2), Just(3), Just(4), Just(5), Just(11), Just(12), Just(15)];
    let tail = prop::collection::vec(prop_oneof![0u8..32, any::<u8>()], 0..120);
    (kind, tail).prop_map(|(kind, mut tail)| {
        tail.insert(0, kind);
        tail
    })
}

fn use_up(decoded: Event, columns: &[ColumnType]) {
    match decoded {
        Event::Rows(rows) => {
            let map = TableMap {
                table_id: 0,
                schema: String::new(),
                table: String::new(),
                columns: columns.to_vec(),
            };
            let mut images = 0;
            let _ = rows.for_each_image(&map, |image| {
                images += 1;
                assert_eq!(image.len(), columns.len());
                Ok::<_, WireError>(())
            });
            assert!(images <= 2 * 600);
        }
        Event::Payload(payload) => {
            let _ = payload.for_each_event(|event| event.decode().map(drop));
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn events_of_any_bytes_are_decoded_or_refused(
        kind in prop::sample::select(TYPES),
        body in prop::collection::vec(any::<u8>(), 0..300),
        columns in prop::collection::vec(column(), 0..12),
    ) {
        if let Ok(decoded) = event(kind, body).decode() {
            use_up(decoded, &columns);
        }
    }

    #[test]
    fn rows_of_any_bytes_and_any_columns_are_decoded_or_refused(
        kind in prop::sample::select(&[30u8, 31, 32, 39][..]),
        columns in prop::collection::vec(column(), 1..12),
        present in any::<[u8; 4]>(),
        rows in prop::collection::vec(any::<u8>(), 0..500),
    ) {
        let width = columns.len().div_ceil(8);
        let mut body = vec![1, 0, 0, 0, 0, 0, 0, 0, 2, 0, columns.len() as u8];
        body.extend_from_slice(&present[..width]);
        if matches!(kind, 31 | 39) {
            body.extend_from_slice(&present[2..2 + width]);
        }
        body.extend_from_slice(&rows);
        use_up(event(kind, body).decode().unwrap(), &columns);
    }

    #[test]
    fn a_packet_of_any_bytes_is_an_event_or_not(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = RawEvent::parse(&Bytes::from(bytes));
    }

    #[test]
    fn a_compressed_transaction_with_any_byte_changed_is_decoded_or_refused(
        at in any::<prop::sample::Index>(), to in any::<u8>(),
    ) {
        let mut body = include_bytes!("../src/binlog/payload_sample.bin").to_vec();
        let at = at.index(body.len());
        body[at] = to;
        if let Ok(decoded) = event(40, body).decode() {
            use_up(decoded, &[]);
        }
    }

    #[test]
    fn json_of_any_bytes_is_read_or_refused_and_what_is_read_has_a_text_or_a_type(
        before in json(), changes in prop::collection::vec(any::<u8>(), 0..60),
        operation in 0u8..4, path in "\\$([.\\[][a-z0-9\"\\\\\\]]{0,4}){0,3}", value in json(),
    ) {
        if let Ok(document) = parse_json(&before) {
            let mut text = Vec::new();
            prop_assert!(document.write_text(&mut text).is_ok() || !document.is_plain());
        }
        let _ = parse_patched_json(&before, &changes);
        let mut change = vec![operation, path.len() as u8];
        change.extend_from_slice(path.as_bytes());
        change.push(value.len() as u8);
        change.extend_from_slice(&value);
        let _ = parse_patched_json(&before, &change);
    }

    #[test]
    fn decimals_of_any_bytes_are_read_or_refused(
        packed in prop::collection::vec(any::<u8>(), 0..40), precision in any::<u8>(), scale in any::<u8>(),
    ) {
        let _ = write_decimal(&mut Vec::new(), &packed, precision, scale);
    }
}
