//! Backend connections: opened as the client, told to report session changes, asked questions, closed.
//!
//! A link is used only at command boundaries; whoever meets an error in the middle of an exchange drops it.

pub(crate) mod parked;
pub(crate) mod pool;
pub(crate) mod queue;
pub(crate) mod response;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mysql::{ConnectOptions, Connection, ParkedStream, Password, Stream};
use sql::TRACKED;
use tokio::io::AsyncWriteExt;
use wire::capability::Status;
use wire::command::Command;
use wire::packet;
use wire::response::{ErrPacket, OkPacket};
use wire::{Capabilities, WireError};

use crate::Backend;
use crate::backend::pool::Slot;
use crate::backend::response::{Expect, Kind, Scan, Step};
use crate::gate::hold::Gate;
use crate::memory::Held;
use crate::session::buffer::{Buffer, CHUNK};
use crate::state::prepared::Prepared;
use crate::state::settings::{Baseline, Settings, baseline_question};

/// How long connecting and logging in may take.
const LOGIN_MAX: Duration = Duration::from_secs(10);
/// The most an answer to a question of our own may have, in bytes.
const ANSWER_MAX: usize = 16 << 20;

/// Whom a client has proven to be, and how its connection speaks: all a login needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub user: Vec<u8>,
    pub password: Password,
    /// The client's capabilities, as far as the door knows them.
    pub capabilities: Capabilities,
    pub collation: u8,
    /// Connection attributes, still encoded.
    pub attributes: Vec<u8>,
}

/// A backend connection in use.
#[derive(Debug)]
pub(crate) struct Link {
    pub stream: Stream,
    /// Its id on the server.
    pub id: u32,
    /// Whose server it goes to: the index of the cluster's gate.
    pub gate: usize,
    /// What was agreed on: the client's capabilities, and session tracking.
    pub capabilities: Capabilities,
    /// Whether the server reports session changes.
    pub tracked: bool,
    /// Server status after the login.
    pub status: Status,
    /// Tells links apart, whatever ids servers give.
    pub serial: u64,
    /// When it was opened.
    pub born: Instant,
    /// Between the first byte of a command sent and the last of its answer: the link is then good for nothing else.
    pub awaiting: bool,
    /// What it has been given, as of the last time a session took or left it.
    pub settings: Arc<Settings>,
    /// What `LAST_INSERT_ID()` returned on it then.
    pub last_insert_id: u64,
    /// What is prepared on it.
    pub prepared: Prepared,
    /// Its place in the budget, if it is shared.
    pub slot: Option<Slot>,
    /// The thread whose runtime it is registered with.
    pub shard: usize,
    /// Whether it can be shared: the server says what it needs to say.
    pub shareable: bool,
}

/// A backend connection opened ahead, on no runtime.
#[derive(Debug)]
pub(crate) struct Warm {
    stream: ParkedStream,
    opened: Opened,
    /// Whom it belongs to: a client may have become somebody else since.
    pub identity: Arc<Identity>,
    /// The server it goes to.
    pub backend: Backend,
    /// The schema it was opened with.
    pub schema: Option<Vec<u8>>,
}

/// An answer to a question of our own.
#[derive(Debug)]
pub(crate) struct Answer {
    /// All of its bytes.
    pub bytes: Vec<u8>,
    /// The packets that were looked into, with where they end in `bytes`.
    pub packets: Vec<(Kind, usize, usize)>,
}

/// Why a question got no answer.
#[derive(Debug)]
pub(crate) enum AskError {
    /// The server answered with an error; the link is fine.
    Server(ErrPacket),
    /// The link is unusable.
    Lost,
}

impl From<std::io::Error> for AskError {
    fn from(_: std::io::Error) -> Self {
        Self::Lost
    }
}

impl From<WireError> for AskError {
    fn from(_: WireError) -> Self {
        Self::Lost
    }
}

/// The statement that makes a server report what [`crate::state::profile`] needs to know.
pub(crate) fn trackers() -> String {
    format!(
        "SET SESSION session_track_system_variables='{}', SESSION session_track_schema=ON, \
         SESSION session_track_state_change=ON, SESSION session_track_transaction_info='CHARACTERISTICS'",
        TRACKED.join(",")
    )
}

/// Connects and logs in as the client, and asks for reports.
///
/// # Errors
/// As [`Connection::connect`]; also if the server lacks a capability the client was promised.
pub(crate) async fn open(
    backend: &Backend,
    identity: &Identity,
    schema: Option<&[u8]>,
) -> mysql::Result<(Stream, Opened)> {
    let options = ConnectOptions {
        host: backend.host.clone(),
        port: backend.port,
        user: identity.user.clone(),
        password: identity.password.clone(),
        schema: schema.map(<[u8]>::to_vec),
        capabilities: identity.capabilities | Capabilities::SESSION_TRACK,
        collation: identity.collation,
        attributes: identity.attributes.clone(),
        server_key: backend.server_key.clone(),
        tls: backend.tls.clone(),
        timeout: LOGIN_MAX,
    };
    let mut connection = Connection::connect(&options).await?;
    let capabilities = connection.capabilities();
    let form = Capabilities::DEPRECATE_EOF | Capabilities::QUERY_ATTRIBUTES;
    if (identity.capabilities & form) != (capabilities & form) {
        return Err(WireError::Unsupported("server that lacks what its client was promised".into()).into());
    }
    let tracked = match connection.execute(trackers()).await {
        Ok(_) => capabilities.has(Capabilities::SESSION_TRACK),
        Err(mysql::Error::Server(_)) => false,
        Err(error) => return Err(error),
    };
    let baseline = match tracked {
        true => ask_baseline(&mut connection).await?,
        false => None,
    };
    let (id, status) = (connection.id(), connection.status());
    let (stream, rest) = connection.into_stream();
    if !rest.is_empty() {
        return Err(mysql::Error::Unexpected("bytes after the answer"));
    }
    Ok((stream, Opened { id, capabilities, tracked, status, collation: identity.collation, baseline }))
}

/// What the login has found, if the server says.
async fn ask_baseline(connection: &mut Connection) -> mysql::Result<Option<Baseline>> {
    let row = match connection.row(baseline_question()).await {
        Ok(row) => row,
        Err(mysql::Error::Server(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(row) = row else { return Ok(None) };
    Ok(Baseline::of((0..row.len()).map(|at| row.bytes(at).map(<[u8]>::to_vec)).collect()))
}

/// What is known of a connection just opened.
#[derive(Debug)]
pub(crate) struct Opened {
    id: u32,
    capabilities: Capabilities,
    tracked: bool,
    status: Status,
    collation: u8,
    baseline: Option<Baseline>,
}

impl Link {
    /// Opens a link to the cluster with this gate.
    ///
    /// # Errors
    /// As [`open`].
    pub async fn open(gate: &Gate, identity: &Identity, schema: Option<&[u8]>) -> mysql::Result<Box<Self>> {
        // On the heap for the time it takes: the largest thing a session ever waits for, and rare.
        let (stream, opened) = Box::pin(open(&gate.backend, identity, schema)).await?;
        Ok(Self::over(stream, opened, schema, gate.index))
    }

    /// Opens a link that is to be shared, on this thread.
    ///
    /// # Errors
    /// As [`open`].
    pub async fn open_shared(
        gate: &Gate,
        identity: &Identity,
        schema: Option<&[u8]>,
        shard: usize,
        slot: Slot,
    ) -> mysql::Result<Box<Self>> {
        let mut link = Self::open(gate, identity, schema).await?;
        link.shard = shard;
        // One that cannot be shared does not count either.
        link.slot = link.shareable.then_some(slot);
        Ok(link)
    }

    fn over(stream: Stream, opened: Opened, schema: Option<&[u8]>, gate: usize) -> Box<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let Opened { id, capabilities, tracked, status, collation, baseline } = opened;
        let mut settings = Settings { schema: schema.map(Into::into), ..Settings::of_login(collation) };
        if let Some(baseline) = &baseline {
            settings.set_baseline(baseline);
        }
        Box::new(Self {
            stream,
            id,
            gate,
            capabilities,
            tracked,
            status,
            serial: LAST.fetch_add(1, Relaxed) + 1,
            born: Instant::now(),
            awaiting: false,
            settings: Arc::new(settings),
            last_insert_id: 0,
            prepared: Prepared::default(),
            slot: None,
            shard: 0,
            shareable: baseline.is_some(),
        })
    }

    /// Takes it to this thread's runtime, if it belongs to another's.
    ///
    /// # Errors
    /// If the system refuses; the link must then be dropped.
    pub fn move_to(self: Box<Self>, shard: usize) -> std::io::Result<Box<Self>> {
        if self.shard == shard {
            return Ok(self);
        }
        let link = *self;
        let stream = link.stream.park()?.resume()?;
        Ok(Box::new(Self { stream, shard, ..link }))
    }

    /// Whether nothing has come from the server since its last answer: neither an end nor an unasked error.
    pub fn alive(&mut self) -> bool {
        self.stream.is_quiet()
    }

    /// Asks a question of our own and reads the whole answer.
    ///
    /// # Errors
    /// [`AskError::Server`] if the answer is an error, [`AskError::Lost`] if the link must be dropped.
    pub async fn ask(&mut self, payload: &[u8], expect: Expect) -> Result<Answer, AskError> {
        let (mut out, mut seq) = (Vec::with_capacity(payload.len() + packet::HEADER_LEN), 0);
        packet::frame(&mut out, &mut seq, payload);
        self.awaiting = true;
        self.stream.write_all(&out).await?;

        let mut scan = Scan::new(expect, self.capabilities);
        let mut buffer = Buffer::default();
        let (mut bytes, mut packets) = (Vec::new(), Vec::new());
        let mut held = Held::default();
        loop {
            let consumed = match scan.next(buffer.data())? {
                Step::Pass(n) => n,
                Step::Packet(p) => {
                    packets.push((p.kind, bytes.len(), bytes.len() + p.len));
                    p.len
                }
                Step::More => {
                    if buffer.fill(&mut self.stream).await? == 0 {
                        return Err(AskError::Lost);
                    }
                    continue;
                }
            };
            bytes.extend_from_slice(&buffer.data()[..consumed]);
            if bytes.capacity() > CHUNK && bytes.capacity() != held.bytes() {
                held.set(bytes.capacity());
            }
            buffer.consume(consumed);
            if bytes.len() > ANSWER_MAX || scan.finished() && buffer.len() > 0 {
                return Err(AskError::Lost);
            }
            if scan.finished() {
                break;
            }
        }
        self.awaiting = false;
        match packets.last() {
            Some((Kind::Err, from, to)) => Err(AskError::Server(ErrPacket::parse(&bytes[from + 4..*to])?)),
            Some((Kind::LocalInfile, ..)) => {
                self.awaiting = true;
                Err(AskError::Lost)
            }
            _ => Ok(Answer { bytes, packets }),
        }
    }

    /// Asks with a statement.
    ///
    /// # Errors
    /// As [`Link::ask`].
    pub async fn ask_sql(&mut self, sql: &[u8]) -> Result<Answer, AskError> {
        // No query attributes: their count, 0, and the number of sets, 1.
        let attributes: &[u8] = match self.capabilities.has(Capabilities::QUERY_ATTRIBUTES) {
            true => &[0, 1],
            false => &[],
        };
        self.ask(&[&[Command::QUERY.0], attributes, sql].concat(), Expect::Results).await
    }

    /// Says goodbye, so that the server counts no aborted connection, and closes; not in the middle of a command, which
    /// the goodbye's bytes might complete.
    pub fn quit(mut self) {
        if self.awaiting {
            return;
        }
        self.stream.send_now(&[1, 0, 0, 0, Command::QUIT.0]);
    }
}

impl Answer {
    /// The last OK.
    pub fn ok(&self, capabilities: Capabilities) -> Result<OkPacket, WireError> {
        let last = self.packets.iter().rev().find(|(kind, ..)| matches!(kind, Kind::Ok { .. }));
        let Some((_, from, to)) = last else { return Err(WireError::Malformed("answer without an OK")) };
        OkPacket::parse(&self.bytes[from + 4..*to], capabilities)
    }
}

impl Warm {
    /// Opens a connection ahead.
    ///
    /// # Errors
    /// As [`open`].
    pub async fn open(
        backend: &Backend,
        identity: Arc<Identity>,
        schema: Option<Vec<u8>>,
    ) -> mysql::Result<Self> {
        let (stream, opened) = open(backend, &identity, schema.as_deref()).await?;
        let stream = stream.park()?;
        Ok(Self { stream, opened, identity, backend: backend.clone(), schema })
    }

    /// Takes it into this thread's runtime; `None` if the server has closed it meanwhile.
    pub fn into_link(self, gate: usize) -> Option<Box<Link>> {
        if !self.stream.is_quiet() {
            return None;
        }
        let stream = self.stream.resume().ok()?;
        Some(Link::over(stream, self.opened, self.schema.as_deref(), gate))
    }
}
