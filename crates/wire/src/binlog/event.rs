//! An event's header, checksum and body, and the bodies that are not rows.

use bytes::Bytes;

use super::{GtidEvent, Payload, RowsEvent, RowsKind, StatusVars, TableMap, XaPrepareEvent};
use crate::{Reader, Result, WireError};

/// Length of the header.
pub(super) const HEADER_LEN: usize = 19;
const CHECKSUM_LEN: usize = 4;
/// `LOG_EVENT_IGNORABLE_F`: a follower that does not know the event may pass over it.
const FLAG_IGNORABLE: u16 = 0x80;

/// The fixed part before every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHeader {
    /// Seconds since the epoch when the statement began; 0 for events made up for the follower.
    pub timestamp: u32,
    /// Type byte.
    pub event_type: u8,
    /// The `server_id` it began on.
    pub server_id: u32,
    /// Low 32 bits of the offset in the log file at which the event ends; 0 if it is not in the file.
    pub end_offset: u32,
    /// Flags.
    pub flags: u16,
}

impl EventHeader {
    fn parse(event: &[u8], len: usize) -> Result<Self> {
        let mut r = Reader::new(event);
        let timestamp = r.u32("timestamp")?;
        let event_type = r.u8("event type")?;
        let server_id = r.u32("server id")?;
        let size = r.u32("event size")?;
        let end_offset = r.u32("end offset")?;
        let flags = r.u16("flags")?;
        if size as usize != len {
            return Err(WireError::Malformed("event size"));
        }
        Ok(Self { timestamp, event_type, server_id, end_offset, flags })
    }
}

/// An event as it came: header read, checksum verified and cut off.
#[derive(Debug, Clone)]
pub struct RawEvent {
    /// The header.
    pub header: EventHeader,
    /// What follows it, without the checksum.
    pub body: Bytes,
}

impl RawEvent {
    /// Reads an event whose trailing CRC-32 must be right.
    ///
    /// # Errors
    /// [`WireError::Checksum`] if it is not; another if the event is too short.
    pub fn parse(event: &Bytes) -> Result<Self> {
        if event.len() < HEADER_LEN + CHECKSUM_LEN {
            return Err(WireError::Truncated("binary log event"));
        }
        let covered = event.slice(..event.len() - CHECKSUM_LEN);
        let mut sent = [0; CHECKSUM_LEN];
        sent.copy_from_slice(&event[covered.len()..]);
        if crc32fast::hash(&covered) != u32::from_le_bytes(sent) {
            return Err(WireError::Checksum);
        }
        let header = EventHeader::parse(&covered, event.len())?;
        Ok(Self { header, body: covered.slice(HEADER_LEN..) })
    }

    /// Reads an event of a compressed transaction: what compresses takes the checksums off.
    pub(super) fn parse_within_payload(event: &Bytes) -> Result<Self> {
        let header = EventHeader::parse(event, event.len())?;
        Ok(Self { header, body: event.slice(HEADER_LEN..) })
    }

    /// The size that an event's header gives it, header included.
    pub(super) fn size(header: &[u8]) -> Result<usize> {
        let mut r = Reader::new(header);
        r.bytes(9, "event header")?;
        Ok(r.u32("event size")? as usize)
    }

    /// Decodes the body as far as a follower needs it.
    ///
    /// # Errors
    /// If the body is malformed.
    pub fn decode(&self) -> Result<Event> {
        let mut r = Reader::new(&self.body);
        Ok(match self.header.event_type {
            4 => {
                let offset = r.u64("rotate offset")?;
                Event::Rotate { file: String::from_utf8_lossy(r.rest()).into_owned(), offset }
            }
            27 => Event::Heartbeat {
                file: String::from_utf8_lossy(&self.body).into_owned(),
                offset: self.header.end_offset.into(),
            },
            41 => heartbeat(&mut r)?,
            // Format description, previous GTIDs, stop, rows query: nothing a follower by GTID acts on.
            15 | 35 | 3 | 29 => Event::Nothing,
            33 => Event::Gtid(GtidEvent::parse(&mut r)?),
            42 => Event::Gtid(GtidEvent::parse_tagged(&mut r)?),
            34 => Event::AnonymousGtid,
            40 => Event::Payload(Payload::parse(&self.body)?),
            38 => Event::XaPrepare(XaPrepareEvent::parse(&mut r)?),
            2 => Event::Query(QueryEvent::parse(&mut r)?),
            16 => Event::Xid,
            19 => Event::TableMap(TableMap::parse(&self.body)?),
            30 => Event::Rows(RowsEvent::parse(RowsKind::Insert, &self.body)?),
            31 => Event::Rows(RowsEvent::parse(RowsKind::Update, &self.body)?),
            32 => Event::Rows(RowsEvent::parse(RowsKind::Delete, &self.body)?),
            39 => Event::Rows(RowsEvent::parse(RowsKind::PartialUpdate, &self.body)?),
            _ if self.header.flags & FLAG_IGNORABLE != 0 => Event::Nothing,
            other => Event::Unknown(other),
        })
    }
}

/// A decoded event.
#[derive(Debug, Clone)]
pub enum Event {
    /// The log goes on in another file.
    Rotate {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
    },
    /// Nothing happened for a while, or was skipped.
    Heartbeat {
        /// The file being read.
        file: String,
        /// How far the server has read it; only the low 32 bits if the server knows no newer heartbeats.
        offset: u64,
    },
    /// A transaction begins.
    Gtid(GtidEvent),
    /// A transaction without GTID begins.
    AnonymousGtid,
    /// A statement: `BEGIN`, `COMMIT`, or one that is logged as text (DDL).
    Query(QueryEvent),
    /// The transaction commits.
    Xid,
    /// The transaction ends as an XA transaction does: prepared, or committed in one phase.
    XaPrepare(XaPrepareEvent),
    /// All of a transaction that follows its GTID, compressed.
    Payload(Payload),
    /// Gives the table of the row events that follow its shape.
    TableMap(TableMap),
    /// Rows of one table.
    Rows(RowsEvent),
    /// Known, and without meaning to a follower.
    Nothing,
    /// Not known, and not marked as ignorable.
    Unknown(u8),
}

/// `HEARTBEAT_LOG_EVENT_V2`: type, length, value each, until type 0.
///
/// Source: `codecs::binary::Heartbeat` in `libs/mysql/binlog/event/codecs/binary.cpp`.
fn heartbeat(r: &mut Reader<'_>) -> Result<Event> {
    const WHAT: &str = "heartbeat";
    let (mut file, mut offset) = (None, None);
    loop {
        match r.lenenc_int(WHAT)? {
            0 => break,
            1 => file = Some(String::from_utf8_lossy(r.lenenc_bytes(WHAT)?).into_owned()),
            2 => offset = Some(Reader::new(r.lenenc_bytes(WHAT)?).lenenc_int(WHAT)?),
            _ => drop(r.lenenc_bytes(WHAT)?),
        }
    }
    match (file, offset) {
        (Some(file), Some(offset)) => Ok(Event::Heartbeat { file, offset }),
        _ => Err(WireError::Malformed("heartbeat without file or offset")),
    }
}

/// A statement in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryEvent {
    /// The connection it came by, as the server numbers them.
    pub thread_id: u32,
    /// The session's default schema.
    pub schema: String,
    /// The rest of its session.
    pub status: StatusVars,
    /// The statement.
    pub sql: Vec<u8>,
}

impl QueryEvent {
    fn parse(r: &mut Reader<'_>) -> Result<Self> {
        let thread_id = r.u32("thread id")?;
        r.u32("execution time")?;
        let schema_len = usize::from(r.u8("schema length")?);
        r.u16("error code")?;
        let status_len = usize::from(r.u16("status length")?);
        let status = StatusVars::parse(r.bytes(status_len, "status variables")?)?;
        let schema = String::from_utf8_lossy(r.bytes(schema_len, "schema")?).into_owned();
        r.bytes(1, "schema")?;
        Ok(Self { thread_id, schema, status, sql: r.rest().to_vec() })
    }
}
