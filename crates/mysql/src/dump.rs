//! Following a server's binary log by GTID set.

use std::time::Duration;

use bytes::Buf;
use model::GtidSet;
use wire::binlog::RawEvent;
use wire::command::Command;
use wire::response::{EOF, ERR, ErrPacket, OK};

use crate::{ConnectOptions, Connection, Error, Result};

/// `USE_HEARTBEAT_EVENT_V2` of the dump command's flags: heartbeats that give the whole offset (MySQL 8.0.26 and later;
/// others ignore it). Not 0x04, which once meant that a GTID set follows: MySQL 8.3 and later take it for a follower
/// that knows no tags.
const HEARTBEAT_V2: u16 = 0x02;

/// How to follow.
#[derive(Debug, Clone)]
pub struct DumpOptions {
    /// The `server_id` we present; must differ from that of every other follower of the same server.
    pub server_id: u32,
    /// The UUID we present. The server ends an older stream of the same UUID when a new one begins.
    pub uuid: String,
    /// Transactions that are not to be sent.
    pub applied: GtidSet,
    /// After this much silence the server sends a heartbeat, which also tells how far it has read.
    pub heartbeat: Duration,
}

/// A server's binary log, event by event, without end.
#[derive(Debug)]
pub struct BinlogStream {
    connection: Connection,
    silence_max: Duration,
}

impl BinlogStream {
    /// Connects and asks for every transaction not in `options.applied`.
    ///
    /// # Errors
    /// As [`Connection::connect`]. That the server no longer has a transaction (error 1236) shows at the first event.
    pub async fn open(connect: &ConnectOptions, options: &DumpOptions) -> Result<Self> {
        let mut connection = Connection::connect(connect).await?;
        let heartbeat_ns = options.heartbeat.as_nanos();
        // Both spellings: servers before 8.0.26 read the old ones only. Without a checksum setting the server would
        // refuse to send a log written with checksums.
        let settings = format!(
            "SET @source_binlog_checksum='CRC32', @master_binlog_checksum='CRC32', \
             @source_heartbeat_period={heartbeat_ns}, @master_heartbeat_period={heartbeat_ns}, \
             @replica_uuid='{uuid}', @slave_uuid='{uuid}'",
            uuid = options.uuid
        );
        connection.execute(settings).await?;

        let set = options.applied.encode();
        let mut body = HEARTBEAT_V2.to_le_bytes().to_vec();
        body.extend_from_slice(&options.server_id.to_le_bytes());
        body.extend_from_slice(&0u32.to_le_bytes());
        body.extend_from_slice(&4u64.to_le_bytes());
        body.extend_from_slice(&(set.len() as u32).to_le_bytes());
        body.extend_from_slice(&set);
        connection.send_command(Command::BINLOG_DUMP_GTID, &body).await?;
        // Heartbeats make silence impossible on a live connection: a network that swallows packets shows as time-out.
        Ok(Self { connection, silence_max: options.heartbeat * 10 + Duration::from_secs(5) })
    }

    /// The next event.
    ///
    /// # Errors
    /// [`Error::Server`] if the server ends the stream (1236: the wanted transactions are purged), [`Error::Lost`] if
    /// the connection broke or went silent, [`Error::Wire`] if an event's checksum or framing is wrong.
    pub async fn next(&mut self) -> Result<RawEvent> {
        let read = tokio::time::timeout(self.silence_max, self.connection.read_packet());
        let mut packet = read.await.map_err(|_| Error::Lost(std::io::ErrorKind::TimedOut.into()))??;
        match packet.first() {
            Some(&OK) => {
                packet.advance(1);
                Ok(RawEvent::parse(&packet)?)
            }
            Some(&ERR) => Err(Error::Server(ErrPacket::parse(&packet)?)),
            Some(&EOF) => Err(Error::Lost(std::io::ErrorKind::UnexpectedEof.into())),
            _ => Err(Error::Unexpected("instead of a binary log event")),
        }
    }
}
