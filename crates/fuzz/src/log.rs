//! The binary log.

use bytes::Bytes;
use migrate::literal::RowShape;
use model::{Column, ColumnKind, Table, TableName};
use wire::WireError;
use wire::binlog::{
    Cell, ColumnType, Event, EventHeader, RawEvent, RowsEvent, TableMap, parse_json, parse_patched_json,
    write_decimal,
};

use crate::{choice, two};

pub(crate) const WORDS: &[&[u8]] = &[
    b"\x05\0\0\0\0\0\x01\0\x02\0",
    b"\x28\xB5\x2F\xFD",
    b"\x04shop\0\x01t\0",
    b"\xF5\x04",
    b"\xF6\x0A\x02",
    b"\0\x02\0\x0C\0\x13\0\x04\0\x0C\x17\0ab",
    b"\0\x01\0\x0B\0\x0B\0\x01\0\x05\x01\0a",
    b"\x0F\xF6\x04\x05\x02\x80\0\x01\x32",
    b"\x0F\x0C\x08",
    b"\x0C\x03abc",
    b"nightly",
];

pub(crate) const PATH_WORDS: &[&[u8]] = &[
    b"\x02\x05$.a[1]",
    b"\0\x03$.a\x02\x05\x01\0",
    b"\x01\x06$.\"a b\"",
    b"$[0]",
    b"$[last]",
    b"\x05\x01\0",
    b"\x0C\x01x",
    b"\x04\x01",
    b"\0\x01\0\x0B\0\x0B\0\x01\0\x05\x01\0a",
];

fn raw(event_type: u8, body: &[u8]) -> RawEvent {
    let header = EventHeader { timestamp: 0, event_type, server_id: 1, end_offset: 0, flags: 0 };
    RawEvent { header, body: Bytes::copy_from_slice(body) }
}

/// An event with header and checksum; without the right checksum nothing is read at all, so it is made right.
pub(crate) fn event(input: &[u8]) {
    let _ = RawEvent::parse(&Bytes::copy_from_slice(input));
    let mut whole = input.to_vec();
    if let Some(size) = whole.get_mut(9..13) {
        size.copy_from_slice(&(input.len() as u32 + 4).to_le_bytes());
    }
    whole.extend_from_slice(&crc32fast::hash(&whole).to_le_bytes());
    if let Ok(raw) = RawEvent::parse(&Bytes::from(whole)) {
        use_up(&raw, &mut None);
    }
}

fn use_up(raw: &RawEvent, map: &mut Option<TableMap>) {
    match raw.decode() {
        Ok(Event::TableMap(read)) => *map = Some(read),
        Ok(Event::Rows(rows)) => {
            if let Some(map) = map {
                use_rows(&rows, map);
            }
        }
        Ok(Event::Query(query)) => drop(migrate::fuzzing::statement(&query)),
        Ok(Event::Payload(payload)) => {
            let _ = payload.for_each_event(|event| {
                // The server puts no payload into a payload, and a follower that goes on into one has no end.
                if event.header.event_type != 40 {
                    use_up(&event, map);
                }
                Ok::<_, WireError>(())
            });
        }
        _ => {}
    }
}

pub(crate) fn query_event(input: &[u8]) {
    use_up(&raw(2, input), &mut None);
}

pub(crate) fn gtid_event(input: &[u8]) {
    let (tagged, body) = choice(input);
    for event_type in if tagged & 1 == 0 { [33, 38] } else { [42, 38] } {
        if let Ok(Event::Gtid(event)) = raw(event_type, body).decode() {
            let _ = format!("{event:?}");
        }
    }
}

/// A table map, and rows that come after it.
pub(crate) fn table_map(input: &[u8]) {
    let (map, rows) = two(input);
    let mut read = None;
    use_up(&raw(19, map), &mut read);
    let (kind, body) = choice(rows);
    use_up(&raw([30, 31, 32, 39][usize::from(kind) % 4], body), &mut read);
}

pub(crate) fn payload(input: &[u8]) {
    use_up(&raw(40, input), &mut None);
}

/// A column of each kind, from a byte or three.
fn columns(mut input: &[u8]) -> Vec<ColumnType> {
    let mut columns = Vec::new();
    while let Some((&kind, rest)) = input.split_first() {
        let (first, rest) = choice(rest);
        let (second, rest) = choice(rest);
        columns.push(match kind % 15 {
            0 => ColumnType::Integer([1, 2, 3, 4, 8][usize::from(first) % 5]),
            1 => ColumnType::Float,
            2 => ColumnType::Double,
            3 => ColumnType::Decimal { precision: first, scale: second },
            4 => ColumnType::Year,
            5 => ColumnType::Date,
            6 => ColumnType::Time(first % 7),
            7 => ColumnType::DateTime(first % 7),
            8 => ColumnType::Timestamp(first % 7),
            9 => ColumnType::String { prefix: 1 + first % 2 },
            10 => ColumnType::Blob { prefix: 1 + first % 4 },
            11 => ColumnType::Json { prefix: 1 + first % 4 },
            12 => ColumnType::Enum(1 + first % 8),
            13 => ColumnType::Set(1 + first % 8),
            _ => ColumnType::Bit(first),
        });
        input = rest;
    }
    columns
}

/// Rows of any columns: how many, the columns, the kind of event, its body behind the fixed fields.
pub(crate) fn rows(input: &[u8]) {
    let (description, rest) = two(input);
    let columns = columns(description);
    let (kind, rest) = choice(rest);
    let kind = [30, 31, 32, 39][usize::from(kind) % 4];
    let mut body = vec![1, 0, 0, 0, 0, 0, 0, 0, 2, 0, columns.len() as u8];
    // All columns are there, as with binlog_row_image=FULL, unless the input says otherwise.
    let (whole, rest) = choice(rest);
    if whole & 1 == 0 {
        let images = if matches!(kind, 31 | 39) { 2 } else { 1 };
        body.extend(std::iter::repeat_n(0xFF, columns.len().div_ceil(8) * images));
    }
    body.extend_from_slice(rest);
    let map = TableMap { table_id: 1, schema: "shop".into(), table: "t".into(), columns };
    if let Ok(Event::Rows(rows)) = raw(kind, &body).decode() {
        use_rows(&rows, &map);
    }
}

/// As a table would have to be for these columns.
fn shape(map: &TableMap) -> RowShape {
    let columns = map.columns.iter().enumerate().map(|(i, column)| {
        let kind = match column {
            ColumnType::Integer(_) => ColumnKind::Integer { unsigned: i % 2 == 0 },
            ColumnType::Float => ColumnKind::Float,
            ColumnType::Double => ColumnKind::Double,
            ColumnType::Decimal { .. } => ColumnKind::Decimal,
            ColumnType::Year => ColumnKind::Year,
            ColumnType::Date | ColumnType::Time(_) | ColumnType::DateTime(_) | ColumnType::Timestamp(_) => {
                ColumnKind::Temporal
            }
            ColumnType::String { .. } if i % 3 == 0 => ColumnKind::FixedBinary { len: 4 },
            ColumnType::String { .. } if i % 3 == 1 => ColumnKind::Text,
            ColumnType::String { .. } | ColumnType::Blob { .. } => ColumnKind::Bytes,
            ColumnType::Json { .. } => ColumnKind::Json,
            ColumnType::Enum(_) => ColumnKind::Enum,
            ColumnType::Set(_) => ColumnKind::Set,
            ColumnType::Bit(_) => ColumnKind::Bit,
        };
        Column {
            name: format!("c{i}"),
            kind,
            type_text: String::new(),
            charset: (kind == ColumnKind::Text).then(|| "utf8mb4".to_owned()),
            generated: false,
        }
    });
    let columns: Vec<Column> = columns.collect();
    let key = if columns.is_empty() { Vec::new() } else { vec![0] };
    RowShape::of(&Table { name: TableName::new("shop", "t"), source_schema: "shop".to_owned(), columns, key })
}

fn use_rows(rows: &RowsEvent, map: &TableMap) {
    let shape = shape(map);
    rows.is_whole();
    let _ = rows.for_each_image(map, |image| {
        assert_eq!(image.len(), map.columns.len());
        let _ = shape.key_from_image(image);
        if !image.contains(&Cell::Absent)
            && let Ok(tuple) = shape.from_image(image)
        {
            assert_eq!(tuple.parts().count(), image.len());
        }
        Ok::<_, WireError>(())
    });
}

pub(crate) fn json(input: &[u8]) {
    let Ok(document) = parse_json(input) else { return };
    let mut text = Vec::new();
    assert!(document.write_text(&mut text).is_ok() || !document.is_plain(), "a plain document has no text");
}

pub(crate) fn json_changes(input: &[u8]) {
    let (before, changes) = two(input);
    let _ = parse_json(before);
    let _ = parse_patched_json(before, changes);
}

pub(crate) fn decimal(input: &[u8]) {
    let [precision, scale, packed @ ..] = input else { return };
    let mut text = Vec::new();
    if write_decimal(&mut text, packed, *precision, *scale).is_ok() {
        assert!(text.len() <= usize::from(*precision) + 3, "{text:?}");
    }
}
