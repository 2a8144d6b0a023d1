//! A logged-in connection: packets, statements, results.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::capability::Status;
use wire::command::Command;
use wire::handshake::Greeting;
use wire::packet::{self, HEADER_LEN, Header, PAYLOAD_MAX};
use wire::response::{ColumnDefinition, EOF, ERR, ErrPacket, LOCAL_INFILE, OK, OkPacket, is_eof, parse_eof};
use wire::{Capabilities, Reader, WireError};

use crate::{Error, QueryResult, Result, ResultSet, Row, Stream};

/// Bytes asked of the socket at a time.
const READ_CHUNK: usize = 64 * 1024;

/// A connection to a MySQL server, logged in.
///
/// Not cancel-safe: a future of it that is dropped half-way leaves the connection out of step; drop the connection too.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    buffer: BytesMut,
    seq: u8,
    capabilities: Capabilities,
    status: Status,
    server_version: String,
    id: u32,
}

impl Connection {
    pub(crate) fn over(stream: Stream, buffer: BytesMut, capabilities: Capabilities) -> Self {
        let server_version = String::new();
        Self { stream, buffer, seq: 0, capabilities, status: Status::default(), server_version, id: 0 }
    }

    pub(crate) fn set_greeting(&mut self, greeting: &Greeting, capabilities: Capabilities) {
        self.capabilities = capabilities;
        self.server_version.clone_from(&greeting.server_version);
        self.id = greeting.connection_id;
    }

    pub(crate) fn set_status(&mut self, status: Status) {
        self.status = status;
    }

    /// Goes under TLS. What the server has said before that is in plain text must have been read, all of it: what is
    /// left would pass for something it said under TLS.
    pub(crate) async fn begin_tls(
        &mut self,
        config: std::sync::Arc<rustls::ClientConfig>,
        name: rustls::pki_types::ServerName<'static>,
    ) -> Result<()> {
        if !self.buffer.is_empty() {
            return Err(Error::Unexpected("bytes after the greeting"));
        }
        Ok(self.stream.begin_tls(config, name).await?)
    }

    /// Whether the connection is under TLS.
    pub fn is_tls(&self) -> bool {
        self.stream.is_tls()
    }

    pub(crate) fn peer_is_loopback(&self) -> bool {
        self.stream.peer_addr().is_ok_and(|a| a.ip().is_loopback())
    }

    /// The capabilities both ends agreed on.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The status flags of the last answer.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The server's version text.
    pub fn server_version(&self) -> &str {
        &self.server_version
    }

    /// The id that `KILL` on the server takes.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Gives up the socket, with any bytes read from it but not used.
    pub fn into_stream(self) -> (Stream, BytesMut) {
        (self.stream, self.buffer)
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// [`Error::Server`] if the server answers with an error, others if the connection is no longer usable.
    pub async fn query(&mut self, sql: impl AsRef<[u8]>) -> Result<QueryResult> {
        let mut results = self.query_all(sql).await?;
        match (results.pop(), results.is_empty()) {
            (Some(result), true) => Ok(result),
            _ => Err(Error::Unexpected("more than one result")),
        }
    }

    /// Runs one statement that answers with rows.
    ///
    /// # Errors
    /// As [`Connection::query`], and if there are no rows to answer with.
    pub async fn rows(&mut self, sql: impl AsRef<[u8]>) -> Result<Vec<Row>> {
        Ok(self.query(sql).await?.into_rows()?.rows)
    }

    /// Runs one statement that answers with at most one row.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub async fn row(&mut self, sql: impl AsRef<[u8]>) -> Result<Option<Row>> {
        Ok(self.rows(sql).await?.into_iter().next())
    }

    /// Runs one statement that answers without rows.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub async fn execute(&mut self, sql: impl AsRef<[u8]>) -> Result<OkPacket> {
        match self.query(sql).await? {
            QueryResult::Done(ok) => Ok(ok),
            QueryResult::Rows(_) => Err(Error::Unexpected("rows from a statement that returns none")),
        }
    }

    /// Runs several statements sent in one packet; the first error ends them, and those before it have had their effect.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub async fn query_all(&mut self, sql: impl AsRef<[u8]>) -> Result<Vec<QueryResult>> {
        match self.query_until_error(sql).await? {
            (results, None) => Ok(results),
            (_, Some(error)) => Err(Error::Server(error)),
        }
    }

    /// Runs several statements sent in one packet, as [`Connection::query_all`] does, but keeps what those before the
    /// first error answered. The error is that of the statement after the last result.
    ///
    /// # Errors
    /// If the connection is no longer usable.
    pub async fn query_until_error(
        &mut self,
        sql: impl AsRef<[u8]>,
    ) -> Result<(Vec<QueryResult>, Option<ErrPacket>)> {
        self.send_command(Command::QUERY, sql.as_ref()).await?;
        let mut results = Vec::new();
        loop {
            match self.read_result().await {
                Ok(result) => results.push(result),
                Err(Error::Server(error)) => return Ok((results, Some(error))),
                Err(error) => return Err(error),
            }
            if !self.status.has(Status::MORE_RESULTS_EXISTS) {
                return Ok((results, None));
            }
        }
    }

    async fn read_result(&mut self) -> Result<QueryResult> {
        match self.read_head().await? {
            Head::Done(ok) => Ok(QueryResult::Done(ok)),
            Head::Columns(columns) => {
                let mut rows = Vec::new();
                while let Some(packet) = self.next_row().await? {
                    rows.push(Row::parse(packet, columns.len())?);
                }
                Ok(QueryResult::Rows(ResultSet { columns, rows }))
            }
        }
    }

    /// Starts one statement whose rows are then taken one by one with [`Connection::next_row`], to the end.
    ///
    /// # Errors
    /// As [`Connection::query`], and if there are no rows.
    pub async fn start_rows(&mut self, sql: impl AsRef<[u8]>) -> Result<Vec<ColumnDefinition>> {
        self.send_command(Command::QUERY, sql.as_ref()).await?;
        match self.read_head().await? {
            Head::Columns(columns) => Ok(columns),
            Head::Done(_) => Err(Error::Unexpected("a statement that should return rows returned none")),
        }
    }

    /// The next row's packet; `None` after the last one.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub async fn next_row(&mut self) -> Result<Option<Bytes>> {
        let packet = self.read_packet().await?;
        match packet.first() {
            Some(&ERR) => Err(Error::Server(ErrPacket::parse(&packet)?)),
            Some(&EOF)
                if self.capabilities.has(Capabilities::DEPRECATE_EOF) && packet.len() < PAYLOAD_MAX =>
            {
                self.status = OkPacket::parse(&packet, self.capabilities)?.status;
                Ok(None)
            }
            Some(&EOF) if is_eof(&packet) => {
                self.status = parse_eof(&packet)?.1;
                Ok(None)
            }
            _ => Ok(Some(packet)),
        }
    }

    async fn read_head(&mut self) -> Result<Head> {
        let packet = self.read_packet().await?;
        match packet.first() {
            Some(&OK) => {
                let ok = OkPacket::parse(&packet, self.capabilities)?;
                self.status = ok.status;
                Ok(Head::Done(ok))
            }
            Some(&ERR) => Err(Error::Server(ErrPacket::parse(&packet)?)),
            // We never send LOAD DATA LOCAL, so this server is asking for a file it has no business with.
            Some(&LOCAL_INFILE) => Err(Error::Unexpected("a request for a local file")),
            _ => {
                let count = Reader::new(&packet).lenenc_int("column count")?;
                let mut columns = Vec::new();
                for _ in 0..count {
                    columns.push(ColumnDefinition::parse(&self.read_packet().await?)?);
                }
                if !self.capabilities.has(Capabilities::DEPRECATE_EOF) {
                    let eof = self.read_packet().await?;
                    if !is_eof(&eof) {
                        return Err(WireError::Malformed("no EOF after the columns").into());
                    }
                }
                Ok(Head::Columns(columns))
            }
        }
    }

    /// Sends a command, beginning a new exchange.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn send_command(&mut self, command: Command, body: &[u8]) -> Result<()> {
        self.seq = 0;
        let mut payload = Vec::with_capacity(1 + body.len());
        payload.push(command.0);
        payload.extend_from_slice(body);
        self.write_packet(&payload).await
    }

    /// Sends one payload of the exchange under way.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn write_packet(&mut self, payload: &[u8]) -> Result<()> {
        let mut out = Vec::with_capacity(payload.len() + HEADER_LEN);
        packet::frame(&mut out, &mut self.seq, payload);
        self.stream.write_all(&out).await?;
        Ok(())
    }

    /// Reads one whole payload, joined if it came in several packets.
    ///
    /// # Errors
    /// If the connection is lost or out of step.
    pub async fn read_packet(&mut self) -> Result<Bytes> {
        let first = self.read_frame().await?;
        if first.len() < PAYLOAD_MAX {
            return Ok(first);
        }
        let mut joined = BytesMut::from(first);
        loop {
            let next = self.read_frame().await?;
            joined.extend_from_slice(&next);
            if next.len() < PAYLOAD_MAX {
                return Ok(joined.freeze());
            }
        }
    }

    async fn read_frame(&mut self) -> Result<Bytes> {
        self.fill(HEADER_LEN).await?;
        let header = Header::parse([self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]]);
        if header.seq != self.seq {
            return Err(WireError::Malformed("packet out of sequence").into());
        }
        self.seq = self.seq.wrapping_add(1);
        let _ = self.buffer.split_to(HEADER_LEN);
        self.fill(header.len).await?;
        Ok(self.buffer.split_to(header.len).freeze())
    }

    async fn fill(&mut self, n: usize) -> Result<()> {
        while self.buffer.len() < n {
            self.buffer.reserve(READ_CHUNK.max(n - self.buffer.len()));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(Error::Lost(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(())
    }
}

enum Head {
    Done(OkPacket),
    Columns(Vec<ColumnDefinition>),
}
