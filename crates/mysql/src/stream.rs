//! A TCP stream of either role, plain or under TLS, and compressed or not.
//!
//! Ours rather than a crate's because streams change runtimes here: a connection opened ahead is parked on no runtime
//! until the thread that needs it takes it in. On a plain stream TLS and compression cost one look at an empty pointer each.
//!
//! Invariants: bytes that were read before a handshake go into it, and nowhere else, so that nothing said in plain text
//! can pass for something said under TLS. A write is done when the kernel has all of it, so that nobody needs to flush.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use wire::compressed::Algorithm;

use crate::frames::Frames;
use crate::tls_end::TlsEnd;

/// A TCP stream, plain or under TLS.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    tls: Option<Box<TlsEnd>>,
    frames: Option<Box<Frames>>,
}

/// What compressed frames go over.
pub(crate) struct Beneath<'a> {
    tcp: &'a mut TcpStream,
    tls: &'a mut Option<Box<TlsEnd>>,
}

/// A stream on no runtime.
#[derive(Debug)]
pub struct ParkedStream {
    tcp: StdStream,
    tls: Option<Box<TlsEnd>>,
}

impl Stream {
    /// A plain stream.
    pub fn plain(tcp: TcpStream) -> Self {
        Self { tcp, tls: None, frames: None }
    }

    /// Whether it is under TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether it is compressed.
    pub fn is_compressed(&self) -> bool {
        self.frames.is_some()
    }

    /// Compresses everything from here on, as a client and a server do after the login; `early` is what the peer has sent
    /// already.
    pub fn compress(&mut self, algorithm: Algorithm, early: &[u8]) {
        self.frames = Some(Box::new(Frames::new(algorithm, early)));
    }

    /// How many bytes a compressed frame from the peer may take, packed and unpacked, before reading it fails with
    /// [`io::ErrorKind::QuotaExceeded`]; it goes on where it was once there is more room. Some 16 KiB are always there; at first there
    /// is no bound.
    pub fn set_frame_room(&mut self, bytes: usize) {
        if let Some(frames) = &mut self.frames {
            frames.set_room(bytes);
        }
    }

    /// What the frame that is arriving takes, in bytes.
    pub fn frame_wanted(&self) -> usize {
        self.frames.as_ref().map_or(0, |frames| frames.wanted())
    }

    /// Whether no compressed frame of the peer's is kept.
    pub fn frames_are_empty(&self) -> bool {
        self.frames.as_ref().is_none_or(|frames| frames.is_empty())
    }

    /// What has been written ends a result, and another follows; see [`crate::frames`].
    pub fn begin_result(&mut self) {
        if let Some(frames) = &mut self.frames {
            frames.begin_result();
        }
    }

    #[cfg(test)]
    pub(crate) fn tls_end(&self) -> Option<&TlsEnd> {
        self.tls.as_deref()
    }

    /// Whether the peer of a stream under TLS has shown a certificate, which then was verified.
    pub fn peer_is_certified(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.peer_is_certified())
    }

    /// The other end's address.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }

    /// The socket of a plain stream; `None` under TLS or compressed.
    pub fn into_tcp(self) -> Option<TcpStream> {
        (self.tls.is_none() && self.frames.is_none()).then_some(self.tcp)
    }

    /// Goes under TLS as the client.
    ///
    /// # Errors
    /// If the handshake fails; one that TLS itself refuses holds a [`rustls::Error`].
    pub async fn begin_tls(
        &mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<()> {
        self.shake_hands(TlsEnd::client(config, name)?, &[]).await
    }

    /// Goes under TLS as the server; `early` is what the client has sent of its handshake already.
    ///
    /// # Errors
    /// As [`Stream::begin_tls`].
    pub async fn accept_tls(&mut self, config: Arc<ServerConfig>, early: &[u8]) -> io::Result<()> {
        self.shake_hands(TlsEnd::server(config)?, early).await
    }

    async fn shake_hands(&mut self, mut tls: TlsEnd, early: &[u8]) -> io::Result<()> {
        let taken = tls.take(early);
        if taken.is_err() {
            // The alert that says why, as far as the socket takes it.
            let _ = tls.poll_flush(&mut self.tcp, &mut Context::from_waker(Waker::noop()));
        }
        taken?;
        let shaken: io::Result<()> = poll_fn(|cx| {
            loop {
                ready!(tls.poll_flush(&mut self.tcp, cx))?;
                if !tls.is_handshaking() {
                    return Poll::Ready(Ok(()));
                }
                if ready!(tls.poll_take(&mut self.tcp, cx, None))? == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        })
        .await;
        shaken.map(|()| self.tls = Some(Box::new(tls)))
    }

    /// Whether the peer has sent nothing and not closed. Must be asked only when nothing is due.
    pub fn is_quiet(&mut self) -> bool {
        if let Some(frames) = &mut self.frames {
            let mut beneath = Beneath { tcp: &mut self.tcp, tls: &mut self.tls };
            return frames.poll_plain(&mut beneath, &mut Context::from_waker(Waker::noop())).is_pending();
        }
        match &mut self.tls {
            // No system call: the runtime knows.
            None => would_block(self.tcp.try_read(&mut [0])),
            // What has come may be TLS's own business, such as a session ticket.
            Some(tls) => {
                tls.poll_plaintext(&mut self.tcp, &mut Context::from_waker(Waker::noop())).is_pending()
            }
        }
    }

    /// Waits until the peer has sent something, which stays unread; `false` if it has closed.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn peek(&mut self) -> io::Result<bool> {
        if let Some(frames) = &mut self.frames {
            let mut beneath = Beneath { tcp: &mut self.tcp, tls: &mut self.tls };
            return match poll_fn(|cx| frames.poll_plain(&mut beneath, cx)).await {
                Err(e) if e.kind() == io::ErrorKind::QuotaExceeded => Ok(true),
                peeked => peeked,
            };
        }
        match &mut self.tls {
            None => Ok(self.tcp.peek(&mut [0]).await? > 0),
            Some(tls) => poll_fn(|cx| tls.poll_plaintext(&mut self.tcp, cx)).await,
        }
    }

    /// Sends what the socket takes at once, without waiting: for a goodbye.
    pub fn send_now(&mut self, bytes: &[u8]) {
        // Best effort: the connection is closed next.
        let _ = match (&self.tls, &self.frames) {
            (None, None) => self.tcp.try_write(bytes).map(drop),
            _ => {
                let mut cx = Context::from_waker(Waker::noop());
                match Pin::new(self).poll_write(&mut cx, bytes) {
                    Poll::Ready(written) => written.map(drop),
                    Poll::Pending => Ok(()),
                }
            }
        };
    }

    /// Takes it off its runtime, when nothing is due.
    ///
    /// # Errors
    /// If the system refuses, something has come all the same, or it is compressed: clients' streams are, which stay where they
    /// are.
    pub fn park(mut self) -> io::Result<ParkedStream> {
        if !self.is_quiet() || self.frames.is_some() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(ParkedStream { tcp: self.tcp.into_std()?, tls: self.tls })
    }
}

impl ParkedStream {
    /// Whether the peer has sent nothing and not closed.
    pub fn is_quiet(&self) -> bool {
        would_block(self.tcp.peek(&mut [0]))
    }

    /// Takes it into this thread's runtime.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn resume(self) -> io::Result<Stream> {
        Ok(Stream { tcp: TcpStream::from_std(self.tcp)?, tls: self.tls, frames: None })
    }
}

fn would_block<T>(done: io::Result<T>) -> bool {
    done.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
}

impl Beneath<'_> {
    /// Reads; nothing at the end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { tcp, tls } = self;
        match tls {
            Some(tls) => tls.poll_read(tcp, cx, buf),
            None => Pin::new(&mut **tcp).poll_read(cx, buf),
        }
    }

    /// Writes; under TLS, done when the kernel has all of it.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { tcp, tls } = self;
        match tls {
            Some(tls) => tls.poll_write(tcp, cx, buf),
            None => Pin::new(&mut **tcp).poll_write(cx, buf),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { tcp, tls, frames } = &mut *self;
        let mut beneath = Beneath { tcp, tls };
        match frames {
            None => beneath.poll_read(cx, buf),
            Some(frames) => frames.poll_read(&mut beneath, cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { tcp, tls, frames } = &mut *self;
        let mut beneath = Beneath { tcp, tls };
        match frames {
            None => beneath.poll_write(cx, buf),
            Some(frames) => frames.poll_write(&mut beneath, cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { tcp, tls, .. } = &mut *self;
        match tls {
            Some(tls) => tls.poll_flush(tcp, cx),
            None => Pin::new(tcp).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { tcp, tls, .. } = &mut *self;
        if let Some(tls) = tls {
            // Else the peer goes without.
            let _ = tls.say_goodbye();
            ready!(tls.poll_flush(tcp, cx))?;
        }
        Pin::new(tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_and_compression_make_a_plain_stream_no_larger_than_a_pointer_each() {
        assert_eq!(size_of::<Stream>(), size_of::<TcpStream>() + 2 * size_of::<usize>());
    }
}
