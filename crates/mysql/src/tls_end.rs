//! One end of a TLS session, over a socket that never makes us wait.
//!
//! ```text
//! socket --records--> room of the thread --decrypted there--> the reader's buffer; what does not fit is kept
//! socket <--records-- buffer of the thread <--encrypted------ a write; what the socket does not take is kept
//! ```
//! It uses the library's interface without buffers: the one with buffers keeps 4 KiB of them for every connection that waits, more than
//! everything else a client of the front door takes. Here a session that waits has no buffer: rooms belong to the thread.
//!
//! Invariants: records go out in the order they were made in; bytes of a record that is not whole, or of a handshake message
//! spread over several, stay in `incoming`, which the library is given with every call, since it has counted them.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes asked of the socket at a time: a whole record, mostly.
const READ: usize = 16 * 1024;
/// Bytes kept of what is not whole: handshake messages of 64 KiB are what the library's other interface takes, too.
const INCOMING_MAX: usize = 64 * 1024;
/// Bytes encrypted at a time: more would keep the thread from its other connections.
const PLAIN_MAX: usize = 64 * 1024;
/// The thread keeps a buffer no larger than this for the next write.
const SPARE_MAX: usize = 128 * 1024;

thread_local! {
    /// Where records are read and decrypted.
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The buffer of the last write that the socket took whole.
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One end of a TLS session.
pub(crate) struct TlsEnd {
    session: Session,
    /// From the socket, not whole.
    incoming: Vec<u8>,
    /// Decrypted; bytes before `read` were read.
    plain: Vec<u8>,
    read: usize,
    /// Encrypted; bytes before `sent` are with the kernel.
    outgoing: Vec<u8>,
    sent: usize,
    /// Bytes of the write under way that have been encrypted, while the kernel has not taken all of that yet.
    accepted: usize,
    /// The peer has said that it says no more.
    closed: bool,
    /// The session has failed, and must not be asked again.
    failed: bool,
}

enum Session {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// What a session can do next.
#[derive(Debug, PartialEq)]
enum Next {
    /// It is to be asked again.
    More,
    /// Nothing, until there is more from the peer, or something to encrypt.
    Wait,
    /// Nothing: what was wished is done.
    Done,
}

/// What is wanted of a session that has nothing else to do.
#[derive(Clone, Copy)]
enum Wish<'a> {
    Nothing,
    /// To encrypt these.
    Encrypt(&'a [u8]),
    /// To say that nothing more will be said.
    Goodbye,
}

/// What comes out of a session at one step.
struct Outcome<'a, 'b> {
    plain: &'a mut Vec<u8>,
    outgoing: &'a mut Vec<u8>,
    closed: &'a mut bool,
    /// A reader that waits.
    reader: Option<&'a mut ReadBuf<'b>>,
}

impl TlsEnd {
    /// The client's.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let session = UnbufferedClientConnection::new(config, name).map_err(refused)?;
        Ok(Self::new(Session::Client(Box::new(session))))
    }

    /// The server's.
    pub fn server(config: Arc<ServerConfig>) -> io::Result<Self> {
        let session = UnbufferedServerConnection::new(config).map_err(refused)?;
        Ok(Self::new(Session::Server(Box::new(session))))
    }

    fn new(session: Session) -> Self {
        let (incoming, plain, outgoing) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            session,
            incoming,
            plain,
            read: 0,
            outgoing,
            sent: 0,
            accepted: 0,
            closed: false,
            failed: false,
        }
    }

    /// Whether the handshake is still under way.
    pub fn is_handshaking(&self) -> bool {
        self.state().is_handshaking()
    }

    /// Whether the peer has shown a certificate.
    pub fn peer_is_certified(&self) -> bool {
        self.state().peer_certificates().is_some_and(|chain| !chain.is_empty())
    }

    fn state(&self) -> &CommonState {
        match &self.session {
            Session::Client(session) => session,
            Session::Server(session) => session,
        }
    }

    /// Takes bytes that were read from the socket by others.
    ///
    /// # Errors
    /// If they are not what may come; the alert that says so is ready to go out.
    pub fn take(&mut self, early: &[u8]) -> io::Result<()> {
        let mut records = std::mem::take(&mut self.incoming);
        records.extend_from_slice(early);
        let used = self.process(&mut records, None)?;
        self.keep(&records[used..])
    }

    /// Reads from the socket once; 0 at its end. What is decrypted goes to the reader first.
    pub fn poll_take(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        reader: Option<&mut ReadBuf<'_>>,
    ) -> Poll<io::Result<usize>> {
        let n = ready!(ROOM.with_borrow_mut(|room| -> Poll<io::Result<usize>> {
            let kept = self.incoming.len();
            if room.len() < kept + READ {
                room.resize(kept + READ, 0);
            }
            room[..kept].copy_from_slice(&self.incoming);
            let mut fresh = ReadBuf::new(&mut room[kept..]);
            ready!(Pin::new(&mut *tcp).poll_read(cx, &mut fresh))?;
            let n = fresh.filled().len();
            let records = &mut room[..kept + n];
            let processed = self.process(records, reader).and_then(|used| self.keep(&records[used..]));
            Poll::Ready(processed.map(|()| n))
        }));
        // Alerts and answers to key updates. If the socket is full, they go out with the next write.
        let _ = self.poll_flush(tcp, cx);
        Poll::Ready(n)
    }

    /// Waits for something to read; `false` at the end.
    pub fn poll_plaintext(&mut self, tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if !self.plain.is_empty() {
                return Poll::Ready(Ok(true));
            }
            if self.closed || ready!(self.poll_take(tcp, cx, None))? == 0 {
                return Poll::Ready(Ok(false));
            }
        }
    }

    /// Reads; nothing at the end.
    pub fn poll_read(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !self.plain.is_empty() {
            let rest = &self.plain[self.read..];
            let n = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..n]);
            self.read += n;
            if self.read == self.plain.len() {
                (self.plain, self.read) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        // MySQL's peers often close without telling TLS; packets say how long they are, so that one cut short is noticed anyway.
        while !self.closed && ready!(self.poll_take(tcp, cx, Some(buf)))? > 0 {
            if buf.filled().len() > before {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes; done when the kernel has all of it.
    pub fn poll_write(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.accepted == 0 {
            ready!(self.poll_flush(tcp, cx))?;
            let taken = &buf[..buf.len().min(PLAIN_MAX)];
            self.wish(Wish::Encrypt(taken))?;
            self.accepted = taken.len();
        }
        ready!(self.poll_flush(tcp, cx))?;
        let written = std::mem::take(&mut self.accepted);
        if written > buf.len() {
            // Another write than the one that was given up half-way: the peer is out of step.
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Poll::Ready(Ok(written))
    }

    /// Gives the kernel all there is to send.
    pub fn poll_flush(&mut self, tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.outgoing.len() {
            let n = ready!(Pin::new(&mut *tcp).poll_write(cx, &self.outgoing[self.sent..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        if self.outgoing.capacity() > 0 {
            self.sent = 0;
            let mut done = std::mem::take(&mut self.outgoing);
            if done.capacity() <= SPARE_MAX {
                done.clear();
                SPARE.set(done);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Readies the word that nothing more will be said.
    ///
    /// # Errors
    /// If the session cannot say anything any more.
    pub fn say_goodbye(&mut self) -> io::Result<()> {
        self.wish(Wish::Goodbye)
    }

    /// Has something encrypted, behind what the session itself has to say.
    fn wish(&mut self, wish: Wish<'_>) -> io::Result<()> {
        self.refuse_if_failed()?;
        self.lend_a_buffer();
        let mut records = std::mem::take(&mut self.incoming);
        let mut used = 0;
        loop {
            let (discard, next) = self.step(&mut records[used..], None, wish);
            used += discard;
            match next? {
                Next::More => continue,
                Next::Done => self.keep(&records[used..])?,
                Next::Wait => {
                    self.keep(&records[used..])?;
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
            return Ok(());
        }
    }

    /// Lets the session take all that is whole of `records`; how many bytes that was.
    fn process(&mut self, records: &mut [u8], mut reader: Option<&mut ReadBuf<'_>>) -> io::Result<usize> {
        self.refuse_if_failed()?;
        self.lend_a_buffer();
        let mut used = 0;
        loop {
            let (discard, next) = self.step(&mut records[used..], reader.as_deref_mut(), Wish::Nothing);
            used += discard;
            match next {
                Ok(Next::More) => {}
                Ok(_) => return Ok(used),
                Err(error) => {
                    // Once more, and no more than that: if it has an alert to send that says why, it comes up with it first.
                    let _ = self.step(&mut records[used..], None, Wish::Nothing);
                    return Err(error);
                }
            }
        }
    }

    fn step(
        &mut self,
        records: &mut [u8],
        reader: Option<&mut ReadBuf<'_>>,
        wish: Wish<'_>,
    ) -> (usize, io::Result<Next>) {
        let Self { session, plain, outgoing, closed, .. } = self;
        let outcome = Outcome { plain, outgoing, closed, reader };
        let (discard, next) = match session {
            Session::Client(session) => outcome.of(session.process_tls_records(records), wish),
            Session::Server(session) => outcome.of(session.process_tls_records(records), wish),
        };
        self.failed |= next.is_err();
        (discard, next)
    }

    fn refuse_if_failed(&self) -> io::Result<()> {
        if self.failed { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn keep(&mut self, rest: &[u8]) -> io::Result<()> {
        if rest.len() > INCOMING_MAX {
            self.failed = true;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a TLS message of more than 64 KiB"));
        }
        self.incoming = rest.to_vec();
        Ok(())
    }

    fn lend_a_buffer(&mut self) {
        if self.outgoing.capacity() == 0 {
            self.outgoing = SPARE.take();
        }
    }
}

impl Outcome<'_, '_> {
    /// Does what the session says; how many bytes of the records are used up, and what is next.
    fn of<Data>(
        mut self,
        status: UnbufferedStatus<'_, '_, Data>,
        wish: Wish<'_>,
    ) -> (usize, io::Result<Next>) {
        let UnbufferedStatus { mut discard, state } = status;
        let next = match state {
            Err(error) => Err(refused(error)),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                match traffic.next_record() {
                    None => break Ok(Next::More),
                    Some(Err(error)) => break Err(refused(error)),
                    Some(Ok(record)) => {
                        discard += record.discard;
                        self.hand_over(record.payload);
                    }
                }
            },
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                appended(self.outgoing, 0, |room| match data.encode(room) {
                    Ok(written) => Ok(written),
                    Err(EncodeError::InsufficientSize(size)) => Err(Some(size.required_size)),
                    Err(EncodeError::AlreadyEncoded) => Err(None),
                })
                .map(|()| Next::More)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Ok(Next::More)
            }
            Ok(ConnectionState::PeerClosed) => {
                *self.closed = true;
                Ok(Next::More)
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let bytes = if let Wish::Encrypt(bytes) = wish { bytes.len() } else { 0 };
                let written = match wish {
                    Wish::Nothing => return (discard, Ok(Next::Wait)),
                    Wish::Encrypt(_) | Wish::Goodbye => appended(self.outgoing, bytes, |room| {
                        let written = match wish {
                            Wish::Encrypt(bytes) => traffic.encrypt(bytes, room),
                            _ => traffic.queue_close_notify(room),
                        };
                        written.map_err(|error| match error {
                            EncryptError::InsufficientSize(size) => Some(size.required_size),
                            EncryptError::EncryptExhausted => None,
                        })
                    }),
                };
                written.map(|()| Next::Done)
            }
            // Nobody is offered to send data early; whatever else there may be in a later version of the library waits, too.
            Ok(_) => Ok(Next::Wait),
        };
        (discard, next)
    }

    fn hand_over(&mut self, payload: &[u8]) {
        let room = self.reader.as_ref().map_or(0, |reader| reader.remaining());
        let first = match &mut self.reader {
            // What is kept was there before.
            Some(reader) if self.plain.is_empty() => {
                let first = payload.len().min(room);
                reader.put_slice(&payload[..first]);
                first
            }
            _ => 0,
        };
        self.plain.extend_from_slice(&payload[first..]);
    }
}

/// Appends what `write` makes to `to`, with room for a record around so many bytes, or for as many as it then says it needs.
fn appended(
    to: &mut Vec<u8>,
    bytes: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> io::Result<()> {
    let at = to.len();
    let mut room = bytes + 64;
    loop {
        to.resize(at + room, 0);
        match write(&mut to[at..]) {
            Ok(written) => {
                to.truncate(at + written);
                return Ok(());
            }
            Err(Some(required)) if required > room => room = required,
            Err(_) => {
                to.truncate(at);
                return Err(io::Error::other("TLS cannot encrypt any more with these keys"));
            }
        }
    }
}

fn refused(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl fmt::Debug for TlsEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsEnd").field("closed", &self.closed).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
