//! Where a response ends: a pure state machine over a backend's bytes, which passes rows on unread.
//!
//! ```text
//! Head --OK, ERR--------------------------> Done       (OK with MORE_RESULTS: Head again)
//!   \--column count--> Columns --> [EOF] --> Rows --EOF, OK(0xFE), ERR--> Done (or Head again)
//! Prepared --> parameter definitions [EOF] --> column definitions [EOF] --> Done
//! ```
//!
//! The caller shows it the bytes not consumed yet, cut anywhere. It answers with how many may pass, or with one whole
//! packet that tells something about the session, or that it needs more. `[EOF]` is left out under
//! `CLIENT_DEPRECATE_EOF`. A payload of 2^24-1 bytes goes on in the next packet, which belongs to the same row, so
//! a row whose first cell is that large is never taken for an end, though it too begins with 0xFE.

use wire::capability::Status;
use wire::packet::{HEADER_LEN, Header, PAYLOAD_MAX};
use wire::response::{EOF, ERR, LOCAL_INFILE, OK};
use wire::{Capabilities, Reader, WireError};

/// The largest packet that is looked into, in bytes; a server's OK or ERR is far below.
const INSPECTED_MAX: usize = 1 << 20;

/// What kind of answer a command gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Results: `COM_QUERY`, `COM_STMT_EXECUTE`.
    Results,
    /// The answer to `COM_STMT_PREPARE`.
    Prepared,
    /// Rows of an open cursor: `COM_STMT_FETCH`.
    Fetched,
    /// Column definitions up to an end: `COM_FIELD_LIST`.
    Fields,
    /// One OK, EOF or ERR.
    Single,
    /// One packet of text: `COM_STATISTICS`.
    Text,
}

/// What one step found at the front of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes go to the client as they are.
    Pass(usize),
    /// One whole packet, header included.
    Packet(Packet),
    /// Nothing can be said without more bytes.
    More,
}

/// A packet that tells something about the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Which kind.
    pub kind: Kind,
    /// Bytes, header included.
    pub len: usize,
}

/// The packets that are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// OK, also in its form that ends rows. `plain`: no session changes, so it reads the same with and without
    /// `CLIENT_SESSION_TRACK`.
    Ok {
        /// Server status.
        status: Status,
        /// The first AUTO_INCREMENT value generated, or 0.
        last_insert_id: u64,
        /// Warnings.
        warnings: u16,
        /// See above.
        plain: bool,
    },
    /// EOF from before `CLIENT_DEPRECATE_EOF`.
    Eof {
        /// Server status.
        status: Status,
        /// Warnings.
        warnings: u16,
    },
    /// ERR; it ends the response.
    Err,
    /// The statement's id is in bytes 5..9 of the packet.
    Prepared {
        /// Result columns.
        columns: u16,
        /// Parameters.
        params: u16,
        /// Warnings.
        warnings: u16,
    },
    /// The server asks for a file of the client's. The response counts as ended, until [`Scan::file_sent`].
    LocalInfile,
}

impl Kind {
    /// Whether it ends a result that another follows.
    pub fn more_follows(self) -> bool {
        match self {
            Self::Ok { status, .. } | Self::Eof { status, .. } => status.has(Status::MORE_RESULTS_EXISTS),
            _ => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Columns { left: u64 },
    ColumnsEof,
    Rows,
    PrepareHead,
    Definitions { left: u16, then: u16 },
    DefinitionsEof { then: u16 },
    Fields,
    Single,
    Text,
    Done,
}

/// The state machine; one per response.
#[derive(Debug)]
pub(crate) struct Scan {
    state: State,
    deprecate_eof: bool,
    /// Payload bytes of the current packet still to pass.
    skip: usize,
    /// Whether the packet being passed goes on in the next one.
    continues: bool,
}

impl Scan {
    /// A scan of the answer to a command, on a connection with these capabilities.
    pub fn new(expect: Expect, capabilities: Capabilities) -> Self {
        let state = match expect {
            Expect::Results => State::Head,
            Expect::Prepared => State::PrepareHead,
            Expect::Fetched => State::Rows,
            Expect::Fields => State::Fields,
            Expect::Single => State::Single,
            Expect::Text => State::Text,
        };
        let deprecate_eof = capabilities.has(Capabilities::DEPRECATE_EOF);
        Self { state, deprecate_eof, skip: 0, continues: false }
    }

    /// Whether the whole response has been seen.
    pub fn finished(&self) -> bool {
        self.state == State::Done && self.skip == 0 && !self.continues
    }

    /// The server has got the file it asked for: its answer to the statement comes now.
    pub fn file_sent(&mut self) {
        self.state = State::Head;
    }

    /// Looks at `bytes`, which begin where the last step's ended.
    ///
    /// # Errors
    /// If they are no response to the command; the connection must not be used again.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Step, WireError> {
        let mut at = 0;
        loop {
            let n = self.skip.min(bytes.len() - at);
            self.skip -= n;
            at += n;
            let rest = &bytes[at..];
            let pass = if at > 0 { Step::Pass(at) } else { Step::More };
            if self.skip > 0 || self.finished() || rest.len() < HEADER_LEN {
                return Ok(pass);
            }
            let header = Header::parse([rest[0], rest[1], rest[2], rest[3]]);
            if self.continues {
                self.continues = header.len == PAYLOAD_MAX;
                self.skip = header.len;
                at += HEADER_LEN;
                continue;
            }
            if header.len == 0 {
                return Err(WireError::Malformed("empty packet in a response"));
            }
            let Some(&first) = rest.get(HEADER_LEN) else {
                return Ok(pass);
            };
            if !self.inspects(first, header.len) {
                self.advance();
                self.continues = header.len == PAYLOAD_MAX;
                self.skip = header.len;
                at += HEADER_LEN;
                continue;
            }
            if header.len > INSPECTED_MAX {
                return Err(WireError::Malformed("oversized packet in a response"));
            }
            if at > 0 || rest.len() < HEADER_LEN + header.len {
                return Ok(pass);
            }
            let payload = &rest[HEADER_LEN..HEADER_LEN + header.len];
            match self.inspect(first, payload)? {
                Some(kind) => return Ok(Step::Packet(Packet { kind, len: HEADER_LEN + header.len })),
                None => at += HEADER_LEN + header.len,
            }
        }
    }

    /// Whether the packet must be seen whole, rather than passed as it comes.
    fn inspects(&self, first: u8, len: usize) -> bool {
        match self.state {
            State::Head | State::PrepareHead | State::Single => true,
            State::ColumnsEof | State::DefinitionsEof { .. } => true,
            State::Rows | State::Fields => first == ERR || first == EOF && self.ends_rows(len),
            State::Columns { .. } | State::Definitions { .. } | State::Text | State::Done => first == ERR,
        }
    }

    fn ends_rows(&self, len: usize) -> bool {
        if self.deprecate_eof { len < PAYLOAD_MAX } else { len < 9 }
    }

    /// A packet passes without having been looked into.
    fn advance(&mut self) {
        self.state = match self.state {
            State::Columns { left: 1 } if self.deprecate_eof => State::Rows,
            State::Columns { left: 1 } => State::ColumnsEof,
            State::Columns { left } => State::Columns { left: left - 1 },
            State::Definitions { left: 1, then } if self.deprecate_eof => definitions(then, 0),
            State::Definitions { left: 1, then } => State::DefinitionsEof { then },
            State::Definitions { left, then } => State::Definitions { left: left - 1, then },
            State::Text => State::Done,
            other => other,
        };
    }

    /// Reads a whole packet. `None`: nothing to tell, it passes.
    fn inspect(&mut self, first: u8, payload: &[u8]) -> Result<Option<Kind>, WireError> {
        if first == ERR {
            self.state = State::Done;
            return Ok(Some(Kind::Err));
        }
        match self.state {
            State::Head if first == OK => self.end_result(payload),
            State::Head if first == LOCAL_INFILE => {
                self.state = State::Done;
                Ok(Some(Kind::LocalInfile))
            }
            State::Head => {
                let left = Reader::new(payload).lenenc_int("column count")?;
                if left == 0 {
                    return Err(WireError::Malformed("column count"));
                }
                self.state = State::Columns { left };
                Ok(None)
            }
            State::ColumnsEof => {
                let (warnings, status) = eof(first, payload)?;
                // A cursor: its rows come with COM_STMT_FETCH.
                self.state = match status.has(Status::CURSOR_EXISTS) {
                    true => after_result(status),
                    false => State::Rows,
                };
                Ok(Some(Kind::Eof { status, warnings }))
            }
            State::Rows | State::Single | State::Fields => self.end_result(payload),
            State::PrepareHead if first == OK => {
                let mut r = Reader::new(payload);
                r.bytes(5, "statement id")?;
                let (columns, params) = (r.u16("columns")?, r.u16("parameters")?);
                r.u8("filler")?;
                let warnings = r.u16("warnings")?;
                self.state = definitions(params, columns);
                Ok(Some(Kind::Prepared { columns, params, warnings }))
            }
            State::DefinitionsEof { then } => {
                eof(first, payload)?;
                self.state = definitions(then, 0);
                Ok(None)
            }
            _ => Err(WireError::Malformed("packet that has no place in a response")),
        }
    }

    /// An OK or EOF that ends a result.
    fn end_result(&mut self, payload: &[u8]) -> Result<Option<Kind>, WireError> {
        let mut r = Reader::new(payload);
        let first = r.u8("end of a result")?;
        let kind = if first == EOF && !self.deprecate_eof {
            let (warnings, status) = eof(first, payload)?;
            Kind::Eof { status, warnings }
        } else if first == OK || first == EOF {
            r.lenenc_int("affected rows")?;
            let last_insert_id = r.lenenc_int("last insert id")?;
            let status = Status(r.u16("status")?);
            let warnings = r.u16("warnings")?;
            let plain = !status.has(Status::SESSION_STATE_CHANGED);
            Kind::Ok { status, last_insert_id, warnings, plain }
        } else {
            return Err(WireError::Malformed("end of a result"));
        };
        self.state = match kind {
            Kind::Ok { status, .. } | Kind::Eof { status, .. } => after_result(status),
            _ => State::Done,
        };
        Ok(Some(kind))
    }
}

fn after_result(status: Status) -> State {
    if status.has(Status::MORE_RESULTS_EXISTS) { State::Head } else { State::Done }
}

fn definitions(left: u16, then: u16) -> State {
    match (left, then) {
        (0, 0) => State::Done,
        (0, left) => State::Definitions { left, then: 0 },
        (left, then) => State::Definitions { left, then },
    }
}

/// Warnings and status.
fn eof(first: u8, payload: &[u8]) -> Result<(u16, Status), WireError> {
    if first != EOF {
        return Err(WireError::Malformed("no EOF where one must be"));
    }
    wire::response::parse_eof(payload)
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
