//! What a server answers: OK, ERR, EOF and column definitions, with the session-track blocks of an OK packet.
//!
//! Source: MySQL manual, "Protocol::OK_Packet", "Protocol::ERR_Packet", "Protocol::ColumnDefinition41".

use crate::capability::Status;
use crate::{Capabilities, Reader, Result, WireError, put_lenenc_bytes, put_lenenc_int};

/// First byte of an OK packet.
pub const OK: u8 = 0x00;
/// First byte of an EOF packet, and of the OK packet that ends rows under `CLIENT_DEPRECATE_EOF`.
pub const EOF: u8 = 0xFE;
/// First byte of an ERR packet.
pub const ERR: u8 = 0xFF;
/// First byte of the request for a local file.
pub const LOCAL_INFILE: u8 = 0xFB;

/// One thing about the session that a statement changed, as the server tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionChange {
    /// A system variable has a new value.
    Variable {
        /// The variable's name.
        name: Vec<u8>,
        /// Its new value, as text.
        value: Vec<u8>,
    },
    /// The default schema changed.
    Schema(Vec<u8>),
    /// Some state changed that may have no tracker of its own (user variable, temporary table, prepared statement).
    State(bool),
    /// GTIDs of the transaction just committed.
    Gtids(Vec<u8>),
    /// Statements that would restore the transaction's characteristics.
    TransactionCharacteristics(Vec<u8>),
    /// Eight characters that describe the transaction's state.
    TransactionState(Vec<u8>),
    /// A tracker this program does not know.
    Unknown(u8),
}

/// An OK packet, also in its form that ends a result set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OkPacket {
    /// Rows changed (or matched, under `CLIENT_FOUND_ROWS`).
    pub affected_rows: u64,
    /// The first generated AUTO_INCREMENT value.
    pub last_insert_id: u64,
    /// Server status flags.
    pub status: Status,
    /// Number of warnings.
    pub warnings: u16,
    /// Free text, for example `Rows matched: 1`.
    pub info: Vec<u8>,
    /// The session-track block, still encoded; see [`OkPacket::session_changes`].
    pub session_track: Vec<u8>,
}

impl OkPacket {
    /// Reads an OK packet, first byte (0x00 or 0xFE) included, of a connection with these capabilities.
    ///
    /// # Errors
    /// If it ends early.
    pub fn parse(payload: &[u8], capabilities: Capabilities) -> Result<Self> {
        let mut r = Reader::new(payload);
        r.u8("OK packet")?;
        let affected_rows = r.lenenc_int("affected rows")?;
        let last_insert_id = r.lenenc_int("last insert id")?;
        let status = Status(r.u16("status")?);
        let warnings = r.u16("warnings")?;
        let (mut info, mut session_track) = (Vec::new(), Vec::new());
        // The manual says "rest of packet" for a connection without session tracking; servers send a length there too.
        if !r.is_empty() {
            info = r.lenenc_bytes("info")?.to_vec();
        }
        if capabilities.has(Capabilities::SESSION_TRACK) && status.has(Status::SESSION_STATE_CHANGED) {
            session_track = r.lenenc_bytes("session track")?.to_vec();
        }
        Ok(Self { affected_rows, last_insert_id, status, warnings, info, session_track })
    }

    /// The packet's payload for a peer with these capabilities, beginning with `first` ([`OK`] or [`EOF`]).
    /// Without `CLIENT_SESSION_TRACK` the session-track block and its status flag are left out.
    pub fn encode(&self, first: u8, capabilities: Capabilities) -> Vec<u8> {
        let mut status = self.status.0;
        let tracks = capabilities.has(Capabilities::SESSION_TRACK);
        if !tracks || self.session_track.is_empty() {
            status &= !Status::SESSION_STATE_CHANGED.0;
        }
        let mut out = vec![first];
        put_lenenc_int(&mut out, self.affected_rows);
        put_lenenc_int(&mut out, self.last_insert_id);
        out.extend_from_slice(&status.to_le_bytes());
        out.extend_from_slice(&self.warnings.to_le_bytes());
        let tracked = tracks && !self.session_track.is_empty();
        if tracked || !self.info.is_empty() {
            put_lenenc_bytes(&mut out, &self.info);
        }
        if tracked {
            put_lenenc_bytes(&mut out, &self.session_track);
        }
        out
    }

    /// Decodes the session-track block.
    ///
    /// # Errors
    /// If the block is malformed.
    pub fn session_changes(&self) -> Result<Vec<SessionChange>> {
        let mut r = Reader::new(&self.session_track);
        let mut changes = Vec::new();
        while !r.is_empty() {
            let kind = r.u8("session track type")?;
            let mut data = Reader::new(r.lenenc_bytes("session track data")?);
            changes.push(match kind {
                0 => {
                    let name = data.lenenc_bytes("variable name")?.to_vec();
                    let value = data.lenenc_bytes("variable value")?.to_vec();
                    SessionChange::Variable { name, value }
                }
                1 => SessionChange::Schema(data.lenenc_bytes("schema")?.to_vec()),
                // No length of its own, unlike the others (seen on 9.7, written so in `sql/session_tracker.cc`).
                2 => SessionChange::State(data.u8("state change")? == b'1'),
                3 => {
                    data.u8("GTID encoding")?;
                    SessionChange::Gtids(data.lenenc_bytes("GTIDs")?.to_vec())
                }
                4 => {
                    SessionChange::TransactionCharacteristics(data.lenenc_bytes("characteristics")?.to_vec())
                }
                5 => SessionChange::TransactionState(data.lenenc_bytes("transaction state")?.to_vec()),
                other => SessionChange::Unknown(other),
            });
        }
        Ok(changes)
    }
}

/// An error a server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrPacket {
    /// The error number, for example 1062.
    pub code: u16,
    /// The five characters of the SQL state.
    pub sql_state: [u8; 5],
    /// The message.
    pub message: String,
}

impl ErrPacket {
    /// An error of our own.
    pub fn new(code: u16, sql_state: &[u8; 5], message: impl Into<String>) -> Self {
        Self { code, sql_state: *sql_state, message: message.into() }
    }

    /// Reads an ERR packet, first byte included. Before authentication there is no SQL state.
    ///
    /// # Errors
    /// If it ends early.
    pub fn parse(payload: &[u8]) -> Result<Self> {
        let mut r = Reader::new(payload);
        r.u8("ERR packet")?;
        let code = r.u16("error code")?;
        let mut sql_state = *b"HY000";
        if r.remaining().first() == Some(&b'#') {
            r.u8("SQL state marker")?;
            sql_state.copy_from_slice(r.bytes(5, "SQL state")?);
        }
        Ok(Self { code, sql_state, message: String::from_utf8_lossy(r.rest()).into_owned() })
    }

    /// The packet's payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![ERR];
        out.extend_from_slice(&self.code.to_le_bytes());
        out.push(b'#');
        out.extend_from_slice(&self.sql_state);
        out.extend_from_slice(self.message.as_bytes());
        out
    }
}

/// Whether `payload` is the EOF packet from before `CLIENT_DEPRECATE_EOF`: a row can begin with 0xFE, but is longer.
pub fn is_eof(payload: &[u8]) -> bool {
    payload.first() == Some(&EOF) && payload.len() < 9
}

/// Warnings and status of an EOF packet.
///
/// # Errors
/// If it ends early.
pub fn parse_eof(payload: &[u8]) -> Result<(u16, Status)> {
    let mut r = Reader::new(payload);
    r.u8("EOF packet")?;
    Ok((r.u16("warnings")?, Status(r.u16("status")?)))
}

/// A result column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDefinition {
    /// The column's name in the result.
    pub name: Vec<u8>,
    /// Collation id; 63 is `binary`.
    pub collation: u16,
    /// Type byte (`MYSQL_TYPE_*`).
    pub column_type: u8,
    /// Column flags.
    pub flags: u16,
}

impl ColumnDefinition {
    /// Reads a column definition.
    ///
    /// # Errors
    /// If it ends early.
    pub fn parse(payload: &[u8]) -> Result<Self> {
        let mut r = Reader::new(payload);
        for what in ["catalog", "schema", "table", "original table"] {
            r.lenenc_bytes(what)?;
        }
        let name = r.lenenc_bytes("column name")?.to_vec();
        r.lenenc_bytes("original name")?;
        if r.lenenc_int("fixed-length fields")? != 0x0C {
            return Err(WireError::Malformed("column definition"));
        }
        let collation = r.u16("collation")?;
        r.u32("column length")?;
        Ok(Self { name, collation, column_type: r.u8("column type")?, flags: r.u16("column flags")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_tracking_is_left_out_for_a_client_that_did_not_ask_for_it() {
        let mut track = Vec::new();
        track.push(1);
        put_lenenc_bytes(&mut track, b"\x04shop");
        let ok = OkPacket {
            status: Status(Status::SESSION_STATE_CHANGED.0 | 2),
            info: b"hi".to_vec(),
            session_track: track,
            ..OkPacket::default()
        };
        let full = ok.encode(OK, Capabilities::SESSION_TRACK);
        let parsed = OkPacket::parse(&full, Capabilities::SESSION_TRACK).unwrap();
        assert_eq!(parsed, ok);
        assert_eq!(parsed.session_changes().unwrap(), [SessionChange::Schema(b"shop".to_vec())]);
        let plain = OkPacket::parse(&ok.encode(OK, Capabilities(0)), Capabilities(0)).unwrap();
        assert_eq!((plain.status, plain.info), (Status(2), b"hi".to_vec()));
    }

    #[test]
    fn an_error_packet_survives_the_round_trip() {
        let err = ErrPacket::new(1290, b"HY000", "read only");
        assert_eq!(ErrPacket::parse(&err.encode()), Ok(err));
    }
}
